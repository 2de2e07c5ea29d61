"""Train, validation and test, without a picture, a patient or a text in two of them."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field

from medgrpo.data.schema import SPLITS
from medgrpo.errors import UsageError

AUTO_SHARE, AUTO_ROWS, AUTO_LIMIT = 0.10, 300, 0.20
"""`auto`: validation and test each have a tenth of the rows, at least 300, at most a fifth."""
OVERSHOOT = 1.25
"""A group of rows is not put into a split that it would fill beyond this multiple of its target."""


@dataclass
class SplitPlan:
    """Which split each row goes to, and what was noticed."""

    names: list[str]
    """Split of each row."""
    overlap: dict[str, int] = field(default_factory=dict)
    """Official splits only: groups in both, as `train∩test`."""
    groups: int = 0


class Groups:
    """Rows that must stay together, found by union: whoever shares a key is in one group."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))
        self._first: dict[Hashable, int] = {}

    def add(self, index: int, key: Hashable) -> None:
        """Puts row `index` with all other rows that were added with this key."""
        other = self._first.setdefault(key, index)
        self.join(index, other)

    def join(self, one: int, other: int) -> None:
        """Makes two rows' groups one; the lower index leads."""
        low, high = sorted((self.leader(one), self.leader(other)))
        self._parent[high] = low

    def leader(self, index: int) -> int:
        """The lowest row of the group."""
        while self._parent[index] != index:
            self._parent[index] = self._parent[self._parent[index]]
            index = self._parent[index]
        return index

    def members(self) -> dict[int, list[int]]:
        """Leader -> its rows, both in order."""
        found: dict[int, list[int]] = defaultdict(list)
        for index in range(len(self._parent)):
            found[self.leader(index)].append(index)
        return dict(found)


def parse_split(text: str) -> tuple[float, float, float] | str:
    """`auto`, `official`, or the shares of train, validation and test, as `.9,.05,.05`.

    Raises:
        UsageError: it is none of these.
    """
    if text in ("auto", "official"):
        return text
    try:
        shares = [float(part) for part in text.split(",")]
    except ValueError:
        shares = []
    if len(shares) == 2:
        shares.append(0.0)
    if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6 or shares[0] == 0:
        raise UsageError(
            f"--split {text!r} is no split",
            expected="auto, official, or shares of train, validation and test that sum to 1",
            hint="--split .8,.1,.1",
        )
    return shares[0], shares[1], shares[2]


def assign(
    groups: Groups,
    keys: Sequence[str],
    shares: tuple[float, float, float] | str,
    official: Sequence[str | None],
    seed: int = 0,
) -> SplitPlan:
    """A split for every row, whole groups at a time.

    Args:
        groups: rows that must stay together.
        keys: for each row a text that depends on its content only; it decides the order in which groups
            are drawn, so that the split depends on neither file order nor worker count.
        shares: as `parse_split` gives them.
        official: for each row the source's own split, if it names one.
        seed: another seed gives another split.

    Raises:
        UsageError: `official` was asked for and the source names no splits.
    """
    members = groups.members()
    if shares == "official":
        return _official(members, keys, official, seed)
    rows = list(range(len(keys)))
    return SplitPlan(_drawn(members, rows, keys, shares, seed), groups=len(members))


def _official(
    members: dict[int, list[int]], keys: Sequence[str], official: Sequence[str | None], seed: int
) -> SplitPlan:
    if not any(name in ("validation", "test") for name in official):
        raise UsageError(
            "the source names no splits of its own",
            expected="files named train…, val… or test…, or a column `split`",
            hint="--split auto",
        )
    names = [name or "train" for name in official]
    overlap: Counter[str] = Counter()
    for rows in members.values():
        inside = [split for split in SPLITS if any(names[row] == split for row in rows)]
        overlap.update(f"{one}∩{other}" for i, one in enumerate(inside) for other in inside[i + 1 :])
    if "validation" not in names:  # training needs one; it is taken from train, whole groups at a time
        training = {
            leader: kept
            for leader, rows in members.items()
            if (kept := [row for row in rows if names[row] == "train"])
        }
        rows = sorted(row for kept in training.values() for row in kept)
        drawn = _drawn(training, rows, keys, (0.9, 0.1, 0.0), seed)
        for row, name in zip(rows, drawn, strict=True):
            names[row] = name
    return SplitPlan(names, dict(overlap), len(members))


def _drawn(
    members: dict[int, list[int]],
    rows: Sequence[int],
    keys: Sequence[str],
    shares: tuple[float, float, float] | str,
    seed: int,
) -> list[str]:
    total = len(rows)
    if isinstance(shares, str):
        share = min(max(AUTO_SHARE, AUTO_ROWS / max(total, 1)), AUTO_LIMIT)
        shares = (1 - 2 * share, share, share)
    order = sorted(
        members.values(),
        key=lambda group: hashlib.blake2b(f"{seed} {min(keys[row] for row in group)}".encode()).digest(),
    )
    chosen: dict[int, str] = {}
    left = order
    for split, share in (("test", shares[2]), ("validation", shares[1])):
        target = round(share * total)
        limit = int(min(target * OVERSHOOT, max(target, AUTO_LIMIT * total)))
        filled, kept = 0, []
        for group in left:
            fits = filled < target and filled + len(group) <= max(limit, 1) and len(left) > 1
            if fits:
                chosen.update(dict.fromkeys(group, split))
                filled += len(group)
            else:
                kept.append(group)
        left = kept
    return [chosen.get(row, "train") for row in rows]


def text_key(text: str) -> str:
    """A text folded to what is compared: letters and digits in lower case."""
    return " ".join("".join(c if c.isalnum() else " " for c in text.casefold()).split())
