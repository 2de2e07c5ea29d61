"""Masks: measures in batches, prepared references, and rewards with TRL's signature.

```python
from medgrpo.rewards import masks

reference = masks.Reference(manual)                      # thinned and counted once
masks.cldice(predictions, reference)                     # (batch,) in [0, 1]
masks.multi_objective_guarded(predictions, mask=manual)  # TRL's signature
```
"""

from medgrpo.rewards.mask_arrays import Masks
from medgrpo.rewards.mask_measures import (
    DIRECTIONS,
    MEASURES,
    Reference,
    average_surface_distance,
    betti,
    cldice,
    components,
    describe,
    dice,
    euler,
    hausdorff95,
    iou,
    largest_share,
    measure,
    num_threads,
    precision,
    recall,
    set_num_threads,
    skeleton_recall,
    skeletonize,
)
from medgrpo.rewards.mask_rewards import (
    DynamicRecallWeight,
    MaskReward,
    guard,
    multi_objective,
    multi_objective_guarded,
    recall_focused,
    recall_focused_guarded,
    simple_dice,
)

__all__ = [
    "DIRECTIONS",
    "MEASURES",
    "DynamicRecallWeight",
    "MaskReward",
    "Masks",
    "Reference",
    "average_surface_distance",
    "betti",
    "cldice",
    "components",
    "describe",
    "dice",
    "euler",
    "guard",
    "hausdorff95",
    "iou",
    "largest_share",
    "measure",
    "multi_objective",
    "multi_objective_guarded",
    "num_threads",
    "precision",
    "recall",
    "recall_focused",
    "recall_focused_guarded",
    "set_num_threads",
    "simple_dice",
    "skeleton_recall",
    "skeletonize",
]
