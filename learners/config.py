"""Configuration of the projection: reference sets onto a one-step policy."""

import dataclasses

from distill_rl.checks import check_choice, check_decay, check_not_negative, check_positive, check_widths
from distill_rl.diffusion.schedules import check_noise_levels

OBJECTIVE_NAMES = ("denoising", "consistency", "endpoint", "energy")
POSTERIOR_NAMES = (
    "single_sample",
    "importance",
    "gumbel",
    "proposal_corrected",
    "stein",
    "defensive_mixture",
    "control_variate",
)
NOISE_LEVEL_SCHEDULES = ("fixed", "adaptive", "improved", "easy")
CLOSED_FORM_POSTERIORS = ("importance", "proposal_corrected")
ODE_POSTERIORS = (*CLOSED_FORM_POSTERIORS, "stein", "defensive_mixture")
"""Those that estimate the posterior mean at any point, without the source it was noised from."""


@dataclasses.dataclass(frozen=True)
class DistillationConfig:
    """What is learned, how, and from how much.

    Raises:
      ValueError: if a field is out of range, naming it, what was expected and what came.
    """

    objective: str = "endpoint"
    """`endpoint`, `energy`, `consistency` or `denoising`."""
    posterior: str = "proposal_corrected"
    """`proposal_corrected`, `importance`, `gumbel` or `single_sample`; `stein`, `defensive_mixture` or
    `control_variate` where p* can be called as a function. `endpoint` takes no `gumbel`, `single_sample` or
    `control_variate`, which need the clean action that noise was added to; `energy` takes the first two."""
    num_noises: int = 1
    """Noise draws for each state of a batch; `energy` compares them with each other, and needs 2."""
    num_ode_steps: int = 8
    """`endpoint`: evaluations of the posterior mean along the ODE."""
    zero_noise_fraction: float = 0.5
    """`endpoint`, `energy`: share of a batch trained at zero noise, as the policy acts by default."""
    num_noise_levels: int = 10
    """`consistency`, `denoising`: levels of the Karras grid."""
    noise_level_schedule: str = "fixed"
    """`consistency`: `fixed`, `adaptive` (levels grow to 150 and the target's decay with them), `improved`
    (iCT) or `easy` (ECT); the last two weigh by `1 / (sigma - next_sigma)` and take the policy itself as its
    target."""
    schedule_updates: int = 100_000
    """All but `fixed`: updates until the schedule ends."""
    ode_solver: str = "euler"
    """`consistency`: `euler` or `heun`."""
    distance: str = "l2"
    """`consistency`: `l2` or `pseudo_huber`."""
    sigma_min: float = 0.002
    """Smallest noise level, in action units."""
    sigma_max: float = 80.0
    """Largest noise level, in action units."""
    sigma_data: float = 0.5
    """Standard deviation of actions assumed by the scalings."""
    hidden_sizes: tuple[int, ...] = (256, 256)
    """Hidden layers of the policy and of the value network."""
    batch_size: int = 256
    """States of a batch."""
    learning_rate: float = 2e-3
    """Step size of Adam."""
    ema_decay: float = 0.99
    """Decay of the averaged weights, which act, bootstrap and serve as the target."""
    grad_clip_norm: float = 10.0
    """Largest norm of the gradient."""
    value_loss_weight: float = 1.0
    """Weight of the value loss beside the policy's."""
    replay_capacity: int = 16_000
    """Reference sets kept."""
    replay_priority: float = 0.0
    """0 draws batches uniformly; 1 in proportion to how much the search improved on the policy."""
    max_consecutive_skips: int = 10
    """Updates skipped in a row for a non-finite loss before the last good weights come back."""

    def __post_init__(self) -> None:
        # YAML gives lists; a tuple keeps the dataclass hashable.
        object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        self._check_choices()
        self._check_ranges()

    def _check_choices(self) -> None:
        check_choice("objective", self.objective, OBJECTIVE_NAMES)
        check_choice("posterior", self.posterior, POSTERIOR_NAMES)
        check_choice("noise_level_schedule", self.noise_level_schedule, NOISE_LEVEL_SCHEDULES)
        check_choice("ode_solver", self.ode_solver, ("euler", "heun"))
        check_choice("distance", self.distance, ("l2", "pseudo_huber"))
        allowed = {"endpoint": ODE_POSTERIORS, "energy": CLOSED_FORM_POSTERIORS}.get(
            self.objective, POSTERIOR_NAMES
        )
        if self.posterior not in allowed:
            raise ValueError(
                f"`posterior` must be one of {', '.join(allowed)} for the objective {self.objective}, "
                f"got {self.posterior!r}"
            )
        if self.objective == "energy" and self.num_noises < 2:
            raise ValueError(
                f"`num_noises` must be at least 2 for the objective energy, got {self.num_noises}"
            )

    def _check_ranges(self) -> None:
        smallest = {
            "num_noises": 1,
            "num_ode_steps": 3,
            "num_noise_levels": 2,
            "schedule_updates": 1,
            "batch_size": 1,
            "replay_capacity": 1,
            "max_consecutive_skips": 1,
        }
        for name, least in smallest.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"`{name}` must be an integer of at least {least}, got {value!r}")
        check_noise_levels(self.sigma_min, self.sigma_max)
        for name in ("sigma_data", "learning_rate", "grad_clip_norm"):
            check_positive(name, getattr(self, name))
        check_decay("ema_decay", self.ema_decay)
        for name in ("zero_noise_fraction", "replay_priority"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"`{name}` must lie in [0, 1], got {getattr(self, name)}")
        check_not_negative("value_loss_weight", self.value_loss_weight)
        check_widths("hidden_sizes", self.hidden_sizes)
