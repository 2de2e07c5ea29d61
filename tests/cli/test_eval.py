"""`medgrpo eval` and `medgrpo ask` as a user types them."""

import json
from pathlib import Path

import pytest
from PIL import Image

from medgrpo.cli.main import main
from medgrpo.data.demo import DemoSize, demo_texts, write_demo_dataset
from medgrpo.models.demo import build_demo_model

METRICS = ("closed", "open", "plane", "modality", "format")


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    folder = tmp_path_factory.mktemp("eval")
    write_demo_dataset(folder / "data", size=DemoSize(train=30, validation=4, test=24))
    build_demo_model(folder / "model", demo_texts(), seed=3)
    return folder


def run(capsys, *arguments):
    """Exit code, standard output, standard error."""
    try:
        main([str(argument) for argument in arguments])
        code = 0
    except SystemExit as stop:
        code = stop.code or 0
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def answers(path: Path, rows) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture
def perfect(demo, tmp_path):
    """A file in which every test question of the demo is answered as the reference does."""
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.data.prompts import build_target, load_template

    template = load_template("short")
    rows = PreparedDataset.open(demo / "data").rows("test")
    return answers(
        tmp_path / "perfect.jsonl",
        [{"id": row["id"], "completion": build_target({**row, "chosen": None}, template)} for row in rows],
    )


def test_ready_predictions_give_the_keys_of_the_contract(capsys, demo, perfect):
    code, out, _ = run(
        capsys, "eval", demo / "data", "--predictions", perfect, "--targets", "stage1", "--json", "--quiet"
    )
    assert code == 0
    document = json.loads(out)
    for name in METRICS:
        assert document[name]["value"] == 1, name
        assert document[name]["low"] < 1 == document[name]["high"]
        assert document[name]["n"] > 0
    assert 0 < document["closed"]["baseline"] < 1
    assert all(target["reached"] for target in document["targets"])
    assert document["reward"]["value"] == pytest.approx(1)
    matrix = document["confusion"]["plane"]
    assert all(matrix["counts"][i][j] == 0 for i in range(3) for j in range(3) if i != j)


def test_metrics_without_rows_are_null(capsys, tmp_path):
    file = answers(tmp_path / "p.jsonl", [{"question": "Is it?", "answer": "yes", "completion": "yes"}])
    code, out, err = run(capsys, "eval", "--predictions", file, "--json")
    assert code == 0
    assert json.loads(out)["plane"] == {"value": None, "low": None, "high": None, "n": 0}
    assert "too few images" in err


def test_a_reward_of_ones_own_has_an_interval_around_its_value(capsys, demo, perfect, tmp_path):
    reward = tmp_path / "mine.py"
    reward.write_text(
        "def wide(completions, **columns):\n    return [2.5 + 0.01 * (len(c) % 9) for c in completions]\n"
        "def penalty(completions, **columns):\n    return [-0.3 - 0.01 * (len(c) % 9) for c in completions]\n"
    )
    for name in ("wide", "penalty"):
        weights = f"{reward}:{name}=1"
        code, out, _ = run(
            capsys, "eval", demo / "data", "--predictions", perfect, "--weights", weights, "-o", tmp_path / name,
            "--json", "--quiet",
        )  # fmt: skip
        assert code == 0
        found = json.loads(out)["reward"]
        assert found["low"] < found["value"] < found["high"]
        assert found["high"] - found["low"] < 0.1
        page = (tmp_path / name / "report.html").read_text()
        row = page[page.index(">reward</span>") : page.index("</tr>", page.index(">reward</span>"))]
        assert "<svg" not in row  # a bar from 0 to 1 would be a lie
        row = page[page.index(">closed</span>") : page.index("</tr>", page.index(">closed</span>"))]
        assert "<svg" in row


def test_the_table_shows_figures_and_baselines(capsys, demo, perfect):
    code, out, _ = run(capsys, "eval", demo / "data", "--predictions", perfect, "--all")
    assert code == 0
    for word in ("closed", "interval", "majority", "blind", "answer_match by question_type"):
        assert word in out


def test_the_main_table_comes_last_and_fits_a_screen(capsys, demo, perfect):
    code, out, err = run(capsys, "eval", demo / "data", "--predictions", perfect)
    assert code == 0
    lines = out.rstrip().splitlines()
    begin = max(place for place, line in enumerate(lines) if "questions about" in line)
    assert len(lines) - begin <= 25
    assert "answer_match by" not in out
    assert "--all shows" in err


def test_an_accuracy_that_is_not_above_its_baseline_is_said_everywhere(capsys, demo, tmp_path):
    """Always the commonest answer: no better than the baseline by construction."""
    from medgrpo.data.prepared import PreparedDataset
    from medgrpo.evaluation.baseline import constant_completions

    dataset = PreparedDataset.open(demo / "data")
    rows = list(dataset.rows("test"))
    said = constant_completions(rows, list(dataset.rows("train")), ("answer",), "majority")
    file = tmp_path / "constant.jsonl"
    file.write_text(
        "".join(
            json.dumps({"id": row["id"], "completion": text}) + "\n"
            for row, text in zip(rows, said, strict=True)
        )
    )
    code, out, err = run(
        capsys, "eval", demo / "data", "--predictions", file, "-o", tmp_path / "out", "--json"
    )
    assert code == 0
    document = json.loads(out)
    below = {one["metric"]: one for one in document["below_baseline"]}
    assert {"closed", "open"} <= below.keys()
    assert all(one["is_below"] for one in below.values())
    assert "closed accuracy" in err
    assert "is not above its" in err
    assert "is not above its" in (tmp_path / "out" / "report.html").read_text()
    assert {"evaluated", "versions", "seed"} <= document.keys()


def test_scoring_a_file_needs_no_torch(perfect, demo):
    import subprocess
    import sys

    script = (
        "import sys; from medgrpo.cli.main import main\n"
        f"main(['eval', {str(demo / 'data')!r}, '--predictions', {str(perfect)!r}, '--quiet', '--json'])\n"
        "assert not {'torch', 'transformers', 'trl'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, capture_output=True)


def test_other_peoples_columns_are_named(capsys, tmp_path):
    file = answers(tmp_path / "p.jsonl", [{"q": "Is it?", "said": "yes", "truth": "yes"}])
    columns = "completion=said,answer=truth,question=q"
    code, out, _ = run(capsys, "eval", "--predictions", file, "--columns", columns, "--json", "--quiet")
    assert code == 0
    assert json.loads(out)["closed"]["value"] == 1


def test_a_file_without_references_says_what_to_type(capsys, tmp_path):
    file = answers(tmp_path / "p.jsonl", [{"question": "Is it?", "completion": "yes"}])
    code, _, err = run(capsys, "eval", "--predictions", file)
    assert code == 2
    assert "--references FILE --join" in err


def test_a_file_is_joined_with_its_references(capsys, tmp_path):
    file = answers(tmp_path / "p.jsonl", [{"completion": "yes"}, {"completion": "left"}])
    rows = [
        {"question": "Is it?", "answer": "yes", "image_name": "a"},
        {"question": "Where?", "answer": "right", "image_name": "b"},
    ]
    references = answers(tmp_path / "r.jsonl", rows)
    code, out, _ = run(
        capsys,
        "eval",
        "--predictions",
        file,
        "--references",
        references,
        "--join",
        "row",
        "--json",
        "--quiet",
    )
    assert code == 0
    document = json.loads(out)
    assert document["answer_match"]["value"] == 0.5
    assert document["images"] == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["eval"], "eval needs a model and a dataset"),
        (["eval", "somewhere"], "no model at somewhere"),
        (["eval", "somewhere", "nowhere"], "no dataset at nowhere"),
        (["eval", "--predictions", "none.jsonl"], "no file none.jsonl"),
        (["eval", "--references", "r.jsonl", "a", "b"], "--references belongs to --predictions"),
        (["ask", "nowhere", "a.png", "what?"], "no model at nowhere"),
    ],
)
def test_a_wrong_call_is_told_in_a_line(capsys, tmp_path, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert words in err
    assert out == ""


@pytest.mark.parametrize(
    ("option", "value", "words"),
    [
        ("--counterfactual", "blnk", "no counterfactual called 'blnk'"),
        ("--engine", "vlm", "no engine called 'vlm'"),
        ("--split", "tset", "no rows in the split 'tset'"),
        ("--targets", "stage9", "no set of targets called 'stage9'"),
        ("--prompt", "strctured", "no prompt template called 'strctured'"),
        ("--weights", "balnced", "no set of weights called 'balnced'"),
    ],
)
def test_a_wrong_option_is_refused_before_the_model_is_loaded(capsys, demo, tmp_path, option, value, words):
    code, _, err = run(capsys, "eval", demo / "model", demo / "data", "-o", tmp_path / "out", option, value)
    assert code == 2
    assert words in err
    assert not (tmp_path / "out").exists()


def test_a_model_is_measured_resumed_and_reported(capsys, demo, tmp_path):
    arguments = ["eval", demo / "model", demo / "data", "-o", tmp_path / "out", "--limit", "12", "--max-new-tokens", "6",
                 "--counterfactual", "blank,shuffle", "--samples", "2", "--json"]  # fmt: skip
    code, out, err = run(capsys, *arguments)
    assert code == 0
    assert "no medgrpo.json" in err
    first = json.loads(out)
    assert first["n"] == 12
    assert first["prompt_template"] == "short"  # the dataset's own
    assert first["engine"] == "transformers"
    assert set(first["counterfactual"]) == {"blank", "shuffle"}
    assert first["samples"]["k"] == [2, 2]
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {"generated", "metrics.json", "predictions.parquet", "report.html", "review.csv"}
    assert json.loads((tmp_path / "out/metrics.json").read_text())["closed"] == first["closed"]
    code, out, err = run(capsys, *arguments)
    again = json.loads(out)
    assert "12 of 12 rows (answering) were already answered" in err
    assert again["engine"] == "transformers"  # of the call that it took up; the model was not even loaded
    assert {name: again[name] for name in METRICS} == {name: first[name] for name in METRICS}


def test_another_dtype_or_engine_is_answered_anew_and_said(capsys, demo, tmp_path):
    from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
    from threading import Thread

    asked = []

    class Handler(BaseHTTPRequestHandler):
        def reply(self, document):
            body = json.dumps(document).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_GET(self):
            self.reply({"data": [{"id": "served"}]})

        def do_POST(self):
            asked.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.reply(
                {"choices": [{"message": {"content": "<answer>yes</answer>"}, "finish_reason": "stop"}]}
            )

        def log_message(self, *arguments):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}"
    plain = [
        "eval",
        demo / "model",
        demo / "data",
        "-o",
        tmp_path / "out",
        "--limit",
        "3",
        "--max-new-tokens",
        "3",
        "--json",
    ]
    try:
        results = {}
        for name, options in {
            "first": [],
            "dtype": ["--dtype", "bfloat16"],
            "server": ["--engine", url],
        }.items():
            code, out, err = run(capsys, *plain, *options)
            assert code == 0
            assert "already answered" not in err
            assert (f"with another {name}" in err) == (name == "dtype")
            assert ("with another dtype, engine" in err) == (name == "server")
            results[name] = json.loads(out)
    finally:
        server.shutdown()
        server.server_close()
    assert len(asked) == 3
    assert results["server"]["engine"] == "server"
    assert results["dtype"]["dtype"] == "bfloat16"
    code, _, err = run(capsys, *plain, "--engine", url)
    assert "3 of 3 rows (answering) were already answered" in err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--samples", "4"),
        ("--counterfactual", "blank"),
        ("--engine", "vllm"),
        ("--adapter", "lora"),
        ("--prompt", "short"),
        ("--dtype", "float32"),
        ("--batch-size", "4"),
        ("--max-new-tokens", "9"),
        ("--temperature", "0.7"),
        ("--review", "5"),
    ],
)
@pytest.mark.parametrize("ready", ["--predictions", "--masks"])
def test_what_ready_results_cannot_use_is_refused(capsys, demo, perfect, ready, option, value):
    code, out, err = run(
        capsys, "eval", demo / "data", ready, perfect if ready == "--predictions" else demo, option, value
    )
    assert (code, out) == (2, "")
    assert option in err
    assert "hint" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["MODEL", "DATA", "--predictions", "FILE"], "is not asked anything"),
        (["MODEL", "DATA", "--masks", "DATA"], "is not asked anything"),
        (["DATA", "--masks", "DATA", "--predictions", "FILE"], "--predictions reads completions"),
        (["DATA", "--masks", "DATA", "--judge", "http://localhost:1"], "--judge judges answers"),
        (["--predictions", "FILE", "--split", "train"], "--split chooses rows of DATA"),
        (["MODEL", "DATA", "--temperature", "0.5"], "--temperature is that of --samples"),
        (["MODEL", "DATA", "--judge-model", "x"], "--judge-model belongs to --judge"),
        (
            ["MODEL", "DATA", "--engine", "vllm", "--batch-size", "2"],
            "--batch-size is for --engine transformers",
        ),
        (
            ["MODEL", "DATA", "--engine", "http://localhost:1", "--dtype", "float16"],
            "--dtype cannot be chosen",
        ),
        (["MODEL", "DATA", "--columns", "answer=x"], "--columns belongs to --predictions"),
    ],
)
def test_options_that_do_not_go_together_are_refused(capsys, demo, perfect, arguments, words):
    places = {"MODEL": demo / "model", "DATA": demo / "data", "FILE": perfect}
    code, out, err = run(capsys, "eval", *(places.get(word, word) for word in arguments))
    assert (code, out) == (2, "")
    assert words in err


def test_every_option_is_known_to_be_for_all_or_for_some_calls():
    """A new option is ignored by no call: it is in one of the sets, or each call takes it."""
    import typer

    from medgrpo.cli import eval as command

    shared = {"model", "data", "split", "predictions", "masks", "limit", "targets", "output", "review", "import_review",
              "seed", "show_all", "as_json", "quiet", "help"}  # fmt: skip
    some = [command.OF_A_MODEL, command.OF_A_FILE, command.OF_ANSWERS]
    named = [parameter.name for parameter in typer.main.get_command(command.app).params]
    assert {name for name in named if sum(name in group for group in (*some, shared)) != 1} == set()


def test_an_option_of_its_default_value_is_refused_too_when_it_is_typed(capsys, demo, perfect):
    code, _, err = run(capsys, "eval", demo / "data", "--predictions", perfect, "--engine", "transformers")
    assert code == 2
    assert "--engine asks a model" in err


def test_plain_holds_for_a_model_too(capsys, demo, tmp_path):
    arguments = ["eval", demo / "model", demo / "data", "-o", tmp_path / "out", "--limit", "3", "--max-new-tokens", "3",
                 "--json", "--quiet"]  # fmt: skip
    assert json.loads(run(capsys, *arguments, "--plain")[1])["scored_as"] == "plain answers"


@pytest.fixture(scope="module")
def mixture(demo, tmp_path_factory):
    """A model that learnt half of one dataset and all of another, drawn by the seed 5."""
    import shutil

    from medgrpo.data.mixture import open_data

    folder = tmp_path_factory.mktemp("mixture")
    write_demo_dataset(folder / "other", seed=9, size=DemoSize(train=12, validation=4, test=6))
    text = f"{demo / 'data'}:0.5,{folder / 'other'}"
    learnt = open_data(text, seed=5)
    shutil.copytree(demo / "model", folder / "model")
    provenance = {
        "data": learnt.location,
        "data_hash": learnt.hash,
        "part_hashes": [part["hash"] for part in learnt.info["parts"]],
        "seed": 5,
    }
    (folder / "model" / "medgrpo.json").write_text(json.dumps({"provenance": provenance}))
    return folder, text, learnt


@pytest.mark.parametrize("is_named", [True, False])
def test_a_mixture_is_opened_with_the_rows_that_were_trained_on(capsys, mixture, tmp_path, is_named):
    folder, text, learnt = mixture
    data = [text] if is_named else []
    code, out, err = run(
        capsys, "eval", folder / "model", *data, "--split", "train", "-o", tmp_path / "out", "--max-new-tokens", "1",
        "--json",
    )  # fmt: skip
    assert code == 0, err
    document = json.loads(out)
    assert document["data_hash"] == learnt.hash
    assert "these rows are what the model was trained on" in document["warnings"]
    import pyarrow.parquet as pq

    ids = pq.read_table(tmp_path / "out/predictions.parquet")["id"].to_pylist()
    assert ids == [row["id"] for row in learnt.rows("train")]


def test_a_part_of_the_mixture_is_known_as_learnt_too(capsys, mixture, tmp_path):
    folder, _, _ = mixture
    arguments = ["-o", tmp_path / "out", "--limit", "2", "--max-new-tokens", "1", "--json", "--quiet"]
    for split, is_learnt in (("train", True), ("test", False)):
        code, out, _ = run(capsys, "eval", folder / "model", folder / "other", "--split", split, *arguments)
        assert code == 0
        assert ("these rows are what the model was trained on" in json.loads(out)["warnings"]) == is_learnt


def test_a_model_that_does_not_say_its_dataset_needs_one(capsys, demo):
    code, _, err = run(capsys, "eval", demo / "model")
    assert code == 2
    assert "eval model needs a dataset" in err


def test_what_was_written_is_scored_again_the_same(capsys, demo, tmp_path):
    out_folder = tmp_path / "out"
    code, out, _ = run(
        capsys,
        "eval",
        demo / "model",
        demo / "data",
        "-o",
        out_folder,
        "--limit",
        "8",
        "--max-new-tokens",
        "4",
        "--json",
        "--quiet",
    )
    assert code == 0
    again = run(
        capsys,
        "eval",
        demo / "data",
        "--predictions",
        out_folder / "predictions.parquet",
        "--json",
        "--quiet",
    )
    assert json.loads(again[1])["answer_match"] == json.loads(out)["answer_match"]


def test_a_filled_review_sheet_comes_back_as_agreement(capsys, demo, perfect, tmp_path):
    folder = tmp_path / "out"
    arguments = [
        "eval",
        demo / "data",
        "--predictions",
        perfect,
        "-o",
        folder,
        "--review",
        "6",
        "--json",
        "--quiet",
    ]
    assert run(capsys, *arguments)[0] == 0
    sheet = folder / "review.csv"
    filled = tmp_path / "filled.csv"
    filled.write_bytes(sheet.read_bytes().replace(b',"",""\r\n', b',"right",""\r\n'))
    code, out, _ = run(capsys, *arguments, "--import-review", filled)
    assert code == 0
    assert json.loads(out)["review"]["n"] == 6
    assert json.loads(out)["review"]["agreement"]["value"] == 1


def test_ask_shows_what_the_model_was_given_and_said(capsys, demo, tmp_path):
    Image.new("RGB", (56, 56), (40, 40, 40)).save(tmp_path / "a.png")
    code, out, _ = run(
        capsys,
        "ask",
        demo / "model",
        tmp_path / "a.png",
        "Is there a lesion?",
        "--max-new-tokens",
        "5",
        "--json",
        "--quiet",
    )
    assert code == 0
    document = json.loads(out)
    assert document["image_tokens"] == 4
    assert document["prompt_tokens"] > 4
    assert 1 <= document["completion_tokens"] <= 5
    assert "Is there a lesion?" in document["prompt"]
    assert set(document["tags"]) == {"think", "answer", "plane", "modality"}


def test_ask_names_a_picture_that_is_not_there(capsys, demo):
    code, _, err = run(capsys, "ask", demo / "model", "nothing.png", "What?")
    assert code == 2
    assert "no picture at nothing.png" in err
