"""Records whose fields a person names: `--columns question=frage,answer=antwort,image=bild`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path, PurePath
from typing import Any

from medgrpo.data.source import IMAGE_SUFFIXES
from medgrpo.errors import UsageError, choice_error

ROLES = (
    *("question", "answer", "image", "options", "split", "language", "context", "image_id", "patient_id"),
    *("answer_type", "question_type", "organ", "plane", "modality", "image_title", "caption", "difficulty"),
    *("chosen", "rejected"),
)
"""What a field may be named as."""


def check_roles(columns: Mapping[str, str]) -> None:
    """Raise UsageError for a role that no reader knows."""
    for role in columns:
        if role not in ROLES:
            error = choice_error("role in --columns", role, ROLES)
            turned = columns[role] in ROLES
            hint = f"the name here stands first: --columns {columns[role]}={role}" if turned else error.hint
            raise UsageError(error.problem, expected=error.expected, hint=hint)


def with_roles(record: dict[str, Any], columns: Mapping[str, str], file: Path) -> dict[str, Any]:
    """The record with its fields called by their roles.

    A field that has a role's name already and is not the one meant keeps its value under `NAME (not in --columns)`:
    it is shown as not read. A role with an empty name leaves the field of that name out in the same way.

    Raises:
        UsageError: no field has the name.
    """
    for role, field in columns.items():
        if field and field not in record:
            raise _no_such_field(field, role, record, file)
    roles: dict[str, str] = {field: role for role, field in columns.items() if field}
    found: dict[str, Any] = {}
    for name, value in record.items():
        if name in roles:
            found[roles[name]] = value
        elif name in columns:
            found[f"{name} (not in --columns)"] = value
        else:
            found[name] = value
    return found


def _no_such_field(field: str, role: str, record: Mapping[str, Any], file: Path) -> UsageError:
    near = choice_error("field", field, map(str, record)).hint
    names = ", ".join(map(str, record))
    return UsageError(
        f"--columns {role}={field}: {file.name} has no field {field!r}", expected=f"one of {names}", hint=near
    )


def guessed_roles(record: Mapping[str, Any], given: Mapping[str, str]) -> str:
    """What `--columns` may say of a record whose names nobody knows: a picture by its suffix, a question by its mark, the
    longest text else, and the first that is left as the answer; `FIELD` where nothing is left.

    Args:
        record: the first record, with `given` applied.
        given: role → field, as the person named them already; they are kept.
    """
    texts = {str(name): str(value).strip() for name, value in record.items() if name not in given}
    roles = {role: field for role, field in given.items() if field}

    def take(role: str, names: Sequence[str]) -> None:
        if role not in roles:
            roles[role] = next(iter(names), "FIELD")
            texts.pop(roles[role], None)

    take("image", [name for name, text in texts.items() if PurePath(text).suffix.lower() in IMAGE_SUFFIXES])
    asked = [name for name, text in texts.items() if text.endswith(("?", "？"))]
    take("question", asked or sorted(texts, key=lambda name: -len(texts[name])))
    no_number = [name for name, text in texts.items() if text and not text.replace(".", "").isdigit()]
    take("answer", [*no_number, *texts])
    if roles["image"] == "FIELD":
        del roles["image"]  # rows of text have none
    order = [role for role in ("image", "question", "answer") if role in roles]
    return ",".join(f"{role}={roles[role]}" for role in [*order, *(r for r in roles if r not in order)])
