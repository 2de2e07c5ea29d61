"""Which options were typed, so that those that mean nothing in a call are refused instead of ignored."""

from __future__ import annotations

from collections.abc import Collection

import typer

from medgrpo.errors import UsageError


def typed(context: typer.Context) -> dict[str, str]:
    """Parameter -> how it is typed (`--samples`), of those on the command line or in the environment."""
    found = {}
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name and source is not None and source.name in ("COMMANDLINE", "ENVIRONMENT"):
            named = parameter.param_type_name == "argument"
            found[parameter.name] = (parameter.metavar or parameter.name) if named else parameter.opts[0]
    return found


def refuse_useless(
    context: typer.Context, useless: Collection[str], why: str, hint: str | None = None
) -> None:
    """Raise UsageError for the first of these parameters that was typed.

    Args:
        useless: parameters, by their Python names.
        why: goes on after the option: "belongs to …", "asks a model, and …".
    """
    for name, flag in typed(context).items():
        if name in useless:
            raise UsageError(f"{flag} {why}", hint=hint or f"leave {flag} out")
