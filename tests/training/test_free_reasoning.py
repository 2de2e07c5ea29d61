"""With data.reasoning = free, SFT learns everything of a target but what stands between the think tags."""

import pytest

from medgrpo.cli.main import main
from medgrpo.config.presets import resolve_run
from medgrpo.data.prompts import load_template
from medgrpo.models.demo import build_demo_model

ROWS = [
    {"question": "Is there a nodule?", "answer": "yes", "modality": "CT", "plane": "axial"},
    {"question": "Is it seen?", "answer": "no", "modality": "MRI"},
    {
        "question": "Which side?",
        "answer": "left",
        "chosen": "<think>I see it there.</think><answer>left</answer>",
    },
]


def learned(tmp_path, reasoning):
    """What each row's labels spell."""
    from transformers import AutoTokenizer
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    from medgrpo.data.prompts import build_example
    from medgrpo.data.schema import new_row
    from medgrpo.training.before.datasets import IGNORED
    from medgrpo.training.trainers.free_reasoning import FREE, FreeReasoning

    template = load_template("structured")
    rows = [
        new_row(language="en", id=str(i), source="s", source_file="f", source_row=i, **row)
        for i, row in enumerate(ROWS)
    ]
    examples = [build_example(row, template) for row in rows]
    texts = [target for _, target in examples] + [
        message["content"] for prompt, _ in examples for message in prompt
    ]
    build_demo_model(tmp_path / "model", texts, seed=0)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    made = []
    for row, (prompt, target) in zip(rows, examples, strict=True):
        start = tokenizer("".join(message["content"] for message in prompt))["input_ids"]
        ids = tokenizer(target)["input_ids"]
        marks = {FREE: True} if reasoning == "free" and not row.get("chosen") else {}
        made.append({"input_ids": start + ids, "labels": [IGNORED] * len(start) + ids, **marks})
    collate = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)
    batch = FreeReasoning(collate, tokenizer.decode)(made)
    spelled = [
        tokenizer.decode([int(t) for t, label in zip(ids, labels, strict=True) if label != IGNORED])
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True)
    ]
    return spelled, [target for _, target in examples]


def test_what_stands_between_the_think_tags_has_no_loss_and_all_else_has(tmp_path):
    spelled, targets = learned(tmp_path, "free")
    for text, target in zip(spelled[:2], targets[:2], strict=True):
        before, _, rest = target.partition("<think>")
        assert text == f"{before}<think>{rest.partition('</think>')[2]}"
    assert spelled[2] == targets[2]  # a person's own words are learned whole


def test_by_default_targets_are_learned_whole(tmp_path):
    spelled, targets = learned(tmp_path, "labels")
    assert spelled == targets


def test_a_real_model_is_told_what_sft_would_teach_it_to_think(tmp_path, monkeypatch, capsys):
    import json

    monkeypatch.chdir(tmp_path)
    (tmp_path / "rows.json").write_text(
        json.dumps([{"question": f"Is {i} even?", "answer": "yes"} for i in range(40)])
    )
    build_demo_model(tmp_path / "model", ["Is it even?"], seed=0)
    words = ["--model", "model", "--data", "data", "--method", "sft", "--dry-run"]
    for call in (["preprocess", "rows.json", "data"], ["train", *words]):
        with pytest.raises(SystemExit) as end:
            main(call)
        assert not end.value.code
    assert "--set data.reasoning=free leaves its thinking alone" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["train", *words, "--set", "data.reasoning=free"])
    assert "leaves its thinking alone" not in capsys.readouterr().err
    assert resolve_run("warm-start", model="x")[0].config.data.reasoning == "labels"
