"""Wrong calls, as people type them: each answer says what to type next, in English and in Chinese."""

import json
import re
import shlex

import pytest
import typer
from typer.models import TyperPath

from medgrpo.cli.main import COMMANDS, app, main
from medgrpo.cli.mistakes import OTHER_COMMANDS, with_next_step
from medgrpo.cli.run_words import TAKES_A_RUN
from medgrpo.errors import UsageError

CALLS = [
    # commands of other tools
    ("sft --model qwen --data data", "medgrpo train --method sft"),
    ("rlhf --rlhf_type grpo", "medgrpo train --preset balanced"),
    ("infer latest a.png", "medgrpo ask"),
    ("export latest", "medgrpo merge-lora"),
    ("list", "medgrpo runs"),
    ("version", "medgrpo --version"),
    ("evaluate latest", "'eval'"),
    ("presets balanced", "medgrpo presets show balanced"),
    # words without their option, options without their word
    ("train balanced", "--preset balanced"),
    ("train config.toml", "--config config.toml"),
    ("train max_steps=3", "--set max_steps=3"),
    ("train Qwen/Qwen2.5-VL-3B-Instruct", "--model Qwen/Qwen2.5-VL-3B-Instruct"),
    ("train --set training.learning_rate 1e-5", "--set NAME=1e-5"),
    ("train --resume", "--resume auto"),
    ("train --gpus all", "--gpus N"),
    ("train --method GRPO --dry-run", "'grpo'"),
    ("train --cuda", "leave it out"),
    ("train --deepspeed ds.json --dry-run", "--deepspeed zero2"),
    ("train --config config.yaml", "medgrpo presets show"),
    ("train --resume runs/nothing", "medgrpo runs"),
    ("ask runs/old 'Is there a lesion?'", "medgrpo ask latest runs/latest"),
    ("health", "medgrpo health latest"),
    ("health runs", "runs/one"),
    ("compare runs --html", "runs/one"),
    ("score rows.csv --reward answer_match", "--rewards"),
    ("ask lastest - What?", "'latest'"),
    ("ask Qwen2.5-VL-3B-Instruct - What?", "Qwen/Qwen2.5-VL-3B-Instruct"),
    ("preprocess mine out --columns q=question", "--columns question=q"),
    ("preprocess mine out --columns question:问题", "--columns question=问题"),
    ("preprocess mine out --columns 'question=a answer=b'", "--columns question=a,answer=b"),
    ("preprocess mine", "medgrpo preprocess mine mine-prepared"),
    ("preprocess mine mine/out", "medgrpo preprocess mine mine-prepared"),
    ("train --data rows.csv", "medgrpo preprocess rows.csv rows-prepared"),
    ("score rows.csv rows.csv", "medgrpo compare FILE rows.csv"),
    ("ask latest - What?", "medgrpo health runs/one"),
    ("estimate-time --model ./qwen --gpu A100", "--params"),
    # what shells, editors and keyboards do
    ("train –-preset balanced", "--preset"),
    ("train —preset balanced", "--preset"),
    ("presets show “balanced”", "keyboard"),
    ("compare 'logs/*.jsn'", "medgrpo runs"),
    ("compare '$LOGS/a.json'", "double quotes"),
    (r"compare 'C:\Users\me\a.json'", "/mnt/c/Users/me/a.json"),
    ("ask https://huggingface.co/Qwen/Qwen3-8B - What?", "Qwen/Qwen3-8B"),
    ("train --preset balanced ' --dry-run'", "backslash"),
    ("train --set 'rewards.weights={answer_match:1}' --dry-run", "single quotes"),
]


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A folder with one run that failed before it had weights."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MEDGRPO_LANG", "en")
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    (run / "training_info.json").write_text(json.dumps({"name": "one", "status": "failed", "started": "2"}))
    (run / "config.toml").write_text("")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "rows.csv").write_text("picture,q,answer\n,Is there an effusion?,no\n")
    (tmp_path / "rows.csv").write_text("completion,answer\nno,no\n")
    return tmp_path


def answer(line, capsys):
    with pytest.raises(SystemExit) as end:
        main(shlex.split(line))
    assert end.value.code in (1, 2)
    return capsys.readouterr().err


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("line", "next_step"), CALLS)
def test_a_wrong_call_is_told_what_to_type_next(line, next_step, capsys):
    said = answer(line, capsys)
    assert "Traceback" not in said
    hints = [part for part in said.splitlines() if part.startswith("hint: ")]
    assert len(hints) == 1, said
    assert next_step in hints[0]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("line", [line for line, _ in CALLS])
def test_it_is_told_in_chinese(line, capsys, monkeypatch):
    monkeypatch.setenv("MEDGRPO_LANG", "zh")
    said = answer(line, capsys)
    problem = next(part for part in said.splitlines() if part.startswith("错误："))
    assert re.search("[\u4e00-\u9fff]{2}", problem.removeprefix("错误："))
    hint = next(part for part in said.splitlines() if part.startswith("提示：")).removeprefix("提示：")
    hint = re.sub(r'"[^"]*"', "", hint)
    words = re.sub(r"[^\s\u4e00-\u9fff]*[-_/.=<>'\"{}][^\s\u4e00-\u9fff]*", "", hint)
    english = re.findall(r"\b(?:the|a|is|are|it|of|and|with|use|where|there)\b", words)
    assert not english, hint


def test_latest_without_weights_names_the_newest_run_that_has_them(home, capsys):
    old = home / "runs" / "old"
    (old / "final_model").mkdir(parents=True)
    (old / "training_info.json").write_text(json.dumps({"name": "old", "status": "finished", "started": "1"}))
    (old / "config.toml").write_text("")
    (home / "runs" / "one" / "log.jsonl").write_text('{"step": 1}\n')
    said = answer("eval latest data", capsys)
    assert "latest is runs/one (failed), which has no weights" in said
    assert "hint: type runs/old, the newest that has" in said
    assert "which has no demo/data" in answer("eval runs/old latest/demo/data", capsys)


def test_latest_passes_over_a_run_that_never_took_a_step_and_says_so(home, capsys):
    old = home / "runs" / "old"
    old.mkdir()
    (old / "training_info.json").write_text(json.dumps({"name": "old", "status": "finished", "started": "1"}))
    (home / "data").mkdir()
    said = answer("eval latest data", capsys)
    assert "latest is runs/old: the newer runs/one (failed) never took a step" in said
    assert "latest is runs/old (finished), which has no weights" in said


def test_a_wrong_call_without_a_hint_of_its_own_names_the_help(home, capsys):
    assert "hint: medgrpo score --help" in answer("score", capsys)


def test_no_command_of_ours_stands_among_those_of_others():
    from medgrpo.cli.main import COMMANDS

    words = [word for group in OTHER_COMMANDS.values() for word in group]
    assert len(words) == len(set(words))
    assert not set(words) & set(COMMANDS)


@pytest.mark.parametrize(
    ("line", "next_step"),
    [
        ("eval logs/one.json", "medgrpo eval runs/one"),
        ("eval prepared", "medgrpo eval MODEL prepared"),
        ("eval pngs", "folder of pictures"),
        ("ask pngs/a.png latest 'Is there a lesion?'", "medgrpo ask MODEL pngs/a.png QUESTION"),
        ("merge-lora prepared --output m", "prepared dataset, no run"),
        ("compare prepared", "prepared dataset, no run"),
        ("compare runs/one/final_model", "medgrpo compare runs/one"),
        ("health runs/one/final_model", "medgrpo health runs/one"),
        ("health pngs", "folder of pictures"),
        ("make-dpo prepared --output p", "prepared dataset, no run"),
        ("train --model prepared --dry-run", "--data prepared"),
        ("preprocess nowhere pngs", "medgrpo preprocess pngs nowhere"),
    ],
)
def test_a_place_of_another_kind_is_called_what_it_is(home, line, next_step, capsys):
    for folder in ("prepared", "pngs", "logs", "runs/one/final_model"):
        (home / folder).mkdir(parents=True, exist_ok=True)
    (home / "prepared" / "dataset.json").write_text("{}")
    (home / "pngs" / "a.png").write_bytes(b"x")
    (home / "logs" / "one.json").write_text("{}")
    (home / "runs" / "one" / "config.toml").write_text("")
    (home / "runs" / "one" / "final_model" / "medgrpo.json").write_text("{}")
    with pytest.raises(SystemExit) as end:
        main(shlex.split(line))
    assert end.value.code in (1, 2)
    assert next_step in capsys.readouterr().err.split("hint:")[-1]


WRITTEN = {"output", "output_option", "html", "export_review", "sbom", "folder"}
"""Places that a command writes, and the folder in which `runs` looks for runs."""


@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "presets"])
def test_latest_is_understood_wherever_a_file_or_a_run_is_read(name):
    command = typer.main.get_command(app).get_command(None, name)
    read = {
        parameter.name
        for parameter in command.params
        if isinstance(parameter.type, TyperPath) or parameter.metavar in ("RUN", "MODEL", "[MODEL]")
    }
    assert read - WRITTEN <= TAKES_A_RUN


@pytest.mark.parametrize("word", ["a" * 5000, "~nobody-of-this-name/x", "a\0b", "*" * 4000, "\ud800?"])
@pytest.mark.parametrize(
    "call",
    [
        ("ask", "{}", "-", "what?"),
        ("train", "--data", "{}", "--dry-run"),
        ("preprocess", "{}", "{}"),
        ("merge-lora", "{}"),
        ("health", "{}"),
        ("score", "{}"),
        ("train", "{}"),
    ],
)
def test_advice_about_a_name_that_no_file_can_have_hides_no_error(home, call, word, capsys):
    """The advice looks at what the line names, and meets what the command met."""
    with pytest.raises(SystemExit) as ended:
        main([part.format(word) for part in call])
    said = capsys.readouterr().err
    assert ended.value.code in (1, 2)
    assert re.search("^error: ", said, re.MULTILINE)
    assert "looks like a bug" not in said


def test_a_question_before_the_picture_is_told_the_order(home):
    words = ["latest", "Is it CT?", "rows.csv"]
    told = with_next_step(UsageError("no picture at Is it CT?", hint="x"), ["ask", *words])
    assert told.hint == "the picture stands before the question: medgrpo ask latest rows.csv QUESTION"
