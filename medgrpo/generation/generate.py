"""Completions of a model for rows of a prepared dataset, in batches, with Transformers.

Used by `medgrpo eval`, by validation while training, and wherever else completions are needed outside
TRL's own rollouts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medgrpo.data.prompts import PromptTemplate, build_messages
from medgrpo.generation.seen_pictures import SeenPictures
from medgrpo.models.context import UNSTATED, context_of
from medgrpo.models.overflow import LogitsWatch, no_finite_logits
from medgrpo.pictures import opened_picture
from medgrpo.rows import Row


@dataclass(frozen=True)
class Sampling:
    """How completions are drawn."""

    max_new_tokens: int = 256
    """Longest completion, in tokens."""
    temperature: float = 0.0
    """0: greedy, the likeliest token each time."""
    top_p: float = 1.0
    top_k: int = 0
    num_generations: int = 1
    """Completions per row; with greedy decoding they would all be the same, so 1 is made."""
    min_p: float | None = None
    """Leave out tokens less likely than this share of the likeliest."""
    repetition_penalty: float = 1.0
    """Above 1 tokens that were there already are less likely; greedy decoding does without."""


@dataclass(frozen=True)
class Generated:
    """The completions of one row."""

    index: int
    """Position of the row in the list that was given."""
    row: Row
    completions: list[str]
    truncated: list[bool]
    """Which completions hit the length limit before ending."""
    lengths: list[int] = field(default_factory=list)
    """Tokens of each completion, the end token included."""
    failed: str | None = None
    """Why there is no answer: a server gave none after all tries, or the prompt is longer than the model's context. The
    completions are then empty."""


def generate(
    model: Any,
    processor: Any,
    rows: Sequence[Row],
    template: PromptTemplate,
    *,
    image_path: Callable[[str], Path],
    sampling: Sampling | None = None,
    batch_size: int = 16,
    on_batch: Callable[[int], None] | None = None,
    seen: SeenPictures | None = None,
) -> Iterator[Generated]:
    """The completions of each row, batch by batch, longest prompts first.

    Rows come back in the order of generation: sort by `index` for the order given. Prompts of similar
    length share a batch (less padding), and the longest come first, so that a batch too big for the
    memory fails at once. The model is set to evaluation mode for the time and back again. A prompt that fills the
    model's context gets no answer but the reason; one that leaves less room than the completion may take, a completion
    that is cut off there.

    Args:
        model: a causal model with `generate`, or an adapter over one.
        processor: its processor, or tokenizer for a text-only model.
        rows: rows of a prepared dataset.
        template: the prompt template the model was trained with.
        image_path: relative path of a row's image → absolute path (`PreparedDataset.image_path`).
        sampling: greedy, one completion of 256 tokens, unless said otherwise.
        batch_size: completions in one forward pass.
        on_batch: called with the number of rows done since the last call.
        seen: counts how often the model looks at pictures; made here where none is given. A picture that several rows
            are about is looked at once, where the family allows it.
    Raises:
        MedgrpoError: a picture cannot be read; names the row and the file.
    """
    import torch

    sampling = sampling or Sampling()
    copies = sampling.num_generations if sampling.temperature > 0 else 1
    order = sorted(range(len(rows)), key=lambda index: -_size(rows[index]))
    step = max(1, batch_size // copies)
    seen = SeenPictures(model, rows) if seen is None else seen
    context = context_of(model, getattr(processor, "tokenizer", processor))
    was_training = model.training
    model.eval()
    try:
        for start in range(0, len(order), step):
            all_chosen = order[start : start + step]
            inputs = encode_prompts([rows[i] for i in all_chosen], template, processor, image_path)
            room = _room(context, inputs, sampling)
            chosen = [index for index, left in zip(all_chosen, room, strict=True) if left > 0]
            for index, left in zip(all_chosen, room, strict=True):
                if left <= 0:
                    yield _no_room(index, rows[index], copies, left, context)
            if not chosen:
                if on_batch is not None:
                    on_batch(len(all_chosen))
                continue
            if len(chosen) < len(all_chosen):
                inputs = encode_prompts([rows[i] for i in chosen], template, processor, image_path)
                room = [left for left in room if left > 0]
            asked = [rows[index] for index in chosen]
            with torch.inference_mode(), seen.shown(asked, inputs):
                completions = _complete(model, processor, inputs.to(model.device), sampling, copies, room)
            for position, index in enumerate(chosen):
                texts, ended, lengths = zip(
                    *completions[position * copies : (position + 1) * copies], strict=True
                )
                yield Generated(index, rows[index], list(texts), [not end for end in ended], list(lengths))
            if on_batch is not None:
                on_batch(len(all_chosen))
    finally:
        model.train(was_training)


def _room(context: int | None, inputs: Any, sampling: Sampling) -> list[int]:
    """Tokens that each prompt of a batch leaves for its completion, at most what is asked for; 0 or less: none."""
    most = context or UNSTATED
    mask = inputs["attention_mask"] if "attention_mask" in inputs else inputs["input_ids"] >= 0
    lengths = mask.sum(dim=1).tolist()
    return [min(sampling.max_new_tokens, most - length) for length in lengths]


def _no_room(index: int, row: Row, copies: int, left: int, context: int | None) -> Generated:
    most = context or UNSTATED
    made_for = "the model was made for" if context else "as nothing says what the model was made for, at most"
    why = f"the prompt has {most - left:,} tokens, and {made_for} {most:,}"
    return Generated(index, row, [""] * copies, [False] * copies, [0] * copies, failed=why)


def encode_prompts(
    rows: Sequence[Row], template: PromptTemplate, processor: Any, image_path: Callable[[str], Path]
) -> Any:
    """The model's inputs for a batch of prompts, padded on the left so that completions start together."""
    texts = [
        processor.apply_chat_template(
            build_messages(row, template), add_generation_prompt=True, tokenize=False
        )
        for row in rows
    ]
    images = [[load_image(row, image_path(path)) for path in row["images"]] for row in rows]
    tokenizer = getattr(processor, "tokenizer", processor)
    side, tokenizer.padding_side = tokenizer.padding_side, "left"
    options: dict[str, Any] = {"padding": True, "return_tensors": "pt", **_begin_once(texts[0], tokenizer)}
    try:
        if any(images):
            return processor(text=texts, images=images, **options)
        return processor(text=texts, **options)
    finally:
        tokenizer.padding_side = side


def template_ids(row: Row, template: PromptTemplate, processor: Any) -> list[int]:
    """The prompt as tokens, each picture as the chat template writes it and not yet expanded."""
    text = processor.apply_chat_template(
        build_messages(row, template), add_generation_prompt=True, tokenize=False
    )
    tokenizer = getattr(processor, "tokenizer", processor)
    return list(tokenizer(text, **_begin_once(text, tokenizer))["input_ids"])


def _begin_once(text: str, tokenizer: Any) -> dict[str, bool]:
    """The template writes the beginning-of-sequence token where the model has one (Gemma): not twice."""
    is_written = tokenizer.bos_token and text.startswith(tokenizer.bos_token)
    return {"add_special_tokens": False} if is_written else {}


def load_image(row: Row, path: Path) -> Any:
    """The picture of a row as RGB.

    Raises:
        MedgrpoError: there is no such file, or it is no picture.
    """
    with opened_picture(path, of=f"row {row.get('id')!r}") as image:
        return image.convert("RGB")


def _complete(
    model: Any, processor: Any, inputs: Any, sampling: Sampling, copies: int, room: Sequence[int]
) -> list[tuple[str, bool, int]]:
    """(text, ended by itself, tokens) of each completion, those of one prompt side by side; cut where its room ends."""
    from transformers import GenerationConfig, LogitsProcessorList

    tokenizer = getattr(processor, "tokenizer", processor)
    ends = _end_tokens(model, tokenizer)
    greedy = sampling.temperature <= 0
    # Everything is stated: what is left out would be taken from the model's own generation_config, where
    # for instance Qwen2.5-VL sets a repetition penalty.
    config = GenerationConfig(
        max_new_tokens=max(room),
        do_sample=not greedy,
        temperature=1.0 if greedy else sampling.temperature,
        top_p=1.0 if greedy else sampling.top_p,
        top_k=0 if not greedy and sampling.top_k == 0 else (sampling.top_k or 50),
        min_p=None if greedy else sampling.min_p,
        repetition_penalty=1.0 if greedy else sampling.repetition_penalty,
        num_beams=1,
        num_return_sequences=copies,
        eos_token_id=ends,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0],
    )
    watch = LogitsWatch()
    watched = LogitsProcessorList([watch])
    sequences = model.generate(**inputs, generation_config=config, logits_processor=watched)
    if watch.rows:
        what = f"{watch.rows} of {len(sequences)} completions"
        raise no_finite_logits(what, model.named_parameters(), str(model.dtype).removeprefix("torch."))
    sequences = sequences[:, inputs["input_ids"].shape[1] :]
    result = []
    for number, whole in enumerate(sequences.tolist()):
        tokens = whole[: room[number // copies]]
        stop = next((place for place, token in enumerate(tokens) if token in ends), None)
        kept = tokens if stop is None else tokens[:stop]
        text = tokenizer.decode(kept, skip_special_tokens=True)
        result.append((text, stop is not None, len(kept) + (stop is not None)))
    return result


def _end_tokens(model: Any, tokenizer: Any) -> list[int]:
    """Tokens that end a completion: those of the model's generation settings and the tokenizer's own."""
    stated = getattr(model.generation_config, "eos_token_id", None)
    ends = [stated] if isinstance(stated, int) else list(stated or [])
    if tokenizer.eos_token_id is not None and tokenizer.eos_token_id not in ends:
        ends.append(tokenizer.eos_token_id)
    return ends


def _size(row: Row) -> int:
    """A number that grows with the length of the row's prompt: image tokens and a token per 4 letters."""
    letters = len(str(row.get("question") or "")) + len(str(row.get("context") or ""))
    return int(row.get("image_tokens") or 0) * len(row.get("images") or []) + letters // 4
