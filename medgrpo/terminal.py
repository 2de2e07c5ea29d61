"""What others wrote gives a terminal no orders: titles, cleared screens, clipboards, text that runs backwards.

File names, columns and answers come from others. `plain` is for a text before it is laid out; `without_orders` for what is printed in
the end, where colours and the cursor of progress bars must pass.
"""

from __future__ import annotations

import re

_CONTROLS = {number: 0x2400 + number for number in range(32) if chr(number) not in "\n\t"}
_SHOWN = {**_CONTROLS, 0x7F: 0x2421, **dict.fromkeys(range(0x80, 0xA0), 0xFFFD)}
"""Control characters → the picture that Unicode has of each, or its replacement character."""
_SHOWN |= dict.fromkeys(
    (*range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD
)  # turn the direction of what follows
_BELOW_BLANK = re.compile("[\\x00-\\x08\\x0b-\\x1f]")
_MAYBE = re.compile("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f\\u202a-\\u202e\\u2066-\\u2069]")
_COLOURS_AND_CURSOR = re.compile(r"\x1b\[(?:[0-9;]*m|[0-9]*[A-GK]|\?25[hl])|\r|\x08")
"""What Rich and tqdm write: colours, moves within the last lines, a cursor hidden and shown."""


def plain(text: str) -> str:
    """The text with each control character but line feed and tab shown as a picture of it: `\\x1b` as ␛."""
    return text.translate(_SHOWN) if _MAYBE.search(text) else text


def without_orders(text: str) -> str:
    """The text with no orders to a terminal but colours and moves within the last lines.

    What JSON leaves as it is (C1, directions) stays: a document on stdout is data.
    """
    if not _BELOW_BLANK.search(text):
        return text
    kept, end = [], 0
    for found in _COLOURS_AND_CURSOR.finditer(text):
        kept += [text[end : found.start()].translate(_CONTROLS), found[0]]
        end = found.end()
    return "".join([*kept, text[end:].translate(_CONTROLS)])
