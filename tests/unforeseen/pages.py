"""Markup, scripts, links, formulas and orders to a terminal in every text that some page, table or note shows."""

import csv
import io
import json
import re
from collections.abc import Callable
from html.parser import HTMLParser

from tests.planted import Artefacts
from tests.unforeseen.doors import rows_with
from tests.unforeseen.plants import Call, Plants, changed, evaluate, one_step, prepare, put

MARKUP = "'\"></script></style></title></textarea></svg>--><planted onplanted=x href='javascript:planted'>![p](javascript:planted)[p](javascript:planted)"
FORMULA = '=planted("x")'
ORDER = "\x1b]0;owned\x07\x1b[2J"
TEXTS = {
    "markup": MARKUP,
    "a formula": FORMULA,
    "orders": ORDER,
    "a heading": "x\n\n# planted\n\n<planted>\n\n```\n<planted>\n",
    "a fence": "```\n</planted>\n```\n<planted>\n`" * 3,
}


class _Page(HTMLParser):
    """Whether planted markup has become an element, an attribute or a link."""

    fault: str | None = None

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "planted" or any(
            name.startswith("onplanted")
            or (name in ("href", "src") and (value or "").strip().lower().startswith("javascript:"))
            for name, value in attrs
        ):
            self.fault = f"<{tag} {attrs}>"


def _of_page(text: str) -> str | None:
    page = _Page()
    page.feed(text)
    return page.fault


def _of_markdown(text: str) -> str | None:
    """What a reader of Markdown would take for markup; what stands in a fence or behind a backslash is text."""
    fence, lines = "", []
    for line in text.splitlines():
        found = re.match(r" {0,3}(`{3,}|~{3,})", line)
        if fence:
            fence = (
                "" if found and found[1].startswith(fence) and not line.strip().strip(found[1][0]) else fence
            )
            continue
        if found:
            fence = found[1]
            continue
        lines.append(re.sub(r"\\[\\`*_\[\]<>|&~!#]", "", line))
    shown = re.search(r"<planted|\]\(javascript:|^# planted", "\n".join(lines), re.MULTILINE)
    return shown and shown[0]


def _of_table(text: str) -> str | None:
    """A formula; in a sheet for people also orders to a terminal. What `score` writes is data, and keeps every character."""
    orders = ("\x1b",) if text.startswith(('"key"', '"pair"')) else ()
    csv.field_size_limit(10**9)
    for row in csv.reader(io.StringIO(text)):
        if any(cell.startswith(("=", "\t=", *orders)) for cell in row):
            return f"{row}"[:200]
    return None


LOOKS: dict[str, Callable[[str], str | None]] = {
    ".html": _of_page, ".md": _of_markdown, ".csv": _of_table,  ".txt": lambda text: "\x1b" if "\x1b" in text else None,
}  # fmt: skip


def written_since(a: Artefacts) -> Callable[[], str | None]:
    """What is wrong with the pages, notes and tables that come to be from now on."""
    before = {file for file in a.folder.rglob("*") if file.is_file()}

    def look() -> str | None:
        for file in sorted(a.folder.rglob("*")):
            if file.suffix in LOOKS and file.is_file() and file not in before:
                fault = LOOKS[file.suffix](file.read_text("utf-8", "replace"))
                if fault:
                    return f"{file.relative_to(a.folder)}: {fault}"
        return None

    return look


def _source(a: Artefacts, text: str) -> tuple[str, ...]:
    row = dict.fromkeys(
        ("question", "answer", "question_type", "organ", "modality", "caption", "patient_id"), text
    )
    put(a.folder / "source" / "rows.json", [{**row, "id": f"{text}{n}"} for n in range(4)])
    return prepare(a, a.folder / "source", "--name", text)


def _log(a: Artefacts, text: str, *more: str) -> tuple[str, ...]:
    entries = [
        {"step": n, "loss": 0.5, "reward": n / 9, f"rewards/{text}/mean": 0.1, text: 1.0} for n in range(1, 9)
    ]
    document = {
        "name": text,
        "config": {"model": {"path": text}, text: text},
        "history": entries,
        "stages": [{"name": text, "history": entries}],
    }
    name = re.sub(r"[/\0]", "", text)[:60] or "x"
    return (
        "compare",
        put(a.folder / f"{name}.json", document),
        str(a.run),
        "--html",
        "--output",
        str(a.folder / "page"),
        *more,
    )


def _completions(a: Artefacts, text: str) -> str:
    rows = [
        {
            "id": f"{text}{n}",
            "question": text,
            "answer": "yes",
            "completion": f"{text}<answer>{text}</answer>",
            "question_type": text,
            text: text,
        }
        for n in range(4)
    ]
    return put(a.folder / "rows.jsonl", "".join(json.dumps(row) + "\n" for row in rows))


def _in_rows(a: Artefacts, text: str) -> None:
    rows_with(
        a,
        question=text,
        answer=text,
        answers=[text],
        question_type=text,
        organ=text,
        modality=text,
        caption=text,
        patient_id=text,
        id=text,
    )


def _run_named(a: Artefacts, text: str) -> tuple[str, ...]:
    for name in ("training_info.json", "environment.json"):
        file = a.run / name
        document = json.loads(file.read_text())
        changed(file, **{key: text for key, value in document.items() if isinstance(value, str)})
    rows = [json.loads(line) for line in (a.run / "log.jsonl").read_text().splitlines()]
    put(
        a.run / "log.jsonl",
        "".join(json.dumps({**row, text: 1.0, f"rewards/{text}": 0.5}) + "\n" for row in rows),
    )
    return ("compare", str(a.run), "--html", "--output", str(a.folder / "page"))


CALLS: dict[str, Callable[[Artefacts, str], tuple[str, ...]]] = {
    "a source: preprocess": _source, "a log: compare": _log, "a run: compare": _run_named, "completions: score": lambda a, text: ("score", _completions(a, text), "--explain", "--output", str(a.folder / "s.csv")),
    "predictions: eval": lambda a, text: ("eval", "--predictions", _completions(a, text), "--output", str(a.folder / "eval"), "--review", "4"), "predictions: compare": lambda a, text: ("compare", str(a.run), "--predictions", _completions(a, text), "--html", "--output", str(a.folder / "page")),
    "rows: eval": lambda a, text: (_in_rows(a, text), evaluate(a, "--review", "2"))[1], "rows: train": lambda a, text: (_in_rows(a, text), one_step(a, "--set=logging.samples=2", "--set=logging.sample_steps=1"))[1], "rows: preprocess": lambda a, text: (_in_rows(a, text), prepare(a, a.data))[1],
    "rows: make-dpo": lambda a, text: (_in_rows(a, text), ("make-dpo", str(a.run), "--data", str(a.data), "--output", str(a.folder / "pairs"), "--margin", "0", "--export-review", str(a.folder / "pairs.csv")))[1],
    "rows: audit": lambda a, text: (_in_rows(a, text), ("score", str(a.data), "--audit"))[1], "dataset.json: estimate-time": lambda a, text: (changed(a.data / "dataset.json", name=text, source=text, task=text), ("estimate-time", "--data", str(a.data), "--html", str(a.folder / "e.html")))[1],
    "medgrpo.json: eval": lambda a, text: (changed(a.model / "medgrpo.json", name=text, method=text, tags=["answer"], provenance={"name": text, "base": text}), evaluate(a))[1], "a card: merge-lora": lambda a, text: (put(a.adapter / "README.md", f"---\nbase_model: {text!r}\n---\n{text}"), changed(a.adapter / "adapter_config.json", task_type=text), ("merge-lora", str(a.adapter), "--output", str(a.folder / "m"), "--verify", "0"))[2],
    "a run's name: runs": lambda a, text: (_run_named(a, text), ("runs", str(a.folder)))[1], "a run's name: health": lambda a, text: (_run_named(a, text), ("health", str(a.run)))[1],
}  # fmt: skip


def pages() -> Plants:
    for what, text in TEXTS.items():
        for name, words in CALLS.items():

            def make(a: Artefacts, text: str = text, words: Callable = words) -> Call:
                made = words(a, text)
                return Call(made, check=written_since(a))

            yield f"{what} in {name}", make


ALL: tuple[Callable[[], Plants], ...] = (pages,)
