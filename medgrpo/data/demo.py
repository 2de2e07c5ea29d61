"""The demo set: generated pictures with the look of CT, MRI and X-ray, and questions about them.

Every picture is a body outline with inner structure (which shows the plane), a texture (which shows the
modality) and none, one or two bright lesions in one half; some lesions are faint. Questions are
in English and Chinese. The set is written as an ordinary prepared dataset, so nothing downstream knows
that it is the demo.

The reference answers are always right. The completions that the warm start imitates (`chosen`) are
written the way hurried reports are: see `Carelessness`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from medgrpo.data.schema import new_row
from medgrpo.rows import Row

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from medgrpo.data.prepared import PreparedDataset

Modality = Literal["CT", "MRI", "X-ray"]
Plane = Literal["axial", "coronal", "sagittal"]
Side = Literal["left", "right"]
Language = Literal["en", "zh"]
Kind = Literal["lesion", "left", "right", "side", "count", "plane", "modality"]

SIDE_PX = 56
"""Width and height of a picture: 4 x 4 patches of 14 px, four image tokens."""


PROMPT_TEMPLATE = "short"
"""Template whose instruction is a few tokens long: half a million weights read no instructions anyway."""
FAINT_SHARE = 0.35
"""Share of pictures whose lesions are faint; they can be seen, only less well."""


@dataclass(frozen=True)
class Phantom:
    """What a generated picture shows."""

    modality: Modality
    plane: Plane
    lesions: int
    side: Side
    """Half of the picture that holds the lesions; of no meaning without lesions."""
    faint: bool


@dataclass(frozen=True)
class Carelessness:
    """How often the completions of the warm start fall short of the reference, as written reports do.

    What the reader saw (`<think>`) is always right and complete. The conclusion is where a careless report
    hedges, leaves out, or breaks the form; it never states a wrong finding.
    """

    uncounted: float = 0.7
    """Share of counts given as "some" where there are lesions to count."""
    hedge_faint: float = 0.6
    """Share of faint lesions that the report will not commit itself on."""
    hedge_clear: float = 0.1
    """The same for obvious lesions and for pictures without any."""
    plane_unstated: float = 0.6
    """Share of reports without the plane. Of the questions in VQA-RAD 81 % come without it."""
    broken_format: float = 0.15
    """Share of completions with a tag left out or left open."""


@dataclass(frozen=True)
class DemoSize:
    """Pictures of each split; each has `questions_per_picture` questions."""

    train: int = 1200
    validation: int = 150
    test: int = 600
    questions_per_picture: int = 2


_KIND_SHARES: dict[Kind, float] = {
    "lesion": 0.22,
    "left": 0.14,
    "right": 0.14,
    "side": 0.18,
    "count": 0.16,
    "plane": 0.08,
    "modality": 0.08,
}
_QUESTIONS: dict[Language, dict[Kind, tuple[str, ...]]] = {
    "en": {
        "lesion": ("Is there a lesion?", "Does the picture show a lesion?"),
        "left": ("Is the lesion on the left of the picture?", "Is the left side affected?"),
        "right": ("Is the lesion on the right of the picture?", "Is the right side affected?"),
        "side": ("On which side is the lesion?", "Which side is affected?"),
        "count": ("How many lesions are there?", "What is the number of lesions?"),
        "plane": ("In which plane was this taken?", "What plane is this?"),
        "modality": ("Which modality is this?", "How was this picture taken?"),
    },
    "zh": {
        "lesion": ("图中有病灶吗？", "能看到病灶吗？"),
        "left": ("病灶在图像左侧吗？", "病灶位于左侧吗？"),
        "right": ("病灶在图像右侧吗？", "病灶位于右侧吗？"),
        "side": ("病灶在哪一侧？", "哪一侧有病灶？"),
        "count": ("有几个病灶？", "病灶数量是多少？"),
        "plane": ("这是哪个切面？", "图像是什么切面？"),
        "modality": ("这是哪种影像？", "图像是什么检查？"),
    },
}
_CLOSED: frozenset[Kind] = frozenset({"lesion", "left", "right"})
_NEEDS_LESION: frozenset[Kind] = frozenset({"left", "right", "side"})
_QUESTION_TYPES: dict[Kind, str] = {
    "lesion": "PRES",
    "left": "POS",
    "right": "POS",
    "side": "POS",
    "count": "COUNT",
    "plane": "PLANE",
    "modality": "MODALITY",
}
_CHINESE = {
    "axial": "横断面",
    "coronal": "冠状面",
    "sagittal": "矢状面",
    "CT": "CT",
    "MRI": "MRI",
    "X-ray": "X光",
    "left": "左侧",
    "right": "右侧",
}
_HEDGE = {"en": "cannot tell", "zh": "无法判断"}
_SOME = {"en": "some", "zh": "若干"}
_UNSTATED = {"en": "not stated", "zh": "未说明"}


# --------------------------------------------------------------------------------------- pictures


def sample_phantom(rng: np.random.Generator, kind: Kind) -> Phantom:
    """A phantom about which a question of this kind can be asked, with all its answers equally likely."""
    modality: Modality = ("CT", "MRI", "X-ray")[rng.integers(3)]
    # A radiograph is never axial.
    planes: tuple[Plane, ...] = (
        ("coronal", "sagittal") if modality == "X-ray" else ("axial", "coronal", "sagittal")
    )
    plane = planes[rng.integers(len(planes))]
    lesions = int(rng.integers(3))
    if kind == "lesion":
        lesions = 0 if rng.random() < 0.5 else int(rng.integers(1, 3))
    elif kind in ("left", "right", "side"):
        lesions = int(rng.integers(1, 3))
    return Phantom(
        modality, plane, lesions, ("left", "right")[rng.integers(2)], bool(rng.random() < FAINT_SHARE)
    )


def draw(phantom: Phantom, rng: np.random.Generator) -> NDArray[np.uint8]:
    """The picture of a phantom: uint8, (56, 56), grey."""
    import numpy as np

    y, x = np.mgrid[0:SIDE_PX, 0:SIDE_PX].astype(np.float32)
    x, y = (
        (x + 0.5) / SIDE_PX * 2 - 1 - rng.normal(0, 0.03),
        (y + 0.5) / SIDE_PX * 2 - 1 - rng.normal(0, 0.03),
    )
    radius, inside_structures = _outline(phantom.plane, x, y)
    picture = _texture(phantom.modality, radius, inside_structures, rng)
    for centre_x, centre_y, size in _lesion_places(phantom, rng):
        blob = np.clip(1.6 - np.hypot(x - centre_x, y - centre_y) / size, 0, 1)
        strength = 0.55 if phantom.faint else 1.0
        picture = picture * (1 - blob * strength) + blob * strength
    picture += rng.normal(0, 0.03, picture.shape)
    grey: NDArray[np.uint8] = (np.clip(picture, 0, 1) * 255).astype(np.uint8)
    return grey


def _outline(plane: Plane, x: NDArray[np.float32], y: NDArray[np.float32]) -> tuple[Any, Any]:
    """Distance from the middle (1 on the body's edge) and a mask of the inner structures."""
    import numpy as np

    if plane == "axial":  # broad oval, a pair of organs
        structures = (np.hypot((np.abs(x) - 0.38) / 0.2, y / 0.34) < 1) | (np.hypot(x, y - 0.5) < 0.13)
        return np.hypot(x / 0.9, y / 0.68), structures
    if plane == "coronal":  # tall, a spine in the middle with ribs
        structures = (np.abs(x) < 0.09) | ((np.abs(np.mod(y * 2.6, 1) - 0.5) < 0.16) & (np.abs(x) < 0.5))
        return np.hypot(x / 0.66, y / 0.95), structures
    # Sagittal: a profile, flat at the back, with a curved spine along it.
    structures = (np.abs(x - 0.38 + 0.3 * y**2) < 0.09) & (np.mod(y * 3, 1) < 0.75)
    return np.hypot(x / np.where(x > 0, 0.66, 0.92), y / 0.85), structures


def _texture(modality: Modality, radius: Any, structures: Any, rng: np.random.Generator) -> Any:
    """Grey values in [0, 1] of the body without lesions."""
    import numpy as np

    inside = radius < 1
    if modality == "CT":  # bright bone ring, even tissue
        picture = np.where(inside, 0.32, 0.0) + np.where(inside & structures, 0.14, 0.0)
        return np.where(np.abs(radius - 0.93) < 0.1, 0.9, picture)
    if modality == "MRI":  # no ring, coarse bright and dark tissue
        blocks = rng.normal(0, 0.09, (SIDE_PX // 4, SIDE_PX // 4)).repeat(4, 0).repeat(4, 1)
        return np.where(inside, 0.36 + blocks, 0.03) + np.where(inside & structures, -0.16, 0.0)
    # X-ray: bright surroundings, dark body, bones as lighter bands.
    return np.where(inside, 0.2, 0.72) + np.where(inside & structures, 0.18, 0.0)


def _lesion_places(phantom: Phantom, rng: np.random.Generator) -> Iterator[tuple[float, float, float]]:
    """Centre x, y and radius of each lesion, in half-widths of the picture; two lie one above the other."""
    sign = -1 if phantom.side == "left" else 1
    rows = {0: (), 1: (rng.uniform(-0.4, 0.4),), 2: (rng.uniform(-0.42, -0.28), rng.uniform(0.28, 0.42))}
    for centre_y in rows[phantom.lesions]:
        yield sign * rng.uniform(0.22, 0.42), centre_y, rng.uniform(0.13, 0.18)


# -------------------------------------------------------------------------------------- questions


def reference_answer(phantom: Phantom, kind: Kind, language: Language) -> str:
    """The right answer to a question of this kind."""
    word = _CHINESE if language == "zh" else {}
    if kind == "lesion":
        yes, no = ("有", "没有") if language == "zh" else ("yes", "no")
        return yes if phantom.lesions else no
    if kind in ("left", "right"):
        yes, no = ("是", "不是") if language == "zh" else ("yes", "no")
        return yes if phantom.side == kind else no
    value = {"side": phantom.side, "count": str(phantom.lesions), "plane": phantom.plane}.get(
        kind, phantom.modality
    )
    return word.get(value, value)


def describe(phantom: Phantom, language: Language) -> str:
    """One sentence on the whole picture, as the thinking part of a completion."""
    if language == "zh":
        faint = "浅淡" if phantom.faint else ""
        finding = f"{_CHINESE[phantom.side]}{phantom.lesions}个{faint}病灶" if phantom.lesions else "无病灶"
        return f"{_CHINESE[phantom.modality]}，{_CHINESE[phantom.plane]}，{finding}。"
    noun = ("faint " if phantom.faint else "") + ("lesion" if phantom.lesions == 1 else "lesions")
    finding = f"{phantom.lesions} {noun} on the {phantom.side}" if phantom.lesions else "no lesion"
    return f"{phantom.modality}, {phantom.plane} plane, {finding}."


def careless_completion(
    phantom: Phantom, kind: Kind, language: Language, how: Carelessness, rng: np.random.Generator
) -> str:
    """A completion as a hurried report would put it; without carelessness, the ideal one."""
    uncounted = kind == "count" and phantom.lesions > 0 and rng.random() < how.uncounted
    hedge_rate = how.hedge_faint if phantom.faint and phantom.lesions else how.hedge_clear
    about_lesion = kind not in ("plane", "modality")
    hedged, unstated, broken = rng.random(3) < (
        hedge_rate if about_lesion else 0.0,
        how.plane_unstated if kind != "plane" else 0.0,
        how.broken_format,
    )
    word = _CHINESE if language == "zh" else {}
    answer = reference_answer(phantom, kind, language)
    if uncounted:
        answer = _SOME[language]
    elif hedged:
        answer = _HEDGE[language]
    thought = describe(phantom, language)
    plane = _UNSTATED[language] if unstated else word.get(phantom.plane, phantom.plane)
    modality = word.get(phantom.modality, phantom.modality)
    parts = [
        f"<think>{thought}</think>",
        f"<answer>{answer}</answer>",
        f"<plane>{plane}</plane>",
        f"<modality>{modality}</modality>",
    ]
    if broken:
        at = int(rng.integers(len(parts)))
        if rng.random() < 0.5:
            del parts[at]
        else:
            parts[at] = parts[at][: parts[at].rindex("<")]
    return "".join(parts)


# ---------------------------------------------------------------------------------------- dataset


def write_demo_dataset(
    folder: str | Path,
    *,
    seed: int = 0,
    size: DemoSize | None = None,
    carelessness: Carelessness | None = None,
) -> PreparedDataset:
    """The demo set as a prepared dataset in `folder`; the same seed gives the same files.

    Args:
        folder: must not exist, or be empty.
        seed: of pictures and questions. Splits are drawn one after the other and share no picture.
        size: pictures per split.
        carelessness: of the completions in `chosen`, which supervised fine-tuning imitates.
    """
    import numpy as np
    from PIL import Image

    from medgrpo.data.prepared import PreparedWriter

    size, how = size or DemoSize(), carelessness or Carelessness()
    content, pixels = hashlib.sha256(), hashlib.sha256()
    with PreparedWriter(folder) as writer:
        for index, split in enumerate(("train", "validation", "test")):
            rng = np.random.default_rng([seed, index])
            rows: list[Row] = []
            for number in range(getattr(size, split)):
                kind = _choose(list(_KIND_SHARES), rng)
                phantom = sample_phantom(rng, kind)
                picture = draw(phantom, rng)
                pixels.update(picture.tobytes())
                name = f"{split}-{number:05d}"
                Image.fromarray(picture).save(writer.folder / f"images/{name}.png", compress_level=1)
                rows += _questions(
                    phantom, kind, name, len(rows), rng, size, how if split == "train" else None
                )
            content.update(json.dumps(rows, ensure_ascii=False, sort_keys=True).encode())
            writer.write(split, rows)
        return writer.finish(
            {
                "name": "demo",
                "task": "vqa",
                "source": "medgrpo.data.demo",
                "seed": seed,
                "split_by": "image",
                "images": size.train + size.validation + size.test,
                "image_tokens": {"min": 4, "median": 4, "max": 4},
                "carelessness": asdict(how),
                "prompt_template": PROMPT_TEMPLATE,
                "hash": hashlib.sha256(content.digest() + pixels.digest()).hexdigest(),
                "pixels_hash": pixels.hexdigest(),
            }
        )


def _choose(kinds: list[Kind], rng: np.random.Generator) -> Kind:
    shares = [_KIND_SHARES[kind] for kind in kinds]
    return kinds[rng.choice(len(kinds), p=[share / sum(shares) for share in shares])]


def _questions(
    phantom: Phantom,
    kind: Kind,
    picture: str,
    first_row: int,
    rng: np.random.Generator,
    size: DemoSize,
    how: Carelessness | None,
) -> list[Row]:
    """The rows of one picture: the first question of this kind, each further one of another kind and in the
    other language; with `how`, a careless completion for each."""
    languages: list[Language] = ["en", "zh"] if rng.random() < 0.5 else ["zh", "en"]
    rows = []
    unasked: list[Kind] = [k for k in _KIND_SHARES if phantom.lesions or k not in _NEEDS_LESION]
    for turn in range(size.questions_per_picture):
        language = languages[turn % 2]
        wordings = _QUESTIONS[language][kind]
        rows.append(
            new_row(
                id=f"{picture}-{turn}",
                question=wordings[rng.integers(len(wordings))],
                answer=reference_answer(phantom, kind, language),
                images=[f"images/{picture}.png"],
                image_id=picture,
                language=language,
                answer_type="closed" if kind in _CLOSED else "open",
                question_type=_QUESTION_TYPES[kind],
                plane=phantom.plane,
                modality=phantom.modality,
                label_source="generator",
                caption=describe(phantom, language),
                chosen=careless_completion(phantom, kind, language, how, rng) if how else None,
                width=SIDE_PX,
                height=SIDE_PX,
                image_tokens=(SIDE_PX // 28) ** 2,
                source="demo",
                source_file="medgrpo.data.demo",
                source_row=first_row + turn,
            )
        )
        unasked.remove(kind)
        if not unasked:
            break
        kind = _choose(unasked, rng)
    return rows


def demo_texts() -> list[str]:
    """Texts that the demo model's tokenizer should spell briefly: every question and kind of completion."""
    import numpy as np

    rng = np.random.default_rng(0)
    how = Carelessness(broken_format=0.0)
    texts: list[str] = []
    for language, questions in _QUESTIONS.items():
        for kind, wordings in questions.items():
            texts += list(wordings) * 10
            texts += [
                careless_completion(sample_phantom(rng, kind), kind, language, how, rng) for _ in range(100)
            ]
    return texts
