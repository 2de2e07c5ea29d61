"""A model's own tokenizer and chat template, without transformers and torch: what a prompt really costs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medgrpo.data.prompts import Messages
from medgrpo.errors import MedgrpoError, UsageError, missing_extra
from medgrpo.files import check_regular, foreign_json
from medgrpo.foreign import reads
from medgrpo.models.chat_templates import check_rendering
from medgrpo.models.families import image_family
from medgrpo.models.image_tokens import ImageFamily


@dataclass(frozen=True)
class ModelText:
    """Tokenizer and chat template of a model folder.

    Attributes:
        family: how it turns pixels into tokens; None for a text model.
        image_markers: tokens that the template itself writes for a picture in the place of its tokens.
    """

    tokenizer: Any
    template: Any
    family: ImageFamily | None
    image_markers: int

    @classmethod
    @reads("folder", "a model with its tokenizer and chat template")
    def load(cls, folder: str | Path) -> ModelText:
        """From a model's folder: `tokenizer.json` or `vocab.json` and `merges.txt`, and the chat template.

        Raises:
            UsageError: the folder has no tokenizer or no chat template.
        """
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise UsageError(
                f"no model folder at {path}",
                expected="a folder with tokenizer.json and a chat template",
                hint="give the folder that the model was downloaded to",
            )
        tokenizer = _tokenizer(path)
        source = _template(path)
        family = _family(path)
        text = cls(tokenizer, _compiled(source, str(path)), family, 0)
        parts: Messages = [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
        shown: Messages = [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "x"}]}]
        markers = text.count(text.render(shown)) - text.count(text.render(parts)) if family else 0
        return cls(tokenizer, text.template, family, markers)

    def render(self, messages: Messages) -> str:
        """The prompt as the model reads it, up to where its reply begins."""
        return str(self.template.render(messages=messages, add_generation_prompt=True, tools=None))

    def count(self, text: str) -> int:
        """Tokens of a rendered text."""
        return len(self.tokenizer.encode(text, add_special_tokens=False).ids)


def _tokenizer(path: Path) -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise missing_extra("tokenizers", "data", "counting prompt tokens") from error
    if (path / "tokenizer.json").is_file():
        check_regular(path / "tokenizer.json")
        return tokenizers.Tokenizer.from_file(str(path / "tokenizer.json"))
    if not ((path / "vocab.json").is_file() and (path / "merges.txt").is_file()):
        raise UsageError(f"{path} has no tokenizer", expected="tokenizer.json, or vocab.json and merges.txt")
    from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers

    tokenizer = tokenizers.Tokenizer(models.BPE.from_file(str(path / "vocab.json"), str(path / "merges.txt")))
    tokenizer.normalizer = normalizers.NFC()
    words = Regex(
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    )  # Qwen2's, the only family here that is published without tokenizer.json
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(words, "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    added = foreign_json(path / "tokenizer_config.json").get("added_tokens_decoder", {})
    tokens = [
        AddedToken(entry["content"], special=entry["special"], normalized=False) for entry in added.values()
    ]
    tokenizer.add_tokens(tokens)
    return tokenizer


def _template(path: Path) -> str:
    if (path / "chat_template.jinja").is_file():
        check_regular(path / "chat_template.jinja")
        return (path / "chat_template.jinja").read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        if (path / name).is_file():
            found = foreign_json(path / name).get("chat_template")
            if isinstance(found, str):
                return found
    raise UsageError(
        f"{path} has no chat template", expected="chat_template.jinja, or one in tokenizer_config.json"
    )


def _compiled(source: str, path: str) -> Any:
    try:
        from jinja2.exceptions import TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment
    except ImportError as error:
        raise missing_extra("jinja2", "data", "rendering chat templates") from error

    def refuse(message: str) -> None:
        raise MedgrpoError(f"the model's chat template refuses these messages: {message}")

    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.globals["raise_exception"] = refuse
    environment.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)

    def render(talk: Messages, *, opens: bool) -> str:
        template = environment.from_string(source)
        return template.render(messages=talk, add_generation_prompt=opens, tools=None)

    check_rendering([source], render, path)  # before it is compiled here, which works out what is constant
    try:
        return environment.from_string(source)
    except (TemplateError, RecursionError) as error:
        raise MedgrpoError(f"the model's chat template is broken: {error}") from error


def _family(path: Path) -> ImageFamily | None:
    file = path / "config.json"
    if not file.is_file():
        return None
    kind = str(foreign_json(file).get("model_type", ""))
    try:
        return image_family(kind)
    except UsageError:
        return None
