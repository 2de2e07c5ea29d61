"""DPO step by step, prompts and pictures once for both answers and not, and TRL's own trainer: one model, data, seed and order.

    python benchmarks/random_model.py PROCESSOR model-3b
    python benchmarks/dpo_side_by_side.py model-3b 512:4:2:7:on,off,off,stock 1024:2:2:4:on,off --report dpo.json

A case is PIXELS:PAIRS A STEP:PAIRS A PASS:STEPS:SIDES. `on` and `off` are `engine.shared_prompt`, the same side twice shows the noise
of the machine, `stock` is TRL's `DPOTrainer` with the same arguments. The first step of each run is left out of the seconds.
Prints a JSON line for each run, and for each case how far the losses of the sides are apart. Pictures are noise, weights random.
"""

import argparse
import json
import statistics
import sys
import time
import traceback
from itertools import pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import gpu_training
from peak import Peak
from timed_steps import ENDS, clocked, in_order, run_medgrpo

from medgrpo.config.plan import plan_stage
from medgrpo.config.presets import resolve_run


def configuration(model: str, data: Path, pairs: int, at_once: int, steps: int, more: list[str]) -> Any:
    settings = [
        f"data.path={data}", "training.method=dpo", "stages.sft.enabled=false", f"training.prompts_per_step={pairs}",
        f"training.per_device_train_batch_size={at_once}", f"training.max_steps={steps}", "training.save_steps=1000",
        "training.learning_rate=5e-5", "training.lr_scheduler_type=constant", "training.warmup_ratio=0", "data.shuffle=false",
        "model.max_pixels=1048576", "model.context_length=4096", "validation.before_and_after=false", "validation.steps=0",
        "logging.report_to=[]", *more,
    ]  # fmt: skip
    return resolve_run("balanced", model=model, assignments=tuple(settings))[0].config


def run_stock(config: Any, folder: Path) -> tuple[list[dict], list[str]]:
    """TRL's own trainer on medgrpo's model, data, order and arguments."""
    from datasets import Dataset
    from transformers import set_seed
    from trl import DPOTrainer

    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.data.prompts import load_template
    from medgrpo.models.weights import find_weights
    from medgrpo.training.before.datasets import RowSource, dpo_dataset
    from medgrpo.training.trainers.arguments import dpo_arguments
    from medgrpo.training.trainers.policy import load_policy

    set_seed(config.run.seed)
    policy = load_policy(find_weights(config.model.path), config)
    dataset = PreparedDataset.open(Path(config.data.path))
    template = load_template(config.data.prompt_template)
    source = RowSource(dataset.view("train"), dataset.path, template, policy.is_vision)
    examples: Dataset = dpo_dataset(source, policy.tokenizer)
    arguments = dpo_arguments(config, plan_stage(config, 60), folder)
    set_seed(config.run.seed)
    trainer = in_order(DPOTrainer)(
        model=policy.model,
        args=arguments,
        processing_class=policy.processor,
        peft_config=policy.peft_config,
        train_dataset=examples,
    )
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry], []


def measured(side: str, config: Any, pairs: int, folder: Path) -> dict[str, Any]:
    peak = Peak()
    ENDS.clear()
    log, notes = (run_stock if side == "stock" else run_medgrpo)(config, folder)
    seconds = [(after - before) / pairs for (before, _), (after, _) in pairwise(ENDS)]
    return {
        "side": side,
        "s_per_pair": round(statistics.median(seconds), 4),
        "each": [round(one, 4) for one in seconds],
        "peak_gib": peak.gib,
        "wall_s": peak.wall_s,
        **{
            key: [entry.get(key) for entry in log]
            for key in ("loss", "grad_norm", "logps/chosen", "rewards/margins")
        },
        "notes": notes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--tokens", type=int, default=128, help="of an answer, about")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--work", type=Path, default=Path("dpo-side-by-side"))
    parser.add_argument("--report", type=Path)
    parser.add_argument("--seconds", type=float, default=1e9, help="no run is begun after so many")
    words = parser.parse_args()
    started, found = time.perf_counter(), []
    clocked()
    for text in words.cases:
        *numbers, sides = text.split(":")
        pixels, pairs, at_once, steps = map(int, numbers)
        data = words.work / f"pairs-{pixels}"
        if not data.exists():
            gpu_training.write_dataset(data, [pixels], 64, 1, 0.0, words.tokens)
        losses: dict[str, list[float]] = {}
        for number, side in enumerate(sides.split(",")):
            if time.perf_counter() - started > words.seconds:
                break
            more = [*words.set, *([] if side == "stock" else [f"engine.shared_prompt={side}"])]
            config = configuration(words.model, data, pairs, at_once, steps, more)
            folder = words.work / f"{pixels}-{number}-{side}-{time.time():.0f}"
            try:
                one = measured(side, config, pairs, folder)
                losses[f"{number} {side}"] = one["loss"]
            except Exception:  # noqa: BLE001 the other runs are still worth having
                one = {"side": side, "error": traceback.format_exc()[-3000:]}
            found.append({"case": text, **one})
            print(json.dumps(found[-1]), flush=True)
        names = list(losses)
        apart = {
            f"{first} against {other}": max(
                abs(a - b) for a, b in zip(losses[first], losses[other], strict=True)
            )
            for place, first in enumerate(names)
            for other in names[place + 1 :]
        }
        print(json.dumps({"case": text, "losses apart, at most": apart}), flush=True)
        if words.report:
            words.report.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
