"""The three pages made from generated data, for tests that look at them in a browser."""

import json
import math
import random

import pytest
from PIL import Image

from medgrpo.cli.main import main


def make_pages(folder):
    """`dataset.html`, `report.html` of eval, `report.html` of compare; their paths by name."""
    prepared = _dataset(folder)
    logs = [
        _log(folder, name, seed)
        for seed, name in enumerate(["balanced-20260131-1", "dapo-20260131-1", "verify-20260201-1"])
    ]
    _call(
        "eval",
        prepared,
        "--predictions",
        _predictions(folder, prepared),
        "--split",
        "test",
        "-o",
        folder / "evaluation",
    )
    _call("compare", *logs, "--html", "--output", folder / "comparison")
    return {
        "dataset": prepared / "dataset.html",
        "eval": folder / "evaluation" / "report.html",
        "compare": folder / "comparison" / "report.html",
    }


def _call(*words):
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words] + ["--quiet"])
    assert not ended.value.code, words


def _dataset(folder):
    """60 pictures with two questions each, in English and Chinese, two of them contradicting each other."""
    draw = random.Random(0)
    source = folder / "source"
    source.mkdir(parents=True)
    rows = []
    for place in range(60):
        name = f"case{place:02d}.png"
        shade = draw.randrange(40, 200)
        picture = Image.effect_noise((256, 192), 60).point(lambda value, shade=shade: (value + shade) // 2)
        picture.save(source / name)
        plane, modality = draw.choice(["axial", "coronal"]), draw.choice(["CT", "MRI"])
        labels = {"image": name, "plane": plane, "modality": modality, "organ": "chest"}
        rows.append(
            {**labels, "question": "Is there a pleural effusion?", "answer": draw.choice(["yes", "no"])}
        )
        rows.append({**labels, "question": "图中是哪种成像方式？", "answer": modality, "language": "zh"})
        rows.append(
            {
                "image": name,
                "question": "Where is the largest lesion, and what does it border on?",
                "answer": "left lower lobe",
            }
        )
    rows.append({**rows[0], "answer": "no" if rows[0]["answer"] == "yes" else "yes"})
    (source / "rows.json").write_text(json.dumps(rows, ensure_ascii=False), encoding="utf-8")
    _call("preprocess", source, folder / "data", "--split", ".5,.1,.4")
    return folder / "data"


def _predictions(folder, prepared):
    from medgrpo.data.prepared import PreparedDataset

    draw = random.Random(1)
    path = folder / "predictions.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for row in PreparedDataset.open(prepared).rows("test"):
            answer = row["answer"] if draw.random() < 0.6 else draw.choice(["yes", "no", "right upper lobe"])
            text = f"<think>{row['modality'] or 'a picture'}, seen from the side. {'It is hard to tell. ' * draw.randrange(3)}</think>"
            text += f"<answer>{answer}</answer><plane>{row['plane'] or 'axial'}</plane><modality>{row['modality'] or 'CT'}</modality>"
            reference = {"id": row["id"], "completion": text}
            file.write(
                json.dumps(
                    reference
                    | {
                        k: row[k] for k in ("question", "answer", "image_id", "plane", "modality", "language")
                    },
                    ensure_ascii=False,
                )
                + "\n"
            )
    return path


def _log(folder, name, seed):
    draw = random.Random(seed)
    history = [
        {
            "stage": "grpo",
            "step": step,
            "loss": draw.gauss(0, 0.02),
            "reward": 0.3 + (0.4 + seed / 20) * (1 - math.exp(-step / 40)) + draw.gauss(0, 0.03),
            "rewards/format/mean": 0.9 + draw.gauss(0, 0.01),
            "rewards/answer_match/mean": 0.2 + 0.4 * step / 120 + draw.gauss(0, 0.05),
            "frac_reward_zero_std": 0.1 + 0.3 * step / 120,
            "completions/mean_length": 80 + draw.gauss(0, 5),
            "kl": 0.001 * step,
            "grad_norm": 0.5 + draw.random() / 5,
            "s_per_prompt": 2.0 + draw.random() / 5,
            **({"eval_answer_match": 0.45 + step / 600} if step % 40 == 0 else {}),
        }
        for step in range(1, 121)
    ]
    measured = {
        when: {"answer_match": {"value": value, "low": value - 0.06, "high": value + 0.06, "n": 256}}
        for when, value in (("blind", 0.42), ("before", 0.44), ("after", 0.65))
    }
    config = {
        "training": {"prompts_per_step": 16, "learning_rate": 1e-5 * (1 + seed)},
        "tuning": {"towers": ["language", "vision"]},
        "rewards": {"weights": {"format": 0.2, "answer_match": 0.8}},
    }
    document = {
        "name": name,
        "config": config,
        "status": "finished",
        "finished": True,
        "validation": measured,
        "history": history,
    }
    path = folder / f"{name}.json"
    path.write_text(json.dumps(document))
    return path
