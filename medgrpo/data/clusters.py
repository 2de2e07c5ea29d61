"""Which rows are not independent: those about one patient or one image."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from medgrpo.rows import Row


def cluster_labels(rows: Sequence[Row]) -> tuple[list[Hashable], str]:
    """What rows are clustered by, and its name: the patient where known, else the image, else the row."""
    labels: list[Hashable] = []
    names = set()
    for index, row in enumerate(rows):
        for name in ("patient_id", "image_id"):
            if row.get(name) is not None:
                labels.append((name, row[name]))
                names.add(name.removesuffix("_id"))
                break
        else:
            images = row.get("images")
            labels.append(("images", tuple(images)) if images else ("row", row.get("id") or index))
            names.add("image" if images else "row")
    order = ("patient", "image", "row")
    return labels, " or ".join(name for name in order if name in names) or "image"
