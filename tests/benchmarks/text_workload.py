"""A GRPO-sized batch of tagged completions, and the rewards as a careful Python author would write them."""

from __future__ import annotations

import random
import re
import unicodedata
from collections import Counter

GENERATIONS = 8
PROMPTS = 512

_QUESTIONS = [
    ("Is there a pleural effusion on the left?", "yes", ["yes", "No.", "Yes, a small effusion is seen.", "no evidence of effusion"]),
    ("What abnormality is seen?", "left lower lobe pneumonia", ["left lower lobe pneumonia", "pneumonia", "Pneumonia of the left lower lobe", "right lower lobe pneumonia"]),
    ("Which organs are visible?", "lung, spinal cord", ["spinal cord and lungs", "lung", "Lung, Spinal Cord", "heart, lung"]),
    ("图像异常吗？", "是的", ["异常", "正常", "是的，有异常", "未见异常"]),
    ("图中最大的器官是什么？", "肺", ["肺部", "心脏", "图中最大的器官是肺。", "肝脏"]),
    ("How large is the mass?", "3.4 cm", ["34 mm", "3.4 cm", "about 5 cm", "The mass measures 3.4cm."]),
]  # fmt: skip
_THOUGHTS_EN = [
    "The image shows both lungs with sharp costophrenic angles, and the cardiac silhouette is not enlarged. ",
    "There is an area of increased density at the left base, which silhouettes the hemidiaphragm. ",
    "I compare the two sides and look for air bronchograms, pleural fluid and shift of the mediastinum. ",
]
_THOUGHTS_ZH = [
    "图像显示双侧肺野，纹理清晰，纵隔居中，心影大小正常，未见明显占位性病变。",
    "左下肺可见片状高密度影，边界模糊，与左侧膈面分界不清。",
    "对比两侧肺野，注意支气管充气征、胸腔积液以及纵隔移位等征象。",
]
_PLANES = ["axial", "coronal", "PA", "横断面"]
_MODALITIES = ["CT", "MRI T2", "chest X-ray", "ultrasound"]

Columns = dict[str, list[str]]


def make_batch(seed: int = 0) -> tuple[list[str], Columns]:
    """512 prompts × 8 completions of 450 to 800 characters, half of them Chinese, and their columns."""
    chance = random.Random(seed)
    completions: list[str] = []
    columns: Columns = {"question": [], "answer": [], "plane": [], "modality": []}
    for _ in range(PROMPTS):
        question, reference, answers = chance.choice(_QUESTIONS)
        plane, modality = chance.choice(_PLANES), chance.choice(_MODALITIES)
        for _ in range(GENERATIONS):
            is_chinese = not question.isascii() or chance.random() < 0.25
            thoughts, count = (_THOUGHTS_ZH, 14) if is_chinese else (_THOUGHTS_EN, 7)
            thought = "".join(chance.choice(thoughts) for _ in range(chance.randint(count - 2, count + 2)))
            completions.append(
                f"<think>\n{thought}\n</think>\n<answer>{chance.choice(answers)}</answer>\n"
                f"<plane>{chance.choice(_PLANES)}</plane>\n<modality>{chance.choice(_MODALITIES)}</modality>"
            )
            for name, value in (("question", question), ("answer", reference), ("plane", plane)):
                columns[name].append(value)
            columns["modality"].append(modality)
    return completions, columns


def fresh(texts: list[str]) -> list[str]:
    """New string objects, as decoding makes them: no cached UTF-8, no cached hash."""
    return [text.encode().decode() for text in texts]


FORMAT = re.compile(
    r"\s*<think>.*?</think>\s*<answer>(.*?)</answer>\s*<plane>(.*?)</plane>\s*<modality>(.*?)</modality>\s*",
    re.DOTALL | re.IGNORECASE,
)
_PUNCTUATION = re.compile(r"[^\w\s]")
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def normalise(text: str) -> str:
    """SQuAD's normal form after NFKC."""
    text = unicodedata.normalize("NFKC", text).lower()
    return " ".join(_ARTICLES.sub(" ", _PUNCTUATION.sub(" ", text)).split())


def python_rewards(completions: list[str], columns: Columns) -> list[tuple[float, float, float, float]]:
    """Format, answer, plane and modality with compiled regular expressions and rapidfuzz."""
    from rapidfuzz import fuzz

    scores = []
    rows = zip(completions, columns["answer"], columns["plane"], columns["modality"], strict=True)
    for completion, answer, plane, modality in rows:
        match = FORMAT.fullmatch(completion)
        if match is None:
            scores.append((0.0, 0.0, 0.0, 0.0))
            continue
        said, wanted = normalise(match[1]), normalise(answer)
        score = float(said == wanted)
        if not score and wanted not in {"yes", "no"}:
            words, reference = said.split(), wanted.split()
            both = sum((Counter(words) & Counter(reference)).values())
            f1 = 2 * both / (len(words) + len(reference)) if words else 0.0
            score = max(f1, fuzz.ratio(said, wanted) / 100)
        same_plane = float(normalise(match[2]) == normalise(plane))
        same_modality = float(normalise(match[3]) == normalise(modality))
        scores.append((1.0, score, same_plane, same_modality))
    return scores
