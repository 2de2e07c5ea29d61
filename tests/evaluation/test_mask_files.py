"""Masks in eval: read whatever the file, measured by the reward core, failures counted and never skipped."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medgrpo.cli.eval import app
from medgrpo.errors import UsageError
from medgrpo.evaluation.evaluate import evaluate_predictions
from medgrpo.evaluation.mask_files import MaskFiles, find_masks, read_mask, score_masks
from medgrpo.evaluation.predictions import read_predictions
from medgrpo.evaluation.report import report_html
from medgrpo.evaluation.targets import load_targets
from medgrpo.rewards.mask_text import mask_from_text

SQUARE = np.zeros((20, 30), dtype=np.uint8)
SQUARE[5:15, 10:20] = 255


def save(path, values):
    Image.fromarray(values).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    save(tmp_path / "a_manual.png", SQUARE)
    half = SQUARE.copy()
    half[:, 15:] = 0
    save(tmp_path / "a_second.png", half)
    (tmp_path / "pred").mkdir()
    save(tmp_path / "pred" / "a.png", half)
    return tmp_path


def row(name="a", **extra):
    return {"id": name, "image_id": name, "mask": "a_manual.png", "answer": "[SEG]", **extra}


def scored(folder, rows, predicted=None, completions=None):
    files = MaskFiles(lambda name: folder / name, predicted)
    return score_masks(rows, completions or [""] * len(rows), files)


def test_half_of_a_square_by_hand(folder):
    # 50 of 100 pixels, all of them right: Dice 2·50/150, recall .5, precision 1, IoU .5; one piece, no hole.
    found = scored(folder, [row()], [folder / "pred" / "a.png"]).scores
    assert found["dice"][0] == pytest.approx(2 / 3)
    assert [found[name][0] for name in ("mask_recall", "mask_precision", "mask_iou")] == [0.5, 1.0, 0.5]
    assert [found[name][0] for name in ("betti0_error", "betti1_error", "mask_failed")] == [0, 0, 0]


def test_the_second_observer_is_measured_like_a_prediction(folder):
    found = scored(folder, [row(mask2="a_second.png"), row()], [folder / "a_manual.png"] * 2)
    assert found.observer["dice"][0] == pytest.approx(2 / 3)
    assert np.isnan(found.observer["dice"][1])
    assert found.scores["dice"].tolist() == [1.0, 1.0]


def test_failed_predictions_count_as_zero_each_with_its_reason(folder):
    (folder / "broken.png").write_bytes(b"no picture")
    save(folder / "small.png", SQUARE[:10])
    paths = [None, folder / "gone.png", folder / "broken.png", folder / "small.png"]
    found = scored(folder, [row()] * 4, paths)
    assert found.failures == {"no file": 2, "file not readable": 1, "another shape than the picture": 1}
    assert found.scores["dice"].tolist() == [0.0] * 4
    assert found.scores["betti0_error"].tolist() == [1.0] * 4  # the reference is one piece
    assert found.scores["mask_failed"].tolist() == [1.0] * 4


def test_an_empty_prediction_is_no_failure(folder):
    save(folder / "empty.png", SQUARE * 0)
    found = scored(folder, [row()], [folder / "empty.png"])
    assert (found.scores["dice"][0], found.scores["mask_failed"][0]) == (0.0, 0.0)


def test_nothing_outside_the_field_of_view_counts(folder):
    view = np.zeros_like(SQUARE)
    view[:, :15] = 1
    save(folder / "view.png", view)
    found = scored(folder, [row(fov="view.png")], [folder / "pred" / "a.png"])
    assert found.scores["dice"][0] == 1.0
    assert found.is_inside_fov


@pytest.mark.parametrize(
    "values", [SQUARE, SQUARE // 255, SQUARE > 0, SQUARE / 255.0, SQUARE.astype(np.int64)]
)
def test_arrays_of_every_kind_are_the_same_mask(tmp_path, values):
    np.save(tmp_path / "m.npy", values)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.npy"), SQUARE > 0)


def test_probabilities_larger_pictures_and_stacked_panels_are_read(tmp_path):
    ramp = np.arange(600, dtype=np.uint8).reshape(20, 30)
    np.testing.assert_array_equal(read_mask(save(tmp_path / "p.png", ramp)), ramp > 127)
    twice = save(tmp_path / "t.png", SQUARE.repeat(2, axis=0).repeat(2, axis=1))
    np.testing.assert_array_equal(read_mask(twice, (20, 30)), SQUARE > 0)
    stack = save(tmp_path / "s.png", np.concatenate([ramp, ramp, SQUARE]))
    np.testing.assert_array_equal(read_mask(stack, (20, 30)), SQUARE > 0)


def test_files_are_found_by_id_image_or_a_name_that_stands_by_itself(tmp_path):
    for name in ("01_stack.png", "prediction02.png", "103.png", "Image_07L_x1.png", "exact.npy"):
        (tmp_path / name).touch()
    rows = [
        {"id": "images:1", "image_id": "01"},
        {"id": "images:2", "image_id": "set/02"},
        {"id": "images:3", "image_id": "03"},
        {"id": "images:4", "images": ["images/Image_07L-61a3bdc9.png"]},
        {"id": "exact"},
    ]
    names = [path and path.name for path in find_masks(tmp_path, rows)]
    assert names == ["01_stack.png", "prediction02.png", None, "Image_07L_x1.png", "exact.npy"]


def test_two_files_for_one_row_and_none_for_any_are_refused(tmp_path):
    for name in ("01_a.png", "01_b.png"):
        (tmp_path / name).touch()
    with pytest.raises(UsageError, match="2 masks could be"):
        find_masks(tmp_path, [{"id": "x", "image_id": "01"}])
    with pytest.raises(UsageError, match="none of 2 masks"):
        find_masks(tmp_path, [{"id": "x", "image_id": "77"}])


def test_targets_of_vessels_ask_for_dice_and_recall(folder):
    names = {target.metric: target.wanted for target in load_targets("vessels")}
    assert names == {"dice": 0.87, "mask_recall": 0.85}


def write_predictions(folder, count=24):
    lines = [
        {**row(f"r{i}"), "mask2": "a_second.png", "mask_prediction": "pred/a.png" if i else None}
        for i in range(count)
    ]
    file = folder / "predictions.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def test_a_predictions_file_may_name_masks_and_no_completions(folder):
    done = CliRunner().invoke(
        app, ["--predictions", str(write_predictions(folder)), "--targets", "vessels", "--json"]
    )
    assert done.exit_code == 0, done.output
    document = json.loads(done.stdout)
    assert document["dice"]["value"] == pytest.approx(23 / 24 * 2 / 3)
    assert document["dice"]["observer"]["value"] == pytest.approx(2 / 3)
    assert document["mask_failed"]["value"] == pytest.approx(1 / 24)
    assert document["failed_predictions"] == {"no file": 1}
    assert [one["verdict"] for one in document["targets"]] == ["not reached", "not reached"]
    assert document["answer_match"]["n"] == 0
    assert "1 of 24 masks failed" in document["warnings"][0]


@pytest.mark.parametrize("column", ["mask_prediction", "mask", "mask2", "fov"])
@pytest.mark.parametrize("way", ["up", "absolute", "a link"])
def test_a_predictions_file_names_no_masks_of_other_folders(folder, tmp_path_factory, column, way):
    others = save(tmp_path_factory.mktemp("others") / "patient.png", SQUARE)
    (folder / "link").symlink_to(others.parent)
    name = {
        "up": f"../{others.parent.name}/patient.png",
        "absolute": str(others),
        "a link": "link/patient.png",
    }[way]
    file = folder / "p.jsonl"
    file.write_text(json.dumps({**row(), "mask_prediction": "pred/a.png", column: name}) + "\n")
    done = CliRunner().invoke(app, ["--predictions", str(file), "--json"])
    assert isinstance(done.exception, UsageError)
    assert "a mask that the predictions file names, lies outside of" in str(done.exception)


def test_a_predictions_file_may_name_its_masks_absolutely(folder):
    file = folder / "p.jsonl"
    file.write_text(json.dumps({**row(), "mask_prediction": str(folder / "pred" / "a.png")}) + "\n")
    done = CliRunner().invoke(app, ["--predictions", str(file), "--json"])
    assert done.exit_code == 0, done.output


def test_predicted_masks_without_a_reference_are_refused(tmp_path):
    file = tmp_path / "p.jsonl"
    file.write_text('{"id": "a", "mask_prediction": "a.png"}\n')
    with pytest.raises(UsageError, match="no row has a reference mask"):
        read_predictions(file)


def test_the_page_shows_masks_on_their_pictures(folder):
    file = write_predictions(folder)
    found = read_predictions(file)
    result = evaluate_predictions(found, masks=MaskFiles(lambda name: folder / name, found.masks))
    result.image_file = lambda row: folder / "a_manual.png"
    page = report_html(result)
    assert "Worst masks" in page
    assert page.count("data:image/jpeg") == 24
    assert "observer 2" in page


# --- masks as text ---


def test_a_polygon_and_a_box_fill_what_they_enclose():
    box = mask_from_text('[{"bbox_2d": [10, 5, 20, 15]}]', (20, 30))
    np.testing.assert_array_equal(box, SQUARE > 0)
    corners = [[10, 5], [20, 5], [20, 15], [10, 15]]
    flat = [edge for corner in corners for edge in corner]
    for text in (
        json.dumps({"polygon": corners}),
        json.dumps([corners]),
        json.dumps({"regions": [{"label": "vessel", "polygon": corners, "bbox_2d": [0, 0, 30, 20]}]}),
        f"<think>[[0, 0], [9, 9], [0, 9]]</think> here: {json.dumps({'segmentation': flat})}",
    ):
        np.testing.assert_array_equal(mask_from_text(text, (20, 30)), SQUARE > 0)


def test_coordinates_of_the_model_are_placed_in_the_stored_picture():
    text = '{"polygon": [[333.4, 250], [666.7, 250], [666.7, 750], [333.4, 750]]}'
    found = mask_from_text(text, (20, 30), {"box_format": "thousand"})
    np.testing.assert_array_equal(found, SQUARE > 0)
    doubled = '{"polygon": [[20, 10], [40, 10], [40, 30], [20, 30]]}'
    found = mask_from_text(doubled, (20, 30), {"model_width": 60, "model_height": 40})
    np.testing.assert_array_equal(found, SQUARE > 0)


def test_an_empty_list_is_an_empty_mask_and_words_are_none():
    assert not mask_from_text("[]", (20, 30)).any()
    assert mask_from_text("I cannot see any vessel.", (20, 30)) is None
    assert mask_from_text("", (20, 30)) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"polygon": [[1, 2], [NaN, 3], [4, 5]]}',
        '{"polygon": [[-1e300, 2], [1e300, 3], [4, 1e300]]}',
        "[" * 100_000,
        '{"polygon": "' + "x" * 100_000,
        '{"polygon": [[0, 0], [1, "a"], [2, 2]]}',
    ],
)
def test_hostile_polygons_do_no_harm(text):
    found = mask_from_text(text, (20, 30))
    assert found is None or found.shape == (20, 30)


@pytest.mark.parametrize(
    "text",
    [
        '{"points": [[2, 2], [8, 8]]}',
        '[{"points": [[2, 2], [8, 8]], "labels": [1, 0]}]',
        '{"points": [2, 2, 8, 8]}',
        '{"found": {"positive_points": [[2, 2], [8, 8]]}}',
        "{'points': [[2, 2], [8, 8]]}",
        '{"points": [[2, 2], [8, 8]]',
        '{"points": [[2, 2], [8, 8], [1,',
        '```json\n{"point_2d": [[2, 2], [8, 8]]}\n```',
        '{"labels": [0, 0, 8, 8]}',
    ],
)
def test_points_are_no_box(text):
    assert mask_from_text(text, (10, 10)) is None


@pytest.mark.parametrize(
    "text",
    [
        '{"bbox_2d": [2, 2, 4, 4], "points": [[0, 0], [9, 9]], "labels": [1, 0]}',
        '[{"points": [[0, 0], [9, 9]], "bbox_2d": [2, 2, 4, 4]}]',
        "{'points': [[0, 0], [9, 9]], 'bbox_2d': [2, 2, 4, 4]}",
        '{"bbox_2d": [2, 2, 4, 4], "labels": [0, 0, 9, 9]}',
        '[[2, 2, 4, 4]] and {"points": [[0, 0], [9, 9]]}',
    ],
)
def test_a_box_beside_points_is_filled_alone(text):
    assert mask_from_text(text, (10, 10)).sum() == 4


def test_points_without_a_segmenter_are_a_failure_that_says_what_to_type(folder):
    text = '{"points": [[2, 2], [8, 8]]}'
    found = scored(folder, [row()], completions=[text])
    assert list(found.failures) == ["points, which only a segmenter makes a mask of (--sam MODEL)"]


def test_masks_described_in_words_are_scored_like_files(folder):
    text = '{"polygon": [[10, 5], [15, 5], [15, 15], [10, 15]]}'
    found = scored(folder, [row(), row()], completions=[text, "no idea"])
    assert found.scores["dice"].tolist() == [pytest.approx(2 / 3), 0.0]
    assert found.failures == {"no mask in the completion": 1}


# --- real predictions ---

REAL = [
    ("drive", "manual/{}_manual1.gif", "pred_laddernet/{}_stack.png", 0.8115),
    ("drive", "manual/{}_manual1.gif", "pred_av/prediction{}.png", 0.7901),
    ("drive", "manual/{}_manual1.gif", "manual2/{}_manual2.gif", 0.7843),
    ("stare", "manual/{}.ah.jpg", "pred_unet/{}_stack.png", 0.7284),
    ("chase_db1", "manual/{}_1stHO.png", "pred_sgl/{}_x1_teacher.png", 0.8554),
    ("chase_db1", "manual/{}_1stHO.png", "manual2/{}_2ndHO.png", 0.7634),
]


@pytest.mark.parametrize(("source", "manual", "predicted", "expected"), REAL)
def test_real_predictions_have_the_dice_known_for_them(shared_data, source, manual, predicted, expected):
    folder = shared_data / "vessels" / source
    place, name = predicted.split("/")
    before, after = name.split("{}")
    keys = [path.name[len(before) : -len(after)] for path in sorted((folder / place).iterdir())]
    rows = [row(key, mask=manual.format(key)) for key in keys]
    found = scored(folder, rows, [folder / predicted.format(key) for key in keys])
    assert not found.failures
    assert found.scores["dice"].mean() == pytest.approx(expected, abs=0.001)
