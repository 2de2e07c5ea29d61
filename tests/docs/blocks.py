"""The command blocks of README and docs, and what becomes of each in the tests."""

import re
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import ROOT

NEW_PAGES = (
    *(
        "README.md",
        "README.zh-CN.md",
        "docs/index.md",
        "docs/install.md",
        "docs/first-real-run.md",
        "docs/zh/index.md",
    ),
    *(
        f"docs/guides/{name}.md"
        for name in ("vqa", "text-qa", "memory-and-time", "many-gpus", "offline", "folklore", "your-own")
    ),
    *(
        f"docs/zh/{name}.md"
        for name in (
            "first-real-run",
            "guides/vqa",
            "guides/text-qa",
            "guides/memory-and-time",
            "guides/offline",
        )
    ),
)
"""Pages whose blocks are run."""

NOT_RUN = (
    (r"^git clone |^cd ", "fetches the repository"),
    (r"^(uv )?pip |^uv |^\. \.venv", "installs; tried by .ci/run and packaging/try_wheel.sh"),
    (r"^medgrpo train --preset balanced$", "is the demo, which ran before"),
    (r"^pytest$", "is this"),
    (r"^ln -s med-v2qa", "names what was fetched"),
    (r"^hf download ", "fetches a model"),
    (r"^bash packaging/", "builds a wheel; tried by the release workflow"),
    (r"^bash benchmarks/vqa_rad_3b.sh", "has a test of its own"),
    (r"--gpus|--nodes|--vllm|--deepspeed", "needs GPUs"),
    (r"--install-completion", "changes the shell of whoever runs the tests"),
    (r"--resume auto$", "goes on with what was interrupted, and nothing was"),
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
