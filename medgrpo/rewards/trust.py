"""Whose Python may run as a reward: only what a person named in this call.

Models, adapters, runs, datasets, predictions and logs travel; what they name is data. A command therefore
begins with no file and no installed package allowed (`nothing_trusted`), and `load_reward` refuses every
name that the command line, or a configuration given on it, has not granted. Without a command, in a program
of the user's own, whoever calls `load_reward` has written the name.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from medgrpo.errors import UsageError

_granted: set[str] | None = None
"""Names that may be loaded; None: outside of a command."""


@contextmanager
def nothing_trusted() -> Iterator[None]:
    """Within it only rewards that are granted are loaded, and those that come with medgrpo."""
    global _granted  # noqa: PLW0603  (of the process: worker threads have no context of their own)
    before, _granted = _granted, set()
    try:
        yield
    finally:
        _granted = before


def grant(names: Iterable[str]) -> None:
    """Let rewards be loaded: those that a person typed, or a configuration that a person gave."""
    if _granted is not None:
        _granted.update(placed(name) for name in names)


def check_granted(name: str) -> None:
    """Refuse a reward from a file or a package that nobody granted.

    Raises:
        UsageError: it was not typed; it stands in something that travels.
    """
    if _granted is not None and placed(name) not in _granted:
        raise UsageError(
            f"the reward {name!r} is Python that this call does not name, so it is not run",
            expected="rewards of medgrpo, or your own on the command line or in a configuration given there",
            hint="where a run names it: read that code, then --trust-rewards RUN",
        )


def placed(name: str) -> str:
    """The name with the absolute path of its file, so that two ways to write one file are one."""
    file, colon, function = name.rpartition(":")
    return f"{Path(file).expanduser().resolve()}:{function}" if colon else name


class ForeignReward(UsageError):
    """Something that travels names rewards that are Python of its own.

    Args:
        where: the file that names them.
        names: of the rewards.
        run: folder to trust.
    """

    def __init__(self, where: Path, names: Iterable[str], run: Path) -> None:
        self.names = list(names)
        super().__init__(
            f"{where} names rewards that are Python of its own: {', '.join(self.names)}",
            expected="rewards that come with medgrpo; what a run brings is not run unasked",
            hint=f"read that code, then: --trust-rewards {run}",
        )


def is_trusted(run: Path, trusted: Iterable[Path]) -> bool:
    """Whether a run folder is among those that `--trust-rewards` names."""
    return run.expanduser().resolve() in {folder.expanduser().resolve() for folder in trusted}
