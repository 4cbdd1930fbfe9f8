"""Reads the HDF5 files of D4RL, versions 0 to 2.

Keys: `observations`, `actions`, `rewards`, `terminals`, mostly `timeouts`; version 2 of the MuJoCo sets has
`next_observations`, `infos/action_log_probs` and, for sets of a single policy, that policy under
`metadata/policy`.

Transitions are those of D4RL's own `qlearning_dataset`: every row but the last one of the file and those that
ran out of time, since what follows them belongs to another episode. Where a file has no `timeouts`, episodes
end after the environment's `max_episode_steps` (D4RL's own count is off by one after a terminal). Source: Fu
et al. (2020), "D4RL", https://github.com/Farama-Foundation/D4RL.
"""

from pathlib import Path

import h5py
import numpy as np

from distill_rl.checks import check_at_least_one
from distill_rl.datasets.behaviour import BehaviourPolicy
from distill_rl.datasets.offline_dataset import OfflineDataset

_LOG_PROBS = "infos/action_log_probs"
_NEXT = "next_observations"
_POLICY = "metadata/policy"
_POLICY_FORM = {"nonlinearity": "relu", "output_distribution": "tanh_gaussian"}
_REQUIRED = ("observations", "actions", "rewards", "terminals")


def read_d4rl(path: str | Path, name: str, max_episode_steps: int | None = None) -> OfflineDataset:
    """Reads a file of D4RL.

    Args:
      path: the HDF5 file.
      name: of the dataset, such as `hopper-medium-v2`; it goes into the metadata.
      max_episode_steps: where episodes are cut if the file does not say; None if it does.

    Returns:
      The dataset. Actions are those of the file, which D4RL bounds by [-1, 1].

    Raises:
      ValueError: if the file cannot be read, a key is missing, an array has the wrong type or length, the
        policy is of other sizes than the data, no step ends an episode, or `max_episode_steps` is below 1 or
        of no use.
    """
    if max_episode_steps is not None:
        check_at_least_one("max_episode_steps", max_episode_steps)
    path = Path(path)
    with _open(path) as file:
        arrays = {key: _read(file, key, path) for key in _REQUIRED}
        extra = {key: _read(file, key, path) for key in ("timeouts", _LOG_PROBS, _NEXT) if key in file}
        policy = _read_policy(file)
    lengths = {key: len(array) for key, array in (arrays | extra).items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"`{path}` must hold arrays of one length, got {lengths}")
    rewards, terminals = arrays["rewards"].reshape(-1), arrays["terminals"].reshape(-1).astype(bool)
    timeouts = extra.get("timeouts")
    if timeouts is not None and max_episode_steps is not None:
        raise ValueError(f"`max_episode_steps` is of no use: `{path}` says where episodes run out of time")
    ends = _episode_ends(terminals, timeouts, max_episode_steps, path)
    if timeouts is None:
        has_run_out = _flags(len(rewards), ends) & ~terminals
    else:
        has_run_out = timeouts.reshape(-1).astype(bool)
    is_transition = ~has_run_out
    is_transition[-1] = False
    observations = arrays["observations"].astype(np.float32)
    # Without the key that of the last step of an episode is not known.
    following = extra.get(_NEXT, np.concatenate([observations[1:], observations[-1:]]))
    log_probs = extra.get(_LOG_PROBS)
    return OfflineDataset(
        observations=observations,
        actions=arrays["actions"].astype(np.float32),
        rewards=rewards.astype(np.float32),
        next_observations=following.astype(np.float32),
        terminals=terminals,
        is_transition=is_transition,
        episode_ends=ends,
        metadata={"name": name, "source": f"D4RL file {path.name}"},
        has_final_observations=_NEXT in extra,
        behaviour_log_probs=None if log_probs is None else log_probs.reshape(-1).astype(np.float32),
        behaviour_policy=policy,
    ).validate()


def _open(path: Path) -> h5py.File:
    if not path.exists():
        raise ValueError(f"`{path}` must be an HDF5 file, got no such file")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise ValueError(f"`{path}` must be a whole HDF5 file, got {error}") from error


def _read(file: h5py.File, key: str, path: Path) -> np.ndarray:
    if key not in file:
        raise ValueError(f"`{path}` must have the key {key!r}, got {sorted(file)}")
    try:
        array = np.asarray(file[key])
    except OSError as error:
        raise ValueError(f"`{path}` is damaged at {key!r}: {error}") from error
    if array.dtype.kind not in "fiub":
        raise ValueError(f"`{path}` must hold numbers under {key!r}, got dtype {array.dtype}")
    return array


def _episode_ends(
    terminals: np.ndarray, timeouts: np.ndarray | None, max_episode_steps: int | None, path: Path
) -> np.ndarray:
    """Returns the index after the last step of each episode; one that is cut off ends with the file."""
    if timeouts is not None:
        ends = np.flatnonzero(terminals | timeouts.reshape(-1).astype(bool)) + 1
    elif max_episode_steps is None:
        ends = np.flatnonzero(terminals) + 1
    else:
        ends = _cut(np.flatnonzero(terminals) + 1, len(terminals), max_episode_steps)
    if not len(ends):
        raise ValueError(
            f"`{path}` must say where episodes end, got neither a terminal nor a timeout; give the limit of "
            "the environment as max_episode_steps"
        )
    return ends if ends[-1] == len(terminals) else np.append(ends, len(terminals))


def _cut(ends: np.ndarray, num_steps: int, max_episode_steps: int) -> np.ndarray:
    """Cuts episodes that are longer than the limit."""
    cut: list[int] = []
    start = 0
    for end in [*ends.tolist(), num_steps]:
        cut += range(start + max_episode_steps, end, max_episode_steps)
        if end > start:
            cut.append(end)
        start = end
    return np.array(cut, np.int64)


def _flags(num_steps: int, ends: np.ndarray) -> np.ndarray:
    flags = np.zeros(num_steps, bool)
    flags[ends - 1] = True
    return flags


def _read_policy(file: h5py.File) -> BehaviourPolicy | None:
    """Reads the policy that took the actions, where the file has it in the form that is known."""
    if _POLICY not in file:
        return None
    policy = file[_POLICY]
    for key, form in _POLICY_FORM.items():
        if key not in policy or _text(policy[key][()]) != form:
            return None
    names = ("fc0", "fc1", "last_fc", "last_fc_log_std")
    try:
        layers = [
            (np.asarray(policy[f"{name}/weight"]), np.asarray(policy[f"{name}/bias"])) for name in names
        ]
    except KeyError:
        return None
    return BehaviourPolicy(*layers)


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
