"""What likelihood ratios say about a policy update."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

_QUANTILES = {"ratio_q05": 0.05, "ratio_q50": 0.5, "ratio_q95": 0.95}


@torch.no_grad()
def ratio_statistics(log_ratio: Tensor, clip_param: float) -> dict[str, Tensor]:
    """Describes the ratios `r = pi_new(a | s) / pi_old(a | s)` of actions drawn from the old policy.

    Args:
      log_ratio: logarithms of the ratios. Shape `[M]`.
      clip_param: of PPO.

    Returns:
      Scalars: quantiles and mean of `r` (one, if the likelihood is the density of what acts); `kl`, the mean
      of `r - 1 - log r`, an estimate of `KL(old || new)` that is never negative (Schulman, "Approximating KL
      divergence", 2020); `clip_fraction`; and `effective_sample_size`, Kish's `(sum r)^2 / sum r^2` as a
      share of `M`.
    """
    ratio = log_ratio.exp()
    shares = ratio / ratio.amax().clamp_min(torch.finfo(ratio.dtype).tiny)  # the squares must not overflow
    quantiles = torch.quantile(ratio, ratio.new_tensor(list(_QUANTILES.values())))
    return {
        **dict(zip(_QUANTILES, quantiles, strict=True)),
        "ratio_mean": ratio.mean(),
        "kl": (ratio - 1.0 - log_ratio).mean(),
        "clip_fraction": ((ratio - 1.0).abs() > clip_param).float().mean(),
        "effective_sample_size": shares.sum().square() / (shares.square().sum() * len(ratio)),
    }


def mean_statistics(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Returns the mean of each statistic over the updates that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        name: float(torch.stack([row[name].detach() for row in rows if name in row]).mean()) for name in names
    }
