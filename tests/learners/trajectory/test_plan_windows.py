"""Plans from a dataset of three episodes."""

import numpy as np
import pytest
from linear_walks import make_dataset

from distill_rl.datasets.state_limits import StateLimits
from learners.trajectory.plan_windows import PlanSampler


@pytest.mark.parametrize(("discount", "stride"), [(0.0, 1), (0.9, 1), (0.9, 3)])
def test_windows_are_those_of_a_slow_loop(discount, stride):
    """Each within its episode; goals and rewards by hand."""
    dataset = make_dataset()
    limits = StateLimits.of(dataset)
    settings = {"goal_size": 1, "goal_radius": 0.2, "discount": discount, "stride": stride}
    sampler = PlanSampler(dataset, 10, limits, **settings)
    expected = {}
    length = {1: 10, 3: 28}[stride]
    starts = [*range(40 - length + 1), *range(44, 104 - length + 1)]
    for start in starts:
        plan = dataset.observations[start : start + length : stride]
        near = [float(abs(state[0] - plan[-1][0]) <= 0.2) for state in plan]
        scale = 1.0 - discount
        returns = [sum(scale * discount**k * r for k, r in enumerate(near[t:])) for t in range(10)]
        expected[plan.tobytes()] = limits.scale(plan), returns
    assert len(sampler) == len(expected) == len(starts)
    batch = sampler.sample(2_000, np.random.default_rng(0))
    seen = set()
    keys = {scaled.tobytes(): key for key, (scaled, _) in expected.items()}
    for plan, returns in zip(batch.plan, batch.goal_return, strict=True):
        key = keys[plan.tobytes()]
        np.testing.assert_allclose(returns, expected[key][1], atol=1e-6)
        seen.add(key)
    assert len(seen) == len(starts)
    np.testing.assert_array_equal(batch.ends, np.concatenate([batch.plan[:, 0], batch.plan[:, -1]], axis=1))


def test_windows_longer_than_every_episode_are_refused():
    dataset = make_dataset()
    with pytest.raises(ValueError, match="an episode of 61 steps or more, got 60"):
        PlanSampler(dataset, 61, StateLimits.of(dataset))
    with pytest.raises(ValueError, match="an episode of 61 steps or more, got 60"):
        PlanSampler(dataset, 31, StateLimits.of(dataset), stride=2)
    with pytest.raises(ValueError, match="stride"):
        PlanSampler(dataset, 4, StateLimits.of(dataset), stride=0)
    with pytest.raises(ValueError, match="`goal_size` must be at most 2, the entries of a state; got 3"):
        PlanSampler(dataset, 4, StateLimits.of(dataset), goal_size=3)
