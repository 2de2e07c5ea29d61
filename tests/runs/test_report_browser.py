"""The page in a real browser: drawn, silent, offline, usable by keyboard, readable in the dark and in print."""

import json
import math
import random

import pytest

from medgrpo.runs.answers import Answer, Difference, ModelScore, Question, SideBySide
from medgrpo.runs.comparison import compare_runs
from medgrpo.runs.report import write_report

pytestmark = pytest.mark.slow


class Visit:
    """A page that was opened, with everything it asked for and complained about."""

    def __init__(self, browser, path, **options):
        self.page = browser.new_context(viewport={"width": 1280, "height": 900}, **options).new_page()
        self.requests, self.complaints = [], []
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.on("console", lambda message: self.complaints.append(message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.complaints.append("dialog"), dialog.dismiss()))
        self.page.goto(path.as_uri())
        self.page.wait_for_function("document.documentElement.dataset.charts === 'done'", timeout=120_000)
        self.page.wait_for_function(
            "[...document.querySelectorAll('.plot')].every((plot) => plot.dataset.drawn)", timeout=120_000
        )

    def assert_quiet(self, path):
        assert self.complaints == []
        assert self.requests == [path.as_uri()]


def write_log(folder, name, seed, steps=300):
    draw = random.Random(seed)
    history = [
        {
            "stage": "grpo",
            "step": i,
            "loss": draw.gauss(0, 0.02),
            "reward": 0.3 + 0.4 * (1 - math.exp(-i / 80)) + draw.gauss(0, 0.05),
            "rewards/format/mean": 0.9,
            "rewards/answer_match/mean": 0.2 + 0.4 * i / steps + draw.gauss(0, 0.05),
            "grad_norm": 0.5,
            "s_per_prompt": 2.0,
            "completions/mean_length": 80 + draw.gauss(0, 5),
        }
        for i in range(1, steps + 1)
    ]
    path = folder / f"log{seed}.json"
    path.write_text(json.dumps({"name": name, "config": {"seed": seed}, "history": history}))
    return path


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    hostile = "<script>alert('x')</script><img src=http://example.invalid/x.png onerror=alert(1)>\u202eabc"
    logs = [write_log(folder, name, seed) for seed, name in enumerate(["base", "tuned", hostile])]
    answers = SideBySide(
        ["base", "tuned"],
        [
            ModelScore("base", "answer_match", 0.4, 0.3, 0.5, 90),
            ModelScore("tuned", "answer_match", 0.6, 0.5, 0.7, 90),
        ],
        [Difference("tuned", "base", "answer_match", 0.2, 0.1, 0.3, 0.001, 90)],
        [
            Question(
                hostile, "肺炎", "img1", [Answer(hostile, 0.0, "rule"), Answer("y" * 1_000_000, 1.0, "rule")]
            )
        ],
    )
    return write_report(compare_runs(logs, predictions=answers), folder)


def test_every_chart_is_drawn_and_nothing_is_asked_of_the_network(browser, report):
    visit = Visit(browser, report)
    visit.assert_quiet(report)
    count = visit.page.locator(".plot").count()
    assert count >= 7
    assert visit.page.locator(".plot svg.chart >> nth=0").is_visible()
    drawn = visit.page.evaluate(
        "[...document.querySelectorAll('.plot')].filter((p) => p.querySelector('path.line')).length"
    )
    assert drawn == count


def test_hostile_text_is_inert_and_visible(browser, report):
    visit = Visit(browser, report)
    assert visit.page.locator("#answers").inner_text().count("<script>alert('x')</script>") == 2
    assert visit.page.locator("img").count() == 0
    visit.assert_quiet(report)


def test_the_language_switch_works_by_keyboard_and_is_remembered(browser, report):
    visit = Visit(browser, report, locale="en-US")
    assert "Health of each run" in visit.page.inner_text("#health")
    visit.page.focus("#lang-en")
    visit.page.keyboard.press("ArrowRight")
    assert visit.page.inner_text("#health h2") == "各运行的健康状况"
    assert visit.page.get_attribute("html", "lang") == "zh"
    visit.page.reload()
    assert visit.page.inner_text("#health h2") == "各运行的健康状况"


def test_a_chinese_browser_sees_chinese(browser, report):
    assert Visit(browser, report, locale="zh-CN").page.inner_text("#curves h2") == "曲线"


def test_dark_and_print_have_their_own_colours(browser, report):
    visit = Visit(browser, report, color_scheme="dark")
    background = "getComputedStyle(document.body).backgroundColor"
    assert visit.page.evaluate(background) == "rgb(18, 22, 28)"
    visit.page.emulate_media(media="print")
    assert visit.page.evaluate(background) == "rgb(255, 255, 255)"
    assert not visit.page.locator(".top").is_visible()


def test_a_run_can_be_switched_off_by_keyboard(browser, report):
    visit = Visit(browser, report)
    visible = "document.querySelector('.plot').querySelectorAll('path.line').length"
    before = visit.page.evaluate(visible)
    visit.page.focus(".legend input >> nth=1")
    visit.page.keyboard.press("Space")
    visit.page.wait_for_function(f"{visible} < {before}")


def test_axis_smoothing_and_log_redraw_and_a_chart_is_saved_as_csv(browser, report):
    visit = Visit(browser, report)
    page = visit.page
    drawn = "document.querySelector('.plot svg').outerHTML"
    before = page.evaluate(drawn)
    page.evaluate("document.getElementById('tool-smooth').value = 0")
    page.dispatch_event("#tool-smooth", "input")
    raw = page.evaluate(drawn)
    assert raw != before
    page.check("#tool-log")
    assert page.evaluate(drawn) != raw
    page.select_option("#tool-axis", "time")
    assert "hours" in page.inner_text(".plot >> nth=0")
    with page.expect_download() as saved:
        page.click("button.csv >> nth=0")
    lines = saved.value.path().read_text("utf-8-sig").splitlines()
    assert lines[0] == "run,step,prompts,hours,reward,lowest,highest"
    assert len(lines) == 1 + 3 * 300
    visit.assert_quiet(report)


def test_nothing_covers_a_chart_and_nothing_is_cut_on_a_phone(browser, report):
    page = Visit(browser, report).page
    for width in (390, 1280):
        page.set_viewport_size({"width": width, "height": 800})
        page.locator(".plot").nth(2).scroll_into_view_if_needed()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        covered = page.evaluate(
            "(() => { const box = document.querySelectorAll('.plot')[2].getBoundingClientRect();"
            "const hit = document.elementFromPoint(box.left + box.width / 2, box.top + box.height / 2);"
            "return !document.querySelectorAll('.plot')[2].contains(hit); })()"
        )
        assert not covered, width


def test_on_a_phone_cells_stand_below_each_other_with_their_names(browser, report):
    """Nothing has to be scrolled sideways: half of what was there to read was out of sight."""
    page = Visit(browser, report).page
    page.set_viewport_size({"width": 390, "height": 800})
    wide = page.eval_on_selector_all(
        ".scroll", "all => all.filter(e => e.scrollWidth > e.clientWidth + 1).length"
    )
    assert wide == 0
    first = page.locator("table.stacks tbody tr").first
    assert first.locator(".head").first.is_visible()
    assert first.inner_text().strip()
    page.set_viewport_size({"width": 1280, "height": 800})
    assert not page.locator("table.stacks .head").first.is_visible()


def test_tables_are_readable_without_javascript(browser, report):
    page = browser.new_context(java_script_enabled=False).new_page()
    page.goto(report.as_uri())
    assert "base" in page.inner_text("#runs")
    assert page.locator("#runs .spark").count() == 3
    assert "0.2" in page.inner_text("#predictions")
    page.click("label[for=lang-zh]")
    assert page.inner_text("#health h2") == "各运行的健康状况"  # the switch is CSS


def test_every_control_can_be_reached_with_the_tab_key(browser, report):
    visit = Visit(browser, report)
    reached = set()
    for _ in range(60):
        visit.page.keyboard.press("Tab")
        reached.add(visit.page.evaluate("document.activeElement.id || document.activeElement.tagName"))
    assert {"lang-en", "theme-auto", "SUMMARY", "INPUT", "A"} <= reached


def test_fifty_runs_of_ten_thousand_steps_open_in_three_seconds_below_15_mb(browser, tmp_path):
    from medgrpo.runs.comparison import Comparison, summarise
    from medgrpo.runs.record import read_run

    run = summarise(read_run(write_log(tmp_path, "long", 7, steps=10_000)))
    path = write_report(Comparison([run] * 50, "long", {}), tmp_path)
    assert path.stat().st_size < 15_000_000
    Visit(browser, path).assert_quiet(path)
    assert min(load_seconds(browser, path) for _ in range(4)) < 3


def load_seconds(browser, path):
    """From the start of the navigation to the end of the load event, as the browser measured it."""
    page = browser.new_page()
    page.goto(path.as_uri())
    seconds = page.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd / 1000")
    page.close()
    return seconds
