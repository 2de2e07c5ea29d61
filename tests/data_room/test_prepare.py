"""The whole way from a source folder to a prepared dataset."""

import json
import os
import shutil
import subprocess
import sys
import time

import pytest

from medgrpo.data.images import ImageSettings
from medgrpo.data.prepare import PrepareOptions, histogram, prepare
from medgrpo.data.prepared import PreparedDataset
from medgrpo.errors import MedgrpoError, UsageError

SMALL = PrepareOptions(images=ImageSettings(size_px=48), split=".8,.1,.1")


def splits_of(dataset, column):
    return {split: {json.dumps(row[column]) for row in dataset.rows(split)} for split in dataset.splits}


def test_image_tokens_are_those_of_the_first_picture_as_the_table_of_columns_says(vqa_folder, tmp_path):
    from medgrpo.models.families import image_family
    from medgrpo.models.image_tokens import image_tokens

    rows = [{"question": "Compare.", "answer": "same", "images": ["case00.jpg", "case01.jpg"]}]
    (vqa_folder / "rows.jsonl").write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    dataset, _ = prepare(vqa_folder, tmp_path / "out", PrepareOptions(split="1,0,0"), workers=1)
    (row,) = dataset.rows("train")
    assert len(row["images"]) == 2
    assert row["image_tokens"] == image_tokens(row["width"], row["height"], image_family("qwen2.5-vl"))


def test_every_row_arrives_once_and_no_picture_in_two_splits(vqa_folder, tmp_path):
    dataset, is_new = prepare(vqa_folder, tmp_path / "out", SMALL, workers=1)
    assert is_new
    assert sum(dataset.info["rows"].values()) == 120
    ids = [row["id"] for split in dataset.splits for row in dataset.rows(split)]
    assert len(set(ids)) == 120
    pictures = splits_of(dataset, "images")
    assert not pictures["train"] & pictures["test"]
    assert not pictures["train"] & pictures["validation"]
    assert not pictures["validation"] & pictures["test"]
    assert 9 <= dataset.count("test") <= 15


def test_stored_pictures_have_the_size_that_the_rows_say(vqa_folder, tmp_path):
    from PIL import Image

    dataset, _ = prepare(vqa_folder, tmp_path / "out", SMALL, workers=1)
    for row in dataset.rows("test"):
        with Image.open(dataset.image_path(row["images"][0])) as picture:
            assert picture.size == (row["width"], row["height"]) == (48, 32)
        assert row["image_tokens"] == 6  # enlarged to 84 x 56 px, the smallest area being 56 x 56


def test_hashes_do_not_depend_on_workers_place_or_day(vqa_folder, tmp_path):
    first, _ = prepare(vqa_folder, tmp_path / "one", SMALL, workers=1)
    moved = tmp_path / "elsewhere" / "source"
    shutil.copytree(vqa_folder, moved)
    for path in moved.rglob("*"):
        os.utime(path, (4e9, 4e9))  # in the year 2096
    second, _ = prepare(moved, tmp_path / "two", SMALL, workers=2)
    for key in ("hash", "pixels_hash", "rows", "image_tokens"):
        assert first.info[key] == second.info[key]
    for split in first.splits:
        assert list(first.rows(split)) == list(second.rows(split))


def test_another_image_size_changes_the_pixels_hash_only(vqa_folder, tmp_path):
    small, _ = prepare(vqa_folder, tmp_path / "small", SMALL, workers=1)
    large, _ = prepare(
        vqa_folder,
        tmp_path / "large",
        PrepareOptions(images=ImageSettings(size_px=64), split=".8,.1,.1"),
        workers=1,
    )
    assert small.info["hash"] == large.info["hash"]
    assert small.info["pixels_hash"] != large.info["pixels_hash"]


def test_another_answer_or_another_pixel_changes_the_hash(vqa_folder, tmp_path):
    before, _ = prepare(vqa_folder, tmp_path / "a", SMALL, workers=1)
    rows = (vqa_folder / "rows.jsonl").read_text()
    (vqa_folder / "rows.jsonl").write_text(rows.replace('"yes"', '"maybe"', 1))
    answered, _ = prepare(vqa_folder, tmp_path / "b", SMALL, workers=1)
    assert answered.info["hash"] != before.info["hash"]
    assert answered.info["pixels_hash"] == before.info["pixels_hash"]


def test_running_again_changes_nothing_and_is_quick(vqa_folder, tmp_path):
    started = time.perf_counter()
    prepare(vqa_folder, tmp_path / "out", SMALL, workers=1)
    first_s = time.perf_counter() - started
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
    again_s = []
    for _ in range(3):
        started = time.perf_counter()
        _, is_new = prepare(vqa_folder, tmp_path / "out", SMALL, workers=1)
        again_s.append(time.perf_counter() - started)
        assert not is_new
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before
    assert min(again_s) < 0.1 * first_s


def test_other_options_or_files_do_not_overwrite_a_dataset(vqa_folder, tmp_path):
    prepare(vqa_folder, tmp_path / "out", SMALL, workers=1)
    with pytest.raises(UsageError, match="other options"):
        prepare(vqa_folder, tmp_path / "out", PrepareOptions(), workers=1)
    (vqa_folder / "more.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    with pytest.raises(UsageError, match="other files"):
        prepare(vqa_folder, tmp_path / "out", SMALL, workers=1)


def test_files_that_were_only_touched_count_as_the_same(vqa_folder, tmp_path):
    prepare(vqa_folder, tmp_path / "out", SMALL, workers=1)
    for path in vqa_folder.rglob("*"):
        os.utime(path, (1, 1))
    assert not prepare(vqa_folder, tmp_path / "out", SMALL, workers=1)[1]


def test_an_interrupted_run_keeps_what_is_stored_and_ends_the_same(vqa_folder, tmp_path, monkeypatch):
    whole, _ = prepare(vqa_folder, tmp_path / "whole", SMALL, workers=1)
    broken = vqa_folder / "images" / "case39.jpg"
    kept = broken.read_bytes()
    status = broken.stat()
    broken.write_bytes(b"")
    with pytest.raises(MedgrpoError, match="empty file"):
        prepare(vqa_folder, tmp_path / "out", SMALL, workers=1)
    assert not (tmp_path / "out").exists()
    journal = (tmp_path / ".out.partial" / "images.jsonl").read_text().splitlines()
    assert len(journal) == 39
    broken.write_bytes(kept)
    os.utime(broken, ns=(status.st_atime_ns, status.st_mtime_ns))

    from medgrpo.data import store as store_module

    worked = []
    original = store_module.store
    monkeypatch.setattr(store_module, "store", lambda job: (worked.append(job.ref.key), original(job))[1])
    resumed, _ = prepare(vqa_folder, tmp_path / "out", SMALL, workers=1)
    assert worked == ["images/case39.jpg"]
    assert resumed.info["hash"] == whole.info["hash"]
    assert resumed.info["pixels_hash"] == whole.info["pixels_hash"]
    assert not list(tmp_path.glob(".out*"))
    assert sorted(path.name for path in resumed.path.iterdir()) == sorted(
        p.name for p in whole.path.iterdir()
    )


def test_a_corrupt_picture_stops_with_row_and_path_or_is_skipped(vqa_folder, tmp_path):
    (vqa_folder / "images" / "case07.jpg").write_bytes(b"nonsense")
    with pytest.raises(MedgrpoError, match=r"rows.jsonl, row 22, field 'image': images/case07.jpg"):
        prepare(vqa_folder, tmp_path / "out", SMALL, workers=1)
    assert not (tmp_path / "out").exists()
    options = PrepareOptions(images=SMALL.images, split=SMALL.split, on_bad_row="skip")
    dataset, _ = prepare(vqa_folder, tmp_path / "out", options, workers=2)
    assert dataset.info["skipped"] == {"image unreadable": 3}
    assert sum(dataset.info["rows"].values()) == 117


def test_a_missing_picture_stops_is_skipped_or_leaves_a_text_row(vqa_folder, tmp_path):
    (vqa_folder / "images" / "case00.jpg").unlink()
    with pytest.raises(MedgrpoError, match=r"row 1, field 'image': no picture 'case00.jpg'"):
        prepare(vqa_folder, tmp_path / "a", SMALL, workers=1)
    skipping = PrepareOptions(images=SMALL.images, on_bad_row="skip")
    assert prepare(vqa_folder, tmp_path / "b", skipping, workers=1)[0].info["skipped"] == {"image missing": 3}
    keeping = PrepareOptions(images=SMALL.images, missing_image="text")
    dataset, _ = prepare(vqa_folder, tmp_path / "c", keeping, workers=1)
    assert sum(not row["images"] for split in dataset.splits for row in dataset.rows(split)) == 3


def test_an_empty_dataset_is_an_error(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "rows.json").write_text('[{"question": "", "answer": "a"}]')
    options = PrepareOptions(on_bad_row="skip")
    with pytest.raises(MedgrpoError, match=r"no usable row.*1 × no question"):
        prepare(tmp_path / "source", tmp_path / "out", options)
    assert not (tmp_path / "out").exists()


def test_the_output_may_not_lie_in_the_source(vqa_folder):
    with pytest.raises(UsageError, match="lie in each other"):
        prepare(vqa_folder, vqa_folder / "out", SMALL)


def test_the_output_may_lie_beside_a_single_source_file(vqa_folder):
    dataset, _ = prepare(vqa_folder / "rows.jsonl", vqa_folder / "out", SMALL)
    again, is_new = prepare(vqa_folder / "rows.jsonl", vqa_folder / "out", SMALL)
    assert dataset.hash == again.hash
    assert not is_new


def test_copies_and_near_copies_of_a_picture_stay_in_one_split(vqa_folder, tmp_path):
    from PIL import Image

    with Image.open(vqa_folder / "images" / "case00.jpg") as picture:
        picture.resize((90, 60)).save(vqa_folder / "images" / "copy.jpg", quality=70)
    shutil.copy(vqa_folder / "images" / "case01.jpg", vqa_folder / "images" / "same.jpg")
    with (vqa_folder / "rows.jsonl").open("a") as file:
        for name in ("copy.jpg", "same.jpg"):
            file.write(json.dumps({"question": f"Is it {name}?", "answer": "yes", "image": name}) + "\n")
    for seed in range(4):
        options = PrepareOptions(images=SMALL.images, split=".5,.2,.3", seed=seed)
        dataset, _ = prepare(vqa_folder, tmp_path / f"out{seed}", options, workers=1)
        place = {
            row["images"][0].split("-")[0]: split for split in dataset.splits for row in dataset.rows(split)
        }
        assert place["images/copy"] == place["images/case00"]
        assert place["images/same"] == place["images/case01"]
        assert dataset.info["near_duplicates"]["pairs"] == 1


def test_patients_stay_in_one_split(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    rows = [{"question": f"q{i}?", "answer": "a", "patient_id": i % 10} for i in range(100)]
    (source / "rows.json").write_text(json.dumps(rows))
    dataset, _ = prepare(source, tmp_path / "out", PrepareOptions(split=".6,.2,.2"))
    patients = splits_of(dataset, "patient_id")
    assert sum(len(found) for found in patients.values()) == 10
    assert dataset.info["leaks"] == {}


def test_the_official_split_of_vqa_rad_is_kept_and_its_overlap_reported(shared_data, tmp_path):
    options = PrepareOptions(images=ImageSettings(size_px=32), split="official")
    dataset, _ = prepare(shared_data / "vqa_rad", tmp_path / "out", options)
    assert dataset.count("test") == 318
    assert dataset.info["split"]["official_overlap"] == {"train∩test": 144}
    assert dataset.info["images"] == 233
    assert dataset.count("validation") > 200


def test_the_default_split_of_vqa_rad_has_300_rows_in_each_part_and_no_leak(shared_data, tmp_path):
    dataset, _ = prepare(
        shared_data / "vqa_rad", tmp_path / "out", PrepareOptions(images=ImageSettings(size_px=32))
    )
    rows = dataset.info["rows"]
    assert sum(rows.values()) == 2627
    assert 300 <= rows["test"] <= 0.2 * 2627
    assert 300 <= rows["validation"] <= 0.2 * 2627
    assert dataset.info["leaks"] == {}
    assert (dataset.info["conflicts"]["pairs"], dataset.info["conflicts"]["yes_against_no"]) == (17, 5)


@pytest.mark.parametrize(("policy", "rows"), [("keep", 2627), ("drop", 2589), ("multi", 2614)])
def test_contradicting_answers_are_kept_dropped_or_all_accepted(shared_data, tmp_path, policy, rows):
    options = PrepareOptions(images=ImageSettings(size_px=16), conflicts=policy)
    dataset, _ = prepare(shared_data / "vqa_rad", tmp_path / "out", options)
    assert sum(dataset.info["rows"].values()) == rows
    assert dataset.info["conflicts"]["pairs"] == (17 if policy == "keep" else 0)


def test_vessel_folders_become_rows_with_masks_of_the_stored_size(shared_data, tmp_path):
    import numpy as np
    from PIL import Image

    options = PrepareOptions(images=ImageSettings(size_px=256))
    dataset, _ = prepare(shared_data / "vessels", tmp_path / "out", options)
    assert dataset.info["skipped"] == {"mask of a set without pictures": 3}  # HRF's labels
    assert dataset.info["task"] == "vessels"
    rows = [row for split in dataset.splits for row in dataset.rows(split)]
    assert len(rows) == 40
    assert sum(row["mask2"] is not None for row in rows) == 34
    assert sum(row["fov"] is not None for row in rows) == 18
    for row in rows:
        for column in ("mask", "mask2", "fov"):
            if row[column]:
                with Image.open(dataset.image_path(row[column])) as mask:
                    values = np.asarray(mask)
                assert values.shape == (row["height"], row["width"])
                assert set(np.unique(values)) == {0, 255}
                if column == "mask":  # thin vessels may get lost in the smaller mask, little else
                    assert row["mask_area"] == pytest.approx((values > 0).mean(), abs=0.03)
    assert 0.04 < min(row["mask_area"] for row in rows) < max(row["mask_area"] for row in rows) < 0.2
    eyes = splits_of(dataset, "patient_id")
    named = [patient for found in eyes.values() for patient in found if patient != "null"]
    assert len(named) == len(set(named)) == 6  # both eyes of a CHASE_DB1 patient are together


def test_disk_full_is_one_error_and_the_run_can_be_taken_up(vqa_folder, tmp_path):
    """On a real file system of 64 KiB, mounted in a user namespace of its own."""
    room = tmp_path / "room"
    room.mkdir()
    script = (
        f"mount -t tmpfs -o size=64k none {room} && "
        f"{sys.executable} -m medgrpo.cli.main preprocess {vqa_folder} {room}/out --workers 1 --quiet; code=$?; "
        f"ls {room}; mount -o remount,size=8m {room} && "
        f"{sys.executable} -m medgrpo.cli.main preprocess {vqa_folder} {room}/out --workers 1 --quiet --json; "
        "exit $code"
    )
    done = subprocess.run(
        ["unshare", "--mount", "--map-root-user", "sh", "-c", script],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip(f"no private mounts here: {done.stderr.strip()[:80]}")
    assert done.returncode == 1
    assert "error: the disk is full" in done.stderr
    assert "out" not in done.stdout.splitlines()
    assert json.loads(done.stdout.splitlines()[-1])["images"] == 40


@pytest.mark.parametrize("secret", ["images/case03.jpg", "rows.jsonl", "images"])
def test_what_may_not_be_read_is_an_error_with_its_name(vqa_folder, tmp_path, secret):
    (vqa_folder / secret).chmod(0)
    command = [sys.executable, "-m", "medgrpo.cli.main", "preprocess", "source", "out", "--workers", "1"]
    if os.geteuid() == 0:  # root may read everything, unless it gives that up
        if shutil.which("setpriv") is None:
            pytest.skip("root may read everything")
        command = ["setpriv", "--bounding-set", "-dac_override,-dac_read_search", *command]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    (vqa_folder / secret).chmod(0o755)
    assert done.returncode in (1, 2)
    assert "Traceback" not in done.stderr
    assert secret.rpartition("/")[2] in done.stderr
    assert "cannot be" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_dataset_moved_elsewhere_still_opens(vqa_folder, tmp_path):
    prepare(vqa_folder, tmp_path / "out", SMALL, workers=1)
    shutil.move(tmp_path / "out", tmp_path / "moved")
    dataset = PreparedDataset.open(tmp_path / "moved")
    row = next(dataset.rows("train"))
    assert dataset.image_path(row["images"][0]).is_file()


def test_the_histogram_counts_every_row_once():
    values = sorted([4, 4, 5, 90, 91, 324])
    bins = histogram(values)
    assert sum(entry["rows"] for entry in bins) == 6
    assert bins[0]["from"] == 4
    assert bins[-1]["to"] >= 324
    assert histogram([]) == []
    assert histogram([7, 7]) == [{"from": 7, "to": 7, "rows": 2}]


@pytest.fixture
def registry(vqa_folder, tmp_path):
    """The older shape: data and pictures in folders of their own, at any place."""
    apart = tmp_path / "annotations"
    apart.mkdir()
    (vqa_folder / "rows.jsonl").rename(apart / "rows.json")
    (vqa_folder / "images").rename(tmp_path / "pictures")
    file = tmp_path / "dataset_config.json"
    entry = {"json_path": "annotations/rows.json", "image_root": "pictures", "sampling_ratio": 0.5}
    file.write_text(json.dumps({"chest": entry, "other": {"data_path": "elsewhere"}}))
    return file


def test_a_name_in_a_registry_is_prepared_with_its_folder_of_pictures(registry, tmp_path):
    dataset, _ = prepare(f"{registry}#chest", tmp_path / "out", SMALL, workers=1)
    assert dataset.info["name"] == "chest"
    assert dataset.info["images"] == 40
    assert not prepare(f"{registry}#chest", tmp_path / "out", SMALL, workers=1)[1]
    (tmp_path / "pictures" / "case00.jpg").write_bytes((tmp_path / "pictures" / "case01.jpg").read_bytes())
    with pytest.raises(UsageError, match="other files"):
        prepare(f"{registry}#chest", tmp_path / "out", SMALL, workers=1)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("", "names datasets: chest, other"),
        ("#chset", "did you mean 'chest'"),
        ("#other", "no data at"),
    ],
)
def test_a_registry_without_a_right_name_says_which_there_are(registry, tmp_path, name, words):
    with pytest.raises(UsageError, match=words):
        prepare(f"{registry}{name}", tmp_path / "out", SMALL, workers=1)


def test_pictures_of_a_registry_may_not_lie_outside_its_folders(registry, tmp_path):
    (tmp_path / "secret.jpg").write_bytes((tmp_path / "pictures" / "case00.jpg").read_bytes())
    (tmp_path / "pictures" / "case00.jpg").unlink()
    (tmp_path / "pictures" / "case00.jpg").symlink_to(tmp_path / "secret.jpg")
    with pytest.raises(MedgrpoError, match="leads out of the source"):
        prepare(f"{registry}#chest", tmp_path / "out", SMALL, workers=1)


def test_a_changed_picture_of_a_single_data_file_is_noticed(vqa_folder, tmp_path):
    file = vqa_folder / "rows.jsonl"
    prepare(file, tmp_path / "out", SMALL, workers=1)
    assert not prepare(file, tmp_path / "out", SMALL, workers=1)[1]
    pictures = vqa_folder / "images"
    (pictures / "case00.jpg").write_bytes((pictures / "case01.jpg").read_bytes())
    with pytest.raises(UsageError, match="other files"):
        prepare(file, tmp_path / "out", SMALL, workers=1)


def test_a_mask_of_another_shape_than_its_picture_is_a_bad_row(tmp_path):
    from PIL import Image

    for name, mask_size in (("a", (60, 40)), ("b", (30, 20)), ("c", (40, 60))):
        for folder, size in (("images", (60, 40)), ("masks", mask_size)):
            (tmp_path / "s" / folder).mkdir(parents=True, exist_ok=True)
            Image.new("L", size, 255).save(tmp_path / "s" / folder / f"{name}.png")
    with pytest.raises(MedgrpoError, match=r"c\.png is 40 × 60 px, its picture 60 × 40 px"):
        prepare(tmp_path / "s", tmp_path / "out", PrepareOptions(), workers=1)
    skipping = PrepareOptions(on_bad_row="skip")
    dataset, _ = prepare(tmp_path / "s", tmp_path / "skipped", skipping, workers=1)
    assert dataset.info["skipped"] == {"mask of another shape": 1}
    assert [row["height"] for row in dataset.rows("train")] == [40, 40]
