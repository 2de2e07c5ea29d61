"""Boxes in a file for each picture: Pascal VOC (XML) and LabelMe (JSON)."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from medgrpo.data.embedded import TextPictures
from medgrpo.data.readers.base import BadRow, FolderReader, Item, Problems
from medgrpo.data.readers.cvat import is_cvat
from medgrpo.data.readers.detection import NO_CLASS, detection_row, refuse_only_other_marks
from medgrpo.data.readers.generic import find_image
from medgrpo.data.readers.geometry import CUT, Placing, enclosing, frame_of
from medgrpo.data.readers.values import text_of
from medgrpo.data.readers.xml_files import parsed_xml, starts_with
from medgrpo.data.schema import Task
from medgrpo.data.source import ImageRef, Source, split_word
from medgrpo.errors import MedgrpoError
from medgrpo.json_in import json_value
from medgrpo.records import lines, read_text

Found = tuple[str, tuple[float, float] | None, list[tuple[str, list[float]]], list[str]]
"""Name of the picture, the size that the file states, (label, edges) of each box, and what to tell."""


class _OneFileAPicture(FolderReader):
    """Annotation files that each name their picture."""

    task: ClassVar[Task] = "detection"
    _lists: tuple[Source, dict[str, str]] | None = None

    @abstractmethod
    def files(self, source: Source) -> list[Path]:
        """The annotation files."""

    @abstractmethod
    def annotations(self, file: Path) -> Found:
        """What a file says.

        Raises:
            BadRow: it is broken.
        """

    def picture(self, name: str, source: Source, file: Path) -> ImageRef:
        """The picture beside the annotation file, or the one that the file names.

        Raises:
            BadRow: there is none.
        """
        return _picture(name, source, file)

    def _listed(self, source: Source) -> dict[str, str]:
        """Name of a picture -> split, as VOC's lists `ImageSets/*/train.txt` say; a name in lists of two splits has none."""
        if self._lists is None or self._lists[0] is not source:
            found: dict[str, set[str]] = {}
            for file in source.files:
                split = split_word(file.stem)
                if file.suffix == ".txt" and split and file.stem != "trainval" and "ImageSets" in file.parts:
                    for line in lines(read_text(file).text):
                        if (
                            line.split() and line.split()[-1] != "-1"
                        ):  # of one class: 1, or -1 for pictures without it
                            found.setdefault(line.split()[0], set()).add(split)
            known = {name: next(iter(splits)) for name, splits in found.items() if len(splits) == 1}
            self._lists = source, known
        return self._lists[1]

    def annotation_files(self, source: Source) -> list[Path]:
        """One for each picture."""
        return self.files(source)

    def matches(self, source: Source) -> bool:
        """Annotation files, and pictures."""
        return bool(source.pictures) and bool(self.files(source))

    def read(self, source: Source, problems: Problems) -> Iterator[Item]:
        """A row per annotation file; all classes of the folder are asked for."""
        read: list[tuple[Path, Found | BadRow]] = []
        for file in self.files(source):
            try:
                read.append((file, self.annotations(file)))
            except BadRow as fault:
                read.append((file, fault))
        labels = sorted({label for _, found in read if isinstance(found, tuple) for label, _ in found[2]})
        for number, (file, found) in enumerate(read, start=1):
            name = source.relative(file)
            try:
                if isinstance(found, BadRow):
                    raise found
                item = self._item(source, file, found, labels, problems)
            except BadRow as fault:
                problems.bad(name, number, fault)
                continue
            item.row |= {"source_file": name, "source_row": number}
            yield item

    def _item(self, source: Source, file: Path, found: Found, labels: list[str], problems: Problems) -> Item:
        name, stated, boxes, notes = found
        image = self.picture(name, source, file)
        problems.notes.update(notes)
        placed = []
        if boxes and image.part != "missing":
            placing = Placing(stated, frame_of(source, image), "size")
            placed = [{"box": placing.box(edges, "box"), "label": label} for label, edges in boxes]
            if placing.cut:
                problems.notes[CUT] += placing.cut
            if placing.note:
                problems.notes[placing.note] += 1
        split = (
            self._listed(source).get(file.stem)
            or source.split_of(file)
            or source.split_of(source.root / image.path)
        )
        return Item(detection_row(placed, labels, image.path), [image], split=split)


def _picture(name: str, source: Source, file: Path) -> ImageRef:
    """The picture beside the annotation file, or the one that the file names."""
    beside = [p for p in source.pictures if p.stem == file.stem and p.parent == file.parent]
    if len(beside) == 1:
        return ImageRef(source.relative(beside[0]))
    return find_image(name.replace("\\", "/").rpartition("/")[2], source, file)


class VocReader(_OneFileAPicture):
    """Pascal VOC: `Annotations/*.xml` with filename, size and objects."""

    name: ClassVar[str] = "voc"
    describe: ClassVar[str] = "Pascal VOC: XML files with filename, size, object (name, bndbox)"

    def files(self, source: Source) -> list[Path]:
        """XML files that open with an annotation."""
        if source.only_file:
            return []
        found = [path for path in source.files if path.suffix.lower() == ".xml"]
        return [path for path in found if starts_with(path, b"<annotation") and not is_cvat(path)]

    def annotations(self, file: Path) -> Found:
        """Filename, size, and the boxes of the objects; VOC counts pixels from 1."""
        root = parsed_xml(file, "an annotation of Pascal VOC")
        sides = [_number(root.findtext(f"size/{side}")) for side in ("width", "height")]
        stated = (sides[0], sides[1]) if sides[0] and sides[1] else None
        boxes: list[tuple[str, list[float]]] = []
        notes: list[str] = []
        for part in root.iter("object"):
            label = (part.findtext("name") or "").strip()
            edges = [_number(part.findtext(f"bndbox/{edge}")) for edge in ("xmin", "ymin", "xmax", "ymax")]
            if not label or any(edge is None for edge in edges):
                raise BadRow("object without a box", "object", f"{label!r}: {edges}", "a name and a bndbox")
            if _number(part.findtext("difficult")):
                notes.append("box marked as difficult: kept")
            boxes.append((label, [float(edge or 0) for edge in edges]))
        return root.findtext("filename") or file.stem, stated, boxes, notes


class LabelMeReader(_OneFileAPicture):
    """LabelMe: a JSON file a picture with `shapes` and `imagePath`."""

    name: ClassVar[str] = "labelme"
    describe: ClassVar[str] = "LabelMe: a JSON file a picture with shapes (rectangle, polygon, circle)"

    def files(self, source: Source) -> list[Path]:
        """JSON files with shapes."""
        if source.only_file:
            return []
        found = [path for path in source.files if path.suffix.lower() == ".json"]
        return [path for path in found if _is_labelme(path)]

    def picture(self, name: str, source: Source, file: Path) -> ImageRef:
        """The picture beside the file or that it names, or else the one inside of it."""
        try:
            found = _picture(name, source, file)
        except BadRow:
            if (inside := _inside(file, source)) is None:
                raise
            return inside
        return (_inside(file, source) or found) if found.part == "missing" else found

    def matches(self, source: Source) -> bool:
        """LabelMe's files; their pictures may lie in them."""
        return bool(self.files(source))

    def annotations(self, file: Path) -> Found:
        """The picture, its size, and the boxes around the shapes."""
        content = json_value(read_text(file).text)
        sides = [_number(content.get(side)) for side in ("imageWidth", "imageHeight")]
        stated = (sides[0], sides[1]) if sides[0] and sides[1] else None
        boxes: list[tuple[str, list[float]]] = []
        notes: list[str] = []
        others: list[str] = []
        _refuse_classified(content)
        notes += ["flags of a picture or a shape are not read"] * any(
            map(_flags, (content, *content["shapes"]))
        )
        for shape in content["shapes"]:
            label, kind = text_of(shape.get("label")), shape.get("shape_type") or "polygon"
            if label is not None and label.lower() in NO_CLASS:
                notes.append(f"shape left out: its label is {label}")
                continue
            edges = _edges(shape.get("points") or [], kind)
            if label is None or edges is None:
                notes.append(f"shape of the kind {kind} has no area: left out")
                others.append(kind)
                continue
            if kind != "rectangle":
                notes.append(f"box taken around a {kind}")
            boxes.append((label, edges))
        refuse_only_other_marks(others, boxes)
        return str(content.get("imagePath") or file.stem), stated, boxes, notes


def _inside(file: Path, source: Source) -> ImageRef | None:
    """The picture that LabelMe wrote into its own file (`imageData`, its default)."""
    text = json_value(read_text(file).text).get("imageData")
    if not isinstance(text, str) or not text:
        return None
    cell = TextPictures(file.read_bytes()).cell(text, "imageData")["cell"]
    source.notes["picture read out of the data file, where it stands as base64 or within a text"] += 1
    return ImageRef(source.relative(file), cell)


def _flags(part: dict[str, Any]) -> list[str]:
    """The flags of a picture or a shape that are set."""
    flags = part.get("flags")
    return [str(name) for name, value in flags.items() if value] if isinstance(flags, dict) else []


def _refuse_classified(content: dict[str, Any]) -> None:
    """A picture without shapes that flags name: "nothing is to be found" would be wrong of it.

    Raises:
        BadRow: it is one.
    """
    if not content["shapes"] and (named := _flags(content)):
        raise BadRow(
            "picture that is classified, not marked",
            "flags",
            f"no shapes, and the flags {', '.join(named)[:60]}",
            "shapes; or a table with the columns image, question and answer for what the flags say",
        )


def _is_labelme(file: Path) -> bool:
    if not starts_with(file, b'"shapes"', b'"imagePath"'):
        return False
    try:
        content = json_value(read_text(file).text)
    except (ValueError, MedgrpoError):
        return False
    return isinstance(content, dict) and isinstance(content.get("shapes"), list)


def _edges(points: list[Any], kind: str) -> list[float] | None:
    """The box around a shape; None for points and lines."""
    flat = [float(value) for point in points for value in point]
    if kind in ("rectangle", "mask") and len(flat) == 4:
        last = float(kind == "mask")  # its points are its first and its last pixel
        return [min(flat[::2]), min(flat[1::2]), max(flat[::2]) + last, max(flat[1::2]) + last]
    if kind == "circle" and len(flat) == 4:
        radius = ((flat[2] - flat[0]) ** 2 + (flat[3] - flat[1]) ** 2) ** 0.5
        return [flat[0] - radius, flat[1] - radius, flat[0] + radius, flat[1] + radius]
    if (
        kind in ("polygon", "rectangle", "rotation", "rotated_rectangle", "oriented_rectangle")
        and len(flat) >= 6
    ):
        return enclosing(flat, "points")
    return None


def _number(value: Any) -> float | None:
    try:
        return None if value in (None, "") else float(value)
    except (TypeError, ValueError):
        return None
