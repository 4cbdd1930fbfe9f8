"""Learners replaced by new ones, and replays dealt out to however many there are."""

import pickle
from pathlib import Path
from typing import Any

import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.core.learner.learner_group import LearnerGroup

from distill_rl.algorithms.search_loop_config import SearchLoopConfig
from learners.learner import reshard_replays


def replace_learners(group: LearnerGroup, config: SearchLoopConfig) -> LearnerGroup:
    """Shuts a group of learners down, unless an earlier try has, and returns a new one of the same module."""
    module_spec = group._module_spec
    if not group._is_shut_down:
        group.shutdown()
    return config.build_learner_group(rl_module_spec=module_spec)


def read_state(path: str | Path) -> dict[str, Any]:
    """Returns the state of an algorithm in its checkpoint, that of its components left out.

    Args:
      path: a checkpoint of an algorithm. Its files are pickles: only a trusted one.
    """
    state: dict[str, Any] = pickle.loads((Path(path) / f"{Algorithm.STATE_FILE_NAME}.pkl").read_bytes())
    return state


def get_replays(group: LearnerGroup) -> list[dict[str, Any]]:
    """Returns the replay of every learner, see `DistillLearner.get_replay_state`."""
    return [result.get() for result in group.foreach_learner(lambda learner: learner.get_replay_state())]


def set_replays(group: LearnerGroup, config: SearchLoopConfig, states: list[dict[str, Any]]) -> None:
    """Gives every learner its replay, dealt out anew if their number has changed.

    Args:
      group: the learners.
      config: of the algorithm, which says how many they are and what they hold together.
      states: what `get_replays` returned.
    """
    num_learners = max(1, config.num_learners)
    if len(states) != num_learners:
        states = reshard_replays(states, num_learners, -(-config.replay_capacity // num_learners))
    states_ref = states if group.is_local else ray.put(states)

    def restore(learner: Any) -> None:
        all_states = states_ref if isinstance(states_ref, list) else ray.get(states_ref)
        learner.set_replay_state(all_states[learner._learner_index])

    group.foreach_learner(restore)
