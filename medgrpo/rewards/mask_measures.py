"""Measures of masks in batches: overlap, skeletons, topology, outlines; the loops are in the compiled core.

Everywhere: foreground is 8-connected and background 4-connected; skeletons equal scikit-image's `skeletonize`
pixel for pixel; two empty masks agree (1), one empty mask does not (0), and nothing is ever NaN.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medgrpo import _reward_core as core
from medgrpo.errors import choice_error
from medgrpo.rewards.mask_arrays import CoreBatch, Masks, core_batch
from medgrpo.rewards.plain_arrays import plain_array

Values = NDArray[np.float64]
Counts = NDArray[np.int64]

MEASURES = (
    "dice", "iou", "recall", "precision", "area_ratio",
    "cldice", "skeleton_precision", "skeleton_recall", "length_ratio", "length_agreement",
    "betti0_error", "betti1_error", "betti_agreement", "euler_error",
    "hausdorff95", "hausdorff95_pooled", "hausdorff95_to_reference", "hausdorff95_to_prediction",
    "average_surface_distance",
)  # fmt: skip
"""Names that `measure` knows; each is described at the function of that name or in `measure`."""


Directions = Literal["larger", "pooled", "to_reference", "to_prediction"]
DIRECTIONS: dict[str, str] = {
    "larger": "hausdorff95",
    "pooled": "hausdorff95_pooled",
    "to_reference": "hausdorff95_to_reference",
    "to_prediction": "hausdorff95_to_prediction",
}
"""The measure of each of the `directions` of `hausdorff95`."""


class Reference:
    """Reference masks prepared once: packed, thinned and counted, for as many predictions as there will be.

    Each mask serves a group of consecutive predictions: 4 references and 32 predictions make groups of 8, as
    in GRPO. Pass the handle wherever a reference is expected. Immutable; takes a quarter of a byte per pixel.

    Args:
        masks: reference masks, see `Masks`.
        fov: field of view; what lies outside counts as background. One mask, one each, or one a group.
        threshold: numbers above it are foreground.
    """

    def __init__(self, masks: Masks, *, fov: Masks | None = None, threshold: float | None = None) -> None:
        self.masks = core.PreparedMasks(
            core_batch(masks, "reference", threshold), _fov_batch(fov, threshold), threshold
        )
        self.fov = fov

    def __len__(self) -> int:
        return len(self.masks)

    @property
    def area(self) -> Counts:
        """(masks,) foreground pixels."""
        return self.masks.counts()[:, 0]

    @property
    def skeleton_length(self) -> Counts:
        """(masks,) pixels of the skeletons."""
        return self.masks.counts()[:, 1]

    @property
    def betti(self) -> Counts:
        """(masks, 2) components and holes."""
        return self.masks.counts()[:, 2:]


def measure(
    prediction: Masks,
    reference: Masks | Reference,
    names: Iterable[str],
    *,
    fov: Masks | None = None,
    threshold: float | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> dict[str, Values]:
    """Several measures of each prediction at once; skeletons and counts are worked out once for all of them.

    Args:
        prediction: see `Masks`.
        reference: as many masks, or one for each group of consecutive predictions; or a `Reference`.
        names: of `MEASURES`. Besides those with a function of their own: `area_ratio` |P|/|R|;
            `skeleton_precision`, the share of the predicted skeleton inside the reference; `length_ratio`,
            skeleton pixels over the reference's; `length_agreement` max(0, 1 − |L_P − L_R| / max(L_R, 1));
            `betti0_error`, `betti1_error`, `euler_error`, absolute differences of the counts;
            `betti_agreement` 1 / (1 + |Δβ0| + |Δβ1|).
        fov: field of view, outside of which both masks are background; a `Reference` brings its own.
        threshold: numbers above it are foreground (default: integers above 0, floats above 0.5).
        spacing: height and width of a pixel, for distances.
    Returns:
        (predictions,) values under each name.
    Raises:
        ValueError: unknown name; shapes or numbers of masks that do not fit.
    """
    names = [names] if isinstance(names, str) else list(names)
    batch = core_batch(prediction, "prediction", threshold)
    if isinstance(reference, Reference):
        fov = reference.fov if fov is None else fov
        its: core.PreparedMasks | CoreBatch = reference.masks
    else:
        its = core_batch(reference, "reference", threshold)
    table = core.measure_masks(batch, its, names, _fov_batch(fov, threshold), threshold, spacing)
    return {name: table[:, column] for column, name in enumerate(names)}


def dice(
    prediction: Masks,
    reference: Masks | Reference,
    *,
    fov: Masks | None = None,
    threshold: float | None = None,
) -> Values:
    """Dice coefficient 2|P∩R| / (|P|+|R|) of each prediction, (predictions,) in [0, 1].

    1 where both masks are empty, 0 where only one is. Source: Dice 1945, doi:10.2307/1932409.
    """
    return measure(prediction, reference, ["dice"], fov=fov, threshold=threshold)["dice"]


def iou(
    prediction: Masks,
    reference: Masks | Reference,
    *,
    fov: Masks | None = None,
    threshold: float | None = None,
) -> Values:
    """Jaccard index |P∩R| / |P∪R| of each prediction, (predictions,) in [0, 1]; 1 where both are empty."""
    return measure(prediction, reference, ["iou"], fov=fov, threshold=threshold)["iou"]


def recall(
    prediction: Masks,
    reference: Masks | Reference,
    *,
    fov: Masks | None = None,
    threshold: float | None = None,
) -> Values:
    """Recall |P∩R| / |R| of each prediction, (predictions,) in [0, 1].

    Where the reference is empty: 1 if the prediction is too, else 0.
    """
    return measure(prediction, reference, ["recall"], fov=fov, threshold=threshold)["recall"]


def precision(
    prediction: Masks,
    reference: Masks | Reference,
    *,
    fov: Masks | None = None,
    threshold: float | None = None,
) -> Values:
    """Precision |P∩R| / |P| of each prediction, (predictions,) in [0, 1].

    Where the prediction is empty: 1 if the reference is too, else 0.
    """
    return measure(prediction, reference, ["precision"], fov=fov, threshold=threshold)["precision"]


def cldice(
    prediction: Masks,
    reference: Masks | Reference,
    *,
    fov: Masks | None = None,
    threshold: float | None = None,
) -> Values:
    """clDice of each prediction, (predictions,) in [0, 1]: harmonic mean of skeleton precision and recall.

    1 where both masks are empty, 0 where only one is or nothing meets (the authors' code gives NaN there).
    Source: Shit et al. 2021, arXiv:2003.07311; skeletons as scikit-image's `skeletonize` makes them.
    """
    return measure(prediction, reference, ["cldice"], fov=fov, threshold=threshold)["cldice"]


def skeleton_recall(
    prediction: Masks,
    reference: Masks | Reference,
    *,
    fov: Masks | None = None,
    threshold: float | None = None,
) -> Values:
    """Share of the reference's skeleton that each prediction covers, (predictions,) in [0, 1].

    A measure of binary masks, the `tsens` of clDice (Shit et al. 2021, arXiv:2003.07311). Not the *Skeleton Recall Loss* of
    nnU-Net (Kirchhoff et al. 2024, arXiv:2404.03010), which is soft and dilates the skeleton by two pixels.
    Where the reference is empty: 1 if the prediction is too, else 0.
    """
    return measure(prediction, reference, ["skeleton_recall"], fov=fov, threshold=threshold)[
        "skeleton_recall"
    ]


def hausdorff95(
    prediction: Masks,
    reference: Masks | Reference,
    *,
    fov: Masks | None = None,
    threshold: float | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
    directions: Directions = "larger",
) -> Values:
    """95th percentile of the distances between outlines, (predictions,).

    Args:
        prediction, reference, fov, threshold: as in `measure`.
        spacing: height and width of a pixel.
        directions: which distances the percentile is taken of. `larger`: the larger of the two directed percentiles, as
            MONAI (surface-distance, too, but it weighs by length of boundary). `pooled`: of both directions together,
            as medpy's `hd95`. `to_reference`: from the prediction's outline to the reference's; `to_prediction`: the
            other way round.

    In the unit of `spacing`, the (height, width) of a pixel. An outline is each foreground pixel with a
    4-neighbour that is background or outside the image. Both masks empty: 0; one empty: the image's diagonal.
    """
    if directions not in DIRECTIONS:
        raise choice_error("directions", directions, tuple(DIRECTIONS))
    names = [DIRECTIONS[directions]]
    return measure(prediction, reference, names, fov=fov, threshold=threshold, spacing=spacing)[names[0]]


def average_surface_distance(
    prediction: Masks,
    reference: Masks | Reference,
    *,
    fov: Masks | None = None,
    threshold: float | None = None,
    spacing: tuple[float, float] = (1.0, 1.0),
) -> Values:
    """Mean distance from each outline's pixels to the other outline, both directions together, (predictions,).

    Unit, outlines and empty masks as for `hausdorff95`.
    """
    names = ["average_surface_distance"]
    return measure(prediction, reference, names, fov=fov, threshold=threshold, spacing=spacing)[names[0]]


def skeletonize(
    masks: Masks, *, threshold: float | None = None, out: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_] | list[NDArray[np.bool_]]:
    """Skeletons one pixel wide, equal to `skimage.morphology.skeletonize` pixel for pixel.

    Args:
        masks: see `Masks`.
        threshold: numbers above it are foreground.
        out: bool, C-contiguous, the shape of the batch, in memory of its own: filled and returned instead of a new array.
    Raises:
        ValueError: an `out` that is anything else, or that comes with a list of masks.
    Returns:
        bool, (batch, height, width); for a list of masks a list of (height, width).

    Source: Zhang and Suen 1984, doi:10.1145/357994.358023, with the neighbourhood table of scikit-image.
    """
    batch = core_batch(masks, "mask", threshold)
    if out is not None:
        _check_out(out, batch)
    if isinstance(batch, list):
        skeletons = [np.empty(mask.shape, np.bool_) for mask in batch]
        core.skeletonize_masks(batch, [skeleton.view(np.uint8) for skeleton in skeletons], threshold)
        return skeletons
    if out is None:
        out = np.empty(batch.shape, np.bool_)
    core.skeletonize_masks(batch, out.view(np.uint8), threshold)
    return out


def describe(masks: Masks, names: Iterable[str], *, threshold: float | None = None) -> dict[str, Values]:
    """Several traits of each mask at once.

    Args:
        masks: see `Masks`.
        names: one or several of `area`, `components`, `holes`, `euler`, `skeleton_length`, and `largest_share`, the share of
            the foreground in the largest component (1 for an empty mask).
        threshold: numbers above it are foreground.
    Returns:
        (batch,) values under each name.
    """
    names = [names] if isinstance(names, str) else list(names)
    table = core.describe_masks(core_batch(masks, "mask", threshold), names, threshold)
    return {name: table[:, column] for column, name in enumerate(names)}


def betti(masks: Masks, *, threshold: float | None = None) -> Counts:
    """Betti numbers of each mask, (batch, 2): 8-connected components, and holes in 4-connected background."""
    traits = describe(masks, ["components", "holes"], threshold=threshold)
    return np.stack([traits["components"], traits["holes"]], axis=1).astype(np.int64)


def components(masks: Masks, *, threshold: float | None = None) -> Counts:
    """Number of 8-connected components of each mask, (batch,)."""
    return describe(masks, ["components"], threshold=threshold)["components"].astype(np.int64)


def euler(masks: Masks, *, threshold: float | None = None) -> Counts:
    """Euler number of each mask, (batch,): components minus holes, foreground 8-connected."""
    return describe(masks, ["euler"], threshold=threshold)["euler"].astype(np.int64)


def largest_share(masks: Masks, *, threshold: float | None = None) -> Values:
    """Share of each mask's foreground in its largest component, (batch,) in (0, 1]; 1 for an empty mask."""
    return describe(masks, ["largest_share"], threshold=threshold)["largest_share"]


def set_num_threads(threads: int) -> None:
    """Share batches among so many threads; 0 means `MEDGRPO_NUM_THREADS`, or else every processor.

    Results do not depend on it.
    """
    core.set_num_threads(threads)


def num_threads() -> int:
    """Threads that batches are shared among."""
    return core.num_threads()


def _check_out(out: NDArray[np.bool_], batch: CoreBatch) -> None:
    if isinstance(batch, list):
        raise ValueError("out goes with masks in one array, not with a list of masks")
    if not isinstance(out, np.ndarray) or out.shape != batch.shape or out.dtype != np.bool_:
        kind = f"{getattr(out, 'dtype', type(out).__name__)} {tuple(getattr(out, 'shape', ()))}"
        raise ValueError(f"out is {kind}: expected a numpy array, bool {batch.shape}")
    if not out.flags.c_contiguous or not out.flags.writeable:
        raise ValueError(
            "out is read-only or not C-contiguous: expected an array to write to, such as np.empty"
        )
    if np.may_share_memory(out, batch):
        raise ValueError("out shares memory with the masks: expected an array of its own")


def _fov_batch(fov: Masks | None, threshold: float | None) -> CoreBatch | None:
    if fov is None:
        return None
    if not isinstance(fov, (list, tuple)) or (fov and np.ndim(fov[0]) == 1):
        array = plain_array(fov, "field of view")
        fov = array[None] if array.ndim == 2 else array
    if threshold is not None:
        for row, view in enumerate(fov):
            _check_view(plain_array(view, f"field of view {row}"), row, threshold)
    return core_batch(fov, "field of view", threshold)


def _check_view(view: NDArray[np.generic], row: int, threshold: float) -> None:
    """A view of 0 and 1 beside grey pictures, above whose threshold it never is, would make every mask empty."""
    if view.dtype.kind in "iuf" and view.size and 0 < (most := view.max()) <= threshold:
        raise ValueError(
            f"field of view {row} holds nothing above the threshold {threshold} (its largest value is {most}): "
            "expected bool, or values on both sides of the threshold"
        )
