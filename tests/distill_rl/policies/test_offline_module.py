import gymnasium as gym
import numpy as np
import pytest
import torch
from ray.rllib.core.columns import Columns

from distill_rl.policies.candidates import act_by_value
from distill_rl.policies.rl_module import OfflineModule

_OBSERVATION, _ACTION = (gym.spaces.Box(-1.0, 1.0, (size,), np.float32) for size in (3, 2))


def _make(**options) -> OfflineModule:
    torch.manual_seed(0)
    networks = {"kind": "consistency", "policy_settings": {"hidden_sizes": (8,)}, "with_critic": True}
    acting = {"num_steps": 2, "noise_scale": 1.0, "inference_noise_scale": 0.5, "num_candidates": 4}
    model_config = {"networks": networks, **acting, **options}
    return OfflineModule(observation_space=_OBSERVATION, action_space=_ACTION, model_config=model_config)


def _seeded(function, *arguments) -> torch.Tensor:
    """Calls a function whose draws are those of torch's global generator."""
    torch.manual_seed(7)
    return function(*arguments)


@pytest.mark.parametrize("num_candidates", [1, 4])
def test_a_module_acts_as_its_configuration_says(num_candidates):
    """Steps, candidates, and one noise for exploring and one for exploiting; double precision is cast."""
    module = _make(num_candidates=num_candidates)
    policy, critic = module.networks.policy, module.networks.critic
    observation = torch.randn(20, 3)
    batch = {Columns.OBS: observation.double()}
    for forward, noise_scale in ((module.forward_inference, 0.5), (module.forward_exploration, 1.0)):
        if num_candidates == 1:
            expected = _seeded(policy.act, observation, 2, noise_scale)
        else:
            expected = _seeded(act_by_value, policy, critic, observation, 4, 2, noise_scale)
        assert torch.equal(_seeded(forward, batch)[Columns.ACTIONS], expected)


def test_a_module_without_a_critic_takes_its_policys_action():
    """There is none to choose by."""
    networks = {"kind": "gaussian", "policy_settings": {"hidden_sizes": (8,)}}
    module, observation = _make(networks=networks), torch.randn(5, 3)
    expected = _seeded(module.networks.policy.act, observation, 2, 0.5)
    assert torch.equal(_seeded(module.forward_inference, {Columns.OBS: observation})["actions"], expected)


def test_a_module_has_no_losses():
    """They are those of the trainer."""
    with pytest.raises(NotImplementedError, match="the losses are those of the learner's trainer"):
        _make().forward_train({Columns.OBS: torch.zeros(1, 3)})
