"""Configuration of PPO with a consistency policy."""

import dataclasses
from typing import Any

from distill_rl.checks import (
    check_at_least_one,
    check_choice,
    check_not_negative,
    check_positive,
    check_widths,
)
from distill_rl.diffusion.schedules import check_noise_levels
from distill_rl.policies.noisy_actions import LIKELIHOOD_NAMES
from learners.ppo.advantages import ADVANTAGE_WEIGHTS

COUPLINGS = ("generating", "independent")

LITERAL_FORM: dict[str, Any] = {
    "likelihood": "exact",
    "weights": "linear",
    "num_sampling_steps": 2,
    "num_ode_steps": 4,
    "coupling": "independent",
    "noise_std": 0.5,
}
"""The paper's form, as options. Fang & Di, Appendix A.3, has ratios from the log-density of the ODE, weights
`w(A) = A`, and a consistency loss whose noise is drawn anew. The rest it leaves open: two steps, in which
Ding & Jin act, whose networks it takes (of one its ratios say nothing); steps of the solver; exploring noise.
"""


@dataclasses.dataclass(frozen=True)
class ConsistencyPPOConfig:
    """What PPO with a consistency policy has beside RLlib's own settings.

    The loss is `L_clip + coeff(t) E[w(A) L_consistency(s, a)]`. Source: Fang & Di, Appendix A.3, whose form
    is `LITERAL_FORM`; defaults are a bounded one.

    Raises:
      ValueError: if a field is out of range, naming it, what was expected and what came.
    """

    likelihood: str = "gaussian_steps"
    """What ratios are made of: `gaussian_steps`, `exact` or `loss_difference`; see
    `distill_rl.policies.noisy_actions`."""
    weights: str = "exponential"
    """How advantages weigh the consistency loss: `exponential`, `clamp` or `linear`; see
    `learners.ppo.advantages`."""
    coupling: str = "generating"
    """Which noise the consistency loss adds to an action: `generating`, that which the action was made of, or
    `independent`, as in consistency training. Exploring spreads actions; with independent noise the policy
    learns that spread, on which exploring adds its own, while the noise that made an action has its mean for
    a target. As in Issenhuth et al. (2024), "Improving consistency models with generator-augmented flows",
    https://arxiv.org/abs/2406.09570."""
    consistency_coeff: float = 0.01
    """Weight of the consistency loss at the start; 0 leaves it out."""
    consistency_decay_steps: int = 100_000
    """Environment steps over which that weight falls to zero, linearly."""
    weight_kl: float = 0.5
    """`exponential`: how far the weights of a batch are from uniform, in nats."""
    noise_std: float = 1.0
    """Deviation of the noise that exploring adds, at the start. With `gaussian_steps` it is learned, in each
    dimension; ratios of the other likelihoods say nothing about it, and it stays."""
    num_sampling_steps: int = 1
    """Network calls for each action."""
    num_ode_steps: int = 8
    """`exact`: steps of Heun's method, two network calls and as many divergences each."""
    num_loss_samples: int = 8
    """`loss_difference`: noise levels at which the losses of an action are compared."""
    num_noise_levels: int = 10
    """Levels of the Karras grid of the consistency loss."""
    hidden_sizes: tuple[int, ...] = (64, 64)
    """Hidden layers of the policy and of the value network."""
    sigma_min: float = 0.002
    """Smallest noise level, in action units."""
    sigma_max: float = 80.0
    """Largest noise level, in action units."""
    sigma_data: float = 0.5
    """Standard deviation of actions assumed by the scalings."""

    def __post_init__(self) -> None:
        # YAML gives lists; a tuple keeps the dataclass hashable.
        object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        check_choice("likelihood", self.likelihood, LIKELIHOOD_NAMES)
        check_choice("weights", self.weights, ADVANTAGE_WEIGHTS)
        check_choice("coupling", self.coupling, COUPLINGS)
        for name in ("consistency_decay_steps", "num_sampling_steps", "num_ode_steps", "num_loss_samples"):
            check_at_least_one(name, getattr(self, name))
        check_noise_levels(self.sigma_min, self.sigma_max)
        for name in ("weight_kl", "noise_std", "sigma_data"):
            check_positive(name, getattr(self, name))
        if self.num_noise_levels < 2:
            raise ValueError(f"`num_noise_levels` must be at least 2, got {self.num_noise_levels}")
        check_not_negative("consistency_coeff", self.consistency_coeff)
        if not self.noise_std < self.sigma_max:
            raise ValueError(
                f"`noise_std` must be below `sigma_max` = {self.sigma_max}, got {self.noise_std}"
            )
        check_widths("hidden_sizes", self.hidden_sizes)

    def consistency_coeff_at(self, num_env_steps: int) -> float:
        """Returns the weight of the consistency loss after so many environment steps."""
        return self.consistency_coeff * max(0.0, 1.0 - num_env_steps / self.consistency_decay_steps)
