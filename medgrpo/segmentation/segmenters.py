"""Models that answer with a mask, each behind one face: examples in, one logit per pixel out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError, UsageError
from medgrpo.files import foreign_json, read_json
from medgrpo.foreign import reads
from medgrpo.models.folders import BUILT_IN_MASK_MODELS, is_hub_name

if TYPE_CHECKING:
    from torch import Tensor

    from medgrpo.segmentation.examples import Example

UNET = "unet"
"""`--model unet`: the built-in network, drawn from the seed."""
DEMO_SA2VA = "sa2va-tiny"
"""`--model sa2va-tiny`: Sa2VA at a thousandth of its size, drawn from the seed."""
BUILT_IN = BUILT_IN_MASK_MODELS


@dataclass
class Segmenter(ABC):
    """A model and what its inputs are made with. `model` may be wrapped later: every call is given the one to use."""

    model: Any
    processor: Any | None = None
    """Saved beside the weights; None where there is none."""
    notes: list[str] = field(default_factory=list)
    """What a user should know of how it was loaded."""
    adapter_pattern: str | None = None
    """Regular expression over the modules that LoRA is put on; None: it has no adapter."""
    trained_whole: tuple[str, ...] = ()
    """Names of modules that are trained as they are beside the adapter."""

    @abstractmethod
    def logits(self, model: Any, examples: Sequence[Example]) -> list[Tensor]:
        """Logits of each example, (height, width) of its picture, float32, differentiable."""

    def save(self, folder: Path) -> None:
        """Weights and processor as a folder that `load_segmenter` opens."""
        self.model.save_pretrained(folder)
        if self.processor is not None:
            self.processor.save_pretrained(folder)

    def text_log_prob(self) -> Tensor | None:
        """Log-probabilities of the answers' tokens in the last call of `logits`; None where the model writes none."""
        return None

    @property
    def native_side(self) -> int | None:
        """Side of the grid that masks come on, in pixels; None: the picture's own."""
        return None


class PixelSegmenter(Segmenter):
    """The U-Net: any size, pixels in [0, 1]."""

    def logits(self, model: Any, examples: Sequence[Example]) -> list[Tensor]:
        """See `Segmenter.logits`; pictures of one size go through together."""
        import torch

        found: list[Any] = [None] * len(examples)
        for size in dict.fromkeys(example.size for example in examples):
            places = [place for place, example in enumerate(examples) if example.size == size]
            pixels = torch.stack([_pixels(examples[place], _device(self.model)) for place in places])
            logits = model(pixel_values=pixels).float()
            for place, one in zip(places, logits, strict=True):
                found[place] = one
        return found


class SemanticSegmenter(Segmenter):
    """Any `AutoModelForSemanticSegmentation`: foreground against background where it has two labels."""

    def logits(self, model: Any, examples: Sequence[Example]) -> list[Tensor]:
        """See `Segmenter.logits`; bilinear to the picture's size."""
        assert self.processor is not None
        found = []
        for example in examples:
            inputs = self.processor(images=_image(example), return_tensors="pt")
            raw = model(pixel_values=inputs["pixel_values"].to(_device(self.model))).logits.float()
            one = raw[:, 1] - raw[:, 0] if raw.shape[1] == 2 else raw[:, 0]
            found.append(_to_size(one, example.size)[0])
        return found


@dataclass
class ClipSegmenter(Segmenter):
    """CLIPSeg: a picture and a phrase."""

    prompt: str = "blood vessel"

    def logits(self, model: Any, examples: Sequence[Example]) -> list[Tensor]:
        """See `Segmenter.logits`."""
        assert self.processor is not None
        found = []
        for example in examples:
            inputs = self.processor(text=[self.prompt], images=[_image(example)], return_tensors="pt")
            raw = model(**inputs.to(_device(self.model))).logits.float()
            found.append(_to_size(raw.reshape(1, *raw.shape[-2:]), example.size)[0])
        return found


class SamSegmenter(Segmenter):
    """SAM 2 or SAM 3's tracker, prompted with a box over the whole picture."""

    @property
    def native_side(self) -> int:
        """A quarter of the side that SAM sees."""
        return self._side() // 4

    def _side(self) -> int:
        size = _inner(self.model).prompt_encoder.input_image_size
        return int(size if isinstance(size, int) else size[0])

    def logits(self, model: Any, examples: Sequence[Example]) -> list[Tensor]:
        """See `Segmenter.logits`."""
        import torch

        from medgrpo.segmentation.sa2va.inputs import sam_pixels
        from medgrpo.segmentation.sa2va.model import at_size

        side, found = self._side(), []
        box = torch.tensor([[[0.0, 0.0, side, side]]], device=_device(self.model))
        for example in examples:
            pixels = sam_pixels(example.picture, side).to(_device(self.model))
            raw = model(pixel_values=pixels, input_boxes=box, multimask_output=False).pred_masks[:, 0, 0]
            found.append(at_size(raw, side, example.size)[0])
        return found


@dataclass
class Sa2VASegmenter(Segmenter):
    """Sa2VA: prompt, answer with [SEG], mask."""

    prompt: str = "<image>Please segment the blood vessel."
    answer: str = "Sure, [SEG]."
    _text: list[Tensor] = field(default_factory=list)

    @property
    def native_side(self) -> int:
        """A quarter of the side that SAM sees."""
        return int(_inner(self.model).sam_size) // 4

    def logits(self, model: Any, examples: Sequence[Example]) -> list[Tensor]:
        """See `Segmenter.logits`: the masks of the fixed answer."""
        from medgrpo.segmentation.sa2va.inputs import spoken

        return self._masks(model, examples, spoken(self.processor, self.answer))

    def has_mask(self, answer: Sequence[int]) -> bool:
        """Whether an answer asks for exactly one mask."""
        return list(answer).count(int(_inner(self.model).config.seg_token_id)) == 1

    def mask_of(self, model: Any, example: Example, answer: Sequence[int]) -> Tensor:
        """Logits for one answer (tokens), (height, width); its tokens' log-probabilities join `text_log_prob`."""
        return self._masks(model, [example], answer)[0]

    def _masks(self, model: Any, examples: Sequence[Example], answer: Sequence[int]) -> list[Tensor]:
        """Logits of each picture for the same answer. Pictures of as many tokens go through together: nothing is padded."""
        import torch

        from medgrpo.segmentation.sa2va.inputs import encode, sam_pixels
        from medgrpo.segmentation.sa2va.model import at_size

        side, device = int(_inner(self.model).sam_size), _device(self.model)
        made = [encode(self.processor, example.picture, self.prompt, answer) for example in examples]
        alike: dict[Any, list[int]] = {}
        for place, (inputs, start) in enumerate(made):
            alike.setdefault((start, *inputs), []).append(place)
        found: list[Any] = [None] * len(examples)
        said: list[Any] = [None] * len(examples)
        for (start, *names), places in alike.items():
            inputs = {
                name: torch.cat([made[place][0][name] for place in places]).to(device) for name in names
            }
            pixels = torch.cat([sam_pixels(examples[place].picture, side) for place in places])
            raw, words = model(pixels.to(device), **inputs)
            chosen = inputs["input_ids"][:, start:, None]
            spoken = words[:, start - 1 : -1].float().log_softmax(-1).gather(2, chosen)[:, :, 0]
            for row, place in enumerate(places):
                found[place] = at_size(raw[row : row + 1], side, examples[place].size)[0]
                said[place] = spoken[row]
        self._text += said
        return found

    def text_log_prob(self) -> Tensor | None:
        """Of the last call, all answers one after the other; once."""
        import torch

        said, self._text = self._text, []
        return torch.cat(said) if said else None

    def answers(
        self, model: Any, example: Example, count: int, *, max_new_tokens: int = 32, is_greedy: bool = False
    ) -> list[tuple[int, ...]]:
        """Answers drawn at temperature 1 (or the likeliest), as tokens, the end of the turn included.

        A placeholder of a picture is never drawn.
        """
        import torch

        from medgrpo.segmentation.sa2va.inputs import messages_of

        assert self.processor is not None
        text = self.processor.apply_chat_template(
            messages_of(self.prompt), tokenize=False, add_generation_prompt=True
        )
        inputs = self.processor(text=[text], images=[_image(example)], return_tensors="pt")
        inner = _inner(model)
        language = inner.config.vlm_config
        never = [getattr(language, name, None) for name in ("image_token_id", "video_token_id")]
        drawing = {"do_sample": True, "temperature": 1.0, "top_k": 0, "top_p": 1.0}
        with torch.no_grad():
            drawn = inner.generate(
                **inputs.to(_device(self.model)),
                **({"do_sample": False} if is_greedy else drawing),
                num_return_sequences=count,
                max_new_tokens=max_new_tokens,
                suppress_tokens=[token for token in never if token is not None],
            )
        end = self.processor.tokenizer.eos_token_id
        said = drawn[:, inputs["input_ids"].shape[1] :].tolist()
        return [tuple(one[: one.index(end) + 1] if end in one else one) for one in said]


SA2VA_LANGUAGE = r"(?:.*\.)?vlm\.(?:.*\.)?layers\.\d+\.self_attn\.(?:q_proj|k_proj|v_proj|o_proj)"
"""Attention of the language model: vision towers have blocks, or lie under `visual` with other names."""


@reads("path", "a model: config.json, weights")
def is_mask_model(path: str) -> bool:
    """Whether `--model` names something that answers with masks: built in, or its config.json says so, here or on the hub."""
    if path in BUILT_IN:
        return True
    config = read_json(Path(path).expanduser() / "config.json") or _hub_config(path)
    kind = config.get("model_type")
    if kind in ("medgrpo_unet", "medgrpo_sa2va", "sa2va_chat", "clipseg", *SAMS):
        return True
    return any("Segmentation" in str(name) for name in config.get("architectures") or [])


@reads("path", "a model that answers with masks")
def load_segmenter(
    path: str,
    *,
    dtype: str = "auto",
    seed: int = 0,
    prompt: str | None = None,
    sam: str | None = None,
    max_pixels: int | None = None,
    widths: Sequence[int] | None = None,
    trust_remote_code: bool = False,
    revision: str | None = None,
) -> Segmenter:
    """A mask model, in evaluation mode, on the CPU.

    Args:
        path: `unet`, `sa2va-tiny`, a folder, or a hub name.
        dtype: auto (bfloat16 where the GPU has it), float32, bfloat16 or float16.
        seed: of what is drawn.
        prompt: of models that take words; None: their own.
        sam: SAM 2 that a plain vision-language model is put together with.
        max_pixels: largest picture that a language model sees.
        widths: of the U-Net's levels; None: its own.
        trust_remote_code: whether the tokenizer of a released Sa2VA on InternLM2, which is Python code, may run.
        revision: branch, tag or commit of a hub model.
    Raises:
        UsageError: it is no model that answers with masks.
        MedgrpoError: it is neither here nor on the hub.
    """
    if path == UNET:
        return _new_unet(seed, widths)
    if path == DEMO_SA2VA:
        return _demo(seed, prompt)
    path = str(model_folder(path, revision))
    sam = None if sam is None else str(model_folder(sam))
    kind, config = _dtype(dtype), _config(path)
    name = config["model_type"]
    openers: dict[str, Callable[[], Segmenter]] = {
        "medgrpo_unet": lambda: _unet(path),
        "medgrpo_sa2va": lambda: _ours(path, kind, prompt, max_pixels, trust_remote_code),
        "sa2va_chat": lambda: _released(path, config, kind, prompt, max_pixels, trust_remote_code),
        "clipseg": lambda: _clip(path, kind, prompt),
        **dict.fromkeys(SAMS, lambda: _sam(path, name, kind)),
    }
    if name in openers:
        return openers[name]()
    if sam is not None:
        return _put_together(path, sam, kind, seed, prompt, max_pixels)
    return _semantic(path, name, kind)


SAMS = ("sam2", "sam2_video", "sam3_tracker", "sam3_tracker_video")


def _unet(path: str) -> Segmenter:
    from medgrpo.segmentation.unet import UNet

    return PixelSegmenter(UNet.from_pretrained(path).eval())


def _ours(path: str, kind: Any, prompt: str | None, max_pixels: int | None, trust: bool) -> Segmenter:
    from transformers import AutoProcessor

    from medgrpo.segmentation.sa2va.model import Sa2VA

    model = Sa2VA.from_pretrained(path, dtype=kind)
    processor = AutoProcessor.from_pretrained(path, trust_remote_code=trust)
    return _sa2va(model, processor, prompt, max_pixels)


def _released(
    path: str, config: dict[str, Any], kind: Any, prompt: str | None, max_pixels: int | None, trust: bool
) -> Segmenter:
    from medgrpo.segmentation.sa2va.loading import is_released, load_released

    if not is_released(config):
        raise UsageError(
            f"{path}/config.json is of a Sa2VA that names neither text_config nor llm_config",
            expected="a released Sa2VA, on Qwen-VL or on InternVL",
        )
    return _sa2va(*load_released(Path(path), dtype=kind, trust_remote_code=trust), prompt, max_pixels)


def _put_together(
    path: str, sam: str, kind: Any, seed: int, prompt: str | None, max_pixels: int | None
) -> Segmenter:
    from medgrpo.segmentation.sa2va.loading import put_together

    made = _sa2va(*put_together(path, sam, dtype=kind, seed=seed), prompt, max_pixels)
    made.notes.append(
        f"{path} and {sam} are put together: the MLP between them is new, train it by masks-sft first"
    )
    return made


def _clip(path: str, kind: Any, prompt: str | None) -> Segmenter:
    from transformers import AutoProcessor, CLIPSegForImageSegmentation

    model = CLIPSegForImageSegmentation.from_pretrained(path, dtype=kind).eval()
    words = (prompt or "blood vessel").replace("<image>", "").strip()
    return ClipSegmenter(model, AutoProcessor.from_pretrained(path), adapter_pattern=_ATTENTION, prompt=words)


def _new_unet(seed: int, widths: Sequence[int] | None) -> Segmenter:
    import torch

    from medgrpo.segmentation.unet import UNet, UNetConfig

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = UNet(UNetConfig(widths=tuple(widths)) if widths else UNetConfig())
    return PixelSegmenter(model.eval())


def _demo(seed: int, prompt: str | None) -> Segmenter:
    from tempfile import TemporaryDirectory

    from medgrpo.segmentation.sa2va.demo import build_demo_sa2va

    with TemporaryDirectory() as folder:
        return load_segmenter(str(build_demo_sa2va(Path(folder), seed=seed)), dtype="float32", prompt=prompt)


def _sa2va(model: Any, processor: Any, prompt: str | None, max_pixels: int | None) -> Sa2VASegmenter:
    from medgrpo.models.loading import limit_pixels
    from medgrpo.segmentation.sa2va.inputs import ANSWER, PROMPT

    if max_pixels is not None:
        limit_pixels(processor, max_pixels=max_pixels)
    return Sa2VASegmenter(
        model.eval(),
        processor,
        adapter_pattern=SA2VA_LANGUAGE,
        trained_whole=("text_hidden_fcs",),
        prompt=prompt or PROMPT,
        answer=ANSWER,
    )


_ATTENTION = r".*\.(?:q_proj|k_proj|v_proj|o_proj|out_proj|query|key|value)"
_SAM_EYES = r".*vision_encoder\..*\.(?:qkv|attn\.proj|q_proj|k_proj|v_proj|o_proj)"
"""Attention of SAM's image encoder: its mask decoder is trained whole."""


def _sam(path: str, name: str, kind: Any) -> Segmenter:
    import transformers

    chosen = transformers.Sam2Model if name.startswith("sam2") else transformers.Sam3TrackerModel
    model = chosen.from_pretrained(path, dtype=kind).eval()
    return SamSegmenter(model, adapter_pattern=_SAM_EYES, trained_whole=("mask_decoder",))


def _semantic(path: str, name: str, kind: Any) -> Segmenter:
    from transformers import AutoImageProcessor, AutoModelForSemanticSegmentation
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES

    if name not in MODEL_FOR_SEMANTIC_SEGMENTATION_MAPPING_NAMES:
        raise UsageError(
            f"{path} is a {name}, which answers with words",
            expected="a model that answers with masks (Sa2VA, SegFormer and the like, CLIPSeg, SAM 2), or unet",
            hint="--set masks.sam=facebook/sam2.1-hiera-large puts a vision-language model and SAM 2 together",
        )
    labels = int(_config(path).get("num_labels") or len(_config(path).get("id2label") or [0, 1]))
    notes = []
    options: dict[str, Any] = {}
    if labels > 2:
        options = {"num_labels": 1, "ignore_mismatched_sizes": True}
        notes.append(f"{path} has {labels} labels: its head is replaced by a new one for one label")
    model = AutoModelForSemanticSegmentation.from_pretrained(path, dtype=kind, **options).eval()
    processor = AutoImageProcessor.from_pretrained(path)
    # Whole heads: a module inside of one that is trained whole must not be named again.
    heads = [part for part, _ in model.named_children() if part not in (model.base_model_prefix, "backbone")]
    return SemanticSegmenter(model, processor, notes, _ATTENTION, tuple(heads))


def model_folder(path: str, revision: str | None = None) -> Path:
    """The folder of a model: its own, or what the hub has under that name, fetched once.

    Raises:
        MedgrpoError: it is neither here nor on the hub.
    """
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    from huggingface_hub import snapshot_download

    try:
        found = Path(snapshot_download(path, revision=revision, allow_patterns=[*_TEXTS, "*.safetensors"]))
        if not any(found.glob("*.safetensors")):  # older models have nothing else
            found = Path(snapshot_download(path, revision=revision, allow_patterns=[*_TEXTS, "*.bin"]))
    except Exception as error:  # the hub raises many kinds
        raise MedgrpoError(
            f"no mask model at {path}: neither here nor on the hub ({str(error).strip().splitlines()[0]})",
            expected="unet, sa2va-tiny, a model folder, or a hub name",
        ) from error
    return found


_TEXTS = ("*.json", "*.txt", "*.model", "*.jinja", "*.py")
"""Files beside the weights. Python is fetched, for those who allow a tokenizer's, and run for nobody else."""


def _hub_config(path: str) -> dict[str, Any]:
    """config.json of a hub model, empty where there is none to be had."""
    if Path(path).expanduser().exists() or not is_hub_name(path):
        return {}
    from transformers.utils import cached_file

    try:
        found = cached_file(path, "config.json")
    except (OSError, ValueError):
        return {}
    return {} if found is None else read_json(Path(found))


def _config(path: str) -> dict[str, Any]:
    folder = Path(path)
    if not (folder / "config.json").is_file():
        raise UsageError(f"no mask model at {path}: it has no config.json", expected="a model folder")
    stored = foreign_json(folder / "config.json")
    if not isinstance(stored, dict) or "model_type" not in stored:
        raise UsageError(f"{folder}/config.json names no model_type")
    return stored


def _dtype(name: str) -> Any:
    from medgrpo.models.loading import torch_dtype

    return torch_dtype(name)


def _inner(model: Any) -> Any:
    """The model inside of what Accelerate and PEFT put around it."""
    model = getattr(model, "module", model)
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _device(model: Any) -> Any:
    return next(model.parameters()).device


def _image(example: Example) -> Any:
    from PIL import Image

    return Image.fromarray(example.picture)


def _pixels(example: Example, device: Any) -> Tensor:
    """Bytes go to the device, numbers are made there."""
    import torch

    return torch.from_numpy(example.picture.copy()).to(device).permute(2, 0, 1).float() / 255


def _to_size(logits: Tensor, size: tuple[int, int]) -> Tensor:
    from torch.nn.functional import interpolate

    return interpolate(logits[:, None], size=size, mode="bilinear", align_corners=False)[:, 0]
