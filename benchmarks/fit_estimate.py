"""Fit the estimate's constants to the rows of its table that are marked for it, and print them.

    python benchmarks/fit_estimate.py [--names lora_s,window_s,…] [--folds 4] [--by-host]

Least squares over the logarithm of seconds a prompt, and of phases where a row has them (half a weight), with a pull to the
constants as they are: a few rows cannot move what they say nothing of. Hosts of one kind of card differ, so each day of measuring has a
factor of its own, which is pulled to 1 and thrown away afterwards: the constants are those of the middle host. The other rows are
the test; both sides' mean error is printed, without the hosts' factors. `--folds` fits again with parts of all own rows left out, to
see how much the fit depends on which rows it saw; `--by-host` with all rows of a host left out, each host in turn: what a fit says
of a host that it has not seen.
"""

import argparse
from dataclasses import asdict, replace

import numpy as np
from scipy.optimize import least_squares

from medgrpo.estimate.constants import FITTED, Constants
from medgrpo.estimate.measured import Measured, rows
from medgrpo.estimate.time import phases

PULL = 0.25
"""Weight of staying where a constant is, against a row's error; both in logarithms."""
HOST_PULL = 0.3
"""The same of a host's factor."""
SMALL = 0.05
"""Share of a row's time below which a phase is not fitted."""
FIXED = (
    "other_launches",
    "cpu_op",
    "convolution",
    "matmul",
    "bandwidth",
    "hidden_passes",
    "mlp_passes",
    "link",
    "collective_s",
    "adapter_switch_s",
    "recompute_switch_s",
)
"""Of other code, of processors, counted or measured by themselves, and shares of data sheets that other rows have settled."""
OF_THE_HOST = (
    "layer_s", "lora_s", "fused_s", "dora_s", "qlora_s", "vision_layer_s", "window_s", "vllm_step_s", "vllm_row_s",
    "sync_module_s", "step_s", "batch_s", "sample_s", "picture_s", "pixel_s", "text_reward_s", "mask_judge_s",
    "adapter_switch_s", "recompute_switch_s",
)  # fmt: skip
"""What a slower host makes longer."""


def host_of(row: Measured) -> str:
    """The machine of a row, as far as the table tells: its day, or one of the batches of the same day."""
    if not row.is_own:
        return ""
    if "beside it" in row.note:
        return "b3, disturbed"
    ends = next(
        (
            end
            for end in ("b2", "b3", "b4", "b5", "b7", "b9", "b12")
            if row.name.removesuffix("-again").endswith(f"-{end}")
        ),
        "",
    )
    return ends or row.source[-10:]


def errors(works, constants: Constants, hosts: dict[str, float]) -> list[float]:
    found = []
    for row, work in works:
        host = np.exp(hosts.get(host_of(row), 0.0))
        slower = {name: getattr(constants, name) * host for name in OF_THE_HOST}
        made = phases(replace(work, constants=replace(constants, **slower)))
        found.append(np.log(made.total / row.s_per_prompt))
        by_phase = made.of_the_log()
        for name, seconds in row.phases.items():
            if seconds > SMALL * row.s_per_prompt and by_phase.get(name, 0) > 0:
                found.append(0.5 * np.log(by_phase[name] / seconds))
    return found


def fitted(part, names: list[str]) -> tuple[Constants, dict[str, float]]:
    start = np.log([asdict(FITTED)[name] for name in names])
    hosts = sorted({host_of(row) for row, _ in part} - {""})

    def unpacked(values):
        constants = replace(FITTED, **dict(zip(names, np.exp(values[: len(names)]).tolist(), strict=True)))
        return constants, dict(zip(hosts, values[len(names) :], strict=True))

    def residuals(values):
        constants, factors = unpacked(values)
        apart = PULL * (values[: len(names)] - start)
        return np.concatenate([errors(part, constants, factors), apart, HOST_PULL * values[len(names) :]])

    found = least_squares(
        residuals, np.concatenate([start, np.zeros(len(hosts))]), loss="soft_l1", f_scale=0.3
    )
    return unpacked(found.x)


def describe(what: str, part, constants: Constants) -> None:
    ratios = np.array(
        [phases(replace(work, constants=constants)).total / row.s_per_prompt for row, work in part]
    )
    apart = np.abs(np.log(ratios))
    within = np.mean(np.abs(ratios - 1) <= 0.25)
    print(
        f"{what}: {len(part)} rows, within 25 %: {within:.0%}, mean {apart.mean():.3f}, largest {apart.max():.3f} (logarithm of the ratio)"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", default="")
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--by-host", action="store_true")
    arguments = parser.parse_args()
    values = asdict(FITTED)
    names = arguments.names.split(",") if arguments.names else [n for n in values if n not in FIXED]
    timed = [(row, row.work()) for row in rows() if row.s_per_prompt]
    fit = [one for one in timed if one[0].is_fit]
    test = [one for one in timed if one[0].use == "test" and one[0].is_own]
    after, hosts = fitted(fit, names)
    for name in names:
        print(f"    {name}: float = {getattr(after, name):.3g}   # was {values[name]:.3g}")
    print(
        "hosts, time against the middle one:", {name: round(float(np.exp(v)), 2) for name, v in hosts.items()}
    )
    for when, constants in (("before", FITTED), ("after", after)):
        describe(f"fit, {when}", fit, constants)
        describe(f"test, {when}", test, constants)
    own = [one for one in timed if one[0].is_own and not one[0].is_older]
    parts = {f"fold {fold}": own[fold :: arguments.folds] for fold in range(arguments.folds)}
    if arguments.by_host:
        for host in sorted({host_of(row) for row, _ in own}):
            parts[f"host {host}"] = [one for one in own if host_of(one[0]) == host]
    within = {}
    for name, left_out in parts.items():
        seen = [one for one in timed if (one[0].is_own or one[0].is_fit) and one not in left_out]
        constants, _ = fitted(seen, names)
        describe(f"{name}, left out", left_out, constants)
        within[name] = sum(
            abs(phases(replace(work, constants=constants)).total / row.s_per_prompt - 1) <= 0.25
            for row, work in left_out
        )
    hosts_alone = {name: count for name, count in within.items() if name.startswith("host")}
    if hosts_alone:
        print(f"hosts left out in turn: {sum(hosts_alone.values())} of {len(own)} rows within 25 %")


if __name__ == "__main__":
    main()
