"""Seconds a prompt and peak memory of real-size GRPO on this machine's GPU.

    python benchmarks/random_model.py PROCESSOR model-3b
    python benchmarks/gpu_training.py model-3b --size 512 --generations 4 --prompts 1 --steps 4 [--vllm] [--set KEY=VALUE …]

Prints one JSON line; `phases_s` are the seconds of a step by phase, the median without the first step.
The images are noise and the weights random: completions run to their limit, which is the worst case.
`--images 2` gives each question two pictures, `--text-rows 0.5` leaves every second one without.
"""

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from medgrpo.data.prepare import histogram
from medgrpo.data.prepared import PreparedWriter
from medgrpo.data.schema import ROW_SCHEMA
from medgrpo.training.watch.phases import PHASES


def write_dataset(
    folder: Path, sizes: Sequence[int], rows: int, images: int, text_rows: float, pair_tokens: int
) -> None:
    """A prepared dataset of yes/no questions on square noise images, of these sides in px in turn, a share of them without image.

    With `pair_tokens` each row is a preference pair of two completions of about so many tokens.
    """
    rng = np.random.default_rng(0)
    made = []
    with PreparedWriter(folder) as writer:
        for number in range(rows):
            size = sizes[number % len(sizes)]
            is_text = int((number + 1) * text_rows) > int(number * text_rows)
            names = [] if is_text else [f"images/{number}-{place}.png" for place in range(images)]
            for name in names:
                noise = rng.integers(0, 255, (size, size, 3), dtype=np.uint8)
                Image.fromarray(noise).save(writer.folder / name, compress_level=1)  # noise does not compress
            row = dict.fromkeys(ROW_SCHEMA)
            row |= {
                "id": str(number),
                "question": "Is there evidence of a pleural effusion in this image?",
                "answer": "no",
                "answers": ["no"],
                "images": names,
                "image_id": str(number),
                "language": "en",
                "answer_type": "closed",
                "plane": "axial",
                "modality": "CT",
                "width": size if names else None,
                "height": size if names else None,
                "image_tokens": round(size / 28) ** 2 if names else None,
                "source": "noise",
                "source_file": "noise",
                "source_row": number,
            }
            if pair_tokens:
                row |= {"chosen": "no " * pair_tokens, "rejected": "yes " * pair_tokens}
            made.append(row)
        writer.write("train", made[: rows - 4])
        writer.write("validation", made[-4:])
        tokens = sorted(row["image_tokens"] for row in made if row["image_tokens"]) or [0]
        counts = {
            "min": tokens[0],
            "median": tokens[len(tokens) // 2],
            "max": tokens[-1],
            "histogram": histogram(tokens),
        }
        of = "-".join(map(str, (*sizes, images, text_rows, pair_tokens, rows)))
        writer.finish({"name": "noise", "task": "vqa", "hash": f"noise-{of}", "image_tokens": counts})


def letters(completions: list, **_: object) -> list[float]:
    """Share of ASCII letters: random weights earn none of the medical rewards, and no spread means no gradient."""
    texts = [text if isinstance(text, str) else text[-1]["content"] for text in completions]
    return [sum(c.isascii() and c.isalpha() for c in text) / max(1, len(text)) for text in texts]


def run_whole(command: list[str]) -> tuple[int, str]:
    """Exit code and standard output of a command; it and its processes end with this one, or they would hold the GPU."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    child = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, start_new_session=True)
    try:
        printed = child.communicate()[0]
        return child.returncode, printed
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--generations", type=int, default=4)
    parser.add_argument("--prompts", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=256)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--images", type=int, default=1)
    parser.add_argument("--text-rows", type=float, default=0.0)
    parser.add_argument("--pair-tokens", type=int, default=0, help="for --set training.method=dpo")
    parser.add_argument("--vllm", nargs="?", const="colocate", help="colocate or server")
    parser.add_argument("--gpus", type=int)
    parser.add_argument("--deepspeed")
    parser.add_argument("--fsdp", action="store_true")
    parser.add_argument("--name", default="gpu")
    parser.add_argument("--work", type=Path, default=Path("gpu-benchmark"))
    parser.add_argument("--set", action="append", default=[])
    arguments = parser.parse_args()
    shape = (arguments.images, arguments.text_rows, arguments.pair_tokens)
    data = arguments.work / "-".join(map(str, ("noise", arguments.size, *shape)))
    if not data.exists():
        write_dataset(data, [arguments.size], 64, *shape)
    run = arguments.work / f"run-{arguments.name}"
    settings = [
        f"rollout.num_generations={arguments.generations}",
        f"training.prompts_per_step={arguments.prompts}",
        f"rollout.max_completion_length={arguments.tokens}",
        f"training.max_steps={arguments.steps}",
        "training.save_steps=1000",
        "model.max_pixels=1048576",
        "validation.before_and_after=false",
        f"rewards.weights={__file__}:letters=1",
        *arguments.set,
    ]
    command = [
        sys.executable,
        "-m",
        "medgrpo.cli.main",
        "train",
        "--preset",
        "balanced",
        "--model",
        arguments.model,
    ]
    command += ["--data", str(data), "--output", str(run), "--json"]
    command += [word for setting in settings for word in ("--set", setting)]
    command += ["--vllm", arguments.vllm] if arguments.vllm else ["--set", "rollout.engine=transformers"]
    command += ["--gpus", str(arguments.gpus)] if arguments.gpus else []
    command += ["--deepspeed", arguments.deepspeed] if arguments.deepspeed else []
    command += ["--fsdp"] if arguments.fsdp else []
    start = time.perf_counter()
    code, printed = run_whole(command)
    wall = time.perf_counter() - start
    if code:
        sys.exit(f"training failed after {wall:.0f} s: {printed[-2000:]}")
    entries = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
    info = json.loads((run / "training_info.json").read_text())
    keys = (
        "reward",
        "sampling/sampling_logp_difference/mean",
        "completions/mean_length",
    )
    print(
        json.dumps(
            {
                "name": arguments.name,
                "s_per_prompt": [
                    round(entry["s_per_prompt"], 3) for entry in entries if "s_per_prompt" in entry
                ],
                "phases_s": {
                    phase: round(statistics.median(entry[f"time/{phase}"] for entry in entries[1:]), 3)
                    for phase in PHASES
                    if f"time/{phase}" in entries[-1] and entries[1:]
                },
                "peak_memory_gib": info.get("peak_memory_gib"),
                "wall_s": round(wall, 1),
                "loss": [entry.get("loss") for entry in entries],
                "grad_norm": [entry.get("grad_norm") for entry in entries],
                "last": {key: entries[-1].get(key) for key in keys},
            }
        )
    )


if __name__ == "__main__":
    main()
