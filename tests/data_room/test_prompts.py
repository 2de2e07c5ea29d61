"""From a row to messages and to the completion that SFT learns."""

import json

import pytest

from medgrpo.data.prompts import (
    TEMPLATES,
    build_example,
    build_messages,
    build_target,
    load_template,
    question_text,
    template_from_dict,
)
from medgrpo.data.schema import guess_language, new_row
from medgrpo.errors import UsageError


def row(**fields):
    return new_row(**{"question": "Is there a mass?", "answer": "no", "images": ["images/1.png"]} | fields)


def test_messages_have_a_system_prompt_a_picture_and_the_question():
    system, user = build_messages(row(), TEMPLATES["structured"])
    assert system["role"] == "system"
    assert user["content"][0] == {"type": "image"}
    assert user["content"][1]["text"].startswith("Is there a mass?\n")


def test_rows_without_pictures_have_plain_strings_for_text_only_chat_templates():
    messages = build_messages(row(images=[]), TEMPLATES["answer"])
    assert all(isinstance(message["content"], str) for message in messages)


def test_parts_can_be_forced_so_that_one_table_holds_both_kinds_of_rows():
    messages = build_messages(row(images=[]), TEMPLATES["answer"], parts=True)
    assert messages[1]["content"][0]["type"] == "text"


def test_every_tag_of_the_template_is_asked_for():
    text = build_messages(row(), TEMPLATES["structured"])[1]["content"][1]["text"]
    for tag in ("think", "answer", "plane", "modality"):
        assert f"<{tag}>" in text
        assert f"</{tag}>" in text


def test_chinese_rows_are_asked_in_chinese():
    messages = build_messages(row(question="有肿块吗？", language="zh"), TEMPLATES["structured"])
    assert "请严格按照以下格式回答" in messages[1]["content"][1]["text"]
    assert "医学助手" in messages[0]["content"][0]["text"]


def test_the_title_enters_the_prompt_and_the_caption_and_labels_do_not():
    text = question_text(row(image_title="Chest pain.", caption="SECRET", plane="axial", modality="CT"))
    assert text == "This is a case of Chest pain.\nIs there a mass?"


def test_options_are_listed_with_their_letters():
    text = question_text(row(options=json.dumps({"A": "lung", "B": "heart"})))
    assert text.endswith("Options:\nA. lung\nB. heart")


def test_the_target_fills_every_tag_that_is_known():
    target = build_target(row(plane="axial", modality="CT"), TEMPLATES["structured"])
    assert target == (
        "<think>CT, axial view.</think><answer>no</answer><plane>axial</plane><modality>CT</modality>"
    )


def test_an_unknown_plane_is_neither_learnt_nor_asked_for():
    messages, target = build_example(row(modality="CT"), TEMPLATES["structured"])
    assert "<plane>" not in target
    assert "<plane>" not in messages[1]["content"][1]["text"]
    assert "<modality>CT</modality>" in target


def test_a_chosen_completion_is_learnt_word_for_word_from_the_full_prompt():
    messages, target = build_example(row(chosen="<think>a</think>"), TEMPLATES["structured"])
    assert target == "<think>a</think>"
    assert "<plane>" in messages[1]["content"][1]["text"]


def test_the_plain_template_learns_the_bare_answer():
    assert build_target(row(), TEMPLATES["plain"]) == "no"


def test_boxes_are_written_as_json_in_whole_pixels():
    boxes = json.dumps([{"box": [1.4, 2.6, 30.0, 40.0], "label": "nodule"}])
    target = build_target(row(boxes=boxes), TEMPLATES["detection"])
    written = target.partition("<boxes>")[2].partition("</boxes>")[0]
    assert json.loads(written) == [{"bbox_2d": [1, 3, 30, 40], "label": "nodule"}]


def test_a_template_survives_the_way_through_its_dictionary():
    template = TEMPLATES["structured"].with_system("Be brief.")
    again = template_from_dict(json.loads(json.dumps(template.to_dict())))
    assert build_messages(row(), again) == build_messages(row(), template)


def test_a_template_file_may_have_tags_and_words_of_its_own(tmp_path):
    file = tmp_path / "grade.toml"
    file.write_text('tags = ["answer", "grade"]\nsystem = ""\n[hints]\ngrade = "0 to 4"\n', encoding="utf-8")
    template = load_template(file)
    (user,) = build_messages(row(), template)
    assert "<grade>0 to 4</grade>" in user["content"][1]["text"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('tags = "answer"', "list of words"),
        ('tags = ["a b"]', "list of words"),
        ('tags = ["a", "a"]', "repeated"),
        ("tagz = []", "tags"),
        ("tags = [", "not valid TOML"),
    ],
)
def test_a_wrong_template_file_says_what_is_wrong(tmp_path, content, words):
    file = tmp_path / "t.toml"
    file.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError) as error:
        load_template(file)
    assert words in str(error.value)


def test_an_unknown_template_gets_the_nearest_name():
    with pytest.raises(UsageError, match="did you mean 'structured'"):
        load_template("structurd")


@pytest.mark.parametrize(
    ("text", "language"),
    [("Is it CT?", "en"), ("这是CT吗", "zh"), ("T2加权MRI", "zh"), ("12", "en"), ("", "en")],
)
def test_the_language_is_told_by_the_letters(text, language):
    assert guess_language(text) == language
