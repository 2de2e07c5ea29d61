"""GRPO step by step beside stock TRL: the same model, data, seed and machine, one after the other in one process.

    python benchmarks/random_model.py PROCESSOR model-3b
    python benchmarks/grpo_side_by_side.py model-3b vllm:1024:8:8:3 vllm:1024:8:1:4 transformers:1024:8:1:2

A case is ENGINE:PIXELS:COMPLETIONS:PROMPTS:STEPS, or with ":KEY=VALUE,KEY=VALUE" behind for settings of both sides;
the first step of each run is left out (warm-up). A side is `stock` or `medgrpo`, with "@STEPS" for another number of steps
and "+KEY=VALUE" for settings of its own. Stock is TRL's
`GRPOTrainer` with the same arguments and one thing mended by hand: with vLLM in the trainer's process its prompts have
each image token once (trl#6294), without which nothing is learned. Both share one vLLM, so that it starts once.
Prints a JSON line for each run and a table at the end. Pictures are noise and the weights random: completions run to
their limit, which is the worst case.
"""

import argparse
import dataclasses
import json
import statistics
import sys
import time
import traceback
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gpu_training
from peak import Peak

from medgrpo.config.plan import plan_stage
from medgrpo.config.presets import resolve_run
from medgrpo.training.watch.phases import PHASES, PhaseClock

LETTERS = Path(gpu_training.__file__).resolve()


@dataclasses.dataclass(frozen=True)
class Case:
    """One comparison."""

    engine: str
    size: int
    group: int
    prompts: int
    steps: int
    settings: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> "Case":
        engine, *rest = text.split(":", 5)
        settings = tuple(rest.pop().split(",")) if len(rest) > 4 else ()
        return cls(engine, *map(int, rest), settings=settings)

    def __str__(self) -> str:
        more = "".join(f", {one}" for one in self.settings)
        return f"{self.engine}, {self.size} px, G={self.group}, {self.prompts} prompts a step{more}"


def configuration(case: Case, model: str, data: Path, tokens: int, more: list[str]):
    settings = [
        f"data.path={data}",
        f"rollout.num_generations={case.group}", f"training.prompts_per_step={case.prompts}",
        f"rollout.max_completion_length={tokens}", f"rollout.engine={case.engine}",
        f"training.max_steps={case.steps}", "training.save_steps=1000",
        "model.max_pixels=1048576", "model.context_length=4096",
        "validation.before_and_after=false", "logging.report_to=[]", "training.largest_first=false",
        f'rewards.weights={{"{LETTERS}:letters" = 1.0}}', "data.shuffle=false",
        *case.settings, *more,
    ]  # fmt: skip
    return resolve_run("balanced", model=model, assignments=tuple(settings))[0].config


# ------------------------------------------------------------------------------------------------ stock TRL


def run_stock(case: Case, config, folder: Path) -> dict:
    """TRL's own trainer on medgrpo's model, data and arguments."""
    from transformers import TrainerCallback
    from trl import GRPOTrainer

    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.data.prompts import load_template
    from medgrpo.models.weights import find_weights
    from medgrpo.training.before.datasets import RowSource, grpo_dataset
    from medgrpo.training.trainers import arguments
    from medgrpo.training.trainers.policy import load_policy
    from medgrpo.training.trainers.vllm import picture_tokens, pictures_for_vllm, prompts_for_vllm

    clock, steps = PhaseClock(), []

    class Stock(GRPOTrainer):
        def _generate_and_score_completions(self, inputs):
            with clock.phase("logprobs"):
                return super()._generate_and_score_completions(inputs)

        def _generate(self, prompts):
            with clock.phase("rollout"):
                return super()._generate(prompts)

        def _generate_single_turn(self, prompt_ids, images, fields, num_generations, **rest):
            if self.use_vllm:
                written = picture_tokens(self.model, self.processing_class)
                prompt_ids = prompts_for_vllm(prompt_ids, images, written)
                images = pictures_for_vllm(images, self.processing_class)
                self._timed_sync()
            return super()._generate_single_turn(prompt_ids, images, fields, num_generations, **rest)

        def _timed_sync(self):
            if self.state.global_step != self._last_loaded_step:
                with clock.phase("sync"):
                    self.vllm_generation.sync_weights()
                self._last_loaded_step = self.state.global_step

    class Clock(TrainerCallback):
        def on_epoch_begin(self, *_, **__):
            clock.start()

        def on_step_end(self, *_, **__):
            steps.append(clock.stop())
            clock.start()

    plan = plan_stage(config, 60)
    policy = load_policy(find_weights(config.model.path), config)
    dataset = PreparedDataset.open(Path(config.data.path))
    source = RowSource(
        dataset.view("train"), dataset.path, load_template(config.data.prompt_template), policy.is_vision
    )
    trainer = Stock(
        model=policy.model,
        processing_class=policy.processor,
        peft_config=policy.peft_config,
        reward_funcs=[gpu_training.letters],
        args=arguments.grpo_arguments(config, plan, folder),
        train_dataset=grpo_dataset(source),
        callbacks=[Clock()],
    )
    trainer.train()
    logs = [entry for entry in trainer.state.log_history if "loss" in entry]
    return {"steps": steps, "log": logs}


# -------------------------------------------------------------------------------------------------- medgrpo


def run_medgrpo(case: Case, config, folder: Path) -> dict:
    from medgrpo.training.run.train import train
    from medgrpo.training.watch.reporter import SilentReporter

    reporter = SilentReporter()
    train(config, name="medgrpo", reporter=reporter, output=folder, logs=None)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    steps = [{phase: entry.get(f"time/{phase}", 0.0) for phase in PHASES} for entry in log]
    return {"steps": steps, "log": log, "notes": reporter.notes + reporter.warnings}


# ---------------------------------------------------------------------------------------------- both in turn


@contextmanager
def one_vllm():
    """Both sides get the first vLLM that is made; what they sync into it is their own."""
    from trl.generation import vllm_generation

    if not hasattr(vllm_generation, "LLM"):
        yield
        return
    made, original = [], vllm_generation.LLM

    def shared(*args, **kwargs):
        if not made:  # TRL sizes it by the first run's batch, and a later, larger one would wait in turns
            kwargs["max_num_seqs"] = max(64, kwargs.get("max_num_seqs") or 0)
            made.append(original(*args, **kwargs))
        return made[0]

    vllm_generation.LLM = shared
    try:
        yield
    finally:
        vllm_generation.LLM = original


def measured(side: str, case: Case, config, folder: Path, sets: list[str]) -> dict:
    peak = Peak()
    run = {"stock": run_stock, "medgrpo": run_medgrpo}[side]
    found = run(case, config, folder)
    steps = found["steps"][1:] or found["steps"]
    seconds = [sum(step.values()) / case.prompts for step in steps]
    keys = ("loss", "grad_norm", "reward", "sampling/sampling_logp_difference/mean")
    return {
        "side": side,
        "case": str(case),
        "s_per_prompt": round(statistics.median(seconds), 3),
        "each": [round(one, 3) for one in seconds],
        "phases_s": {
            phase: round(statistics.median(step[phase] for step in steps), 3)
            for phase in PHASES
            if any(step[phase] for step in steps)
        },
        "peak_gib": peak.gib,
        "wall_s": peak.wall_s,
        "last": {key: [entry.get(key) for entry in found["log"]] for key in keys},
        "set": list(sets),
        "notes": found.get("notes", []),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("cases", nargs="+", type=Case.read)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--sides", default="medgrpo,stock")
    parser.add_argument("--then", nargs="+", type=Case.read, default=[], help="more cases, with --then-sides")
    parser.add_argument("--then-sides", default="medgrpo,stock")
    parser.add_argument("--work", type=Path, default=Path("side-by-side"))
    parser.add_argument("--report", type=Path)
    arguments = parser.parse_args()
    found = []
    with one_vllm():
        pairs = [(case, arguments.sides) for case in arguments.cases]
        for case, sides in [*pairs, *((case, arguments.then_sides) for case in arguments.then)]:
            data = arguments.work / f"noise-{case.size}"
            if not data.exists():
                gpu_training.write_dataset(data, [case.size], 64, 1, 0.0, 0)
            for wanted in sides.split(","):
                name, *sets = wanted.split("+")
                side, _, steps = name.partition("@")
                this = dataclasses.replace(case, steps=int(steps or case.steps))
                config = configuration(this, arguments.model, data, arguments.tokens, sets)
                folder = arguments.work / f"{side}-{len(found)}-{time.time():.0f}"
                try:
                    found.append(measured(side, case, config, folder, sets))
                except Exception:  # noqa: BLE001 the other runs are still worth having
                    found.append({"side": side, "case": str(case), "error": traceback.format_exc()[-3000:]})
                print(json.dumps(found[-1]), flush=True)
                if arguments.report:
                    arguments.report.write_text(json.dumps(found, indent=1))
    table(found)


def table(found: list[dict]) -> None:
    by_case: dict[str, dict[str, SimpleNamespace]] = {}
    for one in found:
        if "error" not in one:
            place = by_case.setdefault(one["case"], {})
            place.setdefault(one["side"], SimpleNamespace(**one))  # the first of each side
    print("| case | stock, s a prompt | medgrpo | ratio | GiB, stock | medgrpo |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for case, sides in by_case.items():
        stock, ours = sides.get("stock"), sides.get("medgrpo")
        cells = [
            f"{stock.s_per_prompt:.2f}" if stock else "–",
            f"{ours.s_per_prompt:.2f}" if ours else "–",
            f"{stock.s_per_prompt / ours.s_per_prompt:.1f}" if stock and ours else "–",
            f"{stock.peak_gib:.1f}" if stock and stock.peak_gib is not None else "–",
            f"{ours.peak_gib:.1f}" if ours and ours.peak_gib is not None else "–",
        ]
        print(f"| {case} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
