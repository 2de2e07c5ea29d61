"""What is known of each metric holds everywhere it is used: in colours, best values, targets and intervals."""

import pytest

from medgrpo.errors import UsageError
from medgrpo.evaluation.metrics import METRICS
from medgrpo.evaluation.targets import judge_targets, load_targets
from medgrpo.figures import COUNT, FIGURES, LESS, MORE, NEITHER, SHARE, direction, figure
from medgrpo.rewards.registry import BUILT_IN
from medgrpo.runs.answers import Difference, ModelScore, SideBySide
from medgrpo.runs.comparison import Comparison, summarise
from medgrpo.runs.record import RunRecord
from medgrpo.runs.report.answers import predictions_section
from medgrpo.runs.report.sections import runs_table

WORSE_THE_MORE = ("betti0_error", "betti1_error", "mask_failed", "abstained", "unanswered", "truncated")


def test_every_figure_of_eval_and_every_built_in_reward_is_known():
    for metric in METRICS:
        assert figure(metric.name).meaning, metric.name
        assert metric.score in FIGURES, metric.score
    for name in BUILT_IN:
        assert figure(name).bounds == SHARE, name
        assert direction(name) == MORE, name


@pytest.mark.parametrize(
    ("key", "way"),
    [
        *((name, LESS) for name in WORSE_THE_MORE),
        *((f"eval_{name}", LESS) for name in WORSE_THE_MORE),
        *((f"eval_rewards/{name}/mean", LESS) for name in WORSE_THE_MORE),  # logged at weight 0
        ("eval_dice_error", LESS),
        ("eval_open_hallucinations", LESS),
        ("eval_dice", MORE),
        ("rewards/length_penalty/mean", MORE),  # a reward, whatever it is called
        ("rewards/mine/std", NEITHER),
        ("something_else", NEITHER),
    ],
)
def test_which_way_is_better(key, way):
    assert direction(key) == way


def test_the_range_of_a_users_own_reward_is_not_known():
    assert figure("rewards/mine/mean").bounds is None
    assert figure("eval_rewards/answer_match/mean").bounds == SHARE
    assert figure("betti1_error").bounds == COUNT


@pytest.mark.parametrize("metric", WORSE_THE_MORE)
@pytest.mark.parametrize("change", [0.2, -0.2])
def test_what_is_worse_the_more_is_red_when_it_rises_and_green_when_it_falls(metric, change):
    found = SideBySide(
        ["base", "tuned"],
        [ModelScore("base", metric, 0.4, 0.3, 0.5, 90)],
        [Difference("tuned", "base", metric, change, change - 0.1, change + 0.1, 0.001, 90)],
        [],
    )
    page = predictions_section(found)
    assert ("var(--bad)" in page, "var(--good)" in page) == (change > 0, change < 0)
    assert ("class='wrong'" in page, "class='right'" in page) == (change > 0, change < 0)


def test_a_difference_of_something_unknown_is_neither_green_nor_red():
    found = SideBySide(
        ["base", "tuned"], [], [Difference("tuned", "base", "width_px", 5, 4, 6, 0.001, 90)], []
    )
    page = predictions_section(found)
    assert "var(--bad)" not in page
    assert "var(--good)" not in page


def test_the_best_of_an_error_is_its_least_and_its_fall_is_green():
    history = [{"step": 10 * i, "eval_betti0_error": value} for i, value in enumerate([9.0, 3.0, 4.0], 1)]
    run = summarise(RunRecord("run", "test", {}, history))
    assert run.best["eval_betti0_error"].value == 3.0
    shown = runs_table(Comparison([run], "run", {}))
    assert "delta-up" in shown
    assert "delta-down" not in shown


def test_a_target_of_an_error_is_the_most_that_will_do(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("betti0_error = [1, 3]\nmask_failed = 0.05\n")
    pieces, failed = load_targets(file)
    assert (pieces.wanted, pieces.hoped, failed.wanted) == (3, 1, 0.05)

    def verdict(value, low, high):
        return judge_targets([pieces], {"betti0_error": {"value": value, "low": low, "high": high}})[0]

    assert verdict(2.0, 1.5, 2.5)["verdict"] == "reached"
    assert verdict(9.0, 8.0, 10.0)["verdict"] == "not reached"
    assert verdict(2.5, 2.0, 4.0)["verdict"] == "reached, within the interval"
    assert verdict(3.5, 2.9, 4.0)["verdict"] == "not reached, within the interval"


@pytest.mark.parametrize("line", ["betti0_error = -1", "mask_failed = 2", "reward = nan", "reward = true"])
def test_a_target_outside_of_its_metrics_range_is_refused(tmp_path, line):
    file = tmp_path / "mine.toml"
    file.write_text(line)
    with pytest.raises(UsageError, match=r"mine\.toml"):
        load_targets(file)


def test_a_target_of_a_reward_that_goes_beyond_1_is_taken(tmp_path):
    file = tmp_path / "mine.toml"
    file.write_text("reward = 2.5\n")
    assert load_targets(file)[0].wanted == 2.5
