"""Boxes: COCO annotation files and YOLO folders. One row per picture, all of its boxes in it."""

from __future__ import annotations

import io
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from medgrpo.data.boxes import boxes_column
from medgrpo.data.readers.base import BadRow, FolderReader, Item, Problems
from medgrpo.data.readers.generic import find_image, split_of
from medgrpo.data.readers.values import required, text_of
from medgrpo.data.schema import Row, Task, new_row
from medgrpo.data.source import ImageRef, Source
from medgrpo.records import json_value, lines, read_text

Box = dict[str, Any]


def detection_row(boxes: Sequence[Box], labels: Sequence[str], image_id: str) -> Row:
    """The row that asks for all boxes of a picture.

    The answer names what is there, once each; the boxes are the reference.
    """
    found = list(dict.fromkeys(str(box["label"]) for box in boxes))
    return new_row(
        question=f"Find every {', '.join(labels) or 'finding'} in this image and give a box for each.",
        answer=", ".join(sorted(found)) or "none",
        image_id=image_id,
        language="en",
        question_type="DETECTION",
        boxes=boxes_column(boxes),
    )


def checked_box(edges: Sequence[float], width: float | None, height: float | None, field: str) -> list[float]:
    """The box, cut at the picture's border.

    Raises:
        BadRow: the edges are not four finite numbers in order, or the box lies outside the picture.
    """
    try:
        left, top, right, bottom = (float(edge) for edge in edges)
    except (TypeError, ValueError) as error:
        raise BadRow("box not four numbers", field, f"{edges!r}", "four numbers") from error
    if width and height:
        left, right = max(0.0, left), min(float(width), right)
        top, bottom = max(0.0, top), min(float(height), bottom)
    if not (left < right and top < bottom):
        shown = [round(edge, 2) for edge in (left, top, right, bottom)]
        raise BadRow(
            "box empty", field, f"{shown} has no area inside the picture", "left < right and top < bottom"
        )
    return [left, top, right, bottom]


def stored_size(source: Source, ref: ImageRef) -> tuple[int, int]:
    """Width and height of a picture as it is stored: turned as its EXIF says.

    Raises:
        BadRow: it cannot be opened.
    """
    from medgrpo.data.cells import read_bytes

    try:
        from PIL import Image

        with Image.open(io.BytesIO(read_bytes(source.root, ref))) as opened:
            width, height = opened.size
            turned = opened.getexif().get(0x0112, 1) >= 5
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        fault = f"{ref.key} is no picture, or damaged"
        raise BadRow("image unreadable", "image", fault, "a picture") from error
    return (height, width) if turned else (width, height)


class CocoReader(FolderReader):
    """COCO: one JSON object with `images`, `annotations`, `categories`; boxes as x, y, width, height."""

    name: ClassVar[str] = "coco"
    task: ClassVar[Task] = "detection"
    describe: ClassVar[str] = "COCO: a JSON object with images, annotations (bbox) and categories"

    def matches(self, source: Source) -> bool:
        """A JSON file that opens with COCO's three lists."""
        return bool(_coco_files(source))

    def read(self, source: Source, problems: Problems) -> Iterator[Item]:
        """A row per picture, also those without boxes; `source_row` is the place in `images`."""
        for file in _coco_files(source):
            content = json_value(read_text(file).text)
            labels = {category.get("id"): str(category.get("name")) for category in content["categories"]}
            boxes: dict[Any, list[Mapping[str, Any]]] = defaultdict(list)
            for annotation in content["annotations"]:
                if not annotation.get("iscrowd"):
                    boxes[annotation.get("image_id")].append(annotation)
            for number, picture in enumerate(content["images"], start=1):
                name = source.relative(file)
                try:
                    item = _coco_item(picture, boxes[picture.get("id")], labels, source, file)
                except BadRow as fault:
                    problems.bad(name, number, fault)
                    continue
                item.row |= {"source_file": name, "source_row": number}
                yield item


def _coco_files(source: Source) -> list[Path]:
    found = []
    for file in source.record_files:
        if file.suffix.lower() == ".json":
            with file.open("rb") as opened:
                start = opened.read(1 << 20)
            if start.lstrip()[:1] == b"{" and any(
                key in start for key in (b'"annotations"', b'"categories"')
            ):
                content = json_value(read_text(file).text)
                if all(isinstance(content.get(key), list) for key in ("images", "annotations", "categories")):
                    found.append(file)
    return found


def _coco_item(
    picture: Mapping[str, Any],
    annotations: Sequence[Mapping[str, Any]],
    labels: Mapping[Any, str],
    source: Source,
    file: Path,
) -> Item:
    image = find_image(required(picture, "file_name"), source, file)
    boxes = []
    for annotation in annotations:
        edges = annotation.get("bbox")
        if not isinstance(edges, list) or len(edges) != 4:
            raise BadRow("box not four numbers", "bbox", f"{edges!r}", "[x, y, width, height]")
        left, top, width, height = edges
        box = checked_box(
            (left, top, left + width, top + height), picture.get("width"), picture.get("height"), "bbox"
        )
        label = labels.get(annotation.get("category_id"))
        if label is None:
            raise BadRow(
                "category unknown",
                "category_id",
                f"{annotation.get('category_id')!r}",
                "the id of a category",
            )
        boxes.append({"box": box, "label": label})
    row = detection_row(boxes, list(labels.values()), image.path)  # ids start anew in each file
    row["patient_id"] = text_of(picture.get("patient_id"))
    return Item(row, [image], split=split_of(file))


class YoloReader(FolderReader):
    """YOLO: `labels/*.txt` beside `images/`, lines of class, centre and size as shares of the picture."""

    name: ClassVar[str] = "yolo"
    task: ClassVar[Task] = "detection"
    describe: ClassVar[str] = (
        "YOLO: images/ and labels/*.txt (class x y width height), data.yaml or classes.txt"
    )

    def matches(self, source: Source) -> bool:
        """A `labels` folder of text files, and pictures."""
        return bool(_yolo_labels(source)) and bool(source.pictures)

    def read(self, source: Source, problems: Problems) -> Iterator[Item]:
        """A row per picture; pictures without a label file have no boxes."""
        names = _yolo_names(source)
        labels = {path.stem: path for path in _yolo_labels(source)}
        for number, picture in enumerate(source.pictures, start=1):
            file = labels.get(picture.stem)
            place = source.relative(file or picture)
            try:
                item = _yolo_item(source, picture, file, names)
            except BadRow as fault:
                problems.bad(place, number, fault)
                continue
            item.row |= {"source_file": place, "source_row": number}
            yield item


def _yolo_labels(source: Source) -> list[Path]:
    return [p for p in source.files if p.suffix == ".txt" and "labels" in (part.lower() for part in p.parts)]


def _yolo_names(source: Source) -> list[str]:
    """Class names from `data.yaml` (`names: [a, b]`, or a line each) or `classes.txt`; empty if neither is there."""
    for file in source.files:
        if file.name in ("classes.txt", "obj.names"):
            return [line.strip() for line in lines(read_text(file).text) if line.strip()]
    for file in source.files:
        if file.suffix in (".yaml", ".yml"):
            return _yaml_names(read_text(file).text)
    return []


def _yaml_names(text: str) -> list[str]:
    rows = lines(text)
    start = next((i for i, line in enumerate(rows) if line.startswith("names:")), None)
    if start is None:
        return []
    inline = rows[start].partition(":")[2].strip()
    if inline:
        return [name.strip().strip("'\"") for name in inline.strip("[]").split(",")]
    names = []
    for line in rows[start + 1 :]:
        if not line.startswith((" ", "-")):
            break
        names.append(line.strip().lstrip("-").rpartition(":")[2].strip().strip("'\""))
    return names


def _yolo_item(source: Source, picture: Path, file: Path | None, names: Sequence[str]) -> Item:
    ref = ImageRef(source.relative(picture))
    width, height = stored_size(source, ref)
    boxes = []
    for line in lines(read_text(file).text) if file else []:
        if not line.strip():
            continue
        parts = line.split()
        try:
            number, (x, y, w, h) = int(float(parts[0])), (float(part) for part in parts[1:5])
        except (ValueError, IndexError) as error:
            raise BadRow("box not five numbers", "line", f"{line!r}", "class x y width height") from error
        if names and not 0 <= number < len(names):
            raise BadRow(
                "category unknown", "class", f"class {number} of {len(names)}", "the number of a class"
            )
        edges = ((x - w / 2) * width, (y - h / 2) * height, (x + w / 2) * width, (y + h / 2) * height)
        label = names[number] if names else f"class {number}"
        boxes.append({"box": checked_box(edges, width, height, "line"), "label": label})
    labels = list(names) or sorted({str(box["label"]) for box in boxes})
    split = next((split_of(Path(part)) for part in Path(ref.path).parts[:-1] if split_of(Path(part))), None)
    return Item(detection_row(boxes, labels, ref.path), [ref], split=split)
