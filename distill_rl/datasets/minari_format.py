"""Reads and writes Minari datasets. Source: https://minari.farama.org."""

import warnings
from typing import Any

import gymnasium as gym
import minari
import numpy as np
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_dataset import parse_dataset_id

from distill_rl.datasets.offline_dataset import OfflineDataset, normalize_actions

LOG_PROB_INFO = "behaviour_log_prob"
"""Key of the log-density of each action, among the infos of a step."""


def read_minari(dataset_id: str, download: bool = False) -> OfflineDataset:
    """Reads a Minari dataset.

    Args:
      dataset_id: such as `mujoco/hopper/medium-v0`.
      download: whether to fetch it if it is not on this machine.

    Returns:
      The dataset; actions are mapped to [-1, 1], and the items of dictionary observations joined in the order
      of their space, as environments of `make_env` have them.

    Raises:
      ValueError: if it is not there, its observations are no vectors or its actions no bounded box, or an
        episode has no end.
    """
    check_minari_id("dataset_id", dataset_id)
    try:
        source = minari.load_dataset(dataset_id, download=download)
    except ImportError as error:
        raise ValueError(f"`download` needs more packages, `pip install 'minari[hf]'`: {error}") from error
    except (KeyError, OSError, ValueError) as error:
        is_absent = isinstance(error, FileNotFoundError) and not download
        reason = "it is not on this machine; get it by --download" if is_absent else error
        raise ValueError(f"`dataset_id` must be a Minari dataset, got {dataset_id!r}: {reason}") from error
    observation_space, action_space = source.observation_space, source.action_space
    if not _is_vector(observation_space):
        raise ValueError(f"`{dataset_id}` must have vector observations, got {observation_space}")
    if not isinstance(action_space, gym.spaces.Box) or len(action_space.shape) != 1:
        raise ValueError(f"`{dataset_id}` must have actions in a box, got {action_space}")
    parts: dict[str, list[np.ndarray]] = {}
    ends: list[int] = []
    try:
        for episode in source.iterate_episodes():
            _add_episode(parts, ends, episode, observation_space, dataset_id)
    except (KeyError, OSError) as error:
        raise ValueError(
            f"`{dataset_id}` is damaged: episode {len(ends) + 1} of {source.total_episodes} cannot be read: "
            f"{error}"
        ) from error
    if not ends:
        raise ValueError(f"`{dataset_id}` must hold at least one episode, got none")
    total = ends[-1]
    arrays = {name: np.concatenate(part) for name, part in parts.items() if len(part) == len(ends)}
    actions, log_probs = normalize_actions(
        arrays["actions"],
        action_space.low,
        action_space.high,
        arrays.get("log_probs"),
    )
    spec = source.env_spec
    return OfflineDataset(
        observations=arrays["observations"].astype(np.float32),
        actions=actions,
        rewards=arrays["rewards"].astype(np.float32),
        next_observations=arrays["next_observations"].astype(np.float32),
        terminals=arrays["terminals"].astype(bool),
        is_transition=np.ones(total, bool),
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


def _is_vector(space: gym.Space) -> bool:
    """Returns whether observations are vectors, or dictionaries of vectors."""
    if isinstance(space, gym.spaces.Dict):
        return all(_is_vector(item) for item in space.values())
    return isinstance(space, gym.spaces.Box) and len(space.shape) == 1


def _join(observations: Any, space: gym.Space) -> np.ndarray:
    """Joins the items of dictionary observations, in the order of the space. Shape `[T, O]`."""
    if not isinstance(space, gym.spaces.Dict):
        return np.asarray(observations)
    return np.concatenate([_join(observations[key], item) for key, item in space.items()], axis=-1)


def _add_episode(
    parts: dict[str, list[np.ndarray]], ends: list[int], episode: Any, space: gym.Space, dataset_id: str
) -> None:
    """Adds the arrays of an episode to their lists, and where it ends."""
    length = len(episode.rewards)
    if length == 0 or not (episode.terminations[-1] or episode.truncations[-1]):
        raise ValueError(f"`{dataset_id}` must have episodes with ends, got none in episode {episode.id}")
    infos = episode.infos or {}
    observations = _join(episode.observations, space)
    of_episode = {
        "observations": observations[:-1],
        "next_observations": observations[1:],
        "actions": episode.actions,
        "rewards": episode.rewards,
        "terminals": episode.terminations,
    }
    if LOG_PROB_INFO in infos:
        of_episode["log_probs"] = np.asarray(infos[LOG_PROB_INFO])[:length]
    for name, array in of_episode.items():
        parts.setdefault(name, []).append(np.asarray(array))
    ends.append(length + (ends[-1] if ends else 0))


def is_minari_id(text: str) -> bool:
    """Returns whether Minari takes a text for the id of a dataset with a version."""
    try:
        parse_dataset_id(text)
    except (ValueError, TypeError):  # the latter without a version
        return False
    return True


def check_minari_id(name: str, dataset_id: str) -> None:
    """Checks that Minari takes an id.

    Args:
      name: name of the argument, for the message.
      dataset_id: to check.

    Raises:
      ValueError: if it does not.
    """
    if not is_minari_id(dataset_id):
        raise ValueError(
            f"`{name}` must be of the form own/hopper/medium-v0, of letters, digits, - and _, two or more "
            f"before the last slash, got {dataset_id!r}"
        )


def write_minari(
    dataset: OfflineDataset, dataset_id: str, overwrite: bool = False, **description: Any
) -> None:
    """Writes a dataset as a Minari dataset of this machine.

    Args:
      dataset: whose final observations are known.
      dataset_id: such as `own/hopper/medium-v0`.
      overwrite: whether one that is there is replaced.
      **description: further arguments of `minari.create_dataset_from_buffers` (author, algorithm name, ...).

    Raises:
      ValueError: if final observations are missing, the id is malformed, or there is one already.
    """
    check_minari_id("dataset_id", dataset_id)
    if not dataset.has_final_observations:
        raise ValueError("`dataset` must know what followed the last step of each episode, which it does not")
    is_there = dataset_id in minari.list_local_datasets()
    if is_there and not overwrite:
        raise ValueError(f"`dataset_id` must be free, got {dataset_id!r}; it is replaced with --overwrite")
    low = np.asarray(dataset.metadata.get("action_low", -np.ones(dataset.actions.shape[1])), np.float32)
    high = np.asarray(dataset.metadata.get("action_high", np.ones(dataset.actions.shape[1])), np.float32)
    buffers = _buffers(dataset, low, high)
    env = dataset.metadata.get("env")
    if is_there:
        minari.delete_dataset(dataset_id)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about fields of the description that are left out
        minari.create_dataset_from_buffers(
            dataset_id,
            buffers,
            # An environment that is not installed here cannot be described.
            env=env if env in gym.registry else None,
            observation_space=gym.spaces.Box(-np.inf, np.inf, (dataset.observations.shape[1],), np.float32),
            action_space=gym.spaces.Box(low, high, dtype=np.float32),
            **description,
        )


def _buffers(dataset: OfflineDataset, low: np.ndarray, high: np.ndarray) -> list[EpisodeBuffer]:
    """Returns the episodes as Minari collects them, with actions within their bounds."""
    half = 0.5 * (high - low)
    buffers = []
    for index, steps in enumerate(dataset.episodes()):
        terminations = np.asarray(dataset.terminals[steps])
        truncations = np.zeros(len(terminations), bool)
        truncations[-1] = not terminations[-1]
        infos = None
        if dataset.behaviour_log_probs is not None:
            # Minari has one more info than steps.
            log_probs = np.asarray(dataset.behaviour_log_probs[steps]) - np.log(half).sum()
            infos = {LOG_PROB_INFO: np.append(log_probs, 0.0).astype(np.float32)}
        buffers.append(
            EpisodeBuffer(
                id=index,
                observations=np.concatenate(
                    [dataset.observations[steps], dataset.next_observations[steps][-1:]]
                ),
                actions=np.clip((dataset.actions[steps] + 1.0) * half + low, low, high),
                rewards=np.asarray(dataset.rewards[steps], np.float64),
                terminations=terminations,
                truncations=truncations,
                infos=infos,
            )
        )
    return buffers
