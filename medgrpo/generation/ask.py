"""One question to one model about one picture: what it says, and what it was really given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medgrpo.data.schema import guess_language, new_row
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.foreign import reads
from medgrpo.generation.generate import Sampling, encode_prompts, generate
from medgrpo.generation.subject import Subject, load_subject
from medgrpo.models.families import image_token_of
from medgrpo.rows import Row

IMAGE_TOKENS = ("<|image_pad|>", "<image_soft_token>", "<IMG_CONTEXT>", "<image>")
"""Tokens that stand for a piece of a picture, in the families of models."""


@reads("subject", "a model that answers questions, with its tokenizer and settings")
def ask(
    subject: Subject,
    image: Path | None,
    question: str,
    *,
    options: list[str] | None = None,
    prompt: str | None = None,
    sampling: Sampling | None = None,
    dtype: str = "auto",
) -> dict[str, Any]:
    """The answer to one question.

    Args:
        subject: the model.
        image: a picture file; None: a question without a picture.
        question: in English or Chinese.
        options: choices of a multiple-choice question.
        prompt: template; None: the one it was trained with.
        sampling: None: greedy, as long as in training.
    Returns:
        `completion`, `tags` (tag -> content, None where it is not well-formed), `answer`, `format` (1 or 0),
        `image_tokens`, `image_size` (as stored), `prompt_tokens`, `completion_tokens`, `truncated`, `prompt`
        (as the model gets it), `prompt_template`, `model`; where boxes were asked for, `boxes` in pixels of the
        picture (None: none could be read) and the `box_format` that they were written in.
    Raises:
        UsageError: no question, or the model takes no pictures.
        MedgrpoError: the picture or the model cannot be read, or the prompt is longer than the model's context.
    """
    import json

    from medgrpo.generation.generate import load_image

    if not question.strip():
        raise UsageError("the question is empty", expected="a question in quotes")
    row = new_row(id="asked", question=question, answer=None, language=guess_language(question))
    size = None
    if image is not None:
        if not image.is_file():
            raise UsageError(f"no picture at {image}", expected="a picture file, or - for none")
        size = load_image(row, image).size
        row["images"] = [str(image)]
    if options:
        row["options"] = json.dumps(dict(zip("ABCDEFGHIJ", options, strict=False)), ensure_ascii=False)
    template = subject.template(prompt)
    if "boxes" in template.tags:
        row["width"], row["height"] = size or (None, None)
        row = subject.coordinates().place(row)
    stated = subject.metadata.get("generation") or {}
    how = sampling or Sampling(max_new_tokens=int(stated.get("max_new_tokens") or 256))
    loaded = load_subject(subject, dtype=dtype)
    if image is not None and not loaded.is_vision:
        raise UsageError(f"{subject.name} takes no pictures", expected="a vision-language model, or no IMAGE")
    inputs = encode_prompts([row], template, loaded.processor, Path)
    tokens = inputs["input_ids"][0]
    given = next(
        iter(generate(loaded.model, loaded.processor, [row], template, image_path=Path, sampling=how))
    )
    if given.failed is not None:
        raise MedgrpoError(
            given.failed,
            expected="a prompt that leaves room for an answer",
            hint="a shorter question, or a smaller picture",
        )
    return {
        "model": subject.name,
        "prompt_template": template.name,
        "image_size": list(size) if size else None,
        "image_tokens": _image_tokens(loaded, tokens) if image is not None else 0,
        "prompt_tokens": len(tokens),
        "prompt": _rendered(loaded.processor, row, template),
        "completion": given.completions[0],
        "completion_tokens": given.lengths[0],
        "truncated": given.truncated[0],
        **read_completion(given.completions[0], template.tags),
        **_found_boxes(given.completions[0], row),
    }


def _found_boxes(completion: str, row: Row) -> dict[str, Any]:
    from medgrpo.rewards.boxes import stored_boxes

    if "box_format" not in row:
        return {}
    return {"boxes": stored_boxes(completion, row), "box_format": row["box_format"]}


def read_completion(completion: str, tags: tuple[str, ...]) -> dict[str, Any]:
    """`tags`, `answer` and `format` of a completion, as the rewards read it."""
    from medgrpo.rewards.text import format as format_reward
    from medgrpo.rewards.text import parse_tags

    if not tags:
        return {"tags": {}, "answer": completion.strip(), "format": None}
    parsed = parse_tags([completion], tags)[0]
    contents = {tag: parsed[tag]["content"] for tag in tags}
    return {
        "tags": contents,
        "answer": contents.get("answer"),
        "format": format_reward([completion], tags=tags)[0],
    }


def _rendered(processor: Any, row: Row, template: Any) -> str:
    from medgrpo.data.prompts import build_messages

    text = processor.apply_chat_template(
        build_messages(row, template), add_generation_prompt=True, tokenize=False
    )
    return str(text)


def _image_tokens(loaded: Any, tokens: Any) -> int | None:
    vocabulary = loaded.tokenizer.get_vocab()
    known = [vocabulary[token] for token in IMAGE_TOKENS if token in vocabulary]
    stated = image_token_of(loaded.model)
    if stated is not None:
        known = [stated]
    return sum(int((tokens == token).sum()) for token in known) if known else None
