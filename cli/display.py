"""The live view of a run: where it stands, what each reward earns, how long it still takes."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medgrpo.config.plan import StagePlan

if TYPE_CHECKING:
    from rich.live import Live
    from rich.table import Table

    from medgrpo.cli.output import Output

WINDOW = 10
"""Steps over which shown values are averaged."""
LINE_EVERY_S = 15.0
"""Without a terminal, a line is printed at most this often."""


class LiveReporter:
    """Shows the run on stderr: a table that stays in place on a terminal, else a line now and then."""

    def __init__(self, said: Output) -> None:
        self._said = said
        self._live: Live | None = None
        self._plan: StagePlan | None = None
        self._recent: deque[dict[str, Any]] = deque(maxlen=WINDOW)
        self._printed_at = 0.0
        self._last_printed = -1
        self._announced: set[str] = set()

    def announce(self, plans: Sequence[StagePlan]) -> None:
        """Show what each stage will do, before anything is loaded."""
        for plan in plans:
            self._announced.add(plan.describe())
            self._said.note(plan.describe())

    def note(self, message: str) -> None:
        """A line above the table."""
        if self._live is not None and not self._said.quiet:
            self._live.console.print(message, markup=False, highlight=False)
        else:
            self._said.note(message)

    def warn(self, message: str) -> None:
        """A warning above the table; shown even when quiet."""
        if self._live is not None and not self._said.quiet:
            self._live.console.print(f"warning: {message}", markup=False, highlight=False, style="yellow")
        else:
            self._said.warn(message)

    def stage_begins(self, plan: StagePlan, first_step: int) -> None:
        """Show the plan and start the table."""
        self._plan = plan
        self._recent.clear()
        self._last_printed = -1
        self._printed_at = time.monotonic()
        line = plan.describe() + (f", continuing after step {first_step}" if first_step else "")
        if line not in self._announced:
            self._said.note(line)
        console = self._said.stderr
        if console.is_terminal and not self._said.quiet:
            from rich.live import Live

            self._live = Live(console=console, refresh_per_second=4, transient=True)
            self._live.start()

    def step(self, entry: dict[str, Any]) -> None:
        """Take in one step."""
        self._recent.append(entry)
        if self._live is not None:
            self._live.update(self._table())
            return
        now = time.monotonic()
        if now - self._printed_at >= LINE_EVERY_S:
            self._print_line()

    def stage_ends(self) -> None:
        """Take the table away and leave its last values as a line."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        if self._recent and self._recent[-1]["step"] != self._last_printed:
            self._print_line()

    def _print_line(self) -> None:
        self._printed_at = time.monotonic()
        self._last_printed = self._recent[-1]["step"]
        self._said.note("  ".join(f"{name} {value}" for name, value in self._values()))

    def _table(self) -> Table:
        from rich.table import Table

        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column(style="bold")
        table.add_column(justify="right")
        for name, value in self._values():
            table.add_row(name, value)
        return table

    def _values(self) -> list[tuple[str, str]]:
        """What is shown: name and value, the latter a mean over the last steps."""
        assert self._plan is not None
        step = self._recent[-1]["step"]
        values = [("step", f"{step}/{self._plan.steps}")]
        shown = [("reward", "reward"), ("loss", "loss")]
        components = [key for key in self._recent[-1] if key.startswith("rewards/") and key.endswith("/mean")]
        shown += [(key, key.split("/")[1]) for key in components]
        shown += [
            ("frac_reward_zero_std", "dead groups"),
            ("completions/mean_length", "tokens"),
            ("kl", "kl"),
            ("mean_token_accuracy", "token accuracy"),
        ]
        for key, name in shown:
            mean = self._mean(key)
            if mean is not None:
                values.append((name, f"{mean:.1f}" if name == "tokens" else f"{mean:.3f}"))
        pace = self._mean("s_per_prompt")
        if pace is not None:
            left = (self._plan.steps - step) * self._plan.prompts_per_step * pace
            values += [("s/prompt", f"{pace:.3f}"), ("left", _duration(left))]
        return values

    def _mean(self, key: str) -> float | None:
        found = [entry[key] for entry in self._recent if entry.get(key) is not None]
        return sum(found) / len(found) if found else None


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
