"""The page: safe with hostile text, honest when it thins curves, readable without script, small."""

import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from medgrpo.pages.markup import label, number, script_json, text
from medgrpo.pages.palette import style
from medgrpo.runs.answers import Answer, Question, SideBySide
from medgrpo.runs.comparison import compare_runs
from medgrpo.runs.report.curves import chart_data, moving_average, thin
from medgrpo.runs.report.write import render, write_report

HOSTILE = [
    "<script>alert('pwned')</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "</script><script>alert(2)</script>",
    "javascript:alert(1) & <!-- comment",
    "\u202eغير طبيعي\u202d abc \u2066x",
    "nul \x00 bell \x07 escape \x1b[31m",
    "lone surrogate \ud800 end",
]


class Tags(HTMLParser):
    """Collects elements, attributes and visible text."""

    def __init__(self):
        super().__init__()
        self.elements, self.attributes, self.words = [], [], []

    def handle_starttag(self, tag, attrs):
        self.elements.append(tag)
        self.attributes += [(tag, *pair) for pair in attrs]

    def handle_data(self, data):
        self.words.append(data)


def parse(page):
    tags = Tags()
    tags.feed(page)
    return tags


def write_log(folder, name, steps=40, key="reward"):
    history = [
        {"step": i, key: 0.01 * i, "completions/mean_length": 50.0 + i % 7} for i in range(1, steps + 1)
    ]
    path = folder / f"{len(list(folder.iterdir()))}.json"
    path.write_text(json.dumps({"name": name, "config": {"model": name}, "history": history}))
    return path


@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_text_is_shown_not_obeyed(hostile):
    shown = text(hostile)
    tags = parse(shown)
    assert tags.elements == []
    assert not re.search("[\x00-\x08\x0b-\x1f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown)
    assert "<script" not in script_json({"a": hostile})
    assert json.loads(script_json({"a": hostile}))["a"] == html.unescape(text(hostile))


def test_direction_overrides_are_shown_by_their_code():
    assert text("a\u202eb") == "a⟨U+202E⟩b"


def test_a_megabyte_in_one_line_is_cut_in_the_middle_and_says_so():
    shown = text("x" * 1_000_000 + "END")
    assert len(shown) < 5_000
    assert "996,003 characters left out" in shown
    assert shown.endswith("END")


def test_hostile_names_configs_and_answers_stay_text_on_the_page(tmp_path):
    logs = [write_log(tmp_path, hostile, key=f"rewards/{hostile[:9]}/mean") for hostile in HOSTILE]
    answers = SideBySide(
        ["base", HOSTILE[0]],
        [],
        [],
        [Question(one, one, one, [Answer(one, 1.0, one), Answer("y" * 1_000_000, None)]) for one in HOSTILE],
    )
    page = render(compare_runs(logs, predictions=answers))
    tags = parse(page)
    scripts = [element for element in tags.elements if element == "script"]
    assert len(scripts) == 3  # data, chart, page
    assert "img" not in tags.elements
    assert not [attribute for attribute in tags.attributes if attribute[1].startswith("on")]
    assert not re.search("[\x00-\x08\u202a-\u202e\ud800-\udfff]", page)
    page.encode("utf-8")
    assert len(page) < 300_000


def test_the_page_asks_the_network_for_nothing(tmp_path):
    tags = parse(render(compare_runs([write_log(tmp_path, "a"), write_log(tmp_path, "b")])))
    links = [
        value for _, name, value in tags.attributes if name in {"src", "href", "action", "data"} and value
    ]
    assert all(link.startswith(("#", "data:")) for link in links)
    assert any("default-src 'none'" in str(value) for _, name, value in tags.attributes if name == "content")


def test_the_tables_hold_the_figures_without_script(tmp_path):
    page = render(compare_runs([write_log(tmp_path, "first run"), write_log(tmp_path, "second run")]))
    words = "".join(parse(page.split('<script type="application/json"')[0]).words)
    for expected in ("first run", "second run", "0.03", "0.38", "the reward rises", "model"):
        assert expected in words


def test_every_label_is_there_in_both_languages(tmp_path):
    page = render(compare_runs([write_log(tmp_path, "a"), write_log(tmp_path, "b")]))
    english, chinese = page.count('<span lang="en">'), page.count('<span lang="zh">')
    assert english == chinese > 30
    assert label("a", "b") == '<span lang="en">a</span><span lang="zh">b</span>'


def test_a_thinned_curve_still_shows_its_one_spike():
    values = np.zeros(10_000)
    values[4_321] = 99.0
    found = thin(range(10_000), values.tolist(), 200)
    assert len(found["lo"]) == len(found["hi"]) == len(found["s"]) == 200
    assert max(found["hi"]) == 99
    assert found["n"] == 10_000


def test_a_short_curve_is_kept_point_by_point():
    found = thin([1, 2, 3, 5], [0.123456, 2, 3, 4], 100)
    assert found == {"n": 4, "x": [1, 2, 3, 5], "y": [0.1235, 2, 3, 4]}


def test_evenly_spaced_steps_are_stored_as_a_rule():
    assert thin([10, 20, 30, 40, 50], [1, 2, 3, 4, 5], 100)["x"] == {"from": 10, "by": 10, "count": 5}


def test_the_moving_average_is_the_mean_of_the_window():
    values = np.random.default_rng(0).normal(size=50)
    expected = [values[max(0, i - 3) : i + 4].mean() for i in range(50)]
    np.testing.assert_allclose(moving_average(values, 7), expected)


def test_the_moving_average_of_zeros_after_a_peak_is_zero():
    values = np.concatenate([np.full(20, 404.123), np.zeros(30)])
    assert (moving_average(values, 5)[25:] == 0).all()


def test_charts_follow_the_method(shared_data):
    logs = shared_data / "logs"
    sft = chart_data(compare_runs([logs / "trl_sft_wordle/trainer_state.json"]).runs)
    grpo = chart_data(compare_runs([logs / "trl_wordle_4090/trainer_state.json"]).runs)
    assert [chart["key"] for chart in sft if chart["group"] == "learning"] == ["mean_token_accuracy", "loss"]
    assert [chart["key"] for chart in grpo if chart["group"] == "learning"] == ["reward"]
    assert "rewards/wordle_reward_func/mean" in [chart["key"] for chart in grpo]


def test_earlier_stages_have_their_own_charts(tmp_path):
    document = {
        "name": "run",
        "history": [{"step": 1, "reward": 0.5}],
        "stages": [
            {"name": "1-sft", "method": "sft", "history": [{"step": i, "loss": 3.0 / i} for i in range(1, 5)]}
        ],
    }
    path = tmp_path / "run.json"
    path.write_text(json.dumps(document))
    (chart,) = [one for one in chart_data(compare_runs([path]).runs) if one["group"] == "stages"]
    assert chart["title"]["en"] == "1-sft: loss"
    assert chart["traces"][0]["y"] == [3, 1.5, 1, 0.75]


def test_held_out_curves_start_at_what_was_measured_before_training(tmp_path):
    history = [{"step": 1, "reward": 0.5}, {"step": 9, "reward": 0.6, "eval_reward": 0.9, "eval_format": 1.0}]
    validation = {"before": {"reward": {"value": 0.8}}}
    path = tmp_path / "run.json"
    path.write_text(json.dumps({"name": "run", "history": history, "validation": validation}))
    (chart,) = [one for one in chart_data(compare_runs([path]).runs) if one["group"] == "held-out"]
    assert chart["key"] == "eval_reward"  # eval_format was measured once: the table shows it
    assert (chart["traces"][0]["x"], chart["traces"][0]["y"]) == ([0, 9], [0.8, 0.9])


def test_the_first_eight_runs_differ_in_colour_and_all_first_32_in_style():
    assert len({style(i).colour for i in range(8)}) == 8
    assert len({(style(i).colour, style(i).dash) for i in range(32)}) == 32


def test_numbers_keep_three_digits():
    assert [number(x) for x in (0.12345, 1234567.0, 3, None, float("nan"), 0.00001234, 0.0)] == [
        "0.123", "1,234,567", "3", "–", "–", "1.23e-05", "0",
    ]  # fmt: skip


def test_a_page_that_was_there_is_kept(tmp_path):
    from medgrpo.runs.report import set_aside

    runs = compare_runs([write_log(tmp_path, "a")])
    first = write_report(runs, tmp_path / "out").read_text()
    assert set_aside(tmp_path / "nowhere") is None
    kept = [set_aside(tmp_path / "out")]
    write_report(runs, tmp_path / "out")
    kept.append(set_aside(tmp_path / "out"))
    assert len({*kept}) == 2
    assert kept[0].read_text() == first


def test_three_short_runs_make_a_small_page_that_loads_no_library(tmp_path):
    path = write_report(compare_runs([write_log(tmp_path, name) for name in "abc"]), tmp_path / "out")
    assert path.stat().st_size < 300_000
    assert "plotly" not in path.read_text().lower()


def test_settings_are_written_as_people_write_them(tmp_path):
    from medgrpo.runs.comparison import plain

    assert plain({"format": 0.2, "towers": ("language", "vision")}) == "format 0.2, towers language, vision"
    assert [plain(value) for value in (True, None, 1e-05, [], "x")] == ["yes", "–", "1e-05", "none", "x"]


def test_curves_can_be_drawn_over_prompts_and_hours(tmp_path):
    from medgrpo.runs.comparison import summarise
    from medgrpo.runs.record import RunRecord
    from medgrpo.runs.report.curves import clock, prompts_per_step

    history = [{"step": step, "reward": 0.5, "s_per_prompt": 0.5} for step in range(1, 101)]
    run = summarise(RunRecord("run", "test", {"training": {"prompts_per_step": 16}}, history))
    assert prompts_per_step(run) == 16
    assert clock(run)["x"][-1] == 100
    assert clock(run)["h"][-1] == pytest.approx(100 * 16 * 0.5 / 3600, rel=1e-3)
    assert clock(summarise(RunRecord("run", "test", {}, history))) is None


def test_held_out_charts_have_intervals_and_the_blind_line():
    from medgrpo.runs.comparison import summarise
    from medgrpo.runs.record import RunRecord

    history = [{"step": step, "reward": 0.5, "eval_answer_match": 0.5 + step / 100} for step in (5, 10)]
    measured = {
        when: {"answer_match": {"value": value, "low": value - 0.1, "high": value + 0.1}}
        for when, value in (("blind", 0.4), ("before", 0.45), ("after", 0.6))
    }
    run = summarise(RunRecord("run", "test", {}, history, validation=measured))
    (chart,) = [one for one in chart_data([run]) if one["group"] == "held-out"]
    assert [(point["x"], point["low"]) for point in chart["points"]] == [(0, 0.35), (10, 0.5)]
    assert chart["blind"] == [{"run": 0, "y": 0.4}]


def test_fifty_runs_of_ten_thousand_steps_stay_below_the_limit_of_points(tmp_path):
    from medgrpo.runs.comparison import summarise
    from medgrpo.runs.record import RunRecord

    draw = np.random.default_rng(0)
    keys = ["reward", "kl", "entropy", "grad_norm", "loss", *(f"rewards/r{i}/mean" for i in range(4))]
    table = draw.normal(size=(10_000, len(keys))).tolist()
    history = [{"step": i, **dict(zip(keys, row, strict=True))} for i, row in enumerate(table)]
    one = summarise(RunRecord("run", "test", {}, history))
    data = chart_data([one] * 50)
    assert len(script_json(data)) < 9_000_000  # the page stays below 15 MB


def test_metrics_that_no_chart_knows_are_drawn_if_they_change():
    from medgrpo.runs.comparison import summarise
    from medgrpo.runs.record import RunRecord

    history = [
        {
            "step": i,
            "reward": i / 50,
            "my/metric": i * 2.0,
            "my/constant": 1.0,
            "curriculum/difficulty": i / 50,
        }
        for i in range(50)
    ]
    data = chart_data([summarise(RunRecord("run", "test", {}, history))])
    groups = {chart["key"]: chart["group"] for chart in data}
    assert groups["my/metric"] == "other"
    assert groups["curriculum/difficulty"] == "behaviour"
    assert "my/constant" not in groups
