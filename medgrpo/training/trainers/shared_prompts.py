"""What SFT and DPO share: an example through the processor, and the model as TRL's losses call it, each prompt once."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from medgrpo.engine.packed import packed_outputs
from medgrpo.engine.shown import Shown, content_of, shown_of
from medgrpo.engine.support import attends_by_kernel

if TYPE_CHECKING:
    import torch

NO_LABEL = -100
"""Label of a token that is not learned."""


def processed(
    example: dict[str, Any], answers: Sequence[str], processor: Any, inner: Any
) -> tuple[Shown, list[list[int]]]:
    """The prompt of an example and the tokens of its answers, as TRL's collators make them.

    Args:
        example: `prompt` and the answers as messages, with `images`.
        answers: keys of the answers.
        inner: the model without its head, for its positions.
    """
    from trl.data_utils import apply_chat_template, prepare_multimodal_messages

    images = list(example["images"])
    messages = {name: prepare_multimodal_messages(example[name]) for name in answers}
    messages["prompt"] = prepare_multimodal_messages(example["prompt"], images=images)
    texts = apply_chat_template(messages, processor)
    usual = {"add_special_tokens": False, "return_tensors": "pt"}
    made = processor(images=[images] if images else None, text=[texts["prompt"]], **usual)
    tokens = [processor(text=[texts[name]], **usual)["input_ids"][0].tolist() for name in answers]
    shown = shown_of(inner, dict(made), len(images))
    shown["content"] = content_of(images)
    return shown, tokens


def padded_rows(
    rows: Sequence[tuple[Shown, Sequence[int]]], *, filling: int
) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Rows of a batch, prompts padded on the left and what follows them on the right.

    Gives ids and mask (1 at tokens), int64, (rows, columns), and how many of the last columns follow the prompts.

    Args:
        rows: each row's prompt, and the tokens after it.
        filling: id at padding.
    """
    import torch

    before = max(len(shown["prompt_ids"]) for shown, _ in rows)
    after = max(1, *(len(tokens) for _, tokens in rows))
    ids = torch.full((len(rows), before + after), filling)
    mask = torch.zeros_like(ids)
    for row, (shown, tokens) in enumerate(rows):
        prompt = shown["prompt_ids"]
        ids[row, before - len(prompt) : before] = prompt
        ids[row, before : before + len(tokens)] = torch.tensor(tokens, dtype=torch.long)
        mask[row, before - len(prompt) : before + len(tokens)] = 1
    return ids, mask, after


class SharedPrompts:
    """Called as TRL's loss calls a model with its head over chunks; computes each prompt once.

    Args:
        model: policy or reference, as it is to be called.
        autocast: gives a context in which the model is called.
    """

    def __init__(self, model: Any, autocast: Any) -> None:
        self._model = model
        self._autocast = autocast

    def __call__(
        self,
        *,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        shown: Sequence[Shown],
        answer_columns: int,
        labels: torch.Tensor | None = None,
        **_: Any,
    ) -> SimpleNamespace:
        """What the head gives of each token but the first, (rows, columns − 1): 0 in prompts, as where TRL has no label."""
        import torch

        asked_for = None if labels is None else labels[:, -answer_columns:] != NO_LABEL
        found = packed_outputs(
            self._model,
            input_ids,
            attention_mask,
            answer_columns,
            shown,
            self._autocast,
            by_kernel=attends_by_kernel(self._model),
            asked_for=asked_for,
        )
        before = input_ids.shape[1] - answer_columns - 1
        outputs = {name: torch.nn.functional.pad(values, (before, 0)) for name, values in found.items()}
        if asked_for is not None:
            outputs["label_mask"] = torch.nn.functional.pad(asked_for, (before, 0))
        return SimpleNamespace(**outputs)
