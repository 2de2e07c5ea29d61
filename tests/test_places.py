"""How the place of a file is written down: seen from the file that names it, and found again."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgrpo.files import write_json, write_text
from medgrpo.places import found_place, found_settings, without_places, written_place, written_places


@pytest.fixture
def home(tmp_path, monkeypatch):
    place = tmp_path / "home" / "alice"
    place.mkdir(parents=True)
    monkeypatch.setenv("HOME", str(place))
    return place


def test_a_place_beside_or_inside_is_relative_and_moves_along(home, tmp_path):
    run = home / "runs" / "one"
    for place, written in (
        (run / "demo" / "model", "./demo/model"),
        (home / "models" / "q", "../../models/q"),
    ):
        assert written_place(place, run) == written
        assert found_place(written, run) == str(place)
    assert found_place("./demo/model", tmp_path / "elsewhere") == str(tmp_path / "elsewhere/demo/model")


def test_a_place_below_home_does_not_name_home(home, tmp_path):
    assert written_place(home / "models" / "q", tmp_path / "scratch") == "~/models/q"
    assert found_place("~/models/q", tmp_path / "scratch") == str(home / "models" / "q")
    assert written_place(tmp_path / "data", home / "run") == "../../../data"


@pytest.mark.parametrize(
    "text",
    [
        "/think",
        "</answer> /answer",
        "and/or",
        "http://host/a",
        "Qwen/Qwen2.5-VL-3B",
        "a/b",
        "/",
        "//",
        "1/2",
        "file:///tmp/x",
        "",
        "~",
    ],
)
def test_what_is_no_place_stays(text, tmp_path):
    assert written_places(text, tmp_path) == text == without_places(text)
    assert found_place(text, tmp_path) == text


@given(st.text())
def test_any_text_is_taken_and_texts_without_strokes_stay(text):
    assert isinstance(written_places(text, Path("/tmp/x")), str)
    if "/" not in text and text not in (".", ".."):
        assert found_place(text, Path("/tmp/x")) == text


def test_mixtures_and_rewards_come_back(home, tmp_path):
    run = tmp_path / "run"
    settings = {
        "data": {"path": f"{home}/a:0.5,{tmp_path}/b:0.5"},
        "rewards": {"weights": {f"{tmp_path}/my.py:judge": 1.0, "format": 2.0}, "gate": None},
        "model": {"path": f"{tmp_path}/reg.toml#x,y:0.3"},
        "training": {"note": "./stays"},
    }
    written = {
        name: {
            key: {written_places(k, run): v for k, v in value.items()}
            if isinstance(value, dict)
            else value and written_places(value, run)
            for key, value in section.items()
        }
        for name, section in settings.items()
    }
    assert str(tmp_path) not in str(written)
    assert found_settings(written, run) == settings


def test_json_and_pages_hold_no_absolute_path(tmp_path):
    write_json(tmp_path / "a.json", {"data": tmp_path / "d", str(tmp_path / "k"): [f"see {tmp_path}/x"]})
    assert str(tmp_path) not in (tmp_path / "a.json").read_text()
    write_text(tmp_path / "a.html", f"<td>{tmp_path}/d</td> a </td>")
    assert (tmp_path / "a.html").read_text() == "<td>d</td> a </td>"
