"""The Decision Transformer of d3rlpy (`make setup-bench`)."""

from collections.abc import Mapping
from typing import Any

import d3rlpy
import gymnasium as gym
import numpy as np

from actors.evaluation import EvaluationResult
from actors.stepping import step_env
from distill_rl.cli.experiments.offline_policies import time_actions
from distill_rl.cli.experiments.offline_spec import CONTEXT_STEPS, OfflineSpec
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.scores import find_reference
from learners.offline.transitions import observation_statistics

_REWARD_SCALE = 1e-3


class DecisionTransformerOffline:
    """Trains it, and asks it for the return of D4RL's expert.

    Settings: Chen et al. (2021), "Decision transformer", Table 9: contexts of 20 steps, three layers, one
    head, width 128, dropout 0.1, weight decay 1e-4, gradients clipped to 0.25, rewards divided by 1,000.

    Args:
      spec: with `batch_size` (sequences) and `learning_rate` in `learning`.
      dataset: to learn from.

    Raises:
      ValueError: if the dataset has no reference scores.
    """

    def __init__(self, spec: OfflineSpec, dataset: OfflineDataset):
        reference = find_reference(dataset.metadata)
        if reference is None:
            raise ValueError("`dataset` must have reference scores, whose expert sets the return to aim at")
        d3rlpy.seed(spec.seed)
        mean, var = observation_statistics(dataset)
        self._target_return = reference.high
        self._steps = d3rlpy.dataset.MDPDataset(
            observations=np.asarray(dataset.observations),
            actions=np.asarray(dataset.actions),
            rewards=np.asarray(dataset.rewards),
            terminals=np.asarray(dataset.terminals, np.float32),
            timeouts=_episode_flags(dataset),
        )
        self._batch_size = spec.learning["batch_size"]
        self._model = d3rlpy.algos.DecisionTransformerConfig(
            batch_size=self._batch_size,
            context_size=CONTEXT_STEPS,
            learning_rate=spec.learning["learning_rate"],
            optim_factory=d3rlpy.optimizers.AdamWFactory(weight_decay=1e-4, clip_grad_norm=0.25),
            num_heads=1,
            num_layers=3,
            attn_dropout=0.1,
            resid_dropout=0.1,
            embed_dropout=0.1,
            activation_type="relu",
            position_encoding_type=d3rlpy.PositionEncodingType.SIMPLE,
            max_timestep=int(np.diff([0, *dataset.episode_ends]).max()) + 1_000,
            observation_scaler=d3rlpy.preprocessing.StandardObservationScaler(mean=mean, std=np.sqrt(var)),
            reward_scaler=d3rlpy.preprocessing.MultiplyRewardScaler(_REWARD_SCALE),
        ).create(device="cpu:0")
        self._model.build_with_dataset(self._steps)

    def learn(self, num_updates: int) -> float:
        """Makes updates; returns the mean squared error of actions."""
        losses = []
        for _ in range(num_updates):
            batch = self._steps.sample_trajectory_batch(self._batch_size, CONTEXT_STEPS)
            losses.append(self._model.update(batch)["loss"])
        return float(np.mean(losses))

    def policy(self, acting: Mapping[str, Any]) -> "DecisionTransformerOffline":
        """Returns itself; there is no other way to act."""
        return self

    def evaluate(self, envs: list[gym.Env], num_episodes: int, seed: int) -> EvaluationResult:
        """Runs whole episodes, one after the other."""
        seeds = np.random.SeedSequence(seed).generate_state(num_episodes)
        episodes = [self._run_episode(envs[0], int(s) % 2**31) for s in seeds]
        returns, lengths, is_sound = map(np.array, zip(*episodes))
        return EvaluationResult(returns.astype(np.float64), lengths, int((~is_sound).sum()))

    def time_action(self) -> float:
        """Returns cpu-milliseconds of one action for one state, with a context as in training."""
        actor, observation = self._actor(), np.zeros(self._steps.dataset_info.observation_signature.shape[0])
        for _ in range(CONTEXT_STEPS):
            actor.predict(observation, 0.0)
        return time_actions(lambda: actor.predict(observation, 0.0))

    def close(self) -> None:
        """Holds nothing."""

    def _actor(self) -> Any:
        return self._model.as_stateful_wrapper(target_return=self._target_return)

    def _run_episode(self, env: gym.Env, seed: int) -> tuple[float, int, bool]:
        """Returns the return of an episode, its steps, and whether its physics was sound."""
        actor, (observation, _) = self._actor(), env.reset(seed=seed)
        reward, total, num_steps = 0.0, 0.0, 0
        while True:
            action = np.clip(actor.predict(np.asarray(observation, np.float32), reward), -1.0, 1.0)
            step = step_env(env, action)
            if step is None:
                return total, num_steps, False
            observation, reward = step.observation, step.reward
            total, num_steps = total + reward, num_steps + 1
            if step.terminated or step.truncated:
                return total, num_steps, True


def _episode_flags(dataset: OfflineDataset) -> np.ndarray:
    """Returns 1 where an episode ends without being terminated. Shape `[N]`, float32."""
    ends = np.zeros(len(dataset), np.float32)
    ends[dataset.episode_ends - 1] = 1.0
    return ends * (1.0 - np.asarray(dataset.terminals, np.float32))
