"""RLlib's own offline algorithms, BC, CQL and IQL, with published settings."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pyarrow
import ray
import torch
from pyarrow import parquet
from ray import tune
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.algorithms.bc import BCConfig
from ray.rllib.algorithms.cql import CQLConfig
from ray.rllib.algorithms.iql import IQLConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig

from distill_rl.checks import check_choice
from distill_rl.cli.experiments.offline_policies import StatelessPolicy
from distill_rl.cli.experiments.offline_spec import OfflineSpec
from distill_rl.cli.ray_session import start_ray
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.envs import make_env
from learners.offline.transitions import observation_statistics

_NUM_CPUS = 8
"""Where there are fewer than its actors and readers ask for, the pipeline of Ray Data waits for itself."""
_IQL_RETURN_RANGE = 3.0 * 1_000.0
_CQL_CLONING_SHARE = 0.04


class RLlibOffline:
    """Trains one of them on one learner in this process; Ray Data reads the steps in workers of its own.

    Observations are normalised by the mean and variance of the dataset beforehand, as for our methods, and
    batch, step sizes, layers and the memory of averaged critics are those of the specification. Actions are
    the mode of the policy. Other settings, as published for D4RL's locomotion:

    * `bc`: none.
    * `cql`: Kumar et al. (2020), "Conservative Q-learning": weight 5 (Appendix F) as in RLlib, a first part
      of the updates that clones (40,000 of a million there).
    * `iql`: Kostrikov et al. (2022), "Offline reinforcement learning with implicit Q-learning", Appendix B:
      expectile 0.7, inverse temperature 3, rewards scaled so that the returns of the dataset span 1,000.
      RLlib takes 1 at most; rewards three times as large are the same.

    Args:
      spec: with `hidden_sizes`, `batch_size`, `learning_rate`, `critic_learning_rate`, `critic_ema_decay` and
        `discount` in `learning`.
      dataset: to learn from.

    Raises:
      ValueError: if the method is none of these.
    """

    def __init__(self, spec: OfflineSpec, dataset: OfflineDataset):
        check_choice("method", spec.method or "", ("bc", "cql", "iql"))
        mean, var = observation_statistics(dataset)
        self._mean, self._deviation = mean, np.sqrt(var + 1e-6)
        self._observation = np.asarray(dataset.observations[:1])
        self._folder = tempfile.TemporaryDirectory()
        self._starts_ray = not ray.is_initialized()
        if self._starts_ray:
            start_ray(_NUM_CPUS)
        scale = iql_reward_scale(dataset) if spec.method == "iql" else 1.0
        path = Path(self._folder.name) / "steps.parquet"
        write_parquet(dataset, self._normalise, scale, path, np.random.default_rng(spec.seed))
        self._algorithm = _make_config(spec, dataset, path).build_algo()
        self._module = self._algorithm.learner_group._learner.module[DEFAULT_MODULE_ID]
        self._updates_per_iteration = spec.evaluation_updates

    def learn(self, num_updates: int) -> None:
        """Makes updates, in whole iterations."""
        for _ in range(num_updates // self._updates_per_iteration):
            self._algorithm.train()

    def policy(self, acting: Mapping[str, Any]) -> StatelessPolicy:
        """Returns the mode of the policy; there is no other way to act."""
        return StatelessPolicy(self._act, self._observation)

    def close(self) -> None:
        """Stops the algorithm, and Ray if it was started for it."""
        self._algorithm.stop()
        if self._starts_ray:
            ray.shutdown()
        self._folder.cleanup()

    @torch.no_grad()
    def _act(self, observation: np.ndarray) -> np.ndarray:
        seen = torch.from_numpy(self._normalise(observation))
        out = self._module.forward_inference({Columns.OBS: seen})
        distribution = self._module.get_inference_action_dist_cls().from_logits(
            out[Columns.ACTION_DIST_INPUTS]
        )
        actions: np.ndarray = distribution.to_deterministic().sample().clamp(-1.0, 1.0).numpy()
        return actions

    def _normalise(self, observation: np.ndarray) -> np.ndarray:
        return ((observation - self._mean) / self._deviation).astype(np.float32)


def _make_config(spec: OfflineSpec, dataset: OfflineDataset, path: Path) -> AlgorithmConfig:
    learning = spec.learning
    learning_rate, critic_rate = learning["learning_rate"], learning["critic_learning_rate"]
    common: dict[str, Any] = {
        "train_batch_size_per_learner": learning["batch_size"],
        "gamma": learning["discount"],
    }
    tau = 1.0 - learning["critic_ema_decay"]
    hidden = list(learning["hidden_sizes"])
    model = DefaultModelConfig(fcnet_hiddens=hidden, fcnet_activation="relu")
    config: AlgorithmConfig
    if spec.method == "bc":
        config = BCConfig().training(lr=learning_rate, **common)
    elif spec.method == "cql":
        config = CQLConfig().training(
            lr=None,
            actor_lr=learning_rate,
            critic_lr=critic_rate,
            alpha_lr=learning_rate,
            tau=tau,
            twin_q=True,
            min_q_weight=5.0,
            bc_iters=round(_CQL_CLONING_SHARE * spec.max_updates),
            **common,
        )
        model = DefaultModelConfig(
            fcnet_hiddens=hidden[:-1],
            fcnet_activation="relu",
            fusionnet_hiddens=[],
            head_fcnet_hiddens=hidden[-1:],
            head_fcnet_activation="relu",
        )
    else:
        config = IQLConfig().training(
            lr=None,
            actor_lr=learning_rate,
            critic_lr=critic_rate,
            value_lr=critic_rate,
            tau=tau,
            target_network_update_freq=1,
            expectile=0.7,
            beta=1.0,
            **common,
        )
    spaces = {
        "observation_space": gym.spaces.Box(-np.inf, np.inf, dataset.observations.shape[1:], np.float32),
        "action_space": gym.spaces.Box(-1.0, 1.0, dataset.actions.shape[1:], np.float32),
    }
    return (
        config.environment(_register(spec.env), **spaces)
        .offline_data(
            input_=[str(path)],
            input_read_method="read_parquet",
            dataset_num_iters_per_learner=spec.evaluation_updates,
        )
        .learners(num_learners=0)
        .rl_module(model_config=model)
        .debugging(seed=spec.seed, log_level="ERROR")
    )


def _register(env: str) -> str:
    """Registers the environment with Ray Tune (CQL asks for one, and does not step it); returns the name."""
    tune.register_env("offline_task", lambda _: make_env(env))
    return "offline_task"


def iql_reward_scale(dataset: OfflineDataset) -> float:
    """Returns the factor that makes the returns of the dataset span three times 1,000."""
    return _IQL_RETURN_RANGE / max(float(np.ptp(dataset.episode_returns())), 1e-6)


def write_parquet(
    dataset: OfflineDataset,
    normalise_fn: Any,
    reward_scale: float,
    path: Path,
    generator: np.random.Generator,
) -> None:
    """Writes the transitions in RLlib's flat layout, one row for each step, shuffled.

    Ray Data reads rows as they stand: in their own order a batch would be of one episode.

    Args:
      dataset: to write.
      normalise_fn: of observations, `[M, O]` to `[M, O]`.
      reward_scale: factor on rewards.
      path: of the file.
      generator: of the order.
    """
    rows = dataset.transition_rows
    episode = np.searchsorted(dataset.episode_ends, rows, side="right")
    is_terminal = np.asarray(dataset.terminals)[rows]
    is_last = np.append(episode[1:] != episode[:-1], True)
    columns = {
        Columns.EPS_ID: [f"{index}" for index in episode],
        Columns.OBS: list(normalise_fn(dataset.observations[rows])),
        Columns.NEXT_OBS: list(normalise_fn(dataset.next_observations[rows])),
        Columns.ACTIONS: list(np.asarray(dataset.actions[rows], np.float32)),
        Columns.REWARDS: np.asarray(dataset.rewards[rows], np.float32) * np.float32(reward_scale),
        Columns.TERMINATEDS: is_terminal,
        Columns.TRUNCATEDS: is_last & ~is_terminal,
    }
    table = pyarrow.table(columns)
    parquet.write_table(table.take(generator.permutation(len(table))), path)
