"""The report page: whole, offline, and indifferent to what a model writes."""

from html.parser import HTMLParser

import pytest
from PIL import Image

from medgrpo.evaluation.cases import nearly_right, uncertain_cases, worst_cases
from medgrpo.evaluation.counterfactual import compare_with_real
from medgrpo.evaluation.evaluate import evaluate_predictions
from medgrpo.evaluation.outputs import write_outputs
from medgrpo.evaluation.predictions import Predictions
from medgrpo.evaluation.report import report_html
from medgrpo.evaluation.targets import Target

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "\u202eright to left\u202c \x00\x07",
    "broken \ud800 half",
    "x" * 1_000_000,
    "</main></body></html>",
]


class Tags(HTMLParser):
    VOID = ("meta", "link", "img", "br", "wbr", "line", "circle")

    def __init__(self):
        super().__init__()
        self.seen, self.open, self.attributes, self.addresses = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += [name for name, _ in attrs]
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parse(page):
    found = Tags()
    found.feed(page)
    assert found.open == []
    return found


@pytest.fixture
def result(tmp_path):
    Image.new("L", (400, 300), 80).save(tmp_path / "a.png")
    rows = [
        {"id": i, "question": f"What is {text}?", "answer": "left lung", "image_id": f"i{i}", "images": ["a.png"],
         "answer_type": "open", "plane": "axial"}
        for i, text in enumerate(HOSTILE)
    ]  # fmt: skip
    texts = [f"<answer>{text}</answer><plane>axial</plane>" for text in HOSTILE]
    predictions = Predictions(
        rows, texts, samples=[["yes", text[:50]] for text in HOSTILE], notes=HOSTILE[:2]
    )
    found = evaluate_predictions(predictions, tags=("answer", "plane"), targets=[Target("open", 0.9)])
    found.document["counterfactual"] = {"blank": compare_with_real(found.scored, found.scored)}
    found.image_file = lambda row: tmp_path / row["images"][0]
    return found


def test_hostile_text_is_shown_as_text(result):
    page = report_html(result)
    found = parse(page)
    assert "script" not in found.seen
    assert not any(name.startswith("on") for name in found.attributes)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "\x00" not in page
    page.encode("utf-8")


def test_the_page_needs_nothing_from_elsewhere(result):
    page = report_html(result)
    assert all(value.startswith("data:") for value in parse(page).addresses)
    assert "@import" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page


def test_a_long_completion_is_cut_and_its_length_said(result):
    page = report_html(result)
    assert len(page) < 200_000
    assert "(1,000,0" in page


def test_pictures_stand_small_within_the_page(result):
    found = parse(report_html(result))
    assert found.seen.count("img") >= len(HOSTILE)


def test_a_picture_that_is_gone_does_not_stop_the_report(result, tmp_path):
    result.image_file = lambda _: tmp_path / "gone.png"
    assert "picture not readable" in report_html(result)


def test_all_parts_are_there(result):
    page = report_html(result)
    for words in (
        "Figures",
        "Targets",
        "pictures that cannot help",
        "samples a question",
        "Confusion",
        "Worst",
        "rule",
    ):
        assert words in page


def ranked():
    rows = [
        {"id": i, "question": "What?", "answer": "left lower lobe", "image_id": f"i{i // 2}"}
        for i in range(6)
    ]
    texts = ["left lower lobe", "liver", "right lower lobe", "spleen", "lower", "no idea at all"]
    samples = [["a", "a"], ["a", "b"], ["a", "a"], ["a", "a"], ["a", "a"], ["a", "a"]]
    return evaluate_predictions(Predictions(rows, texts, samples=samples))


def test_worst_cases_are_wrong_and_of_different_images_first():
    assert worst_cases(ranked()) == [1, 3, 5, 4, 2] or worst_cases(ranked())[0] == 1
    assert 0 not in worst_cases(ranked())
    images = [ranked().scored.clusters[index] for index in worst_cases(ranked(), 3)]
    assert len(set(images)) == 3


def test_uncertain_cases_are_those_whose_samples_differ():
    assert uncertain_cases(ranked()) == [1]


def test_nearly_right_answers_share_half_their_words():
    assert nearly_right(ranked()) == [2, 4]


def test_all_files_are_written_and_a_begun_review_is_kept(result, tmp_path):
    folder = tmp_path / "out"
    write_outputs(result, folder, review_rows=4)
    assert sorted(path.name for path in folder.iterdir()) == [
        "metrics.json", "predictions.parquet", "report.html", "review.csv",
    ]  # fmt: skip
    sheet = folder / "review.csv"
    begun = sheet.read_bytes().replace(b',"",""\r\n', b',"right",""\r\n', 1)
    sheet.write_bytes(begun)
    write_outputs(result, folder, review_rows=2)
    assert b',"right",' in sheet.read_bytes()
    assert sheet.read_bytes() == begun
