"""A tiny Sa2VA, built from configurations: nothing is downloaded. For tests, and to try the pipeline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medgrpo.models.demo import build_demo_model
from medgrpo.segmentation.sa2va.inputs import ANSWER, PROMPT


def build_demo_sa2va(folder: Path, *, sam_side: int = 256, seed: int = 0) -> Path:
    """The folder of a new Sa2VA of about a million weights.

    Args:
        folder: where to save; made when absent.
        sam_side: side of the picture that SAM sees, in pixels, a multiple of 128; masks have a quarter of it.
        seed: of the weights.
    """
    from tempfile import TemporaryDirectory

    import torch
    from transformers import Sam2Config, Sam2Model

    from medgrpo.segmentation.sa2va.loading import put_together

    with TemporaryDirectory() as scratch:
        vlm = build_demo_model(Path(scratch) / "vlm", [PROMPT, ANSWER], seed=seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            sam = Sam2Model(Sam2Config(**tiny_sam(sam_side)))
        sam.save_pretrained(Path(scratch) / "sam")
        model, processor = put_together(str(vlm), str(Path(scratch) / "sam"), dtype=torch.float32, seed=seed)
        model.save_pretrained(folder)
        processor.save_pretrained(folder)
    return folder


def tiny_sam(side: int) -> dict[str, Any]:
    """SAM 2's configuration at a hundredth of its width."""
    return {
        "vision_config": {
            "model_type": "sam2_vision_model",
            "backbone_config": {
                "model_type": "sam2_hiera_det_model",
                "hidden_size": 16,
                "num_attention_heads": 1,
                "image_size": [side, side],
                "blocks_per_stage": [1, 1, 2, 1],
                "embed_dim_per_stage": [16, 32, 64, 128],
                "num_attention_heads_per_stage": [1, 1, 2, 2],
                "window_size_per_stage": [8, 4, 4, 4],
                "global_attention_blocks": [3],
                "window_positional_embedding_background_size": [4, 4],
            },
            "backbone_channel_list": [128, 64, 32, 16],
            "backbone_feature_sizes": [[side // 4] * 2, [side // 8] * 2, [side // 16] * 2],
            "fpn_hidden_size": 32,
        },
        "prompt_encoder_config": {"hidden_size": 32, "image_size": side},
        "mask_decoder_config": {
            "hidden_size": 32,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": 32,
        },
    }
