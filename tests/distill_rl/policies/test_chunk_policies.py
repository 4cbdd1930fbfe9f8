"""Policies over chunks: how they sample, and that they are the same after saving."""

import json

import numpy as np
import pytest
import torch

from distill_rl.diffusion.schedules import karras_sigmas
from distill_rl.policies.chunk import ChunkConsistencyPolicy, ChunkDiffusionPolicy
from distill_rl.policies.kinds import make_policy
from distill_rl.policies.loaded import LoadedChunkPolicy
from distill_rl.policies.loading import load_policy, save_policy

_SETTINGS = {
    "horizon": 4,
    "level_sizes": (8, 16),
    "kernel_size": 3,
    "embedding_size": 8,
    "sigma_min": 0.05,
    "sigma_max": 10.0,
    "sigma_data": 0.4,
}


def make(policy_type):
    torch.manual_seed(0)
    policy = policy_type(3, 2, **_SETTINGS).eval().requires_grad_(False)
    policy.model.network.normalizer.update(2.0 + 3.0 * torch.randn(50, 3))
    return policy


@pytest.fixture(params=[ChunkConsistencyPolicy, ChunkDiffusionPolicy])
def policy(request):
    return make(request.param)


def count_calls(policy):
    calls = []
    policy.model.network.register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_chunks_are_bounded_and_their_first_action_acts(policy):
    """Shapes, bounds and the generator: the same noise gives the chunk whose first action `act` returns."""
    observation = torch.randn(5, 3)
    chunks = policy.sample(observation, 3, 1.0, torch.Generator().manual_seed(1))
    assert chunks.shape == (5, 4, 2) and float(chunks.abs().max()) <= 1.0
    acted = policy.act(observation, 3, 1.0, torch.Generator().manual_seed(1))
    torch.testing.assert_close(acted, chunks[:, 0])
    with pytest.raises(ValueError, match="`num_steps` must be an integer of at least 1, got 0"):
        policy.sample(observation, 0)


def test_a_student_takes_one_evaluation_for_each_jump():
    """One jump is `G(sigma_max z, sigma_max, sigma_min)`; further ones start on an even part of the grid."""
    policy, observation = make(ChunkConsistencyPolicy), torch.randn(2, 3)
    noise = torch.randn(2, 8, generator=torch.Generator().manual_seed(5)).view(2, 4, 2)
    top, bottom = torch.full((2,), 10.0), torch.full((2,), 0.05)
    expected = policy.model.jump(10.0 * noise, top, bottom, observation).clamp(-1.0, 1.0)
    torch.testing.assert_close(policy.sample(observation, 1, 1.0, torch.Generator().manual_seed(5)), expected)
    calls, levels = count_calls(policy), []
    policy.model.network.register_forward_pre_hook(lambda _, inputs: levels.append(float(inputs[1][0][0])))
    policy.sample(observation, 3)
    assert len(calls) == 3
    grid = karras_sigmas(4, 0.05, 10.0)
    np.testing.assert_allclose(np.exp(np.array(levels) / 250.0), [10.0, grid[1], grid[2]], rtol=1e-4)


def test_noise_scale_is_where_sampling_starts():
    """Scale `1 / sigma_max` starts at unit noise, and scale 0 is the same chunk at every draw."""
    policy, observation = make(ChunkConsistencyPolicy), torch.randn(2, 3)
    noise = torch.randn(2, 8, generator=torch.Generator().manual_seed(5)).view(2, 4, 2)
    top, bottom = torch.full((2,), 10.0), torch.full((2,), 0.05)
    expected = policy.model.jump(noise, top, bottom, observation).clamp(-1.0, 1.0)
    unit = policy.sample(observation, 1, 0.1, torch.Generator().manual_seed(5))
    torch.testing.assert_close(unit, expected)
    assert torch.equal(policy.sample(observation, 2, 0.0), policy.sample(observation, 2, 0.0))


@pytest.mark.parametrize(
    ("sampler", "num_steps", "num_calls"),
    [("heun", 80, 159), ("euler", 80, 80), ("ddpm", 15, 15), ("ddim", 15, 15), ("dpm_solver_pp", 1, 1)],
)
def test_a_teacher_takes_the_evaluations_of_its_sampler(sampler, num_steps, num_calls):
    """The published teacher: 80 levels of Heun, twice each but the last."""
    policy = make(ChunkDiffusionPolicy)
    calls = count_calls(policy)
    policy.sample(torch.randn(1, 3), num_steps, sampler=sampler)
    assert len(calls) == num_calls


def test_a_saved_policy_acts_as_before(policy, tmp_path):
    """Weights, statistics of observations, sizes and ways of acting make the round trip."""
    acting = {"num_steps": 2, "noise_scale": 0.5, "exec_horizon": 3}
    folder = save_policy(policy, tmp_path, {"acting": acting})
    loaded = load_policy(folder)
    assert isinstance(loaded, LoadedChunkPolicy)
    observation = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    expected = policy.sample(torch.from_numpy(observation), 2, 0.5, torch.Generator().manual_seed(7)).numpy()
    np.testing.assert_array_equal(loaded.act_chunk(observation, seed=7), expected)
    np.testing.assert_array_equal(loaded.act(observation, seed=7), expected[:, 0])
    one = loaded.act_chunk(observation[0], num_steps=1, noise_scale=0.0)
    np.testing.assert_allclose(one, loaded.act_chunk(observation[:1], 1, 0.0)[0], atol=1e-6)
    assert one.shape == (4, 2)
    assert json.loads((folder / "policy.json").read_text())["metadata"] == {"acting": acting}


def test_an_executor_acts_as_the_policy_was_saved_to(tmp_path):
    """`exec_horizon` of the metadata holds unless another is asked for; too many actions are an error."""
    policy = make(ChunkConsistencyPolicy)
    folder = save_policy(policy, tmp_path, {"acting": {"noise_scale": 0.0, "exec_horizon": 3}})
    loaded, observation = load_policy(folder), np.zeros(3)
    chunk = loaded.act_chunk(observation)
    executor = loaded.make_executor()
    for step in (0, 1, 2, 0):
        np.testing.assert_allclose(executor.act(observation), chunk[step], atol=1e-6)
    closed = loaded.make_executor(exec_horizon=1)
    for _ in range(2):
        np.testing.assert_allclose(closed.act(observation), chunk[0], atol=1e-6)
    with pytest.raises(ValueError, match="`exec_horizon` must be at most 4, the actions of a chunk; got 5"):
        loaded.make_executor(exec_horizon=5).act(observation)


def test_mistakes_are_named(tmp_path):
    """A horizon that the network cannot halve, a sampler for a student, a wrong observation, another kind."""
    for policy_type in (ChunkConsistencyPolicy, ChunkDiffusionPolicy):
        with pytest.raises(ValueError, match=r"`horizon` must be a multiple of 2 .*, got 3"):
            policy_type(3, 2, **(_SETTINGS | {"horizon": 3}))
    loaded = load_policy(save_policy(make(ChunkConsistencyPolicy), tmp_path / "student", {}))
    with pytest.raises(ValueError, match="`sampler` must be None for a student, which jumps; got 'heun'"):
        loaded.act(np.zeros(3), sampler="heun")
    with pytest.raises(ValueError, match=r"`observation` must have shape \[3\] or \[B, 3\], got \[2, 4\]"):
        loaded.act(np.zeros((2, 4)))
    teacher = load_policy(save_policy(make(ChunkDiffusionPolicy), tmp_path / "teacher", {}))
    with pytest.raises(ValueError, match="`sampler` must be"):
        teacher.act(np.zeros(3), sampler="hoin")
    with pytest.raises(ValueError, match="`kind` must be"):
        make_policy("chunk_consistency", observation_size=3, action_size=2)


def test_one_policy_of_several_is_chosen_by_its_name(tmp_path):
    """A checkpoint holds the acting policy and its teacher; what is not there is named."""
    save_policy(make(ChunkConsistencyPolicy), tmp_path / "policy", {})
    save_policy(make(ChunkDiffusionPolicy), tmp_path / "teacher", {})
    assert isinstance(load_policy(tmp_path).policy, ChunkConsistencyPolicy)
    assert isinstance(load_policy(tmp_path, "teacher").policy, ChunkDiffusionPolicy)
    with pytest.raises(ValueError, match="a checkpoint of one as 'critic'"):
        load_policy(tmp_path, "critic")
