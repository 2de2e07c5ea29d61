"""Findings in every language: no English clause is left on a Chinese page, and no figure is lost."""

import re
from pathlib import Path
from string import Formatter

import pytest

import medgrpo
from medgrpo.runs.health import assess
from medgrpo.runs.record import RunRecord, read_run
from medgrpo.runs.rules import RULES
from medgrpo.runs.said import say
from medgrpo.runs.words import EVIDENCE, REMEDIES, TITLES

CLAUSE = re.compile(r"(?<![\w/])[a-z]{2,} [a-z]{2,} [a-z]{2,}(?![\w/])")
"""Three plain English words in a row."""
FIGURE = re.compile(r"(?<![\w/])\d+(?:\.\d+)?(?![\w])")


def assert_chinese(findings):
    assert findings
    for finding in findings:
        shown = finding.evidence_in("zh")
        assert not CLAUSE.search(shown), shown
        assert set(FIGURE.findall(finding.evidence)) <= set(FIGURE.findall(shown)) | {"1"}, shown
        told = finding.remedy_in("zh")
        assert re.search("[\u4e00-\u9fff]", told), finding.remedy


def test_every_finding_of_the_real_logs_is_chinese(shared_data):
    logs = [path for path in sorted((shared_data / "logs").rglob("*")) if path.is_file()]
    assert_chinese([finding for log in logs for finding in assess(read_run(log)).findings])


def curve(config=None, **metrics):
    count = max(len(values) for values in metrics.values())
    names = {name.replace("__", "/"): values for name, values in metrics.items()}
    history = [
        {"step": i + 1, **{name: values[i] for name, values in names.items() if i < len(values)}}
        for i in range(count)
    ]
    return RunRecord("r", "test", config or {"beta": 0.5}, history)


UP, DOWN, FLAT = [i / 60 for i in range(60)], [1 - i / 60 for i in range(60)], [0.5] * 60


@pytest.mark.parametrize(
    ("rule", "run"),
    [
        ("reward_trend", curve(reward=DOWN)),
        ("reward_trend", curve(reward=[*UP[:30], *[0.0] * 30])),
        ("nan", curve(reward=UP, loss=[float("nan")] * 60)),
        ("kl_growth", curve(reward=UP, kl=UP, reward_std=[0.2] * 60)),
        ("entropy_collapse", curve(reward=UP, entropy=[1.0 + 3 * value for value in UP])),
        ("clipping", curve(reward=UP, clip_ratio__region_mean=FLAT)),
        (
            "sampler_gap",
            curve(
                reward=UP,
                sampling__sampling_logp_difference__mean=FLAT,
                sampling__importance_sampling_ratio__mean=FLAT,
            ),
        ),
        ("dead_groups", curve(reward=UP, frac_reward_zero_std=FLAT, dynamic_sampling__dead_share=[0.1] * 60)),
        ("dead_groups", curve(reward=UP, frac_reward_zero_std=FLAT, dynamic_sampling__dead_share=FLAT)),
        ("dead_groups", curve(reward=UP, frac_reward_zero_std=FLAT, rewards__a__mean=[0.9] * 60)),
        ("components", curve(reward=UP, rewards__a__mean=DOWN, rewards__a__std=FLAT, rewards__b__mean=UP)),
        ("coverage", curve(reward=UP, rewards__a__mean=UP, rewards__a__coverage=[0.0] * 60)),
        ("truncation", curve(reward=UP, completions__clipped_ratio=FLAT)),
        (
            "gradient_vanished",
            curve(
                {"training": {"mask_truncated_completions": True}},
                reward=UP,
                grad_norm=[0.0] * 60,
                completions__clipped_ratio=[1.0] * 60,
            ),
        ),
        ("gradient_vanished", curve(reward=UP, grad_norm=[0.0] * 60, frac_reward_zero_std=[0.0] * 60)),
        ("length_growth", curve(reward=FLAT, completions__mean_length=[50 + 100 * value for value in UP])),
        ("gradient_spikes", curve(reward=UP, grad_norm=[1.0] * 50 + [500.0] + [1.0] * 9)),
        ("learning_rate_zero", curve(reward=UP, learning_rate=[0.0] * 60)),
        ("throughput", curve(reward=UP, step_time=[1.0] * 40 + [3.0] * 20)),
        ("supervised_loss", curve(loss=UP)),
        ("repetition", curve(reward=UP, completions__unique_fraction=[0.1] * 60)),
    ],
)
def test_findings_of_other_rules_are_chinese(rule, run):
    found = assess(run).findings
    assert rule in {finding.rule for finding in found}
    assert_chinese(found)


def test_every_rule_has_a_title_and_a_remedy():
    names = {rule.name for rule in RULES}
    assert names == TITLES.keys()
    assert names <= REMEDIES.keys()


@pytest.mark.parametrize("table", [TITLES, EVIDENCE, REMEDIES])
def test_every_wording_has_all_languages_with_the_same_figures(table):
    for name, words in table.items():
        figures = [
            sorted((field, spec) for _, field, spec, _ in Formatter().parse(text) if field) for text in words
        ]
        assert figures[0] == figures[1], name
        assert all(text.strip() for text in words), name


def test_every_wording_is_said_somewhere():
    package = Path(medgrpo.__file__).parent / "runs"
    code = "".join(path.read_text() for path in package.rglob("*.py") if path.name != "words.py")
    unsaid = [name for name in (*EVIDENCE, *REMEDIES) if f'"{name}"' not in code]
    assert unsaid == []


def test_a_finding_carries_its_wording_and_its_figures():
    (found,) = [
        one
        for one in assess(curve(reward=UP, clip_ratio__region_mean=FLAT)).findings
        if one.rule == "clipping"
    ]
    assert found.as_dict()["said"] == [{"template": "clipped", "figures": {"share": 0.5}}]
    assert found.evidence == "50 % of the tokens are clipped at the end of the run"
    assert found.evidence_in("zh") == "结束时 50 % 的词元被裁剪"


def test_names_from_a_log_are_no_wordings():
    """A reward may be called as it likes: braces in its name are no figures."""
    name = "{share:percent} {0.real}"
    found = assess(
        curve(reward=UP, **{f"rewards__{name}__mean": UP, f"rewards__{name}__coverage": [0.0] * 60})
    ).findings
    (said,) = [one for one in found if one.rule == "coverage"]
    assert said.evidence == f"{name} judges 0 % of the completions"


def test_an_unknown_wording_cannot_be_said():
    with pytest.raises(KeyError):
        say("no such wording")
