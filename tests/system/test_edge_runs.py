"""Training on what actors outside Ray send, and acting on what it publishes."""

import threading

import numpy as np
import pytest
from system_config import make_config
from typer.testing import CliRunner

from distill_rl.algorithms.search_loop_config import SearchLoopConfig
from distill_rl.cli.edge_actor import EdgeParts
from distill_rl.cli.follow import follow
from distill_rl.cli.main import app
from distill_rl.policies.following import follow_policy
from distill_rl.storage.edge_config import EdgeKeys, RedisConfig
from distill_rl.storage.redis_client import PASSWORD_VARIABLE, connect


def _config(server) -> SearchLoopConfig:
    return make_config().edge(
        redis_url=server.url,
        name="test",
        batch_bytes=1,
        publish_interval_sec=0.0,
        claim_idle_sec=0.5,
        max_outstanding=10_000,
    )


@pytest.fixture
def edge_actor(local_redis):
    """An actor outside Ray, at work until the test ends."""
    parts, stop = EdgeParts(_config(local_redis)), threading.Event()
    thread = threading.Thread(target=parts.actor.run, args=(stop.is_set, lambda collected: None))
    thread.start()
    yield parts
    stop.set()
    thread.join()
    parts.close()


@pytest.mark.ray
def test_training_learns_from_the_stream_alone(ray_cluster, local_redis, edge_actor):
    """Without env runners all sets come from outside, each once, and the actor gets the new policies."""
    algorithm = _config(local_redis).build_algo()
    for _ in range(3):
        loop = algorithm.train()["loop"]
    assert loop["updates"] > 0
    assert loop["stream_actors"] == 1
    assert loop["env_steps"] == loop["reference_sets"] >= 3 * 256
    assert loop["stream_missing"] == loop["stream_dead_letters"] == loop["stream_duplicates"] == 0
    assert loop["published_policies"] > 1
    assert edge_actor.subscriber.newest.policy.policy_version > 0
    replay = algorithm.learner_group._learner.replay
    assert replay.num_added == loop["reference_sets"]
    assert replay._versions.max() > 0
    algorithm.stop()


@pytest.mark.slow
@pytest.mark.ray
def test_env_runners_and_stream_feed_one_learner(ray_cluster, local_redis, request):
    """Both kinds of actors search beside each other."""
    config = _config(local_redis).env_runners(num_env_runners=1)
    algorithm = config.build_algo()
    request.getfixturevalue("edge_actor")  # now: it would keep Ray's workers, which are nice, from starting
    for _ in range(20):
        loop = algorithm.train()["loop"]
        if 0 < loop["stream_sets"] < loop["reference_sets"]:
            break
    assert 0 < loop["stream_sets"] < loop["reference_sets"]
    assert loop["duplicates"] == 0
    algorithm.stop()


@pytest.mark.ray
def test_restored_training_knows_what_it_has_seen(ray_cluster, local_redis, edge_actor, tmp_path):
    """After a restore acknowledged messages stay known, and what was in flight comes again, once."""
    algorithm = _config(local_redis).build_algo()
    algorithm.train()
    algorithm.save_to_path(str(tmp_path))
    ledger = algorithm._edge.consumer.ledger.get_state()
    algorithm.stop()
    restored = _config(local_redis).build_algo()
    restored.restore_from_path(str(tmp_path))
    assert restored._edge.consumer.ledger.get_state() == ledger
    before = restored.learner_group._learner.replay.num_added
    for _ in range(2):
        loop = restored.train()["loop"]
    assert restored.learner_group._learner.replay.num_added == loop["reference_sets"] > before
    restored.stop()


@pytest.mark.ray
def test_silence_does_not_stop_training(ray_cluster, local_redis):
    """With nobody there a step ends all the same, so that limits and signals are obeyed."""
    config = _config(local_redis).reporting(min_sample_timesteps_per_iteration=0)
    algorithm = config.build_algo()
    loop = algorithm.train()["loop"]
    assert loop["env_steps"] == 0
    assert loop["stream_silent_sec"] > 0.5
    algorithm.stop()


@pytest.mark.ray
def test_follower_acts_with_published_policies(ray_cluster, local_redis, edge_actor):
    """Episodes run in the training's environment, with its newest policy."""
    algorithm = _config(local_redis).build_algo()
    algorithm.train()
    subscriber = follow_policy(local_redis.url, "test")
    episodes = list(follow(subscriber, 2, seed=0, should_stop_fn=lambda: False))
    assert [episode.num_steps for episode in episodes] == [20, 20]
    observation = np.ones(3, np.float32)
    module = algorithm.learner_group._learner.module["default_policy"].networks.policy
    published = subscriber.newest.policy
    assert published.metadata["policy_version"] <= algorithm._edge.publisher.policy_version
    assert published.act(observation).shape == (module.action_size,)
    subscriber.close()
    algorithm.stop()


def test_actor_of_another_task_gets_no_policy(local_redis):
    """A policy of another environment is refused, by name."""
    from distill_rl.algorithms.edge import Edge

    edge = Edge(_config(local_redis))
    module = _config(local_redis).make_module
    other = _config(local_redis).environment(env_config={"action_repeat": 25})
    parts = EdgeParts(other)
    from actors.policy_runner import make_config_env

    edge.publish(1, module(make_config_env(other)).get_state())
    assert parts.subscriber.wait(1.0) is None
    assert parts.subscriber.num_refused == 1
    parts.close()
    edge.close()


def test_commands_tell_mistakes_in_one_line(local_redis, tmp_path, monkeypatch):
    """Nobody there, a password in the URL, and a wrong preset are told; the password is not repeated."""
    monkeypatch.delenv(PASSWORD_VARIABLE, raising=False)
    runner = CliRunner()
    result = runner.invoke(app, ["follow", "--redis", "redis://127.0.0.1:1"])
    assert (result.exit_code, "no answer from Redis at 127.0.0.1:1" in result.output) == (1, True)
    secret = "rediss://user:secret4711@127.0.0.1:1"
    for command in (["follow"], ["actor", "cartpole_swingup"]):
        result = runner.invoke(app, [*command, "--redis", secret])
        assert (result.exit_code, "must hold no password" in result.output) == (2, True)
        assert "secret4711" not in result.output
    result = runner.invoke(app, ["actor", "hopper_medium", "--redis", local_redis.url])
    assert result.exit_code == 2


def test_train_refuses_what_cannot_be(local_redis):
    """Options of the section are checked like all others."""
    with pytest.raises(ValueError, match="`edge` has no option 'redis'"):
        make_config().edge(redis=local_redis.url)
    assert connect(RedisConfig(local_redis.url)).xlen(EdgeKeys.of("test").references) == 0
