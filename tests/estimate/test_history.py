"""Finished runs of a machine correct its later estimates, phase by phase; `--from-run` says what made the difference."""

import json

import pytest

from medgrpo.config.layers import to_toml
from medgrpo.config.presets import resolve_run
from medgrpo.errors import UsageError
from medgrpo.estimate import drivers
from medgrpo.estimate.drivers import Installed
from medgrpo.estimate.estimate import Facts, estimate
from medgrpo.estimate.facts import situation_of
from medgrpo.estimate.from_run import compare_with_estimate
from medgrpo.estimate.history import calibration_of, factors_of, history_file, remember
from medgrpo.estimate.page import page
from medgrpo.estimate.time import phases


@pytest.fixture
def here(monkeypatch, tmp_path):
    """A machine with an A100 whose runs are kept."""
    monkeypatch.setenv("MEDGRPO_CACHE", str(tmp_path))
    monkeypatch.setenv("MEDGRPO_RUN_HISTORY", "1")
    monkeypatch.setattr(drivers, "installed", lambda: [Installed("NVIDIA A100-SXM4-80GB", 80.0)])
    return tmp_path


def config(*assignments):
    return resolve_run("balanced", model="m", assignments=assignments)[0].config


FACTS = Facts(model="Qwen2.5-VL-3B", size=512, samples=1797)


def test_a_run_that_took_twice_as_long_makes_the_next_estimate_longer_and_narrower(here):
    before = estimate(config(), FACTS)
    work = before.work
    took = {name: 2 * seconds for name, seconds in phases(work).of_the_log().items()}
    for _ in range(8):
        remember(work, took)
    after = estimate(config(), FACTS)
    # Eight runs and half a one of the model's: 2 ** (8 / 8.5).
    assert after.s_per_prompt / before.s_per_prompt == pytest.approx(2 ** (8 / 8.5), rel=0.02)
    assert after.hours_range[1] / sum(after.hours) < before.hours_range[1] / sum(before.hours)
    assert any("8 earlier run(s)" in note for note in after.notes)


def test_runs_of_another_kind_or_card_say_nothing(here):
    work = estimate(config(), FACTS).work
    remember(work, {"rollout": 9.0, "update": 9.0})
    assert calibration_of(work).runs == 1
    assert estimate(config("training.method=sft"), FACTS).calibration.runs == 0
    assert estimate(config(), Facts(model="Qwen2.5-VL-3B", size=512, gpu="H100")).calibration.runs == 0


def test_a_log_without_phases_corrects_all_of_them_alike():
    run = {
        "estimated": {"update": 1.0, "prepare": 0.5, "total": 1.5},
        "actual": {"total": 3.0},
        "parameters": 3_000_000_000,
    }
    factors = factors_of([run] * 20, 3_000_000_000)
    assert factors["update"] == pytest.approx(factors["prepare"])
    assert factors["update"] == pytest.approx(2.0, rel=0.05)


def test_nothing_is_kept_where_the_person_does_not_want_it(here, monkeypatch):
    monkeypatch.setenv("MEDGRPO_RUN_HISTORY", "0")
    remember(estimate(config(), FACTS).work, {"update": 1.0})
    assert not history_file().exists()


def write_run(folder, settings, entries):
    folder.mkdir()
    (folder / "config.toml").write_text(to_toml(settings))
    (folder / "environment.json").write_text(json.dumps({"gpus": ["NVIDIA H200"]}))
    (folder / "training_info.json").write_text(json.dumps({"peak_memory_gib": 12.5}))
    (folder / "log.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))


def test_a_run_is_explained_by_phase(tmp_path):
    settings = resolve_run("balanced", model="Qwen2.5-VL-3B", assignments=("training.max_steps=10",))[
        0
    ].config
    modelled = phases(
        situation_of(settings, Facts(model="Qwen2.5-VL-3B", gpu="H200", samples=1000)).work
    ).of_the_log()
    prompts = settings.training.prompts_per_step
    seconds = {**modelled, "rollout": 3 * modelled["rollout"]}
    entry = {f"time/{name}": prompts * value for name, value in seconds.items()}
    entry |= {"s_per_prompt": sum(seconds.values()), "completions/mean_length": 0.7 * 256}
    write_run(tmp_path / "run", settings, [{"step": step, **entry} for step in range(1, 11)])
    found = compare_with_estimate(tmp_path / "run")
    assert found.s_per_prompt == pytest.approx(sum(seconds.values()))
    assert found.actual["rollout"] == pytest.approx(seconds["rollout"])
    assert found.reasons()[0].endswith(f"s in rollout: {found.reasons()[0].split(': ', 1)[1]}")
    assert found.reasons()[0].startswith(f"{2 * modelled['rollout']:+.3g} s")
    assert "12.5 GiB beside" in found.words()


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="is no run folder"):
        compare_with_estimate(tmp_path)


def test_the_page_holds_headline_and_plot_and_nothing_from_elsewhere():
    from medgrpo.estimate.alternatives import compare_alternatives

    found = estimate(config(), Facts(model="Qwen2.5-VL-3B", size=512, samples=1797, gpu="A100"))
    document = found.document() | {"alternatives": compare_alternatives(found)}
    made = page(document, lambda hours: f"{hours:.1f} h")
    assert made.count("<circle") == len(document["alternatives"])
    assert "★" in made
    assert "http" not in made.replace("http-equiv", "")
    assert document["verdict"] in made


def test_some_choice_is_beaten_by_none_and_one_that_does_not_fit_is_never_best():
    from medgrpo.estimate.alternatives import compare_alternatives

    found = estimate(config(), Facts(model="Qwen2.5-VL-7B", size=512, samples=1797, gpu="RTX3090"))
    table = compare_alternatives(found)
    assert any(entry["pareto"] for entry in table)
    assert not any(entry["pareto"] and not entry["fits"] for entry in table)
    assert any(not entry["fits"] for entry in table)
