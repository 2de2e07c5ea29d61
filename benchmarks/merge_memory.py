"""Memory and time of `merge-lora` on a real-size Qwen2.5-VL with random weights, on the CPU.

    python benchmarks/merge_memory.py FOLDER [--size 3b] [--rank 16] [--dtype bfloat16]

Writes FOLDER/base (two shards, one tensor in memory at a time), FOLDER/adapter and FOLDER/merged, and prints the peak
memory of the merge alone (it runs in a process of its own).
"""

import argparse
import json
import subprocess
import sys
import threading
import time
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent))
from random_model import SIZES


def build_base(folder: Path, size: str) -> None:
    """Config, random bfloat16 weights and the demo's processor, whose image tokens the config takes over."""
    from transformers import AutoProcessor, Qwen2_5_VLConfig

    from medgrpo.data.demo import demo_texts
    from medgrpo.models.demo import build_demo_model
    from medgrpo.models.shards import Entry, write_index, write_shard
    from medgrpo.models.skeleton import Skeleton

    build_demo_model(folder, demo_texts(), seed=0)
    (folder / "model.safetensors").unlink()
    token = AutoProcessor.from_pretrained(folder).tokenizer.convert_tokens_to_ids
    names = {
        "image": "<|image_pad|>",
        "video": "<|video_pad|>",
        "vision_start": "<|vision_start|>",
        "vision_end": "<|vision_end|>",
    }
    shape = SIZES[size]
    config = Qwen2_5_VLConfig(
        text_config=shape["text"],
        vision_config=shape["vision"],
        tie_word_embeddings=True,
        dtype="bfloat16",
        **{f"{name}_token_id": token(text) for name, text in names.items()},
    )
    config.architectures = ["Qwen2_5_VLForConditionalGeneration"]
    config.save_pretrained(folder)
    skeleton = Skeleton.open(folder)
    names_of_weights = [name for name in skeleton.shapes if name not in skeleton.ties]
    half = len(names_of_weights) // 2
    layout = {
        f"model-0000{place}-of-00002.safetensors": {
            name: Entry("BF16", skeleton.shapes[name]) for name in part
        }
        for place, part in enumerate((names_of_weights[:half], names_of_weights[half:]), start=1)
    }
    draw = torch.Generator().manual_seed(0)

    def value(name: str) -> torch.Tensor:
        sizes = skeleton.shapes[name]
        if len(sizes) == 1:
            return (torch.ones if name.endswith("norm.weight") or "norm" in name else torch.zeros)(
                sizes, dtype=torch.bfloat16
            )
        return (torch.randn(sizes, generator=draw) * 0.02).bfloat16()

    for file, entries in layout.items():
        write_shard(folder / file, entries, value, lambda count: None)
    write_index(folder, layout)


def build_adapter(folder: Path, base: Path, rank: int) -> None:
    """A LoRA on all seven projections of the language model, of the size of a short RL run."""
    from safetensors.torch import save_file

    from medgrpo.models.families import is_lora_target
    from medgrpo.models.families.base import LANGUAGE_LAYERS
    from medgrpo.models.skeleton import Skeleton

    folder.mkdir()
    draw = torch.Generator().manual_seed(1)
    tensors = {}
    for name, shape in Skeleton.open(base).shapes.items():
        module = name.removesuffix(".weight")
        if name.endswith(".weight") and is_lora_target(module, "language"):
            tensors[f"base_model.model.{module}.lora_A.weight"] = (
                torch.randn(rank, shape[1], generator=draw) * 0.02
            )
            tensors[f"base_model.model.{module}.lora_B.weight"] = (
                torch.randn(shape[0], rank, generator=draw) * 0.0005
            )
    save_file(tensors, folder / "adapter_model.safetensors")
    settings = {
        "peft_type": "LORA", "r": rank, "lora_alpha": 2 * rank, "target_modules": LANGUAGE_LAYERS,
        "task_type": "CAUSAL_LM", "base_model_name_or_path": str(base.absolute()),
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings))


def merge(folder: Path, dtype: str | None, verify: int) -> None:
    """Merge and print what it took."""
    from medgrpo.models.merge import merge_adapter

    seen = {"RssAnon": 0, "VmRSS": 0}
    threading.Thread(target=_watch, args=(seen,), daemon=True).start()
    started, cpu = time.perf_counter(), time.process_time()
    result = merge_adapter(folder / "adapter", folder / "merged", dtype=dtype, verify=verify)
    print(
        json.dumps(
            {
                "peak_gib": round(seen["RssAnon"] / 2**20, 2),
                "peak_with_mapped_files_gib": round(seen["VmRSS"] / 2**20, 2),
                "wall_s": round(time.perf_counter() - started, 1),
                "cpu_s": round(time.process_time() - cpu, 1),
                "changed": result.changed_tensors,
                "check": None if result.check is None else result.check.as_dict(),
                "notes": result.notes,
            },
            indent=1,
        )
    )


def _watch(seen: dict[str, int]) -> None:
    """Peaks of what the process holds itself, and with the files it reads through the page cache, in KiB."""
    while True:
        for line in Path("/proc/self/status").read_text().splitlines():
            name, _, rest = line.partition(":")
            if name in seen:
                seen[name] = max(seen[name], int(rest.split()[0]))
        time.sleep(0.1)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--size", choices=SIZES, default="3b")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--dtype")
    parser.add_argument("--verify", type=int, default=2)
    parser.add_argument("--merge-only", action="store_true")
    arguments = parser.parse_args()
    if arguments.merge_only:
        merge(arguments.folder, arguments.dtype, arguments.verify)
        sys.exit()
    if not (arguments.folder / "base").exists():
        build_base(arguments.folder / "base", arguments.size)
        build_adapter(arguments.folder / "adapter", arguments.folder / "base", arguments.rank)
    sys.exit(
        subprocess.run([sys.executable, __file__, "--merge-only", *sys.argv[1:]], check=False).returncode
    )
