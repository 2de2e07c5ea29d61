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


def test_pictures_elsewhere_are_named_and_the_message_says_how(tmp_path):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    (tmp_path / "rows").mkdir()
    Image.new("L", (40, 30), 90).save(tmp_path / "pictures" / "a.png")
    (tmp_path / "rows" / "q.csv").write_text("image,question,answer\n" + "a.png,Is it CT?,yes\n" * 8)
    refused = medgrpo("preprocess", tmp_path / "rows" / "q.csv", tmp_path / "out")
    assert refused.returncode == 1
    assert "say where the pictures are: --images FOLDER" in refused.stderr
    nowhere = medgrpo("preprocess", tmp_path / "rows", tmp_path / "out", "--images", tmp_path / "none")
    assert "no folder of pictures at" in nowhere.stderr
    done = medgrpo(
        "preprocess", tmp_path / "rows" / "q.csv", tmp_path / "out", "--images", tmp_path / "pictures"
    )
    assert done.returncode == 0, done.stderr
    assert "8 rows" in done.stdout
    assert "1 images" in done.stdout


def test_a_missing_output_is_answered_with_the_line_to_type(source):
    said = medgrpo("preprocess", source).stderr
    assert f"hint: medgrpo preprocess {source} source-prepared" in said
    inside = medgrpo("preprocess", source, source / "out").stderr
    assert f"hint: medgrpo preprocess {source} source-prepared" in inside
