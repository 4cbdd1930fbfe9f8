"""Policies that follow a training from outside: for robots, without Ray."""

from distill_rl.policies.loaded import LoadedPolicy
from distill_rl.policies.published import decode_policy
from distill_rl.storage.edge_config import PublicationConfig, RedisConfig
from distill_rl.storage.policy_subscriber import PolicySubscriber
from distill_rl.storage.redis_client import connect


def follow_policy(
    redis_url: str,
    name: str = "distill_rl",
    *,
    password_file: str | None = None,
    ca_file: str | None = None,
    publication: PublicationConfig | None = None,
) -> PolicySubscriber[LoadedPolicy]:
    """Starts to receive the policies that a training publishes, each ready to act.

        subscriber = follow_policy("rediss://robot@redis.example.org:6379", "cheetah")
        subscriber.wait(60.0)
        action = subscriber.newest.policy.act(observation)

    `newest` changes when a newer policy has arrived, is whole and fits; hold on to `newest.policy` for what
    must be done by one policy. Its metadata have the `policy_version`.

    Args:
      redis_url: of the server, without a password; see `RedisConfig`.
      name: of the run.
      password_file: see `RedisConfig`; else the environment variable `DISTILL_RL_REDIS_PASSWORD`.
      ca_file: certificates that the server's must be signed by.
      publication: intervals and sizes.

    Raises:
      ValueError: for a wrong argument, or if Redis refuses the client.
      RedisUnreachableError: if no Redis answers.
    """
    config = RedisConfig(redis_url, name, password_file, ca_file)
    max_bytes = (publication or PublicationConfig()).max_policy_bytes

    def decode(message: bytes) -> LoadedPolicy:
        published = decode_policy(message, max_bytes)
        policy = published.to_policy()
        policy.metadata["policy_version"] = published.policy_version
        return policy

    return PolicySubscriber(connect(config), name, decode, publication)
