"""A torch policy and value function as a search sees them: numpy in, numpy out."""

import numpy as np
import torch

from distill_rl.networks.value import ValueNetwork
from distill_rl.policies.consistency import ConsistencyPolicy


class TorchSearchPolicy:
    """Implements `SearchPolicy` over torch modules; all noise comes from the caller's numpy generator.

    Args:
      policy: the one-step policy.
      value_network: its value function.
    """

    def __init__(self, policy: ConsistencyPolicy, value_network: ValueNetwork):
        self._policy = policy
        self._value_network = value_network

    @torch.inference_mode()
    def act(self, observation: np.ndarray, noise_scale: float, generator: np.random.Generator) -> np.ndarray:
        """Draws one action for each observation. Shapes `[M, O]` to `[M, A]`, float32."""
        shape = (observation.shape[0], self._policy.action_size)
        if noise_scale == 0.0:
            noise = np.zeros(shape, np.float32)
        else:
            noise = generator.standard_normal(shape, dtype=np.float32) * np.float32(noise_scale)
        return self._policy.one_step(_as_tensor(observation), torch.from_numpy(noise)).numpy()

    @torch.inference_mode()
    def value(self, observation: np.ndarray) -> np.ndarray:
        """Returns the value of each observation. Shapes `[M, O]` to `[M]`, float32."""
        return self._value_network.value(_as_tensor(observation)).numpy()


def _as_tensor(observation: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(observation, dtype=np.float32))
