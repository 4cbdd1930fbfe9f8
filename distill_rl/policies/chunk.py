"""Policies over sequences of actions: a diffusion model (the teacher) and one of jumps (the student).

Sources: Chi et al. (2023), "Diffusion policy"; Duan et al. (2025), "Accelerating diffusion models in offline
RL via reward-aware consistency trajectory distillation" (RACTD), Section 3.2.
"""

import abc

import torch
from torch import nn

from distill_rl.checks import check_at_least_one, check_positive, check_shape
from distill_rl.diffusion.multistep import sample_diffusion
from distill_rl.diffusion.schedules import check_noise_levels, karras_sigmas
from distill_rl.networks.temporal_unet import check_num_steps
from distill_rl.networks.trajectory_networks import ConditionedUNet
from distill_rl.policies.noise import scaled_noise_fn
from distill_rl.policies.trajectory import TrajectoryDenoiser, TrajectoryJumper


class ChunkPolicy(nn.Module, abc.ABC):
    """Draws the next `T` actions at once, from an observation.

    Args:
      observation_size: `O`.
      action_size: `A`.
      horizon: `T`, actions of a chunk.
      level_sizes: channels of each level of the U-Net.
      kernel_size: of its convolutions over time.
      embedding_size: entries of the embedding of a noise level.
      sigma_min: smallest noise level.
      sigma_max: largest noise level, where sampling starts.
      sigma_data: standard deviation of actions assumed by the scalings.

    Attributes:
      model: the denoiser, or the jumper.

    Raises:
      ValueError: if a size or a noise level is out of range, or `horizon` is no multiple of the U-Net's
        down-sampling.
    """

    model: TrajectoryDenoiser | TrajectoryJumper

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        *,
        horizon: int = 16,
        level_sizes: tuple[int, ...] = (512, 1024, 2048),
        kernel_size: int = 5,
        embedding_size: int = 128,
        sigma_min: float = 0.02,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
    ):
        super().__init__()
        check_at_least_one("horizon", horizon)
        check_noise_levels(sigma_min, sigma_max)
        check_positive("sigma_data", sigma_data)
        self.observation_size, self.action_size, self.horizon = observation_size, action_size, horizon
        self.level_sizes, self.kernel_size = tuple(level_sizes), kernel_size
        self.embedding_size = embedding_size
        self.sigma_min, self.sigma_max, self.sigma_data = sigma_min, sigma_max, sigma_data

    @torch.inference_mode()
    def act(
        self,
        observation: torch.Tensor,
        num_steps: int = 1,
        noise_scale: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Draws chunks without gradients, and returns their first actions.

        See `sample`. Shapes `[B, O]` to `[B, A]`.
        """
        return self.sample(observation, num_steps, noise_scale, generator)[:, 0]

    @abc.abstractmethod
    def sample(
        self,
        observation: torch.Tensor,
        num_steps: int = 1,
        noise_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Draws chunks, differentiably.

        Args:
          observation: shape `[B, O]`.
          num_steps: jumps of a student; steps of a teacher's sampler.
          noise_scale: factor on all noise. Sampling starts at `noise_scale sigma_max z`, so that
            `1 / sigma_max` is the start of Prasad et al. (2024), "Consistency policy", whose code draws unit
            noise; 0 gives the mode-like chunk.
          generator: source of the noise.

        Returns:
          Actions in [-1, 1]. Shape `[B, T, A]`.

        Raises:
          ValueError: if `num_steps` is below 1, `noise_scale` is negative, or the observations have another
            shape.
        """

    def _make_network(self, num_noise_inputs: int) -> ConditionedUNet:
        network = ConditionedUNet(
            self.observation_size,
            self.action_size,
            num_noise_inputs,
            level_sizes=self.level_sizes,
            kernel_size=self.kernel_size,
            embedding_size=self.embedding_size,
        )
        check_num_steps("horizon", self.horizon, self.level_sizes)
        return network

    def _draw_noise(
        self, observation: torch.Tensor, noise_scale: float, generator: torch.Generator | None
    ) -> torch.Tensor:
        check_shape("observation", observation, (None, self.observation_size))
        size = self.horizon * self.action_size
        noise = scaled_noise_fn(observation, size, noise_scale, generator)()
        return noise.view(len(observation), self.horizon, self.action_size)


class ChunkConsistencyPolicy(ChunkPolicy):
    """The student: a `TrajectoryJumper` from noise to actions, in one evaluation of its network or a few."""

    model: TrajectoryJumper

    def __init__(self, observation_size: int, action_size: int, **settings: object):
        super().__init__(observation_size, action_size, **settings)  # type: ignore[arg-type]
        self.model = TrajectoryJumper(self._make_network(2), self.sigma_data, self.sigma_min, self.sigma_max)

    def sample(
        self,
        observation: torch.Tensor,
        num_steps: int = 1,
        noise_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Draws chunks, differentiably; see `ChunkPolicy.sample`.

        The levels of further jumps part Karras' grid evenly, as in Prasad et al. (2024): the 27th and the
        54th of 80 for three. Shapes `[B, O]` to `[B, T, A]`.

        Raises:
          ValueError: if `num_steps` is below 1, or the observations have another shape.
        """
        check_at_least_one("num_steps", num_steps)
        sigmas = karras_sigmas(num_steps + 1, self.sigma_min, self.sigma_max).tolist()[1:-1]

        def noise_fn() -> torch.Tensor:
            return self._draw_noise(observation, noise_scale, generator)

        return self.model.sample(noise_fn(), observation, tuple(sigmas), noise_fn).clamp(-1.0, 1.0)


class ChunkDiffusionPolicy(ChunkPolicy):
    """The teacher: a `TrajectoryDenoiser` behind any of `distill_rl.diffusion.multistep.SAMPLERS`."""

    model: TrajectoryDenoiser

    def __init__(self, observation_size: int, action_size: int, **settings: object):
        super().__init__(observation_size, action_size, **settings)  # type: ignore[arg-type]
        self.model = TrajectoryDenoiser(self._make_network(1), self.sigma_data)

    def sample(
        self,
        observation: torch.Tensor,
        num_steps: int = 80,
        noise_scale: float = 1.0,
        generator: torch.Generator | None = None,
        sampler: str = "heun",
    ) -> torch.Tensor:
        """Draws chunks, differentiably; see `ChunkPolicy.sample`.

        Args:
          observation: shape `[B, O]`.
          num_steps: noise levels on Karras' grid, each of them one step of the sampler. The published
            teacher takes 80 of `heun`, which evaluates the network twice in all but the last.
          noise_scale: factor on all noise.
          generator: source of the noise.
          sampler: one of `SAMPLERS`.

        Returns:
          Actions in [-1, 1]. Shape `[B, T, A]`.

        Raises:
          ValueError: if `num_steps` is below 1, the observations have another shape, or the sampler is
            unknown.
        """
        check_at_least_one("num_steps", num_steps)
        levels = karras_sigmas(max(num_steps, 2), self.sigma_min, self.sigma_max)[:num_steps]

        def noise_fn() -> torch.Tensor:
            return self._draw_noise(observation, noise_scale, generator)

        def denoise(x: torch.Tensor, sigma: float) -> torch.Tensor:
            return self.model.denoise(x, x.new_full((len(x),), sigma), observation)

        sigmas = torch.cat([levels, levels.new_zeros(1)])
        drawn = sample_diffusion(sampler, denoise, self.sigma_max * noise_fn(), sigmas, noise_fn)
        return drawn.clamp(-1.0, 1.0)
