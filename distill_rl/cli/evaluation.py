"""Judging what a run learned: the student alone, and the search on top of it."""

import dataclasses
from pathlib import Path
from typing import Any

import gymnasium as gym
from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID

from actors.evaluation import EvaluationResult, evaluate_chunks, evaluate_policy, evaluate_search
from actors.policy_runner import make_config_env
from distill_rl.algorithms.acting_policy import acting_critic, policy_metadata
from distill_rl.algorithms.initial_checkpoint import ALGORITHM_FOLDER
from distill_rl.algorithms.ractd_config import RACTDConfig
from distill_rl.algorithms.search_loop_config import SearchLoopConfig
from distill_rl.cli.presets import read_sections
from distill_rl.cli.sections import RunConfig, build_config
from distill_rl.envs import make_env
from distill_rl.policies.actor_critic import ActorCriticNetworks
from distill_rl.policies.chunk_networks import TEACHER, ChunkNetworks
from distill_rl.policies.distill_networks import StudentNetworks
from distill_rl.policies.loaded import LoadedChunkPolicy, LoadedPolicy
from distill_rl.policies.loading import load_policy, save_policy
from distill_rl.policies.offline_networks import OfflineNetworks
from distill_rl.policies.rl_module import PolicyModule
from distill_rl.policies.search_policy import make_search_policy
from distill_rl.storage.checkpoints import CheckpointStore
from distill_rl.storage.run_folder import RunFolder

POLICY_FOLDER, TEACHER_FOLDER = "policy", "teacher"

_MAX_ENVS = 16
_MODULE_PATH = Path(COMPONENT_LEARNER_GROUP, COMPONENT_LEARNER, COMPONENT_RL_MODULE, DEFAULT_MODULE_ID)


@dataclasses.dataclass(frozen=True)
class StudentSettings:
    """How the student acts.

    What is None is as the policy was saved with, see `LoadedPolicy.act` and `LoadedChunkPolicy.act_chunk`.

    Attributes:
      num_steps: network calls for each action, or steps of a sampler.
      noise_scale: 0 is its mode-like action, 1 its full distribution.
      num_candidates: actions sampled, of which a critic chooses one.
      exec_horizon: of a policy over chunks: actions acted out before it plans again.
      sampler: of a teacher over chunks.
    """

    num_steps: int | None = None
    noise_scale: float | None = None
    num_candidates: int | None = None
    exec_horizon: int | None = None
    sampler: str | None = None

    def given(self, policy: LoadedPolicy | LoadedChunkPolicy) -> dict[str, Any]:
        """Returns what is not None, for a policy.

        Raises:
          ValueError: if something is given that this policy has not.
        """
        given = {name: value for name, value in dataclasses.asdict(self).items() if value is not None}
        is_chunked = isinstance(policy, LoadedChunkPolicy)
        foreign = ("num_candidates",) if is_chunked else ("exec_horizon", "sampler")
        kind = "over chunks of actions" if is_chunked else "of single actions"
        for name in foreign:
            if name in given:
                raise ValueError(f"`{name}` has no meaning for a policy {kind}, got {given[name]!r}")
        return given


def evaluate_student(
    policy: LoadedPolicy | LoadedChunkPolicy,
    num_episodes: int,
    seed: int = 0,
    settings: StudentSettings | None = None,
) -> EvaluationResult:
    """Runs episodes of a saved policy in the environment it was saved with.

    Args:
      policy: with the environment in its metadata, as `save_acting_policy` writes it.
      num_episodes: at least 1.
      seed: of the episodes' resets; the policy's noise goes on with its own stream.
      settings: how it acts.

    Raises:
      ValueError: if the metadata name no environment, or a setting is of other policies.
    """
    given = (settings or StudentSettings()).given(policy)
    if policy.metadata.get("env") is None:
        raise ValueError(f"the policy must name its environment `env`, got metadata {policy.metadata}")

    def build() -> gym.Env:
        options = {key: policy.metadata[key] for key in ("action_repeat", "env_config")}
        return make_env(policy.metadata["env"], **options)

    envs = [build() for _ in range(min(num_episodes, _MAX_ENVS))]
    try:
        if isinstance(policy, LoadedChunkPolicy):
            return evaluate_chunks(policy.make_executor(**given), envs, num_episodes, seed)
        return evaluate_policy(lambda seen: policy.act(seen, **given), envs, num_episodes, seed)
    finally:
        _close(envs)


def evaluate_run_search(
    networks: StudentNetworks | OfflineNetworks, config: SearchLoopConfig, num_episodes: int, seed: int = 0
) -> EvaluationResult:
    """Runs episodes of the search that a run acts with.

    Args:
      networks: policy and value function that the search starts from.
      config: with the environment and the section `search`.
      num_episodes: at least 1.
      seed: of the episodes and of the search.
    """
    envs = [make_config_env(config) for _ in range(min(num_episodes, _MAX_ENVS))]
    try:
        operator = config.make_operator(envs[0], networks)
        policy = make_search_policy(networks, config.num_policy_steps)
        return evaluate_search(operator, operator.simulator, policy, envs, num_episodes, seed)
    finally:
        _close(envs)


def evaluate_path(
    path: str | Path,
    num_episodes: int,
    seed: int = 0,
    settings: StudentSettings | None = None,
    with_search: bool = False,
    name: str = POLICY_FOLDER,
) -> dict[str, EvaluationResult]:
    """Evaluates a run or a saved policy.

    Args:
      path: run folder, checkpoint or policy folder.
      num_episodes: of each kind, at least 1.
      seed: of the episodes.
      settings: how the student acts.
      with_search: whether the search is judged too; needs a run folder.
      name: of the policy's folder in a checkpoint.

    Returns:
      Results under `student` and `search`.

    Raises:
      ValueError: if there is no policy there, or no run for the search.
    """
    judged = "teacher" if name == TEACHER_FOLDER else "student"
    results = {judged: evaluate_student(load_policy(path, name), num_episodes, seed, settings)}
    if with_search:
        run = RunFolder(path)
        run.require_run()
        config, _ = build_config(read_sections(run.config_path))
        if not isinstance(config, SearchLoopConfig):
            raise ValueError(
                f"`{run.path}` must be a run that searches to judge its search, got one that does not"
            )
        checkpoint = CheckpointStore(run.checkpoints_folder).latest()
        assert checkpoint is not None  # `load_policy` found a policy in it
        results["search"] = evaluate_run_search(load_networks(checkpoint), config, num_episodes, seed)
    return results


def load_networks(checkpoint: Path) -> Any:
    """Reads the averaged networks of a checkpoint. Ray is not started.

    Returns:
      `StudentNetworks`, `OfflineNetworks`, `ActorCriticNetworks` or `ChunkNetworks`.
    """
    module = PolicyModule.from_checkpoint(checkpoint / ALGORITHM_FOLDER / _MODULE_PATH)
    assert isinstance(module, PolicyModule)
    return module.networks.eval()


def save_acting_policy(
    networks: StudentNetworks | OfflineNetworks | ActorCriticNetworks | ChunkNetworks,
    config: RunConfig,
    checkpoint: Path,
) -> None:
    """Saves the policy of a run alone, with all that it needs to act; and the teacher where there is one.

    A run of several stages has no policy before the one that makes it.

    Args:
      networks: of the run.
      config: of the run.
      checkpoint: folder that gets `policy`, and `teacher`.
    """
    metadata = policy_metadata(config)
    if isinstance(networks, ChunkNetworks):
        assert isinstance(config, RACTDConfig)
        for name, part in ((TEACHER_FOLDER, TEACHER), (POLICY_FOLDER, config.acting_part)):
            if part is not None and networks.has(part):
                acting = {"acting": config.settings_of(part)}
                save_policy(getattr(networks, part), checkpoint / name, metadata | acting)
        return
    critic = acting_critic(networks, metadata)
    save_policy(networks.policy, checkpoint / POLICY_FOLDER, metadata, networks.encoder, critic)


def _close(envs: list[gym.Env]) -> None:
    for env in envs:
        env.close()
