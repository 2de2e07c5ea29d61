"""The three pages as people see them: on a phone and a desk, light and dark, on paper; and their pictures for the docs.

`MEDGRPO_SCREENSHOTS=docs/images pytest tests/pages/test_pages_in_browser.py` renews the pictures.
"""

import os
import re
from pathlib import Path

import pytest

from tests.pages.pages_made import make_pages

pytestmark = pytest.mark.slow
PAGES = ("eval", "compare", "dataset")
SHEETS = {"eval": 4, "compare": 8, "dataset": 4}
"""Printed pages at most."""


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    return make_pages(tmp_path_factory.mktemp("pages 网页"))


def visit(browser, path, **options):
    page = browser.new_page(**options)
    page.goto(path.as_uri())
    if page.locator(".plot").count():
        page.wait_for_function("[...document.querySelectorAll('.plot')].every((plot) => plot.dataset.drawn)")
    return page


CUT = """() => {
  // Text that is wider than what holds it, where that neither scrolls nor folds.
  const found = [];
  for (const node of document.querySelectorAll('h1, h2, p, dd, dt, th, td, figcaption, li, summary, .card')) {
    if (!node.offsetParent || node.closest('pre')) continue;
    const style = getComputedStyle(node);
    if (node.scrollWidth > node.clientWidth + 1 && style.overflowX === 'hidden' && node.clientWidth) found.push(node.outerHTML.slice(0, 120));
  }
  return found;
}"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", PAGES)
def test_nothing_is_cut_or_hangs_over(name, scheme, width, pages, browser):
    page = visit(browser, pages[name], viewport={"width": width, "height": 844}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth"), (
        "the page scrolls sideways"
    )
    assert page.evaluate(CUT) == []
    ink, paper = (
        page.evaluate(f"getComputedStyle(document.body).{what}") for what in ("color", "backgroundColor")
    )
    light = [sum(map(int, re.findall(r"\d+", colour)[:3])) for colour in (ink, paper)]
    assert (light[0] < light[1]) == (scheme == "light")
    page.close()


def test_the_figures_of_eval_are_not_squeezed_on_a_phone(pages, browser):
    page = visit(browser, pages["eval"], viewport={"width": 390, "height": 844})
    table = page.locator("table.figures")
    assert table.evaluate("node => node.scrollWidth") <= 390, "the table of figures needs no scrolling"
    narrow = "[...document.querySelectorAll('.figures tbody th')].map((n) => n.getBoundingClientRect().width)"
    assert min(page.evaluate(narrow)) >= 80
    assert "closed questions answered right" in page.inner_text(".figures tbody th >> nth=0")
    page.close()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_prints_on_few_sheets(name, pages, browser, tmp_path):
    page = visit(browser, pages[name], viewport={"width": 1280, "height": 900}, color_scheme="dark")
    page.pdf(path=tmp_path / "page.pdf", format="A4", print_background=True)
    sheets = len(re.findall(rb"/Type\s*/Page\b", (tmp_path / "page.pdf").read_bytes()))
    assert 1 <= sheets <= SHEETS[name], sheets
    page.close()


def test_eval_says_when_with_what_and_from_which_seed(pages, browser):
    page = visit(browser, pages["eval"], viewport={"width": 1280, "height": 900})
    facts = page.inner_text("dl >> nth=0")
    for word in ("evaluated", "UTC", "versions", "medgrpo", "seed"):
        assert word in facts
    page.close()


def test_compare_is_small_and_shows_no_python(pages, browser):
    assert pages["compare"].stat().st_size < 1_500_000
    page = visit(browser, pages["compare"], viewport={"width": 1280, "height": 900})
    said = page.inner_text("main")
    assert not re.search(r"\bNone\b|\bTrue\b|\bFalse\b|\{'|\('|\['", said)
    assert page.inner_text("h1") == "3 runs compared"
    assert page.locator(".plot .interval").count() >= 2
    assert page.locator(".plot .blind").count() >= 1
    page.close()


def test_the_dataset_shows_what_is_trained_and_every_contradiction(pages, browser):
    page = visit(browser, pages["dataset"], viewport={"width": 1280, "height": 900})
    said = page.inner_text("body")
    assert "target of SFT" in said
    assert "prompt of SFT, without the tags that no label fills" in said
    page.click("summary")
    assert "rows.json, row 1" in page.inner_text("details")
    assert page.locator("details img").count() == 1
    page.close()


SHOWN_FIRST = {"eval": ".warnings", "compare": ".tools", "dataset": "h1"}
"""Where the picture of a page begins."""


@pytest.mark.skipif("MEDGRPO_SCREENSHOTS" not in os.environ, reason="pictures are renewed on request")
def test_pictures_for_the_docs(pages, browser):
    folder = Path(os.environ["MEDGRPO_SCREENSHOTS"])
    for name, file in (("eval", "eval-report"), ("compare", "compare"), ("dataset", "dataset")):
        for width, height, ending in ((1280, 900, ""), (390, 844, "-phone")):
            page = visit(browser, pages[name], viewport={"width": width, "height": height})
            page.evaluate(
                f"document.querySelector('{SHOWN_FIRST[name]}').scrollIntoView({{behavior: 'instant'}})"
            )
            page.screenshot(path=folder / f"{file}{ending}.png")
            page.close()
