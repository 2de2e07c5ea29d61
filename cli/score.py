"""`medgrpo score FILE`: what ready completions earn, by which rule, and what a cheat would earn."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medgrpo.cli.output import JsonOption, Output, QuietOption, spoken
from medgrpo.cli.typed import refuse_useless

if TYPE_CHECKING:
    from medgrpo.rewards.audit import AuditReport
    from medgrpo.rewards.completions_file import CompletionRows
    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.rewards.score_file import ScoredFile

app = typer.Typer(rich_markup_mode=None, add_completion=False)

SHOWN_ROWS = 20

OF_READING = {"columns", "references", "join"}
OF_COMPLETIONS = OF_READING | {"output", "explain", "group_size"}
"""Options that say what becomes of completions; an audit without any has no use for them."""


@app.command()
def score(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="[FILE]",
            help="JSON lines, JSON list, CSV, parquet, or Markdown rollouts; with --audit also a prepared dataset or questions with answers.",
        ),
    ] = None,
    rewards: Annotated[
        str | None,
        typer.Option(
            help="Names by comma: built in, FILE.py:FUNCTION, or entry points. Default: of --weights."
        ),
    ] = None,
    weights: Annotated[
        str | None,
        typer.Option(
            help="balanced, conservative, balanced_caption, text, equal, or NAME=WEIGHT,… Default: balanced; equal with "
            "--rewards; answer_match alone with --plain; of its task for a dataset that is audited."
        ),
    ] = None,
    references: Annotated[
        Path | None, typer.Option(help="File (or prepared dataset) that holds the answers, with --join.")
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(metavar="row|KEY[=KEY]", help="How FILE belongs to --references. Default: row."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(
            help="completion=NAME,answer=NAME,… where the names are unusual; NAME empty: leave out."
        ),
    ] = None,
    plain: Annotated[
        bool, typer.Option("--plain", help="A completion without tags is the answer itself.")
    ] = False,
    tags: Annotated[
        str, typer.Option(help="Tags of a completion, in order.")
    ] = "think,answer,plane,modality",
    box_format: Annotated[
        str | None,
        typer.Option(
            metavar="pixel|thousand|unit",
            help="How boxes are written: pixels of the picture, 0-1000 or 0-1 of its sides. Default: the column of that name, else pixel.",
        ),
    ] = None,
    gate: Annotated[
        str | None, typer.Option(help="Reward that multiplies the total, usually format.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option(help="Write every row with its scores: .jsonl, .json, .csv or .parquet.")
    ] = None,
    explain: Annotated[
        bool,
        typer.Option("--explain", help="Show the rule that decided on each row; without FILE: the synonyms."),
    ] = False,
    audit: Annotated[
        bool, typer.Option("--audit", help="Score cheats on the same rows beside the honest completions.")
    ] = False,
    audit_limit: Annotated[
        float | None,
        typer.Option(min=0, help="With --audit: exit 1 if best cheat / honest mean is above this ratio."),
    ] = None,
    group_size: Annotated[
        int | None,
        typer.Option(min=2, help="Completions per prompt, side by side: count groups without spread."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Score only the first rows.")] = None,
    on_reward_error: Annotated[
        str, typer.Option(metavar="stop|skip", help="What to do when a reward raises.")
    ] = "stop",
    reward_timeout: Annotated[
        float,
        typer.Option(min=0, metavar="SECONDS", help="Longest call of a reward of your own; 0: no limit."),
    ] = 600.0,
    as_json: JsonOption = False,
    quiet: QuietOption = False,
) -> None:
    """Score a file of completions with the rewards, without a model.

    Example: medgrpo score runs/latest/demo/data --audit
    """
    from medgrpo.errors import UsageError

    out = Output(as_json=as_json, quiet=quiet)
    if file is None:
        if explain:
            _show_synonyms(out)
            return
        raise UsageError("no FILE is given", expected="medgrpo score FILE", hint="medgrpo score --help")
    from medgrpo.rewards.columns import parse_columns
    from medgrpo.rewards.completions_file import read_completions
    from medgrpo.rewards.composite import CompositeReward
    from medgrpo.rewards.registry import code_among
    from medgrpo.rewards.score_file import choose_weights, score_rows, write_rows
    from medgrpo.rewards.trust import grant

    wants_audit = audit or audit_limit is not None
    if file.is_dir() and wants_audit and rewards is None:
        weights = weights or _weights_of(file)
    chosen = choose_weights(_names(rewards), weights, plain=plain)
    grant(code_among(chosen, gate))
    composite = CompositeReward(
        chosen,
        gate=gate,
        on_error=on_reward_error,  # type: ignore[arg-type]  # checked there
        timeout_s=reward_timeout,
        settings={"tags": tuple(_names(tags) or ()), "plain": plain} | _box_format(box_format),
    )
    if file.is_dir() and wants_audit:
        refuse_useless(
            context, OF_COMPLETIONS, "belongs to completions, and a dataset that is audited has none"
        )
        _audit_references(out, file, None, composite, limit, audit_limit)
        return
    rows = read_completions(
        file, parse_columns(columns), references, join, limit=limit, require_completions=not wants_audit
    )
    if not rows.completions:
        refuse_useless(context, OF_COMPLETIONS - OF_READING, f"belongs to completions, and {file} has none")
        _audit_references(out, file, rows, composite, limit, audit_limit)
        return
    for note in rows.notes:
        out.warn(note)
    _try_plugins(rows, composite)
    scored = score_rows(rows, composite)
    _warn(out, scored, plain)
    if output is not None:
        write_rows(scored.scored_rows(), output)
        out.note(f"wrote {len(rows)} rows to {output}")
    document: dict[str, Any] = {
        "file": str(file),
        "format": rows.format,
        "rows": len(rows),
        "unmatched": rows.unmatched,
        "rewards": scored.summary(),
        "given_weights": composite.given_weights,
        "rules": scored.rules,
        "errors": scored.table.errors,
    }
    _show_summary(out, scored, composite)
    if group_size is not None:
        document["groups"] = _show_groups(out, scored, group_size)
    if explain:
        document["explain"] = _show_explained(out, scored)
    report = None
    if wants_audit:
        from medgrpo.rewards.audit import audit as audit_rows

        report = audit_rows(rows.columns, composite, completions=rows.completions)
        document["audit"] = report.to_dict()
        _show_audit(out, report)
    out.result(document)
    if _untagged(scored, plain):
        out.next("the same with --plain: a completion without tags is the answer itself")
    if report is not None:
        _check_limit(out, report, audit_limit)


def _box_format(name: str | None) -> dict[str, Any]:
    """As a setting of the rewards; one that is given wins over the file's column."""
    from medgrpo.rewards.boxes import check_box_format

    return {} if name is None else {"box_format": check_box_format(name)}


def _weights_of(dataset: Path) -> str:
    from medgrpo.data.audit import weights_for
    from medgrpo.data.mixture import open_data

    return weights_for(open_data(dataset))


def _names(text: str | None) -> list[str] | None:
    return None if text is None else [name.strip() for name in text.split(",") if name.strip()]


def _try_plugins(rows: CompletionRows, composite: CompositeReward) -> None:
    """Calls the user's own rewards on a few rows first: what cannot work says so at once."""
    from medgrpo.rewards.registry import BUILT_IN
    from medgrpo.rewards.trial import TRIAL_ROWS, try_rewards

    if not set(composite.sources) <= set(BUILT_IN):
        few = {name: values[:TRIAL_ROWS] for name, values in rows.columns.items()}
        try_rewards(composite, rows.completions[:TRIAL_ROWS], few)


def _warn(out: Output, scored: ScoredFile, plain: bool) -> None:
    table = scored.table
    for name, count in table.errors.items():
        out.warn(f"{name} failed on {count} rows, which it does not judge: {table.first_errors[name]}")
    for name, share in table.coverage.items():
        if share == 0 and len(table):
            out.warn(f"{name} judged no row: what it compares with is not in the file")
    if _untagged(scored, plain):
        out.warn("no completion has an <answer> tag; --plain scores such completions as the answer itself")


def _untagged(scored: ScoredFile, plain: bool) -> bool:
    """Whether every completion lacks the tag that its answer is looked for in."""
    completions = scored.rows.completions
    return (
        not plain
        and len(completions) > 0
        and not any("<answer>" in str(completion).lower() for completion in completions)
    )


def _show_summary(out: Output, scored: ScoredFile, composite: CompositeReward) -> None:
    summary = scored.summary()
    given = {**composite.given_weights, "total": None}
    out.table(
        f"{scored.rows.path.name}: {len(scored.rows)} rows ({scored.rows.format})",
        ["reward", "mean", "std", "coverage", "weight", "of 1"],
        [
            (name, part["mean"], part["std"], part["coverage"], given.get(name, 0.0), part["weight"])
            for name, part in summary.items()
        ],
    )


def _show_groups(out: Output, scored: ScoredFile, group_size: int) -> dict[str, Any]:
    from medgrpo.errors import UsageError
    from medgrpo.rewards.composite import group_statistics

    if len(scored.rows) % group_size:
        raise UsageError(
            f"{len(scored.rows)} rows do not divide into groups of {group_size}",
            expected="the completions of one prompt side by side, as many for each prompt",
        )
    groups = group_statistics(scored.table, group_size)
    out.table(
        f"groups of {group_size}",
        ["reward", "groups", "without spread", "share", "mean std"],
        [(name, s.groups, s.dead, s.dead_share, s.mean_std) for name, s in groups.items()],
    )
    return {
        name: {"groups": s.groups, "dead": s.dead, "dead_share": s.dead_share, "mean_std": s.mean_std}
        for name, s in groups.items()
    }


def _show_explained(out: Output, scored: ScoredFile) -> list[dict[str, Any]]:
    from medgrpo.rewards.text import claims_text

    rows = []
    for index, explained in enumerate(scored.explained):
        question = scored.rows.columns.get("question")
        rows.append(
            {
                "row": index,
                "question": None if question is None else question[index],
                "field": explained["field"],
                "reference": explained["reference"],
                "answer_match": explained["answer_match"],
                "answer_match_graded": explained["answer_match_graded"],
                "rule": explained["rule"],
                "claims": explained["claims"],
            }
        )
    out.table("rules", ["rule", "rows"], scored.rules.items())
    out.table(
        f"first {min(SHOWN_ROWS, len(rows))} rows (--output FILE writes all)",
        ["row", "question", "reference", "what the answer claims", "match", "graded", "rule"],
        [
            (
                row["row"],
                _short(row["question"]),
                _short(row["reference"], 30),
                _short(claims_text(row) or row["field"], 100),
                row["answer_match"],
                row["answer_match_graded"],
                row["rule"],
            )
            for row in rows[:SHOWN_ROWS]
        ],
    )
    return rows


def _short(value: object, width: int = 60) -> str:
    text = "–" if value is None else " ".join(str(value).split())
    return text if len(text) <= width else text[: width - 1] + "…"


def _show_synonyms(out: Output) -> None:
    from medgrpo.rewards.text import synonyms

    table = synonyms()
    out.table(
        f"synonyms, version {table['version']}",
        ["group", "terms", "source"],
        [(group["id"], ", ".join(group["terms"]), group["source"]) for group in table["groups"]],
    )
    out.result({"synonyms": table})


def _audit_references(
    out: Output,
    path: Path,
    rows: CompletionRows | None,
    composite: CompositeReward,
    limit: int | None,
    audit_limit: float | None,
) -> None:
    """The audit of a prepared dataset (`rows` None), or of a file of questions and answers."""
    if rows is None:
        from medgrpo.data.audit import audit_dataset
        from medgrpo.data.mixture import open_data

        report = audit_dataset(open_data(path), composite, limit=limit)
    else:
        from medgrpo.rewards.audit import audit

        report = audit(rows.columns, composite)
    _show_audit(out, report)
    out.result({"file": str(path), "given_weights": composite.given_weights, "audit": report.to_dict()})
    _check_limit(out, report, audit_limit)


def _show_audit(out: Output, report: AuditReport) -> None:
    best = report.best
    out.table(
        f"audit: best cheat {best.name} earns {best.mean:.3f}, honest {report.honest_source} {best.honest:.3f} on "
        f"the same rows; ratio {report.ratio:.2f}",
        ["cheat", "mean", "of honest", "rows", "what it does"],
        [
            (
                cheat.name,
                cheat.mean,
                cheat.ratio,
                cheat.rows,
                spoken(cheat.description) + ("" if cheat.measure == "total" else f" (by {cheat.measure})"),
            )
            for cheat in report.cheats
            if cheat.rows
        ],
    )


def _check_limit(out: Output, report: AuditReport, audit_limit: float | None) -> None:
    if audit_limit is not None and report.exceeds(audit_limit):
        out.warn(
            f"the best cheat, {report.best.name}, earns {report.ratio:.2f} of the honest mean, "
            f"above the limit {audit_limit:g}"
        )
        raise typer.Exit(1)
