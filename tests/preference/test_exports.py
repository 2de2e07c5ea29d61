"""Pairs in the forms of other trainers, each opened as that library opens it; question and picture are kept."""

import json
import math

import pytest

from medgrpo.cli.make_dpo import app
from medgrpo.data.demo import DemoSize, demo_texts, write_demo_dataset
from medgrpo.data.prepared import PreparedDataset
from medgrpo.models.demo import build_demo_model


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_demo_dataset(tmp_path_factory.mktemp("set") / "d", seed=1, size=DemoSize(6, 2, 2))


@pytest.fixture(scope="module")
def predictions(dataset, tmp_path_factory):
    """Two answers to each training row: the reference in the right form, and a wrong one."""
    file = tmp_path_factory.mktemp("answers") / "both.jsonl"
    good = "<think>seen</think><answer>{answer}</answer><plane>{plane}</plane><modality>{modality}</modality>"
    lines = [
        {"id": row["id"], "completion": good.format(**row), "samples": ["<answer>nothing</answer>"]}
        for row in dataset.rows("train")
    ]
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def make(dataset, predictions, output, *options):
    from typer.testing import CliRunner

    words = [
        str(predictions),
        "--from",
        "models",
        "--data",
        str(dataset.path),
        "--output",
        str(output),
        "--json",
        *options,
    ]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output + str(done.exception)
    return json.loads(done.stdout)


@pytest.mark.filterwarnings("ignore")
def test_trls_own_trainer_starts_at_ln_2_and_sees_question_and_picture(dataset, predictions, tmp_path):
    """Stock TRL: nothing of ours between the file and the loss. An empty prompt would start at ln 2 too, hence the rest."""
    from datasets import load_dataset
    from transformers import AutoModelForImageTextToText, AutoProcessor
    from trl import DPOConfig, DPOTrainer

    made = make(dataset, predictions, tmp_path / "trl", "--format", "trl")
    rows = load_dataset(
        "parquet", data_files=str(tmp_path / "trl" / "train.parquet"), split="train", cache_dir=str(tmp_path)
    )
    assert len(rows) == made["pairs"]
    questions = {row["question"] for row in dataset.rows("train")}
    assert all(any(question in row["prompt"][-1]["content"] for question in questions) for row in rows)
    assert all(len(row["images"]) == 1 and row["images"][0].size[0] > 27 for row in rows)

    model_folder = build_demo_model(tmp_path / "model", demo_texts(), seed=3)
    processor = AutoProcessor.from_pretrained(model_folder)
    trainer = DPOTrainer(
        model=AutoModelForImageTextToText.from_pretrained(model_folder),
        args=DPOConfig(
            output_dir=str(tmp_path / "out"), per_device_train_batch_size=2, max_steps=1, logging_steps=1,
            report_to=[], use_cpu=True, bf16=False, save_strategy="no", max_length=None, disable_tqdm=True,
            gradient_checkpointing=False,
        ),
        train_dataset=rows,
        processing_class=processor,
    )  # fmt: skip
    batch = next(iter(trainer.get_train_dataloader()))
    seen = processor.tokenizer.batch_decode(batch["input_ids"])
    assert all(any(question in text for question in questions) for text in seen)
    assert batch["pixel_values"].shape[0] > 0
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] == pytest.approx(math.log(2), abs=1e-4)


def test_llamafactorys_form_names_its_columns_and_every_picture_is_there(dataset, predictions, tmp_path):
    made = make(dataset, predictions, tmp_path / "lf", "--format", "llamafactory")
    entry = json.loads((tmp_path / "lf" / "dataset_info.json").read_text())["medgrpo_pairs"]
    assert entry["ranking"] is True
    assert entry["formatting"] == "sharegpt"
    rows = json.loads((tmp_path / "lf" / entry["file_name"]).read_text())
    assert len(rows) == made["pairs"]
    for row in rows:
        assert [turn["from"] for turn in row[entry["columns"]["messages"]]] == ["human"]
        assert row["conversations"][0]["value"].count("<image>") == len(row["images"]) == 1
        assert row["chosen"]["from"] == row["rejected"]["from"] == "gpt"
        assert (tmp_path / "lf" / row["images"][0]).is_file()


@pytest.mark.filterwarnings("ignore")
def test_llamafactorys_own_loader_keeps_question_picture_and_both_answers(
    dataset, predictions, tmp_path, monkeypatch
):
    monkeypatch.setenv("DISABLE_VERSION_CHECK", "1")  # it names older versions of Transformers than ours
    pytest.importorskip("llamafactory")
    from types import SimpleNamespace

    from llamafactory.data.loader import _load_single_dataset
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams import DataArguments

    made = make(dataset, predictions, tmp_path / "lf", "--format", "llamafactory")
    folder = str(tmp_path / "lf")
    arguments = DataArguments(
        dataset_dir=folder, dataset="medgrpo_pairs", template="qwen2_vl", media_dir=folder
    )
    rows = _load_single_dataset(
        get_dataset_list(["medgrpo_pairs"], folder)[0],
        SimpleNamespace(cache_dir=str(tmp_path / "cache"), hf_hub_token=None),
        arguments,
        SimpleNamespace(local_process_index=0, dataloader_num_workers=0, should_log=False),
    )
    assert len(rows) == made["pairs"]
    questions = {row["question"] for row in dataset.rows("train")}
    for row in rows:
        assert any(question in row["_prompt"][0]["content"] for question in questions)
        assert [answer["role"] for answer in row["_response"]] == ["assistant", "assistant"]
        assert row["_response"][1]["content"] == "<answer>nothing</answer>"
        assert len(row["_images"]) == 1
        assert (tmp_path / "lf" / row["_images"][0]).is_file()


def test_swifts_form_has_the_answer_last_and_the_rejected_one_beside_it(dataset, predictions, tmp_path):
    made = make(dataset, predictions, tmp_path / "swift", "--format", "swift")
    rows = [json.loads(line) for line in (tmp_path / "swift" / "pairs.jsonl").read_text().splitlines()]
    assert len(rows) == made["pairs"]
    for row in rows:
        assert row["messages"][-1]["role"] == "assistant"
        assert row["messages"][-1]["content"] != row["rejected_response"] == "<answer>nothing</answer>"
        assert row["messages"][-2]["content"].count("<image>") == len(row["images"]) == 1


@pytest.mark.filterwarnings("ignore")
def test_swifts_own_loader_keeps_question_picture_and_both_answers(
    dataset, predictions, tmp_path, monkeypatch
):
    load_dataset = pytest.importorskip("swift.dataset").load_dataset
    made = make(dataset, predictions, tmp_path / "swift", "--format", "swift")
    monkeypatch.chdir(tmp_path / "swift")
    rows, _ = load_dataset([str(tmp_path / "swift" / "pairs.jsonl")], num_proc=1, strict=True)
    assert len(rows) == made["pairs"]
    questions = {row["question"] for row in dataset.rows("train")}
    for row in rows:
        asked = row["messages"][-2]["content"]
        assert asked.startswith("<image>")
        assert any(question in asked for question in questions)
        assert row["rejected_response"] == "<answer>nothing</answer>"
        assert [(tmp_path / "swift" / image["path"]).is_file() for image in row["images"]] == [True]


def test_the_plain_form_keeps_the_picture_of_the_question(dataset, predictions, tmp_path):
    make(dataset, predictions, tmp_path / "plain", "--format", "jsonl")
    by_question = {(row["question"], row["answer"]): set() for row in dataset.rows("train")}
    for row in dataset.rows("train"):
        by_question[row["question"], row["answer"]].add(dataset.image_path(row["images"][0]).read_bytes())
    for line in (tmp_path / "plain" / "pairs.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert (tmp_path / "plain" / row["images"][0]).read_bytes() in by_question[
            row["question"], row["answer"]
        ]
    assert not list(tmp_path.glob(".plain*"))


def test_the_card_adds_up_and_warns_of_length(dataset, predictions, tmp_path):
    made = make(dataset, predictions, tmp_path / "pairs")
    card = json.loads((tmp_path / "pairs" / "card.json").read_text())
    rows = dataset.count("train")
    assert sum(card["completions"].values()) == 2 * rows
    assert sum(card["prompts"].values()) == rows
    assert sum(card["question_types"].values()) == card["pairs"] == made["pairs"]
    page = (tmp_path / "pairs" / "card.html").read_text()
    assert "DPO may learn length" in page
    assert "&lt;answer&gt;nothing" in page
    assert PreparedDataset.open(tmp_path / "pairs").count("train") == made["pairs"]


@pytest.mark.filterwarnings("ignore")
def test_best_completions_are_learned_word_for_word(dataset, predictions, tmp_path):
    from medgrpo.data.prompts import build_target, load_template

    made = make(dataset, predictions, tmp_path / "best", "--kind", "sft", "--threshold", "0.9")
    best = PreparedDataset.open(tmp_path / "best")
    assert best.count("train") == made["best"] == dataset.count("train")
    for row in best.rows("train"):
        assert row["rejected"] is None
        assert build_target(row, load_template("structured")) == row["chosen"]
        assert row["answer"] in row["chosen"]
    make(dataset, predictions, tmp_path / "swift", "--kind", "sft", "--format", "swift")
    line = json.loads((tmp_path / "swift" / "pairs.jsonl").read_text().splitlines()[0])
    assert "rejected_response" not in line
