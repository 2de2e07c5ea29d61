"""A frozen SAM makes masks of boxes and points that are written: reading them, scaling them, reward and eval."""

import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image

from medgrpo.data.prepared import PreparedDataset
from medgrpo.errors import UsageError
from medgrpo.rewards.mask_prompts import MAX_PROMPTS, Prompt, prompts_of
from medgrpo.rewards.masks import dice, simple_dice
from medgrpo.rewards.written_masks import WrittenMasks
from medgrpo.segmentation.prompted import FrozenSam
from medgrpo.segmentation.sa2va.inputs import sam_pixels
from medgrpo.segmentation.sa2va.model import at_size
from tests.segmentation.test_after_training import called

BOTH = json.dumps([{"bbox_2d": [6, 4, 40, 30], "point_2d": [20, 12]}])


@pytest.fixture(scope="module")
def sam(tmp_path_factory):
    """The folder of a tiny SAM 2, weights at random but wide enough apart that its masks have borders."""
    from transformers import Sam2Config, Sam2Model

    from medgrpo.segmentation.sa2va.demo import tiny_sam

    folder = tmp_path_factory.mktemp("sam")
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = Sam2Model(Sam2Config(**tiny_sam(128)))
        for parameter in model.mask_decoder.parameters():
            if parameter.ndim > 1:
                parameter.data.normal_(std=0.3)
    model.save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BOTH, [Prompt((6, 4, 40, 30), ((20, 12),), (1,))]),
        ('<think>{"points": [[1, 1]]}</think><answer>{"points": [[3, 4], [5, 6]], "labels": [1, 0]}</answer>',
         [Prompt(None, ((3, 4), (5, 6)), (1, 0))]),
        ('{"bbox": [8, 8, 2, 2], "points_1": [3, 3], "points_2": [4, 4]}',
         [Prompt((2, 2, 8, 8), ((3, 3), (4, 4)), (1, 1))]),
        ('{"vessels": [{"point": [1, 2]}, {"box": [0, 0, 4, 4], "negative_points": [[9, 9]]}]}',
         [Prompt(None, ((1, 2),), (1,)), Prompt((0, 0, 4, 4), ((9, 9),), (0,))]),
        ("[[2, 2, 6, 4]]", [Prompt((2, 2, 6, 4))]),
        ("[]", []),
        ("no vessels", None),
        ('{"points": [[3, 4], [5, 6]], "labels": [1]}', None),  # which one is meant?
        ('{"bbox_2d": [4, 4, 4, 9]}', None),
        ('{"point_2d": ["a", 3]}', None),
    ],
)  # fmt: skip
def test_prompts_are_read_as_they_are_written(text, expected):
    assert prompts_of(text, (48, 48)) == expected


def test_prompts_are_placed_in_the_stored_picture_and_are_not_without_end():
    row = {"box_format": "thousand"}
    (found,) = prompts_of('{"bbox_2d": [100, 500, 900, 2000], "point_2d": [500, 500]}', (20, 40), row)
    assert found == Prompt((4, 10, 36, 20), ((20, 10),), (1,))
    assert len(prompts_of(json.dumps([{"point": [1, 1]}] * 1000), (20, 40))) == MAX_PROMPTS


def test_a_mask_is_that_of_sam_prompted_in_its_own_pixels(sam, vessels):
    dataset = PreparedDataset.open(vessels)
    row = next(iter(dataset.rows("test")))
    picture = dataset.image_path(row["images"][0])
    frozen = pickle.loads(pickle.dumps(FrozenSam(sam, "float32")))
    found = frozen.mask(str(picture), prompts_of(BOTH, (48, 48)), (48, 48))
    pixels = sam_pixels(np.asarray(Image.open(picture).convert("RGB")), 128)
    scale = 128 / 48
    with torch.no_grad():
        raw = frozen._opened()(
            pixel_values=pixels,
            input_points=torch.tensor([[[[20.0, 12.0]]]]) * scale,
            input_labels=torch.tensor([[[1]]]),
            input_boxes=torch.tensor([[[6.0, 4.0, 40.0, 30.0]]]) * scale,
            multimask_output=False,
        ).pred_masks[:, 0, 0]
    expected = (at_size(raw, 128, (48, 48))[0] > 0).numpy()
    assert 0 < expected.sum() < expected.size
    assert np.array_equal(found, expected)
    other = frozen.mask(str(picture), [Prompt(points=((40.0, 40.0),), labels=(1,))], (48, 48))
    both = frozen.mask(str(picture), [*prompts_of(BOTH, (48, 48)), Prompt(points=((40.0, 40.0),), labels=(1,))], (48, 48))  # fmt: skip
    assert np.array_equal(both, found | other)
    assert not frozen.mask(str(picture), [], (48, 48)).any()


def test_the_reward_and_eval_judge_the_mask_that_sam_makes(sam, vessels, tmp_path):
    dataset = PreparedDataset.open(vessels)
    rows = list(dataset.rows("test"))
    texts = [BOTH, "no vessels", '{"polygon": [[2, 2], [30, 2], [30, 30]]}']
    truths = [np.asarray(Image.open(dataset.image_path(row["mask"]))) > 127 for row in rows]
    mask = FrozenSam(sam).mask(
        str(dataset.image_path(rows[0]["images"][0])), prompts_of(BOTH, (48, 48)), (48, 48)
    )
    expected = float(dice([mask], [truths[0]])[0])
    columns = {name: [row[name] for row in rows] for name in ("images", "mask")}
    plain = WrittenMasks(simple_dice)(texts, **columns, data_folder=str(vessels))
    found = WrittenMasks(simple_dice, FrozenSam(sam))(texts, **columns, data_folder=str(vessels))
    assert found == [pytest.approx(expected), 0.0, plain[2]]
    assert found[0] != plain[0]  # a filled box
    lines = [json.dumps({"id": row["id"], "completion": text}) for row, text in zip(rows, texts, strict=True)]
    (tmp_path / "said.jsonl").write_text("\n".join(lines))
    figures = called("eval", vessels, "--predictions", tmp_path / "said.jsonl", "--sam", sam, "--json")
    assert figures["dice"]["value"] == pytest.approx(np.mean(found), abs=1e-6)


def test_grpo_takes_a_frozen_sam_and_refuses_what_is_none(sam, vessels):
    from medgrpo.config.presets import resolve_run
    from medgrpo.training.before.preflight import preflight

    def checked(sam_of):
        words = (
            "rewards.weights=simple_dice",
            "training.prompts_per_step=2",
            "stages.sft.prompts_per_step=2",
        )
        words += (f"data.path={vessels}", f"masks.sam={sam_of}")
        return preflight(resolve_run(assignments=words)[0].config)

    checks = checked(sam)
    rows = list(checks.dataset.rows("train", 1))
    table = checks.composite.score([BOTH], {name: [value] for name, value in rows[0].items()})
    assert 0 < table.total[0] < 1
    with pytest.raises(UsageError, match="is no SAM"):
        checked(vessels)
