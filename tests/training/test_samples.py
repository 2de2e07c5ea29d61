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
