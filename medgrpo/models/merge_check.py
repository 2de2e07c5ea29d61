"""Is the merged model the adapter's function? Logits and greedy answers of the written files beside W + scale·B·A.

Four functions answer the same prompts, all in float32 arithmetic, each weight fetched when its layer is computed:
the base, the base with the adapter's changes unrounded, the written files, and (where it fits into memory) base and
adapter as PEFT loads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medgrpo.errors import MedgrpoError
from medgrpo.models.overflow import no_finite_logits

if TYPE_CHECKING:
    import torch

    from medgrpo.models.skeleton import Skeleton

PROMPTS = (
    "Which plane is shown?",
    "Is there evidence of a pleural effusion?",
    "这张图像是什么模态？",
    "Where is the lesion, left or right?",
)
ANSWER_TOKENS = 8
LARGE, TOKENS_OF_LARGE = 1_000_000_000, 4
"""Of a model with so many weights the answers are shorter: each token reads all of them again."""
MOST = {"float32": 1e-3, "float16": 0.03, "bfloat16": 0.2}
"""Largest difference that rounding to a type explains, root mean square over the spread of the logits. Above it the
merged model is refused."""
MOST_OF_PEFT = 1e-3


@dataclass(frozen=True)
class Check:
    """Differences of logits over all positions of prompts and answers.

    Attributes:
        prompts: how many.
        effect: largest change of a logit that the adapter makes.
        rounding: largest difference between the written files and the unrounded adapter.
        effect_rms, rounding_rms: the same as root mean squares.
        spread: standard deviation of the logits, which `rounding_rms` is held against.
        top1_agreement: share of positions where both would choose the same token.
        equal_answers: prompts whose greedy answer (`ANSWER_TOKENS` long) is the same.
        peft: largest difference between PEFT and the unrounded adapter; None where not compared.
        quantization: largest difference between the written files and the adapter on the 4-bit base it was trained on.
    """

    prompts: int
    dtype: str
    effect: float
    rounding: float
    effect_rms: float
    rounding_rms: float
    spread: float
    top1_agreement: float
    equal_answers: int
    peft: float | None = None
    quantization: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    @property
    def is_coarse(self) -> bool:
        """Whether rounding takes away much of what the adapter does."""
        return self.rounding_rms > 0.25 * self.effect_rms


def check_merge(
    skeleton: Skeleton,
    merged: Path,
    *,
    base: Callable[[str], torch.Tensor],
    adapted: Callable[[str], torch.Tensor],
    base_folder: Path,
    adapter: Path | None,
    is_quantized: bool,
    dtype: str,
    prompts: int,
    notes: list[str],
    trust: bool,
) -> Check:
    """Compare the written files with the adapter on its base.

    Args:
        skeleton: of the base.
        merged: the written folder.
        base, adapted: weight by name, float32: of the base, and with the adapters' changes.
        base_folder: where PEFT loads the base from.
        adapter: the only adapter, for PEFT; None: PEFT is not asked.
        is_quantized: whether it was trained on the base in 4 bits.
        dtype: type of the written weights, by its name.
        prompts: how many.
        notes: what could not be compared is added.
    Raises:
        MedgrpoError: the written files are not the adapter's function.
    """
    from medgrpo.models.shards import open_shards
    from medgrpo.models.skeleton import Skeleton

    own = Skeleton.open(merged, trust_remote_code=trust)
    shards = open_shards(merged)
    stored = {own.name_of(name): (shard, name) for shard in shards for name in shard.entries}

    def written(name: str) -> torch.Tensor:
        shard, place = stored[name if name in stored else own.source_of(name)]
        return shard.get(place)

    inputs = model_inputs(merged, own.is_vision, prompts, trust=trust)
    length = inputs["input_ids"].shape[1]
    with own.running(adapted) as model:
        is_large = sum(prod(shape) for shape in own.shapes.values()) > LARGE
        inputs, wanted = _answered(model, inputs, TOKENS_OF_LARGE if is_large else ANSWER_TOKENS)
    if not bool(wanted.isfinite().all()):
        changed = ((name, adapted(name)) for name in own.shapes)
        raise no_finite_logits("base + adapter, nothing was written", changed, "float32")
    before = _with(skeleton, base, inputs)
    after = _with(own, written, inputs)
    check = _compared(before, wanted, after, inputs, length, dtype)
    del before
    check = _refused(check)
    if adapter is not None:
        check = _with_peft(check, skeleton, base_folder, adapter, inputs, wanted, notes, trust=trust)
    if is_quantized:
        check = _with_four_bits(check, own, base, adapted, inputs, after, notes)
    return check


def model_inputs(
    folder: Path, is_vision: bool, count: int, *, trust: bool = False
) -> dict[str, torch.Tensor]:
    """`count` questions as one batch, each with a drawn picture where the model takes pictures."""
    from transformers import AutoProcessor, AutoTokenizer

    processor = (AutoProcessor if is_vision else AutoTokenizer).from_pretrained(
        folder, trust_remote_code=trust
    )
    tokenizer = getattr(processor, "tokenizer", processor)
    tokenizer.padding_side = "left"
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    texts, images = [], []
    for index in range(count):
        question: Any = PROMPTS[index % len(PROMPTS)]
        if is_vision:
            question = [{"type": "image"}, {"type": "text", "text": question}]
            images.append([_drawn_image(index)])
        texts.append(
            processor.apply_chat_template(
                [{"role": "user", "content": question}], tokenize=False, add_generation_prompt=True
            )
        )
    pictures = {"images": images} if images else {}
    return dict(processor(text=texts, return_tensors="pt", padding=True, **pictures))


def _drawn_image(index: int) -> Any:
    import numpy as np
    from PIL import Image

    pixels = np.random.default_rng(index).integers(0, 255, (112, 112, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def _answered(
    model: Any, inputs: dict[str, torch.Tensor], tokens: int
) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
    """The prompts with the model's greedy answers, and its logits on all of it."""
    import torch

    with torch.inference_mode():
        whole = model.generate(
            **inputs,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            do_sample=False,
            num_beams=1,
            suppress_tokens=_marks(model.config),
        )
        added = whole.shape[1] - inputs["input_ids"].shape[1]
        longer = {**inputs, "input_ids": whole}
        for name, fill in (("attention_mask", 1), ("token_type_ids", 0), ("mm_token_type_ids", 0)):
            if name in inputs:
                tail = torch.full((whole.shape[0], added), fill, dtype=inputs[name].dtype)
                longer[name] = torch.cat([inputs[name], tail], dim=1)
        return longer, _logits(model, longer)


def _marks(config: Any) -> list[int] | None:
    """Tokens that stand for a picture or a video: in an answer they would ask for one that is not there."""
    names = ("image_token_id", "image_token_index", "video_token_id", "video_token_index")
    found = {token for name in names if isinstance(token := getattr(config, name, None), int)}
    return sorted(found) or None


def _with(
    skeleton: Skeleton, fetch: Callable[[str], torch.Tensor], inputs: dict[str, torch.Tensor]
) -> torch.Tensor:
    with skeleton.running(fetch) as model:
        return _logits(model, inputs)


def _logits(model: Any, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
    """(positions, vocabulary) of all positions that are no padding."""
    import torch

    with torch.inference_mode():
        found = model(**inputs, use_cache=False).logits
    return found[inputs["attention_mask"].bool()].float()  # type: ignore[no-any-return]


def _compared(
    before: torch.Tensor,
    wanted: torch.Tensor,
    after: torch.Tensor,
    inputs: dict[str, torch.Tensor],
    length: int,
    dtype: str,
) -> Check:
    chosen, written = wanted.argmax(-1), after.argmax(-1)
    answers = 0
    for place in _answer_positions(inputs, length):
        answers += bool((chosen[place] == written[place]).all())
    effect, rounding = wanted - before, after - wanted
    return Check(
        prompts=inputs["input_ids"].shape[0],
        dtype=dtype,
        effect=float(effect.abs().max()),
        rounding=float(rounding.abs().max()),
        effect_rms=float(effect.square().mean().sqrt()),
        rounding_rms=float(rounding.square().mean().sqrt()),
        spread=float(wanted.std()),
        top1_agreement=float((chosen == written).float().mean()),
        equal_answers=answers,
    )


def _answer_positions(inputs: dict[str, torch.Tensor], length: int) -> Iterator[slice]:
    """Of each prompt the positions that choose its answer's tokens, among those that are no padding."""
    end = 0
    for mask in inputs["attention_mask"]:
        end += int(mask.sum())
        yield slice(end - (mask.shape[0] - length) - 1, end - 1)


def _refused(check: Check) -> Check:
    import math

    limit = MOST[check.dtype] * check.spread
    if math.isfinite(check.effect) and math.isfinite(check.rounding) and check.rounding_rms <= limit:
        return check
    raise MedgrpoError(
        f"the merged model is not base + adapter: logits differ by {check.rounding_rms:.3g} (root mean square), "
        f"{check.rounding:.3g} at most; nothing was written",
        expected=f"at most {limit:.3g}, {MOST[check.dtype]:g} of the logits' spread, which rounding to {check.dtype} explains",
        hint="--dtype float32" if check.dtype != "float32" and math.isfinite(check.rounding) else None,
    )


def _with_peft(
    check: Check,
    skeleton: Skeleton,
    base_folder: Path,
    adapter: Path,
    inputs: dict[str, torch.Tensor],
    wanted: torch.Tensor,
    notes: list[str],
    *,
    trust: bool,
) -> Check:
    from dataclasses import replace

    from medgrpo.models.adapters import load_adapter
    from medgrpo.models.loading import load_model

    needed = 4 * sum(prod(shape) for shape in skeleton.shapes.values())
    if needed > _free_memory() / 3:
        notes.append(
            f"not compared with PEFT's own loading, which would take {needed / 2**30:.0f} GiB; the files were compared with "
            "W + scale·B·A"
        )
        return check
    model = load_model(str(base_folder), dtype="float32", trust_remote_code=trust).model
    found = _logits(load_adapter(model, adapter, base=str(base_folder)).eval(), inputs)
    difference = float((found - wanted).abs().max())
    if not difference <= MOST_OF_PEFT * max(check.spread, 1.0):
        raise MedgrpoError(
            f"the adapter as PEFT loads it differs by {difference:.3g} in a logit from W + scale·B·A of its files; nothing was written",
            expected=f"at most {MOST_OF_PEFT * max(check.spread, 1.0):.3g}",
            hint="was it saved by another version of PEFT?",
        )
    return replace(check, peft=difference)


def _free_memory() -> int:
    """Bytes that a process may take without others being swapped out; a large number where the system does not say."""
    try:
        lines = Path("/proc/meminfo").read_text("ascii").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration, ValueError):
        return 1 << 34


def _with_four_bits(
    check: Check,
    own: Skeleton,
    base: Callable[[str], torch.Tensor],
    adapted: Callable[[str], torch.Tensor],
    inputs: dict[str, torch.Tensor],
    after: torch.Tensor,
    notes: list[str],
) -> Check:
    """How far the merged model is from the adapter on the 4-bit base that it was trained on."""
    from dataclasses import replace

    import torch

    from medgrpo.install import how_to_install
    from medgrpo.models.four_bit import four_bit_error, is_available

    if not is_available():
        notes.append(
            "trained on the base in 4 bits and merged into the base as it is stored; how far that is from training "
            f"was not measured: {how_to_install('qlora')}"
        )
        return check
    linear = {f"{name}.weight" for name, module in own.modules.items() if isinstance(module, torch.nn.Linear)}
    linear -= {f"{name}.weight" for name in own.modules if name.rpartition(".")[2] == "lm_head"}

    def trained(name: str) -> torch.Tensor:
        value = adapted(name)
        return value + four_bit_error(base(name)) if name in linear else value

    difference = float((_with(own, trained, inputs) - after).abs().max())
    return replace(check, quantization=difference)
