"""One step of asynchrony (`rollout.ahead`): the next batch is sampled before the policy learns from this one.

A batch is then learned from by a policy one update younger than the one that sampled it. What that changes is weighed by
the importance ratio, which is logged: of the sampler's log probabilities where vLLM samples, else of a pass made before the
update. With a vLLM server the next completions are sampled while this process learns; where the sampler shares the GPU or
the process with the policy they are sampled before the update, and no time is gained.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

from accelerate.utils import gather_object

from medgrpo.runs.store import Completion
from medgrpo.training.run.context import gathered
from medgrpo.training.trainers.shown_prompts import ask
from medgrpo.training.trainers.vllm import pictures_for_vllm

Example = dict[str, Any]


class Waiting(NamedTuple):
    """A batch that was sampled ahead."""

    numbers: list[int]
    """Of its rows in the training data, by completion."""
    batch: dict[str, Any]
    metrics: dict[str, list[float]]
    """Log entries, kept for the step that learns from it."""
    completions: list[dict[str, Any]]
    """For the store, on the main process: what a checkpoint does not know of is taken out of it on resume."""


class Ahead:
    """The batch after the one that is learned from. Made by `PolicyTrainer`, whose parts it calls."""

    def __init__(self, trainer: Any, steps: int) -> None:
        self._trainer = trainer
        self.is_on = steps > 0
        self.is_sampling = False
        """Whether what is sampled now is for a later step."""
        self.waiting: Waiting | None = None
        self.completions: list[dict[str, Any]] = []
        """Those of the batch that is sampled now."""
        self._request: Future[tuple[Any, Any]] | None = None
        self._requested: list[int] | None = None
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")

    def take(self, examples: Sequence[Example]) -> dict[str, Any] | None:
        """The batch of these examples, where it was sampled ahead. A server's answer is taken up by the next `generate`."""
        numbers = [one["number"] for one in examples]
        if self._requested is not None:
            is_this, self._requested = all(gathered(self._requested == numbers)), None
            self._receive(is_this=is_this)
        waiting, self.waiting = self.waiting, None
        # All processes or none: sampling anew they wait for each other.
        if waiting is None or not all(gathered(waiting.numbers == numbers)):
            return None
        for key, values in waiting.metrics.items():
            self._trainer._metrics["train"][key].extend(values)
        if waiting.completions:
            self._trainer.context.store.add([Completion(**one) for one in waiting.completions])
        return waiting.batch

    def begin(self, taken: Sequence[Example]) -> None:
        """Sample the batch that comes after this one, or ask a server for it; nothing at the end of an epoch."""
        examples = self._after([one["number"] for one in taken])
        if examples is None:
            return
        if self._trainer.use_vllm and self._trainer.vllm_mode == "server":
            self._ask_server(examples)
            return
        trainer, metrics = self._trainer, self._trainer._metrics["train"]
        trainer._metrics["train"] = defaultdict(list)
        self.is_sampling, self.completions = True, []
        try:
            batch = trainer._generate_and_score_completions(examples)
            if not trainer.use_vllm and batch.get("old_per_token_logps") is None:
                batch["old_per_token_logps"] = trainer.logprobs_of(batch)
            found = dict(trainer._metrics["train"])
        finally:
            self.is_sampling, trainer._metrics["train"] = False, metrics
        self.waiting = Waiting([one["number"] for one in examples], batch, found, self.completions)

    def state_dict(self) -> dict[str, Any] | None:
        """For a checkpoint; what a server was asked for is asked again after a resume."""
        return None if self.waiting is None else self.waiting._asdict()

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take a checkpoint's up."""
        self.waiting = None if state is None else Waiting(**state)

    # ------------------------------------------------------------------------------------ which rows

    def _after(self, numbers: list[int]) -> list[Example] | None:
        """This process's examples of the next chunk; None where the epoch or the run ends first."""
        trainer = self._trainer
        order, group = trainer._order, trainer.num_generations
        step, chunks = trainer.state.global_step, order.chunks(order.epoch)
        # By its place and not by its rows: a curriculum asks the same rows several times in an epoch.
        following = step // trainer.num_iterations % len(chunks) + 1
        is_last = step + trainer.num_iterations >= trainer.state.max_steps or following == len(chunks)
        if is_last or len(numbers) % group:
            return None
        share = len(numbers) // group
        first = trainer.accelerator.process_index * share
        rows = order.arranged(chunks[following])[first : first + share]
        return [trainer.train_dataset[row] for row in rows for _ in range(group)]

    # ------------------------------------------------------------------------------------ a server

    def _ask_server(self, examples: Sequence[Example]) -> None:
        """Send the request and go on; all processes hand over their prompts, the main process sends them."""
        trainer = self._trainer
        generation, group = trainer.vllm_generation, trainer.num_generations
        asked = ask(trainer, examples, group)
        ids = [one["prompt_ids"].tolist() for one in asked.shown]
        pictures: Any = [asked.images[number] or None for number in asked.of_row]
        pictures = pictures_for_vllm(pictures if any(pictures) else None, trainer.processing_class)
        prompts = gather_object([ids[number] for number in asked.of_row])
        shown = gather_object(list(pictures) if pictures is not None else [None] * len(asked.of_row))
        self._requested = [one["number"] for one in examples]
        if trainer.accelerator.is_main_process:
            self._request = self._pool.submit(answer, generation, prompts[::group], shown[::group], group)

    def _receive(self, *, is_this: bool) -> None:
        if self._request is None:
            return
        server = self._trainer._server
        with self._trainer.context.clock.phase("rollout"), server.request():
            features, output = self._request.result()
        self._request = None
        if is_this:
            generation = self._trainer.vllm_generation
            generation.vllm_client = Answered(generation, features, output)


def answer(generation: Any, prompts: list[list[int]], images: list[Any], group: int) -> tuple[Any, Any]:
    """Ask a server as TRL 1.16's `VLLMGeneration.generate` does; its features and its completions."""
    client, features, placed = generation.vllm_client, None, None
    if any(one is not None for one in images):
        features = client.image_features(images)
        placed = [generation._place_features(one, ids) for one, ids in zip(features, prompts, strict=True)]
    output = client.generate(
        prompts=prompts,
        features=placed,
        n=group,
        repetition_penalty=generation.repetition_penalty,
        temperature=generation.temperature,
        top_p=generation.top_p,
        top_k=generation.top_k,
        min_p=generation.min_p or 0.0,
        max_tokens=generation.max_completion_length,
        logprobs=generation.logprobs,
        structured_outputs_regex=generation.structured_outputs_regex,
        generation_kwargs=generation.generation_kwargs,
    )
    return features, output


class Answered:
    """TRL's client, which has the answer to the next `generate` already; after it the client is itself again."""

    def __init__(self, generation: Any, features: Any, output: Any) -> None:
        self._generation, self._client = generation, generation.vllm_client
        self._features, self._output = features, output

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def image_features(self, _: Any) -> Any:
        """Those that were made ahead."""
        return self._features

    def generate(self, **_: Any) -> Any:
        """The completions that were sampled ahead."""
        self._generation.vllm_client = self._client
        return self._output
