"""What runs a model: Transformers here, or a server that speaks the OpenAI protocol."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.data.prompts import PromptTemplate
from medgrpo.errors import choice_error
from medgrpo.generation.generate import Generated, Sampling, generate
from medgrpo.generation.seen_pictures import SeenPictures
from medgrpo.rows import Row

if TYPE_CHECKING:
    from medgrpo.generation.subject import Subject
    from medgrpo.models.loading import LoadedModel


@dataclass(frozen=True)
class TransformersEngine:
    """A model loaded with Transformers in this process."""

    loaded: LoadedModel
    batch_size: int = 16
    """Completions in one forward pass."""
    seed: int = 0
    """Of what is drawn at a temperature."""
    name: str = "transformers"
    notes: list[str] = field(default_factory=list)
    """What is to be told of the rows that were answered last."""

    def generate(
        self,
        rows: Sequence[Row],
        template: PromptTemplate,
        image_path: Callable[[str], Path],
        sampling: Sampling,
        on_batch: Callable[[int], None] | None,
    ) -> Iterator[Generated]:
        """The completions of each row, in the order of generation."""
        import torch

        if sampling.temperature > 0:
            torch.manual_seed(self.seed)
        seen = SeenPictures(self.loaded.model, rows)
        yield from generate(
            self.loaded.model,
            self.loaded.processor,
            rows,
            template,
            image_path=image_path,
            sampling=sampling,
            batch_size=self.batch_size,
            on_batch=on_batch,
            seen=seen,
        )
        self.notes[:] = [seen.note] if seen.note else []


def load_transformers(subject: Subject, *, batch_size: int, dtype: str, seed: int) -> TransformersEngine:
    """The engine for a `Subject`, its model loaded."""
    from medgrpo.generation.subject import load_subject

    return TransformersEngine(load_subject(subject, dtype=dtype), batch_size, seed)


def choose_engine(
    name: str, subject: Subject, *, batch_size: int = 16, dtype: str = "auto", seed: int = 0
) -> Callable[[], Any]:
    """What loads the engine of that name, when it is called.

    Raises:
        UsageError: there is no such engine.
    """
    if name == "transformers":
        return lambda: load_transformers(subject, batch_size=batch_size, dtype=dtype, seed=seed)
    if name == "vllm":
        from medgrpo.generation.vllm import load_vllm

        return lambda: load_vllm(subject, dtype=dtype, seed=seed)
    if name.startswith(("http://", "https://")):
        from medgrpo.generation.server import ServerEngine

        return lambda: ServerEngine(name, subject.name)
    raise choice_error("engine", name, ["transformers", "vllm", "http://…"])
