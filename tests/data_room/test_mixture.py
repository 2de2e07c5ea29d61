"""Several datasets as one."""

import json
import pickle

import pytest

from medgrpo.data.mixture import Part, absolute_data, is_mixture, open_data, parse_mixture, read_registry
from medgrpo.data.prepared import PreparedWriter
from medgrpo.data.schema import new_row
from medgrpo.errors import MedgrpoError, UsageError


@pytest.fixture
def folders(tmp_path, monkeypatch):
    for name, count, language in (("a", 100, "en"), ("b", 40, "zh")):
        rows = [
            new_row(
                id=str(i),
                question=f"{name}{i}",
                answer="x",
                language=language if i % 4 else "en",
                images=[f"images/{i}.png"],
                image_id=str(i),
                source=name,
                source_file="f",
                source_row=i,
            )
            for i in range(count)
        ]
        with PreparedWriter(tmp_path / name) as writer:
            writer.write("train", rows)
            writer.write("test", rows[:5])
            writer.finish({"hash": f"hash-{name}", "images": count})
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_two_folders_are_interleaved_in_proportion(folders):
    mixed = open_data("a,b")
    sources = [row["source"] for row in mixed.rows("train")]
    assert (len(sources), sources.count("b")) == (140, 40)
    for start in range(0, 140, 35):
        assert 9 <= sources[start : start + 35].count("b") <= 11
    assert mixed.count("test") == 10


def test_a_weight_is_the_share_of_the_rows_that_an_epoch_holds(folders):
    rows = list(open_data("a,b:0.3").rows("train"))
    drawn = [row["question"] for row in rows if row["source"] == "b"]
    assert len(drawn) == len(set(drawn)) == 12
    twice = [row["question"] for row in open_data("a:2.5,b").rows("train") if row["source"] == "a"]
    assert len(twice) == 250
    assert max(twice.count(question) for question in set(twice)) == 3
    assert min(twice.count(question) for question in set(twice)) == 2


def test_the_seed_decides_the_order_and_nothing_else_does(folders):
    def order(seed):
        return [row["id"] for row in open_data("a:0.5,b", seed=seed).rows("train")]

    assert order(0) == order(0)
    assert order(0) != order(1)


def test_rows_of_a_mixture_know_where_their_pictures_are(folders):
    mixed = open_data("a,b:0.5")
    for row in mixed.rows("train", 20):
        assert row["images"] == [str(folders / row["source"] / "images" / f"{row['source_row']}.png")]
        assert mixed.image_path(row["images"][0]).parent.parent.name == row["source"]
        assert row["image_id"] == f"{row['source']}/{row['source_row']}"
    with pytest.raises(MedgrpoError, match="in none of the datasets"):
        mixed.image_path("/etc/passwd")


def test_a_mixture_opens_like_any_dataset_and_its_view_can_be_sent_to_a_worker(folders):
    mixed = open_data("a,b:0.5")
    view = pickle.loads(pickle.dumps(mixed.view("train")))
    assert len(view) == mixed.count("train") == 120
    assert [row["id"] for row in view[:5]] == [row["id"] for row in mixed.rows("train", 5)]
    assert mixed.table("test").num_rows == 10


def test_the_hash_changes_with_parts_weights_and_seed(folders):
    hashes = {
        open_data("a,b").hash,
        open_data("a,b:0.5").hash,
        open_data("a,b", seed=1).hash,
        open_data("b,a").hash,
    }
    assert len(hashes) == 4
    assert open_data("a,b").hash == open_data("a,b").hash


def test_a_registry_names_datasets_with_weights_caps_and_subsets(folders):
    (folders / "datasets.toml").write_text(
        '[datasets.first]\npath = "a"\nrows = 10\n'
        '[datasets.chinese]\npath = "b"\nweight = 0.5\nsubset = {language = "zh"}\n'
    )
    mixed = open_data("first,chinese")
    rows = list(mixed.rows("train"))
    assert [sum(row["source"] == name for row in rows) for name in "ab"] == [10, 15]
    assert {row["language"] for row in rows if row["source"] == "b"} == {"zh"}
    assert open_data("datasets.toml").hash == mixed.hash
    assert open_data("datasets.toml#first").count("train") == 10
    assert open_data("first").count("train") == 10


@pytest.mark.parametrize(
    "content",
    [
        {"one": {"data_path": "a", "sampling_ratio": 0.5, "max_samples": 7}},
        {"datasets": [{"name": "one", "path": "a", "weight": 0.5, "rows": 7}]},
    ],
)
def test_the_older_shapes_of_a_registry_are_read(folders, content):
    (folders / "dataset_config.json").write_text(json.dumps(content))
    assert read_registry(folders / "dataset_config.json") == {"one": Part("one", folders / "a", 0.5, 7)}
    assert open_data("one").count("train") == 7


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a,c", "no dataset at c"),
        ("a:0,b", "a number above 0"),
        ("a:-1,b", "a number above 0"),
        (",", "names no dataset"),
        ("nothing.toml", "no registry at"),
    ],
)
def test_a_wrong_mixture_says_what_is_wrong(folders, text, words):
    with pytest.raises(UsageError, match=words):
        open_data(text)


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ('path = "a"\nwieght = 2', "did you mean 'weight'"),
        ("weight = 2", "has no path"),
        ('path = "a"\nweight = -1', "above 0"),
        ('path = "a"\nrows = 0', "whole number"),
        ('path = "a"\nsubset = {langage = "zh"}', "did you mean 'language'"),
        ('path = "a"\nsubset = {language = "fr"}', "no row of x has"),
    ],
)
def test_a_wrong_registry_entry_says_what_is_wrong(folders, entry, words):
    (folders / "datasets.toml").write_text(f"[datasets.x]\n{entry}\n")
    with pytest.raises(UsageError, match=words):
        open_data("datasets.toml")


def test_a_misspelt_name_gets_the_nearest_one_of_the_registry(folders):
    (folders / "datasets.toml").write_text('[datasets.chest]\npath = "a"\n')
    with pytest.raises(UsageError, match="did you mean 'chest'"):
        parse_mixture("chst,a")


def test_a_plain_folder_is_no_mixture(folders):
    assert not is_mixture("a")
    assert not is_mixture(str(folders / "a"))
    assert not is_mixture("nowhere")


def test_folders_of_one_name_are_told_apart(folders):
    (folders / "other").mkdir()
    (folders / "b").rename(folders / "other" / "a")
    mixed = open_data("a,other/a:0.5")
    assert [part.name for part in mixed.parts] == ["a", "a-2"]
    ids = [row["id"] for row in mixed.rows("train")]
    assert len(set(ids)) == len(ids) == 120
    assert open_data(mixed.location).hash == mixed.hash


@pytest.mark.parametrize("text", ["a", "a,b:0.3", "datasets.toml", "datasets.toml#one,b:0.5", "one:2,b"])
def test_data_is_named_so_that_it_is_found_from_any_folder(folders, tmp_path_factory, monkeypatch, text):
    (folders / "datasets.toml").write_text('[datasets.one]\npath = "a"\nrows = 20\n')
    here, named = open_data(text), absolute_data(text)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    there = open_data(named)
    assert (there.hash, there.location) == (here.hash, here.location)
    assert open_data(there.location).count("train") == here.count("train")
