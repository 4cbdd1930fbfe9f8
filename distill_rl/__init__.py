"""Distils slow decision makers (search, planners, diffusion policies) into one-step policies."""

from importlib import import_module
from typing import Any

# Floor-3 names load on first use: an eager re-export would import Ray for users of the pure parts,
# and would leave `import actors.x` half-initialised.
_LAZY_NAMES = {
    "CMPPO": "distill_rl.algorithms.cm_ppo",
    "CMPPOConfig": "distill_rl.algorithms.cm_ppo_config",
    "DistillConfig": "distill_rl.algorithms.distill",
    "Distill": "distill_rl.algorithms.distill",
    "ReferenceSet": "distill_rl.types",
    "follow_policy": "distill_rl.policies.following",
    "load_policy": "distill_rl.policies.loading",
}

__all__ = [
    "CMPPO",
    "CMPPOConfig",
    "Distill",
    "DistillConfig",
    "ReferenceSet",
    "follow_policy",
    "load_policy",
]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in _LAZY_NAMES:
        return getattr(import_module(_LAZY_NAMES[name]), name)
    raise AttributeError(f"module 'distill_rl' has no attribute {name!r}")
