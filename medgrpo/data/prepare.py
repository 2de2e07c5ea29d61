"""From a source folder to a prepared dataset: read, check, store the pictures, split, lint, write."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medgrpo.data.alike import alike
from medgrpo.data.audit import audit_by_task
from medgrpo.data.cells import read_bytes
from medgrpo.data.dicom_names import aliases, hide_names, with_aliases
from medgrpo.data.hashing import combined_hash, file_hash, fingerprint, row_hash, settings_hash, source_hash
from medgrpo.data.images import ImageJob, ImageSettings, StoredImage
from medgrpo.data.lint import Findings, conflicts, lint
from medgrpo.data.mixture import registered
from medgrpo.data.page import write_page
from medgrpo.data.prepared import INFO_NAME, PreparedDataset, PreparedWriter, prepared_name
from medgrpo.data.prompts import PromptTemplate, load_template
from medgrpo.data.readers import Item, Policy, Problems, Source, read_source
from medgrpo.data.readers.base import BadRow
from medgrpo.data.readers.prepared_rows import PreparedReader
from medgrpo.data.schema import SPLITS, Task
from medgrpo.data.source import IMAGE_MISSING, WITHOUT_PICTURES, ImageRef
from medgrpo.data.splits import Groups, assign, parse_split, text_key
from medgrpo.data.store import disk_errors, journal, store_all, sync_all
from medgrpo.errors import MedgrpoError, UsageError, missing_extra, typed_path
from medgrpo.files import cache_folder
from medgrpo.foreign import reads
from medgrpo.json_in import json_value
from medgrpo.models.folders import refuse_mistyped
from medgrpo.rows import Row, columns

if TYPE_CHECKING:
    from medgrpo.data.budget import Budget

Progress = Callable[[str, int], AbstractContextManager[Callable[[int], None]]]
"""Makes a progress bar from a label and a total; what it yields is called with steps done."""


@dataclass(frozen=True)
class BudgetOptions:
    """The model whose context the rows must fit into."""

    model: str
    """Folder with the tokenizer and the chat template."""
    context_length: int = 2048
    completion_tokens: int = 256
    max_pixels: int | None = 602_112
    policy: Literal["keep", "drop", "downscale"] = "drop"
    """What happens to longer rows: keep and report, leave out and count, or store their pictures smaller
    (and leave out what is too long by its text alone). Nothing is ever cut."""


@dataclass(frozen=True)
class PrepareOptions:
    """What `preprocess` was asked to do."""

    task: Task | None = None
    """Only read formats of this task; None: whatever the source holds."""
    images: ImageSettings = field(default_factory=ImageSettings)
    split: str = "auto"
    seed: int = 0
    on_bad_row: Policy = "stop"
    mask_parts: Literal["union", "instances"] = "union"
    """Several masks of one picture are one mask, or a row each."""
    missing_image: Literal["bad", "text"] = "bad"
    """A row whose picture is not there is a bad row, or is kept as a row without picture."""
    conflicts: Literal["keep", "drop", "multi"] = "keep"
    """Rows that ask the same of the same picture and answer differently: keep them, drop all of them, or
    accept each of the answers (`multi`; where one says yes and the other no, they are dropped)."""
    prompt: str | None = None
    """Prompt template that the dataset is meant for; None: by task."""
    name: str | None = None
    """Name in reports; None: that of the source folder."""
    near_duplicate_bits: int = 10
    """Pictures whose 256-bit perceptual hashes differ in at most this many bits stay in one split."""

    columns: Mapping[str, str] = field(default_factory=dict)
    """Role (question, answer, image, …) -> field of the records; empty: by the formats' own names."""
    keep_names: bool = False
    """Call DICOM files by their names, which are often those of patients; else by a hash of their path."""
    budget: BudgetOptions | None = None
    """Check prompts against a model's context length; None: do not."""

    def identity(self) -> dict[str, Any]:
        """Everything that decides what is written; the worker count does not."""
        identity = asdict(self)
        if not self.keep_names:  # as before there was the choice
            del identity["keep_names"]
        if self.mask_parts == "union":
            del identity["mask_parts"]
        if not self.columns:
            del identity["columns"]
        return identity


SHAPE_TOLERANCE = 0.02
"""A mask may be stored smaller than its picture, but its width and height by the same factor, to this share."""

PROMPTS: dict[Task, str] = {
    "vqa": "structured",
    "text": "answer",
    "detection": "detection",
    "vessels": "plain",
}


@reads("source_path", "images, questions, texts or masks in a form that docs/data.md lists")
def prepare(
    source_path: str | Path,
    output: str | Path,
    options: PrepareOptions,
    *,
    pictures: Path | None = None,
    workers: int | None = None,
    progress: Progress | None = None,
) -> tuple[PreparedDataset, bool]:
    """Prepares a dataset, or finds that it is prepared already.

    A call that was interrupted is taken up where it stopped: stored pictures are kept. A call whose
    result is there already, from the same files with the same options, does nothing.

    Args:
        pictures: the folder of the pictures, where they do not lie beside the rows.
        workers: processes that decode pictures; None: one per core. Does not change the result.

    Returns:
        The dataset, and whether it was written now.

    Raises:
        MedgrpoError: a bad row or picture under `on_bad_row="stop"`, or nothing is left.
        UsageError: `output` holds something else, or the source is in no known format.
    """
    started = time.monotonic()
    source = open_source(source_path, keep_missing=options.missing_image == "text", pictures=pictures)
    source.mask_parts = options.mask_parts
    source.columns = dict(options.columns)
    target = Path(output).expanduser().absolute()
    real = target.resolve()
    inputs = [source.only_file or source.base, *source.folders[:-1]]
    if any(path.is_relative_to(real) or (path.is_dir() and real.is_relative_to(path)) for path in inputs):
        raise UsageError(
            f"{target} and the source {source.only_file or source.base} lie in each other",
            expected="an output folder outside the source",
            hint=f"medgrpo preprocess {typed_path(source_path)} {typed_path(prepared_name(source_path))}",
        )
    shares = parse_split(options.split)
    request = settings_hash(options.identity())
    ready = _already_prepared(target, request, source)
    if ready is not None:
        return ready, False

    limits = _limits(options.budget)
    before = fingerprint(source.root, _files(source, ()))
    count = workers or os.cpu_count() or 1
    problems = Problems(options.on_bad_row)
    items, formats = read_source(source, problems, options.task)
    shares = _kept_splits(shares, items, formats, problems)
    _without_missing(items, problems)
    names = {} if options.keep_names else aliases(source)
    items = with_aliases(items, names)
    with PreparedWriter(target, keep_partial=True) as writer, disk_errors(writer.folder):
        stored = _store_images(items, source, writer.folder, options, count, progress)
        items = _with_images(items, stored, problems)
        if not items:
            raise _nothing_left(source, problems)
        items = _settle(items, options.conflicts, problems)
        template = load_template(options.prompt or PROMPTS[options.task or _task_of_items(items)])
        items, budget = _within_budget(
            items, stored, source, writer.folder, options, template, limits, problems
        )
        if not items:
            raise _nothing_left(source, problems)
        hide_names(items, problems, names)
        rows, hashes = _finished_rows(items, stored, options.name or source.name)
        groups, near = _groups(items, stored, source.root, options.near_duplicate_bits, count)
        plan = assign(
            groups, _split_keys(items, stored), shares, [item.split for item in items], options.seed
        )
        findings = lint(rows, plan.names)
        shown = {ref.key: ref.shown_key for item in items for ref in item.images}
        findings.near_duplicates = [(shown[one], shown[other]) for one, other in near]
        for split in SPLITS:
            writer.write(split, (row for row, name in zip(rows, plan.names, strict=True) if name == split))
        task = options.task or _task_of_items(items)
        files = _files(source, (key for key, picture in stored.items() if not picture.problem))
        info = _info(rows, stored, plan.names, hashes, problems, findings)
        info |= {
            "name": options.name or source.name,
            "task": task,
            "formats": formats,
            # Where it lay is this machine's business; a folder of DICOM files is often called after the patient.
            "source": None if names else (source.only_file or source.base).name,
            "prompt_template": options.prompt or PROMPTS[task],
            "split": {"asked": options.split, "seed": options.seed, "groups": plan.groups}
            | ({"official_overlap": plan.overlap} if plan.overlap else {}),
            "request": request,
            "fingerprint": before if source.only_file is None else fingerprint(source.root, files),
            "content": _content_hashes(source, files),
            "wall_s": round(time.monotonic() - started, 3),
        }
        if budget is not None:
            info["budget"] = budget
        info["audit"] = audit_by_task(writer.unfinished(info))
        write_page(writer.folder, info, rows, plan.names, template)
        sync_all(writer.folder, stored.values())
        return writer.finish(info), True


def _kept_splits(shares: Any, items: Sequence[Item], formats: Sequence[str], problems: Problems) -> Any:
    """The splits of a prepared dataset are kept unless others are asked for: splitting again would put what was
    tested on into training."""
    if shares != "auto" or formats != [PreparedReader.name] or len({item.split for item in items}) < 2:
        return shares
    problems.notes["row keeps the split of the prepared dataset that it is from"] += len(items)
    return "official"


def open_source(path: str | Path, *, keep_missing: bool, pictures: Path | None = None) -> Source:
    """A folder, a data file, a dataset of the hub (`owner/name`), or what a registry names (`datasets.toml#chest`).

    Args:
        keep_missing: a row whose picture is not there is kept.
        pictures: the folder of the pictures, where they do not lie beside the rows.
    Raises:
        UsageError: there is nothing of that name.
    """
    part = registered(str(path))
    if part is None:
        return Source(local_source(path), keep_missing=keep_missing, image_root=pictures)
    source = Source(part.path, keep_missing=keep_missing, image_root=pictures or part.image_root)
    source.name = part.name
    return source


def local_source(path: str | Path) -> Path:
    """The source itself, or for the name of a dataset on the hub (`owner/name`) the folder it is loaded to.

    Raises:
        UsageError: there is no such folder, and the hub has no such dataset or cannot be reached.
    """
    given = Path(path).expanduser()
    if given.exists():
        return given
    refuse_mistyped(str(path), "data")
    if not re.fullmatch(r"[\w-][\w.-]*/[\w.-]+", str(path)):
        return given
    try:
        import huggingface_hub
    except ImportError as error:
        raise missing_extra("huggingface_hub", "train", "loading a dataset from the hub") from error
    folder = cache_folder() / "hub" / str(path).replace("/", "--")
    try:
        huggingface_hub.snapshot_download(str(path), repo_type="dataset", local_dir=folder)
    except Exception as error:
        raise UsageError(
            f"no data at {given}, and it could not be loaded from the hub: {type(error).__name__}",
            expected="a folder, a data file, or the name of a dataset on a hub that can be reached",
            hint="load the dataset elsewhere and give its folder",
        ) from error
    return folder


def _files(source: Source, keys: Iterable[str]) -> list[Path]:
    """What the dataset is made from: all files of a folder, or one data file and the pictures it names.

    Args:
        keys: of the pictures that are stored.
    """
    if source.only_file is None:
        return source.files
    return [source.only_file, *sorted({source.root / key.partition("#")[0] for key in keys})]


def _already_prepared(target: Path, request: str, source: Source) -> PreparedDataset | None:
    if not (target / INFO_NAME).is_file():
        return None
    dataset = PreparedDataset.open(target)
    asked_the_same = dataset.info.get("request") == request
    if asked_the_same and _same_files(dataset, source):
        return dataset
    changed = "other files" if asked_the_same else "other options"
    raise UsageError(
        f"{target} holds a dataset that was prepared from {changed}",
        expected="a new folder, or the options and files it was prepared from",
        hint="choose another folder, or remove this one",
    )


def _content_hashes(source: Source, files: Sequence[Path]) -> dict[str, Any]:
    """What tells that files were only touched or moved: their names, and the bytes of the data files. The
    hashes of the pictures are in the journal."""
    return {
        "names": combined_hash(source.relative(path) for path in files),
        "data": combined_hash(file_hash(path) for path in source.record_files),
    }


def _same_files(dataset: PreparedDataset, source: Source) -> bool:
    """True if nothing was touched, or what was touched or moved holds the same bytes."""
    places = {hidden: path for path, hidden in aliases(source).items()}

    def place(entry: dict[str, Any]) -> tuple[str, str]:
        path, _, part = entry["key"].partition("#")
        return places.get(path, path), part

    files = _files(source, (place(entry)[0] for entry in journal(dataset.path)))
    if not all(path.is_file() for path in files):
        return False
    if dataset.info.get("fingerprint") == fingerprint(source.root, files):
        return True
    if dataset.info.get("content") != _content_hashes(source, files):
        return False
    for entry in journal(dataset.path):
        path, part = place(entry)
        if source_hash(read_bytes(source.root, ImageRef(path, part)), part) != entry["source_hash"]:
            return False
    return True


def _without_missing(items: Sequence[Item], problems: Problems) -> None:
    """Takes away the references to pictures that are not there, and counts the rows."""
    for item in items:
        if any(ref.part == "missing" for ref in item.images):
            item.row["image_id"] = item.row["image_id"] or item.images[0].path
            item.images = []
            problems.notes["row kept without its picture"] += 1


def _jobs(items: Sequence[Item], source: Source, folder: Path, settings: ImageSettings) -> Iterator[ImageJob]:
    seen: set[str] = set()
    for item in items:
        for ref in item.images:
            if ref.key not in seen:
                seen.add(ref.key)
                yield ImageJob(source.root, ref, folder, "image", settings)


def _mask_jobs(
    items: Sequence[Item],
    source: Source,
    folder: Path,
    settings: ImageSettings,
    stored: dict[str, StoredImage],
) -> Iterator[ImageJob]:
    seen: set[str] = set()
    for item in items:
        picture = stored.get(item.images[0].key) if item.images else None
        size = (picture.width, picture.height) if picture and not picture.problem else None
        for ref in item.masks.values():
            if ref.key not in seen:
                seen.add(ref.key)
                yield ImageJob(source.root, ref, folder, "mask", settings, size)


def _store_images(
    items: Sequence[Item],
    source: Source,
    folder: Path,
    options: PrepareOptions,
    workers: int,
    progress: Progress | None,
) -> dict[str, StoredImage]:
    """Every picture, then every mask, by key; masks have the key of their own file."""
    stored: dict[str, StoredImage] = {}
    stop = options.on_bad_row == "stop"
    for label, jobs in (
        ("images", list(_jobs(items, source, folder, options.images))),
        ("masks", None),
    ):
        batch = jobs if jobs is not None else list(_mask_jobs(items, source, folder, options.images, stored))
        if batch:
            stored |= store_all(batch, workers, label=label, progress=progress, stop_at_problem=stop)
    return stored


def _refs(item: Item) -> list[Any]:
    return [*item.images, *item.masks.values()]


def _with_images(items: list[Item], stored: dict[str, StoredImage], problems: Problems) -> list[Item]:
    """The items whose pictures could be stored, with masks that fit them; the others are bad rows."""
    kept = []
    for item in items:
        fault = _picture_fault(item, stored)
        if fault is None:
            kept.append(item)
        else:
            problems.bad(str(item.row["source_file"]), int(item.row["source_row"]), fault)
    return kept


def _picture_fault(item: Item, stored: dict[str, StoredImage]) -> BadRow | None:
    found = [stored[ref.key] for ref in _refs(item) if ref.key in stored]
    broken = next((image for image in found if image.problem), None)
    if broken is not None:
        return BadRow(broken.reason, "image", broken.problem, "a picture that can be opened")
    outside = _box_outside(item.row["boxes"], found[0] if found else None)
    if outside is not None:
        return outside
    for column, ref in item.masks.items():
        picture, mask = found[0], stored[ref.key]
        across, down = (
            mask.source_width / picture.source_width,
            mask.source_height / picture.source_height,
        )
        if not 1 - SHAPE_TOLERANCE <= across / down <= 1 + SHAPE_TOLERANCE:
            sizes = [f"{image.source_width} × {image.source_height} px" for image in (mask, picture)]
            problem = f"{ref.key} is {sizes[0]}, its picture {sizes[1]}"
            return BadRow("mask of another shape", column, problem, "a mask that covers its picture")
    return None


def _box_outside(boxes: str | None, picture: StoredImage | None) -> BadRow | None:
    """The fault of a box that does not lie in the picture as it was decoded, whatever the annotation says of it."""
    for item in json_value(boxes) if boxes else ():
        left, top, right, bottom = item["box"]
        if picture is None:
            return BadRow(
                "boxes without a picture", "boxes", "the row has boxes and no picture", "its picture"
            )
        size = picture.source_width, picture.source_height
        if not (0 <= left < right <= size[0] and 0 <= top < bottom <= size[1]):
            problem = f"{item['box']} in a picture of {size[0]} × {size[1]} px"
            return BadRow(
                "box outside the picture", "boxes", problem, "left < right and top < bottom, inside of it"
            )
    return None


def _settle(items: list[Item], policy: str, problems: Problems) -> list[Item]:
    """The items with contradicting answers dropped or merged, as the policy says."""
    if policy == "keep":
        return items
    keyed = [[*(ref.key for ref in item.images), item.row["image_id"] or ""] for item in items]
    by_id = {str(index): item for index, item in enumerate(items)}
    asked: list[Row] = [
        {**item.row, "id": str(index), "images": list(key)}
        for index, (item, key) in enumerate(zip(items, keyed, strict=True))
    ]
    dropped: set[str] = set()
    for conflict in conflicts(asked):
        if policy == "drop" or conflict["yes_against_no"]:
            dropped.update(conflict["rows"])
            continue
        accepted = list(dict.fromkeys(by_id[index].row["answer"] for index in conflict["rows"]))
        for index in conflict["rows"]:
            row = by_id[index].row
            row["answers"] = [row["answer"], *(text for text in accepted if text != row["answer"])]
    if dropped:
        problems.skipped["answers contradict each other"] += len(dropped)
    return [item for index, item in by_id.items() if index not in dropped]


def _nothing_left(source: Source, problems: Problems) -> MedgrpoError:
    reasons = ", ".join(f"{count} × {reason}" for reason, count in problems.skipped.most_common())
    return MedgrpoError(
        f"no usable row in {source.only_file or source.base}" + (f": skipped {reasons}" if reasons else ""),
        expected="at least one row with a question and an answer",
        hint=WITHOUT_PICTURES
        if problems.skipped[IMAGE_MISSING]
        else "run again without --on-bad-row skip to see the first bad row"
        if reasons
        else "docs/data.md lists the formats with their fields",
    )


def _finished_rows(
    items: Sequence[Item], stored: dict[str, StoredImage], name: str
) -> tuple[list[Row], list[str]]:
    """The rows with ids, stored pictures and token counts, and the content hash of each."""
    from medgrpo.data.boxes import scaled_boxes
    from medgrpo.models.families import image_family
    from medgrpo.models.image_tokens import image_tokens

    family = image_family("qwen2.5-vl")
    rows, hashes = [], []
    used: Counter[str] = Counter()
    for item in items:
        row = item.row
        row["source"] = name
        file = Path(str(row["source_file"]))
        base = f"{file.with_suffix('').as_posix() if file.name else 'images'}:{row['source_row']}"
        used[base] += 1
        row["id"] = base if used[base] == 1 else f"{base}.{used[base]}"
        pictures = [stored[ref.key] for ref in item.images]
        source_boxes = row["boxes"]
        row["images"] = [picture.path for picture in pictures]
        if pictures:
            first = pictures[0]
            row["width"], row["height"] = first.width, first.height
            row["image_tokens"] = image_tokens(first.width, first.height, family)
            row["image_id"] = row["image_id"] or item.images[0].shown_key
            _label_from_header(row, first)
            if source_boxes:
                row["boxes"] = scaled_boxes(source_boxes, first)
        for column, ref in item.masks.items():
            columns(row)[column] = stored[ref.key].path
        if item.mask:
            row["mask_area"] = stored[item.mask.key].foreground
        image_hashes = [stored[ref.key].source_hash for ref in _refs(item)]
        rows.append(row)
        hashes.append(row_hash(row, image_hashes, source_boxes))
    return rows, hashes


def _label_from_header(row: Row, picture: StoredImage) -> None:
    for kind, told in (("plane", picture.plane), ("modality", picture.modality)):
        if told and not columns(row)[kind]:
            columns(row)[kind] = told
            row["label_source"] = row["label_source"] or "image header"


def _groups(
    items: Sequence[Item], stored: dict[str, StoredImage], root: Path, distance: int, workers: int
) -> tuple[Groups, list[tuple[str, str]]]:
    """Rows that share a picture (also a copy or a near one), a patient, or a text; and the near pictures."""
    groups = Groups(len(items))
    rows_of: dict[str, int] = {}
    for index, item in enumerate(items):
        for ref in item.images:
            groups.add(index, ("file", stored[ref.key].source_hash))
            rows_of.setdefault(ref.key, index)
        if item.row["image_id"]:
            groups.add(index, ("image", item.row["source_file"].rpartition("/")[0], item.row["image_id"]))
        if item.row["patient_id"]:
            groups.add(index, ("patient", item.row["patient_id"]))
        if not item.images and not item.row["image_id"]:
            asked = f"{item.row['question']} {item.row['context'] or ''}"
            groups.add(index, ("text", text_key(asked)))
    near = alike({key: stored[key] for key in rows_of}, root, distance, workers)
    for one, other in near:
        groups.join(rows_of[one], rows_of[other])
    return groups, near


def _split_keys(items: Sequence[Item], stored: dict[str, StoredImage]) -> list[str]:
    """For each row what decides the order of drawing: its picture or its question, never a label."""
    return [
        stored[item.images[0].key].source_hash
        if item.images
        else str(item.row["image_id"] or text_key(str(item.row["question"])))
        for item in items
    ]


def _task_of_items(items: Sequence[Item]) -> Task:
    if any(item.mask for item in items):
        return "vessels"
    if any(item.row["boxes"] for item in items):
        return "detection"
    return "vqa" if any(item.images for item in items) else "text"


def _limits(asked: BudgetOptions | None) -> Budget | None:
    """What a row may cost, by the model's own tokenizer; opened before any picture is stored.

    Raises:
        UsageError: the folder has no tokenizer or no chat template.
    """
    if asked is None:
        return None
    from medgrpo.data.budget import Budget
    from medgrpo.data.chat import ModelText

    return Budget(
        ModelText.load(asked.model), asked.context_length, asked.completion_tokens, asked.max_pixels
    )


def _within_budget(
    items: list[Item],
    stored: dict[str, StoredImage],
    source: Source,
    folder: Path,
    options: PrepareOptions,
    template: PromptTemplate,
    budget: Budget | None,
    problems: Problems,
) -> tuple[list[Item], dict[str, Any] | None]:
    """The items that fit into the model's context, and what was counted."""
    if options.budget is None or budget is None:
        return items, None
    from medgrpo.data.budget import check, fitting_pixels

    asked = options.budget

    def counted() -> Any:
        return check(
            ((item.row | {"id": str(i)}, sizes(item)) for i, item in enumerate(items)), template, budget
        )

    def sizes(item: Item) -> list[tuple[int, int]]:
        return [(stored[ref.key].width, stored[ref.key].height) for ref in item.images]

    for item in items:
        item.row["images"] = [ref.key for ref in item.images]
    report = counted()
    too_long = {int(index) for index in report.too_long}
    smaller: dict[str, int] = {}
    if asked.policy == "downscale":
        for index in sorted(too_long):
            pixels = fitting_pixels(items[index].row, sizes(items[index]), template, budget)
            for ref in items[index].images if pixels else ():
                smaller[ref.key] = min(pixels or 0, smaller.get(ref.key, pixels or 0))
        jobs = [job for job in _jobs(items, source, folder, options.images) if job.ref.key in smaller]
        for job in jobs:
            settings = replace(options.images, max_pixels=smaller[job.ref.key])
            stored |= store_all([replace(job, settings=settings)], 1, label="images")
        too_long = {int(index) for index in counted().too_long}
    summary = {
        "context_length": asked.context_length,
        "completion_tokens": asked.completion_tokens,
        "prompt_tokens_median": report.median,
        "prompt_tokens_max": report.longest,
        "over_budget": len(report.too_long),
        "images_made_smaller": len(smaller),
        "rows_left_out": 0 if asked.policy == "keep" else len(too_long),
        "policy": asked.policy,
    }
    if asked.policy == "keep" or not too_long:
        return items, summary
    problems.skipped["prompt too long for the model"] += len(too_long)
    return [item for index, item in enumerate(items) if index not in too_long], summary


def _info(
    rows: Sequence[Row],
    stored: dict[str, StoredImage],
    names: Sequence[str],
    hashes: Sequence[str],
    problems: Problems,
    findings: Findings,
) -> dict[str, Any]:
    tokens = sorted(row["image_tokens"] for row in rows if row["image_tokens"] is not None)
    used = {path for row in rows for path in (*row["images"], row["mask"], row["mask2"], row["fov"]) if path}
    pictures = sorted(
        (image for image in stored.values() if image.path in used), key=lambda image: image.path
    )
    notes: Counter[str] = Counter(note for image in pictures for note in image.notes)
    return {
        "hash": combined_hash(f"{name} {digest}" for name, digest in zip(names, hashes, strict=True)),
        "pixels_hash": combined_hash(f"{image.path} {image.pixels_hash}" for image in pictures),
        "images": sum(image.path.startswith("images/") for image in pictures),
        "masks": sum(image.path.startswith("masks/") for image in pictures),
        "patients": len({row["patient_id"] for row in rows if row["patient_id"]}),
        "skipped": dict(problems.skipped.most_common()),
        "skipped_examples": problems.examples,
        "notes": dict((problems.notes + notes).most_common()),
        "leaked_fields": dict(problems.dropped_fields.most_common()),
        "unread_fields": dict(problems.account.unread.most_common()),
        "harmless_fields": dict(problems.account.harmless.most_common()),
        "image_tokens": {
            "min": tokens[0] if tokens else None,
            "median": tokens[len(tokens) // 2] if tokens else None,
            "max": tokens[-1] if tokens else None,
            "histogram": histogram(tokens),
        },
        **findings.to_dict(),
    }


def histogram(values: Sequence[int], bins: int = 12) -> list[dict[str, int]]:
    """Counts of sorted whole numbers in ranges of equal width, `from` and `to` included."""
    if not values:
        return []
    low, high = values[0], values[-1]
    width = max(1, -(-(high - low + 1) // bins))
    counts = Counter((value - low) // width for value in values)
    return [
        {"from": low + step * width, "to": low + (step + 1) * width - 1, "rows": counts[step]}
        for step in range(max(counts) + 1)
    ]


def summary(dataset: PreparedDataset, wall_s: float) -> dict[str, Any]:
    """The JSON document of `preprocess`."""
    info = dataset.info
    tokens = info["image_tokens"]
    return {
        "name": info["name"],
        "task": info["task"],
        "rows": info["rows"],
        "images": info["images"],
        "masks": info["masks"],
        "skipped": info["skipped"],
        "leaks": info["leaks"],
        "conflicts": info["conflicts"],
        "image_tokens": {key: tokens[key] for key in ("min", "median", "max")},
        "majority": info["majority"],
        "labels": info["labels"],
        "split": info["split"],
        "near_duplicates": info["near_duplicates"]["pairs"],
        "option_letters": info["option_letters"],
        "leaked_fields": info["leaked_fields"],
        "unread_fields": info.get("unread_fields", {}),
        "notes": info["notes"],
        "budget": info.get("budget"),
        "audit": info.get("audit"),
        "hash": info["hash"],
        "pixels_hash": info["pixels_hash"],
        "output": str(dataset.path),
        "wall_s": round(wall_s, 3),
    }


def dumps(value: Any) -> str:
    """Compact JSON that keeps Chinese readable."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
