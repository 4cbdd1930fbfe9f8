import numpy as np
import pytest
from scipy import stats
from toy_simulator import STEP, LinearPolicy, PointMassSimulator

from actors.operators.planners import CEM, MPPI, CEMConfig, MPPIConfig
from actors.search.plans import sample_plans

STATES = np.array([[0.6], [-0.02]])
ONE_STEP = {"horizon_steps": 1, "hold_steps": 1}


def _improve(operator, policy=None, states=STATES, seed=0):
    return operator.improve(
        states.astype(np.float32), states, policy or LinearPolicy(), np.random.default_rng(seed)
    )


def _squashed(median, scale):
    """Distribution of `tanh(atanh(median) + scale z)`: its density by scipy and the change of variables."""
    normal = stats.norm(np.arctanh(median), scale)

    def log_density(action):
        return normal.logpdf(np.arctanh(action)) - np.log1p(-(action**2))

    return log_density, lambda action: normal.cdf(np.arctanh(action))


def test_plans_are_held_and_have_the_density_they_say():
    """Offsets are constant within a segment; first actions are squashed normal variables."""
    generator = np.random.default_rng(0)
    nominal = generator.uniform(-0.9, 0.9, (2, 5, 1))
    offset_mean, scale = generator.normal(size=(2, 3, 1)), np.full((2, 3, 1), 0.4)
    plans = sample_plans(nominal, offset_mean, scale, generator, num_plans=3_000, hold_steps=2)
    assert plans.actions.shape == (2, 3_000, 5, 1) and np.abs(plans.actions).max() <= 1.0
    offsets = np.repeat(plans.offsets, 2, axis=2)[:, :, :5]
    np.testing.assert_allclose(np.arctanh(plans.actions), np.arctanh(nominal)[:, None] + offsets, rtol=1e-6)
    for root in range(2):
        median = np.tanh(np.arctanh(nominal[root, 0, 0]) + offset_mean[root, 0, 0])
        log_density, cumulative = _squashed(median, 0.4)
        first = plans.actions[root, :, 0, 0]
        np.testing.assert_allclose(plans.log_proposals[root], log_density(first), rtol=1e-6)
        assert stats.kstest(first, cumulative).pvalue > 1e-3


def _quadrature(state, scale, eta, discount, policy):
    """Mean and deviation of `beta(a) exp(Q(a) / eta)` for one step of the point mass."""
    nodes, weights = np.polynomial.legendre.leggauss(400)
    density = np.exp(_squashed(policy.act(np.array([[state]], np.float32), 0.0, None)[0, 0], scale)[0](nodes))
    position = state + STEP * nodes
    q_value = -(position**2) + discount * -policy.weight * position**2
    weights = weights * density * np.exp(q_value / eta)
    mean = (weights * nodes).sum() / weights.sum()
    return mean, np.sqrt((weights * (nodes - mean) ** 2).sum() / weights.sum())


def test_mppi_weighs_its_plans_by_their_returns():
    """Importance weights `p / q` give the moments of `beta exp(Q / eta)` that quadrature gives."""
    config = MPPIConfig(num_candidates=8_000, scale=0.5, target_kl=0.5, discount=0.9, **ONE_STEP)
    operator, policy = MPPI(PointMassSimulator(), config), LinearPolicy(gain=0.3)
    found = _improve(operator, policy, STATES[:1])
    weights = np.exp(found.log_probs - found.log_proposals)[0] / 8_000
    assert weights.sum() == pytest.approx(1.0, rel=1e-4)
    actions = found.actions[0, :, 0]
    mean = (weights * actions).sum()
    deviation = np.sqrt((weights * (actions - mean) ** 2).sum())
    expected = _quadrature(0.6, 0.5, operator.last_search.temperature, 0.9, policy)
    np.testing.assert_allclose((mean, deviation), expected, atol=0.02)
    # The candidates themselves are those of the proposal.
    median = policy.act(np.array([[0.6]], np.float32), 0.0, None)[0, 0]
    assert stats.kstest(actions, _squashed(median, 0.5)[1]).pvalue > 1e-3


@pytest.mark.parametrize("operator_type", [MPPI, CEM])
def test_more_rounds_come_closer(operator_type):
    """Plans of a later round are drawn about the mean of the round before."""
    distance = []
    for num_iterations in (1, 4):
        config = operator_type.config_type(
            num_candidates=64, scale=0.2, num_iterations=num_iterations, **ONE_STEP
        )
        found = _improve(operator_type(PointMassSimulator(), config), LinearPolicy(gain=-1.0))
        distance.append(np.abs(found.actions.mean(axis=1)[0] + 1.0))  # to the best action
    assert distance[1] < 0.8 * distance[0]


def test_elites_share_the_mass():
    """The best plans have equal weights, the others none, and noise shrinks to what is left of it."""
    config = CEMConfig(num_candidates=40, num_elites=5, num_iterations=6, min_scale=0.05, **ONE_STEP)
    found = _improve(CEM(PointMassSimulator(), config))
    weights = np.exp(found.log_probs - found.log_proposals)
    np.testing.assert_allclose(weights[:, :5], 8.0, rtol=1e-5)
    assert (weights[:, 5:] == 0.0).all() and np.isneginf(found.log_probs[:, 5:]).all()
    cost = np.square(STATES + STEP * found.actions[:, :, 0])
    assert (np.diff(cost, axis=1) >= -1e-9).all()  # best first
    assert found.actions[:, :, 0].std(axis=1).max() < 0.1
    np.testing.assert_allclose(found.actions[1, :5, 0].mean(), 0.2, atol=0.1)


def test_a_plan_can_be_carried_over():
    """`plan` starts from whatever it is given, and returns the mean of what it found."""
    config = MPPIConfig(num_candidates=256, scale=0.3, target_kl=3.0, horizon_steps=4, hold_steps=2)
    operator, generator = MPPI(PointMassSimulator(), config), np.random.default_rng(0)
    nominal = np.zeros((2, 4, 1))
    values = []
    for _ in range(4):
        found = operator.plan(STATES, nominal, LinearPolicy(), generator)
        values.append((np.exp(found.log_weights) * found.returns).sum(axis=1)[0])
        nominal = found.mean_plan
    assert values[-1] > values[0] + 0.4 and nominal[0].mean() < -0.7
    with pytest.raises(ValueError, match=r"`nominal` must have shape \[2, 4, 1\]"):
        operator.plan(STATES, nominal[:, :3], LinearPolicy(), generator)
