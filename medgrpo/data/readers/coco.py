"""COCO annotation files: one row per picture, all of its boxes in it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

from medgrpo.data.readers.base import BadRow, FolderReader, Item, Problems
from medgrpo.data.readers.detection import detection_row
from medgrpo.data.readers.generic import find_image
from medgrpo.data.readers.geometry import CUT, Placing, enclosing, frame_of
from medgrpo.data.readers.values import required, text_of
from medgrpo.data.schema import Task
from medgrpo.data.source import Source
from medgrpo.errors import MedgrpoError
from medgrpo.json_in import json_value
from medgrpo.records import read_text

PARTS = ("images", "annotations", "categories")


class CocoReader(FolderReader):
    """COCO: one JSON object with `images`, `annotations`, `categories`; boxes as x, y, width, height."""

    name: ClassVar[str] = "coco"
    task: ClassVar[Task] = "detection"
    describe: ClassVar[str] = "COCO: a JSON object with images, annotations (bbox) and categories"

    def matches(self, source: Source) -> bool:
        """A JSON file that opens with COCO's three lists."""
        return bool(_coco_files(source))

    def annotation_files(self, source: Source) -> list[Path]:
        """All COCO files."""
        return _coco_files(source)

    def read(self, source: Source, problems: Problems) -> Iterator[Item]:
        """A row per picture, also those without boxes; `source_row` is the place in `images`."""
        for file in _coco_files(source):
            yield from _CocoFile(file, source, problems).items()


def _coco_files(source: Source) -> list[Path]:
    named = (file for file in source.record_files if file.suffix.lower() == ".json")
    return [file for file in named if _is_coco(file, file.stat().st_mtime_ns)]


@lru_cache(maxsize=256)
def _is_coco(file: Path, stamp: int) -> bool:
    """Whether a file has COCO's three lists; `stamp`, its time of change, makes a changed file another one."""
    with file.open("rb") as opened:
        start = opened.read(1 << 20)
    if start.lstrip()[:1] != b"{" or not any(f'"{key}"'.encode() in start for key in PARTS):
        return False
    try:
        content = json_value(read_text(file).text)
    except (ValueError, RecursionError, MedgrpoError):
        return False  # lines of JSON, or broken: the record formats say so
    return all(isinstance(content.get(key), list) for key in PARTS)


class _CocoFile:
    """One annotation file."""

    def __init__(self, file: Path, source: Source, problems: Problems) -> None:
        content = json_value(read_text(file).text)
        self.file, self.source, self.problems = file, source, problems
        self.pictures: list[Mapping[str, Any]] = content["images"]
        self.annotations: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
        used = set()
        for annotation in content["annotations"]:
            if _counts(annotation, problems):
                self.annotations[annotation.get("image_id")].append(annotation)
            used.add(annotation.get("category_id"))
        self.labels = _labels(content["categories"], used, problems)
        known = [picture.get("id") for picture in self.pictures]
        lost = sum(len(found) for key, found in self.annotations.items() if key not in known)
        if lost:
            problems.notes["annotation of a picture that the file does not list"] += lost
        self.counts_corners = self._look_like_corners()
        self.doubled = (
            {key for key in known if known.count(key) > 1} if len(set(known)) < len(known) else set()
        )

    def _look_like_corners(self) -> bool:
        """Whether the boxes read as x1 y1 x2 y2 all lie in their pictures, and as x y width height half of them do not."""
        sizes = {p.get("id"): (_number(p.get("width")), _number(p.get("height"))) for p in self.pictures}
        over = count = 0
        for key, found in self.annotations.items():
            wide, high = sizes.get(key, (0.0, 0.0))
            for box in (_numbers(one.get("bbox")) for one in found) if wide and high else ():
                if box is None:
                    return False
                x, y, third, fourth = box
                if not (0 <= x < third <= wide and 0 <= y < fourth <= high):
                    return False
                count += 1
                over += x + third > wide + 0.1 * third or y + fourth > high + 0.1 * fourth
        return 2 * over >= count > 0

    def items(self) -> Iterator[Item]:
        """A row per picture."""
        name = self.source.relative(self.file)
        for number, picture in enumerate(self.pictures, start=1):
            try:
                item = self._item(picture)
            except BadRow as fault:
                self.problems.bad(name, number, fault)
                continue
            item.row |= {"source_file": name, "source_row": number}
            yield item

    def _item(self, picture: Mapping[str, Any]) -> Item:
        if picture.get("id") in self.doubled:
            raise BadRow("two pictures of one id", "id", f"{picture.get('id')!r}", "an id for each picture")
        image = find_image(required(picture, "file_name"), self.source, self.file)
        annotations = self.annotations[picture.get("id")]
        if annotations and self.counts_corners:
            raise BadRow(
                "boxes look like corners",
                "bbox",
                "as x y width height they leave their pictures, as x1 y1 x2 y2 they all lie inside",
                "[x, y, width, height], as COCO has it",
            )
        boxes = []
        if annotations and image.part != "missing":
            sides = [float(picture.get(side) or 0) for side in ("width", "height")]
            stated = (sides[0], sides[1]) if all(sides) else None
            placing = Placing(stated, frame_of(self.source, image), "width")
            boxes = [
                {"box": placing.box(self._edges(a), "bbox"), "label": self._label(a)} for a in annotations
            ]
            if placing.cut:
                self.problems.notes[CUT] += placing.cut
            if placing.note:
                self.problems.notes[placing.note] += 1
        row = detection_row(boxes, list(self.labels.values()), image.path)  # ids start anew in each file
        row["patient_id"] = text_of(picture.get("patient_id"))
        return Item(row, [image], split=self.source.split_of(self.file))

    def _edges(self, annotation: Mapping[str, Any]) -> Sequence[float]:
        edges = annotation.get("bbox")
        if edges in (None, []) and isinstance(annotation.get("segmentation"), list):
            self.problems.notes["box taken around the polygon: the annotation has none of its own"] += 1
            return enclosing([value for part in annotation["segmentation"] for value in part], "segmentation")
        if not isinstance(edges, list) or len(edges) != 4:
            raise BadRow("box not four numbers", "bbox", f"{edges!r}", "[x, y, width, height]")
        try:
            left, top, width, height = (float(edge) for edge in edges)
        except (TypeError, ValueError) as error:
            raise BadRow("box not four numbers", "bbox", f"{edges!r}", "[x, y, width, height]") from error
        return left, top, left + width, top + height

    def _label(self, annotation: Mapping[str, Any]) -> str:
        number = annotation.get("category_id")
        label = self.labels.get(number)
        if label is None:
            raise BadRow("category unknown", "category_id", f"{number!r}", "the id of a category")
        return label


def _number(value: Any) -> float:
    try:
        return float(value or 0)
    except (TypeError, ValueError):
        return 0.0


def _numbers(box: Any) -> list[float] | None:
    """The four numbers of a box; None where it has none."""
    if not isinstance(box, list) or len(box) != 4:
        return None
    try:
        return [float(edge) for edge in box]
    except (TypeError, ValueError):
        return None


def _counts(annotation: Mapping[str, Any], problems: Problems) -> bool:
    """False for regions that COCO leaves out of the count: crowds, and what is marked to be ignored."""
    for flag in ("iscrowd", "ignore"):
        if annotation.get(flag):
            problems.notes[f"box left out: {flag} is set"] += 1
            return False
    return True


def _labels(categories: Sequence[Mapping[str, Any]], used: set[Any], problems: Problems) -> dict[Any, str]:
    """id -> name; without groups that only stand above others (Roboflow's first category)."""
    parents = {str(category.get("supercategory")) for category in categories}
    labels = {}
    for category in categories:
        name = str(category.get("name"))
        others = [other for other in categories if other.get("name") != category.get("name")]
        above = any(str(other.get("supercategory")) == name for other in others)
        if name in parents and above and category.get("id") not in used:
            problems.notes[f"category {name!r} stands above others and has no box: not asked for"] += 1
        else:
            labels[category.get("id")] = name
    return labels
