"""Reads and writes Minari datasets. Source: https://minari.farama.org."""

from typing import Any

import gymnasium as gym
import minari
import numpy as np
from minari.data_collector import EpisodeBuffer

from distill_rl.datasets.offline_dataset import OfflineDataset, normalize_actions

LOG_PROB_INFO = "behaviour_log_prob"
"""Key of the log-density of each action, among the infos of a step."""


def read_minari(dataset_id: str, download: bool = False) -> OfflineDataset:
    """Reads a Minari dataset.

    Args:
      dataset_id: such as `mujoco/hopper/medium-v0`.
      download: whether to fetch it if it is not on this machine.

    Returns:
      The dataset; actions are mapped to [-1, 1].

    Raises:
      ValueError: if it is not there, its observations are no vectors or its actions no bounded box, or an
        episode has no end.
    """
    try:
        source = minari.load_dataset(dataset_id, download=download)
    except (FileNotFoundError, OSError, ValueError) as error:
        raise ValueError(f"`dataset_id` must be a Minari dataset, got {dataset_id!r}: {error}") from error
    observation_space, action_space = source.observation_space, source.action_space
    if not isinstance(observation_space, gym.spaces.Box) or len(observation_space.shape) != 1:
        raise ValueError(f"`{dataset_id}` must have vector observations, got {observation_space}")
    if not isinstance(action_space, gym.spaces.Box) or len(action_space.shape) != 1:
        raise ValueError(f"`{dataset_id}` must have actions in a box, got {action_space}")
    parts: dict[str, list[np.ndarray]] = {}
    ends, total = [], 0
    has_log_probs = True
    for episode in source.iterate_episodes():
        length = len(episode.rewards)
        if not (episode.terminations[-1] or episode.truncations[-1]):
            raise ValueError(f"`{dataset_id}` must have episodes with ends, got none in episode {episode.id}")
        infos = episode.infos or {}
        has_log_probs &= LOG_PROB_INFO in infos
        of_episode = {
            "observations": episode.observations[:-1],
            "next_observations": episode.observations[1:],
            "actions": episode.actions,
            "rewards": episode.rewards,
            "terminals": episode.terminations,
        }
        if has_log_probs:
            of_episode["log_probs"] = np.asarray(infos[LOG_PROB_INFO])[:length]
        for name, array in of_episode.items():
            parts.setdefault(name, []).append(np.asarray(array))
        total += length
        ends.append(total)
    if not ends:
        raise ValueError(f"`{dataset_id}` must hold at least one episode, got none")
    arrays = {name: np.concatenate(part) for name, part in parts.items()}
    actions, log_probs = normalize_actions(
        arrays["actions"],
        action_space.low,
        action_space.high,
        arrays["log_probs"] if has_log_probs else None,
    )
    spec = source.env_spec
    return OfflineDataset(
        observations=arrays["observations"].astype(np.float32),
        actions=actions,
        rewards=arrays["rewards"].astype(np.float32),
        next_observations=arrays["next_observations"].astype(np.float32),
        terminals=arrays["terminals"].astype(bool),
        has_next=np.ones(total, bool),
        episode_ends=np.array(ends, np.int64),
        metadata={
            "name": dataset_id,
            "source": f"Minari {dataset_id}",
            "env": None if spec is None else spec.id,
            "action_low": action_space.low.tolist(),
            "action_high": action_space.high.tolist(),
        },
        behaviour_log_probs=log_probs,
    ).validate()


def write_minari(dataset: OfflineDataset, dataset_id: str, **description: Any) -> None:
    """Writes a dataset as a Minari dataset of this machine; one that is there is replaced.

    Args:
      dataset: every step of whose episodes has a next observation.
      dataset_id: such as `own/hopper/medium-v0`.
      **description: further arguments of `minari.create_dataset_from_buffers` (author, algorithm name, ...).

    Raises:
      ValueError: if a next observation is missing, which Minari cannot say.
    """
    if not np.asarray(dataset.has_next).all():
        missing = int(np.flatnonzero(~np.asarray(dataset.has_next))[0])
        raise ValueError(f"`dataset` must know every next observation, got none at step {missing}")
    low = np.asarray(dataset.metadata.get("action_low", -np.ones(dataset.actions.shape[1])), np.float32)
    high = np.asarray(dataset.metadata.get("action_high", np.ones(dataset.actions.shape[1])), np.float32)
    half = 0.5 * (high - low)
    buffers = []
    for index, steps in enumerate(dataset.episodes()):
        observations = np.concatenate([dataset.observations[steps], dataset.next_observations[steps][-1:]])
        terminations = np.asarray(dataset.terminals[steps])
        truncations = np.zeros(len(terminations), bool)
        truncations[-1] = not terminations[-1]
        infos = None
        if dataset.behaviour_log_probs is not None:
            # Of actions within their bounds; Minari has one more info than steps.
            log_probs = np.asarray(dataset.behaviour_log_probs[steps]) - np.log(half).sum()
            infos = {LOG_PROB_INFO: np.append(log_probs, 0.0).astype(np.float32)}
        buffers.append(
            EpisodeBuffer(
                id=index,
                observations=observations,
                actions=np.clip((dataset.actions[steps] + 1.0) * half + low, low, high),
                rewards=np.asarray(dataset.rewards[steps], np.float64),
                terminations=terminations,
                truncations=truncations,
                infos=infos,
            )
        )
    shape = (dataset.observations.shape[1],)
    if dataset_id in minari.list_local_datasets():
        minari.delete_dataset(dataset_id)
    minari.create_dataset_from_buffers(
        dataset_id,
        buffers,
        env=dataset.metadata.get("env"),
        observation_space=gym.spaces.Box(-np.inf, np.inf, shape, np.float32),
        action_space=gym.spaces.Box(low, high, dtype=np.float32),
        **description,
    )
