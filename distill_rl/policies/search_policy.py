"""Torch networks as a search sees them: numpy in, numpy out."""

import numpy as np
import torch

from distill_rl.policies.base import SearchPolicy
from distill_rl.policies.distill_networks import DistillNetworks, LatentNetworks, StudentNetworks
from distill_rl.policies.offline_networks import OfflineNetworks


class TorchSearchPolicy:
    """Implements `SearchPolicy` over torch networks; all noise comes from the caller's numpy generator.

    Args:
      networks: a policy and its value function.
    """

    def __init__(self, networks: StudentNetworks):
        self._networks = networks

    @torch.inference_mode()
    def act(self, observation: np.ndarray, noise_scale: float, generator: np.random.Generator) -> np.ndarray:
        """Draws one action for each observation. Shapes `[M, O]` to `[M, A]`, float32."""
        policy = self._networks.policy
        shape = (observation.shape[0], policy.action_size)
        if noise_scale == 0.0:
            noise = np.zeros(shape, np.float32)
        else:
            noise = generator.standard_normal(shape, dtype=np.float32) * np.float32(noise_scale)
        return policy.one_step(_as_tensor(observation), torch.from_numpy(noise)).numpy()

    @torch.inference_mode()
    def value(self, observation: np.ndarray) -> np.ndarray:
        """Returns the value of each observation. Shapes `[M, O]` to `[M]`, float32."""
        assert isinstance(self._networks, DistillNetworks)
        return self._networks.value.value(_as_tensor(observation)).numpy()


class LatentSearchPolicy(TorchSearchPolicy):
    """Implements `CriticPolicy` and `LatentModel` over `LatentNetworks`; its observations are latent states.

    Args:
      networks: a policy over the latent states of a learned model.
    """

    def __init__(self, networks: LatentNetworks):
        super().__init__(networks)
        self._latent = networks

    @property
    def latent_size(self) -> int:
        """Entries of a latent state."""
        return self._latent.world_model.config.latent_size

    @property
    def action_size(self) -> int:
        """Entries of an action."""
        return self._latent.policy.action_size

    @torch.inference_mode()
    def value(self, observation: np.ndarray) -> np.ndarray:
        """Returns the value of the policy's zero-noise action. Shapes `[M, Z]` to `[M]`, float32."""
        return self._latent.value(_as_tensor(observation)).numpy()

    @torch.inference_mode()
    def q_value(self, observation: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Returns the value of actions. Shapes `[M, Z]`, `[M, A]` to `[M]`, float32."""
        return self._latent.world_model.q_value(_as_tensor(observation), _as_tensor(action)).numpy()

    @torch.inference_mode()
    def encode(self, observation: np.ndarray) -> np.ndarray:
        """Returns latent states. Shapes `[M, O]` to `[M, Z]`, float32."""
        return self._latent.encode(_as_tensor(observation)).numpy()

    @torch.inference_mode()
    def step(self, latent: np.ndarray, action: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Returns latent states after an action, rewards and discounts. Shapes `[M, Z]`, `[M]`, `[M]`."""
        after, reward, discount = self._latent.world_model.step(_as_tensor(latent), _as_tensor(action))
        return after.numpy(), reward.numpy().astype(np.float64), discount.numpy().astype(np.float64)


class ActorCriticSearchPolicy:
    """Implements `CriticPolicy` over a policy of any kind and a critic.

    Args:
      networks: with a critic.
      num_steps: denoising steps of an action.

    Raises:
      ValueError: if there is no critic.
    """

    def __init__(self, networks: OfflineNetworks, num_steps: int):
        if networks.critic is None:
            raise ValueError("`networks` must have a critic to search with, got none")
        self._policy, self._critic = networks.policy, networks.critic
        self._num_steps = num_steps

    @torch.inference_mode()
    def act(self, observation: np.ndarray, noise_scale: float, generator: np.random.Generator) -> np.ndarray:
        """Draws one action for each observation. Shapes `[M, O]` to `[M, A]`, float32."""
        noise = torch.Generator().manual_seed(int(generator.integers(2**63)))
        return self._policy.act(_as_tensor(observation), self._num_steps, noise_scale, noise).numpy()

    @torch.inference_mode()
    def value(self, observation: np.ndarray) -> np.ndarray:
        """Returns the value of the policy's zero-noise action. Shapes `[M, O]` to `[M]`, float32."""
        seen = _as_tensor(observation)
        return self._q_value(seen, self._policy.act(seen, self._num_steps, 0.0)).numpy()

    @torch.inference_mode()
    def q_value(self, observation: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Returns the smallest of the critic's values. Shapes `[M, O]`, `[M, A]` to `[M]`, float32."""
        return self._q_value(_as_tensor(observation), _as_tensor(action)).numpy()

    def _q_value(self, observation: torch.Tensor, action: torch.Tensor) -> torch.Tensor:
        smallest: torch.Tensor = self._critic(observation, action).amin(dim=0)
        return smallest


def make_search_policy(networks: StudentNetworks | OfflineNetworks, num_steps: int = 1) -> SearchPolicy:
    """Returns the policy of a search over some networks.

    Args:
      networks: of a student of reference sets, or of an actor and its critic.
      num_steps: denoising steps of an action; a student of reference sets takes 1.

    Raises:
      ValueError: if they are of an actor without a critic.
    """
    if isinstance(networks, OfflineNetworks):
        return ActorCriticSearchPolicy(networks, num_steps)
    if isinstance(networks, LatentNetworks):
        return LatentSearchPolicy(networks)
    return TorchSearchPolicy(networks)


def _as_tensor(observation: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(observation, dtype=np.float32))
