"""What the docs site is given besides docs/: the reference, made from the code, and the project's own pages."""

import re
import sys
from pathlib import Path

from mkdocs.structure.files import File

sys.path.insert(0, str(Path(__file__).resolve().parent))  # a hook is no package
from reference_pages import PAGES

ROOT = Path(__file__).resolve().parent.parent
PROJECT = ("ARCHITECTURE.md", "BENCHMARKS.md", "CHANGELOG.md", "CONTRIBUTING.md")


def on_files(files, config):
    """Add the pages that lie elsewhere or nowhere."""
    for name in PROJECT:
        text = (ROOT / name).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=_inside(text)))
    for name, make in PAGES.items():
        files.append(File.generated(config, f"reference/{name}.md", content=make()))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links out of docs/ lead to the project's pages within the site."""
    depth = page.file.src_uri.count("/")

    def inside(link):
        return f"]({'../' * depth}{link[1]}{link[2] or ''})" if link[1] in PROJECT else link[0]

    return re.sub(r"\]\((?:\.\./)+([\w./-]+)(#[\w-]+)?\)", inside, markdown)


def _inside(text):
    """A page of the root as seen from docs/: `docs/x.md` is `x.md`."""
    return re.sub(r"\]\(docs/", "](", text)
