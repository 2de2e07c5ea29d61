"""Adapters of every kind on the demo model, and logits computed without our code."""

import json
import shutil
from pathlib import Path
from typing import Any


def load_plain(folder: Path) -> Any:
    """The model as Transformers loads it."""
    from transformers import AutoModelForImageTextToText

    return AutoModelForImageTextToText.from_pretrained(folder).eval()


def make_adapter(base: Path, folder: Path, config: Any, *, scale: float = 0.2, seed: int = 0) -> Path:
    """An adapter as PEFT saves it, its own weights drawn (what starts at zero included)."""
    import torch
    from peft import get_peft_model

    torch.manual_seed(seed)
    adapted = get_peft_model(load_plain(base), config)
    with torch.no_grad():
        for weight in adapted.parameters():
            if weight.requires_grad:
                weight.add_(torch.randn_like(weight) * scale)
    adapted.peft_config["default"].base_model_name_or_path = str(base)
    adapted.save_pretrained(folder, save_embedding_layers=False)
    return folder


def lora(**changes: Any) -> Any:
    """LoRA on attention and MLP of the language model, as training makes it."""
    from peft import LoraConfig

    from medgrpo.models.families.base import LANGUAGE_LAYERS

    settings = {"r": 4, "lora_alpha": 8, "target_modules": LANGUAGE_LAYERS, "task_type": "CAUSAL_LM"}
    return LoraConfig(**(settings | changes))


def logits(model: Any, processor_folder: Path) -> Any:
    """Logits of a question with a picture."""
    import numpy as np
    import torch
    from PIL import Image
    from transformers import AutoProcessor

    processor = AutoProcessor.from_pretrained(processor_folder)
    pixels = np.random.default_rng(5).integers(0, 255, (84, 84, 3), dtype=np.uint8)
    content = [{"type": "image"}, {"type": "text", "text": "Which plane is shown?"}]
    text = processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
    inputs = processor(text=[text], images=[Image.fromarray(pixels)], return_tensors="pt")
    with torch.inference_mode():
        return model(**inputs).logits.float()


def edit_json(file: Path, **changes: Any) -> None:
    """Replace keys of a JSON object."""
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def edit_tensors(file: Path, change: Any) -> None:
    """Rewrite a safetensors file through `change(name, tensor) -> (name, tensor) | None`."""
    from safetensors.torch import load_file, save_file

    changed = (change(name, tensor.clone()) for name, tensor in load_file(file).items())
    save_file(dict(one for one in changed if one is not None), file, metadata={"format": "pt"})


def copied(folder: Path, target: Path) -> Path:
    """A copy to break."""
    return Path(shutil.copytree(folder, target))
