"""Regression of a scalar as classification: HL-Gauss on bins uniform in symlog space.

A cross-entropy loss keeps gradients of one size whatever the scale of the returns. A scalar becomes the mass
that a Gaussian around its symlog leaves in each bin; the prediction is the symexp of the expected bin centre.
Taking the expectation in symlog space is robust (mass left in a far bin does not swamp the value), and for
targets spread around their mean gives a value nearer to their median.

Sources: Imani & White (2018), HL-Gauss; Farebrother et al. (2024), "Stop regressing", Section 3.1 (its
standard deviation of 0.75 bin widths); Hafner et al. (2023), symlog.
"""

import math

import torch
from torch import nn

from distill_rl.checks import check_positive

_STD_IN_BINS = 0.75
_PADDING_BINS = 4  # five standard deviations: no mass is cut off at the limits


def symlog(x: torch.Tensor) -> torch.Tensor:
    """Returns `sign(x) ln(1 + |x|)`, the identity near zero and a logarithm far from it. Shape `[...]`."""
    return x.sign() * x.abs().log1p()


def symexp(x: torch.Tensor) -> torch.Tensor:
    """Returns the inverse of `symlog`. Shape `[...]`."""
    return x.sign() * x.abs().expm1()


class SymlogHistogram(nn.Module):
    """Encodes scalars as distributions over bins, and decodes them.

    Decoding an encoding gives the scalar back within 1e-3 of its size (plus 1e-5) over [-limit, limit];
    scalars beyond are clipped.

    Args:
      num_bins: number of bins.
      limit: largest magnitude represented, in value units.

    Raises:
      ValueError: if there are no bins beside the padding, or `limit` is not positive.
    """

    edges: torch.Tensor
    centers: torch.Tensor

    def __init__(self, num_bins: int = 101, limit: float = 1e4):
        super().__init__()
        if num_bins <= 2 * _PADDING_BINS:
            raise ValueError(f"`num_bins` must exceed {2 * _PADDING_BINS}, got {num_bins}")
        check_positive("limit", limit)
        self.num_bins = num_bins
        self._symlog_limit = math.log1p(limit)
        width = 2.0 * self._symlog_limit / (num_bins - 2 * _PADDING_BINS)
        edges = (torch.arange(num_bins + 1, dtype=torch.float64) - num_bins / 2) * width
        self._inverse_scale = 1.0 / (_STD_IN_BINS * width * math.sqrt(2.0))
        self.register_buffer("edges", edges.float(), persistent=False)
        self.register_buffer("centers", (0.5 * (edges[1:] + edges[:-1])).float(), persistent=False)

    def encode(self, value: torch.Tensor) -> torch.Tensor:
        """Returns the bin probabilities of each scalar. Shapes `[...]` to `[..., num_bins]`."""
        clipped = symlog(value).clamp(-self._symlog_limit, self._symlog_limit)
        cdf = torch.erf((self.edges - clipped.unsqueeze(-1)) * self._inverse_scale)
        return 0.5 * (cdf[..., 1:] - cdf[..., :-1])

    def decode(self, logits: torch.Tensor) -> torch.Tensor:
        """Returns the scalar of each distribution. Shapes `[..., num_bins]` to `[...]`."""
        return symexp(torch.softmax(logits, dim=-1) @ self.centers)

    def cross_entropy(self, logits: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        """Returns `-sum_i p_i(value) log softmax(logits)_i`. Shapes `[..., num_bins]`, `[...]` to `[...]`."""
        return -(self.encode(value) * torch.log_softmax(logits, dim=-1)).sum(dim=-1)
