"""Sa2VA from parts that Transformers has: a vision-language model, a two-layer MLP, SAM 2 (or SAM 3's tracker).

The language model reads the picture and the prompt and answers with [SEG]. Its last hidden state at that token, through
the MLP, is one more prompt token of SAM's mask decoder, which sees the picture at 1024 px. Of the decoder's three
masks the one that it rates best is the answer. Masks have a quarter of SAM's side (stride 4) and are brought to the
picture's size bilinearly, as the released models do it: first to SAM's side, then to the picture.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import nn
from torch.nn.functional import interpolate
from transformers import AutoConfig, AutoModel, AutoModelForImageTextToText, PretrainedConfig, PreTrainedModel

if TYPE_CHECKING:
    from torch import Tensor

SEG = "[SEG]"
NO_POINT = -1
"""Label of SAM's padding point: there is no click."""


class Sa2VAConfig(PretrainedConfig):  # type: ignore[misc]
    """Configurations of the two models, and the token that asks for a mask."""

    model_type = "medgrpo_sa2va"
    has_no_defaults_at_init = True

    def __init__(
        self,
        vlm_config: dict[str, Any] | PretrainedConfig | None = None,
        sam_config: dict[str, Any] | PretrainedConfig | None = None,
        seg_token_id: int | None = None,
        **rest: Any,
    ) -> None:
        self.vlm_config = _config_of(vlm_config)
        self.sam_config = _config_of(sam_config)
        self.seg_token_id = seg_token_id
        super().__init__(**rest)

    def get_text_config(self, *args: Any, **kwargs: Any) -> PretrainedConfig:
        """Of the language model."""
        if self.vlm_config is None:
            return self
        return self.vlm_config.get_text_config(*args, **kwargs)


class Sa2VA(PreTrainedModel):  # type: ignore[misc]
    """One model that is saved, loaded, adapted and merged as one."""

    config_class = Sa2VAConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _supports_attention_backend = True
    _no_split_modules: ClassVar[list[str]] = [
        "Qwen2_5_VLDecoderLayer",
        "Qwen3VLTextDecoderLayer",
        "Qwen2DecoderLayer",
        "Qwen3DecoderLayer",
        "LlamaDecoderLayer",
        "InternVLVisionLayer",
    ]

    def __init__(self, config: Sa2VAConfig) -> None:
        super().__init__(config)
        self.vlm = AutoModelForImageTextToText.from_config(config.vlm_config)
        self.sam = AutoModel.from_config(config.sam_config)
        hidden, width = config.get_text_config().hidden_size, self.sam.hidden_dim
        self.text_hidden_fcs = nn.Sequential(
            nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, width), nn.Dropout(0.0)
        )
        self.post_init()

    @property
    def sam_size(self) -> int:
        """Side of the square picture that SAM sees, in pixels."""
        size = self.sam.prompt_encoder.input_image_size
        return int(size if isinstance(size, int) else size[0])

    def get_input_embeddings(self) -> nn.Module:
        """The language model's."""
        return self.vlm.get_input_embeddings()  # type: ignore[no-any-return]

    def get_output_embeddings(self) -> nn.Module:
        """The language model's."""
        return self.vlm.get_output_embeddings()  # type: ignore[no-any-return]

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        """Text alone, by the language model."""
        return self.vlm.generate(*args, **kwargs)

    def forward(
        self,
        sam_pixels: Tensor,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        image_embeddings: list[Tensor] | None = None,
        **vlm_inputs: Any,
    ) -> tuple[Tensor, Tensor]:
        """Mask logits at every [SEG] and token logits.

        Args:
            sam_pixels: (batch, 3, side, side), as `pictures.sam_pixels` prepares them; one picture a text.
            input_ids: (batch, tokens), prompt and answer; each row with exactly one [SEG] in its answer.
            vlm_inputs: what the processor gives besides (`pixel_values`, `image_grid_thw`, …).
        Returns:
            mask logits (batch, side / 4, side / 4), float32; token logits (batch, tokens, vocabulary).
        """
        outputs = self.vlm(
            input_ids=input_ids,
            attention_mask=attention_mask,
            output_hidden_states=True,
            use_cache=False,
            **vlm_inputs,
        )
        prompts = self.prompts_of(outputs.hidden_states[-1], input_ids)
        features = image_embeddings if image_embeddings is not None else self.see(sam_pixels)
        return self.masks_of(prompts, features), outputs.logits

    def prompts_of(self, hidden: Tensor, input_ids: Tensor) -> Tensor:
        """SAM's prompt from the hidden state at the last [SEG] of each row, (batch, width).

        Raises:
            ValueError: a row has none.
        """
        is_seg = input_ids == self.config.seg_token_id
        if not bool(is_seg.any(dim=1).all()):
            raise ValueError(f"a row has no {SEG}: there is nothing to prompt a mask with")
        last = input_ids.shape[1] - 1 - is_seg.flip(1).int().argmax(dim=1)
        states = hidden[torch.arange(len(hidden), device=hidden.device), last]
        kind = next(self.text_hidden_fcs.parameters()).dtype
        return self.text_hidden_fcs(states.to(kind))  # type: ignore[no-any-return]

    def see(self, sam_pixels: Tensor) -> list[Tensor]:
        """SAM's feature maps of pictures, fine to coarse. No gradient where nothing of the encoder is trained."""
        needs = any(parameter.requires_grad for parameter in self.sam.vision_encoder.parameters())
        with torch.set_grad_enabled(needs and torch.is_grad_enabled()):
            pixels = sam_pixels.to(self.sam.no_memory_embedding.dtype)
            seen = self.sam.get_image_features(pixels, return_dict=True)
            maps = list(seen.fpn_hidden_states if hasattr(seen, "fpn_hidden_states") else seen[0])
            maps[-1] = maps[-1] + self.sam.no_memory_embedding
            return [
                each.permute(1, 2, 0).reshape(len(pixels), -1, *size)
                for each, size in zip(maps, self.sam.backbone_feature_sizes, strict=True)
            ]

    def masks_of(self, prompts: Tensor, features: list[Tensor]) -> Tensor:
        """Logits of the mask that the decoder rates best of its three, (batch, side / 4, side / 4), float32."""
        batch = len(prompts)
        kind = prompts.dtype
        points = torch.zeros(batch, 1, 1, 2, dtype=kind, device=prompts.device)
        labels = torch.full((batch, 1, 1), NO_POINT, dtype=torch.int32, device=prompts.device)
        sparse, dense = self.sam.prompt_encoder(points, labels, None, None)
        positions = self.sam.get_image_wide_positional_embeddings().repeat(batch, 1, 1, 1)
        masks, ratings, _, _ = self.sam.mask_decoder(
            image_embeddings=features[-1],
            image_positional_embeddings=positions,
            sparse_prompt_embeddings=torch.cat([sparse, prompts[:, None, None].to(sparse.dtype)], dim=2),
            dense_prompt_embeddings=dense,
            multimask_output=True,
            high_resolution_features=features[:-1],
        )
        best = ratings[:, 0].argmax(dim=-1)
        return masks[torch.arange(batch, device=best.device), 0, best].float()  # type: ignore[no-any-return]


def at_size(logits: Tensor, side: int, size: tuple[int, int]) -> Tensor:
    """Logits brought to (height, width), by way of SAM's side, bilinearly; (batch, height, width)."""
    large = interpolate(logits[:, None].float(), size=(side, side), mode="bilinear", align_corners=False)
    if size != (side, side):
        large = interpolate(large, size=size, mode="bilinear", align_corners=False)
    return large[:, 0]


def _config_of(value: dict[str, Any] | PretrainedConfig | None) -> PretrainedConfig | None:
    if not isinstance(value, dict):
        return value
    value = dict(value)
    return AutoConfig.for_model(value.pop("model_type"), **value)


AutoConfig.register(Sa2VAConfig.model_type, Sa2VAConfig)
AutoModel.register(Sa2VAConfig, Sa2VA)
