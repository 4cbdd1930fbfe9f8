"""The kinds of policies by name: what each is built from, and how."""

from typing import Any

from distill_rl.checks import check_choice
from distill_rl.policies.chunk import ChunkConsistencyPolicy, ChunkDiffusionPolicy, ChunkPolicy
from distill_rl.policies.consistency import ConsistencyPolicy
from distill_rl.policies.diffusion import DiffusionPolicy
from distill_rl.policies.gaussian import GaussianPolicy

Policy = ConsistencyPolicy | DiffusionPolicy | GaussianPolicy
"""Draws one action."""

_SIZES = ("observation_size", "action_size")
_COMMON = (*_SIZES, "hidden_sizes", "backbone")
_SIGMAS = ("sigma_min", "sigma_max", "sigma_data")
_CHUNK = (*_SIZES, "horizon", "level_sizes", "kernel_size", "embedding_size", *_SIGMAS)
_POLICIES: dict[str, tuple[type[Policy], tuple[str, ...]]] = {
    "consistency": (ConsistencyPolicy, (*_COMMON, *_SIGMAS)),
    "diffusion": (DiffusionPolicy, (*_COMMON, "num_diffusion_steps")),
    "gaussian": (GaussianPolicy, _COMMON),
}
_CHUNK_POLICIES: dict[str, tuple[type[ChunkPolicy], tuple[str, ...]]] = {
    "chunk_consistency": (ChunkConsistencyPolicy, _CHUNK),
    "chunk_diffusion": (ChunkDiffusionPolicy, _CHUNK),
}
_ALL = {**_POLICIES, **_CHUNK_POLICIES}

POLICY_KINDS = tuple(_POLICIES)
"""Those of one action."""

CHUNK_POLICY_KINDS = tuple(_CHUNK_POLICIES)
"""Those of sequences of actions."""

ALL_POLICY_KINDS = tuple(_ALL)
"""Both."""


def kind_of(policy: Policy | ChunkPolicy) -> str:
    """Returns the name of a policy's kind.

    Raises:
      ValueError: if it is none of them.
    """
    for kind, (policy_type, _) in _ALL.items():
        if type(policy) is policy_type:
            return kind
    raise ValueError(f"`policy` must be of kind {', '.join(_ALL)}, got {type(policy).__name__}")


def architecture_of(kind: str) -> tuple[str, ...]:
    """Returns the arguments that a policy of a kind is built from, which are attributes of it too.

    Raises:
      ValueError: if the kind is unknown.
    """
    check_choice("kind", kind, ALL_POLICY_KINDS)
    return _ALL[kind][1]


def make_policy(kind: str, **architecture: Any) -> Policy:
    """Builds a policy of one action.

    Args:
      kind: one of `POLICY_KINDS`.
      **architecture: `observation_size`, `action_size` and what else its class takes.

    Raises:
      ValueError: if the kind is unknown, or from the class.
    """
    check_choice("kind", kind, POLICY_KINDS)
    return _POLICIES[kind][0](**architecture)


def make_chunk_policy(kind: str, **architecture: Any) -> ChunkPolicy:
    """Builds a policy of sequences of actions; see `make_policy`.

    Raises:
      ValueError: if the kind is none of `CHUNK_POLICY_KINDS`, or from the class.
    """
    check_choice("kind", kind, CHUNK_POLICY_KINDS)
    return _CHUNK_POLICIES[kind][0](**architecture)
