"""Completion stores of runs: several pictures a question, a step that is there twice, runs that cannot stand side by side."""

import json

import pytest
from PIL import Image

from medgrpo.cli.main import main
from medgrpo.data.prepared import PreparedWriter
from medgrpo.data.prompts import load_template
from medgrpo.data.schema import new_row
from medgrpo.errors import UsageError
from medgrpo.preference.pairs import choose_pairs
from medgrpo.preference.rollouts import candidates_of_rollouts, read_rollouts
from medgrpo.preference.sources import from_runs
from medgrpo.runs.store import Completion, CompletionStore

PICTURES = {
    "ab": ["images/a.png", "images/b.png"],
    "ba": ["images/b.png", "images/a.png"],
    "a": ["images/a.png"],
}
"""Three rows that ask the same: of two pictures, of the same in the other order, and of one of them."""
ANSWERS = {"ab": "first", "ba": "second", "a": "neither"}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set") / "d"
    with PreparedWriter(folder) as writer:
        (writer.folder / "images").mkdir(exist_ok=True)
        for name, value in (("a", 40), ("b", 200)):
            Image.new("L", (28, 28), value).save(writer.folder / "images" / f"{name}.png")
        rows = []
        for number, (name, images) in enumerate(PICTURES.items(), start=1):
            row = new_row(
                id=name, question="Which is older?", answer=ANSWERS[name], language="en", source="s", source_file="f", source_row=number
            )  # fmt: skip
            rows.append(row | {"images": images, "image_id": name})
        writer.write("train", rows)
        held_out = new_row(id="t", question="Which is older, and why?", answer="first", language="en", source="s", source_file="f", source_row=9)  # fmt: skip
        writer.write("test", [held_out | {"images": PICTURES["ab"], "image_id": "t"}])
        writer.finish({"name": "d", "task": "vqa", "hash": "h", "images": 2})
    return folder


def run(
    folder, dataset, weights="answer_match = 1.0", prompt="short", ids=tuple(PICTURES), steps=(1,), marks=""
):
    """A run folder with two completions for each row and step."""
    (folder / "final_lora").mkdir(parents=True)
    config = f'[run]\nseed = 0\n[data]\npath = "{dataset}"\n[rewards.weights]\n{weights}\n'
    (folder / "config.toml").write_text(config)
    (folder / "environment.json").write_text('{"data_hash": "h"}')
    (folder / "final_lora" / "adapter_config.json").write_text("{}")
    described = {"prompt_template": load_template(prompt).to_dict()}
    (folder / "final_lora" / "medgrpo.json").write_text(json.dumps(described))
    store = CompletionStore(folder / "completions", steps_per_part=1)
    for step in steps:
        store.add(
            [
                Completion(
                    "main", step, name, name, PICTURES[name], "Which is older?", ANSWERS[name], text + marks, 4, False, reward, 0.0, {"answer_match": reward}
                )
                for name in ids
                for text, reward in ((f"<answer>{ANSWERS[name]}</answer>", 1.0), (f"<answer>not {ANSWERS[name]}</answer>", 0.0))
            ]
        )  # fmt: skip
    store.close_part()
    return folder


def told(pairs):
    return sorted((pair.prompt_id, pair.chosen.text, pair.rejected.text) for pair in pairs.pairs)


def test_pairs_keep_the_pictures_of_their_row_in_their_order(dataset, tmp_path):
    made = tmp_path / "pairs"
    with pytest.raises(SystemExit) as stop:
        main(["make-dpo", str(run(tmp_path / "r", dataset)), "-o", str(made), "--format", "jsonl", "--quiet"])
    assert stop.value.code == 0
    lines = [
        json.loads(line) for file in sorted(made.rglob("*.jsonl")) for line in file.read_text().splitlines()
    ]
    found = {line["chosen"].split(">")[1].split("<")[0]: [path.rpartition("/")[2] for path in line["images"]] for line in lines if "chosen" in line}  # fmt: skip
    assert found == {"first": ["a.png", "b.png"], "second": ["b.png", "a.png"], "neither": ["a.png"]}


def test_a_step_that_lies_in_the_store_twice_makes_the_same_pairs(dataset, tmp_path):
    """A resume that samples a step anew leaves it twice where a kill kept the first from being marked as abandoned."""
    once = choose_pairs(
        from_runs([run(tmp_path / "once", dataset, steps=(1, 2))], None).candidates, margin=0.1, per_prompt=1
    )
    twice = choose_pairs(
        from_runs([run(tmp_path / "twice", dataset, steps=(1, 2, 2))], None).candidates,
        margin=0.1,
        per_prompt=1,
    )
    assert told(once) == told(twice)
    assert len(once.pairs) == 3


def test_runs_of_one_reward_and_one_prompt_share_their_rows(dataset, tmp_path):
    both = [run(tmp_path / "one", dataset), run(tmp_path / "two", dataset, marks=" ")]
    assert len(from_runs(both, None).candidates) == 12
    assert (
        len(choose_pairs(from_runs(both, None).candidates, margin=0.1, per_prompt=1).pairs) == 3
    )  # a blank makes no other text


@pytest.mark.parametrize(
    ("other", "words"),
    [
        ({"weights": "answer_match = 0.5\nformat = 0.5"}, "were rewarded differently: .*one by .*two by "),
        ({"prompt": "structured"}, "asked in different words: .*short.*structured"),
    ],
)
def test_runs_with_other_rewards_or_prompts_are_refused_though_their_ids_are_the_same(
    dataset, tmp_path, other, words
):
    with pytest.raises(UsageError, match=words):
        from_runs([run(tmp_path / "one", dataset), run(tmp_path / "two", dataset, **other)], None)


def test_a_prompt_that_rows_of_other_pictures_share_and_one_of_a_test_row_make_no_pair(dataset, tmp_path):
    from medgrpo.data.mixture import open_data

    lines = [
        {"prompt": "Which is older?", "completion": "first", "score": 1.0},
        {"prompt": "Which is older, and why?", "completion": "first", "score": 1.0},
        {"prompt": "Which is older?", "completion": "second", "score": 1.0, "id": "ba"},
    ]
    (tmp_path / "1.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found, lost = candidates_of_rollouts(read_rollouts(tmp_path), open_data(dataset), "x")
    assert [(one.prompt_id, one.text) for one in found] == [("ba", "second")]
    assert lost == {"completion whose prompt several rows ask": 1, "completion of a test row": 1}
