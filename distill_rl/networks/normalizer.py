"""Running normalisation of observations."""

import numpy as np
import torch
from torch import nn

from distill_rl.checks import check_finite, check_shape

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
    def set_statistics(self, mean: np.ndarray, var: np.ndarray, count: int) -> None:
        """Sets the statistics to those of `count` observations, measured elsewhere.

        Args:
          mean: shape `[size]`.
          var: shape `[size]`.
          count: number of observations.

        Raises:
          ValueError: if a shape is another, or they are not finite.
        """
        for name, array, buffer in (("mean", mean, self.mean), ("var", var, self.var)):
            check_shape(name, array, tuple(buffer.shape))
            check_finite(name, array)
            buffer.copy_(torch.as_tensor(array))
        self.count.fill_(count)

    @torch.no_grad()
    def update(self, batch: torch.Tensor) -> None:
        """Merges a batch into the statistics; one with an entry that is not finite is ignored.

        Args:
          batch: shape `[..., size]`, at least one row.

        Raises:
          ValueError: if the last axis has another length.
        """
        self._check_size(batch)
        rows = batch.reshape(-1, batch.shape[-1]).double()
        batch_var, batch_mean = torch.var_mean(rows, dim=0, correction=0)
        total = self.count + rows.shape[0]
        delta = batch_mean - self.mean
        fraction = rows.shape[0] / total
        mean = self.mean + fraction * delta
        var = (
            (1.0 - fraction) * self.var + fraction * batch_var + fraction * (1.0 - fraction) * delta.square()
        )
        is_finite = torch.isfinite(var.to(self.var.dtype)).all()
        self.mean.copy_(torch.where(is_finite, mean, self.mean))
        self.var.copy_(torch.where(is_finite, var, self.var))
        self.count.copy_(torch.where(is_finite, total, self.count))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Returns `(x - mean) / sqrt(var + 1e-6)`, clipped to [-10, 10]. Shape `[..., size]`.

        Raises:
          ValueError: if the last axis has another length: one of length 1 would be repeated in silence.
        """
        self._check_size(x)
        return ((x - self.mean) * torch.rsqrt(self.var + _EPSILON)).clamp(-_CLIP, _CLIP)

    def _check_size(self, x: torch.Tensor) -> None:
        if x.shape[-1] != self.mean.shape[0]:
            raise ValueError(f"`x` must have shape [..., {self.mean.shape[0]}], got {list(x.shape)}")
