"""SFT with a picture once for the rows about it: TRL's own loss and gradients, whatever rows meet in a step."""

import copy
from contextlib import nullcontext
from functools import partial
from itertools import product

import pytest
import torch

from medgrpo.config.presets import resolve_run
from medgrpo.engine.inner import inner_of, picture_ids
from medgrpo.files import read_json
from medgrpo.records import json_objects
from medgrpo.training.trainers import sft
from medgrpo.training.trainers.same_picture import Together, apart, batch_of, cut, taught, together
from medgrpo.training.trainers.shared_prompts import SharedPrompts
from medgrpo.training.watch.reporter import SilentReporter
from tests.engine.conftest import folders, load, picture  # noqa: F401 the fixtures
from tests.families import TINY_FAMILIES
from tests.training.conftest import TINY, StopsAt, losses, run, two_processes
from tests.training.fsdp_on_cpu import environment

SYSTEM = [{"role": "system", "content": [{"type": "text", "text": "Reply in tags."}]}]
ROWS = (
    ("Is there a lesion?", "yes left", (1,)),
    ("Is there a lesion? Which plane is shown?", "axial", (1,)),
    ("Which plane is shown?", "no, 0 1 2 is there", (2, 3)),
    ("Is there a lesion?", "no", (4,)),
    ("yes no left", "right right", ()),
    ("Which plane is shown?", "coronal", (1,)),
    ("0 1 2", "X-ray", (2, 3)),
    ("Is there a lesion?", "yes left", (1,)),
)
"""Question, answer, numbers of the pictures: four rows of one picture, two of the same two, one of another that has the tokens of
the first, one without; the first comes twice."""


def examples(rows=ROWS, sizes=None):
    """As `sft_dataset` gives them, each row with picture objects of its own."""
    sizes = sizes or {1: (100, 90), 2: (130, 90), 3: (90, 90), 4: (100, 90)}
    return [
        {
            "prompt": [
                *copy.deepcopy(SYSTEM),
                {"role": "user", "content": [{"type": "image"}] * len(numbers) + [{"type": "text", "text": question}]},
            ],
            "completion": [{"role": "assistant", "content": answer}],
            "images": [picture(number, sizes[number]) for number in numbers],
        }
        for question, answer, numbers in rows
    ]  # fmt: skip


def gradients(model, outputs, tokens):
    """Of TRL's loss: minus the log probabilities over the learned tokens of the whole batch."""
    (-outputs.log_probs.sum() / tokens).backward()
    return {name: weight.grad.clone() for name, weight in model.named_parameters() if weight.grad is not None}


def assert_same(model, processor, rows, *, groups=None, most=None, dense=10**9):
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    filling = processor.tokenizer.pad_token_id
    stock = dict(
        DataCollatorForVisionLanguageModeling(processor, completion_only_loss=True)(copy.deepcopy(rows))
    )
    tokens = (stock["labels"][:, 1:] != -100).sum()
    model.zero_grad(set_to_none=True)
    theirs = model(**stock, fused_lm_head=True)
    expected = gradients(model, theirs, tokens)
    model.zero_grad(set_to_none=True)
    read = taught(rows, processor, inner_of(model))
    found = groups or together(read, picture_ids(model))
    order, logprobs, counted = [], [], 0
    for part in cut(found, most, dense=dense):
        batch = batch_of(read, part, filling=filling)
        ours = SharedPrompts(model, nullcontext)(**batch)
        assert ours.label_mask.equal(batch["labels"][:, 1:] != -100)
        order += [number for group in part for number in group.rows]
        logprobs += [row[mask] for row, mask in zip(ours.log_probs, ours.label_mask, strict=True)]
        counted += int(ours.label_mask.sum())
        learned = gradients(model, ours, tokens)
    assert counted == tokens
    for number, values in zip(order, logprobs, strict=True):
        torch.testing.assert_close(
            values, theirs.log_probs[number][theirs.label_mask[number]], atol=1e-5, rtol=0
        )
    assert learned.keys() == expected.keys()
    floor = 1e-3 * max(
        gradient.norm() for gradient in expected.values()
    )  # a key's bias has none but what rounding leaves
    for weight, gradient in expected.items():
        assert (learned[weight] - gradient).norm() < 1e-4 * gradient.norm().clamp(min=floor), weight
    return read, found


@pytest.mark.parametrize("name", [name for name, one in TINY_FAMILIES.items() if one.is_vision])
def test_every_family_learns_as_trl_does_from_rows_that_share_pictures(name, load):  # noqa: F811
    model, processor = load(name)
    read, groups = assert_same(model, processor, examples())
    assert [group.rows for group in groups] == [(0, 1, 5, 7), (2, 6), (3,), (4,)]
    assert apart(read, groups) == 0
    assert sum(group.tokens for group in groups) < 0.8 * sum(len(row.ids) for row in read)
    if name == "qwen2_5_vl":  # one group is cut in two
        assert_same(model, processor, examples(), most=max(group.tokens for group in groups) - 3)
        assert_same(model, processor, examples(), dense=32)


def test_rows_that_are_not_alike_are_not_brought_together(load):  # noqa: F811
    model, processor = load("qwen2_5_vl")
    rows = examples()
    read = taught(rows, processor, inner_of(model))
    # Equal tokens, other pictures; the same picture as another object; the same picture in another size.
    assert read[0].ids == read[7].ids
    assert read[0].ids[: read[0].prompt] == read[3].ids[: read[3].prompt]
    assert read[0].pictures == read[7].pictures != read[3].pictures
    other_size = taught(examples(ROWS[:1], {1: (90, 100)}), processor, inner_of(model))
    assert other_size[0].pictures != read[0].pictures
    # Another beginning before the same picture: nothing of it can be shared, and it is counted.
    foreign = examples(ROWS[:2])
    foreign[1]["prompt"][0]["content"][0]["text"] = "用标签回答。"
    mixed = taught(foreign, processor, inner_of(model))
    groups = together(mixed, picture_ids(model))
    assert [group.rows for group in groups] == [(0,), (1,)]
    assert apart(mixed, groups) == 2
    assert_same(model, processor, foreign)
    # The question before the picture, as a chat template of one's own may have it.
    for row in rows:
        row["prompt"][-1]["content"].reverse()
    late = taught(rows, processor, inner_of(model))
    groups = together(late, picture_ids(model))
    assert sorted(len(group.rows) for group in groups) == [1, 1, 1, 1, 1, 1, 2]
    assert apart(late, groups) == 6
    assert_same(model, processor, rows)


def test_a_wrong_picture_for_a_row_is_seen(load):  # noqa: F811
    # The fault that sharing could bring: the picture of row 0 for row 3, whose tokens are the same.
    model, processor = load("qwen2_5_vl")
    read = taught(examples(), processor, inner_of(model))
    wrong = together([row._replace(pictures=(b"",) * len(row.pictures)) for row in read], picture_ids(model))
    assert [group.rows for group in wrong] == [(0, 1, 3, 5, 7), (2, 6), (4,)]
    with pytest.raises(AssertionError, match="not close"):
        assert_same(model, processor, examples(), groups=wrong)


def test_parts_hold_every_row_once_and_keep_to_their_tokens(load):  # noqa: F811
    model, processor = load("qwen2_5_vl")
    groups = together(taught(examples(), processor, inner_of(model)), picture_ids(model))
    for most, dense, at_least in product((None, 1, 150, 400, 10_000), (32, 10**9, None), (1, 3, 8)):
        parts = cut(groups, most, dense=dense, at_least=at_least)
        assert sorted(number for part in parts for group in part for number in group.rows) == list(range(8))
        assert len(parts) >= at_least
        assert all(group.rows for part in parts for group in part)
        for part in parts:
            sizes = [group.tokens for group in part]
            size = sum(sizes) if dense is None else max(sizes) * len(part)
            is_one_row = len(part) == len(part[0].rows) == 1
            assert most is None or size <= most or is_one_row
    # Short questions about a small picture: attention over all of them costs more than reading the picture again.
    shared = groups[0].shown
    for hidden, at_once in ((10**9, 4), (128, 2), (1, 1)):
        group = Together({**shared, "prompt_ids": torch.zeros(95)}, (0, 1, 2, 3), (80,) * 4)
        assert [len(one.rows) for one in cut([group], None, dense=hidden)[0]] == [at_once] * (4 // at_once)


# ------------------------------------------------------------------------------------------------- runs

SFT = (
    "training.method=sft", "stages.sft.enabled=false", "data.rows=none", "training.prompts_per_step=8", "training.max_steps=2",
    "training.per_device_train_batch_size=none", "training.learning_rate=1e-3", "training.warmup_ratio=0", "training.save_steps=100",
)  # fmt: skip
ALL_TOWERS = ("tuning.method=full", 'tuning.towers=["language", "vision", "aligner"]')
FIGURES = ("loss", "grad_norm", "entropy", "num_tokens", "mean_token_accuracy")
PICTURES = (0, 1, 0, 2, 0, None, 1, 3, 0, 1, (2, 3), 0, 4, 1, (2, 3), 0, 1, 2, "0 again", 0)
"""Of each row; the same picture lies under two paths."""


@pytest.fixture(scope="module")
def few_pictures(dataset, tmp_path_factory):
    """A folder of twenty rows about five pictures."""
    import shutil

    from medgrpo.data.prepared import PreparedDataset, PreparedWriter

    source = PreparedDataset.open(dataset)
    rows = list(source.rows("train", len(PICTURES)))
    files = list(dict.fromkeys(row["images"][0] for row in source.rows("train")))
    folder = tmp_path_factory.mktemp("few")
    again = "images/again.png"

    def shown(which):
        if which is None:
            return []
        return (
            [again]
            if which == "0 again"
            else [files[one] for one in (which if isinstance(which, tuple) else (which,))]
        )

    with PreparedWriter(folder / "data") as writer:
        shutil.copytree(source.path / "images", writer.folder / "images", dirs_exist_ok=True)
        shutil.copy(source.path / files[0], writer.folder / again)
        writer.write(
            "train", [{**row, "images": shown(which)} for row, which in zip(rows, PICTURES, strict=True)]
        )
        writer.finish({"name": "few", "task": "vqa", "hash": "few"})
    return folder / "data"


def logged(config, path, **options):
    return json_objects(run(config, path, **options).log)


@pytest.fixture(scope="module")
def stock_log(dataset, few_pictures, tmp_path_factory):
    """Of TRL's way, the step in one pass."""
    words = (*TINY, *SFT, *ALL_TOWERS, f"data.path={few_pictures}", "engine.shared_prompt=off")
    return logged(resolve_run(assignments=words)[0].config, tmp_path_factory.mktemp("stock") / "run")


@pytest.mark.parametrize(
    "settings",
    [
        ("engine.shared_prompt=on", "engine.tokens_per_pass=120"),
        ("engine.shared_prompt=auto", "training.per_device_train_batch_size=2"),
        ("engine.shared_prompt=off", "training.per_device_train_batch_size=2"),
    ],
    ids=["in parts", "in passes of two rows", "TRL's way in passes of two rows"],
)
def test_a_run_learns_the_same_however_the_step_is_cut(
    settings, tiny_config, few_pictures, stock_log, tmp_path
):
    log = logged(tiny_config(*SFT, *ALL_TOWERS, f"data.path={few_pictures}", *settings), tmp_path / "run")
    is_on = read_json(tmp_path / "run" / "training_info.json")["engine"]["shared_prompt"]
    assert is_on is ("engine.shared_prompt=off" not in settings)
    assert len({entry["loss"] for entry in log}) == 2
    for key in FIGURES:
        if key in sft.FIGURES and "training.per_device_train_batch_size=2" in settings:
            continue  # TRL's means over passes
        ours, stock = ([entry[key] for entry in one] for one in (log, stock_log))
        assert ours[:1] == pytest.approx(stock[:1], rel=1e-4, abs=1e-5), key
        assert ours == pytest.approx(stock, rel=0.02, abs=1e-3), key


@pytest.mark.parametrize("fault", ["positions", "fails"])
def test_auto_goes_back_to_trls_way_where_the_two_differ(
    fault, tiny_config, few_pictures, stock_log, tmp_path, monkeypatch
):
    right = sft.taught

    def wrong(*words):
        if fault == "fails":
            raise ValueError("no such processor")
        return [
            row._replace(shown={**row.shown, "positions": row.shown["positions"] * 3})
            for row in right(*words)
        ]

    monkeypatch.setattr(sft, "taught", wrong)
    reporter = SilentReporter()
    config = tiny_config(*SFT, *ALL_TOWERS, f"data.path={few_pictures}")
    log = logged(config, tmp_path / "run", reporter=reporter)
    assert read_json(tmp_path / "run" / "training_info.json")["engine"]["shared_prompt"] is False
    assert [line for line in reporter.warnings if line.startswith("engine: a shared prompt")]
    losses_of = [[entry["loss"] for entry in one] for one in (log, stock_log)]
    assert losses_of[0] == pytest.approx(losses_of[1], rel=2e-3)


def test_rows_brought_together_go_on_after_a_stop_in_the_middle_of_an_epoch_bit_for_bit(
    tiny_config, few_pictures, tmp_path
):
    config = tiny_config(
        *SFT, f"data.path={few_pictures}", "data.rows_of_a_picture=3", "training.prompts_per_step=4", "training.max_steps=7"
    )  # fmt: skip
    whole = logged(config, tmp_path / "whole")  # five steps an epoch
    run(config, tmp_path / "cut", reporter=StopsAt("sft", 3))
    assert losses(tmp_path / "whole") == losses(run(config, tmp_path / "cut", resume=True).run)
    assert len({entry["loss"] for entry in whole}) == 7


def test_a_curriculum_keeps_its_order_and_says_so(tiny_config, few_pictures, tmp_path):
    words = (*SFT, f"data.path={few_pictures}", "curriculum.by=column:image_tokens", "training.max_steps=1")
    reporter = SilentReporter()
    alone = logged(tiny_config(*words), tmp_path / "alone")
    both = logged(tiny_config(*words, "data.rows_of_a_picture=4"), tmp_path / "both", reporter=reporter)
    assert [entry["loss"] for entry in both] == [entry["loss"] for entry in alone]
    assert [
        line for line in reporter.warnings if "rows_of_a_picture = 4 has no effect under a curriculum" in line
    ]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("name", [name for name, family in TINY_FAMILIES.items() if family.is_vision])
def test_under_autocast_the_two_ways_are_as_far_apart_as_rounding_puts_them(name, dtype, load):  # noqa: F811
    from trl.trainer.sft_trainer import DataCollatorForVisionLanguageModeling

    model, processor = load(name)
    model.eval()
    autocast = partial(torch.autocast, "cpu", dtype=dtype)
    collate = DataCollatorForVisionLanguageModeling(processor, completion_only_loss=True)
    rows = [examples()[number] for number in (0, 1, 5, 7)]  # about one picture
    read = taught(copy.deepcopy(rows), processor, inner_of(model))
    groups = together(read, picture_ids(model))
    assert len(groups) < len(rows)
    order = [number for group in groups for number in group.rows]
    stock = dict(collate(copy.deepcopy([rows[number] for number in order])))
    ours = batch_of(read, groups, filling=processor.tokenizer.pad_token_id)
    with torch.no_grad():
        found = sft.difference_from_stock(model, ours, dict(stock), autocast)
        with autocast():
            whole = model(**stock, fused_lm_head=True, use_cache=False).log_probs.float()
        learned = stock["labels"][:, 1:] != -100
        exact = model(**stock, fused_lm_head=True, use_cache=False).log_probs.float()
    rounding = (whole - exact)[learned].abs()
    assert len(found) == int(learned.sum())
    assert found.isfinite().all()
    assert rounding.max() > 0  # it was computed in half
    assert found.mean() <= 2 * rounding.mean()


@pytest.mark.slow
@pytest.mark.parametrize("fsdp", [False, True], ids=["ddp", "fsdp2"])
@pytest.mark.parametrize("tokens", ["none", "100"])
def test_two_processes_learn_as_one_however_many_parts_each_has(
    tokens, fsdp, few_pictures, tmp_path, monkeypatch
):
    for name, value in environment().items() if fsdp else ():
        monkeypatch.setenv(name, value)
    words = [
        *TINY,
        *SFT,
        f"data.path={few_pictures}",
        "data.rows_of_a_picture=4",
        f"engine.tokens_per_pass={tokens}",
    ]
    finished = two_processes(tmp_path / "two", words, timeout_s=300)
    assert finished.returncode == 0, finished.stderr
    for name in environment() if fsdp else ():
        monkeypatch.delenv(name)
    assert bool(list((tmp_path / "two").rglob("*.distcp"))) is fsdp  # each process wrote its own
    assert read_json(tmp_path / "two" / "training_info.json")["engine"]["shared_prompt"] is True
    for mode in ("on", "off"):
        config = resolve_run(assignments=(*words, f"engine.shared_prompt={mode}"))[0].config
        one = logged(config, tmp_path / mode)
        two = json_objects(tmp_path / "two" / "log.jsonl")
        for key in ("loss", "grad_norm", "num_tokens"):
            values = [[entry[key] for entry in log] for log in (one, two)]
            assert values[1] == pytest.approx(values[0], rel=0.02, abs=1e-4), (mode, key)
            assert values[1][:1] == pytest.approx(values[0][:1], rel=1e-4), (mode, key)


def test_pictures_kept_across_steps_change_no_bit_and_only_where_they_can_be_found_again(
    tiny_config, few_pictures, tmp_path
):
    words = (
        *SFT,
        f"data.path={few_pictures}",
        "training.max_steps=4",
        "tuning.method=lora",
        'tuning.towers=["language"]',
        "training.prompts_per_step=10",
    )
    without = logged(tiny_config(*words), tmp_path / "without")
    kept = logged(tiny_config(*words, "engine.features_gib=0.01"), tmp_path / "kept")
    for key in ("loss", "grad_norm"):
        assert [entry[key] for entry in kept] == [entry[key] for entry in without]
    assert "vision/kept_hits" not in without[0]
    seen = [(entry["vision/kept_hits"], entry["vision/kept_misses"]) for entry in kept]
    assert seen[0][0] == 0
    assert sum(misses for _, misses in seen) == 6  # five pictures, and two of them together
    assert kept[-1]["vision/kept_gib"] == kept[-2]["vision/kept_gib"] > 0
    for setting in (ALL_TOWERS[1], "data.augment=light"):
        reporter = SilentReporter()
        config = tiny_config(*words, "engine.features_gib=0.01", setting, "training.max_steps=1")
        log = logged(config, tmp_path / setting[:9], reporter=reporter)
        assert [line for line in reporter.warnings if "engine.features_gib = 0.01 has no effect" in line]
        assert "vision/kept_hits" not in log[0]
