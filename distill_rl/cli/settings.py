"""Settings of the driver: when to stop, when to save, how to evaluate. The `run` section of a preset."""

import dataclasses

from distill_rl.checks import check_choice, check_positive

DISTILL = "distill"
OFFLINE_ALGORITHMS = (
    "gaussian_bc",
    "consistency_bc",
    "diffusion_bc",
    "consistency_ac",
    "diffusion_ql",
    "critic_distill",
)
"""Those that learn from a dataset, see `distill_rl.algorithms.offline_config.OFFLINE_METHODS`."""

ONLINE_ALGORITHMS = ("online_consistency_ac", "online_diffusion_ql", "online_critic_distill")
"""Those that learn from their own steps, see `distill_rl.algorithms.online_config.ONLINE_METHODS`."""

SEARCH_ALGORITHMS = (DISTILL, *ONLINE_ALGORITHMS)
"""Those whose actors search, see `distill_rl.algorithms.search_loop_config`."""

PPO_ALGORITHMS = ("cm_ppo",)
"""Those that learn by policy gradients, see `distill_rl.algorithms.cm_ppo_config`."""

RACTD = "ractd"
"""Teacher, reward model and student of action sequences, see `distill_rl.algorithms.ractd_config`."""

ALGORITHMS = (DISTILL, *OFFLINE_ALGORITHMS, *ONLINE_ALGORITHMS, *PPO_ALGORITHMS, RACTD)


@dataclasses.dataclass(frozen=True)
class RunSettings:
    """When a run stops and saves, and how it is judged at the end.

    Attributes:
      algorithm: `distill`; or one that learns from a dataset: `gaussian_bc`, `consistency_bc`,
        `diffusion_bc`, `consistency_ac`, `diffusion_ql` or `critic_distill`; or one of the last three from
        its own steps: `online_consistency_ac` and so on; or `cm_ppo`; or `ractd`.
      time_limit_sec: seconds of training, over all resumes together; the evaluation at the end comes on top.
      max_env_steps: environment steps after which training stops earlier; None for no such limit.
      max_updates: updates after which training stops earlier; None for no such limit.
      checkpoint_interval_sec: seconds between checkpoints.
      num_progress_episodes: episodes of the student after each checkpoint, for the learning curve; 0 for
        none.
      max_learner_restarts: times that learners which died, or do not answer, are replaced between two
        checkpoints before the run stops; 0 for never. Learners in the driver's process end with it. For
        algorithms of the loop alone: others leave their learners to `--restarts`.
      machine_timeout_sec: how long the run waits for machines that the cluster lacks, from when the last one
        joined it.
      progress_timeout_sec: with `--restarts`, a driver that writes no row of metrics for this long is killed
        and started again; longer than an iteration, and than the evaluation at the end.
      num_checkpoints: how many of the newest checkpoints are kept.
      num_evaluation_episodes: episodes of the untrained policy, of the student and of the search at the end;
        0 for no evaluation.
    """

    algorithm: str = DISTILL
    time_limit_sec: float = 900.0
    max_env_steps: int | None = None
    max_updates: int | None = None
    checkpoint_interval_sec: float = 60.0
    num_progress_episodes: int = 4
    max_learner_restarts: int = 3
    machine_timeout_sec: float = 900.0
    progress_timeout_sec: float = 3_600.0
    num_checkpoints: int = 3
    num_evaluation_episodes: int = 10

    def __post_init__(self) -> None:
        """Checks the ranges.

        Raises:
          ValueError: naming the field, what was expected and what came.
        """
        check_choice("algorithm", self.algorithm, ALGORITHMS)
        for name in (
            "time_limit_sec",
            "checkpoint_interval_sec",
            "machine_timeout_sec",
            "progress_timeout_sec",
            "num_checkpoints",
        ):
            check_positive(name, getattr(self, name))
        for name in ("max_env_steps", "max_updates"):
            if getattr(self, name) is not None:
                check_positive(name, getattr(self, name))
        for name in ("max_learner_restarts", "num_progress_episodes", "num_evaluation_episodes"):
            if getattr(self, name) < 0:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}")
