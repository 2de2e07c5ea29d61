"""The anatomical plane that a direction in the patient means."""

from __future__ import annotations

from typing import Any

AXES = ("sagittal", "coronal", "axial")
"""Plane across the x (left-right), y (front-back) and z (head-foot) axis."""
OBLIQUE_LIMIT = 0.8
"""A slice whose normal has a smaller share of its main axis is called oblique, and gets no plane."""


def plane_of_normal(normal: Any) -> str | None:
    """The plane of a slice from the direction across it (x to the left, y to the back, z to the head)."""
    import numpy as np

    length = float(np.linalg.norm(normal))
    if not np.isfinite(length) or length == 0:
        return None
    shares = np.abs(np.asarray(normal, float)) / length
    axis = int(shares.argmax())
    return AXES[axis] if shares[axis] >= OBLIQUE_LIMIT else None
