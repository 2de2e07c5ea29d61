"""The estimate on this machine's processor: small real runs by phase, beside what is predicted with and without `--probe`.

    python benchmarks/estimate_cpu.py --results rows.jsonl [--seconds 300] [--only demo-grpo,demo-sft] [--probe] [--steps 20] [--rounds 2] [--processor-seconds]

The demo's model and data, and a wider model; the U-Net. Threads are those of OMP_NUM_THREADS. A JSON line for each run: what the
estimate says without a probe, what `--probe` says where the case asks for it, and what a run of its own then took. `--rounds` goes through
the cases so many times, so that each is measured at several times of a machine's day. `--processor-seconds` has the clock of the phases count
those of this process: with OMP_NUM_THREADS=1 they say on a busy machine what a quiet one would take.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace

COMMON = {
    "tuning.method": "full",
    "tuning.towers": "language,vision,aligner",
    "model.dtype": "float32",
    "model.max_pixels": 12544,
    "model.context_length": 512,
    "data.prompt_template": "short",
    "rollout.num_generations": 8,
    "rollout.max_completion_length": 40,
    "training.gradient_checkpointing": "false",
    "validation.before_and_after": "false",
    "validation.steps": 0,
    "training.save_steps": 1000,
    "logging.report_to": "[]",
}
GRPO = {"training.prompts_per_step": 16, "training.per_device_train_batch_size": 128}
SFT = {"training.method": "sft", "training.prompts_per_step": 32, "training.per_device_train_batch_size": 32}
CASES = [
    ("demo-grpo", "demo", True, 14, GRPO),
    ("demo-sft", "demo", True, 24, SFT),
    ("wide-grpo", "wide", True, 5, GRPO),
    ("wide-sft", "wide", False, 8, SFT),
    ("demo-grpo-p4", "demo", False, 10, {"training.prompts_per_step": 4}),
    ("demo-lora-grpo", "demo", False, 8, {**GRPO, "tuning.method": "lora", "tuning.towers": "language"}),
    ("demo-grpo-stock", "demo", False, 5, {**GRPO, "engine.shared_prompt": "off"}),
    ("unet-masks", "unet", False, 6, {"training.method": "masks"}),
    ("unet-masks-sft", "unet", False, 6, {"training.method": "masks-sft"}),
    ("unet-256-masks", "unet", False, 6, {"training.method": "masks", "masks.image_size": 256}),
]
"""Name, model, whether it is probed, steps, settings."""


MASKS = {
    "training.prompts_per_step": 2,
    "validation.before_and_after": "false",
    "validation.steps": 0,
    "training.save_steps": 1000,
    "logging.report_to": "[]",
    "stages.warm.enabled": "false",
}
"""On `vessels-unet`."""


def write_vessels(folder: Path, side: int = 512, rows: int = 12) -> Path:
    """A prepared dataset of pictures with curved lines and the masks of these."""
    import numpy as np
    from PIL import Image

    from medgrpo.data.prepared import PreparedWriter
    from medgrpo.data.schema import ROW_SCHEMA

    rng = np.random.default_rng(0)
    across, down = np.meshgrid(np.arange(side), np.arange(side))
    made = []
    with PreparedWriter(folder) as writer:
        (writer.folder / "masks").mkdir(exist_ok=True)
        for number in range(rows):
            mask = np.zeros((side, side), bool)
            for _ in range(12):
                wave = side / 12 * np.sin(across / side * rng.uniform(3, 9)) + rng.uniform(0, side)
                mask |= np.abs(down - wave) < rng.uniform(1, 4)
            picture = np.clip(160 - 60 * mask[..., None] + rng.normal(0, 20, (side, side, 3)), 0, 255)
            Image.fromarray(picture.astype(np.uint8)).save(writer.folder / f"images/{number}.png")
            Image.fromarray(mask.astype(np.uint8) * 255).save(writer.folder / f"masks/{number}.png")
            row = dict.fromkeys(ROW_SCHEMA)
            row |= {
                "id": str(number),
                "question": "vessels",
                "answer": "",
                "answers": [],
                "images": [f"images/{number}.png"],
                "image_id": str(number),
                "mask": f"masks/{number}.png",
                "mask_area": float(mask.mean()),
                "width": side,
                "height": side,
                "language": "en",
                "source": "lines",
                "source_file": "lines",
                "source_row": number,
            }
            made.append(row)
        writer.write("train", made[:-2])
        writer.write("validation", made[-2:])
        writer.finish({"name": "lines", "task": "vessels", "hash": f"lines-{side}-{rows}"})
    return folder


def run(name: str, model: Path, data: Path, settings: dict, steps: int, is_probed: bool, work: Path) -> dict:
    from medgrpo.config.presets import resolve_run
    from medgrpo.errors import MedgrpoError
    from medgrpo.estimate.estimate import Facts, estimate
    from medgrpo.training.probe import measure
    from medgrpo.training.run.train import train
    from medgrpo.training.watch.phases import PHASES
    from medgrpo.training.watch.reporter import SilentReporter

    draws = str(model) == "unet"
    common = MASKS if draws else COMMON
    words = tuple(
        f"{key}={value}"
        for key, value in {**common, **settings, "training.max_steps": steps, "data.path": data}.items()
    )
    preset = "vessels-unet" if draws else "balanced"
    config = resolve_run(preset, model=str(model), assignments=words)[0].config
    facts = Facts(model=str(model), data=data, gpu="auto")
    row = {
        "name": name,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "cores": len(os.sched_getaffinity(0)),
    }
    try:
        found = estimate(config, facts, calibrated=False)
        row["estimated"] = found.s_per_prompt
        row["estimated_phases"] = {key: round(value, 6) for key, value in found.phases.of_the_log().items()}
    except MedgrpoError as error:
        row["estimated"] = str(error)
    if is_probed:
        probe = measure(config, facts)
        row["probed"] = probe["s_per_prompt"]
        row["probed_range"] = [
            probe["s_per_prompt"] * probe[end] / probe["hours"] for end in ("hours_low", "hours_high")
        ]
        row["probe"] = probe["probe"]
    folder = work / f"run-{name}-{time.time():.0f}"
    train(config, name=name, reporter=SilentReporter(), output=folder, logs=None)
    log = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    log = [one for one in log if "s_per_prompt" in one]
    kept = log[2:] or log
    row["s_per_prompt"] = statistics.mean(one["s_per_prompt"] for one in kept)
    row["median"] = statistics.median(one["s_per_prompt"] for one in kept)
    row["each"] = [round(one["s_per_prompt"], 4) for one in log]
    row["phases_s"] = {
        phase: round(statistics.mean(one.get(f"time/{phase}", 0.0) for one in kept), 5) for phase in PHASES
    }
    row["length"] = statistics.mean(one.get("completions/mean_length") or 0 for one in kept)
    row["tokens"] = log[-1].get("num_tokens")
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--results", type=Path, required=True)
    parser.add_argument("--seconds", type=float, default=1e9, help="start no case after so many")
    parser.add_argument("--only", default="", help="names of cases, with commas")
    parser.add_argument("--probe", action="store_true", help="probe every case")
    parser.add_argument("--steps", type=int, help="of each run; default: the case's own")
    parser.add_argument("--rounds", type=int, default=1, help="how often to go through the cases")
    parser.add_argument(
        "--processor-seconds", action="store_true", help="count those in place of the clock's"
    )
    arguments = parser.parse_args()
    if arguments.processor_seconds:
        from medgrpo.training.watch import phases

        phases.time = SimpleNamespace(perf_counter=time.process_time)
    from medgrpo.data.demo import DemoSize, demo_texts, write_demo_dataset
    from medgrpo.models.demo import DemoModelConfig, build_demo_model

    begin = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="estimate-cpu-") as folder:
        work = Path(folder)
        wide = DemoModelConfig(
            hidden_size=512, num_layers=6, num_heads=16, num_key_value_heads=4, intermediate_size=1536
        )
        models = {
            "demo": build_demo_model(work / "demo", demo_texts(), seed=3),
            "wide": build_demo_model(work / "wide", demo_texts(), seed=3, config=wide),
            "unet": Path("unet"),
        }
        lines = write_vessels(work / "lines")
        write_demo_dataset(work / "data", seed=1, size=DemoSize(400, 16, 4))
        for number, (name, model, is_probed, steps, settings) in enumerate(CASES * arguments.rounds):
            if arguments.only and name not in arguments.only.split(","):
                continue
            if time.perf_counter() - begin > arguments.seconds:
                print(f"left out for want of time: {name}", file=sys.stderr)
                continue
            data = lines if model == "unet" else work / "data"
            row = run(
                name,
                models[model],
                data,
                settings,
                arguments.steps or steps,
                is_probed or arguments.probe,
                work,
            )
            row["round"] = number // len(CASES)
            row["wall_s"] = round(time.perf_counter() - begin, 1)
            print(json.dumps(row), flush=True)
            with arguments.results.open("a") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
