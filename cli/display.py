"""The live view of a run: which stage and step, what each reward earns, how long it took and still takes."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from medgrpo.cli.output import spoken
from medgrpo.config.plan import StagePlan
from medgrpo.language import language

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.live import Live

    from medgrpo.cli.output import Output

WINDOW = 10
"""Steps over which shown values are averaged."""
LINE_EVERY_S = 15.0
"""Without a terminal, a line is printed at most this often."""
SAID_AFTER_S = 1.0
"""Without a terminal, what is being done is said where it takes longer than this."""


class LiveReporter:
    """Shows the run on stderr: on a terminal a view that stays in place, else a line now and then."""

    def __init__(self, said: Output) -> None:
        self._said = said
        self._console = said.stderr
        self._live: Live | None = None
        self._plan: StagePlan | None = None
        self._stages: list[str] = []
        self._doing = ""
        self._doing_since = 0.0
        self._timer: threading.Timer | None = None
        self._recent: deque[dict[str, Any]] = deque(maxlen=WINDOW)
        self._step_seconds: deque[float] = deque(maxlen=WINDOW)
        self._began = self._stepped_at = time.monotonic()
        self._printed_at = 0.0
        self._last_printed = -1
        self._announced: set[str] = set()
        self._is_stopping = False

    @property
    def _is_live(self) -> bool:
        return self._console.is_terminal and not self._said.quiet

    def announce(self, plans: Sequence[StagePlan]) -> None:
        """Show what each stage will do, before anything is loaded."""
        self._stages = [plan.name for plan in plans]
        for plan in plans:
            self._announced.add(plan.describe())
            self.note(plan.describe())

    def note(self, message: str) -> None:
        """A line above the view."""
        if self._live is not None:
            self._live.console.print(message, markup=False, highlight=False)
        else:
            self._said.note(message)

    def warn(self, message: str) -> None:
        """A warning above the view; shown even when quiet."""
        if self._live is not None:
            self._live.console.print(f"warning: {message}", markup=False, highlight=False, style="yellow")
        else:
            self._said.warn(message)

    # ---------------------------------------------------------------------- what is done between steps

    def doing(self, what: str) -> None:
        """What is being done now: a spinner on a terminal, else a line if it takes longer than a second."""
        self._doing, self._doing_since = what, time.monotonic()
        if self._is_live:
            self._show()
            return
        self._forget_timer()
        self._timer = threading.Timer(SAID_AFTER_S, self._said.note, [f"{what} …"])
        self._timer.daemon = True
        self._timer.start()

    def _forget_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def stopping(self) -> None:
        """Say at once that the run was asked to stop, and when it will."""
        self._is_stopping = True
        seconds = self._mean_seconds()
        if self._plan is not None and self._recent:
            left = "" if seconds is None else f" (about {max(1, round(seconds))} s)"
            what = f"finishing this step{left}"
        else:
            what = f"stopping after this: {self._doing}" if self._doing else "stopping"
        self.note(f"{what}; CTRL-C again to stop now")

    def close(self) -> None:
        """Take the view away."""
        self._forget_timer()
        if self._live is not None:
            self._live.stop()
            self._live = None

    # ------------------------------------------------------------------------------------------- steps

    def stage_begins(self, plan: StagePlan, first_step: int) -> None:
        """Show the plan and start counting."""
        self._forget_timer()
        self._doing = ""
        self._plan = plan
        self._recent.clear()
        self._step_seconds.clear()
        self._last_printed = -1
        self._began = self._stepped_at = self._printed_at = time.monotonic()
        line = plan.describe() + (f", continuing after step {first_step}" if first_step else "")
        if line not in self._announced:
            self.note(line)
        self.doing(f"{self._stage()}: first step")

    def step(self, entry: dict[str, Any]) -> None:
        """Take in one step."""
        self._forget_timer()
        now = time.monotonic()
        self._step_seconds.append(now - self._stepped_at)
        self._stepped_at = now
        self._doing = ""
        self._recent.append(entry)
        if self._is_live:
            self._show()
        elif now - self._printed_at >= LINE_EVERY_S:
            self._print_line()

    def stage_ends(self) -> None:
        """Leave the last values as a line."""
        self._forget_timer()
        if self._recent and self._recent[-1]["step"] != self._last_printed:
            self._print_line()
        self._plan = None
        self._doing = ""

    def _mean_seconds(self) -> float | None:
        return sum(self._step_seconds) / len(self._step_seconds) if self._step_seconds else None

    def _print_line(self) -> None:
        self._printed_at = time.monotonic()
        self._last_printed = self._recent[-1]["step"]
        words = "  ".join(f"{name} {value}" for name, value in [*self._where(), *self._values()])
        self.note(words)

    def _stage(self) -> str:
        """`main, stage 2 of 2`; only the name where there is one stage."""
        assert self._plan is not None
        name = self._plan.name
        if len(self._stages) < 2 or name not in self._stages:
            return name
        return f"{name}, stage {self._stages.index(name) + 1} of {len(self._stages)}"

    # -------------------------------------------------------------------------------------- the picture

    def _show(self) -> None:
        if self._live is None:
            from rich.live import Live

            self._live = Live(
                get_renderable=self._picture, console=self._console, refresh_per_second=4, transient=True
            )
            self._live.start()

    def _picture(self) -> RenderableType:
        """A spinner with what is being done, or the bar of the stage with the last values."""
        from rich.console import Group
        from rich.spinner import Spinner
        from rich.text import Text

        parts: list[RenderableType] = []
        if self._plan is not None and self._recent:
            parts += [self._bar(), self._table()]
        if self._doing:
            since = time.monotonic() - self._doing_since
            spinner = self.__dict__.setdefault("_spinner", Spinner("dots"))
            spinner.update(text=Text(f"{self._doing} {_duration(since)}"))
            parts.append(spinner)
        if self._is_stopping:
            parts.append(Text(spoken("stopping; CTRL-C again to stop now"), style="yellow"))
        return Group(*parts)

    def _bar(self) -> RenderableType:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        assert self._plan is not None
        step, steps = self._recent[-1]["step"], self._plan.steps
        words = BAR_IN_CHINESE if language() == "zh" else {word: word for word in BAR_IN_CHINESE}
        row = Table.grid(padding=(0, 1))
        left = self._left()
        row.add_row(
            Text(f"{self._stage()} ({self._plan.method})", style="bold"),
            ProgressBar(total=steps, completed=step, width=24),
            Text(f"{words['step']} {step}/{steps}"),
            Text(f"{words['elapsed']} {_duration(time.monotonic() - self._began)}"),
            Text(f"{words['left']} {_duration(left)}" if left is not None else ""),
        )
        return row

    def _table(self) -> RenderableType:
        from rich.table import Table

        table = Table(show_header=False, box=None, padding=(0, 2, 0, 0))
        table.add_column(style="bold")
        table.add_column(justify="right")
        for name, value in self._values():
            table.add_row(name, value)
        return table

    def _where(self) -> list[tuple[str, str]]:
        """Which stage, which step."""
        assert self._plan is not None
        step = self._recent[-1]["step"]
        left = self._left()
        where = [(f"{self._stage()}: step", f"{step}/{self._plan.steps}")]
        return [*where, ("left", _duration(left))] if left is not None else where

    def _left(self) -> float | None:
        """Seconds until the stage's end, by the pace of the last steps."""
        assert self._plan is not None
        pace = self._mean("s_per_prompt")
        if pace is None:
            return None
        return float((self._plan.steps - self._recent[-1]["step"]) * self._plan.prompts_per_step * pace)

    def _values(self) -> list[tuple[str, str]]:
        """What is shown: name and value, the latter a mean over the last steps."""
        values: list[tuple[str, str]] = []
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
            values.append(("s/prompt", f"{pace:.3f}"))
        return values

    def _mean(self, key: str) -> float | None:
        found = [entry[key] for entry in self._recent if entry.get(key) is not None]
        return sum(found) / len(found) if found else None


BAR_IN_CHINESE = {"step": "步", "elapsed": "已用", "left": "剩余"}


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
