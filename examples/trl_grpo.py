"""medgrpo's rewards in a plain TRL `GRPOTrainer`: nothing else of medgrpo is needed.

    python examples/trl_grpo.py Qwen/Qwen3-0.6B questions.jsonl out/

`questions.jsonl` has `question` and `answer`, and what else the rewards compare with (`plane`, `options`, …).
"""

import json
import sys
from pathlib import Path

from medgrpo.rewards.composite import CompositeReward

FORM = "\nReply as <think>reasoning</think><answer>the answer alone</answer>"


def train(model: str, questions: Path, output: Path, **arguments):
    """Trains and returns the trainer; `arguments` go to `GRPOConfig`."""
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    rows = [json.loads(line) for line in questions.read_text().splitlines()]
    # One reward to TRL: it adds components with None as 0, the composite rescales the weights of the rest
    # and logs each component by itself through TRL's log_metric.
    reward = CompositeReward({"answer_match": 0.8, "format": 0.2}, settings={"tags": ("think", "answer")})
    trainer = GRPOTrainer(
        model=model,
        reward_funcs=reward,
        args=GRPOConfig(output_dir=str(output), **arguments),
        train_dataset=Dataset.from_list([{**row, "prompt": row["question"] + FORM} for row in rows]),
    )
    trainer.train()
    return trainer


if __name__ == "__main__":
    train(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), learning_rate=1e-6, num_generations=8)
