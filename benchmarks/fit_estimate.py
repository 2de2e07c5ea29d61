"""Fit the estimate's constants to the rows of its table that are marked for it, and print them.

    python benchmarks/fit_estimate.py [--names lora_s,window_s,…]

Least squares over the logarithm of seconds a prompt, and of phases where a row has them (half a weight), with a pull to the
constants as they are: a few rows cannot move what they say nothing of. The other rows are the test; both sides' mean error is printed.
"""

import argparse
from dataclasses import asdict, replace

import numpy as np
from scipy.optimize import least_squares

from medgrpo.estimate.constants import FITTED, Constants
from medgrpo.estimate.measured import rows
from medgrpo.estimate.time import phases

PULL = 0.25
"""Weight of staying where a constant is, against a row's error; both in logarithms."""
SMALL = 0.05
"""Share of a row's time below which a phase is not fitted."""


def errors(works, constants: Constants) -> list[float]:
    found = []
    for row, work in works:
        made = phases(replace(work, constants=constants))
        found.append(np.log(made.total / row.s_per_prompt))
        by_phase = made.of_the_log()
        for name, seconds in row.phases.items():
            if seconds > SMALL * row.s_per_prompt and by_phase.get(name, 0) > 0:
                found.append(0.5 * np.log(by_phase[name] / seconds))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--names", default="")
    arguments = parser.parse_args()
    values = asdict(FITTED)
    names = (
        arguments.names.split(",")
        if arguments.names
        else [n for n in values if n not in ("other_launches", "cpu_op")]
    )
    fit = [(row, row.work()) for row in rows() if row.is_fit and row.s_per_prompt]
    test = [(row, row.work()) for row in rows() if not row.is_fit and row.s_per_prompt and row.is_own]
    start = np.log([values[name] for name in names])

    def residuals(logs):
        constants = replace(FITTED, **dict(zip(names, np.exp(logs).tolist(), strict=True)))
        return np.concatenate([errors(fit, constants), PULL * (logs - start)])

    found = least_squares(residuals, start, loss="soft_l1", f_scale=0.3)
    after = replace(FITTED, **dict(zip(names, np.exp(found.x).tolist(), strict=True)))
    for name, old, new in zip(names, np.exp(start), np.exp(found.x), strict=True):
        print(f"    {name}: float = {new:.3g}   # was {old:.3g}")
    for what, part in (("fit", fit), ("test", test)):
        for when, constants in (("before", FITTED), ("after", after)):
            apart = [
                abs(np.log(phases(replace(work, constants=constants)).total / row.s_per_prompt))
                for row, work in part
            ]
            print(
                f"{what} rows, {when}: mean {np.mean(apart):.3f}, largest {np.max(apart):.3f} (logarithm of the ratio), {len(part)} rows"
            )


if __name__ == "__main__":
    main()
