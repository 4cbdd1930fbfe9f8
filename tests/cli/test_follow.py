"""Acting with the newest policy, whoever publishes it."""

import types

import numpy as np
import pytest

from distill_rl.cli.follow import follow
from distill_rl.storage.policy_subscriber import Received


class Policies:
    """Publishes a newer version every `every` steps; each pushes as hard as its version says."""

    def __init__(self, every=2, **metadata):
        self.num_asked = 0
        self._every = every
        self._metadata = {"env": "Pendulum-v1", "env_config": {"max_episode_steps": 5}} | metadata

    def wait(self, timeout_sec, publication=None):
        return self._received(0)

    @property
    def newest(self):
        self.num_asked += 1
        return self._received((self.num_asked - 1) // self._every)

    def _received(self, version):
        policy = types.SimpleNamespace(
            metadata=self._metadata | {"policy_version": version},
            act=lambda observation: np.full(1, 0.1 * version, np.float32),
        )
        return Received(str(version), policy)


def test_every_step_is_of_the_newest_policy():
    """An episode tells the versions that began and ended it, and is stepped to its end."""
    policies = Policies()
    episodes = list(follow(policies, 2, 0, lambda: False))
    assert [(e.num_steps, e.first_version, e.last_version) for e in episodes] == [(5, 0, 2), (5, 2, 4)]
    assert policies.num_asked == 10


def test_episodes_repeat_for_a_seed():
    """Their resets are drawn from it."""
    first, again, other = (list(follow(Policies(), 2, seed, lambda: False)) for seed in (1, 1, 2))
    assert first == again != other
    assert first[0].episode_return != first[1].episode_return


def test_a_stop_ends_it_within_an_episode():
    """What was stopped is no episode."""
    policies = Policies()
    assert len(list(follow(policies, None, 0, lambda: policies.num_asked >= 7))) == 1
    assert policies.num_asked == 7


def test_waiting_for_a_policy_can_be_stopped():
    """Nobody may ever publish one."""
    answers = iter([False, False, True])
    policies = types.SimpleNamespace(wait=lambda timeout_sec: None)
    assert list(follow(policies, 1, 0, lambda: next(answers))) == []


@pytest.mark.parametrize("env", ["os:Pendulum-v1", None, 3])
def test_a_message_names_no_module_to_import(env):
    """Gymnasium imports what stands before a colon; a policy's own word for its environment is not enough."""
    with pytest.raises(ValueError, match="the policy must name a registered environment, got"):
        list(follow(Policies(env=env), 1, 0, lambda: False))
