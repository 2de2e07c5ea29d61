"""Entry point `medgrpo`: finds the command, runs it, and words every error in one place.

Command modules are imported only when they are called, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext
from importlib import import_module
from typing import Any

import typer
import typer.core

from medgrpo.cli.output import results_alone
from medgrpo.errors import MedgrpoError, UsageError, choice_error, missing_extra
from medgrpo.foreign import fault_of_input
from medgrpo.masking import masked, masked_streams
from medgrpo.rewards.trust import nothing_trusted
from medgrpo.system import refusal_of_system

# name -> (module in medgrpo.cli, one line of help). The module offers `app`, a Typer with its command(s).
COMMANDS = {
    "preprocess": ("preprocess", "Turn raw images and questions into a checked dataset."),
    "estimate-time": ("estimate_time", "Estimate hours and memory before a run."),
    "train": ("train", "Fine-tune a model by SFT, GRPO or DPO."),
    "ask": ("ask", "Ask a model one question about a picture."),
    "eval": ("eval", "Measure a model, or ready predictions, on a dataset."),
    "compare": ("compare", "Compare runs from their logs, as a table or an offline page."),
    "merge-lora": ("merge_lora", "Merge a LoRA adapter into its base model."),
    "make-dpo": ("make_dpo", "Make preference pairs for DPO from completions."),
    "score": ("score", "Score a file of completions with the rewards, without a model."),
    "health": ("health", "Judge from its log whether a run is healthy."),
    "presets": ("presets", "List the presets, or show the values of one and why."),
    "doctor": ("doctor", "Check what is installed and what this machine can run."),
    "bundle": ("bundle", "Put all that an installation without a network needs into a folder."),
}

INTERRUPTED = 130
"""Exit code after CTRL-C; Typer gives it back where it catches the interrupt itself."""

PIPE_CLOSED = 141
"""As shells give it for a program that SIGPIPE ends."""


class LazyGroup(typer.core.TyperGroup):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the workflow, not of the alphabet."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, its module imported now; None if there is no such name."""
        if cmd_name not in COMMANDS:
            return None
        module = import_module(f"medgrpo.cli.{COMMANDS[cmd_name][0]}")
        command = typer.main.get_command(module.app)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Like the parent's, with a did-you-mean for an unknown name."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            raise choice_error("command", args[0], COMMANDS)
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The overview, from the table above, so that no command module is imported for it."""
        formatter.write_text("medgrpo: fine-tune medical vision-language models by reward.")
        formatter.write_paragraph()
        formatter.write_text("Usage: medgrpo COMMAND [OPTIONS]     (medgrpo COMMAND --help says more)")
        formatter.write_paragraph()
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])
        with formatter.section("Options"):
            formatter.write_dl(
                [
                    ("--version", "Print the version."),
                    ("--install-completion", "Install completion for this shell."),
                    ("--help", "Show this page."),
                ]
            )
        formatter.write_paragraph()
        formatter.write_text("Start here, with nothing to download:  medgrpo train --preset balanced")


app = typer.Typer(cls=LazyGroup, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False)


def _print_version(wanted: bool) -> None:
    if wanted:
        from medgrpo import __version__

        print(f"medgrpo {__version__}")
        raise typer.Exit


@app.callback()
def _root(version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True)) -> None:
    """Fine-tune medical vision-language models by reward."""


def report_error(error: MedgrpoError, *, as_json: bool) -> None:
    """Words the error on stderr and, if JSON was asked for, as a document on stdout."""
    words = {"problem": error.problem, "expected": error.expected, "hint": error.hint}
    words = {name: text and masked(text, headers=True) for name, text in words.items()}
    print(f"error: {words['problem']}", file=sys.stderr)
    if words["expected"]:
        print(f"expected: {words['expected']}", file=sys.stderr)
    if words["hint"]:
        print(f"hint: {words['hint']}", file=sys.stderr)
    if as_json:
        print(json.dumps({"error": words}, ensure_ascii=False))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits 0 when done, 1 on a failure, 2 on a wrong call."""
    arguments = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    # Before torch is loaded: threads that spin at every barrier make training on the CPU two to five times
    # slower as soon as another program runs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        with masked_streams(), nothing_trusted(), results_alone() if "--json" in arguments else nullcontext():
            code = app(arguments, prog_name="medgrpo", standalone_mode=False)
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:  # whoever read the results has seen enough: `medgrpo compare … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(PIPE_CLOSED)
    except Exception as error:  # the last place where an error can be worded
        if os.environ.get("MEDGRPO_DEBUG") == "1":
            sys.excepthook = _show_trace
            raise
        worded = _as_medgrpo_error(error)
        report_error(worded, as_json="--json" in arguments)
        sys.exit(worded.exit_code)
    if code == INTERRUPTED:
        print("stopped", file=sys.stderr)
        if "--json" in arguments:
            print(json.dumps({"error": {"problem": "stopped", "expected": None, "hint": None}}))
    sys.exit(code if isinstance(code, int) else 0)


def _show_trace(*error: Any) -> None:
    from traceback import format_exception

    print(masked("".join(format_exception(*error)), headers=True), file=sys.stderr, end="")


def _as_medgrpo_error(error: Exception) -> MedgrpoError:
    if isinstance(error, MedgrpoError):
        return error
    if hasattr(error, "format_message"):  # Typer's own errors: an unknown option, a missing argument
        context = getattr(error, "ctx", None)
        command = context.command_path if context else "medgrpo"
        return UsageError(error.format_message().rstrip("."), hint=f"{command} --help")
    if isinstance(error, ModuleNotFoundError) and error.name:
        from medgrpo.cli.doctor import EXTRAS

        package = error.name.split(".")[0]
        for extra, (purpose, packages) in EXTRAS.items():
            if package in packages:
                return missing_extra(package, extra, f"to {purpose}, medgrpo")
    if (worded := refusal_of_system(error) or fault_of_input(error)) is not None:
        return worded
    return MedgrpoError(
        f"{type(error).__name__}: {error}",
        hint="this looks like a bug in medgrpo; MEDGRPO_DEBUG=1 shows the trace",
    )


if __name__ == "__main__":
    main()
