"""Boxes as CVAT exports them ("CVAT for images 1.1"): one XML file for all pictures of a task."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

from medgrpo.data.readers.base import BadRow, FolderReader, Item, Problems
from medgrpo.data.readers.detection import detection_row, refuse_only_other_marks
from medgrpo.data.readers.generic import find_image
from medgrpo.data.readers.geometry import CUT, Placing, enclosing, frame_of
from medgrpo.data.readers.xml_files import parsed_xml, starts_with
from medgrpo.data.schema import Task
from medgrpo.data.source import Source, split_word

CORNERS = ("xtl", "ytl", "xbr", "ybr")
Shape = tuple[str, list[float]]
"""Label, and left, top, right, bottom in the pixels of the picture as CVAT shows it."""


class CvatReader(FolderReader):
    """CVAT for images: `<annotations>` with an `<image>` of name, width and height for each picture."""

    name: ClassVar[str] = "cvat"
    task: ClassVar[Task] = "detection"
    describe: ClassVar[str] = (
        "CVAT for images 1.1: XML with image (name, width, height), box, polygon, ellipse, mask"
    )

    def files(self, source: Source) -> list[Path]:
        """XML files of CVAT; those of videos too, whose frames are no pictures."""
        found = [path for path in source.files if path.suffix.lower() == ".xml"]
        return [path for path in found if is_cvat(path)]

    def annotation_files(self, source: Source) -> list[Path]:
        """The XML files."""
        return self.files(source)

    def matches(self, source: Source) -> bool:
        """A file of CVAT."""
        return source.only_file is None and bool(self.files(source))

    def read(self, source: Source, problems: Problems) -> Iterator[Item]:
        """A row per picture; all labels of the task are asked for."""
        for file in self.files(source):
            name = source.relative(file)
            try:
                root = parsed_xml(file, "CVAT for images 1.1")
                _refuse_video(root)
            except BadRow as fault:
                problems.bad(name, 1, fault)
                continue
            labels = _labels(root)
            for number, image in enumerate(root.iter("image"), start=1):
                try:
                    item = _item(source, file, image, labels, problems)
                except BadRow as fault:
                    problems.bad(name, number, fault)
                    continue
                item.row |= {"source_file": name, "source_row": number}
                yield item


def is_cvat(file: Path) -> bool:
    """Whether an XML file is CVAT's: annotations with a version, or with pictures or tracks."""
    return starts_with(file, b"<annotations") and starts_with(
        file, b"<version", b"<image ", b"<track ", b"<meta"
    )


def _refuse_video(root: ElementTree.Element) -> None:
    if root.find("track") is not None:
        raise BadRow(
            "annotations of a video",
            "track",
            "the boxes belong to frames of a video, which is no picture of the folder",
            "an export as CVAT for images 1.1, with its pictures",
        )


def _labels(root: ElementTree.Element) -> list[str]:
    """The labels of the task whose shapes have an area, or else those that are used."""
    known = [
        (label.findtext("name") or "").strip()
        for label in root.iter("label")
        if (label.findtext("type") or "any") not in ("points", "polyline", "skeleton", "tag", "cuboid")
    ]
    used = [part.get("label", "") for image in root.iter("image") for part in image if part.tag in AREAS]
    return sorted({label for label in (*known, *used) if label} & set(used or known))


def _item(
    source: Source, file: Path, image: ElementTree.Element, labels: list[str], problems: Problems
) -> Item:
    name = image.get("name") or ""
    picture = find_image(name.replace("\\", "/"), source, file)
    shapes = [shape for part in image if (shape := _shape(part, problems)) is not None]
    refuse_only_other_marks([part.tag for part in image if part.tag not in AREAS], shapes)
    placed = []
    if shapes and picture.part != "missing":
        sides = float(image.get("width") or 0), float(image.get("height") or 0)
        placing = Placing(sides if min(sides) > 0 else None, frame_of(source, picture), "width")
        placed = [{"box": placing.box(edges, "box"), "label": label} for label, edges in shapes]
        if placing.cut:
            problems.notes[CUT] += placing.cut
        if placing.note:
            problems.notes[placing.note] += 1
    split = split_word(image.get("subset")) or source.split_of(source.root / picture.path)
    return Item(detection_row(placed, labels, picture.path), [picture], split=split)


def _shape(part: ElementTree.Element, problems: Problems) -> Shape | None:
    """Label and edges of a shape; None, and a note, for what has no area.

    Raises:
        BadRow: its numbers are none.
    """
    if part.tag not in AREAS:
        problems.notes[f"{part.tag} of CVAT has no area: left out"] += 1
        return None
    try:
        edges = AREAS[part.tag](part)
    except (TypeError, ValueError) as error:
        raise BadRow("shape not understood", part.tag, f"{part.attrib!r:.60}", "CVAT's numbers") from error
    if part.tag != "box":
        problems.notes[f"box taken around {'an' if part.tag == 'ellipse' else 'a'} {part.tag}"] += 1
    elif float(part.get("rotation") or 0) % 360:
        problems.notes["box taken around a turned box"] += 1
    if any((attribute.text or "").strip() not in ("", "false") for attribute in part.iter("attribute")):
        problems.notes["attributes of a shape are not read"] += 1
    return part.get("label", "").strip() or "finding", edges


def _box(part: ElementTree.Element) -> list[float]:
    """The box, or the one around it where it is turned (by `rotation` degrees about its centre)."""
    from math import cos, radians, sin

    left, top, right, bottom = (float(part.get(corner) or "") for corner in CORNERS)
    angle = radians(float(part.get("rotation") or 0))
    if not angle:
        return [left, top, right, bottom]
    across, down = (right - left) / 2, (bottom - top) / 2
    wide, high = (
        abs(across * cos(angle)) + abs(down * sin(angle)),
        abs(across * sin(angle)) + abs(down * cos(angle)),
    )
    x, y = (left + right) / 2, (top + bottom) / 2
    return [x - wide, y - high, x + wide, y + high]


def _polygon(part: ElementTree.Element) -> list[float]:
    points = [float(value) for point in (part.get("points") or "").split(";") for value in point.split(",")]
    return enclosing(points, "points")


def _ellipse(part: ElementTree.Element) -> list[float]:
    """The box around an ellipse of centre cx, cy and half axes rx, ry."""
    from math import cos, hypot, radians, sin

    x, y, across, down = (float(part.get(name) or "") for name in ("cx", "cy", "rx", "ry"))
    angle = radians(float(part.get("rotation") or 0))
    wide, high = hypot(across * cos(angle), down * sin(angle)), hypot(across * sin(angle), down * cos(angle))
    return [x - wide, y - high, x + wide, y + high]


def _mask(part: ElementTree.Element) -> list[float]:
    """The box that the run lengths of a mask fill."""
    left, top, width, height = (float(part.get(name) or "") for name in ("left", "top", "width", "height"))
    return [left, top, left + width, top + height]


AREAS = {"box": _box, "polygon": _polygon, "ellipse": _ellipse, "mask": _mask}
"""Shapes that have an area -> the box around them."""
