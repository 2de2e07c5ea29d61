"""A run folder has a page: curves, before and after, ten answers with their pictures."""

import re

import pytest
from PIL import Image

from medgrpo.runs.before_after import SHOWN, chosen, keep_answers, kept_answers
from medgrpo.runs.report import write_run_page
from medgrpo.runs.writer import RunWriter


def rows(count):
    return [
        {"id": f"q{i}", "question": f"Question {i}?", "answer": "yes", "images": [f"images/{i}.png"]}
        for i in range(count)
    ]


@pytest.fixture
def run(tmp_path):
    writer = RunWriter.create(tmp_path / "run", "mine", "[training]\nmethod = 'grpo'\n", {}, logs=None)
    stage = writer.stage(1, "grpo", "grpo", is_main=True)
    for step in range(1, 31):
        writer.append(stage, {"step": step, "reward": 0.3 + step / 100, "loss": 0.01, "s_per_prompt": 0.1})
    pictures = writer.path / "demo" / "data" / "images"
    pictures.mkdir(parents=True)
    for i in range(40):
        Image.new("L", (56, 56), i * 6).save(pictures / f"{i}.png")
    (pictures.parent / "dataset.json").write_text("{}")
    return writer


@pytest.mark.parametrize(("count", "kept"), [(0, 0), (1, 1), (7, 7), (10, 10), (40, 10), (1000, 10)])
def test_the_questions_kept_are_at_even_distances(count, kept):
    places = chosen(count)
    assert len(places) == kept <= SHOWN
    assert not places or (places[0], places[-1]) == (0, max(0, count - 1))


def test_the_page_has_curves_both_answers_and_pictures(run):
    keep_answers(run.path, "before", rows(40), [f"<answer>before {i}</answer>" for i in range(40)])
    keep_answers(run.path, "after", rows(40), [f"<answer>after <b>{i}</b></answer>" for i in range(40)])
    run.update_info(validation={"before": {"reward": {"value": 0.3}}, "after": {"reward": {"value": 0.6}}})
    page = write_run_page(run.path).read_text(encoding="utf-8")
    section = page[page.index('id="before-after"') : page.index('id="curves"')]
    assert section.count("<tr>") == 1 + SHOWN
    assert section.count('src="data:image/jpeg;base64,') == SHOWN
    assert "before 0" in section
    assert "&lt;b&gt;39&lt;/b&gt;" in section  # what a model writes is text
    assert 'class="plot"' in page
    assert not re.search(r'src="(?!data:)', page)


@pytest.mark.parametrize(
    "name",
    [
        "../../../../private.png",
        "{}/private.png",
        "images/link.png",
        "images/../../../../private.png",
        "a" * 5000,
        "\0",
    ],
)
def test_a_runs_page_shows_no_picture_from_elsewhere(run, tmp_path, name):
    """A page is shared; a run of others names its pictures."""
    Image.new("L", (56, 56), 200).save(tmp_path / "private.png")
    (run.path / "demo" / "data" / "images" / "link.png").symlink_to(tmp_path / "private.png")
    asked = [{**row, "images": [name.format(tmp_path)]} for row in rows(3)]
    keep_answers(run.path, "before", asked, ["a", "b", "c"])
    keep_answers(run.path, "after", asked, ["a", "b", "c"])
    overlays = run.path / "overlays" / "step-000001"
    overlays.mkdir(parents=True)
    (overlays / "000000.png").symlink_to(tmp_path / "private.png")
    assert 'src="data:image' not in write_run_page(run.path).read_text(encoding="utf-8")


def test_a_run_stopped_before_its_end_shows_what_there_is(run):
    keep_answers(run.path, "before", rows(3), ["a", "b", "c"])
    (first, *_) = kept_answers(run.path)
    assert (first.before, first.after) == ("a", None)
    assert "–" in write_run_page(run.path).read_text(encoding="utf-8")


def test_completions_that_do_not_belong_to_the_rows_are_not_kept(run):
    keep_answers(run.path, "before", rows(3), ["only one"])
    assert kept_answers(run.path) == []
