"""RLlib's environment runner, searching instead of sampling."""

import contextlib
from typing import Any

import gymnasium as gym
import numpy as np
import ray
from ray.exceptions import GetTimeoutError, ObjectLostError, RayActorError
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from actors.evaluation import evaluate_search
from actors.fragment import FragmentHeader
from actors.operators.base import ImprovementOperator
from actors.operators.config import ActingConfig
from actors.policy_runner import PolicyEnvRunner
from actors.search_actor import SearchActor
from distill_rl.collected import Collected
from distill_rl.policies.base import SearchPolicy
from distill_rl.policies.search_policy import make_search_policy
from distill_rl.types import ReferenceSet
from distill_rl.whereabouts import describe_process

_SEARCH_ACTOR = "search_actor"


class SearchEnvRunner(PolicyEnvRunner):
    """Hands reference sets to the learner; samples episodes as RLlib does when it evaluates.

    The environments that are searched are its own: RLlib's vector environment serves evaluation and tells the
    spaces. A fragment is searched with one version of the weights, pulled before it starts.
    """

    def __init__(self, **kwargs: Any) -> None:
        self._actor: SearchActor | None = None
        self._token: Any = None
        super().__init__(**kwargs)

    def sample(self, **kwargs: Any) -> Any:
        """Returns a `ReferenceSet` of `rollout_fragment_length` steps of every environment.

        With any argument, or when the runner evaluates, returns RLlib's episodes instead, acted by the
        distilled policy alone.
        """
        if kwargs or self.config.in_evaluation:
            return super().sample(**kwargs)
        return self._collect().reference_set

    def collect(
        self, sequence: int, store: Any = None, timeout_sec: float = 60.0
    ) -> tuple[FragmentHeader, ReferenceSet]:
        """Pulls weights if there are newer ones, and searches one fragment.

        Args:
          sequence: number of the request, echoed in the header.
          store: handle of the weight store; None keeps the weights as they are.
          timeout_sec: longest wait for the store, after which the fragment is searched with the old weights.
        """
        has_pulled = store is None or self._pull(store, timeout_sec)
        collected = self._collect(sequence)
        header = FragmentHeader(
            actor_id=self.worker_index or 0,
            sequence=sequence,
            policy_version=self._weights_seq_no,
            num_sets=len(collected.reference_set),
            num_env_steps=collected.num_env_steps,
            num_simulator_steps=collected.num_simulator_steps,
            episodes=tuple(collected.episodes),
            num_dropped_episodes=collected.num_dropped_episodes,
            num_failed_pulls=int(not has_pulled),
            statistics=collected.metrics,
            metrics=self._log(collected),
            origin=describe_process(),
        )
        return header, collected.reference_set

    def evaluate_search(self, num_episodes: int, seed: int = 0) -> list[float]:
        """Returns the returns of whole episodes in which every action is the best candidate of a search."""
        num_envs = min(num_episodes, self.config.num_envs_per_env_runner)
        with contextlib.ExitStack() as stack:
            envs = [stack.enter_context(contextlib.closing(self._make_one_env())) for _ in range(num_envs)]
            operator = self._make_operator(envs[0])
            result = evaluate_search(
                operator, operator.simulator, self._search_policy(), envs, num_episodes, seed
            )
        return result.returns.tolist()

    def set_weights_of(self, policy_version: int, weights: Any) -> None:
        """Replaces the weights, whatever version they are."""
        self.module.set_state(weights)
        self._weights_seq_no = policy_version

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Returns RLlib's state and that of the search's random draws; running episodes are not in it."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._actor is not None and self._check_component(_SEARCH_ACTOR, components, not_components):
            state[_SEARCH_ACTOR] = self._actor.get_state()
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores a state. Weights always apply: RLlib would keep its own against older ones."""
        if WEIGHTS_SEQ_NO in state:
            self._weights_seq_no = 0
        super().set_state(state)
        if _SEARCH_ACTOR in state and not self.config.in_evaluation:
            self._search_actor().set_state(state[_SEARCH_ACTOR])

    def stop(self) -> None:
        """Closes every environment."""
        if self._actor is not None:
            for env in self._search_envs:
                env.close()
        super().stop()

    def _collect(self, sequence: int = 0) -> Collected:
        actor, num_steps = self._search_actor(sequence), self.config.rollout_fragment_length
        return actor.collect(self._search_policy(), num_steps, self._weights_seq_no)

    def _search_policy(self) -> SearchPolicy:
        return make_search_policy(self.module.networks, self.config.num_policy_steps)

    def _search_actor(self, sequence: int = 0) -> SearchActor:
        """Returns the searching half, built when it is first needed.

        Its seed depends on the first request, so that a restarted runner does not repeat the same episodes.
        """
        if self._actor is None:
            num_envs = self.config.num_envs_per_env_runner
            self._search_envs = [self._make_one_env() for _ in range(num_envs)]
            operator = self._make_operator(self._search_envs[0])
            acting = self.config.part(ActingConfig)
            entropy = np.random.SeedSequence().generate_state(1)[0] if self._seed is None else self._seed
            seed = int(np.random.SeedSequence([int(entropy), sequence]).generate_state(1)[0])
            self._actor = SearchActor(
                self._search_envs,
                operator.simulator,
                operator,
                acting,
                seed,
                num_history_steps=self.config.num_history_steps,
            )
        return self._actor

    def _make_operator(self, env: gym.Env) -> ImprovementOperator:
        operator: ImprovementOperator = self.config.make_operator(env, self.module.networks)
        return operator

    def _num_vector_envs(self) -> int:
        return super()._num_vector_envs() if self.config.in_evaluation else 1

    def _log(self, collected: Collected) -> Any:
        """Logs a fragment under RLlib's names, and returns the metrics since the last fragment."""
        self._increase_sampled_metrics(collected.num_env_steps, len(collected.episodes))
        for episode in collected.episodes:
            self._log_episode_metrics(episode.num_steps, episode.episode_return, episode.duration_sec)
        return self.metrics.reduce()

    def _pull(self, store: Any, timeout_sec: float) -> bool:
        """Takes newer weights from the store, and returns whether it answered."""
        try:
            publication = ray.get(store.pull_if_newer.remote(self._token), timeout=timeout_sec)
            if publication is not None:
                weights = ray.get(publication.weights, timeout=timeout_sec)
                self.set_weights_of(publication.policy_version, weights)
                self._token = publication.token
        except (RayActorError, ObjectLostError, GetTimeoutError):
            return False
        return True
