import pickle

import numpy as np
import pytest

from distill_rl.algorithms import DistillConfig
from distill_rl.algorithms.recovery import get_replays, read_state, replace_learners, set_replays
from distill_rl.types import ReferenceSet
from learners.replay import ReferenceReplay


class _Result:
    def __init__(self, value):
        self._value = value

    def get(self):
        return self._value


class _Learner:
    """A learner's replay, and nothing else."""

    def __init__(self, index, capacity):
        self._learner_index = index
        self.replay = ReferenceReplay(capacity)

    def get_replay_state(self):
        return {"replay": self.replay.state_dict(), "generator": {}}

    def set_replay_state(self, state):
        self.replay.load_state_dict(state["replay"])


class _Group:
    """Learners of a group, in this process."""

    is_local = True
    _module_spec = "the module"

    def __init__(self, num_learners, capacity):
        self.learners = [_Learner(index, capacity) for index in range(num_learners)]
        self._is_shut_down = False
        self.num_shutdowns = 0

    def foreach_learner(self, function):
        return [_Result(function(learner)) for learner in self.learners]

    def shutdown(self):
        self._is_shut_down = True
        self.num_shutdowns += 1


def _add(learner, values):
    num_states = len(values)
    zeros = np.zeros((num_states, 2), np.float32)
    learner.replay.add(
        ReferenceSet(
            observation=zeros,
            actions=np.zeros((num_states, 2, 1), np.float32),
            log_probs=np.full((num_states, 2), np.log(0.5), np.float32),
            log_proposals=zeros,
            value=np.asarray(values, np.float32),
            policy_value=np.zeros(num_states, np.float32),
            policy_version=0,
        )
    )


def _values(learner):
    return sorted(learner.replay.state_dict()["arrays"]["value"].tolist())


@pytest.mark.parametrize("num_learners", [1, 2, 3])
def test_replays_are_dealt_to_however_many_learners_there_are(num_learners):
    """As many as before get their own; others share all of it evenly, with capacities that fit."""
    old = _Group(2, capacity=30)
    _add(old.learners[0], range(12))
    _add(old.learners[1], range(100, 112))
    config = DistillConfig().learners(num_learners=num_learners).distillation(replay_capacity=60)
    new = _Group(num_learners, capacity=60 // num_learners)
    set_replays(new, config, get_replays(old))
    if num_learners == 2:
        assert [_values(a) for a in new.learners] == [_values(b) for b in old.learners]
    assert [len(learner.replay) for learner in new.learners] == [24 // num_learners] * num_learners
    dealt = sorted(value for learner in new.learners for value in _values(learner))
    assert dealt == [*range(12), *range(100, 112)]


@pytest.mark.parametrize("is_shut_down", [False, True])
def test_learners_are_shut_down_once_and_built_anew(monkeypatch, is_shut_down):
    """After a try that failed half-way the old ones are down already."""
    config, group = DistillConfig(), _Group(1, capacity=1)
    group._is_shut_down = is_shut_down
    monkeypatch.setattr(config, "build_learner_group", lambda rl_module_spec: ("new", rl_module_spec))
    assert replace_learners(group, config) == ("new", "the module")
    assert group.num_shutdowns == (0 if is_shut_down else 1)


def test_state_is_that_of_the_algorithm_alone(tmp_path):
    """RLlib keeps it in a file of its own."""
    (tmp_path / "algorithm_state.pkl").write_bytes(pickle.dumps({"loop": 3}))
    assert read_state(tmp_path) == {"loop": 3}
