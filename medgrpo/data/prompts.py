"""From a row to chat messages, and to the completion that supervised fine-tuning learns.

A template says which tags a completion has; the words around the question are in the row's language.
Templates with other words or tags are TOML files: see `load_template`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medgrpo.errors import UsageError, choice_error
from medgrpo.files import check_regular, toml_values
from medgrpo.json_in import json_value
from medgrpo.rows import Row

Messages = list[dict[str, Any]]
Words = Mapping[str, str]
"""Language -> text; `en` is used where the row's language is missing."""

HINTS: Mapping[str, Words] = {
    "think": {"en": "brief reasoning", "zh": "简短的推理"},
    "answer": {"en": "the answer alone, as short as possible", "zh": "只写答案，尽量简短"},
    "plane": {"en": "imaging plane, such as axial", "zh": "成像平面，例如横断面"},
    "modality": {"en": "imaging modality, such as CT", "zh": "成像方式，例如CT"},
    "boxes": {
        "en": 'JSON list, one {"bbox_2d": [x1, y1, x2, y2], "label": "…"} per finding',
        "zh": 'JSON列表，每个病灶一项 {"bbox_2d": [x1, y1, x2, y2], "label": "…"}',
    },
}
"""What a prompt says belongs between the tags."""

COORDINATES: Mapping[str, Words] = {
    "pixel": {"en": "Coordinates are pixels of the image.", "zh": "坐标以图像像素为单位。"},
    "thousand": {
        "en": "Coordinates run from 0 to 1000 along each side of the image.",
        "zh": "坐标沿图像各边从0到1000。",
    },
    "unit": {
        "en": "Coordinates run from 0 to 1 along each side of the image.",
        "zh": "坐标沿图像各边从0到1。",
    },
}
"""What a prompt that asks for boxes says of their numbers, by the row's `box_format`."""

SYSTEM: Words = {
    "en": "You are a careful medical assistant. Answer from what is shown, in the form asked for.",
    "zh": "你是一名严谨的医学助手。请根据所示内容，按要求的格式回答。",
}
FORM: Words = {"en": "Reply in exactly this form: ", "zh": "请严格按照以下格式回答："}
TITLE: Words = {"en": "This is a case of {title}.", "zh": "病例：{title}。"}
OPTIONS: Words = {"en": "Options:", "zh": "选项："}


@dataclass(frozen=True)
class PromptTemplate:
    """The words around a question, and the tags that a completion must have.

    A completion without tags is the bare answer. `system` is empty for no system message. The
    instruction is made from the tags and `hints`, unless `instruction` gives it in full.
    """

    name: str
    tags: tuple[str, ...] = ()
    system: Words = field(default_factory=lambda: dict(SYSTEM))
    instruction: Words = field(default_factory=dict)
    hints: Mapping[str, Words] = field(default_factory=lambda: dict(HINTS))

    def instruction_for(self, language: str, tags: Sequence[str] | None = None) -> str:
        """The sentence that asks for the form, for these tags (default: all of the template's)."""
        if self.instruction and (tags is None or tuple(tags) == self.tags):
            return said(self.instruction, language)
        wanted = self.tags if tags is None else tags
        if not wanted:
            return ""
        form = "".join(f"<{tag}>{said(self.hints.get(tag, {'en': tag}), language)}</{tag}>" for tag in wanted)
        return said(FORM, language) + form

    def with_system(self, text: str | None) -> PromptTemplate:
        """The template with another system prompt in every language; None leaves it as it is."""
        return self if text is None else replace(self, system={"en": text})

    @property
    def reward_settings(self) -> dict[str, Any]:
        """What rewards must know of the form asked for: `tags`, and `plain` where the completion is the answer."""
        return reward_settings(self.tags)

    def to_dict(self) -> dict[str, Any]:
        """As plain data, for `medgrpo.json` beside an adapter; `template_from_dict` reads it back."""
        return {
            "name": self.name,
            "tags": list(self.tags),
            "system": dict(self.system),
            "instruction": dict(self.instruction),
            "hints": {tag: dict(words) for tag, words in self.hints.items() if tag in self.tags},
        }


def reward_settings(tags: Sequence[str]) -> dict[str, Any]:
    """`tags` and `plain` for rewards, from the tags that a prompt asks for; without any the completion is the answer."""
    return {"tags": tuple(tags) or ("answer",), "plain": "answer" not in tags}


TEMPLATES: dict[str, PromptTemplate] = {
    "structured": PromptTemplate("structured", ("think", "answer", "plane", "modality")),
    "short": PromptTemplate(
        "short",
        ("think", "answer", "plane", "modality"),
        system={},
        instruction={"en": "Reply in tags.", "zh": "用标签回答。"},
    ),
    "answer": PromptTemplate("answer", ("think", "answer")),
    "plain": PromptTemplate("plain", ()),
    "detection": PromptTemplate("detection", ("think", "boxes")),
}
"""The templates that come with medgrpo."""


DEFAULT_TEMPLATE = "structured"


def said(words: Words, language: str) -> str:
    """The text in a language, or else in English, or else in whichever there is."""
    return words.get(language) or words.get("en") or next(iter(words.values()), "")


def load_template(name_or_path: str | Path) -> PromptTemplate:
    """A template by its name, from a TOML file, or the one that a `medgrpo.json` describes.

    The file has `tags` (a list), and where wanted `system`, `instruction` and `[hints]`; texts are
    either strings or tables with `en` and `zh`.

    Raises:
        UsageError: there is no such template or file, or the file says something else.
    """
    name = str(name_or_path)
    if name in TEMPLATES:
        return TEMPLATES[name]
    path = Path(name).expanduser()
    if path.suffix not in (".toml", ".json"):
        raise choice_error("prompt template", name, TEMPLATES)
    try:
        check_regular(path)
        text = path.read_text(encoding="utf-8")
        content = json_value(text)["prompt_template"] if path.suffix == ".json" else toml_values(text)
    except OSError as error:
        raise UsageError(f"no prompt template at {path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        if path.suffix == ".toml":
            raise UsageError(f"{path} is not valid TOML: {error}") from error
        why = f": {error}" if isinstance(error, ValueError) else ""
        raise UsageError(f"{path} describes no prompt template{why}", expected="a medgrpo.json") from error
    return template_from_dict({"name": path.stem, **content}, where=str(path))


def recorded_template(recorded: object, where: str = "template") -> PromptTemplate:
    """The template that a `medgrpo.json` or `dataset.json` records, by name or in full; the default where it has none.

    Raises:
        UsageError: as `load_template` and `template_from_dict`.
    """
    if isinstance(recorded, Mapping):
        return template_from_dict(recorded, where)
    return load_template(recorded if isinstance(recorded, str) and recorded else DEFAULT_TEMPLATE)


def template_from_dict(content: Mapping[str, Any], where: str = "template") -> PromptTemplate:
    """The template that `to_dict` (or a TOML file) describes.

    Raises:
        UsageError: an unknown key, or a tag that is no plain word.
    """
    known = ("name", "tags", "system", "instruction", "hints")
    for key in content:
        if key not in known:
            raise choice_error(f"key in {where}", key, known)
    tags = content.get("tags", ())
    if not isinstance(tags, list | tuple) or not all(
        isinstance(tag, str) and re.fullmatch(r"\w+", tag) for tag in tags
    ):
        raise UsageError(f"{where}: tags = {tags!r}", expected='a list of words, as ["think", "answer"]')
    if len(set(tags)) != len(tags):
        raise UsageError(f"{where}: a tag is repeated in {list(tags)}")
    given = content.get("hints", {})
    if not isinstance(given, Mapping):
        raise UsageError(f"{where}: hints = {given!r:.80}", expected="a table, a text for each tag")
    hints = {tag: _words(text, f"{where}: hints.{tag}") for tag, text in given.items()}
    return PromptTemplate(
        name=str(content.get("name", "custom")),
        tags=tuple(tags),
        system=_words(content["system"], f"{where}: system") if "system" in content else dict(SYSTEM),
        instruction=_words(content.get("instruction", {}), f"{where}: instruction"),
        hints={**HINTS, **hints},
    )


def _words(value: Any, where: str) -> dict[str, str]:
    if isinstance(value, str):
        return {"en": value} if value else {}
    if isinstance(value, Mapping) and all(isinstance(text, str) for text in value.values()):
        return dict(value)
    raise UsageError(f"{where} = {value!r}", expected="a text, or a table with en and zh")


def question_text(row: Row) -> str:
    """What is asked, without the instruction: title, context, question and options, a line each.

    Nothing else of a row enters a prompt: not the caption, the labels or the answer.
    """
    language = row.get("language") or "en"
    lines = []
    if row.get("image_title"):
        lines.append(said(TITLE, language).format(title=str(row["image_title"]).strip().rstrip(".。")))
    if row.get("context"):
        lines.append(str(row["context"]).strip())
    lines.append(str(row["question"]).strip())
    options = parse_options(row.get("options"))
    if options:
        lines.append(said(OPTIONS, language))
        lines.extend(f"{letter}. {text}" for letter, text in options.items())
    return "\n".join(lines)


def parse_options(options: Any) -> dict[str, str]:
    """Letter -> text from the `options` column (a JSON object), or from a mapping; empty if there are none."""
    if not options:
        return {}
    parsed = json_value(options) if isinstance(options, str) else options
    return {str(letter): str(text) for letter, text in parsed.items()}


def build_messages(
    row: Row,
    template: PromptTemplate,
    *,
    tags: Sequence[str] | None = None,
    parts: bool | None = None,
) -> Messages:
    """The chat messages of a row: the system prompt, then the pictures and the question.

    Args:
        row: a row of a prepared dataset; its `box_format`, where it has one, says how boxes are asked for.
        template: says which tags are asked for.
        tags: ask for these only (supervised examples ask for what is known: see `build_example`).
        parts: write every content as a list of parts, `{"type": "image"}` and `{"type": "text"}`;
            default: where the row has pictures. Rows without pictures have plain strings, which
            text-only chat templates need.
    """
    language = row.get("language") or "en"
    images = row.get("images") or []
    as_parts = bool(images) if parts is None else parts
    request = template.instruction_for(language, tags)
    asked = template.tags if tags is None else tags
    if "boxes" in asked and not template.instruction and row.get("box_format"):
        request += " " + said(COORDINATES[row["box_format"]], language)
    text = question_text(row) + (f"\n{request}" if request else "")
    system = said(template.system, language)
    messages: Messages = []
    if system:
        messages.append({"role": "system", "content": _content([], system, as_parts)})
    messages.append({"role": "user", "content": _content(images, text, as_parts)})
    return messages


def _content(images: Sequence[str], text: str, as_parts: bool) -> Any:
    if not as_parts:
        return text
    return [{"type": "image"} for _ in images] + [{"type": "text", "text": text}]


def known_tags(row: Row, template: PromptTemplate) -> tuple[str, ...]:
    """The template's tags that a reference completion of this row can fill: a `plane` or `modality`
    that nobody labelled is left out."""
    return tuple(tag for tag in template.tags if tag not in ("plane", "modality") or row.get(tag))


def build_target(row: Row, template: PromptTemplate) -> str:
    """The completion that supervised fine-tuning learns from a row.

    A row with `chosen` is learnt word for word. Otherwise each of the template's tags is filled from the
    row. A plane or modality that is not known is left out, not written as "unknown": the picture does
    show one, and learning "unknown" from four rows in five would teach the model to say nothing else.
    So that this does not teach it to drop tags either, the prompt of the example asks only for the tags
    that the target has (`build_example`).
    """
    if row.get("chosen"):
        return str(row["chosen"])
    tags = known_tags(row, template)
    if not tags:
        return str(row["answer"])
    return "".join(f"<{tag}>{_filled(tag, row)}</{tag}>" for tag in tags)


def build_example(row: Row, template: PromptTemplate, *, parts: bool | None = None) -> tuple[Messages, str]:
    """Prompt and completion for supervised fine-tuning; the prompt asks for the tags the completion has."""
    tags = None if row.get("chosen") else known_tags(row, template)
    return build_messages(row, template, tags=tags, parts=parts), build_target(row, template)


def _filled(tag: str, row: Row) -> str:
    if tag == "think":
        return _reasoning(row)
    if tag == "boxes":
        from medgrpo.rewards.boxes import written_boxes

        return json.dumps(written_boxes(row), ensure_ascii=False)
    return str(row.get(tag) or "")


def _reasoning(row: Row) -> str:
    """What is known of the picture, as a reader would note it first; never more than the labels say."""
    chinese = row.get("language") == "zh"
    facts = [str(row["modality"])] if row.get("modality") else []
    if row.get("plane"):
        facts.append(f"{row['plane']}" if chinese else f"{row['plane']} view")
    if row.get("organ"):
        facts.append(str(row["organ"]).lower())
    if facts:
        return "，".join(facts) + "。" if chinese else ", ".join(facts) + "."
    return "根据题意作答。" if chinese else "The answer follows from what is shown."
