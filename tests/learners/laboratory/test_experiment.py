import pytest
import torch

from learners.laboratory.experiment import DATA, Experiment, ReferenceSource


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _experiment(**fields) -> Experiment:
    return Experiment(**{"num_instances": 2, "num_seeds": 3, "batch_size": 8, **fields})


@pytest.mark.parametrize("data", DATA)
def test_sets_are_drawn_from_their_targets(data):
    """Rows agree with the members, log-probabilities with the targets, and the weights p*/q are one."""
    experiment = _experiment(data=data)
    targets, batch = ReferenceSource(experiment).draw(_generator())
    batch.validate()
    rows = 6 * 4 if data == "conditioned" else 6
    assert batch.actions.shape == (rows, 16, 2)
    assert batch.observation.shape == (rows, experiment.observation_size)
    torch.testing.assert_close(batch.log_probs, targets.log_prob(batch.actions))
    assert torch.equal(batch.log_probs, batch.log_proposals)
    assert batch.actions.min() >= 0.0


def test_only_fixed_sets_stay():
    """`fixed` gives the same sets at every update, `fresh` new ones; seeds of an instance have their own."""
    for data, stays in (("fixed", True), ("fresh", False)):
        source, generator = ReferenceSource(_experiment(data=data)), _generator()
        first, second = (source.draw(generator)[1].actions for _ in range(2))
        assert torch.equal(first, second) == stays
        assert not torch.equal(first[0], first[1])


def test_seeds_share_a_target_and_instances_do_not():
    """Members 0 to 2 have the first target, 3 to 5 the second; two and three components alternate."""
    targets, _ = ReferenceSource(_experiment()).draw(_generator())
    assert torch.equal(targets.means[0], targets.means[2])
    assert not torch.equal(targets.means[2], targets.means[3])
    assert (targets.weights > 0).sum(dim=1).tolist() == [2, 2, 2, 3, 3, 3]


def test_target_moves_with_the_state():
    """At state 0 and 1 the target is one of two mixtures; half way, its means lie half way."""
    source = ReferenceSource(_experiment(data="conditioned"))
    at_zero, at_half, at_one = (source.targets_at(torch.full((6, 1), s)) for s in (0.0, 0.5, 1.0))
    torch.testing.assert_close(at_half.means, 0.5 * (at_zero.means + at_one.means))
    assert not torch.equal(at_zero.means, at_one.means)
    # Several states of each member: rows stay in the order of the members.
    several = source.targets_at(torch.zeros(12, 1))
    assert torch.equal(several.means, at_zero.means.repeat_interleave(2, dim=0))


def test_draws_are_seeded():
    """Experiment and generator settle everything."""
    sets = [
        ReferenceSource(_experiment(data="conditioned", seed=seed)).draw(_generator(draw))[1]
        for seed, draw in ((0, 0), (0, 0), (1, 0), (0, 1))
    ]
    assert torch.equal(sets[0].actions, sets[1].actions)
    assert not torch.equal(sets[0].actions, sets[2].actions)
    assert not torch.equal(sets[0].actions, sets[3].actions)


def test_bad_settings_are_named():
    """Unknown data and empty counts are refused by name."""
    with pytest.raises(
        ValueError,
        match="`data` must be one of conditioned, fixed, fresh; got 'fresch'",
    ):
        Experiment(data="fresch")
    with pytest.raises(ValueError, match="`num_seeds` must be at least 1, got 0"):
        Experiment(num_seeds=0)
