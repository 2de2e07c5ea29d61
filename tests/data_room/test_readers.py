"""Each source format, with the quirks of the real files."""

import json

import pytest

from medgrpo.data.readers import FORMATS, Problems, Source, read_source
from medgrpo.errors import MedgrpoError, UsageError


def read(path, policy="stop", **options):
    problems = Problems(policy)
    items, formats = read_source(Source(path, **options), problems)
    return items, formats, problems


def write(folder, name, content, encoding="utf-8"):
    folder.mkdir(exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content, ensure_ascii=False)
    (folder / name).write_text(text, encoding=encoding)
    return folder


def test_vqa_rad_has_integer_answers_trailing_blanks_and_types_in_one_order(shared_data):
    items, formats, _ = read(shared_data / "vqa_rad")
    assert formats == ["vqa-rad"]
    assert len(items) == 2627
    rows = [item.row for item in items]
    assert all(isinstance(row["answer"], str) and row["answer"] == row["answer"].strip() for row in rows)
    assert {row["answer_type"] for row in rows} == {"open", "closed"}
    types = {row["question_type"] for row in rows}
    assert "ATTRIB,PRES" in types
    assert not types & {"PRES, ATTRIB", "PRES,ATTRIB", "PRSE", "ATRIB", "OTHER "}
    assert {item.split for item in items} == {"train", "test"}


def test_vqa_rad_labels_come_from_sibling_questions_in_canonical_classes(shared_data):
    items, _, _ = read(shared_data / "vqa_rad")
    rows = [item.row for item in items]
    assert {row["plane"] for row in rows} == {None, "axial", "coronal", "PA", "AP"}
    assert {"MRI T2", "MRI FLAIR", "CT", "X-ray"} <= {row["modality"] for row in rows}
    by_picture = {}
    for row in rows:
        by_picture.setdefault(row["image_id"], set()).add(row["plane"])
    assert all(len(planes) == 1 for planes in by_picture.values())


def test_a_question_about_what_is_not_shown_gives_no_label(shared_data):
    items, _, _ = read(shared_data / "vqa_rad")
    negated = next(
        i.row for i in items if i.row["question"] == "What type of imaging does this not represent?"
    )
    assert negated["answer"] == "ultrasound"
    assert negated["modality"] != "ultrasound"


def test_slake_is_read_in_both_languages_with_its_modality_column(shared_data):
    items, formats, problems = read(shared_data / "slake", "skip", keep_missing=True)
    assert formats == ["slake"]
    assert problems.skipped == {"no answer": 1}
    assert len(items) == 5021
    rows = [item.row for item in items]
    assert {row["language"] for row in rows} == {"en", "zh"}
    assert {row["modality"] for row in rows} == {"CT", "MRI", "X-ray"}
    assert {row["plane"] for row in rows} <= {None, "axial", "coronal", "sagittal"}


def test_vqa_med_lines_have_several_accepted_answers(shared_data):
    items, formats, _ = read(shared_data / "vqa_med_2019", keep_missing=True)
    assert set(formats) == {"vqa-rad", "vqa-med"}
    accepted = [i.row["answers"] for i in items if len(i.row["answers"]) > 1]
    assert ["gastrointestinal", "lung, mediastinum, pleura"] in accepted
    items, _, _ = read(shared_data / "vqa_med_2021", keep_missing=True)
    assert items[0].row["answers"][0] == "avascular necrosis"
    assert len(items[0].row["answers"]) == 3


def test_omnimedvqa_options_are_taken_out_of_the_question(shared_data):
    items, formats, _ = read(shared_data / "omnimedvqa", keep_missing=True)
    assert formats == ["inline-choice"]
    for item in items:
        options = json.loads(item.row["options"])
        assert list(options) == [chr(65 + i) for i in range(len(options))]
        assert item.row["answer"] in options.values()
        assert " A)" not in item.row["question"]


def test_rocov2_captions_get_the_modality_from_umls_concepts(shared_data):
    items, formats, _ = read(shared_data / "rocov2")
    assert formats == ["captions"]
    assert len(items) == 24
    assert {item.row["modality"] for item in items} == {"CT", "MRI", "X-ray", "ultrasound", "angiography"}


def test_every_text_format_of_the_real_files_is_read(shared_data):
    items, formats, _ = read(shared_data / "text_qa")
    assert set(formats) == {"question-answer", "instruction", "chat", "preference", "pubmedqa"}
    assert len(items) == 3524
    by_file = {}
    for item in items:
        by_file.setdefault(item.row["source_file"].rpartition("/")[2], []).append(item.row)
    assert len(by_file["internal_medicine_gbk_300.csv"]) == 300  # GB18030
    assert by_file["internal_medicine_gbk_300.csv"][0]["language"] == "zh"
    assert len(by_file["llama_data_1500.json"]) == 1500  # JSON lines named .json
    assert len(by_file["ori_pqal_400.json"]) == 400  # an object keyed by PMID
    assert {row["answer"] for row in by_file["ori_pqal_400.json"]} == {"yes", "no", "maybe"}
    assert all(row["chosen"] and row["rejected"] for row in by_file["dpo_zh_200.jsonl"])
    assert json.loads(by_file["medqa_sampled_50.jsonl"][0]["options"])["D"] == "Staphylococcus aureus"


def test_pubmedqa_conclusions_reach_neither_context_nor_caption(shared_data):
    content = json.loads((shared_data / "text_qa/pubmedqa/ori_pqal_400.json").read_text())
    items, _, _ = read(shared_data / "text_qa/pubmedqa")
    for item, record in zip(items, content.values(), strict=True):
        assert record["LONG_ANSWER"] not in json.dumps(item.row, ensure_ascii=False)


def test_a_two_turn_chat_keeps_what_was_said_before_as_context(tmp_path):
    turns = [
        {"from": "system", "value": "be kind"},
        {"from": "human", "value": "I cough."},
        {"from": "gpt", "value": "Since when?"},
        {"from": "human", "value": "A week. What is it?"},
        {"from": "gpt", "value": "A cold."},
    ]
    items, _, _ = read(write(tmp_path / "s", "chat.json", [{"conversations": turns}]))
    row = items[0].row
    assert (row["question"], row["answer"]) == ("A week. What is it?", "A cold.")
    assert row["context"] == "user: I cough.\nassistant: Since when?"


def test_messages_with_parts_and_preference_pairs_with_messages_are_read(tmp_path):
    user = {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}
    reply = {"role": "assistant", "content": "A cyst."}
    write(tmp_path / "s", "chat.jsonl", json.dumps({"messages": [user, reply], "images": ["a.png"]}) + "\n")
    _pictures(tmp_path / "s", "a.png")
    pair = {
        "images": ["a.png"],
        "prompt": [user],
        "chosen": [reply],
        "rejected": [{"role": "assistant", "content": "A tumour."}],
    }
    write(tmp_path / "s", "pairs.jsonl", json.dumps(pair) + "\n")
    items, formats, _ = read(tmp_path / "s")
    assert sorted(formats) == ["chat", "preference"]
    assert {item.row["question"] for item in items} == {"What is it?"}
    assert {item.row["rejected"] for item in items} == {None, "A tumour."}


@pytest.mark.parametrize(
    ("name", "content", "encoding"),
    [
        ("list_named.jsonl", '[{"question": "q", "answer": 3}]', "utf-8"),
        ("lines_named.json", '{"question": "q", "answer": 3}\n{"question": "r", "answer": "4"}\n', "utf-8"),
        ("one_object.json", '{"question": "q",\n "answer": 3}', "utf-8"),
        ("keyed.json", '{"17": {"question": "q", "answer": "3"}}', "utf-8"),
        ("nested.json", '{"version": 1, "data": [{"question": "q", "answer": 3.0}]}', "utf-8"),
        ("marked.csv", "question,answer\nq,3\n", "utf-8-sig"),
        ("semicolons.csv", "Question;Answer\nq;3\n", "utf-8"),
        ("tabs.tsv", "question\tanswer\nq\t3\n", "utf-8"),
        ("utf16.json", '[{"question": "q", "answer": "3"}]', "utf-16"),
        ("chinese.csv", "question,answer,备注\nq,3,无\n", "gb18030"),
    ],
)
def test_the_content_of_a_file_decides_how_it_is_read(tmp_path, name, content, encoding):
    items, _, _ = read(write(tmp_path / "s", name, content, encoding))
    assert (items[0].row["question"], items[0].row["answer"]) == ("q", "3")


def test_parquet_rows_are_read(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    (tmp_path / "s").mkdir()
    pq.write_table(pa.table({"question": ["q", "r"], "answer": ["a", "b"]}), tmp_path / "s" / "rows.parquet")
    items, _, _ = read(tmp_path / "s")
    assert [item.row["answer"] for item in items] == ["a", "b"]


@pytest.mark.parametrize(
    ("record", "answer"),
    [
        ({"options": {"A": "lung", "B": "heart"}, "answer": "B"}, "heart"),
        ({"options": ["A. lung", "B. heart"], "answer": "B. heart"}, "heart"),
        ({"options": '["lung", "heart"]', "answer": "(b)"}, "heart"),
        ({"choices": ["lung", "heart"], "answer": "HEART"}, "heart"),
        ({"Choice A": " A:lung ", "Choice B": " B:heart ", "answer": "B"}, "heart"),
        ({"options": {"A": "lung", "B": "heart"}, "answer": "<answer> B </answer>"}, "heart"),
    ],
)
def test_an_option_is_named_by_its_letter_or_its_text(tmp_path, record, answer):
    items, _, _ = read(write(tmp_path / "s", "rows.json", [{"question": "which?", **record}]))
    assert items[0].row["answer"] == answer
    assert items[0].row["answer_type"] == "choice"


def test_an_answer_that_is_no_option_is_a_bad_row(tmp_path):
    folder = write(
        tmp_path / "s", "r.json", [{"question": "q", "options": {"A": "x", "B": "y"}, "answer": "E"}]
    )
    with pytest.raises(MedgrpoError, match=r"r.json, row 1, field 'answer'"):
        read(folder)


def test_a_bad_row_stops_with_file_row_field_and_what_to_do(tmp_path):
    rows = [{"question": "q", "answer": "a"}, {"question": "q", "answer": "  "}]
    with pytest.raises(MedgrpoError) as error:
        read(write(tmp_path / "s", "rows.json", rows))
    assert "rows.json, row 2, field 'answer': the answer is empty" in str(error.value)
    assert "--on-bad-row skip" in str(error.value)


def test_skipped_rows_are_counted_by_reason(tmp_path):
    good = '{"question": "q", "answer": "a"}\n'
    lines = good + '{"question": "q"}\n{"question": broken\n[1]\n{"question": "q", "answer": null}\n' + good
    items, _, problems = read(write(tmp_path / "s", "rows.jsonl", lines), "skip")
    assert len(items) == 2
    assert problems.skipped == {"no answer": 2, "not JSON": 1, "not an object": 1}
    assert [example["row"] for example in problems.examples] == [2, 3, 4, 5]


def test_one_bad_row_in_a_hundred_thousand_is_found_and_the_rest_is_kept(tmp_path):
    lines = [json.dumps({"question": f"q{i}", "answer": "a"}) for i in range(100_000)]
    lines[77_776] = '{"question": "q"'
    folder = write(tmp_path / "s", "rows.jsonl", "\n".join(lines))
    with pytest.raises(MedgrpoError, match="row 77777"):
        read(folder)
    items, _, problems = read(folder, "skip")
    assert len(items) == 99_999
    assert problems.skipped == {"not JSON": 1}


def test_broken_json_names_the_file_and_the_place(tmp_path):
    with pytest.raises(MedgrpoError, match=r"rows.json is not valid JSON.*line 1"):
        read(write(tmp_path / "s", "rows.json", '[{"question": "q"'))


def test_an_unknown_format_lists_the_fields_that_were_found(tmp_path):
    with pytest.raises(UsageError, match="fields colour, shape"):
        read(write(tmp_path / "s", "rows.json", [{"colour": 1, "shape": 2}]))


def test_a_folder_without_data_says_so(tmp_path):
    with pytest.raises(UsageError, match="no data file"):
        read(tmp_path)


def test_fields_that_tell_the_answer_are_dropped_and_counted(tmp_path):
    record = {
        "question": "q",
        "answer": "a",
        "case.diagnosis": "SECRET",
        "topic.title": "SECRET",
        "findings": "SECRET",
    }
    items, _, problems = read(write(tmp_path / "s", "rows.json", [record]))
    assert "SECRET" not in json.dumps(items[0].row)
    assert problems.dropped_fields == {"case.diagnosis": 1, "topic.title": 1, "findings": 1}


@pytest.mark.parametrize(
    "name", ["../secret.png", "/etc/passwd", "a/../../secret.png", "..\\secret.png", "C:\\x.png"]
)
def test_pictures_outside_the_source_are_refused(tmp_path, name):
    (tmp_path / "secret.png").write_bytes(b"x")
    folder = write(tmp_path / "s", "rows.json", [{"question": "q", "answer": "a", "image": name}])
    with pytest.raises(MedgrpoError, match="leads out of the source"):
        read(folder)


def test_a_link_out_of_the_source_is_refused(tmp_path):
    (tmp_path / "secret.png").write_bytes(b"x")
    folder = write(tmp_path / "s", "rows.json", [{"question": "q", "answer": "a", "image": "link.png"}])
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    with pytest.raises(MedgrpoError, match="leads out of the source"):
        read(folder)


def test_a_picture_name_that_fits_two_files_is_not_guessed(tmp_path):
    folder = write(tmp_path / "s", "rows.json", [{"question": "q", "answer": "a", "image": "x.png"}])
    for place in ("one", "two"):
        (folder / place).mkdir()
        (folder / place / "x.png").write_bytes(b"x")
    with pytest.raises(MedgrpoError, match="fits 2 pictures"):
        read(folder)


def test_one_data_file_can_be_the_source(tmp_path):
    folder = write(tmp_path / "s", "rows.json", [{"question": "q", "answer": "a"}])
    write(folder, "other.json", [{"question": "x", "answer": "y"}] * 5)
    assert len(read(folder / "rows.json")[0]) == 1


def test_every_format_says_in_one_line_what_it_is_known_by():
    assert all(reader.describe and "\n" not in reader.describe for reader in FORMATS)
    assert len({reader.name for reader in FORMATS}) == len(FORMATS)


def test_the_ten_lines_of_the_docs_make_a_reader(tmp_path, monkeypatch):
    from pathlib import Path

    from medgrpo.data import readers
    from medgrpo.data.readers.base import Item, RecordReader
    from medgrpo.data.readers.generic import find_image, split_of
    from medgrpo.data.readers.values import required
    from medgrpo.data.schema import new_row

    page = Path(__file__).parent.parent.parent / "docs" / "data.md"
    code = (
        page.read_text(encoding="utf-8")
        .partition("## Adding a format")[2]
        .partition("```python\n")[2]
        .partition("```")[0]
    )
    names = {
        "RecordReader": RecordReader,
        "Item": Item,
        "new_row": new_row,
        "required": required,
        "find_image": find_image,
        "split_of": split_of,
    }
    exec(code, names)
    monkeypatch.setattr(readers, "FORMATS", (names["MySetReader"](), *FORMATS))
    folder = write(tmp_path / "s", "train.json", [{"scan": "a.png", "finding": "cyst"}])
    (folder / "a.png").write_bytes(b"x")
    items, formats, _ = read(folder)
    assert formats == ["my-set"]
    assert (items[0].row["answer"], items[0].split, items[0].images[0].path) == ("cyst", "train", "a.png")
    assert len(code.partition("\nclass ")[2].strip().splitlines()) <= 10  # beside the imports


def _pictures(folder, *names):
    from PIL import Image

    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(folder / name)


def test_pictures_of_one_name_in_many_folders_are_told_apart_by_the_folder(tmp_path):
    """SLAKE as published: imgs/xmlab0/source.jpg, imgs/xmlab1/source.jpg, …"""
    _pictures(tmp_path, *(f"imgs/xmlab{number}/source.jpg" for number in range(12)))
    record = {"question": "Which organ?", "answer": "liver", "q_lang": "en", "content_type": "Organ"}
    write(tmp_path, "train.json", [{**record, "img_name": f"xmlab{n}/source.jpg"} for n in (1, 11)])
    items, formats, _ = read(tmp_path)
    assert formats == ["slake"]
    assert [item.images[0].path for item in items] == ["imgs/xmlab1/source.jpg", "imgs/xmlab11/source.jpg"]


@pytest.mark.parametrize(
    "fields",
    [
        {"option_A": "PET", "option_B": "Fundus", "gt_answer": "Fundus"},  # OmniMedVQA
        {"Choice A": " A:PET ", "Choice B": " B: Fundus", "Answer": "B"},  # PMC-VQA
        {"A": "PET", "B": "Fundus", "answer": "B"},  # C-Eval
        {"Options": "A PET\nB Fundus", "Answer": "B"},  # CMExam
        {"options": {"A": "PET", "B": "Fundus"}, "answer": "Fundus", "answer_idx": "B"},  # MedQA
    ],
)
def test_options_are_found_however_they_are_written(tmp_path, fields):
    write(tmp_path, "rows.json", [{"question": "Which technique?", **fields}])
    row = read(tmp_path)[0][0].row
    assert (row["answer"], row["answer_type"]) == ("Fundus", "choice")
    assert json.loads(row["options"]) == {"A": "PET", "B": "Fundus"}


@pytest.mark.parametrize(
    ("picture", "mask", "fov"),
    [
        ("images/a.jpg", "masks/a.jpg", None),  # Kvasir-SEG
        ("Original/a.png", "Ground truth/a.png", None),  # FIVES
        ("imagesTr/a_0000.png", "labelsTr/a.png", None),  # nnU-Net
        ("Task1_Training_Input/a.jpg", "Task1_Training_GroundTruth/a_segmentation.png", None),  # ISIC
        ("images/21_training.tif", "1st_manual/21_manual1.gif", "mask/21_training_mask.gif"),  # DRIVE
        ("images/01_h.jpg", "manual1/01_h.tif", "mask/01_h_mask.tif"),  # HRF
        ("stare-images/im0001.ppm", "labels-ah/im0001.ah.ppm", None),  # STARE
        ("Image_01L.jpg", "Image_01L_1stHO.png", None),  # CHASE_DB1
    ],
)
def test_pictures_and_masks_are_paired_in_the_layouts_of_published_sets(tmp_path, picture, mask, fov):
    _pictures(tmp_path, *filter(None, (picture, mask, fov)))
    items, formats, _ = read(tmp_path)
    assert formats == ["masks"]
    (item,) = items
    assert (item.images[0].path, item.mask.path) == (picture, mask)
    assert (item.fov.path if item.fov else None) == fov


def test_a_difficulty_is_a_number_or_a_word_and_changes_the_hash_only_where_there_is_one(tmp_path):
    from medgrpo.data.hashing import row_hash
    from medgrpo.data.schema import new_row

    values = [2.5, "hard", "简单", "cardiology", None]
    rows = [{"question": "Q?", "answer": str(n), "difficulty": v} for n, v in enumerate(values)]
    items, _, _ = read(write(tmp_path / "set", "rows.json", rows))
    assert [item.row["difficulty"] for item in items] == [2.5, 3.0, 1.0, None, None]
    without = new_row(id="1", question="Q?", answer="A")
    assert row_hash(without, [], None) == "f2dbe60ae92bfb04513d281f292aa094"  # as before the column
    assert row_hash({**without, "difficulty": 1.0}, [], None) != row_hash(without, [], None)


def test_a_new_column_changes_no_hash_before_someone_decides_that_it_does():
    from medgrpo.data.hashing import undecided_columns

    assert undecided_columns() == set()


def test_columns_in_chinese_are_known_and_a_picture_under_another_name_is_asked_for(tmp_path):
    from PIL import Image

    folder = tmp_path / "我的 图片"
    folder.mkdir()
    for number in range(2):
        Image.new("L", (8, 8), 40 * number).save(folder / f"病例 {number}.PNG")
    rows = "".join(f"病例 {number}.PNG,有没有结节？,没有,P{number}\r\n" for number in range(2))
    for names in ("图片名,问题,标准答案,患者编号", "图像文件,提问,参考答案,病历号"):
        (folder / "表 1.csv").write_bytes(f"{names}\r\n{rows}".encode("gb18030"))
        items, _, _ = read(folder)
        assert [item.row["patient_id"] for item in items] == ["P0", "P1"]
        assert all(item.images for item in items)
    (folder / "表 1.csv").write_text(f"扫 描,问题,答案,病历号\n{rows}", encoding="utf-8")
    with pytest.raises(MedgrpoError) as caught:
        read(folder)
    assert "names a picture" in caught.value.problem
    assert caught.value.hint == "--columns 'image=扫 描'"
