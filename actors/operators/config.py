"""Settings of the improvement operators and of acting."""

import dataclasses
from typing import ClassVar

from distill_rl.checks import check_at_least_one, check_fraction, check_positive


@dataclasses.dataclass(frozen=True)
class OperatorChoice:
    """Which operator searches, and on how many native threads.

    Attributes:
      operator: one of `actors.operators.registry.OPERATORS`, or the dotted path of a class of one's own. Its
        `config_type` says which further options the section has.
      num_simulator_threads: native threads of the simulator.
    """

    operator: str = "root_bandit"
    num_simulator_threads: int = 1

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        check_at_least_one("num_simulator_threads", self.num_simulator_threads)


@dataclasses.dataclass(frozen=True)
class OperatorConfig:
    """Settings that all operators share.

    Attributes:
      num_candidates: `N`, candidates of each state.
      discount: of one environment step (all repeats of an action together).
    """

    num_candidates: int = 16
    discount: float = 0.98

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        check_at_least_one("num_candidates", self.num_candidates)
        check_fraction("discount", self.discount)


@dataclasses.dataclass(frozen=True)
class BoltzmannConfig(OperatorConfig):
    """Settings of operators that improve by `softmax(Q / eta + log prior)`; see also `OperatorConfig`.

    Attributes:
      target_kl: divergence of the improved policy from the prior over candidates, in nats, which sets eta
        for each state; from `log(num_candidates)` on it is greedy.
      target_ess: effective sample size of the improved policy, 1 to `num_candidates`; overrides `target_kl`.
    """

    needs_target: ClassVar[bool] = True
    """Whether one of the targets must be given: there is no other rule for eta."""

    target_kl: float | None = 0.7
    target_ess: float | None = None

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        super().__post_init__()
        if self.target_kl is not None:
            check_positive("target_kl", self.target_kl)
        if self.target_ess is not None and not 1.0 <= self.target_ess <= self.num_candidates:
            raise ValueError(
                f"`target_ess` must be within 1 to num_candidates = {self.num_candidates}, "
                f"got {self.target_ess}"
            )
        if self.target_kl is None and self.target_ess is None and type(self).needs_target:
            raise ValueError("`target_kl` or `target_ess` must be given, got neither")


@dataclasses.dataclass(frozen=True)
class HorizonConfig(OperatorConfig):
    """Settings of operators that roll out over a horizon; see also `OperatorConfig`.

    Attributes:
      hold_sec: simulated seconds over which one draw of noise is held.
      hold_steps: the same in steps; overrides `hold_sec`.
      horizon_sec: simulated seconds of a rollout.
      horizon_steps: the same in steps; overrides `horizon_sec`.
      num_transitions: stretches of the rollouts kept for each state as data of the value function.
    """

    hold_sec: float = 0.1
    hold_steps: int | None = None
    horizon_sec: float = 0.25
    horizon_steps: int | None = None
    num_transitions: int = 8

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        super().__post_init__()
        check_at_least_one("num_transitions", self.num_transitions)
        for name in ("hold_steps", "horizon_steps"):
            if getattr(self, name) is not None:
                check_at_least_one(name, getattr(self, name))
        for name in ("hold_sec", "horizon_sec"):
            check_positive(name, getattr(self, name))

    def resolve_steps(self, control_timestep_sec: float | None) -> tuple[int, int]:
        """Returns the horizon and the hold in steps, each at least 1.

        Args:
          control_timestep_sec: simulated seconds of one step; None where unknown.

        Raises:
          ValueError: if the length of a step is unknown and the settings are in seconds.
        """
        if control_timestep_sec is None and (self.horizon_steps is None or self.hold_steps is None):
            raise ValueError(
                "`horizon_steps` and `hold_steps` must be given, since the simulator does not know how long "
                f"a step takes; got horizon_steps={self.horizon_steps}, hold_steps={self.hold_steps}"
            )
        horizon, hold = self.horizon_steps, self.hold_steps
        if control_timestep_sec is not None:
            horizon = horizon or max(1, round(self.horizon_sec / control_timestep_sec))
            hold = hold or max(1, round(self.hold_sec / control_timestep_sec))
        assert horizon is not None and hold is not None
        return horizon, hold


@dataclasses.dataclass(frozen=True)
class RootBanditConfig(HorizonConfig, BoltzmannConfig):
    """Settings of `RootBandit`; see also `HorizonConfig` and `BoltzmannConfig`.

    Candidates are the zero-noise action, policy samples and perturbed actions.

    Attributes:
      num_perturbed: how many of the candidates are perturbed zero-noise actions.
      perturbation_scales: standard deviations of the perturbations, taken in turn; actions span [-1, 1].
      ascent_steps: lengths (of the largest component) of the steps along the direction in which the values of
        the perturbed ones rise; one candidate each, none if empty.
      rollouts_per_round: rollouts of each remaining candidate, for each round of sequential halving.
      noisy_rollout_share: share of a candidate's rollouts in a round (rounded down) that carry held noise
        over the whole horizon; the others follow the zero-noise policy, and only repeat themselves later.
      rollout_scale: standard deviation of that noise.
    """

    num_perturbed: int = 10
    perturbation_scales: tuple[float, ...] = (0.3, 0.6)
    ascent_steps: tuple[float, ...] = (0.3, 0.6, 1.0, 1.5)
    rollouts_per_round: tuple[int, ...] = (1,)
    noisy_rollout_share: float = 0.0
    rollout_scale: float = 0.3

    def __post_init__(self) -> None:
        """Checks the settings; lists become tuples.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        super().__post_init__()
        object.__setattr__(self, "perturbation_scales", tuple(self.perturbation_scales))
        object.__setattr__(self, "ascent_steps", tuple(self.ascent_steps))
        object.__setattr__(self, "rollouts_per_round", tuple(self.rollouts_per_round))
        check_positive("rollout_scale", self.rollout_scale)
        most = self.num_candidates - len(self.ascent_steps) - 1
        if not 0 <= self.num_perturbed <= most:
            raise ValueError(
                "`num_perturbed` must be within 0 to num_candidates - len(ascent_steps) - 1 = "
                f"{most}, got {self.num_perturbed}"
            )
        if self.ascent_steps and self.num_perturbed == 0:
            raise ValueError(
                f"`ascent_steps` must be empty without perturbed candidates, got {self.ascent_steps}"
            )
        if not self.perturbation_scales:
            raise ValueError("`perturbation_scales` must hold at least one scale, got none")
        for name in ("perturbation_scales", "ascent_steps"):
            for size in getattr(self, name):
                check_positive(name, size)
        self._check_rounds()

    def _check_rounds(self) -> None:
        if not self.rollouts_per_round:
            raise ValueError("`rollouts_per_round` must hold at least one round, got none")
        for num_rollouts in self.rollouts_per_round:
            check_at_least_one("rollouts_per_round", num_rollouts)
        if not 0.0 <= self.noisy_rollout_share < 1.0:
            raise ValueError(f"`noisy_rollout_share` must be within [0, 1), got {self.noisy_rollout_share}")
        if sum(self.rollouts_per_round) > 1 and max(map(self.num_noisy, self.rollouts_per_round)) == 0:
            raise ValueError(
                "`rollouts_per_round` must be (1,) while no rollout is noisy, since the zero-noise policy "
                f"repeats itself; got {self.rollouts_per_round} with "
                f"noisy_rollout_share={self.noisy_rollout_share}"
            )

    def num_noisy(self, num_rollouts: int) -> int:
        """Returns how many of a round's rollouts of a candidate carry held noise."""
        return int(self.noisy_rollout_share * num_rollouts)


@dataclasses.dataclass(frozen=True)
class ActingConfig:
    """Settings of `SearchActor`.

    Attributes:
      student_fraction: share of the environments in which the policy itself acts; in the others the
        search does, by its best candidate. All states are searched.
      student_noise_scale: noise of the policy where it acts: 0 is its mode-like action, 1 its distribution.
      mixed_fraction: share of the environments in which whoever acts is drawn anew within episodes, the
        student with probability `student_fraction`.
      mean_segment_steps: mean number of environment steps between those draws, at least 1.
      mixed_episode_steps: environment steps after which those environments start a new episode, so that
        labels keep coming from where episodes begin and not from where a weak policy ends up; None lets them
        run to their end.
      search_interval: environment steps from one search to the next; only searched states are labelled. In
        between, who acts by search follows the zero-noise policy, shifted by what the last search changed.
        Where control steps are short, neighbouring states teach nearly the same.
    """

    student_fraction: float = 0.7
    student_noise_scale: float = 0.3
    mixed_fraction: float = 0.5
    mean_segment_steps: float = 30.0
    mixed_episode_steps: int | None = None
    search_interval: int = 1

    def __post_init__(self) -> None:
        """Checks the settings.

        Raises:
          ValueError: naming the setting, what was expected and what came.
        """
        check_at_least_one("search_interval", self.search_interval)
        check_fraction("student_fraction", self.student_fraction)
        check_fraction("mixed_fraction", self.mixed_fraction)
        if not self.mean_segment_steps >= 1.0:
            raise ValueError(f"`mean_segment_steps` must be at least 1, got {self.mean_segment_steps}")
        if self.mixed_episode_steps is not None:
            check_at_least_one("mixed_episode_steps", self.mixed_episode_steps)
        if not self.student_noise_scale >= 0.0:
            raise ValueError(f"`student_noise_scale` must not be negative, got {self.student_noise_scale}")
