import pytest

from learners.config import DistillationConfig


def test_a_list_of_widths_becomes_a_tuple():
    """YAML's lists give the same configuration as tuples."""
    assert DistillationConfig(hidden_sizes=[64, 64]) == DistillationConfig(hidden_sizes=(64, 64))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "objective",
            "endpiont",
            r"`objective` must be one of .*; got 'endpiont' \(did you mean 'endpoint'\?\)",
        ),
        (
            "posterior",
            "gumbel",
            "`posterior` must be one of importance, proposal_corrected, stein, defensive_mixture for",
        ),
        ("posterior", "x", "`posterior` must be one of"),
        ("num_noises", 0, "`num_noises` must be an integer of at least 1, got 0"),
        ("num_ode_steps", 2.5, r"`num_ode_steps` must be an integer of at least 3, got 2\.5"),
        ("learning_rate", 0.0, r"`learning_rate` must be positive, got 0\.0"),
        ("sigma_max", 0.001, r"`sigma_max` must exceed `sigma_min` = 0\.002, got 0\.001"),
        ("replay_priority", 1.5, r"`replay_priority` must lie in \[0, 1\], got 1\.5"),
        ("ema_decay", 1.0, r"`ema_decay` must lie in \[0, 1\), got 1\.0"),
        ("value_loss_weight", -1.0, r"`value_loss_weight` must not be negative, got -1\.0"),
        ("hidden_sizes", (), r"`hidden_sizes` must be positive widths, got \(\)"),
        ("distance", "l1", "`distance` must be one of l2, pseudo_huber; got 'l1'"),
    ],
)
def test_a_bad_field_is_named(field, value, message):
    """The message names the field, what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        DistillationConfig(**{field: value})


def test_energy_needs_pairs_of_samples():
    """One sample a state cannot be compared with another."""
    with pytest.raises(ValueError, match="`num_noises` must be at least 2 for the objective energy, got 1"):
        DistillationConfig(objective="energy")
    with pytest.raises(
        ValueError, match="`posterior` must be one of importance, proposal_corrected for the obj"
    ):
        DistillationConfig(objective="energy", posterior="stein", num_noises=2)
