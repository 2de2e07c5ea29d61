"""`dataset.html`, opened in a browser without network."""

import json

import pytest
from PIL import Image

from medgrpo.data.prepare import PrepareOptions, prepare

EVIL = "<script>document.title='owned'</script><svg onload=alert(1)>"


@pytest.fixture
def page(vqa_folder, tmp_path):
    with (vqa_folder / "rows.jsonl").open("a") as file:
        for answer in ("yes", "no"):
            file.write(
                json.dumps({"question": f"{EVIL} normal?", "answer": answer, "image": "case00.jpg"}) + "\n"
            )
    dataset, _ = prepare(vqa_folder, tmp_path / "out", PrepareOptions(name=f"set {EVIL}"), workers=1)
    return dataset.path / "dataset.html"


def test_the_page_names_no_address_and_escapes_what_the_data_says(page):
    text = page.read_text(encoding="utf-8")
    assert "http:" not in text
    assert "https:" not in text
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_a_browser_shows_counts_findings_and_24_cards_with_their_pictures(browser, page, tmp_path):
    context = browser.new_context(offline=True)
    tab = context.new_page()
    problems = []
    tab.on("console", lambda message: problems.append(message.text))
    tab.on("pageerror", lambda error: problems.append(str(error)))
    tab.goto(page.as_uri())
    assert tab.title() == f"set {EVIL}"
    assert tab.locator(".card").count() == 24
    widths = tab.evaluate("[...document.querySelectorAll('.card img')].map(i => i.naturalWidth)")
    assert len(widths) == 24
    assert min(widths) == 120
    findings = tab.locator(".findings").inner_text()
    assert "1 questions have different answers for the same picture, 1 of them yes against no" in findings
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    tab.screenshot(path=tmp_path / "page.png", full_page=True)
    context.close()
    assert problems == []
    with Image.open(tmp_path / "page.png") as shot:
        assert shot.height > 1000
