"""YOLO folders: pictures and text files of boxes, in the layouts of Ultralytics, Roboflow and Darknet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from medgrpo.data.readers.base import BadRow, FolderReader, Item, Problems
from medgrpo.data.readers.detection import detection_row
from medgrpo.data.readers.geometry import checked_box, enclosing, stored_size
from medgrpo.data.schema import Task
from medgrpo.data.source import ImageRef, Source, split_word
from medgrpo.errors import MedgrpoError, missing_extra
from medgrpo.records import lines, read_text

NAME_FILES = ("classes.txt", "obj.names", "_darknet.labels")
EDGE = 0.01
"""Shares may leave the picture by this much: rounding of the tools that wrote them."""


class YoloReader(FolderReader):
    """YOLO: `labels/*.txt` beside `images/`, lines of class, centre and size as shares of the picture."""

    name: ClassVar[str] = "yolo"
    task: ClassVar[Task] = "detection"
    describe: ClassVar[str] = (
        "YOLO: images/ and labels/*.txt (class x y width height, or polygons), data.yaml or classes.txt"
    )

    def matches(self, source: Source) -> bool:
        """A `labels` folder of text files, or text files of numbers beside the pictures; of one file only where that is
        the data.yaml: a table of questions may lie beside the folders of YOLO."""
        if source.only_file is not None and source.only_file.suffix.lower() not in (".yaml", ".yml"):
            return False
        return bool(source.pictures) and bool(_label_files(source))

    def read(self, source: Source, problems: Problems) -> Iterator[Item]:
        """A row per picture; pictures without a label file have no boxes."""
        about = _about(source, problems)
        labels = _label_files(source)
        pairs = _paired(source, labels)
        for number, picture in enumerate(source.pictures, start=1):
            file = pairs.get(picture)
            place = source.relative(file or picture)
            try:
                item = _yolo_item(source, picture, file, about, problems)
            except BadRow as fault:
                problems.bad(place, number, fault)
                continue
            if file is None:
                problems.notes[
                    "picture without a file of labels: taken as one where nothing is to be found"
                ] += 1
            item.row |= {"source_file": place, "source_row": number}
            yield item
        lost = len(set(labels) - set(pairs.values()))
        if lost:
            problems.skipped["labels without a picture"] += lost


@dataclass(frozen=True)
class About:
    """What a data.yaml says."""

    names: Mapping[int, str]
    """Number -> class; empty where nothing names them."""
    keypoints: int = 0
    """Numbers of the keypoints at the end of each line."""
    splits: Mapping[Path, str] | None = None
    """Folder or picture -> split."""

    def split(self, picture: Path) -> str | None:
        """The split of a picture by the folders that the file names."""
        found = self.splits or {}
        return next((found[place] for place in (picture, *picture.parents) if place in found), None)


def _label_files(source: Source) -> list[Path]:
    """Text files in a `labels` folder of the source, else those beside a picture of the same name that hold numbers."""
    texts = [path for path in source.files if path.suffix == ".txt" and path.name not in NAME_FILES]
    inside = [p for p in texts if "labels" in (part.lower() for part in Path(source.relative(p)).parts[:-1])]
    if inside or source.only_file:
        return inside
    beside = {picture.with_suffix("") for picture in source.pictures}
    return [p for p in texts if p.with_suffix("") in beside and _holds_boxes(p)]


def _holds_boxes(file: Path) -> bool:
    try:
        filled = [line.split() for line in lines(read_text(file).text) if line.strip()]
        return all(len(parts) >= 5 and [float(part) for part in parts] for parts in filled)
    except (MedgrpoError, ValueError):
        return False


def _paired(source: Source, labels: Sequence[Path]) -> dict[Path, Path]:
    """Picture -> label file: the same path with `images` in place of `labels`, or beside it; by its bare name only
    where one picture and one file have it."""
    known = set(labels)
    stems: dict[str, list[Path]] = {}
    for path in labels:
        stems.setdefault(path.stem, []).append(path)
    pictures: dict[str, int] = {}
    for picture in source.pictures:
        pictures[picture.stem] = pictures.get(picture.stem, 0) + 1
    found = {}
    for picture in source.pictures:
        parts = picture.parts
        places = [picture.with_suffix(".txt")]
        for index in range(len(parts) - 2, -1, -1):
            if parts[index].lower() in ("images", "image", "jpegimages", "img", "imgs"):
                for name in ("labels", "Labels", "LABELS"):
                    places.append(Path(*parts[:index], name, *parts[index + 1 :]).with_suffix(".txt"))
        places.append(picture.parent / "labels" / f"{picture.stem}.txt")
        places.append(picture.parent.parent / "labels" / f"{picture.stem}.txt")
        match = next((place for place in places if place in known), None)
        alone = stems.get(picture.stem, [])
        if match is None and len(alone) == 1 and pictures[picture.stem] == 1:
            match = alone[0]
        if match is not None:
            found[picture] = match
    return found


def _about(source: Source, problems: Problems) -> About:
    for file in source.files:
        if file.suffix in (".yaml", ".yml") and "names" in read_text(file).text:
            content = read_yaml(file)
            if isinstance(content, dict) and "names" in content:
                return _from_yaml(source, content, file, problems)
    for file in source.files:
        if file.name in NAME_FILES:
            named = [line.strip() for line in lines(read_text(file).text) if line.strip()]
            return About(dict(enumerate(named)))
    return About({})


def read_yaml(file: Path) -> Any:
    """What a YAML file says; all scalars are texts, so that a class called `no` stays one.

    Raises:
        MedgrpoError: it is no YAML.
    """
    try:
        import yaml
    except ImportError as error:
        raise missing_extra("yaml", "data", f"reading {file.name}") from error
    try:
        return yaml.load(read_text(file).text, Loader=_strict_loader())
    except yaml.YAMLError as error:
        raise MedgrpoError(
            f"{file} is no YAML: {error}", expected="names: a list, or number: name"
        ) from error


@cache
def _strict_loader() -> Any:
    """A loader for which every scalar is a text, and that refuses a key written twice: the last would win in silence."""
    import yaml

    class Strict(yaml.BaseLoader):  # type: ignore[misc]  # the package has no types
        def construct_mapping(self, node: Any, deep: bool = False) -> Any:
            keys = [key.value for key, _ in node.value]
            twice = sorted({str(key) for key in keys if isinstance(key, str) and keys.count(key) > 1})
            if twice:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {twice[0]!r} is written twice", node.start_mark
                )
            return super().construct_mapping(node, deep)

    return Strict


def _from_yaml(source: Source, content: Mapping[str, Any], file: Path, problems: Problems) -> About:
    names = content["names"]
    if isinstance(names, dict) and all(str(key).strip().isdigit() for key in names):
        found = {int(key): str(name) for key, name in names.items()}
    elif isinstance(names, list):
        found = {number: str(name) for number, name in enumerate(names)}
    else:
        raise MedgrpoError(
            f"{file}: names is {names!r:.60}", expected="a list of names, or an object of number: name"
        )
    count = str(content.get("nc", len(found)))
    if count.isdigit() and int(count) != len(found):
        problems.notes[f"{file.name} says nc: {count} and names {len(found)} classes"] += 1
    shape = content.get("kpt_shape")
    keypoints = int(shape[0]) * int(shape[1]) if isinstance(shape, list) and len(shape) == 2 else 0
    return About(found, keypoints, _splits(source, content, file))


def _splits(source: Source, content: Mapping[str, Any], file: Path) -> dict[Path, str]:
    """Where train, val and test lie. Roboflow writes `../train/images` for `train/images` beside the file.

    A place outside of the source is not looked at: the file may come from others, and pictures of the source cannot lie there.
    """
    found: dict[Path, str] = {}
    for key in ("train", "val", "valid", "validation", "test"):
        for place in _several(content.get(key)):
            parts = [part for part in PurePosixPath(place).parts if part not in ("..", ".", "/")]
            for root in (file.parent, file.parent / str(content.get("path", ""))):
                folder = root.joinpath(*parts)
                if not source.contains(folder):
                    continue
                if folder.suffix == ".txt" and folder.is_file():
                    listed = (line.strip() for line in lines(read_text(folder).text))
                    found |= {
                        (root / line.removeprefix("./")): split_word(key) or key for line in listed if line
                    }
                elif folder.is_dir() and parts:
                    found[folder] = split_word(key) or key
    return found


def _several(value: Any) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)] if value else []


def _yolo_item(source: Source, picture: Path, file: Path | None, about: About, problems: Problems) -> Item:
    ref = ImageRef(source.relative(picture))
    width, height = stored_size(source, ref)
    boxes = []
    for line in lines(read_text(file).text) if file else []:
        if line.strip():
            number, edges, note = _line(line, about)
            if note:
                problems.notes[note] += 1
            if about.names and number not in about.names:
                known = f"class {number} of {len(about.names)}"
                raise BadRow("category unknown", "class", known, "the number of a class")
            left, top, right, bottom = edges
            box = checked_box(
                (left * width, top * height, right * width, bottom * height), width, height, "line"
            )
            boxes.append({"box": box, "label": about.names.get(number, f"class {number}")})
    labels = list(about.names.values()) or sorted({str(box["label"]) for box in boxes})
    split = about.split(picture) or source.split_of(picture)
    return Item(detection_row(boxes, labels, ref.path), [ref], split=split)


def _line(line: str, about: About) -> tuple[int, list[float], str | None]:
    """Class, edges as shares of the picture, and what to say of the line.

    Raises:
        BadRow: it is neither a box nor a polygon of shares.
    """
    try:
        number, *values = (float(part) for part in line.split())
    except ValueError as error:
        raise BadRow("box not five numbers", "line", f"{line!r}", "class x y width height") from error
    if not number.is_integer() or number < 0:
        raise BadRow("category unknown", "class", f"{number!r}", "the number of a class")
    note = None
    if about.keypoints and len(values) == 4 + about.keypoints:
        values, note = values[:4], "keypoints are not read"
    if len(values) == 5:
        values, note = values[:4], "a sixth number (a confidence) is not read"
    if len(values) == 4:
        x, y, w, h = values
        edges = [x - w / 2, y - h / 2, x + w / 2, y + h / 2]
    elif len(values) >= 6 and len(values) % 2 == 0:
        edges, note = enclosing(values, "line"), "box taken around a polygon"
    else:
        raise BadRow(
            "box not five numbers",
            "line",
            f"{len(values) + 1} numbers in {line[:60]!r}",
            "class x y width height, or a polygon",
        )
    if min(edges) < -EDGE or max(edges) > 1 + EDGE:
        shown = [round(edge, 3) for edge in edges]
        raise BadRow("box outside the picture", "line", f"{shown} of the picture", "shares between 0 and 1")
    return int(number), edges, note
