"""Configuration of learning from fixed data."""

import dataclasses

from distill_rl.checks import (
    check_at_least_one,
    check_choice,
    check_decay,
    check_fraction,
    check_not_negative,
    check_positive,
    check_widths,
)
from distill_rl.diffusion.schedules import check_noise_levels
from distill_rl.networks.backbones import BACKBONES
from distill_rl.policies.kinds import POLICY_KINDS

IMPROVEMENTS = ("none", "gradient", "references")
REWARD_TRANSFORMS = ("none", "antmaze", "standardize")


@dataclasses.dataclass(frozen=True)
class DatasetConfig:
    """What is learned from.

    Raises:
      ValueError: if a field is out of range, naming it, what was expected and what came.
    """

    name: str = ""
    """Name of a dataset in the folder of all datasets, or the folder of one."""
    reward_transform: str = "none"
    """`none`; `antmaze`: `(r - 0.5) 4`; `standardize`: zero mean, unit variance over the dataset."""

    def __post_init__(self) -> None:
        check_choice("reward_transform", self.reward_transform, REWARD_TRANSFORMS)


@dataclasses.dataclass(frozen=True)
class ExperienceConfig:
    """Where learning from one's own steps begins, and how many of them are kept.

    Raises:
      ValueError: if a field is out of range, naming it, what was expected and what came.
    """

    replay_capacity: int = 200_000
    """Steps that all learners keep together, with the candidates of their states."""
    initial_checkpoint: str | None = None
    """Run folder, or checkpoint of one, of the same networks (learned from a dataset, say) whose weights,
    averages and moments of Adam learning goes on from; None starts from nothing."""

    def __post_init__(self) -> None:
        check_at_least_one("replay_capacity", self.replay_capacity)


@dataclasses.dataclass(frozen=True)
class LearningConfig:
    """What is learned, and how. Actions and noise levels are in units of actions normalised to [-1, 1].

    Raises:
      ValueError: if a field is out of range, naming it, what was expected and what came.
    """

    policy: str = "consistency"
    """`consistency`, `diffusion` or `gaussian`."""
    improvement: str = "none"
    """How the policy gets better than the data: `none` clones them; `gradient` adds `-q_weight Q(s, pi(s))`
    to the loss; `references` distils reference sets, candidates of a model of the data weighed by the
    critic, and takes a consistency policy."""
    backbone: str = "mlp"
    """`mlp` or `ln_resnet`."""
    hidden_sizes: tuple[int, ...] = (256, 256, 256)
    """Hidden layers of every network."""
    num_sampling_steps: int = 2
    """Denoising steps of an action; a Gaussian policy takes 1."""
    sigma_min: float = 0.002
    """Consistency policy: smallest noise level."""
    sigma_max: float = 80.0
    """Consistency policy: largest noise level."""
    sigma_data: float = 0.5
    """Consistency policy: standard deviation of actions assumed by the scalings."""
    loss_scale: float | None = 100.0
    """Consistency policy: neighbouring levels weigh `loss_scale / (sigma - next_sigma)`; None for 1."""
    curriculum_updates: int = 100_000
    """Consistency policy: updates in which the noise levels grow from 2 to 150."""
    has_curriculum_restarts: bool = False
    """Consistency policy: whether the levels start anew after that many updates, or stay."""
    q_weight: float = 1.0
    """`gradient`: weight of the critic beside the behaviour loss."""
    discount: float = 0.99
    """Of one step."""
    num_critics: int = 2
    """Members of the critic, whose minimum bootstraps; `gradient` takes 2."""
    max_q_backup_actions: int = 1
    """Actions sampled at a next state, the best of which is its value; 1 for the policy's own value."""
    normalize_q_targets: bool = False
    """Whether targets of the critic are divided by their standard deviation over the batch."""
    num_references: int = 16
    """`references`: candidates of a state."""
    num_reference_states: int = 64
    """`references`: states of a batch that get a reference set."""
    num_behaviour_steps: int = 5
    """`references`: denoising steps of the model that the candidates come from."""
    ascent_distance: float = 0.0
    """`references`: how far candidates are moved up the critic at most, in Euclidean distance; less where it
    is flatter than in the mean of the batch. Such a policy leaves the data behind, so the critic learns the
    values of another one, of candidates as they were drawn. 0 moves none, and there is one policy."""
    target_kl: float = 1.0
    """`references`: mean divergence of the weights from uniform, in nats; it sets their one temperature."""
    num_ode_steps: int = 8
    """`references`: evaluations of the posterior mean along the ODE."""
    zero_noise_fraction: float = 0.5
    """`references`: share of the states trained at zero noise."""
    noise_scale: float = 1.0
    """Acting: 0 is the mode-like action, 1 the policy's full distribution."""
    num_action_candidates: int = 1
    """Acting: actions sampled, of which one is drawn by `softmax(Q)`; 1 acts without the critic."""
    batch_size: int = 256
    """Transitions of a batch."""
    learning_rate: float = 3e-4
    """Step size of Adam, for the policy and the model of the data."""
    critic_learning_rate: float = 3e-4
    """Step size of Adam for the critic."""
    learning_rate_decay_updates: int | None = None
    """Updates in which all step sizes fall along half a cosine, to stay at 0; those behind an
    `initial_checkpoint` count. None for constant sizes."""
    grad_clip_norm: float = 10.0
    """Largest norm of the gradient of each network."""
    ema_decay: float = 0.995
    """Decay of the averaged policy, which acts, bootstraps and serves as the target."""
    ema_interval_updates: int = 5
    """Updates between two steps of that average."""
    ema_start_updates: int = 1_000
    """Updates before which the average is the policy itself."""
    critic_ema_decay: float = 0.995
    """Decay of the averaged critic, at every update."""
    updates_per_iteration: int = 500
    """Updates between two results."""
    max_consecutive_skips: int = 10
    """Updates skipped in a row for a non-finite loss before the last good weights come back."""

    def __post_init__(self) -> None:
        # YAML gives lists; a tuple keeps the dataclass hashable.
        object.__setattr__(self, "hidden_sizes", tuple(self.hidden_sizes))
        check_choice("policy", self.policy, POLICY_KINDS)
        check_choice("improvement", self.improvement, IMPROVEMENTS)
        check_choice("backbone", self.backbone, BACKBONES)
        self._check_ranges()
        self._check_combinations()

    @property
    def has_critic(self) -> bool:
        """Whether values of actions are learned."""
        return self.improvement != "none"

    def _check_ranges(self) -> None:
        for field in dataclasses.fields(self):
            if field.type is int:
                check_at_least_one(field.name, getattr(self, field.name))
        if self.num_ode_steps < 3:
            raise ValueError(f"`num_ode_steps` must be an integer of at least 3, got {self.num_ode_steps}")
        check_noise_levels(self.sigma_min, self.sigma_max)
        positive = ("sigma_data", "learning_rate", "critic_learning_rate", "grad_clip_norm")
        for name in (*positive, "target_kl"):
            check_positive(name, getattr(self, name))
        if self.learning_rate_decay_updates is not None:
            check_at_least_one("learning_rate_decay_updates", self.learning_rate_decay_updates)
        if self.loss_scale is not None:
            check_positive("loss_scale", self.loss_scale)
        for name in ("discount", "zero_noise_fraction"):
            check_fraction(name, getattr(self, name))
        for name in ("ema_decay", "critic_ema_decay"):
            check_decay(name, getattr(self, name))
        for name in ("q_weight", "noise_scale", "ascent_distance"):
            check_not_negative(name, getattr(self, name))
        check_widths("hidden_sizes", self.hidden_sizes)

    def _check_combinations(self) -> None:
        if self.improvement == "references" and self.policy != "consistency":
            raise ValueError(f"`policy` must be consistency to distil reference sets, got {self.policy!r}")
        if self.improvement == "gradient" and self.num_critics != 2:
            raise ValueError(f"`num_critics` must be 2 with improvement 'gradient', got {self.num_critics}")
        if self.ascent_distance > 0.0 and self.num_references < 2:
            raise ValueError(
                "`num_references` must be at least 2 with ascent_distance, since the first candidate is not "
                f"moved; got {self.num_references}"
            )
        if not self.has_critic and self.num_action_candidates > 1:
            raise ValueError(
                "`num_action_candidates` must be 1 without a critic, got "
                f"{self.num_action_candidates} with improvement 'none'"
            )
        if self.normalize_q_targets and self.batch_size < 2:
            raise ValueError(
                "`batch_size` must be at least 2 for each learner with normalize_q_targets, since one value "
                f"has no deviation; got {self.batch_size}"
            )
        if self.num_reference_states > self.batch_size and self.improvement == "references":
            raise ValueError(
                f"`num_reference_states` must be at most batch_size = {self.batch_size}, got "
                f"{self.num_reference_states}"
            )
