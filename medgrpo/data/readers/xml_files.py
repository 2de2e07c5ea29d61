"""XML annotation files: opened without entities, so that none unfolds or reads another file."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from medgrpo.data.readers.base import BadRow
from medgrpo.records import read_text

START = 4096
"""Bytes of a file that tell its kind."""


def parsed_xml(file: Path, expected: str) -> ElementTree.Element:
    """The root of an XML file.

    Raises:
        BadRow: it is not XML, or declares entities.
    """
    text = read_text(file).text
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise BadRow("XML with entities", "xml", f"{file.name} declares entities", "plain XML")
    try:
        return ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise BadRow("not XML", "xml", f"{file.name}: {error}", expected) from error


def starts_with(file: Path, *marks: bytes) -> bool:
    """Whether one of the marks is in the first bytes of a file."""
    with file.open("rb") as opened:
        start = opened.read(START)
    return any(mark in start for mark in marks)
