import json
import resource
import subprocess
import sys

import pytest

from medgrpo.cli import main as command_line
from medgrpo.cli.output import Output, results_alone
from medgrpo.install import how_to_install


def run(*arguments):
    return subprocess.run(
        [sys.executable, "-m", "medgrpo.cli.main", *arguments], capture_output=True, text=True, check=False
    )


def said_without(heavy, *words):
    """What a command prints in a process of its own; none of these modules may be imported by it."""
    code = (
        "import sys\n"
        "from medgrpo.cli.main import main\n"
        "try:\n"
        f"    main({list(words)!r})\n"
        "except SystemExit as end:\n"
        "    assert not end.code, end.code\n"
        f"heavy = {heavy!r} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("command", ["", *command_line.COMMANDS])
def test_help_imports_neither_torch_nor_numpy(command):
    heavy = {"torch", "numpy", "transformers", "pyarrow", "PIL", "plotly"}
    assert "Usage" in said_without(heavy, *filter(None, [command]), "--help")


def test_an_estimate_as_json_imports_nothing_that_it_does_not_need():
    heavy = {"torch", "numpy", "transformers", "pyarrow", "PIL", "asyncio", "rich.console"}
    said = said_without(heavy, "estimate-time", "--model", "Qwen2.5-VL-3B", "--gpu", "H200", "--json")
    assert json.loads(said)["gpu"] == "H200"


def test_an_estimate_as_text_imports_no_more_than_its_table():
    heavy = {"torch", "numpy", "transformers", "pyarrow", "PIL", "asyncio", "rich.markdown", "rich.progress"}
    heavy |= {"medgrpo.cli.train", "medgrpo.cli.eval", "medgrpo.training", "medgrpo.generation"}
    said = said_without(heavy, "estimate-time", "--model", "Qwen2.5-VL-3B", "--gpu", "H200")
    assert "fits on H200" in said


def test_an_estimate_takes_a_second_or_two_of_the_processor_at_most():
    run("estimate-time", "--gpu", "H200")  # bytecode, where it may be kept
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run("estimate-time", "--gpu", "H200").returncode == 0
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert (
        after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 3
    )  # .3 where bytecode is kept


def test_every_setting_has_its_description():
    from medgrpo.config.layers import field_keys

    assert [name for name, text in field_keys().items() if not text] == []


@pytest.mark.parametrize("command", [name for name in command_line.COMMANDS if name != "presets"])
def test_every_help_ends_with_an_example(command, capsys):
    with pytest.raises(SystemExit):
        command_line.main([command, "--help"])
    assert f"medgrpo {command}" in capsys.readouterr().out.split("Example")[1]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trian"], "did you mean 'train'?"),
        (["presets", "show", "balenced"], "did you mean 'balanced'?"),
        (["presets", "list", "--jsn"], "--jsn"),
    ],
)
def test_a_wrong_call_is_one_error_and_exit_code_two(arguments, words):
    done = run(*arguments)
    assert done.returncode == 2
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_an_error_with_json_is_a_document_on_stdout():
    done = run("presets", "show", "balenced", "--json")
    assert json.loads(done.stdout)["error"]["problem"] == "no preset called 'balenced'"


def test_a_command_that_is_stopped_leaves_a_document_too(monkeypatch, capsys):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("importlib.util.find_spec", interrupted)  # doctor asks it first
    with pytest.raises(SystemExit) as ended:
        command_line.main(["doctor", "--json"])
    assert ended.value.code == 130
    assert json.loads(capsys.readouterr().out)["error"]["problem"] == "stopped"


def test_a_file_that_cannot_be_written_is_no_bug_of_ours(monkeypatch, capsys):
    def refused(*_, **__):
        raise PermissionError(13, "Permission denied", "/there/run")

    monkeypatch.setattr(command_line, "app", refused)
    with pytest.raises(SystemExit) as ended:
        command_line.main(["doctor"])
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert "error: /there/run may not be read or written: Permission denied" in said
    assert "bug" not in said


def test_a_trace_is_shown_only_when_asked_for(monkeypatch):
    monkeypatch.setenv("MEDGRPO_DEBUG", "1")
    assert "Traceback" in run("presets", "show", "balenced").stderr


def test_presets_list_and_show_print_one_document(capsys):
    command_line.app(["presets", "list", "--json"], standalone_mode=False)
    names = {preset["name"] for preset in json.loads(capsys.readouterr().out)["presets"]}
    assert {"balanced", "conservative", "verify", "recommended", "paper", "paper-2024", "demo"} <= names
    command_line.app(["presets", "show", "verify", "--json"], standalone_mode=False)
    values = {value["key"]: value for value in json.loads(capsys.readouterr().out)["values"]}
    assert values["training.num_train_epochs"]["layer"] == "preset verify"
    assert values["training.learning_rate"]["layer"] == "preset balanced"
    assert values["rollout.top_p"]["reason"]


def test_doctor_says_what_to_install_for_what_is_missing(capsys):
    command_line.app(["doctor", "--json"], standalone_mode=False)
    checks = {check["check"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["reward core"]["ok"]
    assert checks["fast rollouts"]["remedy"] == how_to_install("vllm")


def test_a_missing_package_names_the_extra_to_install(monkeypatch, capsys):
    def without_pillow(*_, **__):
        raise ModuleNotFoundError("No module named 'PIL'", name="PIL")

    monkeypatch.setattr(command_line, "app", without_pillow)
    with pytest.raises(SystemExit) as ended:
        command_line.main(["preprocess"])
    assert ended.value.code == 1
    assert f"hint: {how_to_install('data')}" in capsys.readouterr().err


def test_stdout_holds_the_document_alone_whatever_libraries_print(capsys):
    """Transformers prints a line on stdout as soon as it finds WANDB_MODE=offline."""
    with results_alone():
        print("a library's line")
        Output(as_json=True).result({"steps": 1})
    printed = capsys.readouterr()
    assert json.loads(printed.out) == {"steps": 1}
    assert "a library's line" in printed.err


def test_presets_are_listed_in_a_line_each_and_shown_without_defaults(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    listed = run("presets", "list")
    assert len(listed.stdout.splitlines()) <= 30
    shown, whole = (
        run("presets", "show", "balanced").stdout,
        run("presets", "show", "balanced", "--all").stdout,
    )
    assert "rollout.num_generations" in shown
    assert "model.trust_remote" not in shown
    assert "model.trust_remote" in whole
    assert len(shown.splitlines()) < 80
    found = {
        one["name"]: one["estimate"] for one in json.loads(run("presets", "list", "--json").stdout)["presets"]
    }
    assert found["vessels-26b"]["model"] == "ByteDance/Sa2VA-26B"  # was estimated as a 3B
