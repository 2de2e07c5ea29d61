"""The reference pages, made from the code: commands, settings, rewards, Python."""

import importlib
import inspect
import re

import typer


def commands():
    """Every command with its options, as `--help` has them."""
    from medgrpo.cli.main import COMMANDS, app

    group = typer.main.get_command(app)
    parts = ["# Commands\n", "Made from the code. `medgrpo help COMMAND` says the same.\n"]
    for name, (_, line) in COMMANDS.items():
        command = group.get_command(None, name)
        parts.append(f"## {name}\n\n{line}\n")
        for one in (command, *getattr(command, "commands", {}).values()):
            title = name if one is command else f"{name} {one.name}"
            text, _, example = (one.help or "").partition("Example:")
            parts.append(f"{_plain(text)}\n")
            if example.strip():
                parts.append(f"```bash\n{' '.join(example.split())}\n```\n")
            rows = [_option(parameter) for parameter in one.params if not getattr(parameter, "hidden", False)]
            if rows:
                parts.append(f"| `{title}` | |\n| --- | --- |\n" + "\n".join(rows) + "\n")
    return "\n".join(parts)


def _option(parameter):
    names = (
        [*parameter.opts, *parameter.secondary_opts]
        if parameter.param_type_name == "option"
        else [parameter.human_readable_name]
    )
    shown = ", ".join(f"`{name}`" for name in names)
    default = parameter.default
    told = (
        f" Default: `{getattr(default, 'value', default)}`."
        if default not in (None, False, (), []) and not callable(default)
        else ""
    )
    return f"| {shown} | {_cell(parameter.help or '')}{told} |"


def settings():
    """Every setting with its meaning and default."""
    from medgrpo.config.sections import RunConfig, StageConfig

    parts = [
        "# Settings\n",
        "Made from the code. `--set KEY=VALUE` changes one; `medgrpo presets show NAME` gives the reasons of a preset.\n",
    ]
    for section, info in RunConfig.model_fields.items():
        kind = StageConfig if section == "stages" else info.annotation
        prefix = "stages.NAME" if section == "stages" else section
        rows = [
            f"| `{prefix}.{name}` | {_cell(field.description or '')} | {_default(field)} |"
            for name, field in kind.model_fields.items()
        ]
        parts.append(
            f"## {section}\n\n{_plain(kind.__doc__ or '')}\n\n| setting | meaning | default |\n| --- | --- | --- |\n"
            + "\n".join(rows)
            + "\n"
        )
    return "\n".join(parts)


def _default(field):
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=True)
    return "none" if value is None else f"`{_cell(str(value))[:80]}`"


def rewards():
    """Every built-in reward, and the weight sets."""
    from medgrpo.figures import figure
    from medgrpo.rewards.registry import BUILT_IN
    from medgrpo.rewards.weights import WEIGHT_SETS

    rows = [f"| `{name}` | {_cell(figure(name).meaning)} | `{module}` |" for name, module in BUILT_IN.items()]
    sets = [
        f"| `{name}` | {', '.join(f'{reward} {weight:g}' for reward, weight in found.items())} |"
        for name, found in WEIGHT_SETS.items()
    ]
    return (
        "# Rewards\n\nMade from the code.\n\n| reward | meaning | module |\n| --- | --- | --- |\n" + "\n".join(rows)
        + "\n\n## Weight sets\n\n| name | weights |\n| --- | --- |\n" + "\n".join(sets) + "\n"
    )  # fmt: skip


PUBLIC = (
    ("medgrpo.data.prepared", ("PreparedDataset",)),
    ("medgrpo.data.prepare", ("prepare", "PrepareOptions")),
    ("medgrpo.data.prompts", ("load_template", "build_messages", "build_target", "build_example")),
    ("medgrpo.rewards.registry", ("load_reward",)),
    ("medgrpo.rewards.composite", ("CompositeReward",)),
    ("medgrpo.config.presets", ("resolve_run", "load_preset")),
    ("medgrpo.runs.record", ("read_run", "RunRecord")),
    ("medgrpo.runs.health", ("assess", "HealthMonitor")),
    ("medgrpo.runs.known", ("known_runs", "latest_run")),
    ("medgrpo.estimate.estimate", ("estimate", "Facts")),
)
"""What other programs may build on; nothing of it needs torch."""


def python():
    """Signatures and docstrings of the public parts."""
    parts = ["# Python\n", "Made from the code. These modules import no torch.\n"]
    for module, names in PUBLIC:
        loaded = importlib.import_module(module)
        parts.append(f"## {module}\n")
        for name in names:
            found = getattr(loaded, name)
            try:
                signature = re.sub(r"<([\w.]+)[^>]*>", r"\1", str(inspect.signature(found)))
            except ValueError:
                signature = ""
            parts.append(
                f"### {name}\n\n```python\n{name}{signature}\n```\n\n```text\n{inspect.getdoc(found) or ''}\n```\n"
            )
    return "\n".join(parts)


def _cell(text):
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _plain(text):
    return (
        "\n".join(line.strip() for line in inspect.cleandoc(text).splitlines()).replace("<", "&lt;").strip()
    )


PAGES = {"commands": commands, "settings": settings, "rewards": rewards, "python": python}
