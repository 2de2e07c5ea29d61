"""Checks of the log itself, and of how long steps take by it."""

from __future__ import annotations

from medgrpo.runs.findings import Severity
from medgrpo.runs.record import RunRecord
from medgrpo.runs.rules.evidence import Evidence, found, tail
from medgrpo.runs.rules.rule import ANY, Rule
from medgrpo.runs.said import say
from medgrpo.runs.step_times import step_times
from medgrpo.runs.trend import typical

LOST = {"lines_unreadable"}
"""Remarks of a reader that mean: something that the log held is not judged."""


def throughput(run: RunRecord) -> list[Evidence]:
    """Steps that take much longer at the end than before."""
    steps, values = step_times(run)
    if len(values) < 20:
        return []
    early = typical(values[len(values) // 10 : len(values) // 2])
    late = typical(tail(values))
    if early <= 0 or late < 1.5 * early:
        return []
    lengths = run.series("completions/mean_length")[1]
    longer = []
    if len(lengths) >= 20:
        before, after = typical(lengths[len(lengths) // 10 : len(lengths) // 2]), typical(tail(lengths))
        if before > 0 and after > 1.3 * before:
            longer = [say("longer_too", times=after / before)]
    return found(
        "warning", say("slower", late=late, early=early, times=late / early), *longer, step=steps[-1]
    )


def overlap(run: RunRecord) -> list[Evidence]:
    """Steps that the log holds twice after a resume."""
    if not run.overlaps:
        return []
    dropped = sum(overlap.dropped_entries for overlap in run.overlaps)
    spans = ", ".join(f"{overlap.first_step}–{overlap.last_step}" for overlap in run.overlaps[:3])
    lost = dropped / max(1, dropped + len(run.history))
    said = say("resumed", count=len(run.overlaps), spans=spans, dropped=dropped)
    restarted = any(overlap.first_step <= 1 for overlap in run.overlaps)
    severity: Severity = "warning" if lost > 0.5 or restarted else "info"
    return found(severity, said, step=run.overlaps[-1].last_step)


def ended(run: RunRecord) -> list[Evidence]:
    """A run that did not reach its end: failed, killed or stopped."""
    if run.status == "failed":
        why = ((run.error or "").strip().splitlines() or ["–"])[0]
        if not run.steps and not any(stage.history for stage in run.stages):
            return found("abnormal", say("run_failed_early", why=why), remedy="never_began")
        return found("abnormal", say("run_failed", step=run.steps, why=why), step=run.steps)
    if run.status == "killed":
        return found("warning", say("run_killed", step=run.steps), step=run.steps)
    if run.status == "stopped":
        return found("info", say("run_stopped", step=run.steps), step=run.steps)
    return []


def log_quality(run: RunRecord) -> list[Evidence]:
    """Lines that could not be read, an empty history, a log that ends before the run does."""
    seen: list[Evidence] = []
    for remark in sorted(run.remarks, key=lambda remark: remark.template not in LOST):
        seen += found("warning" if remark.template in LOST else "info", remark)
    if not run.history:
        seen += found("info", say("no_history"))
    elif run.total_steps and run.finished is False and run.steps < run.total_steps:
        ends = say("log_ends", step=run.steps, total=run.total_steps, share=run.steps / run.total_steps)
        seen += found("info", ends, step=run.steps)
    return seen


RULES = (
    Rule("ended", ANY, ended),
    Rule("throughput", ANY, throughput),
    Rule("overlap", ANY, overlap),
    Rule("log", ANY, log_quality),
)
