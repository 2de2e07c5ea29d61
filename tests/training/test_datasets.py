"""Rows are read as they are asked for, tokenised as TRL would, and varied by seed, epoch and row alone."""

import json
import subprocess
import sys

import numpy as np
import pytest

from medgrpo.data.augment import NAMED
from medgrpo.data.prepared import PreparedDataset, PreparedWriter
from medgrpo.data.prompts import load_template
from medgrpo.data.schema import new_row
from medgrpo.files import read_json
from medgrpo.records import json_objects
from medgrpo.training.before.datasets import (
    ChosenRows,
    RowSource,
    Variation,
    dpo_dataset,
    drop_long,
    grpo_dataset,
    prompt_lengths,
    sft_dataset,
)
from tests.training.conftest import StopsAt, losses
from tests.training.test_resume import run
from tests.training.test_train import tiny_text_model


def text_row(number, **fields):
    return new_row(
        id=str(number),
        question=f"有病灶吗？ {number} " + "?" * (number % 7),
        answer="有" if number % 2 else "没有",
        language="zh",
        source="made",
        source_file="none",
        source_row=number,
        **fields,
    )


@pytest.fixture(scope="module")
def text_model(tmp_path_factory):
    return tiny_text_model(tmp_path_factory.mktemp("text-model"))


@pytest.fixture(scope="module")
def tokenizer(text_model):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(text_model)


def text_source(rows):
    return RowSource(rows, None, load_template("structured"), is_vision=False)


# ---------------------------------------------------------------------------------------------- streaming


def test_chosen_rows_hold_numbers_and_read_the_rest():
    rows = ChosenRows(["a", "b", "c", "d"], [3, 0, 2])
    assert list(rows) == ["d", "a", "c"]
    assert list(rows[1:]) == ["a", "c"]
    assert rows[-1] == "c"
    assert list(ChosenRows.first("abc", 2)) == ["a", "b"]
    assert len(ChosenRows.first("abc", None)) == len(ChosenRows.first("abc", 9)) == 3


def test_rows_with_long_prompts_are_left_out_in_blocks(tokenizer):
    source = text_source([text_row(number) for number in range(600)])
    lengths = list(prompt_lengths(source, tokenizer))
    told = []
    limit = sorted(lengths)[300]
    kept, dropped, longest = drop_long(source, tokenizer, limit, told.append)
    assert [row["id"] for row in kept] == [str(n) for n, length in enumerate(lengths) if length <= limit]
    assert dropped == 600 - len(kept) > 0
    assert kept[longest]["id"] == str(lengths.index(max(length for length in lengths if length <= limit)))
    assert told == [256, 512]


def test_answers_that_are_learned_count_with_their_prompts(tokenizer):
    rows = [text_row(n, chosen=f"<answer>{'很' * 40 * n}</answer>", rejected="没有") for n in range(4)]
    source = text_source(rows)
    examples = sft_dataset(source, tokenizer)
    whole = list(prompt_lengths(source, tokenizer, method="sft"))
    assert all(len(example["input_ids"]) <= length for example, length in zip(examples, whole, strict=True))
    assert whole == list(prompt_lengths(source, tokenizer, method="dpo"))
    assert max(prompt_lengths(source, tokenizer)) < whole[1]
    room = whole[2]
    for method, fitting in (("grpo", 4), ("sft", 3), ("dpo", 3)):
        kept, dropped, _ = drop_long(source, tokenizer, room, method=method)
        assert (len(kept), dropped) == (fitting, 4 - fitting)
    swapped = text_source([{**row, "chosen": row["rejected"], "rejected": row["chosen"]} for row in rows])
    assert len(drop_long(swapped, tokenizer, room, method="dpo")[0]) == 3


@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_a_text_row_is_tokenised_as_trl_would_in_advance(text_model, tokenizer, tmp_path, method):
    from datasets import Dataset
    from transformers import AutoModelForCausalLM
    from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer

    rows = [text_row(n, chosen=f"<answer>{n}</answer>", rejected="没有") for n in range(5)]
    source = text_source(rows)
    texts = RowSource(rows, None, source.template, is_vision=True)  # examples as chat messages
    build, config, trainer, columns = {
        "sft": (sft_dataset, SFTConfig, SFTTrainer, ("input_ids", "labels")),
        "dpo": (dpo_dataset, DPOConfig, DPOTrainer, ("prompt_ids", "chosen_ids", "rejected_ids")),
    }[method]
    messages = [
        {key: _plain(value) for key, value in build(texts, tokenizer)[n].items() if key != "images"}
        for n in range(5)
    ]
    stock = trainer(
        model=AutoModelForCausalLM.from_pretrained(text_model),
        args=config(output_dir=str(tmp_path), report_to="none", max_length=None, bf16=False, use_cpu=True),
        train_dataset=Dataset.from_list(messages),
        processing_class=tokenizer,
    ).train_dataset
    ours = build(source, tokenizer)
    for number in range(5):
        for column in columns:
            assert ours[number][column] == stock[number][column]


def _plain(messages):
    """Chat messages whose text parts are joined to strings."""
    return [
        {
            **m,
            "content": m["content"]
            if isinstance(m["content"], str)
            else "".join(p["text"] for p in m["content"]),
        }
        for m in messages
    ]


@pytest.fixture(scope="module")
def many_rows(tmp_path_factory):
    """A function: number of rows -> a prepared text dataset with that many, written column by column."""

    def write(count):
        import pyarrow as pa
        import pyarrow.parquet as pq

        from medgrpo.data.schema import arrow_schema

        folder = tmp_path_factory.mktemp("many") / "data"
        with PreparedWriter(folder) as writer:
            writer.write("train", [text_row(0)])
            block = pa.Table.from_pylist([text_row(n) for n in range(1000)], schema=arrow_schema())
            with pq.ParquetWriter(writer.folder / "train.parquet", arrow_schema()) as file:
                for start in range(0, count, 1000):
                    numbers = range(start, start + 1000)
                    # Every row has a text of its own, 600 characters, so that holding them would show.
                    texts = pa.array([f"问题 {n} ".ljust(600, "x") for n in numbers])
                    ids = pa.array([str(n) for n in numbers])
                    named = {"id": ids, "question": texts}
                    columns = [named.get(name, block.column(name)) for name in block.column_names]
                    file.write_table(pa.table(columns, schema=arrow_schema()), row_group_size=256)
            writer._counts["train"] = count
            writer.finish({"name": "many", "task": "text", "hash": "many"})
        return folder

    return write


MEASURE = """
import json, re, sys
from medgrpo.data.mixture import open_data
from medgrpo.data.prompts import load_template
from medgrpo.training.before.datasets import ChosenRows, RowSource, drop_long, sft_dataset
from medgrpo.training.trainers.sampler import EpochOrder
from transformers import AutoTokenizer
folder, model = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(model)
def work(rows, blocks):
    source = RowSource(rows, None, load_template("short"), is_vision=False)
    kept, _, _ = drop_long(source.with_rows(rows[:blocks]), tokenizer, 10_000)
    dataset = sft_dataset(source, tokenizer)
    order = EpochOrder(len(rows), seed=0, chunk=8)
    for count, number in enumerate(order):
        if count == 100:
            break
        assert len(dataset[number]["input_ids"]) > 100
def peak():
    # Not ru_maxrss, which begins with what the process that started this one had.
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) / 1024
data = open_data(folder)
work(ChosenRows.first(data.view("train"), 3000), 1000)  # everything is imported and warm
open("/proc/self/clear_refs", "w").write("5")  # the peak begins anew here
before = peak()
work(ChosenRows.first(data.view("train"), None), 20_000)
for row in data.view("train"): pass
print(json.dumps({"rows": data.count("train"), "grown_mib": peak() - before}))
"""


@pytest.mark.slow
def test_two_hundred_thousand_rows_take_no_more_memory_than_their_numbers(many_rows, text_model):
    # Measured: 20 MiB; with the rows held in a list 525.
    command = [sys.executable, "-c", MEASURE, str(many_rows(200_000)), str(text_model)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    measured = json.loads(done.stdout)
    assert measured["rows"] == 200_000
    assert measured["grown_mib"] > 0
    assert measured["grown_mib"] < 80


def test_a_run_over_twenty_thousand_rows(many_rows, text_model, tiny_config, tmp_path):
    config = tiny_config(
        f"data.path={many_rows(20_000)}",
        "data.rows=20000",
        f"model.path={text_model}",
        "model.context_length=2048",
        "data.prompt_template=short",
        "stages.sft.enabled=false",
        "training.method=sft",
        "tuning.method=full",
        "training.prompts_per_step=4",
        "training.per_device_train_batch_size=4",
        "training.max_steps=3",
    )
    result = run(config, tmp_path / "run")
    assert [step for step, _ in losses(tmp_path / "run")] == [1, 2, 3]
    assert result.status == "finished"


def test_dpo_trains_a_text_model_on_pairs_and_as_trl_does_with_prompts_computed_once(
    text_model, tiny_config, tmp_path
):
    with PreparedWriter(tmp_path / "pairs") as writer:
        writer.write("train", [text_row(n, chosen="<answer>有</answer>", rejected="没有") for n in range(8)])
        writer.finish({"name": "pairs", "task": "text", "hash": "pairs"})
    logs = {}
    for mode in ("auto", "off"):
        config = tiny_config(
            f"data.path={tmp_path / 'pairs'}",
            f"model.path={text_model}",
            "model.context_length=1024",
            "training.method=dpo",
            "stages.sft.enabled=false",
            "tuning.method=full",
            "training.max_steps=6",
            "training.learning_rate=1e-2",
            "training.warmup_ratio=0",
            f"engine.shared_prompt={mode}",
        )
        found = run(config, tmp_path / mode)
        logs[mode] = json_objects(found.log)
        facts = read_json(found.run / "training_info.json")["engine"]
        assert facts["shared_prompt"] is (mode == "auto")
    assert logs["auto"][0]["loss"] == pytest.approx(0.693, abs=0.01)  # log 2: both answers equally likely
    assert logs["auto"][-1]["rewards/margins"] > 0.1
    for key in ("loss", "grad_norm", "rewards/margins", "logps/chosen", "logps/rejected", "num_tokens"):
        both = [[entry[key] for entry in log] for log in logs.values()]
        assert both[0] == pytest.approx(both[1], rel=1e-3, abs=1e-4), key


# ----------------------------------------------------------------------------------------------- mixtures


@pytest.fixture
def mixture(dataset, tmp_path):
    """`--data` of half of the demo set with all of a text set, which a second folder can take the place of."""
    for name, word in (("texts", "有"), ("others", "无")):
        with PreparedWriter(tmp_path / name) as writer:
            writer.write("train", [text_row(n, context=word) for n in range(30)])
            writer.finish({"name": name, "task": "text", "hash": name})
    return f"{dataset}:0.5,{tmp_path / 'texts'}"


def test_a_run_over_a_mixture_resumes_and_refuses_other_data(mixture, tiny_config, tmp_path):
    from medgrpo.data.mixture import open_data
    from medgrpo.errors import MedgrpoError
    from medgrpo.places import found_place
    from medgrpo.runs.store import read_completions

    config = tiny_config(
        f'data.path="{mixture}"',
        "data.rows=20",
        "stages.sft.enabled=false",
        "training.max_steps=4",
        "run.seed=3",
    )
    run(config, tmp_path / "whole")
    run(config, tmp_path / "cut", reporter=StopsAt("grpo", 2))
    (tmp_path / "texts").rename(tmp_path / "kept")
    (tmp_path / "others").rename(tmp_path / "texts")
    with pytest.raises(MedgrpoError, match="the data changed since the run began"):
        run(config, tmp_path / "cut", resume=True)
    (tmp_path / "texts").rename(tmp_path / "others")
    (tmp_path / "kept").rename(tmp_path / "texts")
    run(config, tmp_path / "cut", resume=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    stored = read_completions(tmp_path / "whole").to_pylist()
    assert {len(row["images"]) for row in stored} == {0, 1}  # rows of both
    recorded = read_json(tmp_path / "whole" / "environment.json")
    named = found_place(recorded["data"], tmp_path / "whole")
    again = open_data(named, seed=3)
    assert again.hash == recorded["data_hash"] != open_data(named).hash
    assert {row["prompt_id"] for row in stored} <= {row["id"] for row in again.rows("train")}
    assert [part["name"] for part in recorded["data_parts"]] == ["demo", "texts"]


# ----------------------------------------------------------------------------------------------- pictures


def picture_rows(dataset, count=4, **fields):
    source = PreparedDataset.open(dataset)
    return source, [{**row, **fields} for row in source.rows("train", count)]


def varied_source(dataset, name, *, epoch=0, seed=0, **fields):
    opened, rows = picture_rows(dataset, chosen=None, **fields)
    variation = None if NAMED[name] is None else Variation(NAMED[name], seed, epoch)
    return RowSource(rows, opened.path, load_template("short"), is_vision=True, variation=variation)


def shown(source, *numbers):
    examples = grpo_dataset(source)[list(numbers)]
    return [np.asarray(images[0]) for images in examples["images"]], examples


def test_all_completions_of_a_group_see_one_picture_and_each_epoch_another(dataset):
    source = varied_source(dataset, "light")
    (first, again, other), _ = shown(source, 0, 0, 1)
    assert (first == again).all()
    assert first.shape == other.shape
    (repeated,), _ = shown(varied_source(dataset, "light"), 0)
    assert (first == repeated).all()
    source.variation.epoch = 1
    (next_epoch,), _ = shown(source, 0)
    assert (first != next_epoch).any()
    (back,), _ = shown(varied_source(dataset, "light", epoch=0), 0)
    assert (first == back).all()
    (elsewhere,), _ = shown(varied_source(dataset, "light", seed=1), 0)
    assert (first != elsewhere).any()


@pytest.mark.parametrize(
    ("question", "answer", "swapped"),
    [
        ("Is there a lesion on the left?", "no", ("Is there a lesion on the right?", "no")),
        ("左边有病灶吗？", "有", ("右边有病灶吗？", "有")),
        ("哪一边有病灶？", "左边", ("哪一边有病灶？", "右边")),
    ],
)
def test_where_sides_are_swapped_prompt_reference_and_reward_columns_agree(
    dataset, question, answer, swapped
):
    said = {"question": question, "answer": answer, "answers": [answer], "caption": None}
    flipped = kept = 0
    for epoch in range(30):
        source = varied_source(dataset, "swap", epoch=epoch, count=1, **said)
        _, examples = shown(source, 0)
        row = examples["row"][0]
        prompt = json.dumps(examples["prompt"][0], ensure_ascii=False)
        completion = sft_dataset(source, None)[0]["completion"][0]["content"]
        if (row["question"], row["answer"]) == swapped:
            flipped += 1
            assert swapped[0] in prompt
            assert row["answers"] == [swapped[1]]
        else:
            kept += 1
            assert (row["question"], row["answer"]) == (question, answer)
        assert row["question"] in prompt
        assert f"<answer>{row['answer']}</answer>" in completion
    assert min(flipped, kept) > 5


@pytest.mark.parametrize("question", ["Is there a lesion on the left?", "左边有病灶吗？", "右侧有病灶吗？"])
def test_rows_with_a_side_word_are_not_mirrored_by_flip(dataset, question):
    said = {"question": question, "answer": "no", "answers": ["no"], "caption": None}
    for epoch in range(30):
        (picture,), examples = shown(varied_source(dataset, "flip", epoch=epoch, count=1, **said), 0)
        (plain,), _ = shown(varied_source(dataset, "none", count=1, **said), 0)
        assert examples["row"][0]["question"] == question
        assert likeness(picture, plain) > likeness(picture[:, ::-1], plain)


def likeness(one, other):
    return np.corrcoef(one.ravel().astype(float), other.ravel().astype(float))[0, 1]


def test_rows_with_boxes_keep_them_where_they_are(dataset):
    boxes = '[{"box": [1, 2, 3, 4], "label": "x"}]'
    for epoch in range(10):
        (picture,), examples = shown(varied_source(dataset, "swap", epoch=epoch, count=1, boxes=boxes), 0)
        (plain,), _ = shown(varied_source(dataset, "none", count=1, boxes=boxes), 0)
        assert examples["row"][0]["boxes"] == boxes
        assert likeness(picture, plain) > 0.98  # brightness and contrast alone


@pytest.mark.parametrize("stage", ["grpo", "sft"])
def test_a_resumed_run_shows_the_same_varied_pictures(tiny_config, tmp_path, stage):
    config = tiny_config("data.augment=swap", "training.max_steps=5")
    run(config, tmp_path / "whole")
    run(config, tmp_path / "cut", reporter=StopsAt(stage, 2))
    run(config, tmp_path / "cut", resume=True)
    assert losses(tmp_path / "cut") == losses(tmp_path / "whole")
    run(tiny_config("training.max_steps=1"), tmp_path / "plain")
    assert losses(tmp_path / "plain")[0] != losses(tmp_path / "whole")[0]
