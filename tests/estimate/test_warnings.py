"""What a plan is told before it costs hours, and what is taken where nobody says."""

import re
from dataclasses import replace

import pytest

from medgrpo.config.checks import check
from medgrpo.config.presets import resolve_run
from medgrpo.errors import UsageError
from medgrpo.estimate import choices
from medgrpo.estimate.advice import Change, applied
from medgrpo.estimate.choices import for_this_machine, server_beside
from medgrpo.estimate.disk import Disk, room_warning
from medgrpo.estimate.facts import Facts, situation_of
from medgrpo.estimate.warnings import plan_warnings


def warnings_of(*assignments, gpu="A100", model="Qwen2.5-VL-7B", size=512):
    config = resolve_run("balanced", model="m", assignments=assignments)[0].config
    found = situation_of(config, Facts(model=model, gpu=gpu, size=size, samples=1797))
    return plan_warnings(found.work, uncapped_tokens=found.uncapped_tokens)


def test_a_share_that_vllm_cannot_start_in_is_said_with_one_that_it_can():
    (found,) = warnings_of("rollout.engine=vllm", "vllm.gpu_memory_utilization=0.2")
    assert "--set vllm.gpu_memory_utilization=0." in found
    assert warnings_of("rollout.engine=vllm", "vllm.gpu_memory_utilization=0.4") == []


@pytest.mark.parametrize(
    ("model", "gpu", "words"),
    [
        ("Qwen2.5-VL-7B", "A100", "--set vllm.gpu_memory_utilization=0.2"),
        ("Qwen3-VL-30B-A3B", "H100", "--set rollout.engine=transformers"),  # two models are too many
        ("Qwen2.5-VL-72B", "A100", "no share is enough"),
    ],
)
def test_what_is_said_to_make_vllm_fit_makes_the_run_fit(model, gpu, words):
    found = warnings_of("rollout.engine=vllm", "vllm.gpu_memory_utilization=0.1", model=model, gpu=gpu)
    assert words in found[0]


@pytest.mark.parametrize("card", ["T4", "V100", "RTX2080Ti"])
def test_cards_without_bfloat16_are_told(card):
    assert "emulation" in " ".join(warnings_of("model.dtype=bfloat16", gpu=card))
    assert "float32" in " ".join(warnings_of(gpu=card))
    assert not any("bfloat16" in one for one in warnings_of("model.dtype=float16", gpu=card))


def test_internvl_at_one_tile_and_a_context_that_drops_rows_are_told():
    (told,) = warnings_of(model="InternVL3-8B", size=1024)  # the default max_pixels
    assert "one tile" in told
    assert "--set model.max_pixels=802816" in told
    assert warnings_of("model.max_pixels=802816", model="InternVL3-8B", size=1024) == []
    assert warnings_of(model="InternVL3-8B", size=448) == []  # there is no more to see
    dropped = warnings_of("model.context_length=300", "rollout.max_completion_length=200")
    assert any("are dropped" in one for one in dropped)


def test_qlora_with_vllm_is_refused():
    config = resolve_run("balanced", model="m", assignments=("tuning.method=qlora", "rollout.engine=vllm"))[
        0
    ].config
    with pytest.raises(UsageError, match="qlora cannot be combined with vLLM"):
        check(config)


@pytest.mark.parametrize(
    ("words", "rate"),
    [
        ((), 1e-5),
        (("training.method=sft",), 1e-4),
        (("tuning.method=full",), 1e-6),
        (("training.method=sft", "tuning.method=full"), 1e-5),
        (("training.method=sft", "training.learning_rate=3e-5"), 3e-5),
        (("tuning.method=full", "training.learning_rate=3e-5"), 3e-5),
    ],
)
def test_a_method_chosen_over_a_preset_s_takes_its_own_rate_unless_one_is_given(words, rate):
    assert resolve_run("balanced", model="m", assignments=words)[0].config.training.learning_rate == rate


def test_the_presets_of_2024_warn_of_what_they_cost():
    assert any("warning: balanced-2024" in note for note in resolve_run("balanced-2024", model="m")[1])
    assert not any("warning" in note for note in resolve_run("balanced", model="m")[1])


def chosen(
    monkeypatch,
    *assignments,
    gpu="H200",
    has_vllm=True,
    samples=1797,
    model="Qwen2.5-VL-3B",
    gpus=1,
    **options,
):
    monkeypatch.setattr(choices, "find_spec", lambda name: object() if has_vllm else None)
    if gpus > 1:
        assignments = (*assignments, f"launch.gpus={gpus}")
    resolved = resolve_run("balanced", model="m", assignments=assignments)[0]
    facts = Facts(model=model, gpu=gpu, samples=samples, size=512, gpus=gpus)
    return for_this_machine(resolved.config, resolved.origins, facts, **options)


def test_vllm_and_16_prompts_are_taken_where_they_fit_and_nobody_said(monkeypatch):
    config, notes = chosen(monkeypatch)
    assert (config.rollout.engine, config.training.prompts_per_step) == ("vllm", 16)
    assert len(notes) == 2
    assert "--set rollout.engine=transformers" in notes[0]


@pytest.mark.parametrize(
    ("words", "gpu", "has_vllm"),
    [
        (("rollout.engine=transformers",), "H200", True),
        (("tuning.method=qlora",), "H200", True),
        ((), "H200", False),
        ((), "RTX3060", True),
        ((), "T4", True),
        ((), "MI300X", True),
        ((), "cpu", True),
    ],
)
def test_vllm_is_not_taken_where_it_was_declined_or_does_not_fit_or_was_never_run(
    monkeypatch, words, gpu, has_vllm
):
    assert chosen(monkeypatch, *words, gpu=gpu, has_vllm=has_vllm)[0].rollout.engine == "transformers"


@pytest.mark.parametrize(
    ("words", "gpu", "has_vllm", "why"),
    [
        (("tuning.method=qlora",), "H200", True, "only run with tuning.method lora and full"),
        (("launch.fsdp=true",), "H200", True, "whole weights on each GPU"),
        ((), "H200", False, "it is not installed (pip install"),
        ((), "RTX3060", True, "does not fit with room to spare"),
        ((), "T4", True, "NVIDIA cards with bfloat16"),
        ((), "cpu", True, "no GPU that the estimate knows"),
        (("training.method=dpo",), "H200", True, "samples no texts"),
    ],
)
def test_who_asks_for_vllm_auto_hears_why_not(monkeypatch, words, gpu, has_vllm, why):
    config, notes = chosen(monkeypatch, *words, gpu=gpu, has_vllm=has_vllm, asks_vllm=True)
    assert config.rollout.engine == "transformers"
    assert why in notes[0]
    assert notes[0].startswith("--vllm auto: ")


def test_vllm_auto_counts_over_what_a_preset_says(monkeypatch):
    config, notes = chosen(monkeypatch, "rollout.engine=transformers", asks_vllm=True)
    assert config.rollout.engine == "vllm"
    assert "times as fast here by estimate" in notes[0]


def test_vllm_auto_names_a_server_beside_only_where_the_estimate_says_that_it_pays(monkeypatch):
    """The same estimate as typed: what is named is faster by the margin and has room, and what is not named is or has not."""
    from medgrpo.estimate.choices import ROOM
    from medgrpo.estimate.memory import Memory
    from medgrpo.estimate.time import hours

    seen = []
    for model, gpus, words in (
        ("Qwen2.5-VL-3B", 2, ()),
        ("Qwen2.5-VL-3B", 8, ()),
        ("Qwen2.5-VL-7B", 4, ("tuning.method=full",)),
        ("Qwen2.5-VL-7B", 4, ("launch.deepspeed=zero3",)),
        ("Qwen2.5-VL-32B", 8, ("launch.deepspeed=zero3",)),
    ):
        config, notes = chosen(monkeypatch, *words, model=model, gpus=gpus, asks_vllm=True)
        facts = Facts(model=model, gpu="H200", samples=1797, size=512, gpus=gpus)
        here = sum(hours(situation_of(config, facts).work))
        apart = applied(config, replace(facts, gpus=gpus - 1), Change("", "", server_beside(config, gpus)))
        has_room = apart is not None and Memory(apart).peak <= ROOM * Memory(apart).total
        pays = has_room and sum(hours(apart)) <= 0.95 * here
        assert any("a vLLM server on GPU" in note for note in notes) == pays, (model, gpus)
        seen.append(pays)
    assert len(set(seen)) == 2, seen


def test_prompts_that_somebody_set_and_few_rows_stay_as_they_are(monkeypatch):
    assert chosen(monkeypatch, "prompts_per_step=4")[0].training.prompts_per_step == 4
    assert chosen(monkeypatch, samples=300)[0].training.prompts_per_step == 8


FULL = ("training.method=sft", "tuning.method=full", "launch.fsdp=true", "validation.steps=0")


def disk_of(*assignments, gpus=2, size="Qwen2.5-VL-3B"):
    config = resolve_run("balanced", model="m", assignments=assignments)[0].config
    return Disk(situation_of(config, Facts(model=size, gpu="H200", size=512, samples=60, gpus=gpus)).work)


def test_a_checkpoint_of_full_tuning_is_as_large_as_was_measured():
    disk = disk_of(*FULL)
    assert disk.checkpoint / 2**30 == pytest.approx(39.0, rel=0.1)  # two H200s, BENCHMARKS.md
    assert disk.weights / 2**30 == pytest.approx(15.5, rel=0.12)


def test_what_a_run_takes_at_most_by_hand():
    limits = ("training.save_total_limit=2", "training.save_steps=3", "training.max_steps=9")
    disk = disk_of(*FULL, *limits)
    assert (disk.saves, disk.kept) == (3, 2)
    assert (
        disk.peak == 3 * disk.checkpoint
    )  # two stay while the third is written; later two and the final weights
    one = disk.with_training(save_steps=9)
    assert one.peak == one.checkpoint + one.weights
    best = disk_of(*FULL, *limits, "validation.steps=3")
    assert best.peak == 3 * best.checkpoint + 2 * best.weights  # the best, and those before them
    adapter = disk_of("tuning.method=lora", "training.method=sft", gpus=1)
    assert adapter.checkpoint == 3 * adapter.weights  # float32, and two moments of the same size
    zero = disk_of(*FULL[:2], "launch.deepspeed=zero3")
    assert zero.checkpoint - disk.checkpoint == pytest.approx(
        4 * disk.work.shape.language_parameters, rel=0.1
    )


def test_a_disk_without_room_is_said_with_what_would_fit(tmp_path, monkeypatch):
    disk = disk_of(*FULL, "training.save_total_limit=3", "training.save_steps=1", "training.max_steps=9")
    for free, words in (
        (disk.peak + 1, None),
        (disk.peak - 1, "--set training.save_total_limit=1 needs"),
        (2 * disk.checkpoint - 1, "--set training.save_steps=9 (one checkpoint, at the end) needs"),
        (disk.checkpoint, "make room, or --output on another disk"),
    ):
        monkeypatch.setattr("medgrpo.estimate.disk.free_bytes", lambda _, free=free: free)
        said = room_warning(disk.work, tmp_path / "run")
        assert said is None if words is None else words in said
        if words is not None:
            assert f"needs up to {disk.peak / 2**30:,.1f} GiB" in said
            assert f"{free / 2**30:,.1f} GiB are free" in said
    there = tmp_path / "run" / "checkpoints" / "checkpoint-1" / "weights"  # a run that is resumed
    there.parent.mkdir(parents=True)
    there.write_bytes(b"0" * 4096)
    monkeypatch.setattr("medgrpo.estimate.disk.free_bytes", lambda _: disk.peak - 4096)
    assert room_warning(disk.work, tmp_path / "run") is None


def test_the_estimate_of_this_machine_says_what_a_dry_run_says_of_its_disk_in_both_languages(
    monkeypatch, capsys
):
    from medgrpo.cli.chinese import in_chinese
    from medgrpo.cli.main import main

    monkeypatch.setattr("medgrpo.estimate.disk.free_bytes", lambda _: 2**20)
    said = {}
    for gpu in ("auto", "H100"):
        with pytest.raises(SystemExit) as ended:
            main(["estimate-time", "--preset", "qlora", "--samples", "100", "--gpu", gpu])
        assert ended.value.code == 0
        said[gpu] = capsys.readouterr()
    (line,) = [one for one in said["auto"].err.splitlines() if "the run needs up to" in one]
    assert "on the disk of runs/next" in line
    assert "the run needs up to" not in said["H100"].err  # another machine's disk is not known
    (disk,) = [one for one in said["H100"].out.splitlines() if one.startswith("Disk: ")]
    took = (
        "warning: checkpoint-2 took 7.00 GiB, and the disk has 3.00 GiB left: the next does not fit. Make room, or stop (CTRL-C) "
        "and resume with --set training.save_total_limit=1 or a larger training.save_steps"
    )
    for english in (line, disk, took):
        chinese = in_chinese(english)
        assert not re.search(r"[a-z]{3,} [a-z]{3,} [a-z]{3,}", chinese), chinese
        assert re.findall(r"\d[\d.,]*", chinese)[:3]
