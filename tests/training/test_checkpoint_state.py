"""The state that a Trainer left is looked at before it is taken up."""

import json

import pytest

from medgrpo.errors import MedgrpoError
from medgrpo.training.run.whole_checkpoint import check_state


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("global_step", "2"),
        ("global_step", -1),
        ("global_step", True),
        ("log_history", None),
        ("log_history", ["x"]),
        ("stateful_callbacks", [1]),
        ("stateful_callbacks", {"TrainerControl": 3}),
        ("stateful_callbacks", {"TrainerControl": [None]}),
    ],
)
def test_a_field_of_another_form_is_named(tmp_path, name, value):
    file = tmp_path / "trainer_state.json"
    whole = {
        "global_step": 2,
        "log_history": [{"loss": 1}],
        "stateful_callbacks": {"A": {"args": {}}, "B": [{}]},
    }
    file.write_text(json.dumps(whole))
    check_state(file)
    file.write_text(json.dumps({**whole, name: value}))
    with pytest.raises(MedgrpoError, match=name):
        check_state(file)
