"""The files of one evaluation are of one evaluation, whenever it is killed; two do not write one folder."""

import json
import os
import subprocess
import sys

import pytest

from medgrpo import files
from medgrpo.cli.main import main
from medgrpo.evaluation import outputs
from medgrpo.files import folder_replaced
from medgrpo.locks import RunLock

NAMES = ("metrics.json", "predictions.parquet", "report.html", "review.csv")


def evaluate(place, answer, count=30):
    rows = [
        {"id": str(i), "question": "Is it?", "answer": "yes", "completion": answer, "image_id": str(i)}
        for i in range(count)
    ]
    (place / "said.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(SystemExit) as ended:
        main(["eval", "--predictions", str(place / "said.jsonl"), "--output", str(place / "out"), "--quiet"])
    return ended.value.code or 0


def whose(place):
    """The answer that each file of the folder is about."""
    import pyarrow.parquet as pq

    folder = place / "out"
    found = {
        json.loads((folder / "metrics.json").read_text())["closed"]["value"],
        float(pq.read_table(folder / "predictions.parquet").to_pylist()[0]["completion"] == "yes"),
        float(">no<" not in (folder / "report.html").read_text()),
    }
    assert sorted(path.name for path in folder.iterdir()) == sorted(NAMES)
    return found


@pytest.mark.parametrize("at", ["write_json", "write_predictions", "write_text", "_exchange"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_a_stop_at_any_write_leaves_the_old_files_or_the_new(tmp_path, monkeypatch, at, when):
    assert evaluate(tmp_path, "yes") == 0
    assert whose(tmp_path) == {1.0}
    module = files if at == "_exchange" else outputs
    usual = getattr(module, at)

    def stopped(*words, **options):
        if when == "after":
            usual(*words, **options)
        raise KeyboardInterrupt

    monkeypatch.setattr(module, at, stopped)
    assert evaluate(tmp_path, "no") == 130
    assert whose(tmp_path) == ({0.0} if (at, when) == ("_exchange", "after") else {1.0})
    monkeypatch.undo()
    assert evaluate(tmp_path, "no") == 0
    assert whose(tmp_path) == {0.0}
    assert [path for path in tmp_path.iterdir() if path.name.startswith(".out")] == []


def test_a_sheet_that_was_begun_and_other_files_stay(tmp_path):
    evaluate(tmp_path, "yes")
    sheet = tmp_path / "out" / "review.csv"
    begun = sheet.read_text(encoding="utf-8-sig").replace('"",""\n', '"right",""\n', 1)
    sheet.write_text(begun, encoding="utf-8")
    (tmp_path / "out" / "mine").mkdir()
    (tmp_path / "out" / "mine" / "notes.txt").write_text("keep")
    evaluate(tmp_path, "no")
    assert sheet.read_text(encoding="utf-8") == begun
    assert (tmp_path / "out" / "mine" / "notes.txt").read_text() == "keep"


def test_what_a_kill_left_is_removed_by_the_next_call(tmp_path):
    evaluate(tmp_path, "yes")
    left = tmp_path / ".out.4711.partial"
    left.mkdir()
    (left / "metrics.json").write_text("{}")
    evaluate(tmp_path, "no")
    assert not left.exists()


def test_the_working_folder_is_written_in_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with folder_replaced(tmp_path) as place:
        assert place == tmp_path.resolve()


def test_a_second_evaluation_into_the_folder_is_refused(tmp_path, capsys):
    (tmp_path / "out").mkdir()
    code = (
        "import sys, time; from pathlib import Path; from medgrpo.locks import held\n"
        "with held(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(60)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "out")], stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout.readline() == "held\n"
        assert evaluate(tmp_path, "yes") == 2
        assert "the evaluation into" in capsys.readouterr().err
    finally:
        process.kill()
        process.communicate()
    assert evaluate(tmp_path, "yes") == 0
    lock = RunLock(tmp_path / "out")
    lock.release()
    assert os.path.exists(tmp_path / "out" / ".lock")
