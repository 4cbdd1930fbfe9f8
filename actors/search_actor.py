"""The acting half of the loop: steps environments, and labels every state with a search."""

import dataclasses
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np

from actors.environment_slot import EnvironmentSlot, is_student_next
from actors.history import stack_histories
from actors.operators.base import ImprovementOperator
from actors.operators.config import ActingConfig
from actors.simulators.base import Simulator
from actors.simulators.latent import LatentSimulator
from actors.stepping import best_actions, search_states
from distill_rl.collected import Collected, EpisodeRecord
from distill_rl.policies.base import SearchPolicy
from distill_rl.types import ReferenceSet


class SearchActor:
    """Steps several environments together; searches their states; acts by search and by the student.

    Every state is searched, or those of every `search_interval`-th step. Between two searches the difference
    between the best action of the last one and the policy's own is held, as in the rollouts of perturbed
    candidates.

    Each environment is reset by the actor itself (no automatic reset), so every label belongs to a state that
    is acted in. An episode whose physics fails (an exception, or a reward or observation that is not finite,
    or a search whose every simulation diverged) is dropped with its labels of the current fragment, counted,
    and a new one starts.

    In a share `mixed_fraction` of the environments whoever acts is drawn anew within episodes, so that the
    student meets, and gets labels for, the states around good trajectories that it cannot reach alone (the
    mixture of Ross et al. 2011, DAgger, Section 3, https://arxiv.org/abs/1011.0686). These environments may
    start anew early (`mixed_episode_steps`), without a record of the episode. In the others it is fixed for
    an episode, which measures both: the number of them acted by the student stays within one of
    `student_fraction` of theirs; where that is no whole number, an environment between the two goes to
    whoever is behind in steps.

    Attributes:
      envs: the environments.
      simulator: takes their snapshots.
      operator: labels their states.
      config: settings.
    """

    def __init__(
        self,
        envs: Sequence[gym.Env],
        simulator: Simulator,
        operator: ImprovementOperator,
        config: ActingConfig | None = None,
        seed: int = 0,
        num_history_steps: int = 0,
    ):
        """Builds the actor.

        Args:
          envs: environments of one kind, with actions in [-1, 1] and vector observations.
          simulator: takes their snapshots.
          operator: labels their states.
          config: settings.
          seed: of every random draw: search, acting and resets.
          num_history_steps: real steps that go with each label (`EpisodeSteps`); 0 for none.

        Raises:
          ValueError: if there is no environment.
        """
        if not envs:
            raise ValueError("`envs` must hold at least one environment, got none")
        self.envs = list(envs)
        self.simulator = simulator
        self.operator = operator
        self.config = config or ActingConfig()
        acting_seed, *reset_seeds = np.random.SeedSequence(seed).spawn(1 + len(envs))
        self._generator = np.random.default_rng(acting_seed)
        num_mixed = round(self.config.mixed_fraction * len(envs))
        self._slots = [
            EnvironmentSlot(env, np.random.default_rng(reset_seed), is_mixed=index >= len(envs) - num_mixed)
            for index, (env, reset_seed) in enumerate(zip(envs, reset_seeds, strict=True))
        ]
        self._num_fixed = len(envs) - num_mixed
        self._num_student_steps = 0
        self._num_fixed_steps = 0
        self._num_history_steps = num_history_steps
        # What the last search changed in the policy's actions; of use between searches only.
        self._shifts = np.zeros((len(envs), *(envs[0].action_space.shape or ())))  # [num_envs, A]

    def collect(self, policy: SearchPolicy, num_steps: int, policy_version: int = 0) -> Collected:
        """Takes `num_steps` steps in every environment. Episodes run on from call to call.

        Args:
          policy: acts in the student's environments and is improved on everywhere.
          num_steps: at least 1.
          policy_version: version of `policy`, stamped on the labels.

        Returns:
          Labels and finished episodes.

        Raises:
          ValueError: if `num_steps` is below 1, or no multiple of `search_interval`.
        """
        interval = self.config.search_interval
        if num_steps < 1:
            raise ValueError(f"`num_steps` must be at least 1, got {num_steps}")
        if num_steps % interval:
            raise ValueError(
                f"`num_steps` must be a multiple of search_interval = {interval}, got {num_steps}"
            )
        first_simulator_step = self.simulator.num_steps
        is_kept = np.ones((num_steps // interval, len(self._slots)), bool)
        sets: list[ReferenceSet] = []
        episodes: list[EpisodeRecord] = []
        metrics: list[dict[str, float]] = []
        num_dropped = 0
        for slot in self._slots:
            slot.first_set = 0
        for step in range(num_steps):
            self._start_missing_episodes(first_set=-(-step // interval))
            self._redraw_mixed()
            is_labelled = np.ones(len(self._slots), bool)
            if is_search := step % interval == 0:
                actions, reference_set = self._search_and_choose(policy, policy_version)
                metrics.append(_diagnostics(self.operator))
                is_labelled = np.isfinite(reference_set.value) & np.isfinite(reference_set.policy_value)
            else:
                actions = self._choose_without_search(policy)
            for index, slot in enumerate(self._slots):
                record, is_sound = slot.step(actions[index])
                self._num_fixed_steps += not slot.is_mixed
                self._num_student_steps += slot.is_student and not slot.is_mixed
                if not (is_sound and is_labelled[index]):
                    is_kept[slot.first_set : step // interval + 1, index] = False
                    num_dropped += 1
                    slot.is_running = False
                elif record is not None:
                    episodes.append(record)
                    slot.is_running = False
                elif slot.is_mixed and slot.num_steps == self.config.mixed_episode_steps:
                    slot.is_running = False
            if is_search:
                sets.append(self._with_history(reference_set))
        return Collected(
            reference_set=_concatenate(sets, is_kept),
            episodes=episodes,
            num_dropped_episodes=num_dropped,
            num_env_steps=num_steps * len(self._slots),
            num_simulator_steps=self.simulator.num_steps - first_simulator_step,
            metrics=_mean_of_finite(metrics),
        )

    def get_state(self) -> dict[str, Any]:
        """Returns the state of the random generators and the step counts; running episodes are not in it."""
        return {
            "generator": self._generator.bit_generator.state,
            "reset_generators": [slot.generator.bit_generator.state for slot in self._slots],
            "num_fixed_steps": self._num_fixed_steps,
            "num_student_steps": self._num_student_steps,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores what `get_state` returned, and gives up the running episodes.

        Args:
          state: from an actor with as many environments.

        Raises:
          ValueError: if the number of environments differs.
        """
        if len(state["reset_generators"]) != len(self._slots):
            raise ValueError(
                f"`state` must be of {len(self._slots)} environments, got {len(state['reset_generators'])}"
            )
        self._generator.bit_generator.state = state["generator"]
        for slot, generator_state in zip(self._slots, state["reset_generators"], strict=True):
            slot.generator.bit_generator.state = generator_state
            slot.is_running = False
        self._num_fixed_steps = state["num_fixed_steps"]
        self._num_student_steps = state["num_student_steps"]

    def _start_missing_episodes(self, first_set: int) -> None:
        """Resets the environments that have no running episode, and settles who acts in them."""
        num_students = sum(slot.is_student for slot in self._slots if slot.is_running and not slot.is_mixed)
        for index, slot in enumerate(self._slots):
            if slot.is_running:
                continue
            self._shifts[index] = 0.0
            if slot.is_mixed:
                slot.is_student = self._draw_student()
            else:
                slot.is_student = is_student_next(
                    num_students,
                    self._num_fixed,
                    fraction=self.config.student_fraction,
                    num_student_steps=self._num_student_steps,
                    num_env_steps=self._num_fixed_steps,
                )
                num_students += slot.is_student
            slot.start(first_set, self._num_history_steps)

    def _redraw_mixed(self) -> None:
        """Draws anew who acts in the mixed environments whose segment ends, as a geometric clock says."""
        for slot in self._slots:
            if slot.is_mixed and self._generator.random() * self.config.mean_segment_steps < 1.0:
                slot.is_student = self._draw_student()

    def _draw_student(self) -> bool:
        return bool(self._generator.random() < self.config.student_fraction)

    def _observe(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns what the policy acts on, observations or latent states `[num_envs, O]`, and all states."""
        observation = np.stack([slot.observation for slot in self._slots])
        return search_states(self.simulator, [slot.env for slot in self._slots], observation)

    def _search(self, policy: SearchPolicy, policy_version: int) -> tuple[np.ndarray, ReferenceSet]:
        """Returns what the policy acts on, see `_observe`, and the labels."""
        searched, state = self._observe()
        found = self.operator.improve(searched, state, policy, self._generator, policy_version)
        if isinstance(self.simulator, LatentSimulator):
            observation = np.stack([slot.observation for slot in self._slots])
            # Latent states grow old as their encoder learns; what is simulated in them is no data of values.
            found = dataclasses.replace(found, observation=observation, transitions=None)
        return searched, found

    def _with_history(self, reference_set: ReferenceSet) -> ReferenceSet:
        """Adds the last real steps of every environment."""
        if not self._num_history_steps:
            return reference_set
        histories = [slot.history for slot in self._slots if slot.history is not None]
        steps = stack_histories(histories, reference_set.actions.shape[2])
        return dataclasses.replace(reference_set, episode_steps=steps)

    def _search_and_choose(
        self, policy: SearchPolicy, policy_version: int
    ) -> tuple[np.ndarray, ReferenceSet]:
        """Returns actions of all environments, the best or the student's `[num_envs, A]`, and the labels."""
        searched, reference_set = self._search(policy, policy_version)
        actions = best_actions(reference_set)
        if self.config.search_interval > 1:
            self._shifts = actions - policy.act(searched, 0.0, self._generator)
        self._let_students_act(actions, policy, searched)
        return actions, reference_set

    def _choose_without_search(self, policy: SearchPolicy) -> np.ndarray:
        """Returns actions of all environments, shifted ones or the student's. Shape `[num_envs, A]`."""
        searched, _ = self._observe()
        shifted = policy.act(searched, 0.0, self._generator) + self._shifts
        actions = np.clip(shifted, -1.0, 1.0).astype(np.float32)
        self._let_students_act(actions, policy, searched)
        return actions

    def _let_students_act(self, actions: np.ndarray, policy: SearchPolicy, searched: np.ndarray) -> None:
        """Replaces the actions `[num_envs, A]` of the environments in which the student acts."""
        is_student = np.array([slot.is_student for slot in self._slots])
        if is_student.any():
            actions[is_student] = policy.act(
                searched[is_student], self.config.student_noise_scale, self._generator
            )


def _concatenate(sets: list[ReferenceSet], is_kept: np.ndarray) -> ReferenceSet:
    """Joins the sets of consecutive steps, without the rows that are dropped (`is_kept` `[T, num_envs]`)."""
    rows = is_kept.reshape(-1)
    of_steps = [reference_set.to_arrays() for reference_set in sets]
    arrays = {name: np.concatenate([arrays[name] for arrays in of_steps])[rows] for name in of_steps[0]}
    return ReferenceSet.from_arrays(arrays, sets[0].policy_version, sets[0].convention)


def _mean_of_finite(metrics: list[dict[str, float]]) -> dict[str, float]:
    """Returns the mean of each metric over the searches where it is finite; NaN if there are none."""
    finite = {name: [m[name] for m in metrics if np.isfinite(m[name])] for name in metrics[0]}
    return {name: float(np.mean(values)) if values else float("nan") for name, values in finite.items()}


def _diagnostics(operator: ImprovementOperator) -> dict[str, float]:
    """Returns the diagnostics of the operator's last search, if it keeps them."""
    return {} if operator.last_search is None else dataclasses.asdict(operator.last_search)
