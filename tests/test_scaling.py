"""Twice the rows, about twice the work: counted in calls, which do not depend on how busy the machine is."""

import cProfile
import json
import pstats
import shutil

import pytest

from medgrpo.cli.main import main
from medgrpo.data.demo import DemoSize, demo_texts, write_demo_dataset
from medgrpo.data.prepared import PreparedDataset
from medgrpo.models.demo import DemoModelConfig, build_demo_model

SIZES = (100, 200, 400)


def calls_of(*words):
    """Calls of Python functions, and of C functions from Python, that a command makes."""
    profile = cProfile.Profile()
    with pytest.raises(SystemExit) as ended:
        profile.runcall(main, [str(word) for word in words])
    assert not ended.value.code, words
    return pstats.Stats(profile).total_calls


def growth(run):
    """How much more the second doubling costs than the first; 2 for what is linear, 4 for what is quadratic."""
    run(SIZES[0])  # imports
    first, second, third = (run(size) for size in SIZES)
    return (third - second) / max(1, second - first)


def said(place, count):
    file = place / f"said-{count}.jsonl"
    rows = [
        {
            "id": str(i),
            "question": f"What is shown in picture {i % 37}?",
            "answer": ("yes", "no", "left lung", "axial", "CT")[i % 5],
            "completion": f"<think>x</think><answer>{('yes', 'mass', 'left lung')[i % 3]}</answer>",
            "image_id": f"picture{i // 3}",
        }
        for i in range(count)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def log(place, count):
    file = place / f"log-{count}.jsonl"
    entries = [{"step": step, "loss": 1 / step, "reward": 0.5, "kl": 0.01} for step in range(1, count + 1)]
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    return file


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


COMMANDS = {
    "eval": lambda place, n: ("eval", "--predictions", said(place, n)),
    "eval with samples": lambda place, n: (
        "eval",
        "--predictions",
        said(place, n),
        "--columns",
        "id=image_id",
        "--output",
        place / f"out-{n}",
    ),
    "score": lambda place, n: ("score", said(place, n), "--explain", "--output", place / f"{n}.csv"),
    "score by key": lambda place, n: (
        "score",
        said(place, n),
        "--references",
        said(place, n),
        "--join",
        "id=id",
    ),
    "health": lambda place, n: ("health", log(place, n)),
    "compare": lambda place, n: ("compare", log(place, n), "--output", place / f"compare-{n}.html"),
    "preprocess": lambda place, n: (
        "preprocess",
        said(place, n),
        place / f"data-{n}",
        "--missing-image",
        "text",
    ),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_twice_the_input_is_at_most_about_twice_the_work(place, name, capsys):
    def run(count):
        words = COMMANDS[name](place, count)
        for made in (f"out-{count}", f"data-{count}"):
            if (place / made).exists():
                shutil.rmtree(place / made)
        return calls_of(*words, "--quiet")

    assert growth(run) <= 2.3


def test_pairs_grow_with_their_answers(place, capsys):
    def run(count):
        folder = place / f"demo-{count}"
        if not folder.exists():
            write_demo_dataset(folder, size=DemoSize(train=count // 4, validation=1, test=1))
        rows = list(PreparedDataset.open(folder).rows("train"))
        file = place / f"answers-{count}.jsonl"
        lines = [
            {"id": row["id"], "completion": f"<answer>{text}</answer>"}
            for row in rows
            for text in (row["answer"], "?")
        ]
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
        review = place / f"review-{count}.csv"
        review.unlink(missing_ok=True)
        words = ("make-dpo", file, "--from", "models", "--data", folder, "--export-review", review)
        return calls_of(*words, "--quiet")

    assert growth(run) <= 2.3


ON_DATASETS = {
    "train --dry-run": lambda data, model: ("train", "--data", data, "--model", model, "--dry-run"),
    "score --audit": lambda data, model: ("score", data, "--audit"),
}


@pytest.fixture(scope="module")
def sets(tmp_path_factory):
    """The demo's model, and a dataset of each size."""
    folder = tmp_path_factory.mktemp("sets")
    build_demo_model(folder / "model", demo_texts(), seed=3)
    for size in SIZES:
        write_demo_dataset(folder / str(size), size=DemoSize(train=size // 2, validation=2, test=2))
    return folder


@pytest.mark.parametrize("name", ON_DATASETS)
def test_what_surrounds_training_grows_with_its_rows(sets, place, name, capsys):
    assert (
        growth(lambda size: calls_of(*ON_DATASETS[name](sets / str(size), sets / "model"), "--quiet")) <= 2.3
    )


def test_an_estimate_does_not_read_every_row(sets, place, capsys):
    def run(size):
        return calls_of("estimate-time", "--data", sets / str(size), "--model", sets / "model", "--quiet")

    run(SIZES[0])  # imports
    assert run(SIZES[-1]) <= 1.1 * run(SIZES[0])


def test_a_question_of_twice_the_words_is_about_twice_the_work(sets, place, capsys):
    def run(size):
        question = "Is there a lesion? " * (size // 2)
        return calls_of("ask", sets / "model", "-", question, "--max-new-tokens", "2", "--quiet")

    run(SIZES[0])  # imports
    first, second, third = (run(size) for size in SIZES)
    # Of the whole call: what grows with the words is too little of it for `growth`, which looks at differences.
    assert second <= 2.3 * first
    assert third <= 2.3 * second


def test_a_question_longer_than_the_model_reads_is_refused(sets, place, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["ask", str(sets / "model"), "-", "Is there a lesion? " * 2000, "--quiet"])
    assert ended.value.code == 1
    assert "and the model was made for 2,048" in capsys.readouterr().err


def test_a_merge_grows_with_the_layers(place, capsys):
    from tests.models.adapters import lora, make_adapter

    def run(size):
        base, layers = place / f"base-{size}", size // 50
        if not base.exists():
            build_demo_model(base, demo_texts(), seed=3, config=DemoModelConfig(num_layers=layers))
            make_adapter(base, place / f"adapter-{size}", lora(), scale=0.1)
        shutil.rmtree(place / "merged", ignore_errors=True)
        words = ("merge-lora", place / f"adapter-{size}", "--output", place / "merged", "--verify", "0")
        return calls_of(*words, "--quiet")

    assert growth(run) <= 2.3
