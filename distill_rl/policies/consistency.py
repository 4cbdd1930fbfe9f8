"""The one-step generative policy: a consistency function conditioned on the observation.

Source: Song et al. (2023), "Consistency models"; as a policy, Ding & Jin (2023), arXiv:2309.16984.
"""

import torch

from distill_rl.checks import check_at_least_one, check_positive
from distill_rl.diffusion.likelihood import Divergence, LikelihoodSolver, log_density
from distill_rl.diffusion.samplers import sample_multistep
from distill_rl.diffusion.scalings import consistency_scalings
from distill_rl.diffusion.schedules import check_noise_levels, karras_sigmas
from distill_rl.networks.backbones import make_backbone
from distill_rl.networks.normalizer import RunningNormalizer
from distill_rl.policies.generative import GenerativePolicy
from distill_rl.policies.noise import scaled_noise_fn

_NUM_FREQUENCIES = 8
_MAX_FREQUENCY = 16.0


class ConsistencyPolicy(GenerativePolicy):
    """Maps noise and an observation to an action in one step.

    `D(x, sigma, s) = c_skip x + c_out MLP(s, c_in x, embedding(c_noise))` with the scalings that make it the
    identity at `sigma_min`. Actions are normalised to [-1, 1].

    Args:
      observation_size: `O`.
      action_size: `A`.
      hidden_sizes: widths of the hidden layers.
      sigma_min: smallest noise level, in action units.
      sigma_max: largest noise level, where sampling starts.
      sigma_data: standard deviation of actions assumed by the scalings.
      backbone: `mlp` or `ln_resnet`.

    Raises:
      ValueError: if a noise level is not positive or `sigma_min` is not below `sigma_max`.
    """

    frequencies: torch.Tensor
    embedding_at_sigma_max: torch.Tensor

    def __init__(
        self,
        observation_size: int,
        action_size: int,
        *,
        hidden_sizes: tuple[int, ...] = (256, 256),
        sigma_min: float = 0.002,
        sigma_max: float = 80.0,
        sigma_data: float = 0.5,
        backbone: str = "mlp",
    ):
        super().__init__()
        check_noise_levels(sigma_min, sigma_max)
        check_positive("sigma_data", sigma_data)
        self.observation_size, self.action_size = observation_size, action_size
        self.hidden_sizes, self.backbone = tuple(hidden_sizes), backbone
        self.sigma_min, self.sigma_max, self.sigma_data = sigma_min, sigma_max, sigma_data
        self.normalizer = RunningNormalizer(observation_size)
        size = observation_size + action_size + 2 * _NUM_FREQUENCIES
        self.mlp = make_backbone(backbone, size, self.hidden_sizes, action_size)  # a name in saved policies
        frequencies = torch.logspace(0.0, 1.0, _NUM_FREQUENCIES, base=_MAX_FREQUENCY)
        self.register_buffer("frequencies", frequencies, persistent=False)
        # Acting and the default objective only ever use `sigma_max`.
        self._c_noise_at_sigma_max = c_noise = consistency_scalings(sigma_max, sigma_data, sigma_min).c_noise
        self.register_buffer("embedding_at_sigma_max", self._embed(torch.tensor([c_noise])), persistent=False)

    def denoise(
        self, x_sigma: torch.Tensor, sigma: float | torch.Tensor, observation: torch.Tensor
    ) -> torch.Tensor:
        """Evaluates the consistency function.

        Args:
          x_sigma: noisy actions. Shape `[..., A]`.
          sigma: noise level; one float for all (cheaper), or a tensor of shape `[...]`.
          observation: shape `[..., O]`; leading axes broadcast to those of `x_sigma`.

        Returns:
          Denoised actions, unclipped. Shape `[..., A]`.
        """
        leading = x_sigma.shape[:-1]
        c_skip: float | torch.Tensor
        c_out: float | torch.Tensor
        c_in: float | torch.Tensor
        if isinstance(sigma, torch.Tensor):
            each = consistency_scalings(sigma.unsqueeze(-1), self.sigma_data, self.sigma_min)
            c_skip, c_out, c_in, embedding = each[0], each[1], each[2], self._embed(each.c_noise)
        else:
            same = consistency_scalings(sigma, self.sigma_data, self.sigma_min)
            c_skip, c_out, c_in, embedding = same[0], same[1], same[2], self._embed_float(same.c_noise)
        features = torch.cat(
            [
                self.normalizer(observation).expand(*leading, self.observation_size),
                c_in * x_sigma,
                embedding.expand(*leading, 2 * _NUM_FREQUENCIES),
            ],
            dim=-1,
        )
        return c_skip * x_sigma + c_out * self.mlp(features)

    def one_step(self, observation: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
        """Maps unit noise to actions in [-1, 1] by one network call. Shapes `[..., O]`, `[..., A]`."""
        return self.denoise(self.sigma_max * noise, self.sigma_max, observation).clamp(-1.0, 1.0)

    def sample(
        self,
        observation: torch.Tensor,
        num_steps: int = 1,
        noise_scale: float = 1.0,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Draws actions, differentiably: by multistep consistency sampling above one step.

        See `GenerativePolicy.sample`. Shapes `[..., O]` to `[..., A]`.
        """
        actions = sample_multistep(
            lambda x, sigma: self.denoise(x, sigma, observation),
            scaled_noise_fn(observation, self.action_size, noise_scale, generator),
            self.sampling_sigmas(num_steps),
            self.sigma_min,
        )
        return actions.clamp(-1.0, 1.0)

    def sampling_sigmas(self, num_steps: int) -> list[float]:
        """Returns the noise level of each network call of sampling, descending, on Karras' grid.

        Raises:
          ValueError: if `num_steps` is below 1.
        """
        check_at_least_one("num_steps", num_steps)
        # The last level of the grid is `sigma_min`, where the function is the identity.
        sigmas: list[float] = karras_sigmas(num_steps + 1, self.sigma_min, self.sigma_max).tolist()[:-1]
        sigmas[0] = self.sigma_max  # to the bit, which is what the embedding is held ready for
        return sigmas

    def log_prob(
        self,
        observation: torch.Tensor,
        actions: torch.Tensor,
        *,
        divergence: Divergence | None = None,
        num_probes: int = 1,
        solver: LikelihoodSolver = "heun",
        num_steps: int = 128,
        generator: torch.Generator | None = None,
    ) -> torch.Tensor:
        """Computes log-densities of actions, by the probability-flow ODE with this network as the denoiser.

        That is the density of what the ODE samples, unclipped. It describes one-step samples only as far as
        the network is both a denoiser and its consistency function: after the objective `denoising` it is the
        density of multistep ODE samples; `endpoint` trains `sigma_max` alone and leaves it without meaning.

        Args:
          observation: shape `[M, O]`.
          actions: shape `[M, A]`.
          divergence: see `distill_rl.diffusion.likelihood.log_density`.
          num_probes: likewise.
          solver: likewise.
          num_steps: likewise.
          generator: source of the probes.

        Returns:
          Log-densities, in nats. Shape `[M]`.

        Raises:
          ValueError: if a setting is unknown or out of range.
        """
        return log_density(
            lambda x, sigma: self.denoise(x, sigma, observation),
            actions,
            sigma_min=self.sigma_min,
            sigma_max=self.sigma_max,
            sigma_data=self.sigma_data,
            divergence=divergence,
            num_probes=num_probes,
            solver=solver,
            num_steps=num_steps,
            generator=generator,
        )

    def _embed(self, c_noise: torch.Tensor) -> torch.Tensor:
        phase = c_noise * self.frequencies
        return torch.cat([phase.sin(), phase.cos()], dim=-1)

    def _embed_float(self, c_noise: float) -> torch.Tensor:
        if c_noise == self._c_noise_at_sigma_max:
            return self.embedding_at_sigma_max
        return self._embed(self.frequencies.new_tensor([c_noise]))
