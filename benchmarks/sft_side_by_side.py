"""SFT step by step, pictures once for the rows about them and not, and TRL's own trainer: one model, data, seed and order.

    python benchmarks/random_model.py PROCESSOR model-3b
    python benchmarks/sft_side_by_side.py model-3b 512:8:32:5:on,off,stock 1024:1:16:4:on,stock --report sft.json

A case is PIXELS:QUESTIONS A PICTURE:ROWS A STEP:STEPS:SIDES. `on` and `off` are `engine.shared_prompt`, the same side twice shows
the noise of the machine, `stock` is TRL's `SFTTrainer` with the same arguments and order of rows. The first step of each
run is left out of the seconds: `s_per_row` by the clock, `cpu_s_per_row` of this process, which other work on the machine
disturbs less. Prints a JSON line for each run, and for each case how far the losses of the sides are apart. Pictures are
noise, and weights where the model has random ones.
"""

import argparse
import json
import statistics
import sys
import time
import traceback
from itertools import combinations, pairwise
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from peak import Peak
from PIL import Image
from timed_steps import ENDS, clocked, in_order, run_medgrpo

from medgrpo.config.plan import plan_stage
from medgrpo.config.presets import resolve_run
from medgrpo.data.prepared import PreparedDataset, PreparedWriter
from medgrpo.data.schema import ROW_SCHEMA

ASKED = ("Is there a pleural effusion?", "Which organ is shown?", "Is the heart enlarged in this image?",
         "Where is the lesion?", "What is the modality?", "Is there free air under the diaphragm?", "How many lesions are there?",
         "Are the costophrenic angles sharp?")  # fmt: skip


def write_questions(folder: Path, side: int, questions: int, rows: int) -> None:
    """A dataset of noise pictures, with so many questions about each."""
    rng = np.random.default_rng(0)
    made = []
    with PreparedWriter(folder) as writer:
        for number in range(rows):
            picture, asked = divmod(number, questions)
            name = f"images/{picture}.png"
            if asked == 0:
                noise = rng.integers(0, 255, (side, side, 3), dtype=np.uint8)
                Image.fromarray(noise).save(writer.folder / name, compress_level=1)
            row = dict.fromkeys(ROW_SCHEMA) | {
                "id": str(number), "question": ASKED[number % len(ASKED)], "answer": ("no", "left upper lobe", "two")[number % 3],
                "images": [name], "image_id": str(picture), "language": "en", "answer_type": "open", "plane": "axial",
                "modality": "CT", "width": side, "height": side, "source": "noise", "source_file": "noise", "source_row": number,
            }  # fmt: skip
            made.append(row | {"answers": [row["answer"]]})
        writer.write("train", made)
        writer.write("validation", made[:4])
        writer.finish({"name": "noise", "task": "vqa", "hash": f"noise-{side}-{questions}-{rows}"})


def configuration(
    model: str | None, data: Path, rows: int, steps: int, questions: int, more: list[str]
) -> Any:
    settings = [
        f"data.path={data}", "training.method=sft", "stages.sft.enabled=false", f"training.prompts_per_step={rows}",
        f"training.max_steps={steps}", "training.save_steps=1000", "training.learning_rate=5e-5", "training.warmup_ratio=0",
        "training.lr_scheduler_type=constant", "data.shuffle=false", f"data.rows_of_a_picture={questions}",
        "model.max_pixels=1048576", "model.context_length=4096", "validation.before_and_after=false", "validation.steps=0",
        "training.largest_first=false", "training.per_device_train_batch_size=none", "logging.report_to=[]", *more,
    ]  # fmt: skip
    return resolve_run("balanced", model=model, assignments=tuple(settings))[0].config


def run_stock(config: Any, folder: Path) -> tuple[list[dict], list[str]]:
    """TRL's own trainer on medgrpo's model, data, order and arguments."""
    from transformers import set_seed
    from trl import SFTTrainer

    from medgrpo.data.prompts import load_template
    from medgrpo.models.weights import find_weights
    from medgrpo.training.before.datasets import RowSource, sft_dataset
    from medgrpo.training.trainers.arguments import sft_arguments
    from medgrpo.training.trainers.policy import load_policy

    set_seed(config.run.seed)
    policy = load_policy(find_weights(config.model.path), config)
    dataset = PreparedDataset.open(Path(config.data.path))
    template = load_template(config.data.prompt_template)
    source = RowSource(dataset.view("train"), dataset.path, template, policy.is_vision)
    set_seed(config.run.seed)
    trainer = in_order(SFTTrainer)(
        model=policy.model,
        args=sft_arguments(config, plan_stage(config, len(source.rows)), folder),
        processing_class=policy.processor,
        peft_config=policy.peft_config,
        train_dataset=sft_dataset(source, policy.tokenizer),
    )
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry], []


def measured(side: str, config: Any, rows: int, folder: Path) -> dict[str, Any]:
    peak = Peak()
    ENDS.clear()
    log, notes = (run_stock if side == "stock" else run_medgrpo)(config, folder)
    by_clock, by_cpu = (
        [(after[which] - before[which]) / rows for before, after in pairwise(ENDS)] for which in (0, 1)
    )
    return {
        "side": side,
        "s_per_row": round(statistics.median(by_clock), 5),
        "cpu_s_per_row": round(statistics.median(by_cpu), 5),
        "each": [round(one, 5) for one in by_clock],
        "peak_gib": peak.gib,
        "wall_s": peak.wall_s,
        **{key: [entry.get(key) for entry in log] for key in ("loss", "grad_norm")},
        "notes": notes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("model", help="folder of the weights")
    parser.add_argument("cases", nargs="+")
    parser.add_argument("--set", action="append", default=[])
    parser.add_argument("--work", type=Path, default=Path("sft-side-by-side"))
    parser.add_argument("--report", type=Path)
    parser.add_argument("--seconds", type=float, default=1e9, help="no run is begun after so many")
    words = parser.parse_args()
    started, found = time.perf_counter(), []
    clocked()
    for text in words.cases:
        *numbers, sides = text.split(":")
        pixels, questions, rows, steps = map(int, numbers)
        data = words.work / f"questions-{pixels}-{questions}-{rows * steps}"
        if not data.exists():
            write_questions(data, pixels, questions, rows * steps)
        losses: dict[str, list[float]] = {}
        for number, side in enumerate(sides.split(",")):
            if time.perf_counter() - started > words.seconds:
                break
            more = [*words.set, *([] if side == "stock" else [f"engine.shared_prompt={side}"])]
            config = configuration(words.model, data, rows, steps, questions, more)
            folder = words.work / f"{pixels}-{questions}-{number}-{side}-{time.time():.0f}"
            try:
                one = measured(side, config, rows, folder)
                losses[f"{number} {side}"] = one["loss"]
            except Exception:  # noqa: BLE001 the other runs are still worth having
                one = {"side": side, "error": traceback.format_exc()[-3000:]}
            found.append({"case": text, **one})
            print(json.dumps(found[-1]), flush=True)
        apart = {
            f"{first} against {other}": max(
                abs(a - b) for a, b in zip(losses[first], losses[other], strict=True)
            )
            for first, other in combinations(losses, 2)
        }
        print(json.dumps({"case": text, "losses apart, at most": apart}), flush=True)
        if words.report:
            words.report.write_text(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
