import dataclasses

import numpy as np
import pytest
import torch

from distill_rl.types import NStepTransitions, ReferenceSet


def _transitions(**changes) -> NStepTransitions:
    fields = {
        "observation": np.zeros((3, 2, 5), np.float32),
        "reward": np.ones((3, 2), np.float32),
        "discount": np.full((3, 2), 0.9, np.float32),
        "next_observation": np.zeros((3, 2, 5), np.float32),
    }
    return NStepTransitions(**(fields | changes))


def _reference_set(**changes) -> ReferenceSet:
    fields = {
        "observation": np.zeros((3, 5), np.float32),
        "actions": np.linspace(-1.0, 1.0, 24, dtype=np.float32).reshape(3, 4, 2),
        "log_probs": np.log(np.tile(np.array([0.1, 0.2, 0.3, 0.4], np.float32), (3, 1))),
        "log_proposals": np.zeros((3, 4), np.float32),
        "value": np.zeros(3, np.float32),
        "policy_value": np.zeros(3, np.float32),
        "policy_version": 2,
        "transitions": _transitions(),
    }
    return ReferenceSet(**(fields | changes))


def _with(name: str, index: tuple[int, ...], value: float) -> dict[str, np.ndarray]:
    array = getattr(_reference_set(), name).copy()
    array[index] = value
    return {name: array}


@pytest.mark.parametrize("kind", ["numpy", "torch", "without transitions", "impossible candidate", "density"])
def test_sound_sets_pass(kind):
    """The contract holds for arrays and tensors, and returns the set itself."""
    reference_set = _reference_set()
    if kind == "torch":
        reference_set = reference_set.map_arrays(torch.as_tensor)
    elif kind == "without transitions":
        reference_set = _reference_set(transitions=None)
    elif kind == "impossible candidate":
        log_probs = np.log(np.tile(np.array([0.5, 0.25, 0.25, 1.0], np.float32), (3, 1)))
        log_probs[:, 3] = -np.inf
        reference_set = _reference_set(log_probs=log_probs)
    elif kind == "density":
        reference_set = _reference_set(log_probs=np.full((3, 4), 2.5, np.float32), convention="density")
    assert reference_set.validate() is reference_set
    assert len(reference_set) == 3


@pytest.mark.parametrize(
    "changes, message",
    [
        (dict(actions=np.zeros((3, 4), np.float32)), r"`actions` must have shape \[B, N, A\], got \[3, 4\]"),
        (dict(observation=np.zeros((2, 5), np.float32)), r"`observation` must have shape \[3, any\]"),
        (dict(log_probs=np.zeros((3, 5), np.float32)), r"`log_probs` must have shape \[3, 4\], got \[3, 5\]"),
        (dict(log_proposals=np.zeros((4, 4), np.float32)), r"`log_proposals` must have shape \[3, 4\]"),
        (dict(value=np.zeros((3, 1), np.float32)), r"`value` must have shape \[3\], got \[3, 1\]"),
        (dict(policy_value=np.zeros(2, np.float32)), r"`policy_value` must have shape \[3\], got \[2\]"),
        (dict(value=np.zeros(3, np.int64)), "`value` must have a floating dtype, got int64"),
        (_with("observation", (1, 2), np.nan), r"`observation` must be finite, .* first at \(1, 2\)"),
        (_with("actions", (2, 0, 1), np.inf), "`actions` must be finite"),
        (_with("actions", (2, 0, 1), np.nan), r"`actions` must be finite, got 1 .* first at \(2, 0, 1\)"),
        (_with("policy_value", (0,), np.nan), "`policy_value` must be finite"),
        (_with("log_probs", (0, 0), np.nan), r"`log_probs` must be finite or -inf, got NaN or \+inf"),
        (_with("log_probs", (0, 0), np.inf), r"`log_probs` must be finite or -inf, got NaN or \+inf"),
        (_with("actions", (1, 1, 1), 1.01), r"`actions` must lie in \[-1, 1\], got .* magnitude 1.01"),
        (_with("log_probs", (1, 3), 0.0), "`log_probs` must sum to one .* got a total of 1.6 at state 1"),
        (_with("log_probs", (1, 3), 500.0), "`log_probs` must sum to one .* got a total of inf at state 1"),
        (_with("log_proposals", (0, 1), -1.0), "`log_proposals` must be zero in the mass convention"),
        (dict(convention="odds"), "`convention` must be 'mass' or 'density', got 'odds'"),
        (dict(policy_version=1.5), "`policy_version` must be an integer, got 1.5"),
        (
            dict(transitions=_transitions(reward=np.ones((3, 3), np.float32))),
            r"`transitions/reward` must have shape \[3, 2\], got \[3, 3\]",
        ),
        (
            dict(transitions=_transitions(observation=np.zeros((3, 2, 4), np.float32))),
            r"`transitions/observation` must have shape \[3, any, 5\]",
        ),
        (
            dict(transitions=_transitions(discount=np.full((3, 2), np.nan, np.float32))),
            "`transitions/discount` must be finite",
        ),
    ],
)
def test_broken_sets_are_refused_by_field(changes, message):
    """Each breach names the field, what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        _reference_set(**changes).validate()


def test_arrays_make_the_same_set():
    """Taking a set apart and putting it together changes nothing, with transitions or without."""
    for reference_set in (_reference_set(), _reference_set(transitions=None)):
        again = ReferenceSet.from_arrays(reference_set.to_arrays(), 2)
        assert dataclasses.asdict(again).keys() == dataclasses.asdict(reference_set).keys()
        assert (again.transitions is None) == (reference_set.transitions is None)
        for name, array in reference_set.to_arrays().items():
            assert again.to_arrays()[name] is array


def test_mapping_reaches_every_array():
    """A row taken of a set is a row of every array in it."""
    row = _reference_set().map_arrays(lambda array: array[1:2]).validate()
    assert {len(array) for array in row.to_arrays().values()} == {1}
    assert row.policy_version == 2
