import numpy as np
import pytest
from dm_control.rl.control import PhysicsError
from toy_simulator import LinearPolicy, PointMassEnv, PointMassSimulator

from actors.evaluation import evaluate_chunks, evaluate_policy, evaluate_search
from actors.operators.config import RootBanditConfig
from actors.operators.root_bandit import RootBandit
from distill_rl.policies.chunk_execution import ChunkExecutor


def _act(observation):
    return np.clip(-observation, -1.0, 1.0)


def test_returns_agree_with_a_single_environment_loop():
    """Returns and lengths are those of running the same seeds one after the other."""
    result = evaluate_policy(_act, [PointMassEnv(2, max_steps=6) for _ in range(2)], 5, seed=3)
    env = PointMassEnv(2, max_steps=6)
    for index, seed in enumerate(np.random.SeedSequence(3).generate_state(5)):
        observation, _ = env.reset(seed=int(seed) % 2**31)
        total, is_over = 0.0, False
        while not is_over:
            observation, reward, terminated, truncated, _ = env.step(_act(observation[None])[0])
            total, is_over = total + reward, terminated or truncated
        assert result.returns[index] == total
    np.testing.assert_array_equal(result.lengths, 6)
    np.testing.assert_allclose(result.mean_return, result.returns.mean())


@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_result_does_not_depend_on_the_number_of_environments(num_envs):
    """Episodes of different lengths are all counted, in the order of their seeds."""

    def outward(observation):
        return np.sign(observation)

    expected = evaluate_policy(outward, [PointMassEnv(1, limit=1.0)], 6)
    found = evaluate_policy(outward, [PointMassEnv(1, limit=1.0) for _ in range(num_envs)], 6)
    np.testing.assert_array_equal(expected.returns, found.returns)
    np.testing.assert_array_equal(expected.lengths, found.lengths)
    assert len(set(expected.lengths)) > 1


def test_policy_is_called_with_the_running_episodes_only():
    """The batch shrinks as environments run out of episodes, and none is started in vain."""
    sizes = []

    def act(observation):
        sizes.append(len(observation))
        return _act(observation)

    evaluate_policy(act, [PointMassEnv(1, max_steps=3) for _ in range(4)], 5)
    assert sizes == [4] * 3 + [1] * 3


@pytest.mark.parametrize("num_envs", [1, 3, 8])
def test_chunks_are_acted_out_in_every_episode(num_envs):
    """Episodes of different lengths, two steps of each chunk, against one episode after the other."""

    def plan(observation):
        return np.stack([np.sign(observation), -0.5 * np.sign(observation)], axis=1)

    def envs():
        return [PointMassEnv(1, limit=1.0, max_steps=9) for _ in range(num_envs)]

    found = evaluate_chunks(ChunkExecutor(plan, 2), envs(), 6)
    alone, env = [], PointMassEnv(1, limit=1.0, max_steps=9)
    for seed in np.random.SeedSequence(0).generate_state(6):
        observation, _ = env.reset(seed=int(seed) % 2**31)
        total, is_over, chunk = 0.0, False, []
        while not is_over:
            chunk = chunk or list(plan(observation[None])[0])
            observation, reward, terminated, truncated, _ = env.step(chunk.pop(0))
            total, is_over = total + reward, terminated or truncated
        alone.append(total)
    np.testing.assert_allclose(found.returns, alone)
    assert len(set(found.lengths)) > 1


@pytest.mark.parametrize("failure", [None, PhysicsError("bad")])
def test_failed_physics_ends_an_episode(failure):
    """A failed episode ends with the return it had, and is counted."""
    envs = [PointMassEnv(1, start=0.5, poison=0.65, failure=failure)]
    result = evaluate_policy(np.ones_like, envs, 2)
    np.testing.assert_allclose(result.returns, -(0.6**2))
    np.testing.assert_array_equal(result.lengths, 1)
    assert result.num_failed == 2


def test_search_is_better_than_its_policy():
    """On an exact model the search earns more than the policy that it improves on, on the same episodes."""
    envs = [PointMassEnv(1, max_steps=15) for _ in range(4)]
    simulator, policy = PointMassSimulator(1), LinearPolicy(gain=0.0)
    config = RootBanditConfig(num_perturbed=4, horizon_steps=3, hold_steps=3)
    plain = evaluate_policy(lambda obs: policy.act(obs, 0.0, np.random.default_rng()), envs, 8)
    searched = evaluate_search(RootBandit(simulator, config), simulator, policy, envs, 8)
    assert (searched.returns > plain.returns).all()
    again = evaluate_search(RootBandit(simulator, config), simulator, policy, envs, 8)
    np.testing.assert_array_equal(searched.returns, again.returns)


def test_bad_arguments_are_named():
    """An evaluation needs environments and episodes."""
    with pytest.raises(ValueError, match="`envs` must hold at least one environment"):
        evaluate_policy(_act, [], 1)
    with pytest.raises(ValueError, match="`num_episodes` must be an integer of at least 1, got 0"):
        evaluate_policy(_act, [PointMassEnv()], 0)


def test_actions_of_another_number_of_episodes_are_refused():
    """Episodes without an action would count with a return of zero."""
    with pytest.raises(ValueError, match=r"`act_fn\(observation\)` must have shape \[2, any\], got \[1, 1\]"):
        evaluate_policy(lambda observation: _act(observation)[:1], [PointMassEnv(1) for _ in range(2)], 2)
