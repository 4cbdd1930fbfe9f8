"""A policy of several denoising steps: a diffusion model conditioned on the observation."""

import torch

from distill_rl.checks import check_at_least_one
from distill_rl.diffusion.ddpm import VarianceSchedule, sample_ancestral, variance_preserving_schedule
from distill_rl.networks.backbones import make_backbone
from distill_rl.networks.normalizer import RunningNormalizer
from distill_rl.policies.generative import GenerativePolicy
from distill_rl.policies.noise import scaled_noise_fn

_EMBEDDING_SIZE = 16


class DiffusionPolicy(GenerativePolicy):
    """Predicts the noise in an action, and acts by taking it away step by step.

    Source: Wang et al. (2023), "Diffusion policies as an expressive policy class for offline reinforcement
    learning", arXiv:2208.06193. Actions are normalised to [-1, 1].

    Args:
      observation_size: `O`.
      action_size: `A`.
      hidden_sizes: widths of the hidden layers.
      backbone: `mlp` or `ln_resnet`.
      num_diffusion_steps: `T`, steps of the model; acting takes all of them.

    Raises:
      ValueError: if there is no step, or the backbone is unknown or does not take these widths.
    """

    alpha: torch.Tensor
    alpha_bar: torch.Tensor
    embeddings: torch.Tensor

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        *,
        hidden_sizes: tuple[int, ...] = (256, 256, 256),
        backbone: str = "mlp",
        num_diffusion_steps: int = 5,
    ):
        super().__init__()
        check_at_least_one("num_diffusion_steps", num_diffusion_steps)
        self.observation_size, self.action_size = observation_size, action_size
        self.hidden_sizes, self.backbone = tuple(hidden_sizes), backbone
        self.num_diffusion_steps = num_diffusion_steps
        self.normalizer = RunningNormalizer(observation_size)
        size = observation_size + action_size + _EMBEDDING_SIZE
        self.network = make_backbone(backbone, size, self.hidden_sizes, action_size)
        schedule = variance_preserving_schedule(num_diffusion_steps)
        self.register_buffer("alpha", schedule.alpha, persistent=False)
        self.register_buffer("alpha_bar", schedule.alpha_bar, persistent=False)
        half = _EMBEDDING_SIZE // 2
        phase = torch.arange(num_diffusion_steps)[:, None] * 10_000.0 ** -(torch.arange(half) / (half - 1))
        embeddings = torch.cat([phase.sin(), phase.cos()], dim=-1)
        self.register_buffer("embeddings", embeddings, persistent=False)

    @property
    def schedule(self) -> VarianceSchedule:
        """Noise of each step."""
        return VarianceSchedule(self.alpha, self.alpha_bar)

    def predict_noise(
        self, x: torch.Tensor, step: int | torch.Tensor, observation: torch.Tensor
    ) -> torch.Tensor:
        """Predicts the noise in noisy actions.

        Args:
          x: noisy actions. Shape `[..., A]`.
          step: from 0, one for all or one each `[...]`.
          observation: shape `[..., O]`; leading axes broadcast to those of `x`.

        Returns:
          Shape `[..., A]`.
        """
        leading = x.shape[:-1]
        seen = self.normalizer(observation).expand(*leading, self.observation_size)
        embedding = self.embeddings[step].expand(*leading, _EMBEDDING_SIZE)
        predicted: torch.Tensor = self.network(torch.cat([seen, x, embedding], dim=-1))
        return predicted

    def sample(
        self,
        observation: torch.Tensor,
        num_steps: int = 1,
        noise_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Draws actions, differentiably; see `GenerativePolicy.sample`. Shapes `[..., O]` to `[..., A]`.

        `num_steps` has no meaning here: a diffusion model takes the steps that it was trained with.
        """
        del num_steps
        return sample_ancestral(
            self.schedule,
            lambda x, step: self.predict_noise(x, step, observation),
            scaled_noise_fn(observation, self.action_size, noise_scale, generator),
        )
