"""What is longer than the model reads is said before a step: how many rows, the longest by how much, what to type."""

import json
import re
import shutil

import pytest

from medgrpo.cli.main import main
from medgrpo.config.presets import resolve_run
from medgrpo.data.demo import DemoSize, demo_texts, write_demo_dataset
from medgrpo.data.prepared import PreparedDataset, PreparedWriter
from medgrpo.data.prompts import TEMPLATES
from medgrpo.data.too_long import Reader, count_too_long
from medgrpo.errors import MedgrpoError
from medgrpo.estimate.room import rows_too_long
from medgrpo.models.context import context_of_folder
from medgrpo.models.demo import build_demo_model

TEMPLATE = TEMPLATES["structured"]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_demo_dataset(tmp_path_factory.mktemp("data") / "demo", size=DemoSize(12, 4, 4))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_demo_model(tmp_path_factory.mktemp("models") / "demo", demo_texts(), seed=3)


def with_long_row(data, folder, words):
    """The dataset with one question that has so many words more."""
    with PreparedWriter(folder) as writer:
        for split in data.splits:
            rows = list(data.rows(split))
            if split == "train":
                rows[2] = {**rows[2], "question": rows[2]["question"] + " and" * words}
            writer.write(split, rows)
        shutil.copytree(data.path / "images", writer.folder / "images", dirs_exist_ok=True)
        writer.finish(data.info)
    return PreparedDataset.open(folder)


def reader(model, **settings):
    return Reader.of_folder(model, **{"limit": 1, "completion": 16, **settings})


def test_the_count_is_that_of_training(data, model):
    from medgrpo.models.loading import load_processor
    from medgrpo.training.before.datasets import RowSource, prompt_lengths

    for pixels in (None, 56 * 56, 112 * 112):
        processor = load_processor(str(model), is_vision=True, max_pixels=pixels)
        rows = list(data.rows("train"))
        lengths = list(prompt_lengths(RowSource(rows, data.path, TEMPLATE, True), processor))
        found = count_too_long(rows, data.path, TEMPLATE, reader(model, max_pixels=pixels))
        assert (found.prompt, found.completion) == (max(lengths), 16)
        assert found.longest_id == rows[lengths.index(max(lengths))]["id"]
        for limit in (min(lengths) + 16, max(lengths) + 15, max(lengths) + 16):
            found = count_too_long(rows, data.path, TEMPLATE, reader(model, limit=limit, max_pixels=pixels))
            assert found.over == sum(length + 16 > limit for length in lengths)


def test_pictures_that_fill_the_context_are_counted_and_a_limit_is_found_at_which_they_fit(data, model):
    rows = [{**row, "width": 560, "height": 560} for row in data.rows("train")]
    whole = count_too_long(rows, data.path, TEMPLATE, reader(model, limit=400, max_pixels=10**6))
    assert whole.pictures_alone == len(rows)  # 20 × 20 tokens each
    assert "in 24 the pictures alone take more" in whole.described()
    limit = whole.prompt + 16 - 108
    found = count_too_long(rows, data.path, TEMPLATE, reader(model, limit=limit, max_pixels=10**6))
    assert 560**2 * 0.6 < found.max_pixels < 560**2 * 0.82  # 17 × 17 tokens
    mended = count_too_long(
        rows, data.path, TEMPLATE, reader(model, limit=limit, max_pixels=found.max_pixels)
    )
    assert mended.over == 0


def config_of(model, data, *words):
    return resolve_run("balanced", model=str(model), assignments=(f"data.path={data.path}", *words))[0].config


def test_a_stage_that_leaves_rows_out_says_which_is_the_longest_and_what_to_type(data, model, tmp_path):
    long = with_long_row(data, tmp_path / "long", 400)
    config = config_of(model, long, "model.context_length=600", "rollout.max_completion_length=64")
    (said,) = [one for one in rows_too_long(config, model, long, TEMPLATE) or [] if "main stage" in one]
    row = list(long.rows("train"))[2]
    assert said.startswith("1 of 24 rows are longer than 600 tokens (model.context_length)")
    assert f"row {row['id']!r}" in said
    needed = int(re.search(r"--set model.context_length=(\d+)", said)[1])
    wide = config_of(model, long, f"model.context_length={needed}", "rollout.max_completion_length=64")
    assert rows_too_long(wide, model, long, TEMPLATE) == []
    short = config_of(model, long, f"model.context_length={needed - 1}", "rollout.max_completion_length=64")
    assert "1 too many" in (rows_too_long(short, model, long, TEMPLATE) or [""])[-1]


def test_no_more_is_taken_than_the_model_reads(data, model, tmp_path):
    long = with_long_row(data, tmp_path / "long", 3000)
    assert context_of_folder(model) == 2048
    config = config_of(model, long, "model.context_length=8192", "rollout.max_completion_length=64")
    said = (rows_too_long(config, model, long, TEMPLATE) or [""])[-1]
    assert "longer than 2,048 tokens (what the model reads)" in said
    assert "shorten its question" in said


def test_where_no_row_fits_the_run_does_not_begin(data, model):
    config = config_of(model, data, "model.context_length=80", "rollout.max_completion_length=16")
    with pytest.raises(MedgrpoError, match=r"no row fits: all 24 take more than 80 tokens") as raised:
        rows_too_long(config, model, data, TEMPLATE)
    assert "--set model.context_length=" in str(raised.value.hint)


def ended(capsys, *words):
    with pytest.raises(SystemExit) as end:
        main([str(word) for word in words])
    printed = capsys.readouterr()
    return end.value.code or 0, " ".join(printed.err.split()), printed.out


WORDS = ("--set", "model.context_length=600", "--set", "rollout.max_completion_length=64")


@pytest.mark.parametrize("command", ["train", "estimate-time"])
@pytest.mark.parametrize("spoken", ["en", "zh"])
def test_commands_say_it_before_a_step(command, spoken, data, model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("MEDGRPO_LANG", spoken)
    monkeypatch.chdir(tmp_path)
    long = with_long_row(data, tmp_path / "long", 400)
    dry = ("--dry-run",) if command == "train" else ("--gpu", "A100")
    code, said, _ = ended(capsys, command, "--model", model, "--data", long.path, *dry, *WORDS)
    assert code == 0, said
    row = list(long.rows("train"))[2]
    assert f"{row['id']!r}" in said
    assert (
        "1 of 24 rows are longer than 600 tokens"
        if spoken == "en"
        else "24 条样本中有 1 条连同回答超过 600 个词元"
    ) in said
    assert ("too many" in said) == (spoken == "en")
    few = ("--set", "model.context_length=80", "--set", "rollout.max_completion_length=16")
    code, said, out = ended(capsys, command, "--model", model, "--data", data.path, *dry, *few)
    assert code == 1, said + out
    assert ("no row fits" if spoken == "en" else "没有放得下的样本：全部 24 条") in said


def test_make_dpo_says_it_before_the_model_is_loaded(data, model, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = tmp_path / "small"
    shutil.copytree(model, small)
    described = json.loads((small / "config.json").read_text())
    described["text_config"]["max_position_embeddings"] = 55
    (small / "config.json").write_text(json.dumps(described))
    words = ("--from", "sample", "--data", data.path, "--samples", "2", "--limit", "2")
    _, said, _ = ended(capsys, "make-dpo", small, *words, "--tokens", "20")
    assert "2 of 2 prompts leave less room than --tokens 20 in the 55 tokens that the model reads" in said
    assert "smaller pictures: medgrpo preprocess" in said
    described["text_config"]["max_position_embeddings"] = 30
    (small / "config.json").write_text(json.dumps(described))
    code, said, _ = ended(capsys, "make-dpo", small, *words, "--tokens", "20")
    assert code == 1
    assert "no prompt leaves room for a completion: all 2 fill the 30 tokens" in said


def test_what_is_said_without_a_look_at_each_row_leaves_no_long_row_out(data, tmp_path):
    with_long_row(data, tmp_path / "long", 900)
    dataset = PreparedDataset.open(tmp_path / "long")
    most, rows = dataset.longest("train"), list(dataset.rows("train"))

    def length(row):
        texts = (one for value in row.values() for one in (value if isinstance(value, list) else [value]))
        return sum(len(one.encode()) for one in texts if isinstance(one, str))

    assert most.length >= max(map(length, rows)) > 3600
    assert most.pictures == max(len(row["images"]) for row in rows)
    assert most.size == tuple(max(row[side] for row in rows) for side in ("width", "height"))
