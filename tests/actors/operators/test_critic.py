import numpy as np
import pytest
from toy_simulator import LinearPolicy, PointMassSimulator

from actors.operators.critic import Critic, CriticConfig
from actors.search.temperature import kl_divergence

OBSERVATION = np.linspace(-1.0, 1.0, 6, dtype=np.float32)[:, None]


class QuadraticCritic(LinearPolicy):
    """An action is worth the less, the farther it is from one half, in some states more so."""

    def q_value(self, observation, action):
        return (-(1.0 + 9.0 * (observation > 0.0)) * (action - 0.5) ** 2)[:, 0].astype(np.float32)


def _improve(**settings):
    operator = Critic(PointMassSimulator(), CriticConfig(num_candidates=64, **settings))
    found = operator.improve(
        OBSERVATION, np.empty((6, 0)), QuadraticCritic(gain=0.0), np.random.default_rng(0)
    )
    return found, operator.simulator


def test_samples_are_weighed_by_the_critic():
    """`log p*` is `Q / eta` up to a constant, each state's divergence is on target, nothing is simulated."""
    found, simulator = _improve(target_kl=0.8)
    np.testing.assert_allclose(kl_divergence(found.log_probs.astype(float)), 0.8, atol=1e-5)
    q_values = -((found.actions[0, :, 0] - 0.5) ** 2)
    slope = np.polyfit(q_values, found.log_probs[0], 1)
    np.testing.assert_allclose(np.polyval(slope, q_values), found.log_probs[0], atol=1e-3)
    assert simulator.num_steps == 0 and found.transitions is None


def test_a_shared_temperature_changes_most_where_actions_matter():
    """The target holds in the mean over states, as in MPO."""
    found, _ = _improve(target_kl=0.8, is_temperature_shared=True)
    kl = kl_divergence(found.log_probs.astype(float))
    np.testing.assert_allclose(kl.mean(), 0.8, atol=1e-5)
    assert kl[3:].min() > kl[:3].max()


def test_a_policy_without_a_critic_is_refused():
    """What is missing is named."""
    operator = Critic(PointMassSimulator(), CriticConfig())
    with pytest.raises(ValueError, match="`policy` must have a method `q_value`"):
        operator.improve(OBSERVATION, np.empty((6, 0)), LinearPolicy(), np.random.default_rng(0))
