"""The policy that took the actions of a dataset, where the dataset brings it along."""

import dataclasses
from collections.abc import Mapping

import numpy as np

from distill_rl.checks import check_shape

_LARGEST = 1.0 - 1e-6
_LOG_STD_BOUNDS = (-20.0, 2.0)

Layer = tuple[np.ndarray, np.ndarray]
"""Weight `[out, in]` and bias `[out]`."""


@dataclasses.dataclass(frozen=True)
class BehaviourPolicy:
    """A squashed Gaussian policy with two ReLU layers, as D4RL stores those of soft actor-critic.

    Attributes:
      first: first hidden layer.
      second: second hidden layer.
      mean: layer of the means.
      log_std: layer of the logarithms of the standard deviations.
    """

    first: Layer
    second: Layer
    mean: Layer
    log_std: Layer

    def check_sizes(self, observation_size: int, action_size: int) -> None:
        """Checks that the layers fit one another, and what they are given and asked for.

        Args:
          observation_size: `O`.
          action_size: `A`.

        Raises:
          ValueError: naming the layer, what was expected and what came.
        """
        hidden = observation_size
        for name, num_outputs in (("first", None), ("second", None)):
            hidden = self._check_layer(name, num_outputs, hidden)
        for name in ("mean", "log_std"):
            self._check_layer(name, action_size, hidden)

    def log_prob(self, observation: np.ndarray, action: np.ndarray) -> np.ndarray:
        """Returns log-densities: `sum_j log N(u_j; m_j, s_j^2) - log(1 - a_j^2)`, `a = tanh(u)`.

        Source: Haarnoja et al. (2018), "Soft actor-critic", Appendix C.

        Args:
          observation: shape `[M, O]`.
          action: in [-1, 1]. Shape `[M, A]`.

        Returns:
          Shape `[M]`.
        """
        mean, log_std = self._parameters(observation)
        squashed = np.clip(action, -_LARGEST, _LARGEST)
        z = (np.arctanh(squashed) - mean) * np.exp(-log_std)
        log_normal = -0.5 * z**2 - log_std - 0.5 * np.log(2.0 * np.pi)
        return np.asarray((log_normal - np.log1p(-(squashed**2))).sum(axis=-1))

    def act(self, observation: np.ndarray, generator: np.random.Generator | None = None) -> np.ndarray:
        """Draws actions, or returns the squashed means without a generator. Shapes `[M, O]` to `[M, A]`."""
        mean, log_std = self._parameters(observation)
        if generator is not None:
            mean = mean + np.exp(log_std) * generator.standard_normal(mean.shape)
        return np.tanh(mean).astype(np.float32)

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Returns weights and biases by name, such as `first_weight`."""
        arrays = {}
        for field in dataclasses.fields(self):
            arrays[f"{field.name}_weight"], arrays[f"{field.name}_bias"] = getattr(self, field.name)
        return arrays

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray]) -> "BehaviourPolicy":
        """Builds the policy from what `to_arrays` returned."""
        names = [field.name for field in dataclasses.fields(BehaviourPolicy)]
        return BehaviourPolicy(*((arrays[f"{name}_weight"], arrays[f"{name}_bias"]) for name in names))

    def _check_layer(self, name: str, num_outputs: int | None, num_inputs: int) -> int:
        """Checks a layer, and returns how many outputs it has."""
        weight, bias = getattr(self, name)
        check_shape(f"behaviour_policy.{name} weight", weight, (num_outputs, num_inputs))
        check_shape(f"behaviour_policy.{name} bias", bias, weight.shape[:1])
        return len(bias)

    def _parameters(self, observation: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        hidden = np.asarray(observation, np.float64)
        for weight, bias in (self.first, self.second):
            hidden = np.maximum(hidden @ weight.T + bias, 0.0)
        mean = hidden @ self.mean[0].T + self.mean[1]
        log_std = np.clip(hidden @ self.log_std[0].T + self.log_std[1], *_LOG_STD_BOUNDS)
        return mean, log_std
