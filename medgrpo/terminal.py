"""What others wrote gives a terminal, a page or a sheet no orders: titles, cleared screens, clipboards, text that runs backwards or
is not seen at all. The one list of such characters is here.

File names, columns and answers come from others. `plain` is for a text before it is laid out; `without_orders` for what is printed in
the end, where colours and the cursor of progress bars must pass; `escaped` for JSON, which says the same with escapes.
"""

from __future__ import annotations

import re

UNSEEN = (
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # turn the direction of what follows
    "\ufeff\ufff9-\ufffb"  # a mark in the midst of a text, notes between its lines
    "\U000e0000-\U000e007f"  # tags: a second text in ASCII that nobody sees and a model reads
)
"""Characters that change or hide a text without being seen, as the inside of a class of a regular expression."""
CONTROLS = "\x00-\x08\x0b-\x1f\x7f-\x9f"
"""Control characters but tab and line feed, in the same form."""
_PICTURES = {number: 0x2400 + number for number in range(32) if chr(number) not in "\n\t"} | {0x7F: 0x2421}
"""Control characters → the picture that Unicode has of each; what has none becomes U+FFFD."""
_ORDERS = re.compile(f"[{CONTROLS}{UNSEEN}]")
_BEYOND_ASCII = re.compile(f"[\x7f-\x9f{UNSEEN}]")
_COLOURS_AND_CURSOR = re.compile(r"\x1b\[(?:[0-9;]*m|[0-9]*[A-GK]|\?25[hl])|\r|\x08")
"""What Rich and tqdm write: colours, moves within the last lines, a cursor hidden and shown."""


def plain(text: str) -> str:
    """The text with each control character but line feed and tab shown as a picture of it: `\\x1b` as ␛; what is not seen as �."""
    return _ORDERS.sub(_shown, text)


def without_orders(text: str) -> str:
    """The text with no orders to a terminal but colours and moves within the last lines."""
    if not _ORDERS.search(text):
        return text
    kept, end = [], 0
    for found in _COLOURS_AND_CURSOR.finditer(text):
        kept += [plain(text[end : found.start()]), found[0]]
        end = found.end()
    return "".join([*kept, plain(text[end:])])


def one_message(text: str) -> str:
    """The text with its further lines indented: a line feed in a name begins no message of its own (`error: …`)."""
    return text.rstrip("\n").replace("\n", "\n  ")


def escaped(document: str) -> str:
    """A JSON document with what gives orders written as escapes: the same document to every reader."""
    return _BEYOND_ASCII.sub(lambda found: _escape(found[0]), document)


def _shown(found: re.Match[str]) -> str:
    return chr(_PICTURES.get(ord(found[0]), 0xFFFD))


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[i] << 8 | units[i + 1]:04x}" for i in range(0, len(units), 2))
