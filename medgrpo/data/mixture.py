"""Several prepared datasets as one: `--data a,b:0.3`, names from a registry file, weights and caps.

A weight is how much of a dataset's training rows an epoch holds: 0.3 takes three tenths of them, drawn by
the seed, 2 takes each of them twice. Validation and test rows are taken as they are.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from medgrpo.data.hashing import combined_hash
from medgrpo.data.prepared import PreparedDataset
from medgrpo.data.schema import FILE_COLUMNS, ROW_SCHEMA, SPLITS, arrow_schema
from medgrpo.errors import MedgrpoError, UsageError, choice_error, typed_path
from medgrpo.files import check_regular, toml_values
from medgrpo.foreign import reads
from medgrpo.json_in import json_value
from medgrpo.pictures import stored_file
from medgrpo.rows import Row, columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

REGISTRY_NAMES = ("datasets.toml", "datasets.json", "dataset_config.json")
"""Files in the working directory that are looked at for names that are no folders."""

_PATHS = ("path", "json_path", "annotation_path", "data_path", "dataset_path", "file_name")
_IMAGE_ROOTS = ("image_root", "image_folder", "image_dir", "data_path")
_WEIGHTS = ("weight", "ratio", "sampling_ratio", "sample_ratio")
_CAPS = ("rows", "max_samples", "num_samples", "max_rows")
_SUBSETS = ("subset", "filter", "where")
"""Keys of an entry, the older `dataset_config.json` spellings after ours."""
_IGNORED = ("name", "description", "license", "url", "format", "type", "task")


@dataclass(frozen=True)
class Part:
    """One dataset of a mixture."""

    name: str
    path: Path
    weight: float = 1.0
    """Share of its training rows that an epoch holds."""
    rows: int | None = None
    """At most this many training rows, the first of those drawn by the seed."""
    subset: Mapping[str, str] = field(default_factory=dict)
    """Only rows whose columns have these values."""
    image_root: Path | None = None
    """Of raw data: the folder of its pictures, where they do not lie beside it."""


def is_mixture(text: str) -> bool:
    """True if `--data` names several datasets, a weight, or a registry, not one folder."""
    path = Path(text).expanduser()
    if path.is_dir():
        return False
    if "," in text or "#" in text or _weighted(text)[1] is not None or _names_registry(path):
        return True
    return not path.exists() and any(text in read_registry(file) for file in _registries())


def _names_registry(path: Path) -> bool:
    return path.suffix == ".toml" or (path.suffix == ".json" and "dataset" in path.stem)


def parse_mixture(text: str, registry: str | Path | None = None) -> list[Part]:
    """The parts of `a,b:0.3`, of `registry.toml`, or of `registry.toml#a,b:0.3`.

    Args:
        registry: file that names are looked up in; None: `datasets.toml` and the like in the working
            directory.

    Raises:
        UsageError: a name is neither a folder nor in a registry, or a weight is no positive number.
    """
    file, hash_sign, names = text.rpartition("#")
    if hash_sign:
        registry, text = file, names
    elif _names_registry(Path(text)):
        return list(read_registry(Path(text)).values())
    files = [Path(registry)] if registry else _registries()
    known = {name: part for file in reversed(files) for name, part in read_registry(file).items()}
    parts = []
    for item in filter(None, (item.strip() for item in text.split(","))):
        name, weight = _weighted(item)
        if name in known:
            part = known[name]
        elif Path(name).expanduser().is_dir():
            part = Part(Path(name).name, Path(name).expanduser())
        elif known:
            raise choice_error("dataset", name, known)
        else:
            raise UsageError(
                f"no dataset at {name}",
                expected="a prepared folder, or a name in datasets.toml",
                hint=f"medgrpo preprocess {typed_path(name)} DATASET, then --data DATASET"
                if Path(name).is_file()
                else f"check the path, or make it: medgrpo preprocess SOURCE {typed_path(name)}",
            )
        parts.append(part if weight is None else replace(part, weight=weight))
    if not parts:
        raise UsageError(f"--data {text!r} names no dataset", expected="a folder, or a,b:0.3")
    return _told_apart(parts)


def absolute_data(text: str) -> str:
    """What names the same data from any working directory.

    Names that an unnamed `datasets.toml` gives are put behind its path, `FILE#a,b:0.3`.
    """
    if not is_mixture(text):
        return str(Path(text).expanduser().resolve())
    file, hash_sign, names = text.rpartition("#")
    if not hash_sign and _names_registry(Path(text)):
        return str(Path(text).expanduser().resolve())
    registries = [Path(file)] if hash_sign else _registries()
    items: list[str] = []
    named: set[Path] = set()
    for item in filter(None, (item.strip() for item in names.split(","))):
        name = _weighted(item)[0]
        registry = next((each for each in registries if name in read_registry(each)), None)
        is_folder = registry is None and Path(name).expanduser().is_dir()
        items.append(f"{Path(name).expanduser().resolve()}{item[len(name) :]}" if is_folder else item)
        if registry is not None:
            named.add(registry)
    if len(named) > 1:  # of several files in the working directory: no text says that from elsewhere
        return text
    prefix = "".join(f"{registry.expanduser().resolve()}#" for registry in named)
    return prefix + ",".join(items)


def _told_apart(parts: Sequence[Part]) -> list[Part]:
    """The parts under names of their own: a second `prepared` becomes `prepared-2`, since ids start with the name."""
    named: list[Part] = []
    for part in parts:
        taken = sum(part.name == other.name for other in parts[: len(named)])
        named.append(replace(part, name=f"{part.name}-{taken + 1}") if taken else part)
    return named


def registered(text: str) -> Part | None:
    """The raw data that `FILE#NAME` names; None if the text names no registry.

    Raises:
        UsageError: the registry cannot be read, has no such name, or none is given.
    """
    file, hash_sign, name = text.rpartition("#")
    if not hash_sign:
        path = Path(text)
        if path.suffix != ".toml" and path.name not in REGISTRY_NAMES:
            return None
        names = list(read_registry(path))
        raise UsageError(
            f"{text} names datasets: {', '.join(names)}",
            expected="one of them at a time",
            hint=f"medgrpo preprocess {text}#{names[0] if names else 'NAME'} OUTPUT",
        )
    if Path(text).exists() or not file:
        return None
    known = read_registry(Path(file))
    if name not in known:
        raise choice_error(f"dataset in {file}", name, known)
    return known[name]


def _weighted(item: str) -> tuple[str, float | None]:
    name, colon, number = item.rpartition(":")
    if not colon:
        return item, None
    try:
        weight = float(number)
    except ValueError:
        return item, None
    if not 0 < weight <= 100:
        raise UsageError(
            f"weight {number} of {name}", expected="a number above 0, at most 100", hint=f"{name}:0.3"
        )
    return name, weight


def _registries() -> list[Path]:
    return [Path(name) for name in REGISTRY_NAMES if Path(name).is_file()]


def read_registry(file: Path) -> dict[str, Part]:
    """The datasets that a registry file names; paths in it start at its own folder.

    TOML: `[datasets.NAME]` with `path`, `weight`, `rows`, `subset = {column = "value"}`. JSON: the same
    under `datasets`, a list of entries with `name`, or name -> entry at the top (`dataset_config.json`).

    Raises:
        UsageError: the file is not there, is neither, or an entry has no path or an unknown key.
    """
    try:
        check_regular(file)
        text = file.read_text(encoding="utf-8-sig")
        content = toml_values(text) if file.suffix == ".toml" else json_value(text)
    except OSError as error:
        raise UsageError(f"no registry at {file}: {error.strerror}") from error
    except ValueError as error:
        raise UsageError(f"{file} is not valid {file.suffix[1:].upper()}: {error}") from error
    entries = content.get("datasets", content) if isinstance(content, dict) else content
    if isinstance(entries, list):
        entries = {str(entry.get("name", number)): entry for number, entry in enumerate(entries, start=1)}
    if not isinstance(entries, dict) or not all(isinstance(entry, dict | str) for entry in entries.values()):
        raise UsageError(f"{file} names no datasets", expected='[datasets.NAME] with path = "…"')
    return {name: _part(name, entry, file) for name, entry in entries.items()}


def _part(name: str, entry: Mapping[str, Any] | str, file: Path) -> Part:
    values: Mapping[str, Any] = {"path": entry} if isinstance(entry, str) else entry
    known = (*_PATHS, *_IMAGE_ROOTS, *_WEIGHTS, *_CAPS, *_SUBSETS, *_IGNORED)
    for key in values:
        if key not in known:
            raise choice_error(f"key of {name} in {file}", key, known)
    found = next((key for key in _PATHS if values.get(key)), None)
    if found is None:
        raise UsageError(f"{name} in {file} has no path", expected='path = "a prepared folder"')
    weight = next((values[key] for key in _WEIGHTS if values.get(key) is not None), 1.0)
    rows = next((values[key] for key in _CAPS if values.get(key) is not None), None)
    subset: Mapping[str, Any] = next((values[key] for key in _SUBSETS if values.get(key)), {})
    if not isinstance(weight, int | float) or not 0 < weight <= 100:
        raise UsageError(f"{name} in {file}: weight {weight!r}", expected="a number above 0, at most 100")
    if rows is not None and (not isinstance(rows, int) or rows < 1):
        raise UsageError(f"{name} in {file}: rows {rows!r}", expected="a whole number above 0")
    for column in subset:
        if column not in ROW_SCHEMA:
            raise choice_error(f"column of the subset of {name} in {file}", column, ROW_SCHEMA)
    root = next((values[key] for key in _IMAGE_ROOTS if values.get(key) and key != found), None)
    return Part(
        name,
        _beside(file, values[found]),
        float(weight),
        rows,
        {key: str(value) for key, value in subset.items()},
        _beside(file, root) if root else None,
    )


def _beside(file: Path, path: Any) -> Path:
    return (file.parent / Path(str(path)).expanduser()).resolve()


@reads("text", "a prepared dataset")
def open_data(text: str | Path, *, seed: int = 0, registry: str | Path | None = None) -> PreparedDataset:
    """The dataset, or the mixture, that `--data` names.

    Raises:
        UsageError: as `parse_mixture` and `PreparedDataset.open`.
    """
    if registry is None and not is_mixture(str(text)):
        return PreparedDataset.open(text)
    parts = parse_mixture(str(text), registry)
    is_plain = not any(part.rows or part.subset for part in parts)
    places = ",".join(f"{part.path.absolute()}:{part.weight:g}" for part in parts)
    return MixedDataset(parts, seed=seed, location=places if is_plain else absolute_data(str(text)))


@dataclass(frozen=True)
class MixedOrder:
    """The rows of a mixture's split: the part that each is from, and its number there."""

    parts: NDArray[np.int32]
    rows: NDArray[np.int64]


class MixedDataset(PreparedDataset):
    """Several prepared datasets, interleaved in proportion, in an order that the seed decides.

    Image paths of its rows are absolute; ids start with the part's name.
    """

    def __init__(self, parts: Sequence[Part], *, seed: int = 0, location: str = "") -> None:
        self._location = location
        self.parts = list(parts)
        self.datasets = [PreparedDataset.open(part.path) for part in parts]
        self.seed = seed
        self._orders = {}
        found: set[int] = set()
        for split in SPLITS:
            chosen = [
                _chosen(part, data, split) for part, data in zip(self.parts, self.datasets, strict=True)
            ]
            found |= {number for number, rows in enumerate(chosen) if rows}
            self._orders[split] = self._order(split, chosen)
        for number, part in enumerate(self.parts):
            if part.subset and number not in found:
                raise UsageError(
                    f"no row of {part.name} has {dict(part.subset)}", expected="values that occur in it"
                )
        described = [
            {
                "name": part.name,
                "path": str(part.path),
                "hash": dataset.hash,
                "weight": part.weight,
                "rows": part.rows,
                "subset": dict(part.subset),
            }
            for part, dataset in zip(self.parts, self.datasets, strict=True)
        ]
        first = self.datasets[0].info
        identity = [json.dumps({**entry, "path": None}, sort_keys=True) for entry in described]
        super().__init__(
            self.datasets[0].path,
            {
                **first,
                "name": "+".join(part.name for part in self.parts),
                "parts": described,
                "rows": {split: len(order.rows) for split, order in self._orders.items()},
                "images": sum(int(dataset.info.get("images", 0)) for dataset in self.datasets),
                "pixels_hash": combined_hash(
                    [str(dataset.info.get("pixels_hash")) for dataset in self.datasets]
                ),
                "hash": combined_hash([f"seed {seed}", *identity]),
            },
        )

    @property
    def location(self) -> str:
        """The folders with their weights; the registry as it was named where it caps rows or takes subsets."""
        return self._location

    def _order(self, split: str, chosen: Sequence[Sequence[int]]) -> MixedOrder:
        """Where every row of the mixture is, each part spread evenly over the whole."""
        import numpy as np

        taken = list(chosen)
        if split == "train":
            taken = [
                _weighted_rows(rows, part.weight, f"{self.seed} {part.name}")[: part.rows]
                for part, rows in zip(self.parts, chosen, strict=True)
            ]
        rows = np.concatenate([np.asarray(one, np.int64) for one in taken])
        parts = np.concatenate([np.full(len(one), number, np.int32) for number, one in enumerate(taken)])
        places = np.concatenate([(np.arange(len(one)) + 0.5) / max(len(one), 1) for one in taken])
        order = np.lexsort((rows, parts, places))
        return MixedOrder(parts[order], rows[order])

    def count(self, split: str) -> int:
        """Number of rows of the mixture."""
        order = self._orders.get(split)
        return 0 if order is None else len(order.rows)

    def rows(self, split: str, limit: int | None = None) -> Iterator[Row]:
        """The rows in the mixture's order."""
        view = self.view(split)
        for index in range(len(view) if limit is None else min(limit, len(view))):
            yield view[index]

    def view(self, split: str) -> Sequence[Row]:
        """The rows by index."""
        if not self.count(split):
            raise UsageError(f"none of {self.info['name']} has rows in the split {split!r}")
        return MixedView(self.parts, self.datasets, split, self._orders[split])

    def table(self, split: str, columns: Sequence[str] | None = None) -> Any:
        """The rows as a `pyarrow.Table`; the whole split is in memory."""
        import pyarrow as pa

        table = pa.Table.from_pylist(list(self.rows(split)), schema=arrow_schema())
        return table.select(list(columns)) if columns else table

    def image_path(self, relative: str) -> Path:
        """The path of a picture of any part; rows of a mixture name them absolutely."""
        path = Path(relative).resolve()
        self._part_of(path)
        return path

    def _part_of(self, path: Path) -> int:
        """Number of the part in whose folder the file lies."""
        for number, dataset in enumerate(self.datasets):
            if path.is_relative_to(dataset.path):
                return number
        raise MedgrpoError(f"{str(path)!r} is in none of the datasets of {self.info['name']}")

    def copied_name(self, path: str) -> str:
        """The file below a folder named after its part: two parts may each have an `images/1.png`."""
        file = Path(path).resolve()
        number = self._part_of(file)
        name = re.sub(r"[^\w.-]+|^\.+", "-", self.parts[number].name)
        return f"part-{number + 1}-{name}/{file.relative_to(self.datasets[number].path).as_posix()}"

    def find(self, ids: Iterable[str]) -> dict[str, Row]:
        """The rows with these ids in any part, whether or not the seed draws them."""
        wanted = set(ids)
        found: dict[str, Row] = {}
        for part, dataset in zip(self.parts, self.datasets, strict=True):
            prefix = f"{part.name}/"
            own = dataset.find(name.removeprefix(prefix) for name in wanted if name.startswith(prefix))
            placed = (_placed(row, part.name, dataset.path) for row in own.values())
            found |= {row["id"]: row for row in placed}
        return found

    def drawn_by(self, seed: int) -> MixedDataset:
        """The same mixture with the training rows that this seed draws."""
        return self if seed == self.seed else MixedDataset(self.parts, seed=seed, location=self._location)


def _chosen(part: Part, dataset: PreparedDataset, split: str) -> Sequence[int]:
    """Numbers of the rows of a part's split that are in its subset, in order."""
    if not part.subset:
        return range(dataset.count(split))
    if not dataset.count(split):
        return ()
    return [
        index
        for index, row in enumerate(dataset.rows(split))
        if all(str(columns(row)[column]) == value for column, value in part.subset.items())
    ]


def _weighted_rows(rows: Sequence[int], weight: float, seed: str) -> Sequence[int]:
    """`weight` times the rows: all of them as often as that goes, and of the rest as many as are left over."""
    draw = random.Random(seed)
    whole, rest = divmod(round(weight * len(rows)), max(len(rows), 1))
    if weight == 1:
        return rows
    chosen: list[int] = []
    for count in [len(rows)] * whole + [rest]:
        chosen += draw.sample(rows, count)
    return chosen


class MixedView(Sequence[Row]):
    """Rows of a mixture by index; can be pickled into data-loader workers."""

    def __init__(
        self,
        parts: Sequence[Part],
        datasets: Sequence[PreparedDataset],
        split: str,
        order: MixedOrder,
    ) -> None:
        self._order = order
        self._names = [part.name for part in parts]
        self._folders = [dataset.path for dataset in datasets]
        self._views = [dataset.view(split) if dataset.count(split) else None for dataset in datasets]

    def __len__(self) -> int:
        return len(self._order.rows)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[position] for position in range(*index.indices(len(self)))]
        number, position = int(self._order.parts[index]), int(self._order.rows[index])
        view = self._views[number]
        assert view is not None  # a part without rows in this split is not in the order
        return _placed(view[position], self._names[number], self._folders[number])


def _placed(row: Row, name: str, folder: Path) -> Row:
    """The row of a part as the mixture gives it: ids start with the part's name, paths are absolute."""
    row["id"] = f"{name}/{row['id']}"
    row["images"] = [str(stored_file(folder, path)) for path in row["images"]]
    for column in FILE_COLUMNS:
        if columns(row)[column]:
            columns(row)[column] = str(stored_file(folder, columns(row)[column]))
    for column in ("image_id", "patient_id"):
        if columns(row)[column]:
            columns(row)[column] = f"{name}/{columns(row)[column]}"
    return row
