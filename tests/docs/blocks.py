"""The command blocks of README and docs, and what becomes of each in the tests."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import DATA, ROOT

GUIDES = ("vqa", "text-qa", "memory-and-time", "many-gpus", "offline", "folklore", "your-own")
SUBJECTS = ("vessels", "detection", "preferences")
"""Guides that are pages of their own in English."""
ENGLISH = {
    "README.zh-CN.md": "README.md",
    "docs/zh/index.md": "docs/index.md",
    "docs/zh/first-real-run.md": "docs/first-real-run.md",
    **{f"docs/zh/guides/{name}.md": f"docs/guides/{name}.md" for name in GUIDES},
    **{f"docs/zh/guides/{name}.md": f"docs/{name}.md" for name in SUBJECTS},
}
"""Chinese page -> the English page that it follows."""
REFERENCE = tuple(
    f"docs/{name}.md"
    for name in (
        "compare",
        "data",
        "demo",
        "estimate",
        "evaluation",
        "health",
        "many_gpus",
        "rewards",
        "training",
    )
)
NEW_PAGES = (*dict.fromkeys(ENGLISH.values()), "docs/install.md", *REFERENCE, *ENGLISH)
"""Pages whose blocks are run."""

NOT_RUN = (
    (r"^git clone |^cd ", "fetches the repository"),
    (r"^(uv )?pip |^uv |^\. \.?venv", "installs; tried by .ci/run and packaging/try_wheel.sh"),
    (r"^medgrpo train( --preset balanced)?$", "is the demo, which ran before"),
    (r"^for seed in|demo_gain.py|runs/demo-11", "trains the demo three times"),
    (r"vllm serve|^VIRTUAL_ENV|^MEDGRPO_VLLM_PYTHON", "needs vLLM"),
    (r"^pytest$", "is this"),
    (r"^ln -s med-v2qa", "names what was fetched"),
    (r"^hf download ", "fetches a model"),
    (
        r"^(medgrpo bundle |sh for-the-hospital/)",
        "fetches and installs wheels; tried by tests/test_supply.py",
    ),
    (r"^bash packaging/", "builds a wheel; tried by the release workflow"),
    (r"^bash benchmarks/vqa_rad_3b.sh", "has a test of its own"),
    (r"--gpus|--nodes|--vllm|--deepspeed", "needs GPUs"),
    (r"Sa2VA|runs/sa2va|^medgrpo eval merged data/drive", "needs weights of a hub, and a GPU"),
    (r"^bash examples/flow.sh", "is run by tests/examples"),
    (r"--install-completion", "changes the shell of whoever runs the tests"),
    (r"--resume auto$", "goes on with what was interrupted, and nothing was"),
    *(
        []
        if DATA.is_dir()
        else [(r"answer-file|^medgrpo score slake/", "needs the sample data (MEDGRPO_DATA)")]
    ),
)
"""Lines that are not run here, and why; each `medgrpo` line among them is still held against the command's options."""


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    text: str

    def __str__(self):
        return f"{self.page}:{self.line}"

    @property
    def runnable(self):
        """The block without the lines that are not run."""
        kept = []
        for line in joined(self.text):
            first = line.split(" && ")
            parts = [part for part in first if not any(re.search(pattern, part) for pattern, _ in NOT_RUN)]
            if parts:
                kept.append(" && ".join(parts) if len(parts) < len(first) else line)
        return "\n".join(kept)


def joined(text):
    """Lines, those that end with a backslash joined."""
    return re.sub(r"\\\n\s*", "", text).splitlines()


def blocks(page):
    """The bash blocks of a page, those inside of tabs too."""
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for match in re.finditer(r"^( *)```bash\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL):
        inside = "\n".join(line.removeprefix(match[1]) for line in match[2].splitlines())
        found.append(Block(page, text[: match.start()].count("\n") + 1, inside))
    return found


def pages():
    """All pages that people read."""
    return [
        str(path.relative_to(ROOT))
        for path in (*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"))
        if Path(path).name != "CHANGELOG.md"
    ]
