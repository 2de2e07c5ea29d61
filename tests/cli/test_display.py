"""What a person sees of a run: on a terminal a view with stage, bar and times, else lines."""

import io
import os
import re
import time
from pathlib import Path

import pytest
from rich.console import Console

from medgrpo.cli.display import LiveReporter
from medgrpo.cli.output import Output
from medgrpo.config.plan import StagePlan


def plan(name, method, steps):
    return StagePlan(
        name=name, method=method, rows=100, prompts_per_step=4, samples_per_step=16, per_device_train_batch_size=16,
        gradient_accumulation_steps=1, steps=steps, epochs=1.0, tokens_per_step=640,
    )  # fmt: skip


class Said(Output):
    """An output whose stderr is kept."""

    def __init__(self, *, terminal):
        super().__init__()
        self.kept = Console(file=io.StringIO(), force_terminal=terminal, width=110, color_system=None)

    @property
    def stderr(self):
        return self.kept

    def note(self, message):
        self.kept.print(message)

    @property
    def text(self):
        return self.kept.file.getvalue()


def through(reporter):
    """Two stages, some steps of the second."""
    plans = [plan("sft", "sft", 3), plan("main", "grpo", 10)]
    reporter.announce(plans)
    reporter.doing("loading the model")
    reporter.stage_begins(plans[0], 0)
    reporter.step({"step": 3, "loss": 0.5, "s_per_prompt": 0.5})
    reporter.stage_ends()
    reporter.stage_begins(plans[1], 0)
    for step in (1, 2, 4):
        reporter.step({"step": step, "reward": 0.5, "loss": 0.1, "s_per_prompt": 0.5})


def shown(reporter):
    console = Console(file=io.StringIO(), width=110, color_system=None)
    console.print(reporter._picture())
    return console.file.getvalue()


def test_the_view_has_stage_bar_elapsed_and_left():
    said = Said(terminal=True)
    reporter = LiveReporter(said)
    through(reporter)
    picture = shown(reporter)
    assert "main, stage 2 of 2 (grpo)" in picture
    assert "step 4/10" in picture
    assert "━" in picture
    assert "elapsed 0:00:0" in picture
    assert "left 0:00:12" in picture  # 6 steps of 4 prompts at .5 s
    reporter.doing("main: saving the weights")
    assert "main: saving the weights 0:00:00" in shown(reporter)
    reporter.close()


def test_the_word_to_stop_is_answered_at_once_with_the_time_it_takes():
    said = Said(terminal=False)
    reporter = LiveReporter(said)
    reporter.doing("loading the model")
    reporter.stopping()
    assert "stopping after this: loading the model; CTRL-C again to stop now" in said.text
    through(reporter)
    reporter._step_seconds.extend([12.0] * 10)
    reporter.stopping()
    assert "finishing this step (about 12 s); CTRL-C again to stop now" in said.text
    reporter.close()


def test_without_a_terminal_what_takes_long_is_said_and_what_is_quick_is_not(monkeypatch):
    monkeypatch.setattr("medgrpo.cli.display.SAID_AFTER_S", 0.05)
    said = Said(terminal=False)
    reporter = LiveReporter(said)
    reporter.doing("quick")
    reporter.doing("loading the model")
    time.sleep(0.3)
    reporter.close()
    assert "loading the model …" in said.text
    assert "quick" not in said.text


def test_a_line_names_the_stage_of_several():
    said = Said(terminal=False)
    reporter = LiveReporter(said)
    through(reporter)
    reporter.stage_ends()
    assert "sft, stage 1 of 2: step 3/3" in said.text
    assert "main, stage 2 of 2: step 4/10" in said.text
    reporter.close()


@pytest.mark.skipif("MEDGRPO_SCREENSHOTS" not in os.environ, reason="pictures are renewed on request")
def test_a_picture_of_the_view_for_the_docs():
    reporter = LiveReporter(Said(terminal=True))
    plans = [plan("sft", "sft", 240), plan("main", "grpo", 100)]
    reporter.announce(plans)
    reporter.stage_begins(plans[1], 0)
    for step in range(40, 55):
        reporter.step({
            "step": step, "reward": 0.89, "loss": -0.002, "rewards/format/mean": 0.969, "rewards/answer_match/mean": 0.788,
            "rewards/plane_match/mean": 0.966, "frac_reward_zero_std": 0.425, "completions/mean_length": 21.0, "s_per_prompt": 0.31,
        })  # fmt: skip
    reporter._began = time.monotonic() - 66
    picture = reporter._picture()
    reporter.close()
    console = Console(record=True, width=96, file=io.StringIO(), force_terminal=True)
    console.print("$ medgrpo train --preset balanced", highlight=False)
    console.print(picture)
    svg = console.export_svg(title="medgrpo train")
    svg = re.sub(r"@font-face \{.*?\}", "", svg, flags=re.DOTALL)  # nothing is fetched
    (Path(os.environ["MEDGRPO_SCREENSHOTS"]) / "live.svg").write_text(svg, encoding="utf-8")


@pytest.mark.parametrize("words", [["--set", "max_steps=4"], ["--max_steps", "4"]])
def test_a_limit_of_steps_says_what_it_leaves_alone(tmp_path, monkeypatch, capsys, words):
    from medgrpo.cli.main import main

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["train", "--dry-run", *words])
    assert not ended.value.code
    assert "max_steps=4 is of the main stage; sft still takes 240" in capsys.readouterr().err


def test_a_dry_run_looks_at_the_model(tmp_path, monkeypatch, capsys):
    """Its files, config and tokenizer; a model of the hub is looked for."""
    from medgrpo.cli.main import main
    from medgrpo.models.demo import build_demo_model

    monkeypatch.chdir(tmp_path)
    build_demo_model(tmp_path / "model", ["what is seen"], seed=0)

    def code_of(model):
        with pytest.raises(SystemExit) as ended:
            main(["train", "--dry-run", "--model", model])
        return ended.value.code or 0

    assert code_of("model") == 0
    assert "(qwen2_5_vl)" in capsys.readouterr().err
    (tmp_path / "model" / "tokenizer.json").write_text("{")
    assert code_of("model") == 1
    assert "model cannot be loaded" in capsys.readouterr().err
    assert code_of("Nobody/Nothing-7B") == 2
    assert "Nobody/Nothing-7B is not in the cache of the hub" in capsys.readouterr().err
