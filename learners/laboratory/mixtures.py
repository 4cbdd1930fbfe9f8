"""Mixtures of truncated Gaussians on the unit box, many at once: targets with everything known.

Each of `I` instances mixes `K` components whose coordinates are independent Gaussians truncated to [0, 1].
The posterior of a component given a noisy sample is a truncated Gaussian again, so the denoiser (the score of
the noised density) has a closed form at every noise level.

Source of the experiment: Fang & Di, "Efficient consistency model training for policy distillation in
reinforcement learning", Section 4.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from distill_rl.checks import check_shape

_LOG_SQRT_2_PI = 0.5 * math.log(2.0 * math.pi)


@dataclasses.dataclass(frozen=True)
class TruncatedMixtures:
    """A batch of mixtures.

    Attributes:
      means: of the Gaussians before truncation. Shape `[I, K, A]`.
      scales: their standard deviations. Shape `[I, K, A]`.
      weights: sum to one over the components. Shape `[I, K]`.
    """

    means: Tensor  # [I, K, A]
    scales: Tensor  # [I, K, A]
    weights: Tensor  # [I, K]

    def __getitem__(self, rows: Tensor) -> "TruncatedMixtures":
        """Returns the mixtures at some rows."""
        return TruncatedMixtures(self.means[rows], self.scales[rows], self.weights[rows])

    def to(self, dtype: torch.dtype, device: str | torch.device) -> "TruncatedMixtures":
        """Returns the mixtures in another precision, on a device."""
        return TruncatedMixtures(
            self.means.to(device, dtype), self.scales.to(device, dtype), self.weights.to(device, dtype)
        )

    def blend(self, other: "TruncatedMixtures", share: Tensor) -> "TruncatedMixtures":
        """Returns mixtures whose parameters lie between those of two: a target that moves with a state.

        Args:
          other: as many mixtures of the same shape.
          share: of `other`, in [0, 1]. Shape `[I]`.
        """
        pairs = zip(
            (self.means, self.scales, self.weights), (other.means, other.scales, other.weights), strict=True
        )
        return TruncatedMixtures(
            *(torch.lerp(one, two, share.reshape(-1, *[1] * (one.dim() - 1))) for one, two in pairs)
        )

    def sample(self, num_samples: int, generator: torch.Generator) -> Tensor:
        """Draws from each mixture, by inverting the cumulative distributions.

        Args:
          num_samples: `M`, draws from each.
          generator: source of the draws, on the device of the parameters.

        Returns:
          Shape `[I, M, A]`.
        """
        index = torch.multinomial(self.weights, num_samples, replacement=True, generator=generator)
        rows = torch.arange(len(index), device=index.device)[:, None]
        means, scales = self.means[rows, index], self.scales[rows, index]
        low, high = torch.special.ndtr(-means / scales), torch.special.ndtr((1.0 - means) / scales)
        uniform = torch.rand(means.shape, generator=generator, dtype=means.dtype, device=means.device)
        drawn = means + scales * torch.special.ndtri(low + uniform * (high - low))
        return drawn.clamp(0.0, 1.0)

    def log_prob(self, actions: Tensor) -> Tensor:
        """Computes exact log-densities; `-inf` outside the box.

        Args:
          actions: shape `[I, M, A]`.

        Returns:
          Shape `[I, M]`.

        Raises:
          ValueError: if the shape is wrong.
        """
        is_inside = ((actions >= 0.0) & (actions <= 1.0)).all(dim=-1)
        return self._log_components(actions).logsumexp(dim=1).masked_fill(~is_inside, -math.inf)

    def score(self, actions: Tensor) -> Tensor:
        """Computes the gradient of the log-density inside the box.

        Args:
          actions: shape `[I, M, A]`.

        Returns:
          Shape `[I, M, A]`.

        Raises:
          ValueError: if the shape is wrong.
        """
        share = torch.softmax(self._log_components(actions), dim=1)
        of_components = (self.means[:, :, None] - actions[:, None]) / self.scales[:, :, None].square()
        return (share[..., None] * of_components).sum(dim=1)

    def noised_log_prob(self, x_sigma: Tensor, sigma: float | Tensor) -> Tensor:
        """Computes exact log-densities of samples with Gaussian noise added.

        Args:
          x_sigma: noisy samples. Shape `[I, M, A]`.
          sigma: noise level: a float, or a tensor that broadcasts to `[I, M]`.

        Returns:
          Shape `[I, M]`.

        Raises:
          ValueError: if the shape is wrong.
        """
        return self._posterior_components(x_sigma, sigma).log_evidence.logsumexp(dim=1)

    def denoise(self, x_sigma: Tensor, sigma: float | Tensor) -> Tensor:
        """Computes the exact posterior mean `E[x | x_sigma]`; the score is `(E - x_sigma) / sigma^2`.

        Args:
          x_sigma: noisy samples. Shape `[I, M, A]`.
          sigma: noise level: a float, or a tensor that broadcasts to `[I, M]`.

        Returns:
          Shape `[I, M, A]`.

        Raises:
          ValueError: if the shape is wrong.
        """
        components = self._posterior_components(x_sigma, sigma)
        return (torch.softmax(components.log_evidence, dim=1)[..., None] * components.mean()).sum(dim=1)

    def _log_components(self, actions: Tensor) -> Tensor:
        """Returns `log(w_k p_k)` as if there were no box around each action. Shape `[I, K, M]`."""
        check_shape("actions", actions, (self.means.shape[0], None, self.means.shape[2]))
        z = (actions[:, None] - self.means[:, :, None]) / self.scales[:, :, None]
        each = -0.5 * z.square() - _LOG_SQRT_2_PI - (self.scales.log() + self._log_mass())[:, :, None]
        return self.weights.log()[:, :, None] + each.sum(dim=-1)

    def _log_mass(self) -> Tensor:
        """Returns the log-mass that each coordinate has inside the box. Shape `[I, K, A]`."""
        return _log_ndtr_between(-self.means / self.scales, (1.0 - self.means) / self.scales)

    def posterior(self, x_sigma: Tensor, sigma: float) -> "TruncatedMixtures":
        """Returns the distributions of the clean sample given a noisy one: truncated mixtures again.

        Args:
          x_sigma: one noisy sample of each mixture. Shape `[I, A]`.
          sigma: noise level.

        Returns:
          `I` mixtures.
        """
        found = self._posterior_components(x_sigma[:, None], sigma)
        return TruncatedMixtures(
            means=found.centre[:, :, 0],
            scales=found.scale[:, :, 0],
            weights=torch.softmax(found.log_evidence[:, :, 0], dim=1),
        )

    def _posterior_components(self, x_sigma: Tensor, sigma: float | Tensor) -> "_Posterior":
        """Returns the components given noisy samples.

        `N(x_sigma; x, sigma^2) N(x; m, s^2)` is `N(x_sigma; m, s^2 + sigma^2)` times a Gaussian of `x` with
        mean `(s^2 x_sigma + sigma^2 m) / (s^2 + sigma^2)` and variance `s^2 sigma^2 / (s^2 + sigma^2)`.
        """
        check_shape("x_sigma", x_sigma, (self.means.shape[0], None, self.means.shape[2]))
        level = torch.as_tensor(sigma, dtype=x_sigma.dtype, device=x_sigma.device)
        noise = level.expand(x_sigma.shape[:2])[:, None, :, None].square()  # [I, 1, M, 1]
        x, means = x_sigma[:, None], self.means[:, :, None]
        variance = self.scales[:, :, None].square()
        total = variance + noise
        log_gaussian = -0.5 * (x - means).square() / total - 0.5 * total.log() - _LOG_SQRT_2_PI
        centre, scale = (variance * x + noise * means) / total, (variance * noise / total).sqrt()
        log_mass = _log_ndtr_between(-centre / scale, (1.0 - centre) / scale)
        log_components = (log_gaussian + log_mass - self._log_mass()[:, :, None]).sum(dim=-1)
        return _Posterior(centre, scale, log_mass, self.weights.log()[:, :, None] + log_components)


class _Posterior(NamedTuple):
    """Components of a mixture given noisy samples, before truncation to the box."""

    centre: Tensor  # [I, K, M, A]
    scale: Tensor  # [I, K, M, A]
    log_mass: Tensor  # [I, K, M, A], inside the box
    log_evidence: Tensor  # [I, K, M], log(w_k p_k(x_sigma))

    def mean(self) -> Tensor:
        """Returns the means inside the box. Shape `[I, K, M, A]`."""
        low, high = -self.centre / self.scale, (1.0 - self.centre) / self.scale
        slope = (-0.5 * low.square() - self.log_mass).exp() - (-0.5 * high.square() - self.log_mass).exp()
        return (self.centre + self.scale * slope * math.exp(-_LOG_SQRT_2_PI)).clamp(0.0, 1.0)


def random_mixtures(
    num_components: Sequence[int],
    action_size: int,
    generator: torch.Generator,
    *,
    min_scale: float = 0.05,
    max_scale: float = 0.3,
) -> TruncatedMixtures:
    """Draws mixtures: means uniform in the box, scales uniform, weights uniform on the simplex.

    Fang & Di (Section 4) say that means and scales are random and lie within the action range, no more.

    Args:
      num_components: of each of the `I` instances; `K` is the largest, and the others' surplus has no weight.
      action_size: `A`.
      generator: source of the draws, which are made on the CPU.
      min_scale: smallest standard deviation.
      max_scale: largest one.

    Returns:
      The mixtures, in float64.
    """
    most = max(num_components)
    shape = (len(num_components), most, action_size)
    means = torch.rand(shape, generator=generator, dtype=torch.float64)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    # Normalised exponentials are uniform on the simplex.
    exponentials = -torch.log1p(-torch.rand(shape[:2], generator=generator, dtype=torch.float64))
    exponentials *= torch.arange(most) < torch.tensor(num_components)[:, None]
    return TruncatedMixtures(
        means=means,
        scales=min_scale + uniform * (max_scale - min_scale),
        weights=exponentials / exponentials.sum(dim=1, keepdim=True),
    )


def _log_ndtr_between(low: Tensor, high: Tensor) -> Tensor:
    """Returns `log(Phi(high) - Phi(low))` for `low < high`, accurate in both tails."""
    # In the upper tail both are close to one: use the mirror image.
    is_upper = low > 0.0
    small, large = torch.where(is_upper, -high, low), torch.where(is_upper, -low, high)
    log_small, log_large = torch.special.log_ndtr(small), torch.special.log_ndtr(large)
    return log_large + torch.log1p(-(log_small - log_large).exp())
