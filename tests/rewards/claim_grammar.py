"""A grammar of answers: questions, entities, properties, orders, retractions, denials and wrappers, composed.

Every case carries its truth by construction: what the completion claims is chosen first, then the reference, so no
matcher is asked. The entities and properties are words that the matcher's own tables mostly do not have.
`cases(count, seed)` gives the same cases for the same numbers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Case:
    """One completion with the verdict that its construction gives."""

    family: str
    language: str
    question: str
    answer: str
    completion: str
    expected: int
    options: dict[str, str] | None = field(default=None)


Family = Callable[[random.Random], Iterator[Case]]

PAIRED = [
    "ovary",
    "hip",
    "tonsil",
    "parathyroid",
    "clavicle",
    "maxillary sinus",
    "acetabulum",
    "psoas muscle",
    "adrenal gland",
    "submandibular gland",
    "tibia",
    "kidney",
    "lung",
    "breast",
    "femoral head",
    "iliac artery",
]
SINGLE = [
    "thymus",
    "urachus",
    "epiglottis",
    "cricoid",
    "stomach",
    "spleen",
    "pylorus",
    "seminal vesicle",
    "falx",
    "appendix",
    "liver",
    "pancreas",
    "septum",
    "coccyx",
]
PROPERTIES = [
    "engorged",
    "ragged",
    "effaced",
    "perforated",
    "necrotic",
    "lacerated",
    "swollen",
    "enlarged",
    "atrophic",
    "abnormal",
    "fractured",
    "infarcted",
    "scarred",
    "displaced",
    "calcified",
]
HEALTHY = [
    "normal",
    "unremarkable",
    "healthy",
    "intact",
    "spared",
    "unaffected",
    "preserved",
    "within normal limits",
]
FINDINGS = [
    "a bezoar",
    "an abscess",
    "a nodule",
    "a hematoma",
    "a polyp",
    "pneumatosis",
    "a fistula",
    "an aneurysm",
    "free air",
    "a fracture",
    "a stricture",
    "ascites",
    "an effusion",
    "a granuloma",
]
ASIDE = [
    "The patient is 54 years old.", "The picture was taken last year.", "Image quality is good.", "The field of view is adequate.",
    "The exposure is adequate.", "No motion artefact disturbs the reading.", "The bones are well seen.", "The technician labelled the film.",
    "The study was done in the emergency department.", "Clinical correlation is advised.", "A follow-up is planned.",
]  # fmt: skip
GENERAL = [
    "{} is a common diagnosis.", "{} is often seen in farmers.", "{} may be seen in travellers.", "{} is one of the leading causes of admission.",
    "{} usually follows exposure.", "{} is rare in children.", "In the tropics, {} is common.",
]  # fmt: skip
THOUGHTS = [
    "Let me look at the picture first.",
    "I go through the structures one by one.",
    "I start with the overall impression.",
    "First I check the technique.",
]

PAIRED_ZH = [
    "卵巢",
    "扁桃体",
    "锁骨",
    "上颌窦",
    "肾脏",
    "肺",
    "乳腺",
    "髋关节",
    "股骨头",
    "肾上腺",
    "胫骨",
    "颌下腺",
]
SINGLE_ZH = ["胸腺", "会厌", "幽门", "阑尾", "脾脏", "肝脏", "胰腺", "胆囊", "尾骨", "心脏"]
PROPERTIES_ZH = ["萎缩", "肿胀", "异常", "增大", "坏死", "破裂", "钙化", "积液", "骨折", "受压"]
HEALTHY_ZH = ["正常", "未见异常", "无异常", "大小形态正常", "未受累", "完好"]
FINDINGS_ZH = ["脓肿", "结节", "血肿", "息肉", "瘘管", "动脉瘤", "骨折", "积液", "肉芽肿", "占位"]
ASIDE_ZH = [
    "患者54岁。",
    "图像质量良好。",
    "检查在急诊完成。",
    "建议随访。",
    "扫描范围足够。",
    "曝光条件合适。",
    "图像拍摄于去年。",
]
THOUGHTS_ZH = ["先看整体情况。", "逐一观察各个结构。", "首先判断图像质量。"]


def capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def dress(chance: random.Random, text: str) -> str:
    """What must not change a verdict: case, end marks, emphasis, blanks, tags."""
    choice = chance.randrange(9)
    if choice == 0:
        text = text.upper() if text.isascii() else text
    elif choice == 1:
        text = text[:1].lower() + text[1:]
    elif choice == 2:
        text = f"**{text}**"
    elif choice == 3:
        text = f"  {text}\n"
    elif choice == 4:
        text = text.rstrip(".。")
    elif choice == 5:
        text = f"<think>…</think><answer>{text}</answer>"
    elif choice == 6:
        text = f"{text}<|im_end|>"
    return text


def surround(chance: random.Random, text: str, chinese: bool) -> str:
    """The same answer among sentences about something else."""
    thoughts, aside = (THOUGHTS_ZH, ASIDE_ZH) if chinese else (THOUGHTS, ASIDE)
    gap = "" if chinese else " "
    before = [chance.choice(thoughts)] * chance.randrange(2) + [chance.choice(aside)] * chance.randrange(2)
    after = [chance.choice(aside)] * chance.randrange(2)
    return gap.join([*before, text, *after])


def select_side(chance: random.Random) -> Iterator[Case]:
    """Which of two sides has a property: the claim about the other side is no answer and no contradiction."""
    organ, quality, healthy = chance.choice(PAIRED), chance.choice(PROPERTIES), chance.choice(HEALTHY)
    ill, well = chance.sample(["left", "right"], 2)
    question = chance.choice([
        f"Which {organ} is {quality}?", f"Which of the two sides has the {quality} {organ}?", f"Is it the left or the right {organ} that is {quality}?",
        f"On which side is the {organ} {quality}?",
    ])  # fmt: skip
    bad = chance.choice(
        [
            f"the {ill} {organ} is {quality}",
            f"the {ill} {organ} looks {quality}",
            f"the {ill} one is {quality}",
        ]
    )
    good = chance.choice([
        f"the {well} {organ} is {healthy}", f"the {well} {organ} appears {healthy}", f"the {well} one is {healthy}", f"the {well} {organ} is not {quality}",
    ])  # fmt: skip
    pair = [bad, good]
    chance.shuffle(pair)
    joint = chance.choice([". ", "; ", " and ", ", while ", ", whereas ", ", but ", "\n"])
    if joint in (". ", "\n"):
        pair[1] = capital(pair[1])
    both = capital(pair[0]) + joint + pair[1] + "."
    forms = [
        both,
        surround(chance, both, chinese=False),
        capital(ill) + ".",
        f"The {ill} {organ}.",
        f"{capital(ill)}; the {well} {organ} is {healthy}.",
        f"{capital(ill)} ({good}).",
        f"The {ill} {organ}, not the {well} one.",
        f"The {well} {organ}. Correction: the {ill} {organ}.",
        f"The {well} one - wait, no, the {ill} one.",
        f"At first glance the {well} {organ} is {quality}, but it is the {ill} {organ}.",
        f"Not the {well} {organ}; the {ill} one.",
        f"{both} So the answer is {ill}.",
        f"I looked at both sides. {both}",
    ]
    completion = dress(chance, chance.choice(forms))
    for wanted in ("left", "right"):
        answer = chance.choice([wanted, f"{wanted} {organ}"])
        yield Case("side", "en", question, answer, completion, int(wanted == ill))


def select_side_zh(chance: random.Random) -> Iterator[Case]:
    organ, quality, healthy = (
        chance.choice(PAIRED_ZH),
        chance.choice(PROPERTIES_ZH),
        chance.choice(HEALTHY_ZH),
    )
    ill, well = chance.sample(["左", "右"], 2)
    question = chance.choice(
        [f"哪侧{organ}{quality}？", f"左侧还是右侧{organ}{quality}？", f"{organ}{quality}的是哪一侧？"]
    )
    bad = chance.choice(
        [f"{ill}侧{organ}{quality}", f"{ill}侧{organ}可见{quality}", f"{ill}侧{organ}明显{quality}"]
    )
    good = chance.choice([f"{well}侧{organ}{healthy}", f"{well}侧{organ}未见{quality}", f"{well}侧{healthy}"])
    pair = [bad, good]
    chance.shuffle(pair)
    both = chance.choice(["，", "。", "；", "，而", "，但"]).join(pair) + "。"
    forms = [
        both,
        surround(chance, both, chinese=True),
        f"{ill}侧",
        f"{ill}侧{organ}。",
        f"{ill}侧，{well}侧{healthy}。",
        f"是{ill}侧，不是{well}侧。",
        f"{well}侧{organ}。更正：{ill}侧{organ}。",
        f"{well}侧，不对，是{ill}侧。",
        f"乍看{well}侧{organ}{quality}，但其实是{ill}侧。",
        f"不是{well}侧，而是{ill}侧。",
        f"{both}因此答案是{ill}侧。",
    ]
    completion = dress(chance, chance.choice(forms))
    for wanted in ("左", "右"):
        answer = chance.choice([f"{wanted}侧", f"{wanted}侧{organ}"])
        yield Case("side", "zh", question, answer, completion, int(wanted == ill))


def select_organ(chance: random.Random) -> Iterator[Case]:
    """Which of two organs has a property."""
    ill, well = chance.sample(SINGLE, 2)
    quality, healthy = chance.choice(PROPERTIES), chance.choice(HEALTHY)
    named = [ill, well]
    chance.shuffle(named)
    question = chance.choice(
        [
            f"Which organ is {quality}, the {named[0]} or the {named[1]}?",
            f"Which structure is {quality}: {named[0]} or {named[1]}?",
        ]
    )
    pair = [f"the {ill} is {quality}", f"the {well} is {healthy}"]
    chance.shuffle(pair)
    joint = chance.choice([". ", "; ", " and ", ", whereas ", ", but "])
    if joint == ". ":
        pair[1] = capital(pair[1])
    both = capital(pair[0]) + joint + pair[1] + "."
    forms = [
        both,
        surround(chance, both, chinese=False),
        f"The {ill}.",
        f"The {ill}, not the {well}.",
        f"The {well}. Sorry, the {ill}.",
        f"Not the {well} but the {ill}.",
        f"{both} Therefore the {ill}.",
        f"It is the {ill}; the {well} is {healthy}.",
    ]
    completion = dress(chance, chance.choice(forms))
    for wanted in (ill, well):
        yield Case("organ", "en", question, wanted, completion, int(wanted == ill))


def select_organ_zh(chance: random.Random) -> Iterator[Case]:
    ill, well = chance.sample(SINGLE_ZH, 2)
    quality, healthy = chance.choice(PROPERTIES_ZH), chance.choice(HEALTHY_ZH)
    named = [ill, well]
    chance.shuffle(named)
    question = (
        f"{named[0]}和{named[1]}中哪个{quality}？"
        if chance.random() < 0.3
        else f"{named[0]}还是{named[1]}{quality}？"
    )
    pair = [f"{ill}{quality}", f"{well}{healthy}"]
    chance.shuffle(pair)
    both = chance.choice(["，", "。", "；", "，而"]).join(pair) + "。"
    forms = [
        both,
        surround(chance, both, chinese=True),
        ill,
        f"是{ill}，不是{well}。",
        f"{well}。更正：{ill}。",
        f"不是{well}，而是{ill}。",
        f"{both}因此是{ill}。",
    ]
    completion = dress(chance, chance.choice(forms))
    for wanted in (ill, well):
        yield Case("organ", "zh", question, wanted, completion, int(wanted == ill))


def presence(chance: random.Random) -> Iterator[Case]:
    """Is something there: statements, denials, double denials, retractions, and words that state nothing."""
    finding = chance.choice(FINDINGS)
    noun = finding.removeprefix("an ").removeprefix("a ")
    question = chance.choice(
        [
            f"Is there {finding}?",
            f"Is {finding} present?",
            f"Does the scan show {finding}?",
            f"Is {finding} visible in this CT?",
        ]
    )
    yes = [
        "Yes.", f"There is {finding}.", f"{capital(finding)} is seen.", f"{capital(noun)}: present.", f"The scan shows {finding}.", f"Yes, {finding} is visible.",
        f"It is not true that {noun} is absent.", f"It would be untrue to say that there is no {noun}.", f"{capital(noun)} is not absent.", f"There is no absence of {noun}.", f"It is not true that there is no {noun}.", "There is one.",
        f"I see {finding} on the left.", f"No {noun}. Correction: there is {finding}.", f"At first glance there is no {noun}, but {finding} is seen.",
        f"No. Wait, yes, there is {finding}.", "Certainly.", "Definitely.", f"The bones are normal. There is {finding}. So the answer is yes.",
    ]  # fmt: skip
    no = [
        "No.", f"There is no {noun}.", f"No {noun} is seen.", f"{capital(noun)}: absent.", f"The scan shows no {noun}.", f"No, {noun} is not visible.",
        f"{capital(noun)} is absent.", f"There is an absence of {noun}.", f"It is not true that there is {finding}.", "There is none.", "There isn't one.",
        f"There is {finding}. Correction: there is no {noun}.", f"Yes. Wait, no, there is no {noun}.", f"At first glance there is {finding}, but no {noun} is seen.",
        f"I looked for {finding} but could not find one.", f"It would be wrong to say that there is {finding}.", "Absolutely not.", "Of course not.", f"{capital(noun)} has resolved.", f"I see no {noun}. So the answer is no.",
    ]  # fmt: skip
    nothing = [
        "CT", "The scan was made in 2010.", f"Please look for {finding}.", f"We have to find out whether there is {finding}.", f"The question asks about {finding}.",
        f"{capital(noun)} is a common finding.", f"{capital(noun)} often accompanies infection.", f"{capital(noun)} may be seen with infection.",
        f"{capital(noun)} is a well-known complication of surgery.", f"In the elderly, {noun} is common.", f"{capital(finding)} was the reason for the examination.",
        f"{capital(noun)}?", "A chest CT.", "The scan", chance.choice(ASIDE), f"/data/{noun.replace(' ', '_')}_0041.png",
    ]  # fmt: skip
    kind, forms = chance.choice([("yes", yes), ("no", no), ("", nothing)])
    text = chance.choice(forms)
    if kind and text not in ("Certainly.", "Definitely.") and chance.random() < 0.3:
        text = surround(chance, text, chinese=False)
    completion = dress(chance, text)
    for wanted in ("yes", "no"):
        yield Case("presence", "en", question, wanted, completion, int(wanted == kind))


def presence_zh(chance: random.Random) -> Iterator[Case]:
    noun = chance.choice(FINDINGS_ZH)
    question = chance.choice(
        [f"是否有{noun}？", f"有{noun}吗？", f"图中是否存在{noun}？", f"能看到{noun}吗？"]
    )
    yes = ["是。", "有。", f"有{noun}。", f"可见{noun}。", f"{noun}：有。", f"图中可见{noun}。", f"是的，存在{noun}。", f"并非没有{noun}。", f"不是没有{noun}。",
           f"没有{noun}。更正：有{noun}。", f"乍看没有{noun}，但仔细看有{noun}。", "当然。", f"骨骼正常。可见{noun}。因此答案是有。"]  # fmt: skip
    no = ["否。", "没有。", f"没有{noun}。", f"未见{noun}。", f"{noun}：无。", f"图中未见{noun}。", f"不，没有{noun}。", f"并非有{noun}。",
          f"有{noun}。更正：没有{noun}。", f"乍看有{noun}，但其实没有{noun}。", f"{noun}已消失。", "当然没有。", "绝对没有。"]  # fmt: skip
    nothing = [
        "CT图像",
        "这是一张CT图像。",
        f"请判断是否有{noun}。",
        f"需要判断是否有{noun}。",
        "图像拍摄于去年。",
        f"{noun}？",
        "胸部CT",
        f"{noun}常见于老年人。",
        f"{noun}多见于吸烟者。",
        f"{noun}往往见于成人。",
        f"{noun}是常见的并发症。",
    ]
    kind, forms = chance.choice([("有", yes), ("没有", no), ("", nothing)])
    text = chance.choice(forms)
    if kind and text != "当然。" and chance.random() < 0.3:
        text = surround(chance, text, chinese=True)
    completion = dress(chance, text)
    for wanted in ("有", "没有"):
        yield Case("presence", "zh", question, wanted, completion, int(wanted == kind))


def quality(chance: random.Random) -> Iterator[Case]:
    """Has an organ a property."""
    organ, trait, healthy = chance.choice(SINGLE), chance.choice(PROPERTIES), chance.choice(HEALTHY)
    other = chance.choice([s for s in SINGLE if s != organ])
    question = chance.choice([f"Is the {organ} {trait}?", f"Does the {organ} look {trait}?"])
    yes = [
        f"The {organ} is {trait}.",
        "Yes.",
        f"Yes, the {organ} is {trait}.",
        f"It is {trait}.",
        f"The {other} is {healthy}, but the {organ} is {trait}.",
        f"The {organ} appears {trait}.",
    ]
    no = [
        f"The {organ} is not {trait}.",
        "No.",
        f"No, the {organ} is {healthy}.",
        f"It is not {trait}.",
        f"The {organ} is {healthy}.",
        f"The {other} is {trait}, but the {organ} is not {trait}.",
    ]
    nothing = [
        f"The {organ} is shown.",
        chance.choice(ASIDE),
        f"Please look at the {organ}.",
        f"We ask whether the {organ} is {trait}.",
    ]
    kind, forms = chance.choice([("yes", yes), ("no", no), ("", nothing)])
    text = chance.choice(forms)
    if kind and chance.random() < 0.3:
        text = surround(chance, text, chinese=False)
    completion = dress(chance, text)
    for wanted in ("yes", "no"):
        yield Case("quality", "en", question, wanted, completion, int(wanted == kind))


CHOICES = {"A": "amyloidosis", "B": "brucellosis", "C": "cryptococcosis", "D": "dirofilariasis"}


def letters(chance: random.Random) -> Iterator[Case]:
    """Letters in wrappers, letters ruled out, several letters."""
    chosen, *others = chance.sample("ABCD", 4)
    other = others[0]
    text = CHOICES[chosen]
    one = [
        chosen, f"({chosen})", f"{chosen}.", f"{chosen})", f"; {chosen}", f"- {chosen}", f"> {chosen}", f'"{chosen}"', f"'{chosen}'", f"`{chosen}`", f"**{chosen}**",
        f'{{"answer": "{chosen}"}}', f'```json\n{{"answer": "{chosen}"}}\n```', rf"\boxed{{{chosen}}}", rf"$\boxed{{\text{{{chosen}}}}}$", f"option {chosen.lower()}",
        f"Option ({chosen.lower()})", f"The answer is {chosen}.", f"Answer: {chosen}", f"Final answer: {chosen}", f"{chosen}. {text}", f"{chosen}: {text}", text, f"It is {text}.",
        f"I would choose {chosen}.", f"{', '.join(sorted(others[:2]))} and {others[2]} are wrong. The answer is {chosen}.", f"Not {others[0]}, {others[1]} or {others[2]}; therefore {chosen}.",
        f"{other} is wrong; {chosen} fits best.", f"{chosen} is correct, {other} is not.", f"{other}. Wait, no, {chosen}.", f"{chosen} (confidence 90%)", f"{chosen}</s>", f"答案是{chosen}",
        f"选{chosen}", f"{other}不正确，应选{chosen}。", f"The correct answer is {chosen}, because {other} can be excluded.", f"{capital(text)} ({chosen})",
        f"{other} can be ruled out, so {chosen}.", f"I considered {other}, but {chosen} is the best choice.",
    ]  # fmt: skip
    several = [
        f"{chosen} or {other}", f"{chosen} and {other}", f"Both {chosen} and {other}", f"{chosen}/{other}", f"{chosen}, {other}", f"{chosen}; {other}", f"({chosen}) or ({other})",
        f"{chosen}或{other}", f"{chosen}和{other}", "A or B or C or D", "A, B, C, D", f"Either {chosen} or {other}.", f"{text} or {CHOICES[other]}", f"{chosen}. {text} or {other}. {CHOICES[other]}",
        f"The answer is {chosen} or {other}.", f"{chosen}{other}",
    ]  # fmt: skip
    none = [
        f"{chosen} is wrong.",
        f"Not {chosen}.",
        "I cannot tell.",
        "None of them can be chosen.",
        f"{chosen}不正确。",
    ]
    question = "Which disease is it?"
    kind, forms = chance.choice([("one", one), ("one", one), ("several", several), ("none", none)])
    completion = chance.choice(forms)
    if chance.random() < 0.2:
        completion = f"<think>{chance.choice(THOUGHTS)}</think><answer>{completion}</answer>"
    language = "en" if completion.isascii() else "zh"
    for wanted in (chosen, other):
        yield Case(
            "letters",
            language,
            question,
            wanted,
            completion,
            int(kind == "one" and wanted == chosen),
            CHOICES,
        )


def tagged(chance: random.Random) -> Iterator[Case]:
    """Thoughts that begin in the prompt, thoughts without an end, tags within thoughts, tags twice."""
    finding = chance.choice(FINDINGS)
    said = chance.choice(["yes", "no"])
    other = {"yes": "no", "no": "yes"}[said]
    thought = chance.choice(
        [f"Is there {finding}? Perhaps {other}.", "I look at the picture.", f"My first guess is {other}."]
    )
    whole = [
        f"{thought}</think>\n{said}", f"{thought}</think>\n\n{capital(said)}.", f"<think>{thought}</think>{said}", f"<think>{thought}</think><answer>{said}</answer>",
        f"<answer>{said}</answer><answer>{said}</answer>", f"<think>I might write <answer>{other}</answer> here.</think><answer>{said}</answer>",
        f"{thought}</think><answer>{said}</answer>", f"<think></think>{said}<|im_end|>",
    ]  # fmt: skip
    broken = [
        f"<think>{thought} So {said}",
        f"<think>{said}",
        f"<answer>{said}</answer><answer>{other}</answer>",
        f"<answer>{said}",
        "<think></think>",
        f"<think>{thought}</think>",
    ]
    is_whole = chance.random() < 0.6
    completion = chance.choice(whole if is_whole else broken)
    for wanted in ("yes", "no"):
        yield Case("tags", "en", f"Is there {finding}?", wanted, completion, int(is_whole and wanted == said))


ROMAN = ["", "I", "II", "III", "IV"]
WORDS = ["", "one", "two", "three", "four", "five"]
ORDINALS = ["", "first", "second", "third", "fourth", "fifth"]
HAN = ["", "一", "二", "三", "四", "五"]
MONTHS = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
]


def notation(chance: random.Random) -> Iterator[Case]:
    """The same value in two notations, and another value in the same one."""
    kind = chance.choice(["lumbar", "disc", "scale", "size", "bound", "range", "percent", "date"])
    if kind == "lumbar":
        value, wrong = chance.sample(range(1, 6), 2)

        def spell(n: int) -> list[str]:
            return [
                f"L{n}",
                f"L {n}",
                f"L-{n}",
                f"the {ORDINALS[n]} lumbar vertebra",
                f"{ORDINALS[n]} lumbar vertebral body",
                f"腰{n}",
                f"第{HAN[n]}腰椎",
                f"腰{n}椎体",
                f"at L{n}",
            ]

        question = "Which vertebra is fractured?"
    elif kind == "disc":
        value, wrong = chance.sample(range(1, 5), 2)

        def spell(n: int) -> list[str]:
            return [
                f"L{n}/{n + 1}",
                f"L{n}-{n + 1}",
                f"L{n}-L{n + 1}",
                f"L{n}/L{n + 1}",
                f"the L{n}-L{n + 1} level",
                f"腰{n}/{n + 1}",
            ]

        question = "At which level is the protrusion?"
    elif kind == "scale":
        scale = chance.choice(["stage", "grade"])
        value, wrong = chance.sample(range(1, 5), 2)
        han = {"stage": "期", "grade": "级"}[scale]

        def spell(n: int) -> list[str]:
            return [
                f"{scale} {n}",
                f"{capital(scale)} {ROMAN[n]}",
                f"{scale} {ROMAN[n].lower()}",
                f"{scale} {WORDS[n]}",
                f"{ROMAN[n]}{han}",
                f"{n}{han}",
                f"It is {scale} {ROMAN[n]}.",
            ]

        question = f"What {scale} is the tumor?"
        other_scale = {"stage": "grade", "grade": "stage"}[scale]
        yield Case("notation", "en", question, f"{scale} {ROMAN[value]}", f"{other_scale} {ROMAN[value]}", 0)
    elif kind in ("size", "bound", "range"):
        value, wrong = chance.sample(range(11, 90), 2)
        if abs(value - wrong) < 0.1 * max(value, wrong):
            wrong = value + 60
        sign = {"size": "", "bound": chance.choice(["less than ", "more than "]), "range": ""}[kind]

        def spell(n: int) -> list[str]:
            if kind == "range":
                return [
                    f"{n}-{n + 7} mm",
                    f"{n} to {n + 7} mm",
                    f"between {n} and {n + 7} mm",
                    f"from {n} to {n + 7} mm",
                    f"{n / 10}-{(n + 7) / 10} cm",
                ]
            mm, cm = f"{n} mm", f"{n / 10} cm"
            if kind == "size":
                return [
                    mm,
                    cm,
                    f"{n}mm",
                    f"about {cm}",
                    f"It measures {mm}.",
                    f"{n}毫米",
                    f"{n / 10}厘米",
                    f"{n} millimetres",
                ]
            mark, words = (
                ("<", ["under", "smaller than", "below"])
                if sign == "less than "
                else (">", ["over", "larger than", "above"])
            )
            return [
                f"{sign}{mm}",
                f"{mark} {mm}",
                f"{mark}{cm}",
                *(f"{w} {cm}" for w in words),
                f"{'小于' if mark == '<' else '大于'}{n}毫米",
            ]

        question = "How large is it?"
        if kind == "bound":
            opposite = {"less than ": "more than ", "more than ": "less than "}[sign]
            yield Case("notation", "en", question, f"{sign}{value} mm", f"{opposite}{value} mm", 0)
            yield Case("notation", "en", question, f"{sign}{value} mm", f"{value} mm", 0)
    elif kind == "percent":
        value, wrong = chance.sample(range(21, 100), 2)

        def han(n: int) -> str:
            tens, ones = divmod(n, 10)
            digits = ["", *"一二三四五六七八九"]
            return f"百分之{digits[tens]}十{digits[ones]}"

        def spell(n: int) -> list[str]:
            return [f"{n}%", f"{n} %", f"{n} percent", han(n), f"about {n}%"]

        question = "What share is affected?"
    else:
        value, wrong = chance.sample(
            [(y, m, d) for y in (2011, 2019, 2023) for m in range(1, 13) for d in (13, 17, 28)], 2
        )

        def spell(n: tuple[int, int, int]) -> list[str]:  # type: ignore[misc]
            year, month, day = n
            name = MONTHS[month - 1]
            return [
                f"{day} {name} {year}",
                f"{name} {day}, {year}",
                f"{year}-{month:02}-{day:02}",
                f"{day:02}.{month:02}.{year}",
                f"{year}年{month}月{day}日",
                f"on {day} {name} {year}",
            ]

        question = "When was the picture taken?"
    reference, right, bad = (
        chance.choice(spell(value)[:2]),
        chance.choice(spell(value)),
        chance.choice(spell(wrong)),
    )
    for completion, expected in ((right, 1), (bad, 0)):
        language = "en" if completion.isascii() else "zh"
        yield Case("notation", language, question, reference, completion, expected)


def beside(chance: random.Random) -> Iterator[Case]:
    """A sentence about something else never pays, whatever is asked."""
    organ, trait = chance.choice(PAIRED), chance.choice(PROPERTIES)
    asked = [
        (f"Which {organ} is {trait}?", chance.choice(["left", "right"])),
        (f"Is the {organ} {trait}?", chance.choice(["yes", "no"])),
        ("What is the diagnosis?", chance.choice(["brucellosis", "mycetoma", "pneumonia"])),
        ("How many lesions are there?", chance.choice(["2", "3"])),
        ("哪侧肾脏萎缩？", chance.choice(["左侧", "右侧"])),
        ("是否有积液？", chance.choice(["有", "没有"])),
    ]
    question, answer = chance.choice(asked)
    chinese = not question.isascii()
    texts = ASIDE_ZH + THOUGHTS_ZH if chinese else ASIDE + THOUGHTS
    if question.startswith("Which"):
        texts = [
            *texts,
            f"The {answer} {organ} is more commonly {trait}.",
            f"Usually the {answer} {organ} is {trait}.",
        ]
    elif question.startswith("What"):
        texts = [*texts, *(general.format(capital(answer)) for general in GENERAL)]
    elif question.startswith("是否"):
        texts = [*texts, "积液常见于老年人。", "积液往往见于心衰患者。", "积液是常见的并发症。"]
    text = chance.choice(texts)
    yield Case("beside", "zh" if chinese else "en", question, answer, dress(chance, text), 0)


TUMORS = [
    "chordoma",
    "hepatoblastoma",
    "retinoblastoma",
    "pilomatricoma",
    "ependymoma",
    "thymoma",
    "seminoma",
    "craniopharyngioma",
]
CAUSES = [
    "brucellosis",
    "leptospirosis",
    "tularemia",
    "psittacosis",
    "filariasis",
    "babesiosis",
    "listeriosis",
    "nocardiosis",
]


def remark(chance: random.Random) -> Iterator[Case]:
    """A bare name answers; a remark about another one does not."""
    said, other = chance.sample(TUMORS, 2)
    question = chance.choice(
        ["What is the diagnosis?", "Which tumor is it?", "What is the most likely diagnosis?"]
    )
    tells = chance.choice([
        f"{other} has another stain", f"{other} is treated by radiation", f"{other} grows far more slowly", f"{other} arises in adults",
        f"{other} isn't associated with seizures", f"{other} metastasizes to the bones",
    ])  # fmt: skip
    forms = [
        f"{capital(said)}; {tells}.", f"{capital(said)}. {capital(tells)}.", f"{capital(said)}, whereas {tells}.", f"It is {said}; {tells}.",
        f"{capital(said)}, not {other}.", f"The diagnosis is {said}. {capital(tells)}.",
    ]  # fmt: skip
    completion = dress(chance, chance.choice(forms))
    for wanted in (said, other):
        yield Case("remark", "en", question, wanted, completion, int(wanted == said))


def cause(chance: random.Random) -> Iterator[Case]:
    """What is denied as the cause is none."""
    said, other = chance.sample(CAUSES, 2)
    question = chance.choice(
        [
            "What is the cause of the fever?",
            "What is the cause of this patient's fever?",
            "What explains the fever?",
        ]
    )
    both = [
        f"{capital(other)} is not the cause; {said} is.", f"{capital(other)} cannot explain it. It is {said}.", f"{capital(said)}; {other} does not account for it.",
        f"{capital(said)}. {capital(other)} is not the reason.", f"{capital(other)} isn't the culprit, but {said} is.", f"Not {other} but {said}.",
    ]  # fmt: skip
    denied = [
        f"{capital(other)} is not the cause.", f"{capital(other)} cannot explain it.", f"{capital(other)} does not account for it.",
        f"{capital(other)} is not the cause of the fever.", f"{capital(other)} isn't the explanation.", f"{capital(other)} is not to blame.",
    ]  # fmt: skip
    names_it = chance.random() < 0.6
    completion = dress(chance, chance.choice(both if names_it else denied))
    for wanted in (said, other):
        yield Case("cause", "en", question, wanted, completion, int(names_it and wanted == said))


def earlier(chance: random.Random) -> Iterator[Case]:
    """The size of another time, or of another thing, is not the size that is asked for."""
    now, then = chance.sample(range(11, 90, 6), 2)
    question, text = chance.choice([
        ("What is the size of the nodule?", [
            f"{now} mm, previously {then} mm.", f"{now} mm, up from {then} mm in 2021.", f"It now measures {now} mm; it measured {then} mm two years ago.",
            f"The nodule measures {now} mm (previously {then} mm).", f"{now} mm, compared with {then} mm on the prior study.", f"Nodule of {now} mm, formerly {then} mm.",
            f"{now} mm; the aorta measures {then} mm.", f"{now / 10} cm, down from {then / 10} cm last year.",
        ]),
        ("结节大小是多少？", [
            f"{now}毫米，前次为{then}毫米。", f"现约{now}毫米，2021年为{then}毫米。", f"结节约{now}mm，上次{then}mm。", f"目前{now}毫米，去年{then}毫米。",
        ]),
    ])  # fmt: skip
    completion = dress(chance, chance.choice(text))
    for wanted in (now, then):
        language = "en" if question.isascii() else "zh"
        yield Case("earlier", language, question, f"{wanted} mm", completion, int(wanted == now))


def image_side(chance: random.Random) -> Iterator[Case]:
    """The side of the image is the other side of the patient."""
    image, patient = chance.sample(["left", "right"], 2)
    asks_image = chance.random() < 0.5
    question = (
        "On which side of the image is the mass?"
        if asks_image
        else chance.choice(["On which side is the mass?", "Which side is the mass on?"])
    )
    forms = [
        f"It lies on the {image} of the image, which is the patient's {patient}.", f"Image {image}, that is the patient's {patient}.",
        f"On the {image} side of the picture, i.e. the patient's {patient} side.", f"The patient's {patient}, which is the {image} of the image.",
    ]  # fmt: skip
    completion = dress(chance, chance.choice(forms))
    for wanted in ("left", "right"):
        yield Case(
            "image side",
            "en",
            question,
            wanted,
            completion,
            int(wanted == (image if asks_image else patient)),
        )


def sequences(chance: random.Random) -> Iterator[Case]:
    """The signal on another sequence is beside the point."""
    asked, other = chance.sample(["T1", "T2"], 2)
    signal, opposite = chance.sample(["high", "low"], 2)
    question = f"What is the signal of the lesion on {asked}?"
    forms = [
        f"The lesion has {signal} signal on {asked} and {opposite} signal on {other}.", f"{capital(signal)} signal on {asked}; {opposite} signal on {other}.",
        f"{capital(opposite)} signal on {other}, {signal} signal on {asked}.", f"It shows {opposite} signal on {other} and {signal} signal on {asked}.",
    ]  # fmt: skip
    completion = dress(chance, chance.choice(forms))
    for wanted in ("high", "low"):
        yield Case("sequences", "en", question, f"{wanted} signal", completion, int(wanted == signal))


FAMILIES: list[Family] = [
    select_side, select_side, select_side_zh, select_side_zh, select_organ, select_organ_zh, presence, presence, presence_zh, presence_zh, quality, letters, letters, tagged,
    notation, notation, beside, remark, cause, earlier, image_side, sequences,
]  # fmt: skip


def cases(count: int, seed: int) -> list[Case]:
    """The first `count` cases of the seed."""
    chance = random.Random(seed)
    found: list[Case] = []
    while len(found) < count:
        found.extend(chance.choice(FAMILIES)(chance))
    return found[:count]
