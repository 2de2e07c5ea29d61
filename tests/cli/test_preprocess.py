"""`medgrpo preprocess` as a user calls it."""

import json
import subprocess
import sys
import time

import pytest

ROWS = [{"question": f"Is {i} even?", "answer": "yes" if i % 2 == 0 else "no"} for i in range(50)]


def medgrpo(*arguments):
    command = [sys.executable, "-m", "medgrpo.cli.main", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.fixture
def source(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / "rows.json").write_text(json.dumps(ROWS))
    return folder


def test_json_has_the_keys_of_the_contract(source, tmp_path):
    done = medgrpo("preprocess", source, tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert {
        "rows",
        "images",
        "skipped",
        "leaks",
        "image_tokens",
        "hash",
        "wall_s",
        "majority",
    } <= document.keys()
    assert sum(document["rows"].values()) == 50
    assert document["image_tokens"] == {"min": None, "median": None, "max": None}


def test_the_older_spelling_with_input_output_and_size_is_accepted(source, tmp_path):
    done = medgrpo("preprocess", "--input", source, "--output", tmp_path / "out", "--size", 224, "--quiet")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "dataset.json").is_file()


def test_the_table_is_on_stdout_and_notes_are_on_stderr(source, tmp_path):
    medgrpo("preprocess", source, tmp_path / "out")
    again = medgrpo("preprocess", source, tmp_path / "out")
    assert "up to date" in again.stderr
    assert "50 rows" in again.stdout
    assert "always giving the most frequent answer earns" in again.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--task", "vqaa"], "did you mean 'vqa'"),
        (["--on-bad-row", "ignore"], "one of skip, stop"),
        (["--size", "4"], "16 to 16384"),
        (["--split", "1,1,1"], "shares of train, validation and test that sum to 1"),
        (["--prompt", "structred"], "did you mean 'structured'"),
        (["--workers", "0"], "at least 1"),
        (["--format", "bmp"], "jpeg"),
    ],
)
def test_a_wrong_option_exits_with_2_and_says_what_would_be_right(source, tmp_path, arguments, words):
    done = medgrpo("preprocess", source, tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_source_that_is_not_there_exits_with_2(tmp_path):
    done = medgrpo("preprocess", tmp_path / "nothing", tmp_path / "out", "--json")
    assert done.returncode == 2
    assert "no data at" in json.loads(done.stdout)["error"]["problem"]


def test_a_bad_row_exits_with_1_and_names_it(source, tmp_path):
    (source / "rows.json").write_text(json.dumps([*ROWS, {"question": "x"}]))
    done = medgrpo("preprocess", source, tmp_path / "out")
    assert done.returncode == 1
    assert "rows.json, row 51, field 'answer'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_help_answers_at_once_and_ends_with_an_example():
    times = []
    for _ in range(3):
        started = time.perf_counter()
        done = medgrpo("preprocess", "--help")
        times.append(time.perf_counter() - started)
    assert "medgrpo preprocess runs/latest/demo/data demo-28 --size 28" in done.stdout
    assert min(times) < 0.6  # 0.3 s on an idle machine


def test_no_torch_is_imported(source, tmp_path):
    script = (
        "import sys; from medgrpo.cli.main import main\n"
        f"main(['preprocess', {str(source)!r}, {str(tmp_path / 'out')!r}, '--quiet'])\n"
    )
    probe = f"import sys\ntry:\n exec({script!r})\nexcept SystemExit: pass\nprint('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"
