"""Completions with vLLM's offline engine: the same prompts as Transformers, many times the speed on a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.data.prompts import PromptTemplate
from medgrpo.errors import MedgrpoError, missing_extra
from medgrpo.generation.generate import Generated, Sampling, load_image, template_ids
from medgrpo.rows import Row

if TYPE_CHECKING:
    from medgrpo.generation.subject import Subject

CHUNK = 256
"""Rows handed over at a time: the engine batches within, and what is done is on disk after each."""


class VllmEngine:
    """A model held by vLLM in this process.

    Prompts are the tokens of the chat template's text with one placeholder a picture: vLLM expands each to
    its image tokens itself, so they must not be expanded before. Of a text vLLM 0.31 makes a prompt with a
    second beginning-of-sequence token where the template writes one (Gemma).
    """

    name = "vllm"

    def __init__(self, engine: Any, processor: Any, lora: Any | None = None, seed: int = 0) -> None:
        self.engine, self.processor, self.lora, self.seed = engine, processor, lora, seed
        self.notes: list[str] = []
        """What is to be told of the rows that were answered last."""
        self._read = self._known = 0

    def generate(
        self,
        rows: Sequence[Row],
        template: PromptTemplate,
        image_path: Callable[[str], Path],
        sampling: Sampling,
        on_batch: Callable[[int], None] | None,
    ) -> Iterator[Generated]:
        """The completions of each row; rows about one picture follow each other, so that what vLLM keeps of it is found."""
        from vllm import SamplingParams

        greedy = sampling.temperature <= 0
        params = SamplingParams(
            n=1 if greedy else sampling.num_generations,
            temperature=sampling.temperature,
            top_p=1.0 if greedy else sampling.top_p,
            top_k=sampling.top_k if sampling.top_k > 0 and not greedy else -1,
            max_tokens=sampling.max_new_tokens,
            seed=None if greedy else self.seed,
            min_p=0.0 if greedy else sampling.min_p or 0.0,
            repetition_penalty=1.0 if greedy else sampling.repetition_penalty,
            skip_special_tokens=True,
        )
        self._read = self._known = 0
        order = by_picture(rows)
        for start in range(0, len(order), CHUNK):
            chunk = order[start : start + CHUNK]
            prompts = [self._prompt(rows[index], template, image_path) for index in chunk]
            outputs = self.engine.generate(prompts, params, use_tqdm=False, lora_request=self.lora)
            for index, output in zip(chunk, outputs, strict=True):
                done = output.outputs
                self._count(output)
                yield Generated(
                    index,
                    rows[index],
                    [one.text for one in done],
                    [one.finish_reason == "length" for one in done],
                    [len(one.token_ids) for one in done],
                )
            if on_batch is not None:
                on_batch(len(chunk))
        if self._read:
            self.notes[:] = [f"vLLM had {self._known:,} of {self._read:,} tokens of the prompts from before"]

    def _count(self, output: Any) -> None:
        """Tokens of a prompt, and those whose keys and values were there, where vLLM says so."""
        known = getattr(output, "num_cached_tokens", None)
        if known is not None:
            self._read += len(output.prompt_token_ids or ())
            self._known += known

    def _prompt(
        self, row: Row, template: PromptTemplate, image_path: Callable[[str], Path]
    ) -> dict[str, Any]:
        prompt: dict[str, Any] = {"prompt_token_ids": template_ids(row, template, self.processor)}
        images = [load_image(row, image_path(path)) for path in row.get("images") or []]
        return {**prompt, "multi_modal_data": {"image": images}} if images else prompt


def by_picture(rows: Sequence[Row]) -> list[int]:
    """Numbers of the rows, those about the same pictures side by side, otherwise in the order given."""
    first: dict[tuple[str, ...], int] = {}
    names = [tuple(row.get("images") or ()) or (str(index), "no picture") for index, row in enumerate(rows)]
    for index, name in enumerate(names):
        first.setdefault(name, index)
    return sorted(range(len(rows)), key=lambda index: (first[names[index]], index))


def load_vllm(subject: Subject, *, dtype: str = "auto", seed: int = 0) -> VllmEngine:
    """The engine for a model, with its adapter and the picture size it was trained with.

    Raises:
        MedgrpoError: vLLM is not installed, or cannot hold the model.
    """
    try:
        from vllm import LLM
        from vllm.lora.request import LoRARequest
    except ImportError as error:
        raise missing_extra("vllm", "vllm", "--engine vllm") from error
    from transformers import AutoConfig

    from medgrpo.models.loading import is_vision_config, load_processor
    from medgrpo.models.weights import local_folder
    from medgrpo.models.whole import check_whole

    is_vision = is_vision_config(AutoConfig.from_pretrained(subject.base, **subject.pinned))
    processor = load_processor(
        subject.base,
        is_vision=is_vision,
        revision=subject.revision,
        trust_remote_code=subject.trust_remote_code,
        max_pixels=subject.metadata.get("max_pixels"),
        min_pixels=subject.metadata.get("min_pixels"),
        thinking=subject.metadata.get("thinking"),
    )
    options: dict[str, Any] = {
        "model": subject.base,
        "dtype": dtype,
        "seed": seed,
        "trust_remote_code": subject.trust_remote_code,
    }
    if subject.revision:
        options["revision"] = options["tokenizer_revision"] = subject.revision
    if is_vision:
        size = processor.image_processor.size
        options["limit_mm_per_prompt"] = {"image": 8, "video": 0}
        options["mm_processor_kwargs"] = {"size": dict(size)}
    folder = local_folder(subject.base, subject.revision)
    if folder is not None:  # vLLM drops what it finds no place for, and asks nothing about NaN
        check_whole(folder, subject.adapter, trust_remote_code=subject.trust_remote_code)
    lora = None
    if subject.adapter is not None:
        from medgrpo.models.adapter_files import read_adapter

        files = read_adapter(subject.adapter)
        rank = max(tensor.shape[0] for name, tensor in files.tensors.items() if "lora_A" in name)
        options |= {"enable_lora": True, "max_lora_rank": max(8, int(rank))}
        lora = LoRARequest("adapter", 1, str(subject.adapter))
    try:
        engine = LLM(**options)
    except (RuntimeError, ValueError, OSError) as error:
        first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise MedgrpoError(
            f"vLLM cannot load {subject.base}: {first}", hint="--engine transformers runs without vLLM"
        ) from error
    return VllmEngine(engine, processor, lora, seed)
