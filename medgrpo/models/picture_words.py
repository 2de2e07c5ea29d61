"""Whether a tokenizer writes the token that its model takes for a picture: another model's does not, and nothing says so
before the first picture is looked at."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError, UsageError, typed_path
from medgrpo.files import read_json

if TYPE_CHECKING:
    from collections.abc import Mapping

NAMES = ("image_token_id", "image_token_index")
"""How `config.json` names the id."""
FILES = (
    "tokenizer.json tokenizer_config.json chat_template.jinja preprocessor_config.json processor_config.json"
)


def picture_id(config: Mapping[str, Any]) -> tuple[str, int] | None:
    """The id that stands for a picture and how it is named; None for a text model."""
    found = ((name, config.get(name)) for name in NAMES)
    return next(((name, value) for name, value in found if type(value) is int), None)


def check_files_of_pictures(folder: Path, config: Mapping[str, Any]) -> None:
    """Hold `tokenizer.json` against the picture's id of `config.json`, without loading either.

    Raises:
        UsageError: the tokenizer has no such entry, or it is an ordinary word.
    """
    named, file = picture_id(config), folder / "tokenizer.json"
    if named is None or not file.is_file():
        return
    name, number = named
    added = _added_tokens(file, file.stat().st_mtime_ns)
    if added is None or number in added:
        return
    raise UsageError(
        f"{file} has no token {number} for a picture, which {folder / 'config.json'} names ({name})",
        expected="the tokenizer that the model was trained with",
        hint=_again(folder),
    )


@lru_cache(maxsize=4)
def _added_tokens(file: Path, _: int) -> dict[int, str] | None:
    """Ids of the tokens that were added to the words; None where the file is none that we know."""
    try:
        tokens = read_json(file)["added_tokens"]
        return {int(one["id"]): str(one["content"]) for one in tokens}
    except (OSError, MedgrpoError, KeyError, TypeError, ValueError, json.JSONDecodeError):
        return None


def check_written_picture(config: Any, processor: Any, path: str) -> None:
    """Write a prompt with a blank picture and look for the picture's token in it.

    Args:
        config: the model's.
        processor: of a model that looks at pictures.
        path: for the message.
    Raises:
        MedgrpoError: it is not in it.
    """
    named = picture_id({name: getattr(config, name, None) for name in NAMES})
    tokenizer = getattr(processor, "tokenizer", None)
    if named is None or tokenizer is None:
        return
    ids = _written(processor)
    if ids is None or named[1] in ids:
        return
    token = getattr(processor, "image_token", None)
    other = tokenizer.convert_tokens_to_ids(token) if isinstance(token, str) else None
    wrong = (
        f"writes {token!r} ({other}) for a picture"
        if other is not None and other in ids
        else "writes no token for a picture"
    )
    raise MedgrpoError(
        f"the tokenizer and chat template of {path} {wrong}, and its config.json names {named[1]} ({named[0]})",
        expected="the model with the tokenizer, template and processor that it was trained with",
        hint=_again(Path(path)),
    )


def _written(processor: Any) -> set[int] | None:
    """Ids of a prompt with a picture; None where it cannot be written: the first real prompt will say why."""
    from PIL import Image

    picture = {"type": "image", "image": Image.new("RGB", (56, 56))}
    talk = [{"role": "user", "content": [picture, {"type": "text", "text": "?"}]}]
    options: dict[str, Any] = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    try:
        text = processor.apply_chat_template(talk, add_generation_prompt=True, tokenize=False)
        named = [getattr(processor, name, None) for name in ("image_token", "boi_token")]
        marks = [mark for mark in named if isinstance(mark, str)]
        if marks and not any(mark in text for mark in marks):
            return set()
        made = processor.apply_chat_template([talk], add_generation_prompt=True, **options)
        return set(made["input_ids"][0].tolist())
    except Exception:  # noqa: BLE001  (templates and processors raise anything)
        return None


def _again(folder: Path) -> str:
    return (
        f"fetch them again from where the weights come from: hf download NAME {FILES} "
        f"--local-dir {typed_path(folder)}"
    )
