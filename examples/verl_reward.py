"""medgrpo's rewards as verl's `custom_reward_function`.

    python -m verl.trainer.main_ppo custom_reward_function.path=examples/verl_reward.py \
        custom_reward_function.name=compute_score …

`ground_truth` is the reference answer; `extra_info` may hold `question`, `plane`, `modality`, `options`, `caption`.
verl 0.9 asks for one completion at a time; releases with `reward_model.reward_manager=batch` can name
`compute_scores`: one call for the batch is what the core is made for.
"""

import math

from medgrpo.rewards.composite import CompositeReward

COLUMNS = ("question", "plane", "modality", "options", "caption")
REWARD = CompositeReward("balanced")


def compute_scores(data_sources, solution_strs, ground_truths, extra_infos, **_):
    """One dict a completion: `score`, and every component under its name; NaN where it could not judge."""
    infos = [info or {} for info in extra_infos]
    columns = {name: [info.get(name) for info in infos] for name in COLUMNS}
    table = REWARD.score(list(solution_strs), {"answer": list(ground_truths), **columns})
    return [
        {
            "score": 0.0 if math.isnan(table.total[row]) else float(table.total[row]),
            **{name: float(table.column(name)[row]) for name in table.names},
        }
        for row in range(len(table))
    ]


def compute_score(data_source, solution_str, ground_truth, extra_info=None, **_):
    """The dict of one completion."""
    return compute_scores([data_source], [solution_str], [ground_truth], [extra_info])[0]
