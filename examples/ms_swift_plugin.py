"""medgrpo's rewards as an external plug-in of ms-swift.

    swift rlhf --rlhf_type grpo --external_plugins examples/ms_swift_plugin.py --reward_funcs medgrpo …

The dataset keeps `answer` (and `question`, `plane`, `modality`, `options` where known) as columns of their own:
ms-swift turns `query` and `response` into `messages`.
"""

from medgrpo.rewards.composite import CompositeReward

try:
    from swift.rewards import ORM, orms  # ms-swift 4
except ImportError:
    from swift.plugin import ORM, orms  # ms-swift 3


class MedgrpoReward(ORM):
    """The weighted sum `balanced`; None where nothing judges a completion."""

    def __init__(self, args=None, **kwargs):
        self.reward = CompositeReward("balanced")

    def __call__(self, completions, **columns) -> list[float | None]:
        return self.reward(completions, **columns)


orms["medgrpo"] = MedgrpoReward
