"""Prints as JSON what vLLM's own processor makes of each case: run by the Python that has vLLM (see test_vllm_prompts.py)."""

import json
import sys

from PIL import Image
from vllm.config import ModelConfig
from vllm.multimodal import MULTIMODAL_REGISTRY
from vllm.multimodal.processing.context import TimingContext
from vllm.multimodal.processing.inputs import ProcessorInputs

found = {}
with open(sys.argv[1]) as file:
    cases = json.load(file)
for name, case in cases.items():
    config = ModelConfig(
        model=case["model"],
        tokenizer=case["model"],
        dtype="float32",
        limit_mm_per_prompt={"image": 2},
        max_model_len=2048,
    )
    processor = MULTIMODAL_REGISTRY.create_processor(config)
    pictures = []
    for path in case["pictures"]:
        with Image.open(path) as picture:
            pictures.append(picture.convert("RGB"))
    items = processor.info.parse_mm_data({"image": pictures})
    made = processor.apply(ProcessorInputs(prompt=case["prompt"], mm_data_items=items), TimingContext())
    found[name] = list(made["prompt_token_ids"])
with open(sys.argv[2], "w") as file:
    json.dump(found, file)
