"""GRPO on TRL's GRPOTrainer: our rewards, dynamic sampling, completion store and data order."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from accelerate.utils import gather_object, send_to_device
from trl import GRPOTrainer

from medgrpo.engine.inner import picture_ids, text_config_of
from medgrpo.engine.shown import picture_inputs
from medgrpo.files import read_json, write_json
from medgrpo.rewards.text import completion_text
from medgrpo.runs.store import Completion
from medgrpo.training.before.datasets import RowSource, grpo_dataset, prompt_lengths
from medgrpo.training.methods import StageMethod
from medgrpo.training.run.checkpoints import checkpoint_step, own_or_first
from medgrpo.training.run.context import StageContext
from medgrpo.training.trainers.ahead import Ahead
from medgrpo.training.trainers.arguments import grpo_arguments
from medgrpo.training.trainers.base import RunTrainer
from medgrpo.training.trainers.batches import batches_of_passes
from medgrpo.training.trainers.dynamic_sampling import FreshPrompts, dead_groups, share_of
from medgrpo.training.trainers.engine import Engine, shared_logprobs
from medgrpo.training.trainers.group_sampling import sampled_by_group, why_not_sampled_by_group
from medgrpo.training.trainers.logprobs import LogProbFunction, LogProbs, Sequences
from medgrpo.training.trainers.passes import depends_on_cut, whole_groups
from medgrpo.training.trainers.pictures import accept_empty_pictures
from medgrpo.training.trainers.rollout import Rollout, group_numbers
from medgrpo.training.trainers.sampler import EpochOrder, balanced
from medgrpo.training.trainers.scoring import (
    Overlong,
    Sample,
    Scored,
    joined,
    reward_metrics,
    row_columns,
)
from medgrpo.training.trainers.sharding import whole_weights
from medgrpo.training.trainers.shown_prompts import Asked, ask
from medgrpo.training.trainers.vllm import (
    GAP_KEY,
    check_gap,
    picture_tokens,
    pictures_for_vllm,
    prefill_apart,
    prompts_for_vllm,
)
from medgrpo.training.trainers.vllm_files import hand_over_files
from medgrpo.training.trainers.vllm_gap import SamplerGap
from medgrpo.training.trainers.vllm_server import ServerWatch, end_with, no_server
from medgrpo.training.trainers.vllm_sync import asked_for, can_send_adapter, send_weights
from medgrpo.training.watch.samples import write_samples

if TYPE_CHECKING:
    from medgrpo.config.plan import StagePlan
    from medgrpo.config.sections import RunConfig
    from medgrpo.rewards.composite import CompositeReward, Floats
    from medgrpo.training.before.preflight import Preflight
    from medgrpo.training.trainers.policy import Policy


class Grpo(StageMethod):
    """Learning from the rewards of completions that are sampled."""

    def trainer_class(self) -> type[PolicyTrainer]:
        """TRL's, with ours before it."""
        return PolicyTrainer

    def arguments(self, config: RunConfig, plan: StagePlan, output: Path) -> Any:
        """`GRPOConfig`."""
        return grpo_arguments(config, plan, output)

    def examples(self, source: RowSource, tokenizer: Any) -> Any:
        """See `grpo_dataset`."""
        return grpo_dataset(source)

    def fitting_plan(
        self, plan: StagePlan, settings: RunConfig, policy: Policy, source: RowSource, longest: int
    ) -> StagePlan:
        """Whole groups in a pass, as many as the budget of tokens holds."""
        (tokens,) = prompt_lengths(source.with_rows([source.rows[longest]]), policy.processor)
        return whole_groups(plan, settings, policy.model, tokens)

    def further_options(self, checks: Preflight) -> dict[str, Any]:
        """What rewards them."""
        return {"composite": checks.composite}


class PolicyTrainer(RunTrainer, GRPOTrainer):
    """TRL's GRPO trainer. Its examples are `prompt`, `images`, `row` (see `datasets.grpo_dataset`).

    Overridden besides what `RunTrainer` does: `_generate_and_score_completions` (dynamic sampling before
    it; after it completions are stored, the log's reward statistics are ours), `_generate` and
    `_calculate_rewards` (the composite sums; what dynamic sampling made already is not made twice),
    `_tokenize_prompts` (each prompt once), `_generate_single_turn` (what vLLM is given), `_prepare_inputs` (which
    rows a pass learns from), `_compute_loss` and `_get_per_token_logps_and_entropies` (`logprobs` computes them).

    TRL sees no pictures in between: a group's prompt and pictures are processed once, kept once (`shown`, an entry
    for each row, the same for all of a group), and handed to whoever computes log probabilities.
    """

    logprobs: ClassVar[LogProbFunction] = staticmethod(shared_logprobs)
    """Computes every log probability: of the policy that sampled, the reference, and the policy that learns."""
    rows_come_ready = False
    _buffered_inputs: list[dict[str, Any]] | None
    _last_loaded_step: int
    vllm_importance_sampling_correction: bool

    def __init__(self, context: StageContext, composite: CompositeReward, **options: Any) -> None:
        self.context = context
        self.composite = composite
        composite.reset()  # what was judged before this stage does not count
        settings = context.config
        self._overlong = Overlong(
            settings.rollout.max_completion_length,
            settings.rewards.overlong_share,
            settings.rewards.overlong_penalty,
        )
        self._fresh: FreshPrompts | None = None
        self._rollout: Rollout | None = None
        self._scored: Scored | None = None
        self._asked: Asked | None = None
        self._learned: dict[str, Any] | None = None  # the batch of the pass under way
        self._syncs_adapter: bool | None = None
        self._was_synced = False
        self._ahead = Ahead(self, settings.rollout.ahead)
        self._latest: torch.Tensor | None = None  # log probabilities of the pass under way
        try:
            super().__init__(reward_funcs=[composite], **options)
        except ConnectionError as error:
            raise no_server(settings.vllm.server_base_url) from error
        self._server: ServerWatch | None = None
        if self.use_vllm and self.vllm_mode == "server" and self.accelerator.is_main_process:
            client = self.vllm_generation.vllm_client
            if hand_over_files(client, picture_tokens(self.model, self.processing_class)):
                context.reporter.note("vLLM server: pictures go there as files")
            self._server = ServerWatch(
                client.base_url,
                partial(end_with, context=context),
                limit_s=settings.vllm.server_timeout_s,
            )
        if getattr(self, "generation_config", None) is not None:
            self.generation_config.suppress_tokens = list(picture_ids(self.model)) or None
        self.engine = Engine(self, context)
        for model in (self.model, self.ref_model):
            if model is not None:
                accept_empty_pictures(model)

    def data_order(self, rows: int) -> EpochOrder:
        """Each prompt G times in a row, each generation batch as often as TRL hands it out."""
        config, args = self.context.config, self.args
        order = EpochOrder(
            rows,
            seed=config.run.seed,
            chunk=args.generation_batch_size // self.num_generations,
            group=self.num_generations,
            repeat_count=self.num_iterations * args.steps_per_generation,
            shuffle=config.data.shuffle,
            order=self.context.epoch_order,
            coming=self.look_ahead,
            arrange=self._even_shares if self.accelerator.num_processes > 1 else None,
        )
        self._fresh = FreshPrompts(order, config.run.seed)
        return order

    def _even_shares(self, rows: list[int]) -> list[int]:
        """The prompts of a step, ordered so that the processes' shares have about as many tokens: none waits for the one
        that has the large pictures. A share that is no whole number of groups stays as it was drawn."""
        processes = self.accelerator.num_processes
        if self.tokens_of_rows is None or len(rows) % processes:
            return rows
        return balanced(rows, self.tokens_of_rows(rows), processes)

    @property
    def rows_of_a_pass(self) -> int:
        """A pass is handed the whole generated batch, of which it learns from a part."""
        return super().rows_of_a_pass * int(self.args.steps_per_generation)

    # ---------------------------------------------------------------------------- rollout and reward

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        self._rollout = self._scored = None
        if self.context.is_probing:
            return self._generated(inputs)
        with self.context.clock.phase("logprobs"):
            return self._sample_and_score(inputs)

    def _generated(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        """TRL's batch, made from what `_rollout` holds or from a new rollout; each row with its prompt and group."""
        if self._rollout is None:
            self._rollout = self._sampled(inputs)
        shown = self._rollout.shown
        with self.context.clock.phase("vision"):
            self.engine.keep_features(self, shown)
        self.engine.comes(bool(one["pictures"]) for one in shown)
        blind = [{name: value for name, value in one.items() if name != "images"} for one in inputs]
        with self._without_old_pass():
            output: dict[str, Any] = super()._generate_and_score_completions(blind)
        output["shown"] = list(shown)
        output["group_ids"] = torch.tensor(group_numbers(shown), device=output["prompt_ids"].device)
        return output

    @contextmanager
    def _without_old_pass(self) -> Iterator[None]:
        """Inside, TRL computes no log probabilities to compare the sampler's with, where the update gives the same."""
        before = self.vllm_importance_sampling_correction
        if self.use_vllm and self.model.training and self.old_are_current:
            self.vllm_importance_sampling_correction = False
        try:
            yield
        finally:
            self.vllm_importance_sampling_correction = before

    @property
    def old_are_current(self) -> bool:
        """Whether every pass sees the policy that sampled: one update for each batch, and nothing left to chance."""
        is_chance = any(
            isinstance(module, torch.nn.Dropout) and module.p > 0 for module in self.model.modules()
        )
        return self.num_iterations == 1 and not is_chance

    def _sample_and_score(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        drawn: Scored | None = None
        sampling: dict[str, float] = {}
        if self.context.config.rollout.dynamic_sampling and self.model.training:
            inputs, drawn, sampling = self._sample_for_spread(inputs)
        output = self._generated(inputs)
        metrics = self._metrics["train" if self.model.training else "eval"]
        for key in [key for key in metrics if key.startswith("rewards/")]:
            del metrics[key]  # TRL's statistics of the one sum it sees
        gap = metrics.get(GAP_KEY)
        check_gap(gap[-1] if gap else None, self.context.config.vllm.max_logprob_gap)
        assert self._scored is not None
        table = (drawn or self._scored).table(self._overlong)
        for key, value in {**reward_metrics(table, self.num_generations), **sampling}.items():
            metrics[key] = (
                [*metrics[key][:-1], value]
                if key in ("reward", "reward_std", "frac_reward_zero_std")
                else [*metrics[key], value]
            )
        self._store(self._scored, self._all(output["advantages"].tolist()))
        self._write_samples(self._scored)
        return output

    def _sample_for_spread(
        self, inputs: list[dict[str, Any]]
    ) -> tuple[list[dict[str, Any]], Scored, dict[str, float]]:
        """Sample, and replace groups without spread by those of other prompts, a few times.

        Gives the examples to learn from, the completions as first drawn, and log entries. The log's reward
        and lengths are of the prompts as drawn, so that runs with and without can be compared.
        """
        assert self._fresh is not None
        group, processes = self.num_generations, self.accelerator.num_processes
        inputs = list(inputs)
        self._rollout = self._sampled(inputs)
        drawn = scored = self._score(inputs, self._rollout)
        lengths = {key: len(values) for key, values in self._metrics["train"].items()}
        rounds = replaced = 0
        dead = dead_groups(self._signal(scored), group)
        while dead and rounds < self.context.config.rollout.dynamic_sampling:
            rounds, replaced = rounds + 1, replaced + len(dead)
            self._store(scored.at(places := _places(dead, group)), [0.0] * len(places))
            share = share_of(
                self.accelerator.process_index,
                processes,
                dead,
                self._fresh.take(len(dead)),
                group_size=group,
                samples=len(inputs),
            )
            examples = [self.train_dataset[row] for row in share.rows]
            again = self._sampled(examples)
            for place, example in zip(share.places, examples, strict=False):
                inputs[place] = example
            self._rollout = self._rollout.with_places(share.places, again)
            scored = scored.with_places(places, self._score(examples[: len(share.places)], again))
            dead = dead_groups(self._signal(scored), group)
        for key, values in self._metrics["train"].items():
            if key.startswith("completions/"):
                del values[lengths[key] :]
        self._scored = scored
        return (
            inputs,
            drawn,
            {
                "dynamic_sampling/replaced": replaced,
                "dynamic_sampling/rounds": rounds,
                "dynamic_sampling/dead_share": len(dead) * group / len(scored.samples),
            },
        )

    def _sampled(self, examples: Sequence[dict[str, Any]]) -> Rollout:
        group = self.num_generations if self.model.training else self.num_generations_eval
        with self.context.clock.phase("prepare"):
            self._asked = ask(self, examples, group)
        with self.context.clock.phase("rollout"):
            try:
                generated = super()._generate([example["prompt"] for example in examples])
                return Rollout.of(generated, self._asked.rows)
            finally:
                self._asked = None

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[list[list[int]], None, dict[str, Any]]:
        """Ids of each row's prompt; what belongs to the pictures is in `_asked`."""
        assert self._asked is not None
        ids = [one["prompt_ids"].tolist() for one in self._asked.shown]
        return [ids[group] for group in self._asked.of_row], None, {}

    def _generate(self, prompts: list[Any]) -> Any:
        """The rollout that was made before."""
        assert self._rollout is not None
        return self._rollout.as_trl()

    def _calculate_rewards(
        self,
        inputs: list[dict[str, Any]],
        prompts: Any,
        completions: Any,
        completion_ids_list: list[list[int]],
    ) -> torch.Tensor:
        """(rows of all processes, 1): the composite's signal; what it is made of is kept for log and store."""
        if self.context.is_probing:
            return torch.zeros(
                len(prompts) * self.accelerator.num_processes, 1, device=self.accelerator.device
            )
        if self._scored is None:
            self._scored = self._score(inputs, Rollout([], completion_ids_list, completions, None, []))
        signal = self._signal(self._scored)
        return torch.tensor(signal, dtype=torch.float32, device=self.accelerator.device).unsqueeze(1)

    def _score(self, examples: Sequence[dict[str, Any]], rollout: Rollout) -> Scored:
        """What the completions of all processes earned; of a longer rollout those that have an example."""
        with self.context.clock.phase("reward"):
            ends = {*self.eos_token_ids, self._tokenizer.pad_token_id}
            samples = [
                Sample(example["row"], completion_text(completion), len(ids), ids[-1] not in ends)
                for example, completion, ids in zip(
                    examples, rollout.completions, rollout.completion_ids, strict=False
                )
            ]
            table = (
                self.composite.score(
                    [sample.text for sample in samples], row_columns([sample.row for sample in samples])
                )
                if samples
                else None
            )
            self._wait_for_others()
            tables = [part for part in self._all([table]) if part is not None]
            return Scored(joined(tables), self._all(samples))

    def _wait_for_others(self) -> None:
        """Of several processes wait for the one that samples and scores longest, and log how long that was."""
        if self.accelerator.num_processes == 1:
            return
        with self.context.clock.phase("wait"):
            began = time.perf_counter()
            self.accelerator.wait_for_everyone()
            waited: list[float] = self._all([time.perf_counter() - began])
        metrics = self._metrics["train" if self.model.training else "eval"]
        metrics["wait/mean_s"].append(sum(waited) / len(waited))
        metrics["wait/longest_s"].append(max(waited))

    def _signal(self, scored: Scored) -> Floats:
        return scored.signal(self.composite, self._overlong, self.num_generations)

    def _generate_single_turn(
        self, prompt_ids: list[list[int]], images: Any, multimodal_fields: Any, num_generations: int, **_: Any
    ) -> Any:
        """The rollout. vLLM gets pictures of the trainer's size, and colocated each of them as one token (see `vllm.py`)."""
        assert self._asked is not None
        if self.use_vllm:
            return self._sampled_by_vllm(self._asked, prompt_ids, num_generations)
        if why_not_sampled_by_group(self) is None:
            asked = self._asked
            sampled = self.engine.tried(lambda: sampled_by_group(self, asked))
            if sampled is not None:
                return sampled, None
        fields = picture_inputs(
            self._asked.rows, max(len(ids) for ids in prompt_ids), 0, self.accelerator.device
        )
        for name in ("num_images", "num_tiles"):
            fields.pop(name, None)
        with whole_weights(self.model_wrapped):
            return super()._generate_single_turn(prompt_ids, None, fields, num_generations)

    def _sampled_by_vllm(self, asked: Asked, prompt_ids: list[list[int]], num_generations: int) -> Any:
        """One request with G completions for each prompt where all of them are on this process; else one for each."""
        is_colocated = self.vllm_mode == "colocate"
        each = asked.is_even if is_colocated and self.vllm_generation.tensor_parallel_size == 1 else 0
        images: Any = list(asked.images) if each else [asked.images[group] for group in asked.of_row]
        if each:
            prompt_ids = [one["prompt_ids"].tolist() for one in asked.shown]
        images = [pictures or None for pictures in images] if any(images) else None
        if is_colocated:
            written = picture_tokens(self.model, self.processing_class)
            prompt_ids = prompts_for_vllm(prompt_ids, images, written)
        images = pictures_for_vllm(images, self.processing_class)
        with self.context.clock.phase("sync"):
            self._sync_vllm()
        if not is_colocated:
            with self._server.request() if self._server is not None else nullcontext():
                return super()._generate_single_turn(prompt_ids, images, {}, num_generations)
        generation = self.vllm_generation
        vocabulary = text_config_of(self.model).vocab_size
        never = [one for one in picture_ids(self.model) if one < vocabulary]  # vLLM refuses others
        with asked_for(generation, each, never), prefill_apart(generation.llm, self.context.clock):
            return super()._generate_single_turn(prompt_ids, images, {}, num_generations)

    def _sync_vllm(self) -> None:
        """The policy's weights to vLLM, once for each update; after the first time only those that change."""
        if self.state.global_step == self._last_loaded_step:
            return
        if self._syncs_adapter is None:
            self._syncs_adapter = can_send_adapter(self)
            if self._syncs_adapter:
                self.context.reporter.note(
                    "vLLM: only the weights under the adapter are sent after the first time"
                )
        if self._syncs_adapter:
            send_weights(self.vllm_generation, self.model, is_first=not self._was_synced)
        else:
            self.vllm_generation.sync_weights()
        self._was_synced = True
        self._last_loaded_step = self.state.global_step

    # ------------------------------------------------------------------------ batches and log probabilities

    def _prepare_inputs(self, generation_batch: Any) -> Any:
        """The batch of this pass; completions are sampled where a cycle begins."""
        if not self.model.training:
            return super()._prepare_inputs(generation_batch)
        passes = self.args.steps_per_generation
        if self._buffered_inputs is None or not self._is_inside_cycle():
            generated = self._next_batch(generation_batch)
            self._buffered_inputs = batches_of_passes(generated, passes, keeps_groups=self._keeps_groups)
        return self._buffered_inputs[self._step % passes]

    @property
    def _keeps_groups(self) -> bool:
        """Whether a group's rows go into one pass; not where the loss depends on which rows a pass holds."""
        return self.engine.is_on and not depends_on_cut(self.context.config.training)

    def train(self, *args: Any, **options: Any) -> Any:
        """TRL's training; a vLLM server is watched as long as it goes on."""
        try:
            return super().train(*args, **options)
        finally:
            if self._server is not None:
                self._server.close()

    def _next_batch(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """The batch of these examples, sampled now or ahead; with `rollout.ahead` the one after it is begun."""
        if not self._ahead.is_on or self.context.is_probing:
            return self._generate_and_score_completions(examples)
        batch = self._ahead.take(examples) or self._generate_and_score_completions(examples)
        self._ahead.begin(examples)
        return batch

    def logprobs_of(self, batch: dict[str, Any]) -> torch.Tensor:
        """(rows, tokens): of the completions just sampled, under the policy as it is."""
        ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], dim=1)
        mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], dim=1)
        rows = self.args.per_device_train_batch_size
        with torch.no_grad(), self.context.clock.phase("logprobs"):
            found = self._get_per_token_logps_and_entropies(
                self.model, ids, mask, batch["completion_ids"].shape[1], rows
            )
        return found.logprobs

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> torch.Tensor:
        """TRL's loss. TRL 1.16 logs its KL term as `kl`, weighted by the policy ratio wherever a batch is used again:
        8.56 where the policy had moved by 2.13. The log says how far it has moved."""
        self._learned = inputs
        try:
            loss: torch.Tensor = super()._compute_loss(model, inputs)
        finally:
            self._learned = None
        if self.beta != 0.0:
            mode = "train" if self.model.training else "eval"
            self._metrics[mode]["kl"][-1] = self._moved_by(inputs)
        return loss

    def _get_per_token_logps_and_entropies(
        self,
        model: Any,
        input_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        logits_to_keep: int,
        batch_size: int | None = None,
        compute_entropy: bool = False,
        compute_aux_loss: bool = False,
        **_: Any,
    ) -> LogProbs:
        """TRL asks here for every log probability (its names of the arguments)."""
        if self._learned is None:
            assert self._rollout is not None
            shown = self._rollout.shown
            groups = group_numbers(shown)
        else:
            shown, groups = self._learned["shown"], self._learned["group_ids"].tolist()
        found = self.logprobs(
            self,
            model,
            Sequences(input_ids, attention_mask, logits_to_keep, shown, groups),
            rows_at_once=batch_size,
            with_entropies=compute_entropy,
            with_aux_loss=compute_aux_loss,
        )
        if self._learned is not None and self._lacks_ratio(self._learned):
            self._learned["importance_sampling_ratio"] = self._ratio_to_sampler(self._learned, found.logprobs)
        if self._learned is not None and self._ahead.is_on and not self.use_vllm:
            self._log_age(self._learned, found.logprobs.detach())
        self._latest = found.logprobs.detach()
        return found

    def _lacks_ratio(self, batch: dict[str, Any]) -> bool:
        return (
            self.use_vllm
            and self.vllm_importance_sampling_correction
            and "importance_sampling_ratio" not in batch
            and "sampling_per_token_logps" in batch
        )

    def _ratio_to_sampler(self, batch: dict[str, Any], logprobs: torch.Tensor) -> torch.Tensor:
        """How much likelier the trainer finds what vLLM sampled, from the update's own pass; a large gap stops the run."""
        gap = SamplerGap(logprobs.detach(), batch["sampling_per_token_logps"], batch["completion_mask"])
        metrics = self._metrics["train" if self.model.training else "eval"]
        ratio = gap.ratio(
            self.vllm_importance_sampling_mode,
            self.vllm_importance_sampling_clip_min,
            self.vllm_importance_sampling_clip_max,
        )
        for key, value in gap.metrics(ratio, self.accelerator).items():
            metrics[key].append(value)
        if not self.context.is_probing:
            check_gap(metrics[GAP_KEY][-1], self.context.config.vllm.max_logprob_gap)
        return ratio

    def _log_age(self, batch: dict[str, Any], logprobs: torch.Tensor) -> None:
        """How far the policy has moved since it sampled this batch, under the names of the gap to vLLM."""
        before = batch.get("old_per_token_logps")
        gap = SamplerGap(logprobs, logprobs if before is None else before, batch["completion_mask"])
        for key, value in gap.metrics(gap.ratio("token_truncate", None, None), self.accelerator).items():
            self._metrics["train"][key].append(value)

    def _moved_by(self, inputs: dict[str, Any]) -> float:
        """Mean over the tokens of all processes of exp(r) - r - 1, r the reference's log probability less the policy's.

        Source: Schulman's estimator k3, as TRL's term has it.
        """
        mask = inputs["completion_mask"] * inputs.get("tool_mask", 1)
        assert self._latest is not None
        apart = inputs["ref_per_token_logps"] - self._latest
        each = (torch.exp(apart) - apart - 1) * mask
        total = self.accelerator.reduce(torch.stack([each.sum(), mask.sum().float()]), reduction="sum")
        return float(total[0] / total[1].clamp(min=1.0))

    # ------------------------------------------------------------------- the cycle, over a resume

    def save_extra_state(self, folder: Path) -> None:
        """Also where in the generation cycle the run stands, the completions still to be learned from, how
        many prompts stepped in for groups without spread, and what the rewards remember.

        With several updates per generated batch a checkpoint falls inside a cycle; TRL 1.16 starts
        `_step` at 0 on resume and generates anew.
        """
        super().save_extra_state(folder)
        cycle = {
            "shape": self._batch_shape(),
            "batches": self._buffered_inputs if self._is_inside_cycle() else None,
            "fresh": self._fresh.state_dict() if self._fresh is not None else None,
            "ahead": self._ahead.state_dict(),
        }
        torch.save(cycle, folder / f"generation_cycle_{self.args.process_index}.pt")
        if states := self.composite.state_dict():
            write_json(folder / f"rewards_{self.args.process_index}.json", states)

    def load_extra_state(self, folder: Path) -> None:
        """Take the cycle up where it was."""
        super().load_extra_state(folder)
        number = self.args.process_index
        self.composite.load_state_dict(read_json(own_or_first(folder, "rewards_{}.json", number)))
        path = own_or_first(folder, "generation_cycle_{}.pt", number)
        if path.is_file():
            cycle = torch.load(path, map_location="cpu", weights_only=True)
            # Passes so far, at the accumulation of now: the batch per device may have changed since. A batch
            # of another shape cannot be taken up; it is sampled again.
            self._step = checkpoint_step(folder) * self.args.gradient_accumulation_steps
            is_same = cycle["shape"] == self._batch_shape()
            batches = cycle["batches"] if is_same else None
            self._buffered_inputs = (
                None if batches is None else [_on_device(one, self.accelerator.device) for one in batches]
            )
            ahead = cycle.get("ahead") if is_same else None
            if ahead is not None:
                ahead["batch"] = _on_device(ahead["batch"], self.accelerator.device)
            self._ahead.load_state_dict(ahead)
            if self._fresh is not None and cycle.get("fresh") is not None:
                self._fresh.load_state_dict(cycle["fresh"])

    def _batch_shape(self) -> list[int]:
        args = self.args
        return [
            args.per_device_train_batch_size,
            args.steps_per_generation,
            args.num_generations,
            self.accelerator.num_processes,
        ]

    def _is_inside_cycle(self) -> bool:
        return bool(self._step % (self.args.steps_per_generation * self.num_iterations))

    # -------------------------------------------------------------------------------------- store

    @property
    def _step_sampled_for(self) -> int:
        """The step that learns from what is sampled now."""
        return int(self.state.global_step) + 1 + (self.num_iterations if self._ahead.is_sampling else 0)

    def _store(self, scored: Scored, advantages: list[float]) -> None:
        store = self.context.store
        if store is None or not self.accelerator.is_main_process:
            return
        table, samples = scored.table(self._overlong), scored.samples
        values = table.components.tolist()
        completions = [
            Completion(
                stage=self.context.stage.name,
                step=self._step_sampled_for,
                prompt_id=one.row["id"],
                image_id=one.row.get("image_id"),
                images=list(one.row.get("images") or []),
                question=one.row["question"],
                answer=one.row["answer"],
                completion=one.text,
                tokens=one.tokens,
                truncated=one.truncated,
                reward=float(table.total[index]),
                advantage=advantages[index],
                rewards=dict(zip(table.names, values[index], strict=True)),
            )
            for index, one in enumerate(samples)
        ]
        if self._ahead.is_sampling:  # they are stored with the step that learns from them
            self._ahead.completions += [asdict(one) for one in completions]
        else:
            store.add(completions)

    def _write_samples(self, scored: Scored) -> None:
        settings, step = self.context.config.logging, self._step_sampled_for
        if not self.accelerator.is_main_process or not settings.sample_steps or step % settings.sample_steps:
            return
        table = scored.table(self._overlong)
        rated = [
            {
                **asdict(one),
                "reward": float(table.total[index]),
                "rewards": dict(zip(table.names, row, strict=True)),
            }
            for index, (one, row) in enumerate(zip(scored.samples, table.components.tolist(), strict=True))
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


def _on_device(batch: dict[str, Any], device: Any) -> dict[str, Any]:
    """A batch from a checkpoint; what is moved is copied, and a group's rows must share one prompt again."""
    shown, groups = batch["shown"], batch["group_ids"].tolist()
    firsts = {group: shown[groups.index(group)] for group in set(groups)}
    rows = send_to_device({name: value for name, value in batch.items() if name != "shown"}, device)
    return {**rows, "shown": [firsts[group] for group in groups]}


def _places(groups: Sequence[int], group_size: int) -> list[int]:
    """Places of the completions of these groups."""
    return [place for group in groups for place in range(group * group_size, (group + 1) * group_size)]
