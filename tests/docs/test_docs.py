"""README and docs: links lead somewhere, commands are those that there are, blocks run, sentences are short."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from PIL import Image, ImageDraw

from medgrpo.cli.foreign_flags import translate
from medgrpo.cli.main import COMMANDS, app
from medgrpo.figures import FIGURES
from medgrpo.rewards.masks import MEASURES
from medgrpo.rewards.registry import BUILT_IN
from tests.conftest import DATA, ROOT
from tests.docs.blocks import ENGLISH, NEW_PAGES, NOT_RUN, blocks, joined, pages
from tests.docs.zygote import CLIENT

LONGEST_SENTENCE = 25


def slug(heading):
    from markdown.extensions.toc import slugify

    return slugify(re.sub(r"`|\[([^\]]*)\]\([^)]*\)", r"\1", heading), "-")


@pytest.mark.parametrize("page", pages())
def test_every_link_leads_somewhere(page):
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"https?:|mailto:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        if not file.exists():
            lost.append(target)
        elif anchor and file.suffix == ".md":
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            if anchor not in map(slug, headings):
                lost.append(target)
    assert not lost


def medgrpo_lines(page):
    for block in blocks(page):
        for line in joined(block.text):
            for part in re.split(r" && | \|\| | \| ", line):
                words = part.strip()
                words = re.sub(r"^(\w+=\S* )+", "", words)
                if words.startswith("medgrpo "):
                    yield block, words


@pytest.mark.parametrize("page", [page for page in pages() if list(medgrpo_lines(page))])
def test_every_command_has_the_options_that_are_typed(page):
    """Parsed by the command itself, without running it: an option that is gone is found on every page."""
    group = typer.main.get_command(app)
    for block, line in medgrpo_lines(page):
        typed_line = line.split(" #")[0].replace("$seed", "1")
        words = [word for word in shlex.split(typed_line)[1:] if word not in ("…", "...")]
        if words[0] in ("help", "--version", "--help", "--install-completion"):
            continue
        assert words[0] in COMMANDS, f"{block}: {line}"
        command = group.get_command(None, words[0])
        rest = words[1:]
        if getattr(command, "commands", None):
            if rest and rest[0] in command.commands:
                command, rest = command.commands[rest[0]], rest[1:]
            else:
                continue
        known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
        typed = [
            word.partition("=")[0] for word in translate(command, rest) if re.match(r"--?[a-zA-Z]", word)
        ]
        assert not [name for name in typed if name not in known and name not in ("--help", "-h")], (
            f"{block}: {line}"
        )


@pytest.mark.parametrize(
    "page",
    [
        "README.md",
        "CONTRIBUTING.md",
        *(page for page in pages() if page.startswith("docs/") and "/zh/" not in page),
    ],
)
def test_sentences_are_short(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    text = re.sub(r"```.*?```", "\n\n", text, flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)|`[^`]*`", "x", text)
    paragraphs = [
        " ".join(part.split())
        for part in re.split(r"\n\s*\n|\n(?=[-\d|!=#])", text)
        if not part.lstrip().startswith(("|", "#", "![", "==="))
    ]
    long = [
        sentence
        for paragraph in paragraphs
        for sentence in re.split(r"(?<=[.?!:;])\s", paragraph)
        if len(sentence.split()) > LONGEST_SENTENCE
    ]
    assert not long


def test_nothing_is_commented_behind_a_command_in_readme():
    """zsh takes a # behind a command for a word."""
    assert not [
        line for block in blocks("README.md") for line in joined(block.text) if re.search(r"\S\s+#", line)
    ]


def test_what_ci_types_is_what_readme_says():
    readme = [line for block in blocks("README.md") for line in joined(block.text)]
    assert 'pip install ".[train]" && medgrpo train --preset balanced' in readme
    assert 'pip install -e ".[test]" && pytest' in readme
    assert 'pip install -q --disable-pip-version-check -e ".[test]"' in (ROOT / ".ci/run").read_text()


@pytest.mark.parametrize(
    ("one", "other"), [("README.md", "README.zh-CN.md"), ("docs/index.md", "docs/zh/index.md")]
)
def test_both_languages_have_the_same_first_commands(one, other):
    english, chinese = (
        [line for block in blocks(page) for line in joined(block.text)] for page in (one, other)
    )
    assert english[:2] == chinese[:2]


@pytest.mark.parametrize("chinese", sorted(ENGLISH))
def test_a_chinese_page_types_what_its_english_page_types(chinese):
    """Commands and options; values may be Chinese."""

    def typed(page):
        return {
            " ".join(re.findall(r"^medgrpo \S+|(?<= )--?[a-z][\w-]*", line))
            for _, line in medgrpo_lines(page)
        }

    assert typed(chinese) - typed(ENGLISH[chinese]) <= {"medgrpo train --help"}


def test_every_guide_has_its_page_in_chinese_and_stands_in_the_navigation():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    for page in (*ENGLISH, *ENGLISH.values()):
        assert page.startswith("README") or f" {page.removeprefix('docs/')}\n" in navigation, page
    english = {page for page in NEW_PAGES if page.startswith("docs/guides/")}
    assert english <= set(ENGLISH.values())


@pytest.mark.slow
def test_the_site_builds_offline_and_whole(tmp_path):
    pytest.importorskip("mkdocs", reason="the extra [docs] is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "-q", "--strict", "--site-dir", tmp_path / "site"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "NO_MKDOCS_2_WARNING": "1"},
    )
    assert done.returncode == 0, done.stderr
    index = (tmp_path / "site" / "index.html").read_text(encoding="utf-8")
    assert "fonts.googleapis" not in index
    settings = (tmp_path / "site" / "reference" / "settings.html").read_text(encoding="utf-8")
    assert "training.learning_rate" in settings
    commands = (tmp_path / "site" / "reference" / "commands.html").read_text(encoding="utf-8")
    assert all(f'id="{name}"' in commands for name in COMMANDS)


# ------------------------------------------------------------------------------------ blocks, run


@pytest.fixture(scope="module")
def shell(tmp_path_factory):
    """Runs a script in a folder where the demo ran before, with `medgrpo` on the path."""
    place = tmp_path_factory.mktemp("docs")
    (place / "bin").mkdir()
    path = str(place / "socket")
    (place / "bin" / "medgrpo").write_text(CLIENT.format(python=sys.executable, path=path))
    (place / "bin" / "medgrpo").chmod(0o755)
    (place / "bin" / "python").symlink_to(sys.executable)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.docs.zygote", "serve", path],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "ready\n"

    def run(script, folder):
        import os

        environment = {
            **os.environ, "PATH": f"{place / 'bin'}:/usr/bin:/bin", "HF_HUB_OFFLINE": "1", "MEDGRPO_LANG": "en",
            "COLUMNS": "120",
        }  # fmt: skip
        return subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script], cwd=folder, env=environment, capture_output=True, text=True,
            check=False, timeout=600,
        )  # fmt: skip

    yield run
    server.terminate()
    server.wait()
    server.stdout.close()


@pytest.fixture(scope="module")
def after_the_demo(shell, tmp_path_factory):
    """A folder with the demo's run, raw questions and pictures in vqa_rad, and a small model in qwen."""
    folder = tmp_path_factory.mktemp("home")
    done = shell("medgrpo train --preset balanced -q", folder)
    assert done.returncode == 0, done.stderr
    _raw_questions(folder)
    _raw_vessels(folder)
    _raw_boxes(folder)
    _real_answers(folder)
    shutil.copytree(next(folder.glob("runs/b*/final_model")), folder / "qwen")
    (folder / "qwen" / "complete.json").unlink(missing_ok=True)
    return folder


def _raw_questions(folder):
    """VQA-RAD's files in small: its fields, its two splits."""
    source = folder / "vqa_rad"
    (source / "images").mkdir(parents=True)
    pictures = sorted(folder.glob("runs/b*/demo/data/images/*.png"))[:40]
    for split, chosen in (("trainset", pictures[:30]), ("testset", pictures[30:])):
        rows = []
        for place, picture in enumerate(chosen):
            shutil.copy(picture, source / "images" / picture.name)
            common = {"image_name": picture.name, "image_organ": "CHEST", "phrase_type": "freeform"}
            rows.append(
                {
                    **common,
                    "qid": f"{split}-{place}",
                    "question": "Is there a lesion?",
                    "answer": "Yes" if place % 2 else "No",
                    "answer_type": "CLOSED",
                    "question_type": "PRES",
                }
            )
            rows.append(
                {
                    **common,
                    "qid": f"{split}-{place}b",
                    "question": "What modality is this?",
                    "answer": ["CT", "MRI"][place % 2],
                    "answer_type": "OPEN",
                    "question_type": "MODALITY",
                }
            )
        (source / f"{split}.json").write_text(json.dumps(rows))


def _raw_vessels(folder):
    """DRIVE's folder in small: its names, generated vessels."""
    (folder / "predicted").mkdir()
    for name in ("images", "1st_manual", "mask"):
        (folder / "DRIVE" / name).mkdir(parents=True)
    for number in range(21, 29):
        vessels = Image.new("L", (64, 64))
        draw = ImageDraw.Draw(vessels)
        for line in range(3):
            draw.line([(0, 9 + line * 20 - number % 7), (63, number % 11 + line * 17)], fill=255, width=2)
        retina = Image.merge("RGB", [vessels.point(lambda value: 170 - value // 2)] * 3)
        retina.save(folder / "DRIVE" / "images" / f"{number}_training.tif")
        vessels.save(folder / "DRIVE" / "1st_manual" / f"{number}_manual1.gif")
        vessels.save(folder / "predicted" / f"{number}_training.png")
        Image.new("L", (64, 64), 255).save(folder / "DRIVE" / "mask" / f"{number}_training_mask.gif")


def _real_answers(folder):
    """Answers of real models and their questions, where they are."""
    if DATA.is_dir():
        for file in (DATA / "model_outputs" / "llava_med").glob("answer-file*.jsonl"):
            shutil.copy(file, folder)
        shutil.copy(DATA / "vqa_rad" / "testset.json", folder)
        shutil.copytree(DATA / "slake", folder / "slake")


def _raw_boxes(folder):
    """COCO files in small, on the demo's pictures."""
    source = folder / "COCO_FOLDER"
    (source / "images").mkdir(parents=True)
    pictures = sorted(folder.glob("runs/b*/demo/data/images/*.png"))[:20]
    shutil.copy(pictures[0], folder / "chest.png")
    images, annotations = [], []
    for number, picture in enumerate(pictures, 1):
        shutil.copy(picture, source / "images" / picture.name)
        with Image.open(picture) as opened:
            width, height = opened.size
        images.append({"id": number, "file_name": picture.name, "width": width, "height": height})
        box = [4 + number % 9, 5, 12, 10 + number % 7]
        annotations.append({"id": number, "image_id": number, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0})  # fmt: skip
    coco = {"images": images, "annotations": annotations, "categories": [{"id": 1, "name": "nodule"}]}
    (source / "annotations.json").write_text(json.dumps(coco))


@pytest.mark.slow
@pytest.mark.parametrize("page", NEW_PAGES)
def test_the_blocks_of_a_page_run_one_after_the_other(page, shell, after_the_demo, tmp_path):
    scripts = [(block, block.runnable) for block in blocks(page)]
    scripts = [(block, script) for block, script in scripts if script.strip()]
    english = ENGLISH.get(page)
    if english is not None:  # what stands there word for word is run there
        there = {block.text for block in blocks(english)}
        scripts = [(block, script) for block, script in scripts if block.text not in there]
        if not scripts:
            return
    if not scripts:
        pytest.skip("nothing on this page can be run here: " + "; ".join(sorted({why for _, why in NOT_RUN})))
    folder = tmp_path / "home"
    subprocess.run(["cp", "-al", str(after_the_demo), str(folder)], check=True)
    (folder / "runs" / "latest").unlink(missing_ok=True)
    (folder / "runs" / "latest").symlink_to(next(folder.glob("runs/b*")).name)
    (folder / "runs" / "grpo").symlink_to(next(folder.glob("runs/b*")).name)
    shutil.rmtree(folder / "logs")
    Path(folder / "logs").mkdir()
    shutil.copy(next(after_the_demo.glob("logs/*.json")), folder / "logs")
    for block, script in scripts:
        done = shell(script, folder)
        assert done.returncode == 0, f"{block}\n{script}\n{done.stdout[-1500:]}\n{done.stderr[-3000:]}"


@pytest.mark.slow
def test_the_benchmark_script_makes_the_whole_table_and_does_nothing_twice(shell, after_the_demo, tmp_path):
    folder = tmp_path / "home"
    subprocess.run(["cp", "-al", str(after_the_demo), str(folder)], check=True)
    script = f"MODEL=qwen SIZE=56 LIMIT='--limit 6' bash {shlex.quote(str(ROOT / 'benchmarks' / 'vqa_rad_3b.sh'))} ./vqa_rad"
    done = shell(script, folder)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-3000:]
    table = (folder / "vqa_rad_3b" / "table.txt").read_text()
    assert all(name in table for name in ("base", "sft", "grpo", "dpo"))
    assert re.search(r"\[\d\.\d+, \d\.\d+\]", table), "intervals"
    again = shell(script, folder)
    assert again.returncode == 0
    assert again.stdout.count("done before") >= 9


def test_the_table_of_measures_names_every_measure_reward_and_figure():
    names = list(FIGURES)
    logged = set(names[names.index("reward") :])  # of a training log: docs/training.md
    coco = {f"map_{size}" for size in ("small", "medium", "large")}
    coco |= {f"mar_{which}" for which in (1, 10, 100, "small", "medium", "large")}
    traits = {"area", "components", "holes", "euler", "skeleton_length", "largest_share"}
    others = {"betti", "skeletonize", "iou_matrix", "ece", "ece_equal_mass", "ece_by_chance", "brier"}
    wanted = (set(names) - logged) | set(BUILT_IN) | set(MEASURES) | coco | traits | others
    rows = [line for line in (ROOT / "docs/measures.md").read_text().splitlines() if line.startswith("|")]
    told = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert sorted(wanted - told) == []


# ------------------------------------------------------------------------------- blocks of Python and TOML


def fenced(page, language):
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def test_the_block_of_python_about_health_runs(tmp_path, monkeypatch, capsys):
    (block,) = fenced("docs/health.md", "python")
    (tmp_path / "runs").mkdir()
    log = [{"step": step, "reward": step / 100, "loss": 0.1} for step in range(60)]
    run = tmp_path / "runs" / "latest"
    run.mkdir()
    (run / "log.jsonl").write_text("".join(f"{json.dumps(entry)}\n" for entry in log))
    monkeypatch.chdir(tmp_path)
    exec(compile(block, "docs/health.md", "exec"), {})
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "normal"
    assert "nan" in said[1]


def test_the_blocks_of_python_about_rewards_run():
    names: dict[str, object] = {}
    for block in fenced("docs/rewards.md", "python"):
        exec(compile(block, "docs/rewards.md", "exec"), names)
    assert names["short"](["a", "b" * 300]) == [1.0, 0.0]
    reward = names["Vessels"]()
    reward.load_state_dict(reward.state_dict())


def test_the_reader_of_the_docs_reads_its_set(tmp_path, monkeypatch):
    """With its name in FORMATS, above the more general ones, as the page says."""
    from medgrpo.data import readers
    from medgrpo.data.prepare import PrepareOptions, prepare

    names: dict[str, type] = {}
    (block,) = fenced("docs/data.md", "python")
    exec(compile(block, "docs/data.md", "exec"), names)
    monkeypatch.setattr(readers, "FORMATS", (names["MySetReader"](), *readers.FORMATS))
    source = tmp_path / "source"
    source.mkdir()
    for number in range(12):
        Image.new("L", (8, 8), number * 20).save(source / f"{number}.png")
    rows = [{"scan": f"{number}.png", "finding": "nodule"} for number in range(12)]
    (source / "rows.json").write_text(json.dumps(rows))
    dataset, _ = prepare(source, tmp_path / "prepared", PrepareOptions(), workers=1)
    found = [row for split in dataset.splits for row in dataset.rows(split)]
    assert len(found) == 12
    assert {(row["question"], row["answer"]) for row in found} == {("What is shown?", "nodule")}


def test_the_stages_of_the_docs_are_a_configuration(tmp_path):
    from medgrpo.config.presets import resolve_run

    (block,) = fenced("docs/training.md", "toml")
    (tmp_path / "stages.toml").write_text(block)
    resolved, _ = resolve_run("balanced", model="qwen", config_file=tmp_path / "stages.toml")
    assert list(resolved.config.stages) == ["sft", "grpo-1"]
    assert resolved.config.training.beta == 0.01


def test_the_targets_of_the_docs_are_read(tmp_path):
    from medgrpo.evaluation.targets import load_targets

    (block,) = fenced("docs/evaluation.md", "toml")
    (tmp_path / "targets.toml").write_text(block)
    assert {target.metric for target in load_targets(str(tmp_path / "targets.toml"))} == {
        "closed",
        "open_token_f1",
    }
