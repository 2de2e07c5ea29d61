"""GRPO on TRL's GRPOTrainer: our rewards, completion store and data order."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from accelerate.utils import gather_object
from trl import GRPOTrainer

from medgrpo.training.completions import Completion
from medgrpo.training.context import StageContext
from medgrpo.training.sampler import EpochOrder
from medgrpo.training.samples import write_samples
from medgrpo.training.scoring import completion_text, joined, reward_metrics, row_columns
from medgrpo.training.trainers import RunTrainer
from medgrpo.training.vllm import GAP_KEY, check_gap, image_token_of, pictures_for_vllm, prompts_for_vllm

if TYPE_CHECKING:
    from medgrpo.rewards.composite import CompositeReward, RewardTable


class PolicyTrainer(RunTrainer, GRPOTrainer):
    """TRL's GRPO trainer. Its examples are `prompt`, `images`, `row` (see `datasets.grpo_dataset`).

    Overridden besides what `RunTrainer` does: `_calculate_rewards` (the composite sums) and
    `_generate_and_score_completions` (completions are stored, the log's reward statistics are ours).
    """

    def __init__(self, context: StageContext, composite: CompositeReward, **options: Any) -> None:
        self.context = context
        self.composite = composite
        self._table: RewardTable | None = None
        self._scored: list[dict[str, Any]] = []
        super().__init__(reward_funcs=[composite], **options)

    def data_order(self, rows: int) -> EpochOrder:
        """Each prompt G times in a row, each generation batch as often as TRL hands it out."""
        config, args = self.context.config, self.args
        return EpochOrder(
            rows,
            seed=config.run.seed,
            chunk=args.generation_batch_size // self.num_generations,
            group=self.num_generations,
            repeat_count=self.num_iterations * args.steps_per_generation,
            shuffle=config.data.shuffle,
        )

    def _calculate_rewards(
        self,
        inputs: list[dict[str, Any]],
        prompts: Any,
        completions: Any,
        completion_ids_list: list[list[int]],
    ) -> torch.Tensor:
        """(rows of all processes, 1): the composite's signal; its table is kept for log and store."""
        texts = [completion_text(completion) for completion in completions]
        rows = [example["row"] for example in inputs]
        table = self.composite.score(texts, row_columns(rows))
        self._table = joined(self._all([table]), self.composite)
        ends = {*self.eos_token_ids, self._tokenizer.pad_token_id}
        self._scored = [
            {"row": row, "text": text, "tokens": len(ids), "truncated": ids[-1] not in ends}
            for row, text, ids in zip(rows, texts, completion_ids_list, strict=True)
        ]
        signal = self.composite.signal(self._table, self.num_generations)
        return torch.tensor(signal, dtype=torch.float32, device=self.accelerator.device).unsqueeze(1)

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        output: dict[str, Any] = super()._generate_and_score_completions(inputs)
        metrics = self._metrics["train" if self.model.training else "eval"]
        for key in [key for key in metrics if key.startswith("rewards/")]:
            del metrics[key]  # TRL's statistics of the one sum it sees
        gap = metrics.get(GAP_KEY)
        check_gap(gap[-1] if gap else None, self.context.config.vllm.max_logprob_gap)
        assert self._table is not None
        for key, value in reward_metrics(self._table, self.num_generations).items():
            metrics[key] = (
                [*metrics[key][:-1], value]
                if key in ("reward", "reward_std", "frac_reward_zero_std")
                else [*metrics[key], value]
            )
        self._store(self._table, self._all(self._scored), self._all(output["advantages"].tolist()))
        return output

    def _generate_single_turn(
        self,
        prompt_ids: list[list[int]],
        images: Any,
        multimodal_fields: Any,
        num_generations: int,
        **rest: Any,
    ) -> Any:
        """The rollout. A colocated vLLM gets each picture as one token (see `vllm.py`)."""
        if self.use_vllm and self.vllm_mode == "colocate":
            prompt_ids = prompts_for_vllm(prompt_ids, images, image_token_of(self.model))
            images = pictures_for_vllm(images, self.processing_class)
        return super()._generate_single_turn(prompt_ids, images, multimodal_fields, num_generations, **rest)

    # ------------------------------------------------------------------- the cycle, over a resume

    def save_extra_state(self, folder: Path) -> None:
        """Also where in the generation cycle the run stands, and the completions still to be learned from.

        With several updates per generated batch a checkpoint falls inside a cycle; TRL 1.16 starts
        `_step` at 0 on resume and generates anew.
        """
        super().save_extra_state(folder)
        cycle = {"step": self._step, "batches": self._buffered_inputs if self._is_inside_cycle() else None}
        torch.save(cycle, folder / f"generation_cycle_{self.args.process_index}.pt")

    def load_extra_state(self, folder: Path) -> None:
        """Take the cycle up where it was."""
        super().load_extra_state(folder)
        path = folder / f"generation_cycle_{self.args.process_index}.pt"
        if path.is_file():
            cycle = torch.load(path, map_location=self.accelerator.device, weights_only=True)
            self._step = cycle["step"]
            self._buffered_inputs = cycle["batches"]

    def _is_inside_cycle(self) -> bool:
        return bool(self._step % (self.args.steps_per_generation * self.num_iterations))

    def _store(self, table: RewardTable, scored: list[dict[str, Any]], advantages: list[float]) -> None:
        store = self.context.store
        if store is None or not self.accelerator.is_main_process:
            return
        values = table.components.tolist()
        self._write_samples(table, scored)
        store.add(
            [
                Completion(
                    stage=self.context.stage.name,
                    step=self.state.global_step + 1,
                    prompt_id=one["row"]["id"],
                    image_id=one["row"].get("image_id"),
                    images=list(one["row"].get("images") or []),
                    question=one["row"]["question"],
                    answer=one["row"]["answer"],
                    completion=one["text"],
                    tokens=one["tokens"],
                    truncated=one["truncated"],
                    reward=float(table.total[index]),
                    advantage=advantages[index],
                    rewards=dict(zip(table.names, values[index], strict=True)),
                )
                for index, one in enumerate(scored)
            ]
        )

    def _write_samples(self, table: RewardTable, scored: list[dict[str, Any]]) -> None:
        settings, step = self.context.config.logging, self.state.global_step + 1
        if not settings.sample_steps or step % settings.sample_steps:
            return
        rated = [
            {**one, "reward": float(table.total[index]), "rewards": dict(zip(table.names, row, strict=True))}
            for index, (one, row) in enumerate(zip(scored, table.components.tolist(), strict=True))
        ]
        write_samples(
            self.context.writer.path / "samples",
            step,
            rated,
            self.context.data_folder,
            count=settings.samples,
            seed=self.context.config.run.seed,
        )

    def _all(self, items: list[Any]) -> list[Any]:
        """The items of all processes, in their order."""
        return gather_object(items) if self.accelerator.num_processes > 1 else items
