"""What the preset `detection` learns from: boxes that hit, not those that overlap by a hair (docs/detection.md)."""

from medgrpo.config.presets import resolve_run
from medgrpo.runs.store import read_completions
from tests.training.conftest import REWARDS, run


def test_a_near_miss_among_misses_weighs_little_beside_a_hit(tiny_config, tmp_path):
    chosen = resolve_run("detection", model="m")[0].config.training.scale_rewards
    config = tiny_config(
        f'rewards.weights={{"{REWARDS}:near_miss_then_hit" = 1.0}}',
        f"training.scale_rewards={chosen}",
        "stages.sft.enabled=false",
        "training.max_steps=1",
    )
    run(config, tmp_path)
    advantages = read_completions(tmp_path)["advantage"].to_pylist()
    near, hit = advantages[3], advantages[7]
    # as the rewards, .02 to .9; divided by the spread of its own group each would get 1.5
    assert 0 < near < hit / 20
