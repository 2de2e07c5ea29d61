"""docs/requirements.md has a line for every row, and every test that it cites exists."""

import re

from tests.conftest import ROOT

TEXT = (ROOT / "docs" / "requirements.md").read_text(encoding="utf-8")
ROWS = {"S1": 8, "S2": 8, "S3": 6, "S4": 7, "S5": 11}


def test_every_row_has_one_line_with_evidence_or_says_that_it_is_not_built():
    lines = re.findall(r"^\| (S\d\.\d+) \| (.+) \| (.+) \|$", TEXT, re.MULTILINE)
    wanted = [f"{part}.{number}" for part, count in ROWS.items() for number in range(1, count + 1)]
    assert [row for row, _, _ in lines] == wanted
    for row, how, evidence in lines:
        assert "::test_" in evidence or "**not built**" in how, row


def test_every_cited_test_exists():
    cited = re.findall(r"`([\w/]+\.py)(?:::(test_\w+))?`", TEXT)
    assert len(cited) > 80
    for file, name in cited:
        path = ROOT / file if file.startswith("tests/") else ROOT / "tests" / file
        assert path.is_file(), file
        assert not name or f"def {name}(" in path.read_text(encoding="utf-8"), f"{file}::{name}"


def test_every_cited_preset_exists():
    presets = {path.stem for path in (ROOT / "presets").glob("*.toml")}
    for cell in re.findall(r"[Pp]resets? ((?:`[\w-]+`(?:, )?)+)", TEXT):
        names = set(re.findall(r"`([\w-]+)`", cell)) - {"quick", "mid", "full"}
        assert names <= presets, names - presets
