"""What to type next after a call that cannot be meant as it is typed.

Three kinds: commands of other tools (`sft`, `infer`), what Typer refuses (a missing or an extra word, a value of another
type), and what a shell or an editor made of the line (other dashes, curly quotes, `$NAME` that was not replaced).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from medgrpo.errors import UsageError, typed_path

OTHER_COMMANDS = {
    "medgrpo train --method sft --model MODEL --data DATA": ("sft", "pt", "pretrain"),
    "medgrpo train --preset balanced --model MODEL --data DATA": (
        "grpo",
        "rlhf",
        "rl",
        "ppo",
        "finetune",
        "fine-tune",
        "tune",
        "fit",
        "start",
        "launch",
        "accelerate",
    ),
    "medgrpo train --method dpo --model MODEL --data PAIRS": ("dpo",),
    "medgrpo train --resume auto": ("resume", "continue"),
    "medgrpo ask MODEL PICTURE QUESTION": (
        "infer",
        "inference",
        "predict",
        "chat",
        "generate",
        "app",
        "web-ui",
    ),
    "medgrpo eval MODEL DATA": ("test", "validate", "benchmark", "rollout"),
    "medgrpo merge-lora RUN --output FOLDER": ("export",),
    "medgrpo merge-lora RUN --output FOLDER, then: vllm serve FOLDER": ("serve", "deploy"),
    "medgrpo runs": ("list", "ls", "status", "history", "ps"),
    "medgrpo compare logs/*.json --html": ("plot", "report", "dashboard", "tensorboard"),
    "medgrpo preprocess FOLDER DATASET": ("prepare", "convert", "data", "dataset", "tokenize"),
    "hf download NAME --local-dir FOLDER": ("download", "pull"),
    "medgrpo presets show balanced": ("config", "init", "configure", "settings", "show"),
    "medgrpo doctor": ("check", "env", "info", "install"),
    "medgrpo --version": ("version",),
    "medgrpo score FILE --rewards NAME,NAME": ("rewards", "reward", "metrics"),
}
"""What to type here -> commands of TRL, ms-swift, LLaMA-Factory and others that mean it."""

DASHES = "–—−‐‑―－﹣"
"""What editors and chat programs make of `-`."""
CURLY = {"“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "＝": "=", "，": ",", "：": ":", "　": " "}
"""What they make of quotes, and what a Chinese keyboard types."""


def unknown_command(word: str, error: UsageError) -> UsageError:
    """The error for an unknown command, with what another tool's command is called here."""
    meant = next((line for line, words in OTHER_COMMANDS.items() if word.lower() in words), None)
    return UsageError(error.problem, expected=error.expected, hint=meant or error.hint or "medgrpo --help")


def refused(error: Any) -> UsageError:
    """What Typer refuses, with what the parameter is for and a line that works.

    Args:
        error: one of Typer's own errors; its attributes say which parameter, command and options it is about.
    """
    context, parameter = getattr(error, "ctx", None), getattr(error, "param", None)
    command = context.command if context else None
    path = context.command_path if context else "medgrpo"
    problem, expected = error.format_message().rstrip("."), None
    if parameter is not None and (described := getattr(parameter, "help", None)):
        expected = f"{parameter.opts[0] if parameter.param_type_name == 'option' else parameter.human_readable_name}: {described}"
    hint = _nearest(error)
    if parameter is not None and parameter.param_type_name == "option" and " not a valid " in problem:
        kind = "N" if re.search(r" (int|float)", problem) else "VALUE"
        hint = f"{parameter.opts[0]} {kind}"
    if hint is None and (extra := re.search(r"extra arguments?(?:\(s\))? \((.*)\)", problem, re.DOTALL)):
        with suppress(OSError, ValueError, RuntimeError):  # a name that no file can have
            hint = _meant_by(extra[1], command)
    if hint is None and (lost := re.match(r"Option '(--[\w-]+)' requires an argument", problem)):
        hint = {"--resume": "--resume auto, or --resume RUN"}.get(lost[1], f"{lost[1]} VALUE")
    if hint is None and (word := re.match(r"No such command '(.*)'", problem)) and command is not None:
        hint = f"{path} show {word[1]}" if "show" in getattr(command, "commands", {}) else None
    return UsageError(problem, expected=expected, hint=hint or _example(command) or f"{path} --help")


def _nearest(error: Any) -> str | None:
    from difflib import get_close_matches

    possible = getattr(error, "possibilities", None) or []
    near = get_close_matches(getattr(error, "option_name", ""), possible, n=1, cutoff=0.0)
    return f"did you mean {near[0]}?" if near else None


def _meant_by(extra: str, command: Any) -> str | None:
    """The option that a word without one was meant for."""
    word, path = (
        extra.split(maxsplit=1)[0] if extra.strip() else extra,
        Path(extra.split(" ", maxsplit=1)[0]).expanduser(),
    )
    hub_name = re.fullmatch(r"[\w-]+/[\w.-]+", word) is not None
    meanings = (
        ("--set", re.fullmatch(r"[a-z][\w.]*=.*", word), f"--set {word}"),
        (
            *("--set", re.fullmatch(r"[-+.\d]\S*|true|false|none", word, re.IGNORECASE)),
            f"a setting and its value are one word: --set NAME={word}",
        ),
        ("--preset", _is_preset(word), f"--preset {word}"),
        ("--config", path.suffix in (".toml", ".yaml", ".yml"), f"--config {typed_path(path)}"),
        ("--data", (path / "dataset.json").is_file(), f"--data {typed_path(path)}"),
        ("--model", hub_name or (path / "config.json").is_file(), f"--model {typed_path(path)}"),
    )
    if getattr(command, "name", "") == "score" and path.is_file():
        return f"score reads one file; several side by side: medgrpo compare FILE {typed_path(path)}"
    options = {name for option in getattr(command, "params", []) for name in option.opts}
    return next((hint for option, meant, hint in meanings if option in options and meant), None)


def _is_preset(word: str) -> bool:
    from medgrpo.config.presets import preset_paths

    return word in preset_paths()


def _example(command: Any) -> str | None:
    """The example at the end of a command's help, on one line."""
    found = re.search(r"Example:\s*(medgrpo .*)", getattr(command, "help", None) or "")
    return f"such as {found[1].strip()}" if found else None


def with_next_step(error: UsageError, arguments: Sequence[str]) -> UsageError:
    """The error, with what the shell did to the line where that explains it, and never without a hint."""
    trap = next(
        (hint for word, hint in _traps(arguments) if word in error.problem.replace(2 * "\\", "\\")), None
    )
    if trap is None and error.hint:
        other = of_another_kind(arguments[0] if arguments else "", arguments[1:], error.problem)
        return UsageError(error.problem, expected=error.expected, hint=other) if other else error
    command = arguments[0] if arguments and re.fullmatch(r"[a-z-]*[a-z]", arguments[0]) else ""
    hint = (
        trap
        or of_another_kind(command, arguments[1:], error.problem)
        or f"{' '.join(('medgrpo', command)).strip()} --help"
    )
    return UsageError(error.problem, expected=error.expected, hint=hint)


WEIGHTS_WANTED = {
    "dataset": "{word} is a prepared dataset; the model stands first: medgrpo {command} MODEL {word}",
    "picture": "{word} is a picture; the model stands first: medgrpo ask MODEL {word} QUESTION",
    "pictures": "{word} is a folder of pictures; medgrpo preprocess makes a dataset of pictures and questions",
    "log": "{word} is the log of a run; name the run: medgrpo {command} {run}",
}
RUN_WANTED = {
    "dataset": "{word} is a prepared dataset, no run; medgrpo runs lists the runs",
    "weights": "{word} holds the weights of a run; name the run itself: medgrpo {command} {run}",
    "pictures": "{word} is a folder of pictures, no run; medgrpo runs lists the runs",
}
OTHER_KIND = {
    "eval": WEIGHTS_WANTED,
    "ask": WEIGHTS_WANTED
    | {"dataset": "{word} is a prepared dataset; the model stands first: medgrpo ask MODEL PICTURE QUESTION"},
    "merge-lora": WEIGHTS_WANTED | {"dataset": RUN_WANTED["dataset"]},
    "compare": RUN_WANTED,
    "health": RUN_WANTED,
    "make-dpo": RUN_WANTED,
    "train": {"dataset": "{word} is a prepared dataset: --data {word}, and --model names a model"},
}
"""Command -> what a place may be by mistake -> what to type."""


def of_another_kind(command: str, words: Sequence[str], problem: str) -> str | None:
    """What to type where the place that the error names is something else than the command wants."""
    if command == "preprocess":
        return _the_other_way_round(words, problem)
    if command == "ask" and (turned := _picture_after_question(words, problem)):
        return turned
    hints = OTHER_KIND.get(command, {})
    for word in words:
        named = re.search(rf"(^|[\s'/]){re.escape(word.rstrip('/'))}($|[\s'/:,])", problem)
        if named is None or "no dataset.json" in problem:
            continue
        kind, run = _kind(Path(word).expanduser())
        if kind in hints:
            return hints[kind].format(word=typed_path(word), command=command, run=run)
    return None


def _the_other_way_round(words: Sequence[str], problem: str) -> str | None:
    places = [word for word in words if not word.startswith("-")][:2]
    if len(places) == 2 and problem.startswith("no data at") and Path(places[1]).expanduser().is_dir():
        source, output = map(typed_path, reversed(places))
        return f"the source stands first: medgrpo preprocess {source} {output}"
    return None


def _picture_after_question(words: Sequence[str], problem: str) -> str | None:
    places = [word for word in words if not word.startswith("-")][:3]
    if len(places) == 3 and problem.startswith("no picture at") and Path(places[2]).expanduser().is_file():
        return f"the picture stands before the question: medgrpo ask {typed_path(places[0])} {typed_path(places[2])} QUESTION"
    return None


PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".dcm", ".gif", ".webp")


def _kind(path: Path) -> tuple[str, str]:
    """What the place is, and the run that it belongs to as it is typed, else RUN."""
    return _kind_of_file(path) if path.is_file() else _kind_of_folder(path)


def _kind_of_file(path: Path) -> tuple[str, str]:
    if path.suffix.lower() in PICTURES:
        return "picture", "RUN"
    if path.parent.name == "logs" and path.suffix == ".json":
        run = Path("runs") / path.stem
        return "log", typed_path(run) if run.is_dir() else "latest"
    return "file", "RUN"


def _kind_of_folder(path: Path) -> tuple[str, str]:
    if (path / "dataset.json").is_file():
        return "dataset", "RUN"
    if any((path / name).is_file() for name in ("medgrpo.json", "config.json", "adapter_config.json")):
        return "weights", typed_path(path.parent) if (path.parent / "config.toml").is_file() else "RUN"
    if path.is_dir() and any(one.suffix.lower() in PICTURES for one in path.iterdir()):
        return "pictures", "RUN"
    return "", "RUN"


def _traps(arguments: Sequence[str]) -> Iterator[tuple[str, str]]:
    """(what stands in the error's problem, what to type instead) of what shells and editors do to a line."""
    for word in arguments:
        flag, equals, value = word.partition("=")
        value = value if equals and flag.startswith("-") else word
        if word[:1] in DASHES or word[:2].strip("-")[:1] in tuple(DASHES):
            meant = "--" + word.lstrip(DASHES + "-")
            yield word, f"{word} begins with another sign than the minus of the keyboard: {meant}"
        if word.startswith((" -", "\n-")):
            yield word, "nothing, not even a blank, may follow a backslash at the end of a line"
        if any(sign in value for sign in CURLY):
            meant = "".join(CURLY.get(sign, sign) for sign in value)
            yield value, f"with the signs of an English keyboard: {meant}"
        if found := re.search(r"\$\{?(\w+)\}?", value):
            yield (
                value,
                f"single quotes keep the shell from replacing {found[0]}: use double quotes, and look at: echo {found[0]}",
            )
        if re.search(r"[*?]", value) and not re.search(r"\s|？", value) and not Path(value).exists():
            yield value, f"nothing is called {value} here; medgrpo runs lists the runs"
        if windows := re.match(r"([A-Za-z]):[\\/]?(.*)", value, re.DOTALL):
            below = windows[2].replace("\\", "/")
            yield value, f"under WSL such a place is called /mnt/{windows[1].lower()}/{below}"
        if hub := re.match(
            r"(?:https?://)?(?:www\.)?(?:huggingface\.co|hf\.co|hf-mirror\.com|modelscope\.cn/models)/([\w.-]+/[\w.-]+)",
            value,
        ):
            yield value, f"the name alone: {hub[1]}"
        if re.search(r"\.(zip|tar|tgz|tar\.gz|7z|rar)$", value):
            yield value, f"unpack {value} first, and name the folder"
        if "{" in value:
            quoted = """the whole value in single quotes, names inside in double ones: --set 'rewards.weights={"format" = 0.2, "answer_match" = 0.8}'"""
            yield "{", quoted
