"""Teacher and student as an RLlib module: who acts, and how."""

import gymnasium as gym
import numpy as np
import pytest
import torch

from distill_rl.policies.chunk_networks import ChunkNetworks
from distill_rl.policies.rl_module import ChunkModule

_POLICY = {"horizon": 2, "level_sizes": (8,), "kernel_size": 1, "embedding_size": 8, "sigma_max": 5.0}
_NETWORKS = {"policy_settings": _POLICY, "reward_hidden_sizes": (8,)}
_TEACHER = {"num_steps": 3, "sampler": "ddim", "noise_scale": 1.0}
_STUDENT = {"num_steps": 1, "noise_scale": 0.5}


def box(size):
    return gym.spaces.Box(-1.0, 1.0, (size,), np.float32)


def make():
    torch.manual_seed(0)
    parts = {"teacher": _TEACHER | {"exec_horizon": 2}, "student": _STUDENT | {"exec_horizon": 2}}
    model_config = {"networks": _NETWORKS, **parts}
    return ChunkModule(observation_space=box(3), action_space=box(1), model_config=model_config)


@pytest.mark.parametrize("has_student", [False, True])
def test_the_student_acts_as_soon_as_there_is_one(has_student):
    """First actions of chunks planned anew, each of the two in its own way; double precision is cast."""
    module = make()
    networks, policy, acting = module.networks, module.networks.teacher, _TEACHER
    if has_student:
        networks.put("student", ChunkNetworks(3, 1, **_NETWORKS).part("student"))
        policy, acting = networks.student, _STUDENT
    observation = torch.randn(5, 3)
    for forward in (module.forward_inference, module.forward_exploration):
        torch.manual_seed(7)
        expected = policy.sample(observation, **acting)[:, 0]
        torch.manual_seed(7)
        actions = forward({"obs": observation.double()})["actions"]
        assert torch.equal(actions, expected.detach()) and not actions.requires_grad


def test_spaces_that_are_no_vectors_are_refused():
    image = gym.spaces.Box(0.0, 1.0, (2, 2), np.float32)
    for name, spaces in (
        ("observation_space", (image, box(1))),
        ("action_space", (box(3), gym.spaces.Discrete(2))),
    ):
        with pytest.raises(ValueError, match=f"`{name}` must be a Box of rank 1, got "):
            ChunkModule(
                observation_space=spaces[0], action_space=spaces[1], model_config={"networks": _NETWORKS}
            )
