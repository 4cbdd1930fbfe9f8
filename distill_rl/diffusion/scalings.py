"""Scalings of a denoiser's input and output, as functions of the noise level.

A network `F` becomes `D(x, sigma) = c_skip x + c_out F(c_in x, c_noise)`.

Sources: Karras et al. (2022), "Elucidating the design space of diffusion-based generative models", Table 1;
Song et al. (2023), "Consistency models", Appendix C.
"""

import math
from typing import Generic, NamedTuple, TypeVar

import torch

Sigma = TypeVar("Sigma", float, torch.Tensor)


class Scalings(NamedTuple, Generic[Sigma]):
    """The four scalings, each of the shape of the noise level it was made from."""

    c_skip: Sigma
    c_out: Sigma
    c_in: Sigma
    c_noise: Sigma


def edm_scalings(sigma: Sigma, sigma_data: float) -> Scalings[Sigma]:
    """Computes the scalings of a denoiser (EDM).

    `c_skip = sd^2 / (s^2 + sd^2)`, `c_out = s sd / sqrt(s^2 + sd^2)`, `c_in = 1 / sqrt(s^2 + sd^2)`,
    `c_noise = ln(s) / 4`. Source: Karras et al. (2022), Table 1.

    Args:
      sigma: noise level, > 0; a float or a tensor of any shape.
      sigma_data: standard deviation of the data, in action units.

    Returns:
      The scalings, each of the type and shape of `sigma`.
    """
    return consistency_scalings(sigma, sigma_data, 0.0)


def consistency_scalings(sigma: Sigma, sigma_data: float, sigma_min: float) -> Scalings[Sigma]:
    """Computes the scalings of a consistency function, which is the identity at `sigma_min`.

    As EDM's, with `c_skip = sd^2 / ((s - s_min)^2 + sd^2)` and `c_out = (s - s_min) sd / sqrt(s^2 + sd^2)`.
    Source: Song et al. (2023), Appendix C.

    Args:
      sigma: noise level, >= `sigma_min`; a float or a tensor of any shape.
      sigma_data: standard deviation of the data, in action units.
      sigma_min: smallest noise level; 0 gives EDM's scalings.

    Returns:
      The scalings, each of the type and shape of `sigma`.
    """
    above = sigma - sigma_min
    norm = (sigma * sigma + sigma_data**2) ** 0.5
    return Scalings(
        c_skip=sigma_data**2 / (above * above + sigma_data**2),
        c_out=above * sigma_data / norm,
        c_in=1.0 / norm,
        c_noise=0.25 * (sigma.log() if isinstance(sigma, torch.Tensor) else math.log(sigma)),
    )
