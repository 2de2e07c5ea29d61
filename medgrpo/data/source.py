"""The folder (or single file) that a dataset is made from: which files it has, and which one a row means."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from medgrpo.errors import UsageError
from medgrpo.files import check_regular, kind_of
from medgrpo.workbooks import WORKBOOKS

RECORD_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".arrow", ".txt", *WORKBOOKS)
IMAGE_SUFFIXES = (
    ".jpg",
    ".jpeg",
    ".png",
    ".gif",
    ".tif",
    ".tiff",
    ".bmp",
    ".webp",
    ".ppm",
    ".pgm",
    ".dcm",
    ".dicom",
)


def split_of_name(name: str) -> str | None:
    """The split that a name without its suffix tells: `train`, `validation` or `test`."""
    words = re.split(r"[^a-z0-9]+", name.lower())
    for split, starts in (("test", ("test",)), ("validation", ("val", "dev")), ("train", ("train",))):
        if any(word.startswith(starts) for word in words) or name.lower().endswith(f"{starts[0]}set"):
            return split
    return None


def split_word(word: str | None) -> str | None:
    """`train`, `validation` or `test` for a word that stands for one of them (`val`, `dev`, `testing`); else None."""
    folded_word = (word or "").strip().lower()
    starts = (
        ("test", ("test", "ts")),
        ("validation", ("val", "dev", "vl", "eval")),
        ("train", ("train", "tr")),
    )
    return next((split for split, prefixes in starts if folded_word.startswith(prefixes)), None)


SPLIT_FOLDER = re.compile(
    r"(train|training|val|valid|validation|dev|test|testing)(set|_set|ing)?\d{0,4}", re.IGNORECASE
)
"""Names of folders that hold the files of one split."""


UNREAD_SUFFIXES = (
    *(
        ".xls",
        ".xlsb",
        ".ods",
        ".zip",
        ".tar",
        ".tgz",
        ".7z",
        ".rar",
        ".npy",
        ".npz",
        ".h5",
        ".hdf5",
        ".mat",
        ".pkl",
    ),
    *(
        ".mha",
        ".mhd",
        ".nrrd",
        ".tfrecord",
        ".lmdb",
        ".db",
        ".sqlite",
        ".mp4",
        ".avi",
        ".mov",
        ".svs",
        ".heic",
        ".pt",
    ),
)
"""Files that may hold data and that nothing here reads; they are counted, so that none is lost without a word."""


@dataclass(frozen=True)
class ImageRef:
    """Where the pixels of a picture are in the source.

    Args:
        path: relative to the source folder, with `/`.
        part: which part of the file: empty for all of it, or a `kind:value` that `decode` knows, as
            `slice:axial/12` (NIfTI), `frame:3` (DICOM), `panel:2/3` (stacked panels) or `cell:7/image`
            (a picture inside a parquet file). `missing` is a picture that is not there.
    """

    path: str
    part: str = ""
    alias: str = ""
    """What the file is called where its own name must not be written; empty: its path."""

    @property
    def shown_key(self) -> str:
        """Names the picture in what is written."""
        shown = self.alias or self.path
        return f"{shown}#{self.part.partition('@')[0]}" if self.part else shown  # not where base64 lies

    @property
    def key(self) -> str:
        """Names the picture within the source."""
        return f"{self.path}#{self.part}" if self.part else self.path


UNION = "with:"
"""Part of an `ImageRef` to a mask: `with:b.png|c.png` are further masks of the same picture, taken together with it."""


def union_of(ref: ImageRef) -> list[str]:
    """The paths of all files of a mask that lies in several."""
    return [ref.path, *ref.part.removeprefix(UNION).split("|")] if ref.part.startswith(UNION) else [ref.path]


IMAGE_MISSING = "image missing"
WITHOUT_PICTURES = (
    "say where the pictures are: --images FOLDER; or keep the rows as text with --missing-image text, "
    "or leave them out with --on-bad-row skip"
)
"""What to type where a row's picture is not there."""


class MissingImage(Exception):
    """A row names a picture that is not there, or not inside the source."""

    def __init__(self, reason: str, problem: str, hint: str | None = None) -> None:
        super().__init__(problem)
        self.reason = reason
        self.hint = hint


class Source:
    """A folder of raw data. Only what lies inside it is read: `..`, absolute paths and links out are not.

    Args:
        path: the folder, or one data file (then the folder is its parent and no other data file is read).
        keep_missing: a picture that is not there gives a reference with the part `missing`, not an error.
        image_root: folder of the pictures, where they do not lie beside the data.

    Raises:
        UsageError: there is nothing at `path` or `image_root`, or it cannot be listed.
    """

    def __init__(
        self, path: str | Path, *, keep_missing: bool = False, image_root: Path | None = None
    ) -> None:
        self.keep_missing = keep_missing
        self.no_files: Counter[str] = Counter()
        """Pipes, sockets and devices among the files, by kind."""
        given = Path(path).expanduser()
        check_regular(given)
        if not given.exists():
            raise UsageError(
                f"no data at {given}",
                expected="a folder with data files and pictures, or one data file",
                hint="check the path",
            )
        self.only_file = given.resolve() if given.is_file() else None
        self.base = (given.parent if given.is_file() else given).resolve()
        self.name = given.resolve().stem if given.is_file() else self.base.name
        if image_root is not None and not (image_root := image_root.expanduser()).is_dir():
            raise UsageError(f"no folder of pictures at {image_root}", expected="the folder they lie in")
        self.folders = [self.base] if image_root is None else [image_root.resolve(), self.base]
        """What may be read from, where pictures are looked for first in front."""
        self.columns: dict[str, str] = {}
        """Role -> field of the records, as a person names them; empty: by the formats' own names."""
        self.mask_parts = "union"
        """Several masks of one picture are one mask, or (`instances`) a row each."""
        self.notes: Counter[str] = Counter()
        """What to tell of how pictures were found."""
        self.root = Path(os.path.commonpath(self.folders))
        """Where relative paths start."""

    @cached_property
    def files(self) -> list[Path]:
        """Every file below the folder, sorted by path; hidden ones, what Excel locks a file with, links out of it, and pipes, sockets and devices
        (`no_files`) are left out."""
        found: set[Path] = set()
        unreadable: list[str] = []
        for top in self.folders:
            for folder, folders, names in os.walk(top, onerror=lambda e: unreadable.append(str(e.filename))):
                folders[:] = sorted(name for name in folders if not name.startswith("."))
                found |= {Path(folder) / name for name in names if not name.startswith((".", "~$"))}
        if unreadable:
            raise UsageError(f"{unreadable[0]} cannot be listed", expected="folders that this user may read")
        inside = sorted(path for path in found if not path.is_symlink() or self.contains(path))
        kinds = {path: kind_of(path) for path in inside}
        self.no_files = Counter(kind for kind in kinds.values() if kind)
        return [path for path in inside if kinds[path] is None]

    @cached_property
    def record_files(self) -> list[Path]:
        """The files that may hold records."""
        if self.only_file is not None:
            return [self.only_file]
        return [path for path in self.files if path.suffix.lower() in RECORD_SUFFIXES]

    @cached_property
    def other_kinds(self) -> Counter[str]:
        """Suffix -> number of files that may hold data and are of a kind that nothing here reads."""
        if self.only_file is not None:
            return Counter()
        suffixes = (path.suffix.lower() for path in self.files)
        return Counter(suffix for suffix in suffixes if suffix in UNREAD_SUFFIXES)

    @cached_property
    def pictures(self) -> list[Path]:
        """The files whose name is that of a picture."""
        return [path for path in self.files if path.suffix.lower() in IMAGE_SUFFIXES]

    @cached_property
    def _by_name(self) -> dict[str, list[Path]]:
        index: dict[str, list[Path]] = {}
        for path in self.pictures:
            index.setdefault(path.name, []).append(path)
            index.setdefault(path.stem, []).append(path)
        return index

    def contains(self, path: Path) -> bool:
        """True if the file, links followed, lies inside the source."""
        real = path.resolve()
        return any(real.is_relative_to(folder) for folder in self.folders)

    def relative(self, path: Path) -> str:
        """The path below the source folder, with `/`."""
        return path.relative_to(self.root).as_posix()

    def split_of(self, file: Path) -> str | None:
        """The split that a file belongs to by the nearest folder that is called like one (`images/train`,
        `valid/labels`), else by the file's own name."""
        folders = Path(self.relative(file)).parts[:-1]
        named = (split_word(folder) for folder in reversed(folders) if SPLIT_FOLDER.fullmatch(folder))
        return next(named, None) or split_of_name(file.stem)

    def image(self, name: str, file: Path) -> ImageRef:
        """The picture that a row of `file` calls `name`.

        Tried in this order: below the source folder, beside the data file, in an `images` folder there,
        and the one picture whose path ends like it (of several folders `xmlab1/source.jpg` tells one), the one
        in a folder that the data file is named after, or else
        the one of that file name, with or without suffix.

        Raises:
            MissingImage: there is none, several fit, or the path leads out of the source.
        """
        wanted = PurePosixPath(name.replace("\\", "/"))
        if wanted.is_absolute() or ".." in wanted.parts or (wanted.parts and ":" in wanted.parts[0]):
            raise MissingImage("image outside the source", f"{name!r} leads out of the source folder")
        places = [*self.folders, file.parent, file.parent / "images", self.base / "images"]
        for place in dict.fromkeys(places):
            path = place / wanted
            if path.is_file():
                if not self.contains(path):
                    raise MissingImage(
                        "image outside the source", f"{name!r} is a link that leads out of the source folder"
                    )
                return ImageRef(self.relative(path))
        candidates = self._by_name.get(wanted.name, [])
        if len(candidates) > 1:
            ending = wanted.parent.parts
            candidates = [p for p in candidates if p.parent.parts[-len(ending) :] == ending] or candidates
        if len(candidates) > 1:  # COCO: instances_train2017.json and train2017/
            candidates = [p for p in candidates if p.parent.name in file.stem] or candidates
        if len(candidates) == 1:
            if self._may_be(candidates[0], wanted, file):
                return ImageRef(self.relative(candidates[0]))
            candidates = []
        if candidates:
            raise MissingImage("image name not unique", f"{name!r} fits {len(candidates)} pictures")
        if self.keep_missing:
            return ImageRef(wanted.as_posix(), "missing")
        raise MissingImage(IMAGE_MISSING, f"no picture {name!r} in {self.folders[0]}", WITHOUT_PICTURES)

    def _may_be(self, found: Path, wanted: PurePosixPath, file: Path) -> bool:
        """Whether a picture that was only found by its name may be meant: never that of another split; that it lies
        in another folder than the row says is told."""
        ours, theirs = self._folder_split(file), self._folder_split(found)
        if ours and theirs and ours != theirs:
            return False
        folder = wanted.parent.name
        if folder and folder not in found.parent.parts:
            self.notes["picture found by its file name, in another folder than the row says"] += 1
        return True

    def _folder_split(self, file: Path) -> str | None:
        folders = Path(self.relative(file)).parts[:-1]
        return next((split_word(name) for name in reversed(folders) if SPLIT_FOLDER.fullmatch(name)), None)
