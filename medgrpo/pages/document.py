"""A whole page of one file: head, policy, style, body. Nothing in it comes from elsewhere."""

from __future__ import annotations

from medgrpo.pages.markup import text

INERT = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
"""What a page without script may do: be styled, and show pictures that it holds itself."""
SCRIPTED = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data: blob:; font-src data:; base-uri 'none'; form-action 'none'"
)
"""What a page whose charts are drawn by its own script may do."""


def document(title: str, style: str, body: str, *, scripts: str = "") -> str:
    """The page.

    Args:
        title: any text; it is escaped.
        style: CSS.
        body: ready HTML.
        scripts: ready script elements; without any the page's policy lets none run.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{SCRIPTED if scripts else INERT}">\n'
        f'<title>{text(title)}</title>\n<link rel="icon" href="data:,">\n<style>{style}</style>\n</head>\n'
        f"<body>\n{body}\n{scripts}</body>\n</html>\n"
    )
