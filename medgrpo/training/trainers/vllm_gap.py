"""How far vLLM and the trainer are apart on what vLLM sampled, and the weights that make up for it.

The arithmetic is TRL 1.16's; TRL computes it from a pass of its own before the update, here it comes from the
update's pass.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class SamplerGap:
    """Log probabilities of one batch: (rows, tokens) each."""

    trainer: torch.Tensor
    sampler: torch.Tensor
    """NaN where vLLM knew none."""
    mask: torch.Tensor
    """1 at the tokens that count."""

    def ratio(self, mode: str, least: float | None, most: float | None) -> torch.Tensor:
        """TRL's importance sampling ratio: (rows, tokens), or (rows, 1) for the modes of whole completions.

        Args:
            mode: `sequence_mask`, `sequence_truncate`, `token_mask` or `token_truncate`: what lies outside the limits
                gets a weight of 0, or the limit.
            least, most: the limits; None: none.
        """
        import torch

        difference = torch.nan_to_num((self.trainer - self.sampler) * self.mask, nan=0.0)
        if mode.startswith("sequence"):
            difference = difference.sum(dim=-1, keepdim=True)
        ratio = torch.exp(difference)
        if least is None and most is None:
            return ratio
        if mode.endswith("truncate"):
            return torch.clamp(ratio, min=least, max=most)
        low = -torch.inf if least is None else least
        high = torch.inf if most is None else most
        return ratio.masked_fill((ratio < low) | (ratio > high), 0.0)

    def metrics(self, ratio: torch.Tensor, accelerator: Any) -> dict[str, float]:
        """TRL's entries of the log, over all processes."""
        import torch

        counted = self.mask.bool()
        difference = (self.trainer - self.sampler).abs()
        difference = difference[counted & ~torch.isnan(difference)]
        flat = ratio.flatten() if ratio.shape[1] == 1 else ratio[counted]
        zero = torch.zeros((), device=ratio.device)

        def over_all(value: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = accelerator.gather(value.reshape(1))
            return found

        name, ratios = "sampling/sampling_logp_difference", "sampling/importance_sampling_ratio"
        return {
            f"{name}/mean": over_all(difference.mean() if len(difference) else zero).mean().item(),
            f"{name}/max": over_all(difference.max() if len(difference) else zero).max().item(),
            f"{ratios}/min": over_all(flat.min() if len(flat) else zero).min().item(),
            f"{ratios}/mean": over_all(flat.mean() if len(flat) else zero).mean().item(),
            f"{ratios}/max": over_all(flat.max() if len(flat) else zero).max().item(),
        }
