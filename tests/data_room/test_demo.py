from collections import Counter, defaultdict

import numpy as np
import pytest
from PIL import Image

from medgrpo.data.demo import (
    Carelessness,
    DemoSize,
    Phantom,
    careless_completion,
    describe,
    draw,
    reference_answer,
    sample_phantom,
    write_demo_dataset,
)
from medgrpo.data.prepared import PreparedDataset
from medgrpo.data.prompts import build_target, load_template
from medgrpo.data.schema import ROW_SCHEMA
from medgrpo.errors import UsageError

PERFECT = Carelessness(0.0, 0.0, 0.0, 0.0, 0.0)
PLAIN = Phantom("CT", "axial", 1, "left", faint=False)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_demo_dataset(tmp_path_factory.mktemp("d") / "set", seed=5, size=DemoSize(60, 20, 40))


@pytest.fixture(scope="module")
def rows(dataset):
    return {split: list(dataset.rows(split)) for split in dataset.splits}


def test_the_set_opens_as_an_ordinary_prepared_dataset(dataset):
    opened = PreparedDataset.open(dataset.path)
    assert opened.splits == ["train", "validation", "test"]
    assert opened.info["rows"]["train"] == len(list(opened.rows("train")))


def test_rows_have_all_columns_and_their_pictures_exist_in_the_stated_size(dataset, rows):
    for row in rows["train"] + rows["test"]:
        assert row.keys() == ROW_SCHEMA.keys()
        with Image.open(dataset.image_path(row["images"][0])) as picture:
            assert picture.size == (row["width"], row["height"])
            assert (row["width"] // 28) * (row["height"] // 28) == row["image_tokens"]


def test_ids_are_unique_and_no_picture_is_in_two_splits(rows):
    ids = [row["id"] for split in rows.values() for row in split]
    assert len(ids) == len(set(ids))
    pictures = [{row["image_id"] for row in split} for split in rows.values()]
    assert not pictures[0] & pictures[1]
    assert not pictures[0] & pictures[2]
    assert not pictures[1] & pictures[2]


def test_the_same_seed_gives_the_same_rows_pictures_and_hash(dataset, tmp_path):
    again = write_demo_dataset(tmp_path / "again", seed=5, size=DemoSize(60, 20, 40))
    assert again.hash == dataset.hash
    for split in dataset.splits:
        assert list(again.rows(split)) == list(dataset.rows(split))
    for picture in (dataset.path / "images").iterdir():
        assert (again.path / "images" / picture.name).read_bytes() == picture.read_bytes()


def test_the_hash_covers_the_pixels(dataset, tmp_path, monkeypatch):
    """Rows alone would not tell that the pictures are drawn otherwise."""
    monkeypatch.setattr(
        "medgrpo.data.demo._texture", lambda modality, radius, structures, rng: (radius < 1) * 0.3
    )
    few = {"seed": 5, "size": DemoSize(2, 1, 1)}
    plain = write_demo_dataset(tmp_path / "plain", **few)
    assert plain.info["pixels_hash"] != dataset.info["pixels_hash"]
    monkeypatch.setattr(
        "medgrpo.data.demo._texture", lambda modality, radius, structures, rng: (radius < 1) * 0.4
    )
    other = write_demo_dataset(tmp_path / "other", **few)
    assert list(plain.rows("train")) == list(other.rows("train"))
    assert plain.hash != other.hash


def test_another_seed_gives_another_set(dataset, tmp_path):
    other = write_demo_dataset(tmp_path / "other", seed=6, size=DemoSize(60, 20, 40))
    assert other.hash != dataset.hash


def test_both_languages_and_all_seven_kinds_of_question_occur(rows):
    train = rows["train"]
    assert {row["language"] for row in train} == {"en", "zh"}
    assert {row["question_type"] for row in train} == {"PRES", "POS", "COUNT", "PLANE", "MODALITY"}
    assert {row["answer_type"] for row in train} == {"closed", "open"}


def test_two_questions_on_a_picture_are_of_different_kinds_and_languages(rows):
    asked = defaultdict(list)
    for row in rows["train"]:
        asked[row["image_id"]].append(row)
    for first, second in asked.values():
        assert first["language"] != second["language"]
        assert first["question"] != second["question"]


def test_radiographs_are_never_axial():
    rng = np.random.default_rng(0)
    drawn = [sample_phantom(rng, "plane") for _ in range(300)]
    assert not [p for p in drawn if p.modality == "X-ray" and p.plane == "axial"]
    assert {(p.modality, p.plane) for p in drawn} >= {("X-ray", "coronal"), ("MRI", "axial")}


def test_no_answer_to_a_kind_of_question_is_much_commoner_than_the_others():
    """What a blind reader can get: the commonest answer to each kind is at most 45 % of three, 58 % of two."""
    rng = np.random.default_rng(1)
    for kind, answers in {"lesion": 2, "left": 2, "right": 2, "side": 2, "count": 3, "modality": 3}.items():
        given = Counter(reference_answer(sample_phantom(rng, kind), kind, "en") for _ in range(600))
        assert len(given) == answers
        # 600 draws: four standard errors are .08.
        assert max(given.values()) / 600 < 1 / answers + 0.08


@pytest.mark.parametrize(
    ("kind", "english", "chinese"),
    [
        ("lesion", "yes", "有"),
        ("left", "yes", "是"),
        ("right", "no", "不是"),
        ("side", "left", "左侧"),
        ("count", "1", "1"),
        ("plane", "axial", "横断面"),
        ("modality", "CT", "CT"),
    ],
)
def test_reference_answers_follow_from_the_picture(kind, english, chinese):
    assert reference_answer(PLAIN, kind, "en") == english
    assert reference_answer(PLAIN, kind, "zh") == chinese


def test_without_lesion_the_answer_is_no():
    healthy = Phantom("MRI", "coronal", 0, "left", faint=False)
    assert reference_answer(healthy, "lesion", "en") == "no"
    assert reference_answer(healthy, "lesion", "zh") == "没有"
    assert describe(healthy, "en") == "MRI, coronal plane, no lesion."


def test_a_lesion_brightens_its_own_half_and_a_faint_one_less():
    def gain(phantom):
        healthy = Phantom(phantom.modality, phantom.plane, 0, phantom.side, phantom.faint)
        with_lesion = draw(phantom, np.random.default_rng(2)).astype(float)
        without = draw(healthy, np.random.default_rng(2)).astype(float)
        left, right = np.hsplit(with_lesion - without, 2)
        return left.mean(), right.mean()

    for modality in ("CT", "X-ray"):
        clear = gain(Phantom(modality, "coronal", 2, "left", faint=False))
        faint = gain(Phantom(modality, "coronal", 2, "left", faint=True))
        assert clear[0] > faint[0] > abs(faint[1])


def test_pictures_are_grey_of_56_px():
    picture = draw(PLAIN, np.random.default_rng(0))
    assert (picture.shape, picture.dtype) == ((56, 56), np.uint8)


def test_a_careful_completion_is_the_whole_reference_in_order():
    text = careless_completion(PLAIN, "lesion", "en", PERFECT, np.random.default_rng(0))
    assert text == (
        "<think>CT, axial plane, 1 lesion on the left.</think>"
        "<answer>yes</answer><plane>axial</plane><modality>CT</modality>"
    )


def test_carelessness_never_writes_a_wrong_finding():
    """It hedges, leaves out or breaks the form; an answer that it gives is the right one."""
    rng = np.random.default_rng(3)
    how = Carelessness(0.3, 0.5, 0.5, 0.5, 0.0)
    answers = Counter(
        careless_completion(PLAIN, "count", "en", how, rng).split("<answer>")[1].split("<")[0]
        for _ in range(200)
    )
    assert set(answers) == {"1", "some", "cannot tell"}
    planes = Counter(
        careless_completion(PLAIN, "count", "en", how, rng).split("<plane>")[1].split("<")[0]
        for _ in range(200)
    )
    assert set(planes) == {"axial", "not stated"}


def test_questions_on_plane_and_modality_are_never_hedged():
    rng = np.random.default_rng(4)
    how = Carelessness(1.0, 1.0, 1.0, 1.0, 0.0)
    assert "<answer>axial</answer>" in careless_completion(PLAIN, "plane", "en", how, rng)
    assert "<answer>CT</answer>" in careless_completion(PLAIN, "modality", "zh", how, rng)


def test_only_training_rows_have_a_written_completion_and_sft_learns_it(rows):
    template = load_template("short")
    assert all(row["chosen"] and build_target(row, template) == row["chosen"] for row in rows["train"])
    assert not any(row["chosen"] for row in rows["validation"] + rows["test"])


def test_a_folder_in_use_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(UsageError, match="not empty"):
        write_demo_dataset(tmp_path, size=DemoSize(1, 1, 1))
    assert [file.name for file in tmp_path.iterdir()] == ["mine.txt"]
