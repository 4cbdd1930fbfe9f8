"""A versioned store of the policy's weights that actors pull from when there is something new."""

import dataclasses
import uuid
from collections.abc import Callable
from typing import Any

import ray


@dataclasses.dataclass(frozen=True)
class PullToken:
    """What a reader holds: of which store, and its how many-th publication. Compare only for equality."""

    store: str
    publication: int


@dataclasses.dataclass(frozen=True)
class Publication:
    """One published set of weights.

    Attributes:
      token: to be handed back at the next pull.
      policy_version: learner updates behind these weights.
      weights: reference to the weights, in the object store; owned by the store.
    """

    token: PullToken
    policy_version: int
    weights: Any


class WeightStore:
    """Holds the latest weights and hands them to readers that do not have them yet.

    The store puts the object itself, so it owns it: weights put by a learner would vanish with that learner.
    Publications are counted apart from policy versions, so that weights restored from an older checkpoint,
    whose version is lower, reach the readers too; a store that replaces a dead one has another name, with the
    same effect.

    A plain class: wrap it with `ray.remote` at the wiring.
    """

    def __init__(self, put: Callable[[Any], Any] = ray.put) -> None:
        self._put = put
        self._name = uuid.uuid4().hex
        self._latest: Publication | None = None

    def publish(self, policy_version: int, weights: Any) -> int:
        """Replaces the stored weights, and returns how many publications there have been."""
        number = 1 if self._latest is None else self._latest.token.publication + 1
        self._latest = Publication(PullToken(self._name, number), int(policy_version), self._put(weights))
        return number

    def pull_if_newer(self, token: PullToken | None) -> Publication | None:
        """Returns the latest publication, or None if `token` says that the reader has it or there is none."""
        if self._latest is None or self._latest.token == token:
            return None
        return self._latest
