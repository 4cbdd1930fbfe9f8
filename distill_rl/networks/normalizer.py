"""Running normalisation of observations."""

import torch
from torch import nn

_CLIP = 10.0
_EPSILON = 1e-6


class RunningNormalizer(nn.Module):
    """Normalises by the mean and variance of everything seen, and clips to +-10.

    Batches are merged by the parallel update of Chan et al. (1979), in float64. Before the first batch the
    module is the identity (up to the clip). The statistics are buffers: they travel with `state_dict`.

    Args:
      size: length of the last axis.
    """

    mean: torch.Tensor
    var: torch.Tensor
    count: torch.Tensor

    def __init__(self, size: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("var", torch.ones(size))
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))

    @torch.no_grad()
    def update(self, batch: torch.Tensor) -> None:
        """Merges a batch into the statistics; a batch with a non-finite entry is ignored.

        Args:
          batch: shape `[..., size]`, at least one row.
        """
        rows = batch.reshape(-1, batch.shape[-1]).double()
        batch_var, batch_mean = torch.var_mean(rows, dim=0, correction=0)
        total = self.count + rows.shape[0]
        delta = batch_mean - self.mean
        fraction = rows.shape[0] / total
        mean = self.mean + fraction * delta
        var = (
            (1.0 - fraction) * self.var + fraction * batch_var + fraction * (1.0 - fraction) * delta.square()
        )
        is_finite = torch.isfinite(var).all()
        self.mean.copy_(torch.where(is_finite, mean, self.mean))
        self.var.copy_(torch.where(is_finite, var, self.var))
        self.count.copy_(torch.where(is_finite, total, self.count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns `(x - mean) / sqrt(var + 1e-6)`, clipped to [-10, 10]. Shape `[..., size]`."""
        return ((x - self.mean) * torch.rsqrt(self.var + _EPSILON)).clamp(-_CLIP, _CLIP)
