"""Each file form of `forms.py`: what is read of it, and that all else is said."""

import json

import pytest

from medgrpo.data.readers import Problems, Source, read_source
from medgrpo.errors import UsageError
from tests.data_room.forms import FORMS, Form
from tests.data_room.wild_forms import ALL, table


def said_of(problems: Problems) -> set[str]:
    return (
        {f"{name} not read" for name in problems.account.unread}
        | {f"note: {note}" for note in problems.notes}
        | {f"skipped: {reason}" for reason in problems.skipped}
    )


@pytest.mark.parametrize("form", ALL, ids=lambda form: form.name)
def test_a_form_is_read_and_the_rest_is_said(form: Form, tmp_path):
    form.write(tmp_path / "set")
    problems = Problems("skip")
    source = Source(tmp_path / "set")
    if form.says == ("no known format",):
        with pytest.raises(UsageError, match="no known format"):
            read_source(source, problems)
        return
    items, _ = read_source(source, problems)
    assert said_of(problems) == set(form.says)
    assert len(items) == form.rows, problems.examples
    if not items:
        return
    first = items[0]
    found = {**first.row, "images": len(first.images), "split": first.split}
    found["mask"] = first.mask and first.mask.key
    found["options"] = json.loads(first.row["options"]) if first.row["options"] else None
    found["boxes"] = [box["box"] for box in json.loads(first.row["boxes"])] if first.row["boxes"] else None
    assert {name: found[name] for name in form.reads} == dict(form.reads)


def test_several_masks_of_a_picture_are_a_row_each_where_that_is_asked_for(tmp_path):
    next(form for form in FORMS if form.name.startswith("BUSI")).write(tmp_path / "set")
    source = Source(tmp_path / "set")
    source.mask_parts = "instances"
    items, _ = read_source(source, Problems())
    assert [item.mask.key for item in items] == [
        "benign/b (1)_mask.png",
        "benign/b (1)_mask_1.png",
        "benign/b (2)_mask.png",
    ]
    assert "number 2 of 2" in items[1].row["question"]


def test_the_table_of_forms_in_the_documentation_is_the_one_that_was_tried(request):
    text = (request.config.rootpath / "docs" / "data.md").read_text(encoding="utf-8")
    assert table() in text, "print it anew: python -m tests.data_room.wild_forms"
