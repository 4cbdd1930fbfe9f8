"""The network of Ding & Jin: the consistency function that paper experiments are run with."""

import torch
from torch import Tensor, nn

from distill_rl.diffusion.scalings import consistency_scalings

_EMBEDDING_SIZE = 16
_HIDDEN_SIZE = 256


class DingJinDenoiser(nn.Module):
    """`D(x, sigma, s) = c_skip x + c_out MLP(x, embedding(sigma), s)`: three layers of 256, Mish, no `c_in`.

    The noise level is embedded by 16 sines and cosines of `sigma` itself and two layers (32, 16).
    Source: Ding & Jin (2023), "Consistency models as a rich and efficient policy class for reinforcement
    learning", arXiv:2309.16984, as in the authors' code; the scalings are those of Song et al. (2023),
    Appendix C.

    Args:
      observation_size: `O`; may be 0.
      action_size: `A`.
      sigma_min: smallest noise level, where the function is the identity.
      sigma_max: largest noise level, where sampling starts.
      sigma_data: standard deviation of actions assumed by the scalings.
    """

    frequencies: Tensor

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        *,
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
    ):
        super().__init__()
        self.sigma_min, self.sigma_max, self.sigma_data = sigma_min, sigma_max, sigma_data
        half = _EMBEDDING_SIZE // 2
        self.register_buffer("frequencies", 10_000.0 ** -(torch.arange(half) / (half - 1)), persistent=False)
        self.embedding = nn.Sequential(
            nn.Linear(_EMBEDDING_SIZE, 2 * _EMBEDDING_SIZE),
            nn.Mish(),
            nn.Linear(2 * _EMBEDDING_SIZE, _EMBEDDING_SIZE),
        )
        layers: list[nn.Module] = []
        size = action_size + _EMBEDDING_SIZE + observation_size
        for _ in range(3):
            layers += [nn.Linear(size, _HIDDEN_SIZE), nn.Mish()]
            size = _HIDDEN_SIZE
        self.mlp = nn.Sequential(*layers, nn.Linear(size, action_size))

    def denoise(self, x_sigma: Tensor, sigma: Tensor, observation: Tensor) -> Tensor:
        """Evaluates the consistency function.

        Args:
          x_sigma: noisy actions. Shape `[..., A]`.
          sigma: noise levels. Shape `[...]`.
          observation: shape `[..., O]`.

        Returns:
          Denoised actions, unclipped. Shape `[..., A]`.
        """
        level = sigma.unsqueeze(-1)
        scalings = consistency_scalings(level, self.sigma_data, self.sigma_min)
        phase = level * self.frequencies
        embedding = self.embedding(torch.cat([phase.sin(), phase.cos()], dim=-1))
        output: Tensor = self.mlp(torch.cat([x_sigma, embedding, observation], dim=-1))
        return scalings.c_skip * x_sigma + scalings.c_out * output
