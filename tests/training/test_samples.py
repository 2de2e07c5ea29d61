"""Completions written out for a person to read (S1.7)."""

import re
from urllib.parse import unquote

from medgrpo.training.watch.samples import write_samples


def test_pictures_are_linked_so_that_markdown_finds_them_in_any_folder(tmp_path):
    data = tmp_path / "my data 中"
    (data / "images").mkdir(parents=True)
    (data / "images" / "a (1).png").touch()
    row = {"id": "1", "images": ["images/a (1).png"], "question": "有病灶吗？", "answer": "有"}
    scored = [{"row": row, "text": "```\n<answer>有</answer>", "rewards": {"format": None}, "reward": 0.5}]
    path = write_samples(tmp_path / "run" / "samples", 50, scored, data, count=3, seed=0)
    written = path.read_text("utf-8")
    (link,) = re.findall(r"^!\[.*\]\((\S+)\)$", written, flags=re.MULTILINE)
    assert "(" not in link
    assert (path.parent / unquote(link)).is_file()
    assert "format not judged" in written
    assert "````\n```" in written  # a fence longer than the completion's own


def test_what_a_dataset_says_is_no_markup_and_gives_no_orders(tmp_path):
    text = "a\n\n# h\n<img src=x onerror=y> ![p](javascript:p) **b** `c` \x1b]0;t\x07"
    row = {"id": text, "question": text, "answer": text, "images": [f"{text}.png".replace("/", "")]}
    scored = [{"row": row, "text": f"```\n{text}", "rewards": {text: 1.0}, "reward": 1.0}]
    said = write_samples(tmp_path / "samples", 1, scored, tmp_path, count=1, seed=0).read_text()
    outside = re.sub(r"^````$.*?^````$", "", said, flags=re.MULTILINE | re.DOTALL)
    plain = re.sub(r"\\[^\w\s]", "", outside)
    assert "````\n```\n" in said  # the completion, word for word in a longer fence
    assert "\x1b" not in said
    assert "\x07" not in said
    for markup in ("<img", "](javascript", "\n# h", "**b**", "`c`"):
        assert markup not in plain
