"""What a policy of a run needs to act, without the run."""

from typing import Any

from distill_rl.algorithms.cm_ppo_config import CMPPOConfig
from distill_rl.algorithms.offline_config import OfflineConfig, acting_settings
from distill_rl.algorithms.online_config import OnlineConfig
from distill_rl.algorithms.search_loop_config import SearchLoopConfig
from distill_rl.networks.q_ensemble import QEnsemble
from distill_rl.policies.actor_critic import ActorCriticNetworks
from distill_rl.policies.distill_networks import StudentNetworks
from distill_rl.policies.offline_networks import OfflineNetworks
from learners.offline.config import LearningConfig


def policy_metadata(config: SearchLoopConfig | OfflineConfig | CMPPOConfig) -> dict[str, Any]:
    """Returns what a saved policy has to know about its environment, and how it acts."""
    env_config = dict(config.env_config)
    action_repeat = env_config.pop("action_repeat", 1)
    metadata = {"env": config.env, "env_config": env_config, "action_repeat": action_repeat}
    if isinstance(config, OfflineConfig):
        metadata["acting"] = config.acting_settings()
    elif isinstance(config, OnlineConfig):
        metadata["acting"] = acting_settings(config.part(LearningConfig))
    elif isinstance(config, CMPPOConfig):
        num_steps = config.consistency_settings.num_sampling_steps
        metadata["acting"] = {"num_steps": num_steps, "noise_scale": 0.0, "num_candidates": 1}
    return metadata


def acting_critic(
    networks: StudentNetworks | OfflineNetworks | ActorCriticNetworks, metadata: dict[str, Any]
) -> QEnsemble | None:
    """Returns the critic, if it chooses among candidates of the policy."""
    if isinstance(networks, OfflineNetworks) and metadata["acting"]["num_candidates"] > 1:
        return networks.critic
    return None
