import pytest

from medgrpo.data.demo import DemoSize, write_demo_dataset
from medgrpo.data.prompts import load_template
from medgrpo.errors import MedgrpoError
from medgrpo.generation.generate import Sampling, encode_prompts, generate
from medgrpo.models.loading import load_model

TEMPLATE = load_template("short")


@pytest.fixture(scope="module")
def loaded(demo_model):
    return load_model(str(demo_model))


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return write_demo_dataset(tmp_path_factory.mktemp("set") / "d", seed=1, size=DemoSize(4, 4, 6))


@pytest.fixture(scope="module")
def rows(dataset):
    return list(dataset.rows("test"))


def complete(loaded, dataset, rows, **options):
    sampling = options.pop("sampling", Sampling(max_new_tokens=6))
    done = generate(
        loaded.model,
        loaded.processor,
        rows,
        TEMPLATE,
        image_path=dataset.image_path,
        sampling=sampling,
        **options,
    )
    return sorted(done, key=lambda item: item.index)


def test_every_row_comes_back_once_with_its_completion(loaded, dataset, rows):
    done = complete(loaded, dataset, rows, batch_size=5)
    assert [item.index for item in done] == list(range(len(rows)))
    assert [item.row["id"] for item in done] == [row["id"] for row in rows]
    assert all(len(item.completions) == 1 for item in done)


def test_greedy_completions_do_not_depend_on_the_batch(loaded, dataset, rows):
    alone = complete(loaded, dataset, rows, batch_size=1)
    together = complete(loaded, dataset, rows, batch_size=12)
    assert [item.completions for item in alone] == [item.completions for item in together]


def test_greedy_completions_equal_transformers_own_generate_on_one_prompt(loaded, dataset, rows):
    inputs = encode_prompts(rows[:1], TEMPLATE, loaded.processor, dataset.image_path)
    tokens = loaded.model.eval().generate(**inputs, max_new_tokens=6, do_sample=False)
    expected = loaded.tokenizer.decode(tokens[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)
    assert complete(loaded, dataset, rows[:1])[0].completions == [expected]


def test_prompts_are_padded_on_the_left_and_the_tokenizer_is_left_as_it_was(loaded, dataset, rows):
    side = loaded.tokenizer.padding_side
    inputs = encode_prompts(rows, TEMPLATE, loaded.processor, dataset.image_path)
    mask = inputs["attention_mask"]
    assert bool(mask[:, -1].all())
    assert not bool(mask.all())  # the questions differ in length, so that there is padding at all
    assert loaded.tokenizer.padding_side == side


def test_sampling_gives_as_many_completions_as_asked_for_and_they_differ(loaded, dataset, rows):
    import torch

    torch.manual_seed(0)
    done = complete(
        loaded, dataset, rows[:3], sampling=Sampling(6, temperature=1.0, num_generations=4), batch_size=8
    )
    assert all(len(item.completions) == len(item.truncated) == 4 for item in done)
    assert len(set(done[0].completions)) > 1


def test_a_completion_at_the_length_limit_is_marked_as_truncated(loaded, dataset, rows):
    # Freshly drawn weights do not end within two tokens here; the length says so itself.
    for item in complete(loaded, dataset, rows, sampling=Sampling(max_new_tokens=2)):
        assert item.truncated == [item.lengths == [2] and item.truncated[0]]
        assert item.truncated[0] or item.lengths[0] <= 2


def test_a_completion_that_ends_is_not_truncated_and_has_no_end_token(loaded, dataset, rows):
    """The head is turned so that the end token always wins."""
    import torch

    end = loaded.tokenizer.eos_token_id
    hook = loaded.model.lm_head.register_forward_hook(
        lambda _module, _inputs, logits: (
            torch.nn.functional.one_hot(torch.full(logits.shape[:-1], end), logits.shape[-1]).float() * 100
        )
    )
    try:
        item = complete(loaded, dataset, rows[:1])[0]
    finally:
        hook.remove()
    assert (item.completions, item.truncated, item.lengths) == ([""], [False], [1])


def test_rows_without_pictures_are_completed_too(loaded, dataset, rows):
    text_only = [{**row, "images": [], "image_tokens": None} for row in rows[:2]]
    assert len(complete(loaded, dataset, text_only)) == 2


def test_the_longest_prompts_come_first(loaded, dataset, rows):
    done = generate(
        loaded.model,
        loaded.processor,
        rows,
        TEMPLATE,
        image_path=dataset.image_path,
        sampling=Sampling(max_new_tokens=1),
        batch_size=1,
    )
    lengths = [len(item.row["question"]) // 4 for item in done]
    assert lengths == sorted(lengths, reverse=True)


def test_training_mode_is_restored(loaded, dataset, rows):
    loaded.model.train()
    try:
        complete(loaded, dataset, rows[:1])
        assert loaded.model.training
    finally:
        loaded.model.eval()


def test_logits_that_are_no_numbers_stop_with_the_largest_weights(loaded, dataset, rows):
    """NaN would be answered with the token 0, for ever."""
    import torch

    name, weight = next((n, w) for n, w in loaded.model.named_parameters() if n.endswith("v_proj.weight"))
    kept = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.fill_(3e38)
        with pytest.raises(MedgrpoError, match=rf"2 of 2 completions.*NaN or infinite.*{name} \(3e\+38\)"):
            complete(loaded, dataset, rows[:2])
    finally:
        with torch.no_grad():
            weight.copy_(kept)


def test_progress_adds_up_to_all_rows(loaded, dataset, rows):
    seen = []
    complete(loaded, dataset, rows, batch_size=5, on_batch=seen.append)
    assert sum(seen) == len(rows)


def test_a_missing_picture_names_row_and_file(loaded, dataset, rows):
    row = {**rows[0], "images": ["images/gone.png"]}
    with pytest.raises(MedgrpoError, match=r"row .*gone\.png"):
        complete(loaded, dataset, [row])


def test_a_file_that_is_no_picture_names_row_and_file(loaded, dataset, rows):
    (dataset.path / "images" / "text.png").write_text("not a picture")
    with pytest.raises(MedgrpoError, match=r"text\.png cannot be read as an image"):
        complete(loaded, dataset, [{**rows[0], "images": ["images/text.png"]}])


@pytest.fixture
def narrow(loaded):
    """The model, made for fewer tokens than it is asked for: `narrow(n)`."""
    text = loaded.model.config.get_text_config()
    before = text.max_position_embeddings
    yield lambda tokens: setattr(text, "max_position_embeddings", tokens)
    text.max_position_embeddings = before


def test_a_prompt_longer_than_the_context_gets_the_reason_and_the_others_their_answers(
    loaded, dataset, rows, narrow
):
    whole = complete(loaded, dataset, rows)
    long = {**rows[2], "id": "long", "question": "Is it? " * 300}
    narrow(400)
    done = complete(loaded, dataset, [*rows[:2], long, *rows[3:]], batch_size=3)
    assert "and the model was made for 400" in done[2].failed
    assert done[2].completions == [""]
    assert [one.completions for one in done[:2] + done[3:]] == [
        one.completions for one in whole[:2] + whole[3:]
    ]
    assert not any(one.failed for one in done[:2] + done[3:])


def test_a_completion_ends_where_the_context_does(loaded, dataset, rows, narrow):
    whole = complete(loaded, dataset, rows)
    inputs = encode_prompts(rows, TEMPLATE, loaded.processor, dataset.image_path)
    lengths = inputs["attention_mask"].sum(dim=1).tolist()
    narrow(max(lengths) + 2)
    done = complete(loaded, dataset, rows)
    for one, before, length in zip(done, whole, lengths, strict=True):
        room = max(lengths) + 2 - length
        assert one.lengths[0] == min(before.lengths[0], room)
        assert one.truncated == [before.truncated[0] or room < before.lengths[0]]
        assert before.completions[0].startswith(one.completions[0].rstrip("\ufffd"))


def test_the_context_counts_what_positions_are_stretched_to():
    from types import SimpleNamespace

    from medgrpo.models.context import context_of

    def model(**values):
        return SimpleNamespace(config=SimpleNamespace(**values))

    yarn = {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}
    assert context_of(model(max_position_embeddings=32768, rope_parameters=yarn)) == 131072
    assert context_of(model(max_position_embeddings=4096)) == 4096
    assert context_of(model(max_position_embeddings=0)) is None
    assert context_of(model()) is None
    assert context_of(SimpleNamespace()) is None
    for factor in (float("inf"), float("nan"), 10**400, True, "4", -2):
        assert context_of(model(max_position_embeddings=64, rope_scaling={**yarn, "factor": factor})) == 64
    simple = {"type": "linear", "factor": 2.0}
    assert context_of(model(max_position_embeddings=4096, rope_scaling=simple)) == 8192
    assert context_of(model(max_position_embeddings=4096, rope_scaling={**simple, "type": "yarn"})) == 4096


def test_a_tokenizer_says_what_the_model_reads_only_where_the_model_does_not():
    from types import SimpleNamespace

    from medgrpo.models.context import context_of

    def context(stated, length):
        config = SimpleNamespace(max_position_embeddings=stated)
        return context_of(SimpleNamespace(config=config), SimpleNamespace(model_max_length=length))

    assert context(None, 2048) == 2048
    assert context(32768, 2048) == 32768  # the length of a training's texts, without the pictures
    for length in (int(1e30), 0, -1, None, "2048", True, float("inf")):
        assert context(None, length) is None


def test_a_prompt_without_end_is_refused_where_nothing_states_a_context(loaded, dataset, rows, monkeypatch):
    monkeypatch.setattr(loaded.model.config.get_text_config(), "max_position_embeddings", 0)
    monkeypatch.setattr(loaded.tokenizer, "model_max_length", int(1e30))
    monkeypatch.setattr("medgrpo.generation.generate.UNSTATED", 400)
    long = {**rows[2], "id": "long", "question": "Is it? " * 300}
    done = complete(loaded, dataset, [*rows[:2], long])
    assert "as nothing says what the model was made for, at most 400" in done[2].failed
    assert not any(one.failed for one in done[:2])
