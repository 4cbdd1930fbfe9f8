"""The kinds of policies by name: what each is built from, and how."""

from typing import Any

from distill_rl.checks import check_choice
from distill_rl.policies.consistency import ConsistencyPolicy
from distill_rl.policies.diffusion import DiffusionPolicy
from distill_rl.policies.gaussian import GaussianPolicy

Policy = ConsistencyPolicy | DiffusionPolicy | GaussianPolicy

_COMMON = ("observation_size", "action_size", "hidden_sizes", "backbone")
_OWN: dict[str, tuple[type[Policy], tuple[str, ...]]] = {
    "consistency": (ConsistencyPolicy, ("sigma_min", "sigma_max", "sigma_data")),
    "diffusion": (DiffusionPolicy, ("num_diffusion_steps",)),
    "gaussian": (GaussianPolicy, ()),
}

POLICY_KINDS = tuple(_OWN)


def kind_of(policy: Policy) -> str:
    """Returns the name of a policy's kind.

    Raises:
      ValueError: if it is none of them.
    """
    for kind, (policy_type, _) in _OWN.items():
        if type(policy) is policy_type:
            return kind
    raise ValueError(f"`policy` must be of kind {', '.join(_OWN)}, got {type(policy).__name__}")


def architecture_of(kind: str) -> tuple[str, ...]:
    """Returns the arguments that a policy of a kind is built from, which are attributes of it too.

    Raises:
      ValueError: if the kind is unknown.
    """
    check_choice("kind", kind, POLICY_KINDS)
    return (*_COMMON, *_OWN[kind][1])


def make_policy(kind: str, **architecture: Any) -> Policy:
    """Builds a policy.

    Args:
      kind: one of `POLICY_KINDS`.
      **architecture: `observation_size`, `action_size` and what else its class takes.

    Raises:
      ValueError: if the kind is unknown, or from the class.
    """
    check_choice("kind", kind, POLICY_KINDS)
    policy_type, _ = _OWN[kind]
    return policy_type(**architecture)
