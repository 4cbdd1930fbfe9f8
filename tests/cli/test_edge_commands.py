"""What is typed after `distill-rl actor` and `distill-rl follow`."""

import pytest
from typer.testing import CliRunner

from distill_rl.cli.main import app


@pytest.mark.parametrize("command", [["follow"], ["actor", "cheetah_run"]])
@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("foo", "got 'foo': `redis_url` must begin with rediss://"),
        ("http://x", "got 'http://x': `redis_url` must begin with rediss://"),
        ("redis://h:notaport", "got 'redis://h:notaport': its port must be a number below 65536"),
        ("redis://h:99999", "got 'redis://h:99999': its port must be a number below 65536"),
        ("redis://user:secret@h", "got 'redis://***h': `redis_url` must hold no password"),
        ("redis://:sec/ret@h:1", "got 'redis://***h:1': its port must be a number below 65536"),
        ("user:secret@h", "got '***h': `redis_url` must begin with rediss://"),
        ("unix:///s?password=secret&db=1", "got 'unix:///s?password=***&db=1': `redis_url` must hold no"),
    ],
)
def test_an_argument_that_is_no_server_is_named_without_its_password(command, url, message):
    """The argument, what came, and what was expected, before anything is connected to."""
    result = CliRunner().invoke(app, [*command, "--redis", url])
    assert result.exit_code == 2
    assert f"error: `--redis` must be the URL of a server, {message}" in result.stderr
    assert "secret" not in result.output and "sec/ret" not in result.output


@pytest.mark.parametrize(
    ("preset", "algorithm"), [("inverted_pendulum_ppo", "cm_ppo"), ("hopper_medium", "consistency_ac")]
)
def test_an_actor_needs_a_training_that_searches(preset, algorithm):
    """Nothing is said about a section that was not typed."""
    result = CliRunner().invoke(app, ["actor", preset, "--redis", "redis://localhost"])
    assert result.exit_code == 2 and "edge" not in result.output
    assert f"`preset` must be of a training that searches, got one by {algorithm}" in result.stderr
