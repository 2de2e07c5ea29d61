"""Every page escapes by the same rule: what comes from data, models or names is shown, never obeyed."""

import json
from html.parser import HTMLParser
from pathlib import Path

import pytest
from PIL import Image

import medgrpo
from medgrpo.data.prepare import PrepareOptions, prepare
from medgrpo.evaluation.evaluate import evaluate_predictions
from medgrpo.evaluation.predictions import Predictions
from medgrpo.evaluation.report import report_html
from medgrpo.pages.document import document
from medgrpo.pages.markup import facts, table, text
from medgrpo.runs.answers import Answer, Difference, ModelScore, Question, SideBySide
from medgrpo.runs.comparison import Comparison, compare_runs
from medgrpo.runs.report.write import render

OVERRIDES = "\u202e\u202d\u2066\u200f\u061c\ufeff"
HOSTILE = f"""{OVERRIDES}<script>x</script>" onload='y' \x07\x9b"""


def of_a_run(folder):
    log = folder / "log.json"
    history = [
        {"step": i, "loss": 1.0, f"rewards/{HOSTILE}/mean": 0.1 * i, "reward": 0.2} for i in range(1, 20)
    ]
    log.write_text(json.dumps({"name": HOSTILE, "config": {"model": HOSTILE}, "history": history}))
    other = folder / "other.json"
    other.write_text(json.dumps({"name": "other", "config": {"model": "x"}, "history": history}))
    return render(compare_runs([log, other]))


def of_answers(_):
    found = SideBySide(
        [HOSTILE, "b"],
        [ModelScore(HOSTILE, HOSTILE, 0.1, 0.0, 0.2, 9)],
        [Difference(HOSTILE, "b", HOSTILE, 0.1, -0.1, 0.2, 0.3, 9, HOSTILE)],
        [Question(HOSTILE, HOSTILE, HOSTILE, [Answer(HOSTILE, 1.0, HOSTILE), Answer("x", None)])],
        HOSTILE,
        [HOSTILE],
    )
    return render(Comparison([], None, {}, [(HOSTILE, HOSTILE)], found))


def of_an_evaluation(_):
    row = {
        "id": HOSTILE, "question": HOSTILE, "answer": HOSTILE, "image_id": HOSTILE, "organ": HOSTILE, "plane": HOSTILE,
        "question_type": HOSTILE,
    }  # fmt: skip
    rows = [{**row, "id": f"{HOSTILE}{i}", "organ": f"{HOSTILE}{i % 2}"} for i in range(4)]
    predictions = Predictions(
        rows, [HOSTILE] * 4, samples=[[HOSTILE, "x"]] * 4, source=HOSTILE, notes=[HOSTILE]
    )
    result = evaluate_predictions(predictions)
    result.document |= {"model": HOSTILE, "split": HOSTILE, "data": HOSTILE}
    result.warnings.append(HOSTILE)
    return report_html(result)


def of_a_dataset(folder):
    source = folder / "source"
    (source / "images").mkdir(parents=True)
    lines = []
    for index in range(12):
        Image.new("RGB", (30, 30), (9 * index, 20, 90)).save(source / "images" / f"{index}.png")
        row = {
            "id": f"{HOSTILE}{index}",
            "question": f"{HOSTILE}{index // 2}",
            "answer": HOSTILE,
            "image": f"{index}.png",
        }
        lines.append(row | {"options": {f"{HOSTILE}A": HOSTILE, "B": "no"}, "question_type": HOSTILE})
    (source / "rows.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    dataset, _ = prepare(source, folder / "out", PrepareOptions(name=HOSTILE), workers=1)
    return (dataset.path / "dataset.html").read_text(encoding="utf-8")


class Elements(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.inline_scripts, self.handlers, self.policies = 0, [], []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.inline_scripts += tag == "script"
        self.handlers += [name for name, _ in attrs if name.startswith("on")]
        if tag == "meta" and dict(attrs).get("http-equiv") == "Content-Security-Policy":
            self.policies.append(dict(attrs)["content"])


@pytest.mark.parametrize("page_of", [of_a_run, of_answers, of_an_evaluation, of_a_dataset])
def test_no_page_obeys_what_it_shows(tmp_path, page_of):
    page = page_of(tmp_path)
    found = Elements(page)
    assert not found.handlers
    assert found.inline_scripts == (3 if page_of in (of_a_run, of_answers) else 0)
    assert [policy.startswith("default-src 'none'") for policy in found.policies] == [True]
    shown = page.split('<script type="application/json"', 1)[0]
    assert not set(OVERRIDES + "\x07\x9b") & set(shown)
    assert "⟨U+202E⟩" in shown
    assert "&lt;script&gt;" in shown


def test_only_the_pages_room_escapes():
    package = Path(medgrpo.__file__).parent
    others = [
        str(path.relative_to(package))
        for path in package.rglob("*.py")
        if "pages" not in path.parts
        for text_of in [path.read_text(encoding="utf-8")]
        if "html.escape" in text_of or "from html import" in text_of or "data:image/jpeg" in text_of
    ]
    assert others == []


def test_the_first_cell_of_a_row_can_be_its_heading():
    made = table(["a", "b"], [["x", "1"]], numeric=[1], row_heads=True)
    assert '<th scope="row">x</th><td class="num">1</td>' in made


def test_facts_without_a_value_are_left_out():
    assert facts([("a", text("<1>")), ("b", "")]) == "<dl><dt>a</dt><dd dir='auto'>&lt;1&gt;</dd></dl>"


def test_a_page_without_script_lets_none_run():
    assert "script-src" not in document("t", "", "")
    assert "script-src" in document("t", "", "", scripts="<script></script>")
