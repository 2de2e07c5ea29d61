"""Tables and lines on terminals of any width: nothing is lost, words stay whole, what may be pasted stays in one line."""

import io
import random
import re
import sys

import pytest
from rich.cells import cell_len

from medgrpo.cli.output import Output, wrapped

HEADS = ["metric", "value", "interval", "blind baseline"]
ROWS = [["answer_match", 0.8123, "0.713 – 0.894", 0.4], ["modality_match", None, "", 0.3]]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("width", [100, 80, 40, 20])
def test_a_table_loses_nothing_however_narrow(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    Output().table("Figures", HEADS, ROWS)
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= width
    words = re.sub(r"[│\s]+", " ", said)
    for part in ("answer_match", "0.812", "0.713 – 0.894", "modality_match", "0.400", "blind", "baseline"):
        assert part in words


@pytest.mark.parametrize("width", [120, 60])
def test_words_of_a_header_are_not_cut(width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    heads = ["stage", "method", "steps", "prompts", "samples", "batch", "passes", "epochs"]
    Output().table("", heads, [["main", "grpo", 100, 16, 128, 128, 1, 0.67]])
    said = capsys.readouterr().out
    assert all(head in said for head in heads)


def test_a_path_may_be_broken_and_is_whole_where_that_is_asked(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    path = "runs/a-rather-long-name-of-a-run-20261130-1"
    Output().table("", ["run", "status"], [[path, "finished"]], whole=1)
    assert path in capsys.readouterr().out


def test_a_line_is_broken_between_words_on_a_terminal_only(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    line = "warning: closed accuracy 1.000 is not shown to be above its majority baseline 0.500"
    shown = wrapped(line, Terminal())
    assert max(map(len, shown.splitlines())) <= 40
    assert " ".join(shown.split()) == line
    assert wrapped(line, io.StringIO()) == line


def test_what_may_be_pasted_stays_in_one_line(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    line = "next: medgrpo train --method dpo --model runs/balanced-20261130-1 --data pairs"
    assert wrapped(line, Terminal()) == line


@pytest.mark.parametrize("width", [140, 80, 40])
@pytest.mark.parametrize(
    "pasted",
    [
        "--set rollout.max_completion_length=128 --set data.max_pixels=262144",
        "medgrpo train --preset small-24gb --model ./qwen",
        "https://rustup.rs/a/long/address/that/is/followed",
    ],
)
def test_what_may_be_pasted_from_a_table_stays_in_one_line(pasted, width, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", str(width))
    rows = [["shorter completions", 0.5, pasted, "some words that may be broken"], ["none", 0.1, "–", "so"]]
    Output().table("", ["change", "hours", "to type", "why"], rows)
    said = capsys.readouterr().out
    assert pasted in said
    assert "shorter" in said
    assert "broken" in said


def test_no_bar_is_left_in_a_file(capsys):
    with Output().progress("generating", total=2) as advance:
        advance(2)
    said = capsys.readouterr()
    assert said.out + said.err == ""


def test_a_cell_is_never_translated(monkeypatch, capsys):
    """An answer may be a word that the command line knows."""
    monkeypatch.setenv("MEDGRPO_LANG", "zh")
    Output().table("Targets", ["answer"], [["normal"]])
    said = capsys.readouterr().out
    assert "normal" in said
    assert "目标" in said
    assert "回答" in said


WORDS = [
    "a",
    "run",
    "balanced-2024",
    "Qwen2.5-VL-3B:",
    "1.6",
    "(1.0",
    "2.8),",
    "validation.before_and_after",
    "图像与问答整理",
    "x" * 30,
]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_no_table_is_wider_than_its_terminal(width, monkeypatch, capsys):
    """rich shared widths out so that 3 in 100 such tables lost their last column's end."""
    monkeypatch.setenv("COLUMNS", str(width))
    draw = random.Random(width)
    for _ in range(40):
        heads = [" ".join(draw.choices(WORDS, k=draw.randint(1, 4))) for _ in range(draw.randint(2, 7))]
        rows = [[" ".join(draw.choices(WORDS, k=draw.randint(1, 6))) for _ in heads] for _ in range(3)]
        Output().table("", heads, rows)
        lines = capsys.readouterr().out.splitlines()
        if lines[0].startswith("┏"):
            assert {lines[0][-1], lines[-1][-1]} == {"┓", "┘"}
            assert max(map(cell_len, lines)) <= width


@pytest.mark.parametrize("width", [120, 80, 60, 30])
def test_a_table_of_lines_is_cut_on_a_terminal_alone(width, monkeypatch):
    purpose = "比 balanced 更慢更稳：学习率减半、加 KL 项，slower and safer than balanced, in one run"
    rows = [["conservative", purpose, "1.7", "10"], ["vessels-quick", "minutes", "< 0.1", "–"]]
    monkeypatch.setenv("COLUMNS", str(width))
    for stream, whole in ((Terminal(), width in (120, 30)), (io.StringIO(), True)):
        monkeypatch.setattr(sys, "stdout", stream)
        Output().lines(["preset", "for", "hours", "GiB"], rows, cut=(1,))
        said = stream.getvalue()
        assert (purpose in said or (width == 30 and "one run" in said)) == whole
        assert "conservative" in said
        assert "< 0.1" in said
        if stream.isatty() and width > 30:
            assert len(said.splitlines()) == len(rows) + 4
            assert max(map(cell_len, re.sub(r"\x1b\[[\d;]*m", "", said).splitlines())) <= width


def test_a_table_of_lines_leaves_out_what_is_spare_and_says_so(monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdout", Terminal())
    row = [
        "runs/balanced-20261130-1",
        "balanced (grpo)",
        "Qwen/Qwen2.5-VL-3B",
        "…/demo/data",
        "finished, step 100",
        "answer_match 0.852",
    ]
    columns = ["run", "preset", "model", "data", "status", "best"]
    for width, lost in ((120, ""), (80, "model, data"), (70, "preset, model, data")):
        monkeypatch.setenv("COLUMNS", str(width))
        sys.stdout.truncate(0)
        Output().lines(columns, [row] * 3, cut=(3, 2, 1), spare=(3, 2, 1))
        lines = re.sub(r"\x1b\[[\d;]*m|\0", "", sys.stdout.getvalue()).splitlines()
        assert len(lines) == 3 + 4
        assert max(map(cell_len, lines)) <= width
        told = capsys.readouterr().err
        assert told.strip().endswith(lost) if lost else not told


@pytest.mark.parametrize("draw", ["table", "lines"])
def test_an_order_to_the_terminal_is_shown_in_every_table(draw, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "80")
    words = ("",) if draw == "table" else ()
    getattr(Output(), draw)(*words, ["run", "best"], [["\x1b]0;title\x07name", 0.5], ["a\x9bb", 0.5]])
    said = capsys.readouterr().out
    assert "␛]0;title␇name" in said
    assert "a\ufffdb" in said


def test_a_few_rows_of_a_table_that_is_too_wide_stand_side_by_side(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "70")
    heads = ["run", "ended", "metric", "first → last", "held out", "prompts/h", "health"]
    rows = [
        ["qwen-balanced-1", "step 195", "reward", "0.282 → 0.632", "reward 0.651", 1200, "normal"],
        ["qwen-balanced-2", "step 400", "reward", "0.257 → 0.268", "–", None, "warning"],
    ]
    Output().table("Runs", heads, rows)
    said = capsys.readouterr().out
    assert re.search(r"run +┃ qwen-balanced-1 ┃ qwen-balanced-2", said)
    assert re.search(r"first → last +│ 0.282 → 0.632 +│ 0.257 → 0.268", said)
    Output().table("Runs", heads, rows * 3)
    assert "┃" not in capsys.readouterr().out
    long = [[f"{row[0]}-of-the-whole-set", *row[1:]] for row in rows]
    monkeypatch.setenv("COLUMNS", "90")  # a table would do, but for names that it breaks
    Output().table("Runs", heads, long)
    assert re.search(r"run +┃ qwen-balanced-1-of-the-whole-set ┃", capsys.readouterr().out)
    Output().table("Runs", heads, long * 3)
    assert re.search(r"qwen-balanced-1[\w-]* +│ step 195", capsys.readouterr().out)


def test_a_figure_that_was_not_judged_is_a_dash(capsys):
    Output().table("", ["reward", "mean"], [["plane_match", float("nan")]])
    said = capsys.readouterr().out
    assert "–" in said
    assert "nan" not in said


def test_what_may_be_pasted_stands_below_a_table_that_is_too_narrow_for_it(monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "60")
    line = 'pip install -e "/a/long/place/of/the/checkout[vllm]"'
    rows = [["fast rollouts", "no", "lacks vllm", line], ["reward core", "yes", "installed", ""]] * 3
    Output().table("", ["what", "ready", "found", "remedy"], rows)
    said = capsys.readouterr().out
    assert re.search(r"reward core +│ yes +│ installed", said)
    assert said.splitlines().count(f"fast rollouts: {line}") == 3
    assert "reward core:" not in said
