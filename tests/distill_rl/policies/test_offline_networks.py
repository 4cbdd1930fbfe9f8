import pytest
import torch

from distill_rl.policies.consistency import ConsistencyPolicy
from distill_rl.policies.diffusion import DiffusionPolicy
from distill_rl.policies.gaussian import GaussianPolicy
from distill_rl.policies.offline_networks import OfflineNetworks


@pytest.mark.parametrize(
    ("kind", "policy_type"),
    [("consistency", ConsistencyPolicy), ("diffusion", DiffusionPolicy), ("gaussian", GaussianPolicy)],
)
def test_a_policy_stands_alone_unless_more_is_asked_for(kind, policy_type):
    """Of each kind, with its settings; what is not there has no weights."""
    networks = OfflineNetworks(3, 2, kind=kind, policy_settings={"hidden_sizes": (8, 8)})
    assert type(networks.policy) is policy_type
    assert (networks.policy.observation_size, networks.policy.action_size) == (3, 2)
    assert networks.critic is None and networks.backup_policy is None and networks.behaviour is None
    assert dict(networks.named_children()) == {"policy": networks.policy}


def test_a_critic_and_a_model_of_the_data_have_their_own_settings():
    """Critic and second policy have the widths of the policy; the model is a diffusion policy."""
    networks = OfflineNetworks(
        3,
        2,
        kind="consistency",
        policy_settings={"hidden_sizes": (8, 6), "sigma_max": 40.0},
        with_critic=True,
        num_critics=4,
        with_backup_policy=True,
        behaviour_settings={"hidden_sizes": (5,), "num_diffusion_steps": 4},
    )
    assert networks.policy.sigma_max == networks.backup_policy.sigma_max == 40.0
    assert networks.backup_policy.hidden_sizes == (8, 6)
    assert not torch.equal(networks.backup_policy.mlp[0].weight, networks.policy.mlp[0].weight)
    assert (networks.critic.hidden_sizes, networks.critic.num_members) == ((8, 6), 4)
    assert type(networks.behaviour) is DiffusionPolicy
    assert (networks.behaviour.hidden_sizes, networks.behaviour.num_diffusion_steps) == ((5,), 4)
    assert networks.critic(torch.zeros(7, 3), torch.zeros(7, 2)).shape == (4, 7)


def test_the_policy_sees_observations():
    """There is no encoder in between."""
    networks = OfflineNetworks(3, 2, kind="gaussian", policy_settings={"hidden_sizes": (8,)})
    observation = torch.randn(4, 3)
    assert networks.encode(observation) is observation and networks.encoder is None


def test_an_unknown_kind_is_named():
    """With the nearest one."""
    with pytest.raises(ValueError, match=r"`kind` must be one of .*did you mean 'diffusion'"):
        OfflineNetworks(3, 2, kind="difusion", policy_settings={})
