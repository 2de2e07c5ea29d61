"""What is printed and written holds no secret."""

import base64
import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medgrpo.cli.main import main
from medgrpo.cli.output import Output
from medgrpo.files import write_text
from medgrpo.masking import MASK, masked, masked_streams, secret_values, without_credentials

SECRET = 'hf_"geheim"/0123'


@pytest.fixture(autouse=True)
def token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", SECRET)


@pytest.mark.parametrize(
    "name",
    [
        "HF_TOKEN",
        "OPENAI_API_KEY",
        "WANDB_API_KEY",
        "AUTHORIZATION",
        "X_SECRET",
        "DB_PASSWORD",
        "api_key",
        "KEY",
        "PGPASSWORD",
        "MYSQL_PWD",
        "GITHUB_PAT",
        "OPENAI_API_KEY_2",
        "OPENAI_APIKEY",
        "SSH_PASSPHRASE",
    ],
)
def test_secrets_are_known_by_the_name_of_their_variable(name):
    assert "0123456789" in secret_values({name: "0123456789"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KEYBOARD", "0123456789"),
        ("OPENAI_API_KEY", "EMPTY"),
        ("TOKENIZERS_PARALLELISM", "0123456789"),
        ("SSL_KEY", "/etc/hostname"),
        ("OLDPWD", "0123456789"),
        ("PATH", "0123456789"),
    ],
)
def test_other_values_are_left_alone(name, value):
    assert secret_values({name: value}) == ()


def test_a_secret_is_masked_however_it_is_written():
    encoded = base64.b64encode(SECRET.encode()).decode()
    for spelling in (SECRET, json.dumps(SECRET), "hf_%22geheim%22%2F0123", encoded):
        assert "geheim" not in masked(f"before {spelling} after")
        assert masked(f"before {spelling} after").startswith("before ")
    assert masked("nothing here") == "nothing here"


@given(st.text(), st.text())
def test_text_around_a_secret_stays(before, after):
    if "://" not in before + after and SECRET not in before + after:
        assert masked(f"{before}{SECRET}{after}") == f"{before}{MASK}{after}"


def test_headers_of_messages_are_masked_whosever_they_are():
    header = "{'Authorization': 'Bearer somebody-elses-key'}"
    assert masked(header, headers=True) == "{'Authorization': 'Bearer ***'}"
    assert masked("prior authorization: required", headers=True) == "prior authorization: required"
    assert masked(header) == header  # data is no message


def test_an_address_is_shown_without_its_user():
    assert without_credentials("https://me:pass@host:8000/v1?key=x#y") == "https://host:8000/v1"
    assert masked("at https://me:pass@host/v1?api_key=abc&n=1") == "at https://***@host/v1?api_key=***&n=1"


def test_no_sink_lets_a_secret_through(tmp_path, capsys):
    with masked_streams():
        said = Output(as_json=False)
        said.note(f"note {SECRET}")
        said.warn(f"warning {SECRET}")
        said.text(f"text {SECRET}")
        said.table(SECRET, [SECRET], [[f"cell {SECRET}"]])
        Output(as_json=True).result({"value": SECRET})
        print(SECRET, file=sys.stderr)
        sys.stdout.writelines([SECRET, "\n"])
        with said.progress(f"label {SECRET}") as advance:
            advance()
    printed = capsys.readouterr()
    assert "geheim" not in printed.out + printed.err
    write_text(tmp_path / "file", f"written {SECRET}")
    assert (tmp_path / "file").read_text() == f"written {MASK}"


def test_an_error_names_no_secret_on_either_stream(capsys):
    with pytest.raises(SystemExit):
        main(["presets", "show", SECRET, "--json"])
    printed = capsys.readouterr()
    assert "geheim" not in printed.out + printed.err
    assert MASK in json.loads(printed.out)["error"]["problem"]


def test_a_trace_names_no_secret(monkeypatch, capsys):
    monkeypatch.setenv("MEDGRPO_DEBUG", "1")
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)
    with pytest.raises(Exception, match="geheim") as raised:
        main(["presets", "show", SECRET])
    sys.excepthook(raised.type, raised.value, raised.tb)
    printed = capsys.readouterr()
    assert "Traceback" in printed.err
    assert "geheim" not in printed.err
