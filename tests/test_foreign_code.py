"""Nothing that travels runs its Python: one marker is planted in every artefact, and every command takes it.

The planted file writes a marker when it is imported. What may load it is a person: by name on the command line, in a
configuration given there, or with `--trust-rewards RUN`.
"""

import importlib.metadata
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image
from safetensors.torch import load_file, save_file

from medgrpo.cli.main import COMMANDS, main
from medgrpo.data.demo import DemoSize, demo_texts, write_demo_dataset
from medgrpo.data.prepared import PreparedDataset
from medgrpo.models.demo import build_demo_model
from medgrpo.rewards import registry
from tests.planted import TINY

REWARD = """
from pathlib import Path

Path({marker!r}).write_text("ran")


def mark(completions, **columns):
    return [float(index) for index, _ in enumerate(completions)]


class Model:
    pass
"""


def called(*words, capsys=None):
    """Exit code of a command, run in this process."""
    try:
        main([str(word) for word in words])
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


class Planted:
    """A pickle that writes the marker."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return exec, (f"open({str(self.marker)!r}, 'w').write('ran')",)


class World:
    """Every artefact that travels, each with the planted file named in it wherever a name could go."""

    def __init__(self, folder, honest):
        self.folder = folder
        self.marker = folder / "marker"
        self.file = folder / "planted.py"
        self.file.write_text(REWARD.format(marker=str(self.marker)))
        self.name = f"{self.file}:mark"
        for name in ("data", "model", "run"):
            shutil.copytree(honest / name, folder / name)
        self.data, self.model, self.run = (folder / name for name in ("data", "model", "run"))
        self.adapter = self.run / "final_lora"
        self.pairs = folder / "pairs"
        self.predictions = folder / "predictions.jsonl"
        self.log = folder / "log.json"
        self.template = folder / "template.toml"
        self.plant()

    def plant(self):
        self.change(self.adapter / "adapter_config.json", base_model_name_or_path=str(self.model))
        self.config({self.name: 1.0})
        names = {
            "rewards": {"weights": {self.name: 1.0}, "gate": self.name},
            "reward": self.name,
            "weights": {self.name: 1.0},
            "metric": self.name,
            "provenance": {"run_folder": str(self.run), "data": str(self.data), "rewards": self.name},
        }
        for folder in (self.model, self.adapter):
            file = folder / "medgrpo.json"
            before = json.loads(file.read_text()) if file.is_file() else {}
            before.pop("fingerprint", None)  # whoever plants something would write a fitting one
            file.write_text(json.dumps({**before, **names}))
        self.change(self.data / "dataset.json", **names, audit=names, plugins=[self.name])
        shutil.copytree(self.data, self.pairs)
        data = PreparedDataset.open(self.data)
        planted = dict.fromkeys(("rewards", "weights", "gate", "reward_function"), self.name)
        rows = [
            {**{key: row[key] for key in ("id", "question", "answer")}, "completion": said, **planted}
            for split in ("train", "test")
            for row in data.rows(split)
            for said in (f"<answer>{row['answer']}</answer>", "?")
        ]
        rows = [{**row, "caption_model": str(self.model)} for row in rows]
        self.predictions.write_text("".join(json.dumps(row) + "\n" for row in rows))
        history = [{"step": step, "reward": 0.5, "loss": 0.1} for step in range(1, 9)]
        self.log.write_text(json.dumps({"config": names, "history": history, "log_history": history}))
        self.template.write_text(f'tags = ["answer"]\nsystem = "{self.name} {{{{ cycler.__init__ }}}}"\n')
        auto = {
            "AutoConfig": "planted.Model",
            "AutoTokenizer": ["planted.Model", None],
            "AutoProcessor": "planted.Model",
        }
        auto |= {"AutoModelForCausalLM": "planted.Model", "AutoModelForImageTextToText": "planted.Model"}
        for folder in (self.model, self.adapter):
            shutil.copy(self.file, folder / "planted.py")
            for name in (
                "config.json",
                "tokenizer_config.json",
                "preprocessor_config.json",
                "processor_config.json",
            ):
                if (folder / name).is_file():
                    self.change(folder / name, auto_map=auto)
        weights = load_file(self.adapter / "adapter_model.safetensors")
        save_file(
            {name: value + 0.1 for name, value in weights.items()}, self.adapter / "adapter_model.safetensors"
        )
        self.change(
            self.adapter / "adapter_config.json",
            auto_mapping={"base_model_class": "Model", "parent_library": "planted"},
        )

    def config(self, weights, **other):
        """The run's config.toml with these rewards."""
        import tomllib

        import tomli_w

        file = self.run / "config.toml"
        values = tomllib.loads(file.read_text())
        values["rewards"]["weights"] = weights
        values["model"]["path"] = str(self.model)
        values["data"]["path"] = str(self.data)
        for key, value in other.items():
            section, _, leaf = key.partition("__")
            values[section][leaf] = value
        file.write_text(tomli_w.dumps(values))

    @staticmethod
    def change(file, **values):
        file.write_text(json.dumps({**json.loads(file.read_text()), **values}))

    def commands(self):
        """Every command with everything that it takes."""
        out = iter(self.folder / f"out{number}" for number in range(99))
        picture = next((self.data / "images").glob("*"))
        small = ("--limit", "2", "--max-new-tokens", "4", "--output")
        return [
            ("preprocess", self.data, next(out), "--model", self.model, "--on-bad-row", "skip"),
            ("preprocess", self.predictions, next(out), "--prompt", self.template, "--on-bad-row", "skip"),
            ("estimate-time", "--data", self.data, "--model", self.model),
            ("train", "--data", self.data, "--model", self.model, "--dry-run"),
            ("train", "--data", self.pairs, "--model", self.adapter, "--dry-run"),
            ("train", "--data", self.data, "--model", self.run, "--dry-run"),
            ("train", "--data", self.data, "--model", self.adapter, "--output", next(out), *TINY),
            ("train", "--resume", self.run, "--dry-run"),
            ("train", "--resume", self.run),
            ("train", "--resume", self.run / "checkpoints" / "checkpoint-1"),
            ("train", "--resume", "auto", "--output", self.run),
            ("ask", self.model, picture, "what?", "--max-new-tokens", "4"),
            ("ask", self.run, picture, "what?", "--max-new-tokens", "4", "--prompt", self.template),
            ("eval", self.model, self.data, *small, next(out)),
            ("eval", self.model, "--adapter", self.adapter, *small, next(out)),
            ("eval", self.adapter, self.data, *small, next(out)),
            ("eval", self.run, *small, next(out)),
            ("eval", self.data, "--predictions", self.predictions, "--output", next(out)),
            ("eval", "--predictions", self.predictions),
            ("compare", self.run, self.log, "--output", next(out)),
            ("health", self.run),
            ("health", self.log),
            ("merge-lora", self.adapter, "--output", next(out), "--verify", "0"),
            ("merge-lora", self.run, "--output", next(out), "--verify", "0"),
            ("make-dpo", self.run, "--output", next(out), "--margin", "0"),
            ("make-dpo", self.predictions, "--from", "models", "--data", self.data, "--output", next(out)),
            ("make-dpo", self.run, "--from", "sample", "--data", self.data, "--samples", "2", "--tokens", "4",
             "--limit", "2", "--output", next(out)),
            ("score", self.predictions),
            ("score", self.predictions, "--audit"),
            ("score", self.data, "--audit"),
            ("presets", "list"),
            ("doctor",),
            ("bundle", self.data),
            ("runs", self.run),
            ("runs", self.folder),
        ]  # fmt: skip


@pytest.fixture(scope="module")
def honest(tmp_path_factory):
    """A dataset, a model, and a run of two steps on them."""
    folder = tmp_path_factory.mktemp("honest")
    write_demo_dataset(folder / "data", size=DemoSize(train=6, validation=2, test=4))
    build_demo_model(folder / "model", demo_texts(), seed=3)
    with pytest.MonkeyPatch.context() as here:
        here.chdir(folder)
        assert called("train", "--data", "data", "--model", "model", "--output", "run", "--quiet", *TINY) == 0
    return folder


@pytest.fixture
def world(honest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", open("/dev/null"))  # noqa: SIM115  (nobody answers "y" to a library)
    made = World(tmp_path, honest)
    yield made
    sys.stdin.close()


def test_no_command_runs_what_an_artefact_names(world, capsys):
    commands = world.commands()
    assert {words[0] for words in commands} == set(COMMANDS)
    done = []
    for words in commands:
        code = called(*words)
        said = capsys.readouterr()
        assert not world.marker.exists(), words
        assert code in (0, 1, 2), words
        assert "looks like a bug" not in said.err, (words, said.err)
        done.append((words[0], code))
    assert {name for name, code in done if code == 0} >= set(COMMANDS) - {
        "preprocess",
        "bundle",  # into a folder that is in use
    }  # a planted name stops none


@pytest.mark.parametrize("form", ["mapping", "text", "gate", "metric"])
def test_a_run_cannot_have_its_reward_loaded_by_any_setting(world, capsys, form):
    world.config({"format": 1.0})
    if form == "mapping":
        world.config({"format": 1.0, world.name: 0.0})
    elif form == "text":
        world.config(f"format=1,{world.name}=1")
    elif form == "gate":
        world.config({"format": 1.0}, rewards__gate=world.name)
    else:
        world.config({"format": 1.0}, validation__metric=world.name)
    assert called("train", "--resume", world.run, "--dry-run") == 2
    said = capsys.readouterr().err
    assert world.name in said
    assert f"--trust-rewards {world.run}" in said
    called("eval", world.run, world.data, "--limit", "2", "--max-new-tokens", "4")
    assert not world.marker.exists()


def test_eval_says_that_the_reward_is_left_out_and_measures_the_rest(world, capsys):
    words = ("eval", world.run, world.data, "--limit", "2", "--max-new-tokens", "4", "--json")
    assert called(*words) == 0
    said = capsys.readouterr()
    assert "the metric reward is left out" in said.err
    assert "closed" in json.loads(said.out)


def test_a_run_that_is_trusted_says_what_it_loads(world, capsys):
    words = ("eval", world.run, world.data, "--limit", "2", "--max-new-tokens", "4", "--json")
    assert called(*words, "--trust-rewards", world.run) == 0
    said = capsys.readouterr()
    assert f"loading {world.name}" in said.err
    assert world.marker.exists()
    world.marker.unlink()
    assert called("train", "--resume", world.run, "--dry-run", "--trust-rewards", world.run) == 0
    assert f"loading {world.name}" in capsys.readouterr().err
    assert world.marker.exists()


def test_trust_in_one_run_is_none_in_another(world, tmp_path, capsys):
    other = tmp_path / "other"
    shutil.copytree(world.run, other)
    assert called("train", "--resume", world.run, "--dry-run", "--trust-rewards", other) == 2
    assert not world.marker.exists()


def test_what_a_person_types_is_loaded(world, tmp_path):
    assert called("score", world.predictions, "--rewards", world.name) == 0
    assert world.marker.exists()
    world.marker.unlink()
    own = tmp_path / "mine.toml"
    own.write_text(f'[rewards]\nweights = {{"{world.name}" = 1.0}}\n')
    config = ("train", "--data", world.data, "--model", world.model, "--config", own, "--dry-run")
    assert called(*config) == 0
    assert world.marker.exists()
    world.marker.unlink()
    # One command starts a run and takes it up again: its own configuration has named the file.
    assert called("train", "--config", own, "--output", world.run, "--resume", "auto", "--dry-run") == 0
    assert world.marker.exists()


def test_an_installed_package_is_not_loaded_by_a_runs_word(world, capsys, monkeypatch):
    monkeypatch.syspath_prepend(str(world.folder))
    point = importlib.metadata.EntryPoint("theirs", "planted:mark", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "_entry_points", lambda: {"theirs": point})
    world.config({"theirs": 1.0})
    assert called("train", "--resume", world.run, "--dry-run") == 2
    assert called("eval", world.run, world.data, "--limit", "2", "--max-new-tokens", "4") == 0
    assert "the metric reward is left out" in capsys.readouterr().err
    assert not world.marker.exists()
    assert called("score", world.predictions, "--rewards", "theirs") == 0
    assert world.marker.exists()
    sys.modules.pop("planted", None)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("model__trust_remote_code", True),
        ("model__attn_implementation", "someone/kernel"),
        ("launch__deepspeed", "/tmp/theirs.json"),
    ],
)
def test_a_runs_own_file_does_not_reach_out(world, capsys, setting, value):
    world.config({"format": 1.0}, **{setting: value})
    assert called("train", "--resume", world.run, "--dry-run") == 2
    key = setting.replace("__", ".")
    said = capsys.readouterr().err
    assert f"sets {key}" in said
    assert f"--set {key}=" in said
    assert not world.marker.exists()


def test_a_run_does_not_say_which_server_gets_the_pictures(world, capsys):
    world.config(
        {"format": 1.0}, rollout__engine="vllm", vllm__mode="server", vllm__server_base_url="http://theirs"
    )
    assert called("train", "--resume", world.run, "--dry-run") == 2
    assert "sends prompts and pictures to http://theirs" in capsys.readouterr().err


def test_pickles_in_a_checkpoint_do_not_run(world, capsys):
    import torch

    world.config({"answer_match": 1.0, "format": 0.5})
    checkpoint = world.run / "checkpoints" / "checkpoint-1"
    for name in (
        "optimizer.pt",
        "scheduler.pt",
        "rng_state.pth",
        "training_args.bin",
        "generation_cycle_0.pt",
    ):
        shutil.rmtree(world.folder / "again", ignore_errors=True)
        shutil.copytree(world.run, world.folder / "again")
        place = world.folder / "again" / checkpoint.relative_to(world.run) / name
        assert place.is_file() or name == "training_args.bin", name
        torch.save({"state": Planted(world.marker)}, place)
        called("train", "--resume", world.folder / "again" / "checkpoints" / "checkpoint-1", "--quiet")
        assert not world.marker.exists(), name


def test_pickled_weights_do_not_run(world):
    import torch

    for folder, name in ((world.model, "pytorch_model.bin"), (world.adapter, "adapter_model.bin")):
        for file in folder.glob("*.safetensors"):
            file.unlink()
        torch.save({"weight": Planted(world.marker)}, folder / name)
        assert called("eval", world.adapter, world.data, "--limit", "1", "--output", world.folder / "o") != 0
        assert called("merge-lora", world.adapter, "--output", world.folder / "merged") != 0
        assert not world.marker.exists()


def test_a_module_that_an_adapter_names_is_not_imported(world, monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(world.folder))  # as with an installed package
    world.change(world.adapter / "adapter_config.json", megatron_config={"a": 1}, megatron_core="planted")
    for words in (
        ("ask", world.adapter, "-", "what?", "--max-new-tokens", "2"),
        ("merge-lora", world.adapter, "--output", world.folder / "merged", "--verify", "1"),
        ("train", "--data", world.data, "--model", world.adapter, "--output", world.folder / "new", *TINY),
    ):
        assert called(*words) == 1
        assert "planted" not in sys.modules
        assert "megatron_core is 'planted'" in capsys.readouterr().err


def test_a_kernel_that_a_model_names_is_not_fetched(world, capsys):
    world.change(world.model / "config.json", attn_implementation="someone/kernel")
    assert called("eval", world.model, world.data, "--limit", "1", "--output", world.folder / "o") == 1
    assert "someone/kernel" in capsys.readouterr().err


def test_a_chat_template_stays_in_its_box(world, capsys):
    escape = "{{ cycler.__init__.__globals__.os.system('touch " + str(world.marker) + "') }}"
    for name in ("chat_template.jinja",):
        (world.model / name).write_text(escape)
    for words in (
        ("preprocess", world.data, world.folder / "new", "--model", world.model),
        ("eval", world.model, world.data, "--limit", "1", "--output", world.folder / "o"),
    ):
        assert called(*words) != 0
        assert not world.marker.exists()


def test_a_sentence_model_does_not_bring_code(world, tmp_path):
    from medgrpo.errors import MedgrpoError
    from medgrpo.rewards.caption import caption_alignment

    folder = tmp_path / "sentences"
    folder.mkdir()
    shutil.copy(world.file, folder / "planted.py")
    module = {"idx": 0, "name": "0", "path": "", "type": "planted.Model"}
    (folder / "modules.json").write_text(json.dumps([module]))
    with pytest.raises(MedgrpoError, match=r"planted\.Model"):
        caption_alignment(["a scan"], caption=["a scan"], caption_model=str(folder))
    assert not world.marker.exists()


def test_no_process_of_a_command_imports_from_the_working_folder(tmp_path):
    marker = tmp_path / "marker"
    here = tmp_path / "here"
    here.mkdir()
    for name in (
        "socket",
        "selectors",
        "struct",
        "signal",
        "random",
        "json",
        "tempfile",
        "pip",
        "medgrpo",
        "sitecustomize",
    ):
        (here / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').write('{name} ran')\n")
    for number in range(30):
        Image.new("L", (32, 32), 5 * number).save(here / f"{number}.png")
    rows = [{"image": f"{number}.png", "question": "q?", "answer": "yes"} for number in range(30)]
    (here / "rows.json").write_text(json.dumps(rows))
    script = (
        tmp_path / "bin" / "medgrpo"
    )  # as installed: the folder of the script comes first, not the working folder
    script.parent.mkdir()
    script.write_text("from medgrpo.cli.main import main\n\nif __name__ == '__main__':\n    main()\n")
    pip = script.with_name("pip-version")
    pip.write_text("from medgrpo.bundle import _pip\n\n_pip('--version')\n")
    calls = [[str(script), "preprocess", ".", str(tmp_path / "out"), "--workers", "2", "--quiet"], [str(pip)]]
    fresh = {
        name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"
    }  # set by a command before
    for words in calls:
        done = subprocess.run(
            [sys.executable, *words], cwd=here, env=fresh, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        assert not marker.exists(), marker.read_text()
    assert PreparedDataset.open(tmp_path / "out").count("train")


POSTSCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\n%%EndComments\n0 0 moveto 64 64 lineto stroke\n%%EOF\n"


@pytest.mark.parametrize("name", ["a.png", "a.eps", "a.jpg", "a.tif"])
def test_no_program_is_run_for_a_picture(tmp_path, monkeypatch, capsys, name):
    """PostScript is a program in a file; Pillow would have Ghostscript run it, whatever the file is called."""
    from PIL import EpsImagePlugin

    from medgrpo.evaluation.mask_files import read_mask
    from medgrpo.pictures import opened_picture

    ghostscript = tmp_path / "bin" / "gs"
    ghostscript.parent.mkdir()
    ghostscript.write_text(f"#!/bin/sh\ntouch '{tmp_path}/marker'\n")
    ghostscript.chmod(0o777)
    monkeypatch.setenv("PATH", str(ghostscript.parent), prepend=os.pathsep)
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    source = tmp_path / "source"
    source.mkdir()
    (source / name).write_bytes(POSTSCRIPT)
    (source / "rows.json").write_text(json.dumps([{"image": name, "question": "q", "answer": "a"}]))
    assert called("preprocess", source, tmp_path / "out", "--workers", "1", "--on-bad-row", "skip") != 0
    with pytest.raises(OSError, match="cannot identify"):
        read_mask(source / name)
    with (
        pytest.raises(Exception, match="cannot be read as an image"),
        opened_picture(source / name) as picture,
    ):
        picture.load()
    assert not (tmp_path / "marker").exists()


def test_pictures_are_opened_in_one_place():
    import medgrpo

    for file in Path(medgrpo.__file__).parent.rglob("*.py"):
        if file.name != "pictures.py" or file.parent.name != "medgrpo":
            assert "Image.open(" not in file.read_text(), file


def test_python_m_imports_nothing_from_the_working_folder_once_it_has_found_medgrpo(tmp_path):
    marker = tmp_path / "marker"
    for name in (
        "statistics",
        "secrets",
        "threading",
        "json",
        "torch",
        "numpy",
        "typer",
        "pyarrow",
        "kernels",
        "sitecustomize",
    ):
        (tmp_path / f"{name}.py").write_text(f"open({str(marker)!r}, 'w').write('{name} ran')\n")
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"completion": "<answer>a</answer>", "answer": "a"}\n')
    fresh = {name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"}
    words = [sys.executable, "-m", "medgrpo.cli.main", "score", str(rows), "--quiet"]
    done = subprocess.run(words, cwd=tmp_path, env=fresh, capture_output=True, text=True, check=False)
    assert not marker.exists(), marker.read_text()
    assert done.returncode == 0, done.stderr


def test_processes_of_a_run_do_not_import_from_the_working_folder(tmp_path):
    from medgrpo.training.before.launch import child_environment

    assert child_environment({})["PYTHONSAFEPATH"]


def test_a_library_call_loads_what_the_program_names(world):
    from medgrpo.rewards.composite import CompositeReward

    assert CompositeReward({world.name: 1.0}).names == ("mark",)
    assert Path(world.marker).exists()
