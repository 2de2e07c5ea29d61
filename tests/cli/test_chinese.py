"""With MEDGRPO_LANG=zh help, messages and findings are Chinese, from tables; what has no entry stays English."""

import re

import pytest
import typer

from medgrpo.cli import chinese
from medgrpo.cli import main as command_line
from medgrpo.cli.main import COMMANDS, app, main
from medgrpo.language import language


@pytest.fixture
def _in_chinese(monkeypatch):
    monkeypatch.setenv("MEDGRPO_LANG", "zh")


def helps():
    group = typer.main.get_command(app)
    for name in COMMANDS:
        command = group.get_command(None, name)
        for one in (command, *getattr(command, "commands", {}).values()):
            yield from (
                " ".join(p.help.split()) for p in one.params if getattr(p, "help", None) and not p.hidden
            )


def ended(*arguments):
    with pytest.raises(SystemExit) as end:
        main(list(arguments))
    return end.value.code or 0


@pytest.mark.parametrize(
    ("variables", "spoken"),
    [
        ({"MEDGRPO_LANG": "zh"}, "zh"),
        ({"MEDGRPO_LANG": "zh_CN"}, "zh"),
        ({"MEDGRPO_LANG": "en", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANG": "zh_CN.UTF-8"}, "zh"),
        ({"LC_ALL": "C", "LANG": "zh_CN.UTF-8"}, "en"),
        ({"LANG": "de_DE.UTF-8"}, "en"),
        ({}, "en"),
    ],
)
def test_the_language_is_asked_for_or_that_of_the_locale(variables, spoken, monkeypatch):
    for name in ("MEDGRPO_LANG", "LC_ALL", "LC_MESSAGES", "LANG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert language() == spoken


def test_nearly_every_help_has_an_entry_and_few_entries_are_stale():
    there = set(helps())
    stale = chinese.HELP.keys() - there - {"Show this message and exit."}
    assert len(stale) < 10, stale  # a help that was reworded is English until its entry follows
    assert len(there & chinese.HELP.keys()) > 0.85 * len(there)
    assert chinese.COMMANDS.keys() == COMMANDS.keys()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.usefixtures("_in_chinese")
def test_help_is_chinese_and_keeps_its_example(name, capsys):
    assert ended(name, "--help") == 0
    said = capsys.readouterr().out
    assert re.search("[\u4e00-\u9fff]{4}", said)
    assert f"medgrpo {name}" in said.split("Example")[1]


@pytest.mark.usefixtures("_in_chinese")
def test_overview_and_errors_are_chinese(capsys):
    assert ended("--help") == 0
    assert "用奖励微调医学视觉语言模型" in capsys.readouterr().out
    assert ended("presets", "show", "balenced") == 2
    said = capsys.readouterr().err
    assert "错误：没有名为 'balenced' 的预设" in said
    assert "提示：是否想写 'balanced'？" in said


def test_every_message_keeps_its_figures():
    for english, translated in (*chinese.MESSAGES, *chinese.ERRORS):
        assert set(re.findall(r"\{(\w+)\}", english)) == set(re.findall(r"\{(\w+)\}", translated)), english
        example = re.sub(r"\{(\w+)\}", r"<\1>", english)
        assert chinese.in_chinese(example) != example or english == "{rest} …"


def test_what_has_no_entry_stays_english():
    assert chinese.in_chinese("a line that nobody has translated") == "a line that nobody has translated"
    assert chinese.in_chinese("error: something new") == "错误：something new"


@pytest.mark.usefixtures("_in_chinese")
def test_findings_of_health_are_chinese(tmp_path, capsys):
    import json

    log = tmp_path / "log.json"
    history = [{"step": step, "reward": 0.9 - step / 100, "loss": 0.1} for step in range(60)]
    log.write_text(json.dumps({"name": "run", "history": history}))
    ended("health", str(log))
    said = capsys.readouterr().out
    assert "奖励下降" in said
    assert "异常" in said or "警告" in said


def test_the_table_is_not_loaded_where_nobody_reads_it():
    import subprocess
    import sys

    code = "import sys; from medgrpo.cli.output import spoken; spoken('x'); assert 'medgrpo.cli.chinese' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": "/usr/bin"})
    assert command_line.OVERVIEW["zh"][1] != command_line.OVERVIEW["en"][1]


def test_an_entry_is_reached_and_not_hidden_by_one_before_it():
    """A pattern such as "{path} exists" may swallow what has an entry of its own."""
    entries = (*chinese.MESSAGES, *chinese.ERRORS)
    for english, translated in entries:
        example = re.sub(r"\{(\w+)\}", r"<\1>", english)
        assert chinese.in_chinese(example) == re.sub(r"\{(\w+)\}", r"<\1>", translated), english
