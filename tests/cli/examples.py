"""Lines as people paste them, run in this process: what `medgrpo …` would do, without starting Python each time."""

import contextlib
import glob
import shlex

from medgrpo.cli import main as command_line

QUICK = {
    "medgrpo train --preset balanced": "--set stages.sft.max_steps=40 --set max_steps=2 --set validation.rows=16",
}
"""Lines that train for minutes -> what makes them short; all else is as it stands."""


def example_of(command, capsys):
    """The example of a command's help, its line breaks taken out."""
    with contextlib.suppress(SystemExit):
        command_line.main([*command.split(), "--help"])
    text = capsys.readouterr().out
    after = text.split("Example:")[1]
    lines = []
    for line in after.splitlines():
        if not line.strip() and lines:
            break
        lines.append(line.strip())
    return " ".join(lines).strip()


def run_line(line):
    """The exit code of a line; parts joined by && run one after the other."""
    code = 0
    for part in line.split("&&"):
        words = shlex.split(f"{part} {QUICK.get(' '.join(part.split()), '')}")
        assert words[0] == "medgrpo", part
        expanded = [found for word in words[1:] for found in (sorted(glob.glob(word)) or [word])]
        try:
            command_line.main(expanded)
        except SystemExit as end:
            code = end.code or 0
        if code:
            return code
    return code
