"""Every answer that an evaluation asks a model for: greedy, sampled, and with pictures that cannot help."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Protocol

from medgrpo.data.prepared import PreparedDataset
from medgrpo.data.prompts import PromptTemplate
from medgrpo.errors import UsageError
from medgrpo.foreign import reads
from medgrpo.generation.generate import Sampling
from medgrpo.generation.other_pictures import Counterfactual, counterfactual_rows
from medgrpo.generation.resumable import Completed, generate_resumably
from medgrpo.generation.subject import Subject
from medgrpo.masking import without_credentials
from medgrpo.rows import Row


class Engine(Protocol):
    """A loaded model, whatever runs it."""

    name: str

    def generate(
        self,
        rows: Sequence[Row],
        template: PromptTemplate,
        image_path: Callable[[str], Path],
        sampling: Sampling,
        on_batch: Callable[[int], None] | None,
    ) -> Iterable[Any]:
        """`Generated` for each row, in any order."""
        ...


class Watcher(Protocol):
    """Who is told what goes on (`medgrpo.cli.output.Output` is one)."""

    def note(self, message: str) -> None:
        """A line for the person watching."""
        ...

    def warn(self, message: str) -> None:
        """A line that must be seen."""
        ...

    def progress(
        self, label: str, total: int | None = None, unit: str = "rows"
    ) -> AbstractContextManager[Any]:
        """A progress bar; yields `advance(n)`."""
        ...


@dataclass(frozen=True)
class Plan:
    """What is asked of a model."""

    split: str = "test"
    limit: int | None = None
    samples: int = 0
    """Further completions of each question, drawn at `temperature`; 0: none."""
    temperature: float = 1.0
    """Of the further completions; the scored one is greedy."""
    max_new_tokens: int | None = None
    """Longest completion, in tokens; None: as in training, else 256."""
    prompt: str | None = None
    counterfactuals: Sequence[Counterfactual] = ()
    seed: int = 0
    engine: str = "transformers"
    dtype: str = "auto"


@dataclass(frozen=True)
class Answers:
    """What a model said to the rows of a split; every list has one entry a row."""

    rows: list[Row]
    template: PromptTemplate
    plan: Plan
    max_new_tokens: int
    greedy: list[Completed]
    drawn: list[Completed] = field(default_factory=list)
    """Further completions at a temperature; empty where none were asked for."""
    without_picture: dict[Counterfactual, list[Completed]] = field(default_factory=dict)
    """The answers with pictures that cannot help."""
    engine: str | None = None
    """What ran the model, in this call or in the one that it took up."""
    wall_s: float = 0.0


@reads("subject", "a model that answers questions, with its tokenizer and settings")
def answer_rows(
    subject: Subject,
    dataset: PreparedDataset,
    load: Callable[[], Engine],
    plan: Plan,
    watcher: Watcher,
    *,
    output: Path | None,
) -> Answers:
    """Asks the model what the plan says.

    Args:
        subject: the model, not yet loaded.
        dataset: what it is asked.
        load: loads it; not called when all completions are already in `output`.
        plan: what is asked of it.
        output: folder that generation resumes from; None: nothing is kept.
    Raises:
        UsageError: the split has no rows; a counterfactual is asked of rows without pictures.
    """
    started = time.perf_counter()
    rows = subject.shown(list(dataset.rows(plan.split, plan.limit)))
    if not rows:
        raise UsageError(f"{dataset.path} has no rows in the split {plan.split!r}", hint="--split validation")
    if plan.counterfactuals and not any(row["images"] for row in rows):
        raise UsageError("--counterfactual needs rows with pictures; these have none")
    template = subject.template(plan.prompt, dataset.info.get("prompt_template"))
    stated = subject.metadata.get("generation") or {}
    tokens = plan.max_new_tokens or int(stated.get("max_new_tokens") or 256)
    session = _Session(subject, dataset, load, plan, template, watcher, output)
    once = Sampling(max_new_tokens=tokens)
    greedy = session.complete(rows, once, dataset.image_path, "answering", "predictions")
    drawn: list[Completed] = []
    if plan.samples:
        sampling = Sampling(tokens, plan.temperature, num_generations=plan.samples)
        drawn = session.complete(rows, sampling, dataset.image_path, "sampling", "samples")
    without = {}
    with TemporaryDirectory(prefix="medgrpo-eval-") as scratch:
        for kind in plan.counterfactuals:
            changed, where = counterfactual_rows(
                rows, kind, dataset.image_path, Path(scratch) / kind, seed=plan.seed
            )
            without[kind] = session.complete(changed, once, where, f"{kind} pictures", kind)
    took = time.perf_counter() - started
    return Answers(rows, template, plan, tokens, greedy, drawn, without, session.engine_name, took)


class _Session:
    """Generates for one evaluation; loads the model when it is first needed."""

    def __init__(
        self,
        subject: Subject,
        dataset: PreparedDataset,
        load: Callable[[], Engine],
        plan: Plan,
        template: PromptTemplate,
        watcher: Watcher,
        output: Path | None,
    ) -> None:
        self.subject, self.dataset, self.plan = subject, dataset, plan
        self.template, self.watcher, self.output = template, watcher, output
        self._load = load
        self._engine: Engine | None = None

    @property
    def engine_name(self) -> str:
        """What ran the model; where all was answered before, what it was asked with (another engine is asked anew)."""
        if self._engine is not None:
            return self._engine.name
        return "server" if self.plan.engine.startswith(("http://", "https://")) else self.plan.engine

    def complete(
        self,
        rows: Sequence[Row],
        sampling: Sampling,
        image_path: Callable[[str], Path],
        label: str,
        name: str,
    ) -> list[Completed]:
        """Completions of the rows, resumed from the output folder."""
        settings = {
            "subject": self.subject.identity,
            "template": self.template.to_dict(),
            "sampling": vars(sampling),
            "data": self.dataset.info.get("hash"),
            "pixels": self.dataset.info.get("pixels_hash"),
            "engine": without_credentials(self.plan.engine),
            "dtype": self.plan.dtype,
            "box_format": rows[0].get("box_format"),
            "pictures": name,
            "seed": self.plan.seed,
        }
        file = self.output / "generated" / f"{name}.jsonl" if self.output else None
        with self.watcher.progress(label, total=len(rows)) as advance:

            def generate(missing: Sequence[Row]) -> Iterable[Any]:
                if self._engine is None:
                    self._engine = self._load()
                return self._engine.generate(missing, self.template, image_path, sampling, advance)

            def resumed(count: int) -> None:
                self.watcher.note(f"{count} of {len(rows)} rows ({label}) were already answered: kept")
                advance(count)

            def replaced(changed: Sequence[str]) -> None:
                what = f"with another {', '.join(changed)}" if changed else "with other settings"
                self.watcher.note(f"{file} was answered {what}: answering again")

            done = generate_resumably(rows, generate, file, settings, on_resume=resumed, on_replace=replaced)
        notes: list[str] = getattr(self._engine, "notes", [])
        while notes:
            self.watcher.note(f"{label}: {notes.pop(0)}")
        return done
