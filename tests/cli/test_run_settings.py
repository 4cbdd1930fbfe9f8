"""Settings of the driver."""

import pytest

from distill_rl.cli.settings import ALGORITHMS, RunSettings


def test_defaults_search_and_have_no_limit_of_steps_or_updates():
    """Only time ends such a run."""
    settings = RunSettings()
    assert (settings.algorithm, settings.max_env_steps, settings.max_updates) == ("distill", None, None)


def test_every_algorithm_has_a_configuration():
    """Each name is accepted, and known where configurations are built."""
    from distill_rl.cli.sections import _CONFIGS

    assert [RunSettings(algorithm=name).algorithm for name in ALGORITHMS] == list(_CONFIGS)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"algorithm": "difusion_ql"}, r"`algorithm` must be one of .*did you mean 'diffusion_ql'"),
        ({"max_updates": 0}, "`max_updates` must be positive, got 0"),
        ({"max_updates": -5}, "`max_updates` must be positive, got -5"),
        ({"max_env_steps": 0}, "`max_env_steps` must be positive, got 0"),
        ({"progress_timeout_sec": 0.0}, "`progress_timeout_sec` must be positive, got 0.0"),
        ({"num_progress_episodes": -1}, "`num_progress_episodes` must not be negative, got -1"),
    ],
)
def test_bad_values_are_named(options, message):
    """The field, what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        RunSettings(**options)
