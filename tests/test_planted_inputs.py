"""Odd values planted in every field of a row, and odd files: each command says in words what is wrong, or goes past it.

`MEDGRPO_PLANTED=all pytest tests/test_planted_inputs.py` tries every value in every field with every command (1,096 calls).
"""

import json
import os

import pytest

from medgrpo.cli.main import main

FIELDS = (
    *("id", "question", "answer", "completion", "image", "boxes", "bbox", "options", "answers", "samples"),
    *("confidence", "mask", "plane", "image_id", "messages", "images"),
)
VALUES = (
    *(None, 1, -1, float("inf"), True, [], {}, "", "\ud800", "\u2028", [[]], {"a": 1}, "x" * 100_000),
    *([1, 2], ["a", None], float("nan")),
)
FILES = (
    *("", "\0", "[", "{}", "[]", "null", "1", '"x"', "[1]", "[null]", "a,b\n1", "id,completion\n1"),
    *(
        "### Sample 1\n**Completion:**",
        '{"log_history": 3}',
        '{"history": [3]}',
        '{"history": [{"step": "x"}]}',
    ),
    *('{"log_history": [{"step": null, "loss": "a"}]}', '{"history": [], "stages": 3}'),
)
ROW = {"id": "0", "question": "q?", "answer": "yes", "completion": "<answer>yes</answer>", "image": "a.png"}
EVERY = 1 if os.environ.get("MEDGRPO_PLANTED") == "all" else 5


def commands(file, number):
    yield "score", str(file)
    yield "eval", "--predictions", str(file)
    yield "health", str(file)
    yield (
        *("preprocess", str(file), str(file.parent / f"out{number}"), "--missing-image", "text"),
        *("--on-bad-row", "skip", "--workers", "1"),
    )


def unworded(place, texts, capsys):
    found = []
    for number, text in enumerate(texts):
        file = place / "in.json"
        file.write_text(text, encoding="utf-8", errors="surrogatepass")
        for words in commands(file, number):
            with pytest.raises(SystemExit) as ended:
                main([*words, "--quiet"])
            said = capsys.readouterr().err
            if "looks like a bug" in said or ended.value.code not in (None, 0, 1, 2):
                found.append((words[0], text[:200], said[:200]))
    return found


def test_an_odd_value_in_any_field_is_worded(tmp_path, capsys):
    texts = []
    for place, name in enumerate(FIELDS):
        for value in VALUES[place % EVERY :: EVERY]:
            rows = [dict(ROW, id=str(number)) for number in range(3)]
            rows[1][name] = value
            texts.append(json.dumps(rows))
    assert unworded(tmp_path, texts, capsys) == []


def test_an_odd_file_is_worded(tmp_path, capsys):
    assert unworded(tmp_path, FILES, capsys) == []
