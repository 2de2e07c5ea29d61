"""What others wrote reaches a terminal and a reader as text, whatever it holds."""

import json
import os
import subprocess
import sys

import pytest

from medgrpo.data.prompts import recorded_template
from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.estimate.shapes import find_shape
from medgrpo.files import check_regular, kind_of, read_json, read_toml
from medgrpo.pages.markup import quoted, script_json
from medgrpo.records import json_objects
from medgrpo.sheets import for_people
from medgrpo.system import refusal_of_system
from medgrpo.terminal import escaped, plain, without_orders
from medgrpo.training.run.checkpoints import MARKER, complete_checkpoints

ORDERS = (
    "\x1b]0;owned\x07",
    "\x1b[2J",
    "\x1bc",
    "\x1bP1$r\x1b\\",
    "\x9b2J",
    "\u202eexe",
    "\x00",
    "\x1b[6n",
    "\x1b[3;1H",
)


@pytest.mark.parametrize("order", ORDERS)
def test_no_order_is_left_in_a_line(order):
    assert not set(plain(f"a {order} b")) & set("\x1b\x07\x9b\x00\u202e")
    assert plain("tab\tline\n中文 é ‘’") == "tab\tline\n中文 é ‘’"


HIDDEN = [
    *"\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff\ufff9\ufffa\ufffb",
    *map(chr, (0xE0000, 0xE0001, 0xE0041, 0xE007F)),
    *"\x00\x07\x08\x1b\x7f\x80\x85\x9b\x9f",
]


@pytest.mark.parametrize("hidden", HIDDEN, ids=lambda one: f"U+{ord(one):04X}")
def test_what_is_not_seen_is_shown_everywhere(hidden):
    word = f"a{hidden}b"
    shown = (
        plain(word),
        for_people(word),
        quoted(word),
        json.loads(script_json({word: [word]})).popitem()[1][0],
    )
    assert not any(hidden in one for one in (*shown, script_json(word)))
    assert hidden not in without_orders(word) or hidden == "\x08"  # progress bars go back
    if hidden >= " ":
        assert hidden not in escaped(json.dumps(word, ensure_ascii=False))
        assert json.loads(escaped(json.dumps(word, ensure_ascii=False))) == word
    assert not any("a" + other + "b" != plain("a" + other + "b") for other in "\u200d\ufe0f\u00a0\u3000é中")


def test_colours_and_progress_pass_and_json_stays_as_it_is():
    progress = "\r 50 %\x1b[A\x1b[2K\x1b[1;32mgreen\x1b[0m\x1b[?25l"
    assert without_orders(progress) == progress
    assert without_orders("\x1b[2J\x1b]0;x\x07\x1b[31m") == "␛[2J␛]0;x␇\x1b[31m"
    assert without_orders("a\x85b\u202ec\U000e0041") == "a\ufffdb\ufffdc\ufffd"
    value = {"a\u200f": "\x85\u202a\x7f\u2066\ufff9\ufeff\U000e0041 é 中 👩‍⚕️ \u2028"}
    document = escaped(json.dumps(value, ensure_ascii=False))
    assert without_orders(document) == document
    assert "é 中 👩‍⚕️" in document
    assert json.loads(document) == value
    json_as_it_was = json.dumps({"path": "C:\\u202e", "a": [1.5, None]}, ensure_ascii=False)
    assert escaped(json_as_it_was) == json_as_it_was


def test_names_and_columns_of_others_give_a_terminal_no_orders(tmp_path):
    entry = {"step": 1, "loss": 0.5, "reward": 0.1, "\x1b]0;owned\x07\x1b[2J": 1.0}
    (tmp_path / "\x1b]0;owned\x07.jsonl").write_text(
        "".join(json.dumps({**entry, "step": n}) + "\n" for n in range(9))
    )
    (tmp_path / "\x1b[2J.json").write_text("{")
    for words in (
        ["health", "\x1b]0;owned\x07.jsonl"],
        ["compare", "\x1b]0;owned\x07.jsonl"],
        ["score", "\x1b[2J.json"],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "medgrpo.cli.main", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        assert "\x1b]" not in done.stdout + done.stderr
        assert "\x1b[2J" not in done.stdout + done.stderr
        assert "looks like a bug" not in done.stderr


def test_a_reader_that_went_ends_as_sigpipe_does(tmp_path):
    log = tmp_path / "log.jsonl"
    log.write_text("".join(json.dumps({"step": n, "loss": 0.5}) + "\n" for n in range(9)))
    here, there = os.pipe()
    os.close(here)
    done = subprocess.run(
        [sys.executable, "-m", "medgrpo.cli.main", "compare", str(log)],
        stdout=there,
        stderr=subprocess.PIPE,
        check=False,
    )
    os.close(there)
    assert (done.returncode, done.stderr) == (141, b"")


def test_a_hole_is_no_data(tmp_path):
    hole = tmp_path / "log.jsonl"
    hole.touch()
    os.truncate(hole, 2**36)
    assert kind_of(hole).startswith("hole (its size says 64 GiB")
    for read in (check_regular, json_objects):
        with pytest.raises(MedgrpoError, match="is a hole"):
            read(hole)
    assert read_json(hole) == read_toml(hole) == {}
    os.mkfifo(tmp_path / "pipe")
    assert read_json(tmp_path / "pipe") == {}


def test_odd_templates_shapes_checkpoints_and_libraries_are_named(tmp_path):
    for odd in ({"tags": 3}, {"tags": {"a": 1}}, {"hints": [1]}, {"hints": "x"}):
        with pytest.raises(UsageError, match=r"tags|hints"):
            recorded_template(odd)
    for text in ("null", "[]", "3"):
        (tmp_path / "config.json").write_text(text)
        with pytest.raises(UsageError, match="holds no JSON object"):
            find_shape(str(tmp_path))
    for number in ("3", "9" * 40, "x"):
        (tmp_path / f"checkpoint-{number}").mkdir()
        (tmp_path / f"checkpoint-{number}" / MARKER).write_text("{}")
    assert [path.name for path in complete_checkpoints(tmp_path)] == ["checkpoint-3"]
    error = refusal_of_system(ImportError("a.so: failed to map segment from shared object"))
    assert error.problem.startswith("too little memory: a.so")


@pytest.mark.parametrize(
    "name", ["x\nerror: all is lost.json", "x\nwarning: forged.json", "x\r\nnext: rm.json"]
)
def test_a_line_feed_in_a_name_begins_no_message(name, tmp_path):
    (tmp_path / name).write_text('{"history": 3')
    (tmp_path / "good.jsonl").write_text(
        "".join(json.dumps({"step": n, "loss": 0.5}) + "\n" for n in range(9))
    )
    for words in (["compare", name, "good.jsonl"], ["health", name], ["score", name]):
        done = subprocess.run(
            [sys.executable, "-m", "medgrpo.cli.main", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        lines = (done.stdout + done.stderr).splitlines()
        assert not [line for line in lines if line.startswith(("error: all", "warning: forged", "next: rm"))]
        assert "looks like a bug" not in done.stderr
