"""Each rule speaks when it should and is silent when it should; real logs get the verdict that reading them gives."""

import math
import random

import pytest

from medgrpo.runs.health import HealthMonitor, assess
from medgrpo.runs.record import Overlap, RunRecord, read_run
from medgrpo.runs.rules import RULES
from medgrpo.runs.words import REMEDIES, TITLES

VERDICTS = {
    "easyr1_qwen25vl3b/experiment_log.jsonl": ("warning", {"reward_trend"}),
    "easyr1_qwen25vl3b/experiment_log_before_resume_step160.jsonl": ("normal", set()),
    "easyr1_qwen25vl3b": ("normal", set()),
    "llamafactory_medical_sft/trainer_log.jsonl": ("warning", {"validation_gap"}),
    "smolvlm_endoscopy_sft/trainer_state.json": ("warning", {"supervised_loss"}),
    "swift_sft/logging.jsonl": ("normal", set()),
    "swift_sft/trainer_state.json": ("normal", set()),
    "trl_dpo/trainer_state.json": (
        "abnormal",
        {"gradient_vanished", "gradient_spikes", "preference_saturated"},
    ),
    "trl_qwen25vl_console/run_terminal.md": (
        "abnormal",
        {
            "gradient_vanished",
            "gradient_spikes",
            "entropy_collapse",
            "dead_groups",
            "components",
            "length_collapse",
            "reward_trend",
        },
    ),
    "trl_sft_wordle/trainer_state.json": ("normal", set()),
    "trl_wordle_4090/trainer_state.json": ("warning", {"reward_trend"}),
    "vlm_sft_string_values/training_metrics.jsonl": ("normal", set()),
}
"""Log -> verdict and the rules that made it, as found by reading the curves (docs/health.md says why)."""


@pytest.mark.parametrize("name", VERDICTS)
def test_real_logs_get_the_verdict_of_a_careful_reader(shared_data, name):
    judged = assess(read_run(shared_data / "logs" / name))
    verdict, rules = VERDICTS[name]
    assert judged.verdict == verdict
    assert {finding.rule for finding in judged.findings if finding.severity != "info"} == rules


def grpo(steps=100, seed=0, config=None, overlaps=(), **curves):
    """A healthy GRPO run; `curves` replace or add metrics, as functions of the progress in [0, 1]."""
    draw = random.Random(seed)
    shapes = {
        "reward": lambda x: 0.4 + 0.3 * x + draw.gauss(0, 0.03),
        "reward_std": lambda x: 0.3,
        "loss": lambda x: draw.gauss(0, 0.02),
        "grad_norm": lambda x: 0.5 + draw.gauss(0, 0.05),
        "learning_rate": lambda x: 1e-5 * (1 - x),
        "kl": lambda x: 0.01 * x,
        "entropy": lambda x: 1 - 0.3 * x,
        "frac_reward_zero_std": lambda x: 0.2,
        "completions/mean_length": lambda x: 100 + draw.gauss(0, 3),
        "completions/clipped_ratio": lambda x: 0.02,
        "rewards/format/mean": lambda x: 0.5 + 0.2 * x,
        "rewards/format/std": lambda x: 0.3,
        "step_time": lambda x: 10 + draw.gauss(0, 0.2),
        **curves,
    }
    history = []
    for step in range(1, steps + 1):
        entry = {key: shape((step - 1) / (steps - 1)) for key, shape in shapes.items() if shape is not None}
        history.append({"step": step, **{key: value for key, value in entry.items() if value is not None}})
    return RunRecord("run", "test", config or {}, history, overlaps=list(overlaps))


def spoken(run, least="warning"):
    order = ["info", "warning", "abnormal"]
    return {f.rule: f.severity for f in assess(run).findings if order.index(f.severity) >= order.index(least)}


def test_a_healthy_run_is_normal():
    judged = assess(grpo())
    assert judged.verdict == "normal"
    assert [finding.rule for finding in judged.findings] == [
        "reward_trend"
    ]  # "the reward rises", for information


def test_a_clean_but_short_run_is_insufficient_data():
    assert assess(grpo(steps=6)).verdict == "insufficient_data"
    assert assess(RunRecord("empty", "test", {}, [])).verdict == "insufficient_data"


def once(step, value, usual):
    """A curve that is `value` at the progress where `step` of 100 stands, else `usual`."""
    return lambda x: value if round(x * 99) + 1 == step else usual


CASES = [
    ("nan", "warning", {"loss": once(50, math.nan, 0.0)}),
    ("nan", "abnormal", {"loss": lambda x: math.nan if x > 0.9 else 0.0}),
    ("gradient_spikes", "warning", {"grad_norm": once(60, 80.0, 0.5)}),
    ("gradient_vanished", "abnormal", {"grad_norm": lambda x: 0.0 if x > 0.3 else 0.5}),
    ("learning_rate_zero", "abnormal", {"learning_rate": lambda x: 0.0}),
    ("learning_rate_zero", "warning", {"learning_rate": lambda x: 0.0 if x > 0.5 else 1e-5}),
    ("reward_trend", "abnormal", {"reward": lambda x: 0.7 - 0.3 * x}),
    ("reward_trend", "warning", {"reward": lambda x: 0.4 + 0.1 * math.sin(97 * x)}),
    ("reward_trend", "abnormal", {"reward": lambda x: 0.3 + 0.5 * math.sin(math.pi * x) + 0.01 * math.sin(97 * x)}),
    ("validation_gap", "abnormal", {"eval_reward": lambda x: 0.5 - 0.2 * x if round(x * 99) % 10 == 0 else None}),
    ("validation_gap", "warning", {"eval_reward": lambda x: 0.5 + 0.3 * math.sin(3.0 * x) if round(x * 99) % 10 == 0 else None}),
    ("kl_growth", "warning", {"kl": lambda x: 0.001 + 4 * x**6}),
    ("kl_growth", "abnormal", {"kl": lambda x: 0.001 + 40 * x**8}),
    ("entropy_collapse", "warning", {"entropy": lambda x: math.exp(-3 * x)}),
    ("entropy_collapse", "abnormal", {"entropy": lambda x: math.exp(-4 * x), "frac_reward_zero_std": lambda x: 0.7}),
    ("entropy_collapse", "warning", {"entropy": lambda x: 1 + 3 * x}),
    ("clipping", "warning", {"clip_ratio/region_mean": lambda x: 0.4}),
    ("sampler_gap", "warning", {"sampling/sampling_logp_difference/mean": lambda x: 0.2}),
    ("sampler_gap", "abnormal", {"sampling/sampling_logp_difference/mean": lambda x: 1.03, "sampling/importance_sampling_ratio/mean": lambda x: 0.0}),
    ("dead_groups", "warning", {"frac_reward_zero_std": lambda x: 0.2 + 0.5 * x}),
    ("dead_groups", "abnormal", {"frac_reward_zero_std": lambda x: 0.95}),
    ("components", "warning", {"rewards/plane/mean": lambda x: 0.0, "rewards/plane/std": lambda x: 0.0}),
    ("components", "warning", {"rewards/plane/mean": lambda x: 0.8 - 0.5 * x, "rewards/plane/std": lambda x: 0.2}),
    ("coverage", "warning", {"rewards/plane/mean": lambda x: 0.1 + 0.1 * x, "rewards/plane/coverage": lambda x: 0.0}),
    ("truncation", "warning", {"completions/clipped_ratio": lambda x: 0.25}),
    ("truncation", "abnormal", {"completions/clipped_ratio": lambda x: 0.8}),
    ("length_growth", "warning", {"completions/mean_length": lambda x: 100 + 150 * x, "eval_reward": lambda x: 0.5}),
    ("length_collapse", "warning", {"completions/mean_length": lambda x: 100 if x < 0.1 else 5}),
    ("repetition", "abnormal", {"completions/unique_fraction": lambda x: 0.1}),
    ("throughput", "warning", {"step_time": lambda x: 10 if x < 0.7 else 25}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "severity", "curves"), CASES)
def test_each_rule_speaks_for_its_case(rule, severity, curves):
    assert spoken(grpo(**curves)).get(rule) == severity


def test_every_rule_has_a_case_and_a_remedy():
    elsewhere = {
        "supervised_loss",
        "preference_saturated",
        "preference_likelihood",
        "overlap",
        "ended",  # test_status.py
        "log",
        "validation_plateau",
    }
    assert {rule.name for rule in RULES} == {rule for rule, _, _ in CASES} | elsewhere
    assert all(len(REMEDIES[rule.name].en) > 20 and all(TITLES[rule.name]) for rule in RULES)


def test_loss_may_do_what_it_wants_in_grpo():
    assert spoken(grpo(loss=lambda x: 0.5 * x)) == {}


@pytest.mark.parametrize("level", [1e-4, 0.03, 0.5])
def test_no_level_of_kl_is_wrong_by_itself_without_beta(level):
    assert spoken(grpo(kl=lambda x: level)) == {}


def test_kl_is_priced_by_beta_against_the_spread_of_rewards():
    # beta x KL = .1 x .5 = .05, 17 % of the spread of .3: a warning; at beta 1 the cost .5 exceeds the spread
    assert spoken(grpo(kl=lambda x: 0.5, config={"training": {"beta": 0.1}})) == {"kl_growth": "warning"}
    assert spoken(grpo(kl=lambda x: 0.5, config={"training": {"beta": 1.0}})) == {"kl_growth": "abnormal"}
    assert spoken(grpo(kl=lambda x: 0.5, config={"training": {"beta": 0.001}})) == {}


def test_a_run_whose_completions_are_all_masked_is_told_so_and_not_to_mask_them():
    masked = {"training": {"mask_truncated_completions": True}}
    still = {
        "grad_norm": lambda x: 0.0,
        "completions/clipped_ratio": lambda x: 1.0,
        "frac_reward_zero_std": lambda x: 0.0,
    }
    remedies = {finding.rule: finding.remedy for finding in assess(grpo(config=masked, **still)).findings}
    assert remedies["gradient_vanished"] == REMEDIES["all_masked"].en
    assert remedies["truncation"] == REMEDIES["left_out"].en
    remedies = {finding.rule: finding.remedy for finding in assess(grpo(**still)).findings}
    assert remedies["gradient_vanished"] == REMEDIES["untrained"].en  # every group has spread
    assert "set mask_truncated_completions" in remedies["truncation"]


def test_dead_groups_name_the_component_to_blame():
    run = grpo(
        frac_reward_zero_std=lambda x: 0.9,
        **{
            "rewards/format/frac_zero_std": lambda x: 0.97,
            "rewards/answer/mean": lambda x: 0.5 + 0.1 * x,
            "rewards/answer/frac_zero_std": lambda x: 0.3,
        },
    )
    (finding,) = [finding for finding in assess(run).findings if finding.rule == "dead_groups"]
    assert "by component: format 97 %, answer 30 %" in finding.evidence
    assert finding.severity == "abnormal"


def test_a_gate_that_nothing_passes_is_to_blame_for_dead_groups():
    curves = {
        "reward": lambda x: 0.0,
        "frac_reward_zero_std": lambda x: 1.0,
        "rewards/format/mean": lambda x: 0.0,
        "rewards/format/frac_zero_std": lambda x: 1.0,
        "rewards/answer_match/mean": lambda x: 0.4,
        "rewards/answer_match/frac_zero_std": lambda x: 0.1,
    }
    (found,) = [one for one in assess(grpo(**curves)).findings if one.rule == "dead_groups"]
    assert "by component: format 100 %, answer_match 10 %" in found.evidence


def test_dead_groups_of_a_solved_task_are_a_note():
    solved = {"rewards/format/mean": lambda x: 0.9 + 0.09 * x, "frac_reward_zero_std": lambda x: 0.9}
    assert spoken(grpo(**solved)) == {}
    assert spoken(grpo(**solved), "info")["dead_groups"] == "info"


def test_dead_groups_that_dynamic_sampling_replaces_are_a_note():
    replaced = {"frac_reward_zero_std": lambda x: 0.7, "dynamic_sampling/dead_share": lambda x: 0.1}
    run = grpo(**replaced)
    (finding,) = [one for one in assess(run).findings if one.rule == "dead_groups"]
    assert finding.severity == "info"
    assert "70 % of the groups are drawn without spread" in finding.evidence
    assert "10 % are left" in finding.evidence


def test_dead_groups_that_are_left_after_dynamic_sampling_are_held_against_it():
    left = {"frac_reward_zero_std": lambda x: 0.95, "dynamic_sampling/dead_share": lambda x: 0.6}
    (finding,) = [one for one in assess(grpo(**left)).findings if one.rule == "dead_groups"]
    assert finding.severity == "warning"  # what is left counts, not what was drawn
    assert "although dynamic sampling" in finding.evidence
    assert "more rounds" in finding.remedy


def test_a_length_penalty_that_nothing_earns_is_not_dead():
    penalty = {"rewards/overlong/mean": lambda x: 0.0, "rewards/overlong/std": lambda x: 0.0}
    assert "components" not in spoken(grpo(**penalty))
    solved = {"frac_reward_zero_std": lambda x: 0.9, "rewards/format/mean": lambda x: 0.95, **penalty}
    assert spoken(grpo(**solved), "info")["dead_groups"] == "info"


def test_length_may_grow_when_results_do():
    run = grpo(**{"completions/mean_length": lambda x: 100 + 150 * x, "eval_reward": lambda x: 0.5 + 0.3 * x})
    assert "length_growth" not in spoken(run)


def test_an_overlap_after_resume_is_only_a_note_unless_most_of_the_run_is_lost():
    assert spoken(grpo(overlaps=[Overlap(50, 60, 11)])) == {}
    assert spoken(grpo(overlaps=[Overlap(1, 300, 300)])) == {"overlap": "warning"}


def sft(losses, eval_losses=()):
    history = [
        {"step": 10 * i, "loss": loss, "grad_norm": 1.0, "learning_rate": 1e-4}
        for i, loss in enumerate(losses, 1)
    ]
    every = max(1, len(losses) // max(1, len(eval_losses)))
    history += [{"step": 10 * every * i, "eval_loss": loss} for i, loss in enumerate(eval_losses, 1)]
    return RunRecord("run", "test", {}, sorted(history, key=lambda entry: entry["step"]))


def test_the_loss_of_sft_has_to_fall():
    falling = [2 * math.exp(-0.1 * i) + 0.5 for i in range(30)]
    assert spoken(sft(falling)) == {}
    assert spoken(sft(falling[::-1])) == {"supervised_loss": "abnormal"}
    assert spoken(sft([2.0 + 0.01 * (-1) ** i for i in range(30)])) == {"supervised_loss": "warning"}


def test_overfitting_is_seen_on_validation():
    falling = [2 * math.exp(-0.1 * i) + 0.2 for i in range(60)]
    assert "validation_gap" in spoken(sft(falling, [1.5, 1.2, 1.0, 1.1, 1.3, 1.5]))
    assert spoken(sft(falling, [1.5, 1.2, 1.0, 0.95, 0.93, 0.92])) == {}


def test_dpo_that_lowers_the_chosen_answers_is_warned_about():
    history = [
        {"step": i, "loss": 0.6 - 0.02 * i, "rewards/chosen": -0.3 * i, "rewards/rejected": -0.6 * i, "rewards/margins": 0.3 * i}
        for i in range(1, 16)
    ]  # fmt: skip
    assert "preference_likelihood" in spoken(RunRecord("run", "test", {}, history))


def test_a_plateau_of_validation_is_a_note():
    run = grpo(
        steps=200,
        eval_reward=lambda x: (
            min(0.8, 0.2 + 1.5 * x) + 0.002 * math.sin(999 * x) if round(x * 199) % 10 == 0 else None
        ),
    )
    found = {finding.rule: finding.severity for finding in assess(run).findings}
    assert found.get("validation_plateau") == "info"


def test_a_log_that_ends_early_says_how_far_it_got():
    run = RunRecord("run", "test", {}, grpo().history, total_steps=400, finished=False)
    assert any("step 100 of 400" in finding.evidence for finding in assess(run).findings)


def test_the_monitor_reports_each_finding_once_and_escalations_again():
    monitor = HealthMonitor(method="grpo")
    said = []
    for entry in grpo(steps=200, frac_reward_zero_std=lambda x: 0.1 + 0.85 * x).history:
        said += [(finding.rule, finding.severity) for finding in monitor.update(entry)]
    assert said == [("dead_groups", "warning"), ("dead_groups", "abnormal")]
    assert monitor.report().verdict == "abnormal"


def test_the_monitor_sees_a_nan_at_once():
    monitor = HealthMonitor(method="grpo")
    for entry in grpo(steps=99).history:
        assert monitor.update(entry) == []
    (finding,) = monitor.update({"step": 100, "loss": math.nan, "reward": 0.5})
    assert (finding.rule, finding.step) == ("nan", 100)


def test_the_monitor_and_the_whole_log_agree(shared_data):
    run = read_run(shared_data / "logs/trl_qwen25vl_console/run_terminal.md")
    monitor = HealthMonitor(method=run.method)
    for entry in run.history:
        monitor.update(entry)
    whole = {finding.rule for finding in assess(run).findings} - {"log"}
    assert {finding.rule for finding in monitor.report().findings} == whole


def test_the_monitor_stays_linear_over_ten_thousand_steps():
    monitor = HealthMonitor(method="grpo")
    looks = 0
    for entry in grpo(steps=10_000).history:
        before = monitor._next_look
        monitor.update(entry)
        looks += monitor._next_look != before
    assert looks < 200
