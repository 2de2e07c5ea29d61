"""The report opened in headless Chromium: it says nothing, fetches nothing, and runs nothing."""

import pytest

from medgrpo.evaluation.evaluate import evaluate_predictions
from medgrpo.evaluation.predictions import Predictions
from medgrpo.evaluation.report import report_html

HOSTILE = (
    '<script>document.title="run"</script><img src="http://127.0.0.1:9/x" onerror="document.title=\'run\'">'
)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_report_is_inert_in_a_browser(browser, tmp_path, scheme):
    rows = [{"id": i, "question": HOSTILE, "answer": "yes", "image_id": str(i)} for i in range(30)]
    file = tmp_path / "report.html"
    file.write_text(report_html(evaluate_predictions(Predictions(rows, [HOSTILE] * 30))), encoding="utf-8")
    said, fetched = [], []
    page = browser.new_page(viewport={"width": 900, "height": 900}, color_scheme=scheme)
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: fetched.append(request.url))
    page.goto(file.as_uri())
    assert page.title().startswith("Evaluation of")
    assert page.locator("table").count() >= 2
    assert page.locator("article.case").count() == 24
    assert page.locator("script").count() == 0
    assert not page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    page.emulate_media(media="print")
    ink = page.evaluate("getComputedStyle(document.body).color")
    assert ink == "rgb(27, 27, 31)", "dark ink on white paper, whatever the screen shows"
    assert said == []
    assert [url for url in fetched if not url.startswith(("data:", "file:"))] == []
