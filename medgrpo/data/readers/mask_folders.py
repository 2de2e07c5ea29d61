"""Folders of pictures with masks: DRIVE, STARE, CHASE_DB1, HRF, and any image + mask pair."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar, Literal

from medgrpo.data.readers.base import BadRow, FolderReader, Item, Problems
from medgrpo.data.schema import Task, new_row
from medgrpo.data.source import UNION, ImageRef, Source, union_of

Role = Literal["image", "mask", "mask2", "fov", "stack"]

FOLDER_ROLES: tuple[tuple[Role, str], ...] = (
    ("stack", r"pred_(unet|laddernet)|stacks?"),
    ("mask2", r"(manual2|2nd_manual|second|labels-vk|observer2|human)"),
    (
        "mask",
        r"(manual1?|manual_av|1st_manual|labels?(-ah)?|labels(tr|ts)|masks?_gt|gts?|(.*_)?ground[_ ]?truths?"
        r"|annotations?|seg(mentation)?s?|vessels?|ve|segmentationclass|ann_dir)",
    ),
    ("fov", r"(fov|roi|field_of_view)"),
    (
        "image",
        r"(images?|images(tr|ts)|imgs?|originals?|(.*_)?inputs?|stare-images|hr|fundus|pictures?|jpegimages|img_dir)",
    ),
)
"""Folder names by role; `mask` and `masks` mean the field of view beside a manual annotation, as in DRIVE
and HRF, and the annotation itself otherwise."""
FILE_ROLES: tuple[tuple[Role, str], ...] = (
    ("mask2", r"[._-](2nd_?ho|manual2|vk)$"),
    ("mask", r"[._-](1st_?ho|manual1?|ah|(mask|seg(mentation)?|label|gt)([._-]?\d{1,3})?|av_?manual)$"),
)
"""Ends of file names that tell the role where all files lie in one folder (CHASE_DB1)."""
_ENDS = re.compile(
    r"([._-](1st_?ho|2nd_?ho|manual[12]?|ah|vk|(mask|seg(mentation)?|label|gt)([._-]?\d{1,3})?|labels|av_?manual|stack|test"
    r"|training|0000))+$",
    re.IGNORECASE,
)
_EYE = re.compile(r"^(image_?\d+)[lr]$", re.IGNORECASE)
QUESTIONS = {
    "vessels": "Segment the blood vessels in this image.",
    "region": "Segment the marked region in this image.",
}
ANSWER = "[SEG]"
"""What a segmenting model writes; the mask is the reference."""
FUNDUS = re.compile(r"drive|stare|chase|hrf|fives|fundus|retina|vessel", re.IGNORECASE)


class MaskFolderReader(FolderReader):
    """Pictures and masks in folders side by side, or in one folder with telling file names."""

    name: ClassVar[str] = "masks"
    task: ClassVar[Task] = "vessels"
    needs_no_records: ClassVar[bool] = True
    describe: ClassVar[str] = (
        "folders image/, manual/ (or mask/), manual2/, fov/ with files of matching names"
    )

    def matches(self, source: Source) -> bool:
        """A mask folder, or masks by their file names, and no records that name the pictures."""
        if source.only_file:
            return False
        return any(role in ("mask", "mask2", "stack") for files in _sets(source).values() for role in files)

    def read(self, source: Source, problems: Problems) -> Iterator[Item]:
        """A row per picture; `source_row` counts the pictures of a set."""
        for folder, files in sorted(_sets(source).items()):
            keys = sorted({key for role in files.values() for key in role})
            if not files.keys() & {"image", "stack"}:
                # HRF's labels are often passed on without their pictures
                problems.skipped["mask of a set without pictures"] += len(keys)
                continue
            if not files.keys() & {"mask", "mask2", "stack"}:  # nnU-Net's imagesTs
                problems.skipped["picture of a set without masks"] += len(keys)
                continue
            for number, key in enumerate(keys, start=1):
                parts = {role: found[key] for role, found in files.items() if key in found}
                try:
                    item = self._item(source, parts, folder, key, problems)
                except BadRow as fault:
                    problems.bad(folder or ".", number, fault)
                    continue
                for part in _parts_of(item) if source.mask_parts == "instances" else [item]:
                    part.row |= {"source_file": folder or ".", "source_row": number}
                    yield part

    def _item(
        self, source: Source, parts: dict[Role, list[Path]], folder: str, key: str, problems: Problems
    ) -> Item:
        refs = {role: _ref(source, role, paths, problems) for role, paths in parts.items()}
        stack = refs.pop("stack", None)
        if "image" not in refs and stack is not None:
            refs["image"] = ImageRef(stack.path, "panel:1/3")
        if "image" not in refs:
            found = source.relative(next(iter(parts.values()))[0])
            raise BadRow(
                "image missing", "image", f"no picture belongs to {found}", "a picture of the same name"
            )
        if "mask" not in refs:
            raise BadRow(
                "mask missing", "mask", f"no mask belongs to {refs['image'].path}", "a mask of the same name"
            )
        kind = "vessels" if FUNDUS.search(f"{source.base.name}/{refs['mask'].path}") else "region"
        eye = _EYE.match(key)
        row = new_row(
            question=QUESTIONS[kind],
            answer=ANSWER,
            image_id=f"{folder}/{key}".strip("/"),
            patient_id=f"{folder}/{eye.group(1)}".strip("/") if eye else None,
            language="en",
            question_type="SEGMENTATION",
            modality="fundus photography" if kind == "vessels" else None,
            label_source="folder" if kind == "vessels" else None,
        )
        picture = parts["image"][0] if "image" in parts else None
        named = picture.stem.lower() if picture else ""
        split: str | None = next((name for name in ("test", "train") if name in named), None)
        split = split or next(
            (name for name in ("test", "train") if name in folder.lower().split("/")[-1]), None
        )
        split = split or (source.split_of(picture) if picture else None) or _split_of_folder(picture)
        return Item(row, [refs["image"]], refs["mask"], refs.get("mask2"), refs.get("fov"), split)


def _parts_of(item: Item) -> list[Item]:
    """A row for each mask of a picture that has several."""
    paths = union_of(item.mask) if item.mask else []
    if len(paths) < 2:
        return [item]
    found = []
    for number, path in enumerate(paths, start=1):
        asked = f"Segment one region in this image: number {number} of {len(paths)} that are marked."
        found.append(replace(item, row={**item.row, "question": asked}, mask=ImageRef(path)))
    return found


def _split_of_folder(picture: Path | None) -> str | None:
    """nnU-Net's `imagesTr` and `imagesTs`."""
    name = picture.parent.name.lower() if picture else ""
    return "train" if name == "imagestr" else "test" if name == "imagests" else None


def _ref(source: Source, role: Role, paths: list[Path], problems: Problems) -> ImageRef:
    """The picture, or all masks of it together; of further pictures of one name the first is taken, and told."""
    names = [source.relative(path) for path in paths]
    if len(names) > 1 and role == "mask":
        return ImageRef(names[0], UNION + "|".join(names[1:]))
    if len(names) > 1:
        problems.notes[f"several files of one {role}: the first is taken"] += 1
    return ImageRef(names[0])


def _sets(source: Source) -> dict[str, dict[Role, dict[str, list[Path]]]]:
    """Set folder -> role -> key -> files. A set is the parent of image and mask folders (and what lies below them
    alike, as `training` in `images/training` and `annotations/training`), or one folder."""
    folders: dict[Path, list[Path]] = defaultdict(list)
    for path in source.pictures:
        folders[path.parent].append(path)
    annotated = {folder.parent for folder in folders if _role(folder.name, is_annotated=True) == "mask"}
    places = {folder: _place(source, folder, set(folders), annotated) for folder in folders}
    sets: dict[str, dict[Role, dict[str, list[Path]]]] = defaultdict(
        lambda: defaultdict(lambda: defaultdict(list))
    )
    for folder, paths in sorted(folders.items()):
        name, role = places[folder]
        for path in paths:
            own = role or _file_role(path.stem)
            if role is None and own == "image" and not _has_masks(paths):
                continue
            sets["" if name == "." else name][own][_key(path.stem)].append(path)
    found = {name: {role: dict(keys) for role, keys in roles.items()} for name, roles in sets.items()}
    for roles in found.values():
        _join_parts(roles)
    return {
        name: roles for name, roles in found.items() if len(roles) > 1 or roles.keys() & {"mask", "image"}
    }


def _place(source: Source, folder: Path, folders: set[Path], annotated: set[Path]) -> tuple[str, Role | None]:
    """The set that a folder belongs to, and its role in it; no role where the names of its files tell theirs."""
    if folder == source.base:
        return source.relative(folder), None
    role = _role(folder.name, is_annotated=folder.parent in annotated)
    if role is not None:
        base = source.relative(folder.parent)
        return (f"{base}/Ts".removeprefix("./") if folder.name.lower().endswith("sts") else base), role
    parts = Path(source.relative(folder)).parts
    for index in range(len(parts) - 2, -1, -1):
        own = _role(parts[index], is_annotated=False)
        top, below = source.root.joinpath(*parts[:index]), parts[index + 1 :]
        others = (other for other in folders if other.is_relative_to(top) and other != folder)
        twins = (other.relative_to(top).parts for other in others)
        if own and any(
            twin[1:] == below and (theirs := _role(twin[0], is_annotated=False)) and theirs != own
            for twin in twins
        ):
            return "/".join((*parts[:index], *below)), own
    return source.relative(folder), None


def _join_parts(roles: dict[Role, dict[str, list[Path]]]) -> None:
    """Masks whose names go on after that of a picture (`7_1`, `7_2`) belong to it; where a set has one picture, all do."""
    pictures, masks = roles.get("image", {}), roles.get("mask", {})
    alone = next(iter(pictures)) if len(pictures) == 1 and len(masks) > 1 else None
    if alone in masks:
        alone = None
    for key in sorted(masks):
        if key in pictures:
            continue
        stem = re.sub(r"[._-]\d{1,3}$", "", key)
        owner = stem if stem in pictures else alone
        if owner is not None:
            masks.setdefault(owner, []).extend(masks.pop(key))


def _role(folder: str, *, is_annotated: bool) -> Role | None:
    if re.fullmatch(r"masks?", folder, re.IGNORECASE):
        return "fov" if is_annotated else "mask"
    return next((role for role, name in FOLDER_ROLES if re.fullmatch(name, folder, re.IGNORECASE)), None)


def _file_role(stem: str) -> Role:
    return next((role for role, end in FILE_ROLES if re.search(end, stem, re.IGNORECASE)), "image")


def _has_masks(paths: list[Path]) -> bool:
    return any(_file_role(path.stem) != "image" for path in paths)


def _key(stem: str) -> str:
    """What the files of one picture have in common: the name without the words that tell the role.

    >>> _key("01_test_mask"), _key("im0001.ah"), _key("Image_01L_1stHO")
    ('01', 'im0001', 'image_01l')
    """
    return (_ENDS.sub("", stem) or stem).lower()
