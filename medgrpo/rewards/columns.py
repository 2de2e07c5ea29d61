"""Names of columns: what other people's files call them, and which fields no reward may see."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from medgrpo.errors import UsageError, choice_error

LEAKED_FIELDS = (
    "case.findings",
    "case.diagnosis",
    "case.discussion",
    "case.treatment_and_followup",
    "topic",
    "topic.*",
    "findings",
    "diagnosis",
    "impression",
)
"""Source fields that tell the answer. They reach no prompt and no reward; a name ending in `.*` covers
everything below it."""

RESERVED = ("completions", "self", "rewards", "function")
"""Names of the arguments of rewards themselves: a column that is called so is no column of the data."""
SETTINGS = ("tags", "plain", "measure", "iou_threshold", "use_labels")
"""Settings of the built-in rewards; a column that is called so is handed to a user's own rewards only."""

ALIASES: dict[str, tuple[str, ...]] = {
    "completion": (
        "completion",
        "prediction",
        "text",
        "response",
        "answer_pred",
        "pred_answer",
        "original_pred",
        "predict",  # LLaMA-Factory, with `label`
        "pred",
        "pred_ans",
        "predicted",
        "predicted_answer",
        "model_answer",
        "model_output",
        "model_response",
        "generated_text",
        "generated",
        "output",
        "completions",
        "filtered_resps",  # lm-evaluation-harness, lmms-eval
        "resps",
        "generation",
        "generations",
        "responses",
        "outputs",
        "predictions",
        "result",
    ),
    "answer": (
        "answer",
        "reference",
        "gt",
        "solution",
        "answer_gt",
        "original_gt",
        "ground_truth",
        "gt_answer",
        "gt_ans",
        "true_answer",
        "correct_answer",
        "reference_answer",
        "target",
        "gts",  # verl's dumps of rollouts
        "labels",  # ms-swift, with `response`
        "label",
    ),
    "answers": ("answers",),
    "question": ("question", "problem", "prompt"),
    "options": ("options",),
    "plane": ("plane",),
    "modality": ("modality",),
    "caption": ("caption",),
    "answer_type": ("answer_type", "asnwer_type"),
    "boxes": ("boxes",),
    "image_id": ("image_id", "image_name", "img_id", "img_name"),
    "patient_id": ("patient_id",),
    "question_type": ("question_type", "content_type"),
    "organ": ("organ", "image_organ"),
    "language": ("language", "q_lang"),
}
"""Column → the names under which it is found, the first that a file has; `Ground Truth` is `ground_truth`."""


OWN_NAMES = {
    "answer": ("solution", "ground_truth", "gt", "target", "reference"),
    "question": ("problem",),
}
"""Column → the names by which rewards written for other trainers ask for it."""


def with_own_names(columns: Mapping[str, Any], asked: Iterable[str]) -> dict[str, Any]:
    """The columns, and each also under a name of `OWN_NAMES` that a reward asks for and no column has."""
    wanted = set(asked) - columns.keys()
    found = dict(columns)
    for ours, names in OWN_NAMES.items():
        if ours in columns:
            found |= dict.fromkeys(wanted.intersection(names), columns[ours])
    return found


def parse_columns(text: str | None) -> dict[str, str]:
    """`completion=…,answer=…` as {column of ours: column of the file}; nothing after = leaves a column out.

    Raises:
        UsageError: a part without `=`.
    """
    mapping: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in (text or "").split(","))):
        ours, equals, theirs = part.partition("=")
        by_spaces = re.findall(r"(\w+)=(\S+)", part) if re.search(r"\s\w+=", part) else []
        if not equals or not ours.strip() or len(by_spaces) > 1:
            other, _, name = part.partition(":")
            hint = f"--columns {other}={name}" if name else None
            if by_spaces:
                hint = "with commas: --columns " + ",".join("=".join(pair) for pair in by_spaces)
            raise UsageError(
                f"--columns has {part!r}",
                expected="NAME HERE=NAME IN THE FILE, such as completion=NAME,answer=NAME",
                hint=hint,
            )
        mapping[ours.strip()] = theirs.strip()
    return mapping


def find_columns(
    present: Iterable[str], given: Mapping[str, str] | None = None, *, where: str = "the file"
) -> dict[str, str]:
    """{column of ours: column of the file} for the columns that are there.

    Args:
        present: the file's column names.
        given: the user's mapping, which wins over the aliases; "" leaves a column out.
        where: the file, for messages.
    Raises:
        UsageError: a mapping names a column that the file does not have.
    """
    names = list(present)
    folded: dict[str, str] = {}
    for name in names:
        folded.setdefault(name.strip().lower().replace(" ", "_").replace("-", "_"), name)
    found: dict[str, str] = {}
    for ours, aliases in ALIASES.items():
        match = next((folded[alias] for alias in aliases if alias in folded), None)
        if match is not None:
            found[ours] = match
    for ours, theirs in (given or {}).items():
        if not theirs:
            found.pop(ours, None)
        elif theirs in names:
            found[ours] = theirs
        else:
            raise choice_error(f"column in {where}", theirs, names)
    return found


def is_leaked_field(name: str) -> bool:
    """True if a field of the source, as a dotted path, tells the answer (see `LEAKED_FIELDS`)."""
    folded = name.strip().lower().replace("/", ".")
    return any(
        folded == field or (field.endswith(".*") and folded.startswith(field[:-1])) for field in LEAKED_FIELDS
    )
