"""What vLLM's own processor makes of the prompts it is handed is the prompt that the trainer learns on, token by token.

    MEDGRPO_VLLM_PYTHON=.venv-vllm/bin/python pytest tests/training/test_vllm_prompts.py

docs/evaluation.md says how that environment is made. Read with vLLM 0.31.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medgrpo.data.prompts import load_template
from medgrpo.data.schema import new_row
from medgrpo.generation.generate import encode_prompts
from medgrpo.generation.vllm import VllmEngine
from medgrpo.models.loading import load_model
from medgrpo.training.trainers.vllm import picture_tokens, pictures_for_vllm, prompts_for_vllm
from tests.families import TINY_FAMILIES

VLLM_PYTHON = os.environ.get("MEDGRPO_VLLM_PYTHON")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        VLLM_PYTHON is None, reason="MEDGRPO_VLLM_PYTHON names no Python with vLLM (docs/evaluation.md)"
    ),
]


def test_vllm_expands_what_it_is_handed_to_the_trainer_s_prompt(tmp_path):
    random = np.random.default_rng(0)
    pictures = [
        Image.fromarray(random.integers(0, 255, (height, width, 3), dtype=np.uint8))
        for width, height in ((300, 280), (640, 420))
    ]
    cases, trained = {}, {}
    for name, family in TINY_FAMILIES.items():
        if not family.is_vision:
            continue
        model = load_model(
            str(family.build(tmp_path / name)), max_pixels=28 * 28 * 6 if name == "internvl" else 120_000
        )
        shown = [{"type": "image", "image": picture} for picture in pictures]
        messages = [
            {"role": "system", "content": [{"type": "text", "text": "Be brief."}]},
            {"role": "user", "content": [*shown, {"type": "text", "text": "Is there a lesion?"}]},
        ]
        encoded = model.processor.apply_chat_template(
            [messages], tokenize=True, add_generation_prompt=True, return_dict=True
        )
        trained[name] = [int(token) for token in encoded["input_ids"][0]]
        (prompt,) = prompts_for_vllm(
            [trained[name]], [pictures], picture_tokens(model.model, model.processor)
        )
        (resized,) = pictures_for_vllm([pictures], model.processor)
        row = new_row(id="1", question="Is it CT?", answer="no", source="s", source_file="f", source_row=0)
        files = [tmp_path / f"{name}-{number}.png" for number in range(2)]
        for picture, file in zip(resized, files, strict=True):
            picture.save(file)
        cases[name] = {
            "model": str(tmp_path / name),
            "prompt": prompt,
            "pictures": [str(file) for file in files],
        }
        # What `medgrpo eval --engine vllm` hands over, and what the Transformers engine reads.
        row["images"] = [file.name for file in files]
        asked = (row, load_template("structured"))
        handed = VllmEngine(None, model.processor)._prompt(*asked, lambda file: tmp_path / file)
        cases[f"{name} eval"] = {**cases[name], "prompt": handed["prompt_token_ids"]}
        read = encode_prompts([row], asked[1], model.processor, lambda file: tmp_path / file)
        trained[f"{name} eval"] = [int(token) for token in read["input_ids"][0]]
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    script = Path(__file__).with_name("vllm_prompts.py")
    done = subprocess.run(
        [VLLM_PYTHON, str(script), "cases.json", "found.json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "found.json").read_text()) == trained
