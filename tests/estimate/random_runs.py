"""Random configurations to ask the estimate about: what users could type, valid on the machine they name."""

import random
import shlex
from dataclasses import dataclass, replace

from pydantic import ValidationError

from medgrpo.config.checks import check
from medgrpo.config.presets import resolve_run
from medgrpo.errors import MedgrpoError
from medgrpo.estimate.estimate import Facts, estimate

MODELS = (
    "Qwen2.5-VL-3B", "Qwen2.5-VL-7B", "Qwen2.5-VL-32B", "Qwen2.5-VL-72B", "Qwen3-VL-2B", "Qwen3-VL-8B", "Qwen3-VL-30B-A3B",
    "InternVL3-8B", "MedGemma-4B", "MedGemma-27B", "Qwen3-8B", "Lingshu-7B",
)  # fmt: skip
CARDS = ("T4", "V100", "RTX3060", "RTX3090", "RTX4090", "L4", "L40S", "A10", "A6000", "A100-40GB", "A100", "H100", "H200", "MI300X")  # fmt: skip


@dataclass(frozen=True)
class RandomRun:
    """Words as they would be typed after `medgrpo estimate-time`, and what they mean."""

    words: tuple[str, ...]
    facts: Facts

    def with_typed(self, typed: str) -> "RandomRun":
        """The run with an advice typed behind it."""
        given = shlex.split(typed)
        gpus = int(given[given.index("--gpus") + 1]) if "--gpus" in given else self.facts.gpus
        return RandomRun((*self.words, *given), replace(self.facts, gpus=gpus))

    def estimate(self):
        """As the command does it."""
        assignments, options = [], {}
        words = iter(self.words)
        for word in words:
            if word == "--set":
                assignments.append(next(words))
            elif word == "--vllm":
                options |= {"rollout.engine": "vllm", "vllm.mode": next(words)}
            elif word == "--deepspeed":
                options["launch.deepspeed"] = next(words)
            elif word == "--fsdp":
                options["launch.fsdp"] = True
            elif word == "--gpus":
                next(words)
            else:
                raise AssertionError(f"no command takes {word}")
        options["launch.gpus"] = self.facts.gpus if self.facts.gpus > 1 else None
        config = resolve_run("balanced", model="m", assignments=tuple(assignments), options=options)[0].config
        check(config, world_size=self.facts.gpus)
        return estimate(config, self.facts)


def random_runs(count: int, seed: int, cards: tuple[str, ...] = CARDS, **fixed: str):
    """So many valid runs; the same for a seed.

    Args:
        cards: to choose from.
        fixed: settings that all have, `__` for the dot.
    """
    dice = random.Random(seed)
    found = []
    while len(found) < count:
        settings = {
            "rollout.num_generations": dice.choice([2, 4, 8, 16]),
            "training.prompts_per_step": dice.choice([1, 2, 4, 8, 16]),
            "rollout.max_completion_length": dice.choice([64, 128, 256, 512, 1024]),
            "model.max_pixels": dice.choice([200_704, 602_112, 1_048_576]),
            "model.context_length": dice.choice([2048, 4096]),
            "tuning.method": dice.choice(["lora", "lora", "dora", "qlora", "full"]),
            "training.beta": dice.choice([0.0, 0.04]),
            "training.method": dice.choice(["grpo", "grpo", "grpo", "sft", "dpo"]),
            "rollout.engine": dice.choice(["transformers", "vllm"]),
            "vllm.gpu_memory_utilization": dice.choice([0.1, 0.2, 0.3, 0.5, 0.7]),
            "vllm.enable_sleep_mode": dice.choice(["true", "false"]),
            "engine.shared_prompt": dice.choice(["auto", "auto", "off"]),
            "training.gradient_checkpointing": dice.choice(["true", "true", "false"]),
            "launch.deepspeed": dice.choice(["none", "none", "zero2", "zero3"]),
            **{key.replace("__", "."): value for key, value in fixed.items()},
        }
        gpus = dice.choice([1, 1, 2, 4, 8])
        if gpus == 1:
            settings["launch.deepspeed"] = "none"
        words = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]
        facts = Facts(model=dice.choice(MODELS), size=dice.choice([224, 512, 1024]), samples=1797, gpu=dice.choice(cards), gpus=gpus)  # fmt: skip
        run = RandomRun(tuple(words), facts)
        try:
            run.estimate()
        except (MedgrpoError, ValidationError):
            continue
        found.append(run)
    return found
