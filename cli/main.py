"""Entry point `medgrpo`: finds the command, runs it, and words every error in one place.

Command modules are imported only when they are called, so that `--help` answers at once.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import nullcontext, suppress
from importlib import import_module
from typing import Any

import typer
import typer.core

from medgrpo.cli.output import results_alone, spoken
from medgrpo.cli.streams import as_far_as_possible, open_streams
from medgrpo.errors import MedgrpoError, UsageError, choice_error, missing_extra
from medgrpo.foreign import fault_of_input
from medgrpo.language import language
from medgrpo.masking import masked, masked_streams
from medgrpo.rewards.trust import nothing_trusted
from medgrpo.safe_path import set_for_children
from medgrpo.system import refusal_of_system
from medgrpo.terminal import escaped, one_message

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
    "runs": ("runs", "List the runs that are here: what each trained, how it ended, its best value."),
    "presets": ("presets", "List the presets, or show the values of one and why."),
    "doctor": ("doctor", "Check what is installed and what this machine can run."),
    "bundle": ("bundle", "Put all that an installation without a network needs into a folder."),
}

OVERVIEW = {
    "en": (
        "medgrpo: fine-tune medical vision-language models by reward.",
        "Usage: medgrpo COMMAND [OPTIONS]     (medgrpo help COMMAND says more)",
        "Commands",
        "Options",
        "Print the version.",
        "Install completion for this shell.",
        "Show this page.",
        "Start here, with nothing to download:  medgrpo train --preset balanced",
    ),
    "zh": (
        "medgrpo：用奖励微调医学视觉语言模型。",
        "用法：medgrpo 命令 [选项]     （medgrpo help 命令 查看详情）",
        "命令",
        "选项",
        "显示版本。",
        "为当前 shell 安装补全。",
        "显示本页。",
        "从这里开始，无需下载：  medgrpo train --preset balanced",
    ),
}
"""The overview of `medgrpo --help`: what it is, usage, headings, options, where to start."""

INTERRUPTED = 130
"""Exit code after CTRL-C; Typer gives it back where it catches the interrupt itself."""

PIPE_CLOSED = 141
"""As shells give it for a program that SIGPIPE ends."""


def dressed(command: Any) -> Any:
    """The command, with what every command understands: words for runs, foreign flags, completion of values."""
    from medgrpo.cli.completion import complete_values
    from medgrpo.cli.foreign_flags import understand_foreign_flags
    from medgrpo.cli.run_words import understand_run_words

    spoken = language()
    for one in (command, *getattr(command, "commands", {}).values()):
        if spoken == "zh":
            _explain_in_chinese(one, "" if one is command else f"{command.name} ")
        complete_values(one)
        understand_run_words(one)
        understand_foreign_flags(one)
    return command


def _explain_in_chinese(command: Any, group: str) -> None:
    """Put the help of a command into Chinese, where there is any; the example stays."""
    from medgrpo.cli.chinese import HELP, PAGES

    example = (command.help or "").partition("Example")
    page = PAGES.get(f"{group}{command.name}")
    if page is not None:
        command.help = f"{page}\n\n    {''.join(example[1:])}" if example[1] else page
    for parameter in command.params:
        english = getattr(parameter, "help", None)
        if english:
            parameter.help = HELP.get(" ".join(english.split()), english)


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
        return dressed(command)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Like the parent's, with a did-you-mean for an unknown name."""
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            from medgrpo.cli.mistakes import unknown_command

            raise unknown_command(args[0], choice_error("command", args[0], COMMANDS))
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """The overview, from the table above, so that no command module is imported for it."""
        words, lines = OVERVIEW["en"], {name: line for name, (_, line) in COMMANDS.items()}
        if language() == "zh":
            from medgrpo.cli.chinese import COMMANDS as IN_CHINESE

            words, lines = OVERVIEW["zh"], {name: IN_CHINESE.get(name, line) for name, line in lines.items()}
        formatter.write_text(words[0])
        formatter.write_paragraph()
        formatter.write_text(words[1])
        formatter.write_paragraph()
        with formatter.section(words[2]):
            formatter.write_dl(list(lines.items()))
        with formatter.section(words[3]):
            formatter.write_dl(
                list(zip(("--version", "--install-completion", "--help, -h"), words[4:7], strict=True))
            )
        formatter.write_paragraph()
        formatter.write_text(words[7])


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


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
    for name, text in (("error", words["problem"]), ("expected", words["expected"]), ("hint", words["hint"])):
        if text:
            with suppress(OSError):  # stderr is full or gone; who reads JSON gets it all the same
                print(one_message(spoken(f"{name}: {text}")), file=sys.stderr)
    if as_json:
        is_utf = "utf" in (sys.stdout.encoding or "utf").lower()
        print(escaped(json.dumps({"error": words}, ensure_ascii=not is_utf)))


def main(arguments: list[str] | None = None) -> None:
    """Run the command line; exits 0 when done, 1 on a failure, 2 on a wrong call."""
    open_streams()
    arguments = (sys.argv[1:] if arguments is None else arguments) or ["--help"]
    if arguments[0] == "help":
        arguments = [*arguments[1:], "--help"]
    # Before torch is loaded: threads that spin at every barrier make training on the CPU two to five times
    # slower as soon as another program runs.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # Pydantic would read the metadata of every installed package for plugins to our settings: .03 s a call.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    if "MEDGRPO_FAILURES" in os.environ:  # one of several processes
        from medgrpo.training.before.standing import answer

        answer(os.environ)
    set_for_children()
    try:
        with masked_streams(), nothing_trusted(), results_alone() if "--json" in arguments else nullcontext():
            code = app(arguments, prog_name="medgrpo", standalone_mode=False)
            sys.stdout.flush()  # a disk that is full says so here, where it can be worded
    except SystemExit as ended:
        if isinstance(ended.__context__, BrokenPipeError):  # as Rich ends where nobody reads its table
            sys.exit(PIPE_CLOSED)
        raise
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:  # whoever read the results has seen enough: `medgrpo compare … | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(PIPE_CLOSED)
    except (
        BaseException
    ) as error:  # the last place where an error can be worded; some of torch's are no Exception
        if os.environ.get("MEDGRPO_DEBUG") == "1":
            sys.excepthook = _show_trace
            raise
        worded = _advised(_as_medgrpo_error(error), arguments)
        if "MEDGRPO_FAILURES" in os.environ:  # one of several processes: whoever started them says it once
            from medgrpo.training.before.failures import leave, place_to_leave

            if folder := place_to_leave():
                leave(error, worded, folder)
                sys.exit(worded.exit_code)
        with as_far_as_possible():
            report_error(worded, as_json="--json" in arguments)
        sys.exit(worded.exit_code)
    if code == INTERRUPTED and "MEDGRPO_FAILURES" not in os.environ:
        with as_far_as_possible():
            print(spoken("stopped"), file=sys.stderr)
            if "--json" in arguments:
                print(json.dumps({"error": {"problem": "stopped", "expected": None, "hint": None}}))
    sys.exit(code if isinstance(code, int) else 0)


def _advised(error: MedgrpoError, arguments: list[str]) -> MedgrpoError:
    """The error, with what to type instead where the line shows it.

    Advice looks at what the line names, and may meet there what the command met: a name too long for any file, a home of
    nobody. An error without advice is still the error.
    """
    from medgrpo.cli.mistakes import of_another_kind, with_next_step

    with suppress(Exception):
        if isinstance(error, UsageError):
            return with_next_step(error, arguments)
        if arguments:
            error.hint = of_another_kind(arguments[0], arguments[1:], error.problem) or error.hint
    return error


def _show_trace(*error: Any) -> None:
    from traceback import format_exception

    print(masked("".join(format_exception(*error)), headers=True), file=sys.stderr, end="")


def _as_medgrpo_error(error: BaseException) -> MedgrpoError:
    if isinstance(worded := getattr(error, "worded", error), MedgrpoError):
        return worded
    if hasattr(error, "format_message"):  # Typer's own errors: an unknown option, a missing argument
        from medgrpo.cli.mistakes import refused

        return refused(error)
    if isinstance(error, ModuleNotFoundError) and error.name:
        from medgrpo.cli.doctor import EXTRAS

        package = error.name.split(".")[0]
        for extra, (purpose, packages) in EXTRAS.items():
            if package in packages:
                return missing_extra(package, extra, f"to {purpose}, medgrpo")
        if package in sys.stdlib_module_names:  # Python lies where this user may not look
            return MedgrpoError(
                f"Python's own module {package!r} cannot be read from {sys.base_prefix}",
                hint="give this user the right to read that folder, or install Python elsewhere",
            )
    if (worded := refusal_of_system(error) or fault_of_input(error)) is not None:
        return worded
    return MedgrpoError(
        f"{type(error).__name__}: {error}",
        hint="this looks like a bug in medgrpo; MEDGRPO_DEBUG=1 shows the trace",
    )


if __name__ == "__main__":
    main()
