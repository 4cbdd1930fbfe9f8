"""Datasets of policies: those on the way of a training, the training itself, and one that is saved."""

import abc
import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import gymnasium as gym

from actors.collection import (
    Behaviour,
    action_bounds,
    collect_episodes,
    truncated_normal_behaviour,
    uniform_behaviour,
)
from distill_rl.checks import check_at_least_one
from distill_rl.cli.collector import Collector, CollectSettings
from distill_rl.cli.presets import COLLECT, load_preset
from distill_rl.cli.progress import ProgressLine
from distill_rl.cli.recorded_training import check_sections, choose_policies, train_recorded
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.store import concatenate, datasets_folder, load_dataset, save_dataset
from distill_rl.envs import make_env
from distill_rl.policies.loaded import LoadedChunkPolicy, LoadedPolicy
from distill_rl.policies.loading import load_policy, policy_digest
from distill_rl.storage import atomic

Result = TypeVar("Result")

_D4RL_NAMES = {"Hopper-v5": "hopper", "Walker2d-v5": "walker2d", "HalfCheetah-v5": "halfcheetah"}
_TRAININGS = ".trainings"  # beside the datasets, and hidden from lists of them
_RESULT = "result.json"
_REPLAY = "-replay"
_NUM_ENVS = 10


class PolicyCollector(Collector):
    """Makes datasets of a task's environment: `random`, and what subclasses add."""

    def __init__(self, settings: CollectSettings, progress: ProgressLine):
        """Resolves the preset, and checks it, before anything is written or trained.

        Raises:
          ValueError: for a mistake in the preset or the overrides, an environment that cannot be built, or
            names that Minari refuses.
        """
        overrides = [*settings.overrides, f"debugging.seed={settings.seed}"]
        if settings.planner is not None:
            overrides.insert(0, f"search.operator={settings.planner}")
        if settings.training_steps is not None:
            overrides.append(f"run.max_env_steps={settings.training_steps}")
        self._sections = load_preset(settings.preset, COLLECT, overrides)
        self._env_id, self._env_config = check_sections(self._sections)
        task = _D4RL_NAMES.get(self._env_id, Path(settings.preset).stem.replace("_", "-"))
        super().__init__(settings, task, progress)
        self._bounds = self._with_envs(1, lambda envs: action_bounds(envs[0]))

    def recipe(self, kind: str) -> dict[str, Any]:
        """Returns all that a dataset depends on."""
        recipe: dict[str, Any] = {"kind": kind, "seed": self.settings.seed}
        if kind == "random":
            recipe |= {"env": self._env_id, "env_config": self._env_config}
        else:
            recipe |= self._origin()
        if not kind.endswith(_REPLAY):
            recipe |= {"num_steps": self.settings.num_steps}
            if kind != "random":
                recipe |= {"noise_scale": self.settings.noise_scale}
        return _as_json(recipe)

    def make(self, kind: str) -> OfflineDataset:
        """Makes a dataset."""
        if kind == "random":
            action_size = len(self._bounds["action_low"])
            return self._roll_out(kind, uniform_behaviour(action_size), "own: uniform actions")
        return self._make_of_policy(kind)

    @abc.abstractmethod
    def _origin(self) -> dict[str, Any]:
        """Returns where the policy comes from, as a part of recipes."""

    @abc.abstractmethod
    def _make_of_policy(self, kind: str) -> OfflineDataset:
        """Makes a dataset of any other kind than `random`."""

    def _roll_out_about(
        self, policy: LoadedPolicy | LoadedChunkPolicy, whose: str, kind: str
    ) -> OfflineDataset:
        """Rolls out noise about a policy's zero-noise action."""
        scale, act_fn = self.settings.noise_scale, functools.partial(policy.act, noise_scale=0.0)
        source = f"own: truncated normal of scale {scale:g} about {whose}"
        return self._roll_out(kind, truncated_normal_behaviour(act_fn, scale), source)

    def _roll_out(self, kind: str, behaviour: Behaviour, source: str) -> OfflineDataset:
        num_steps, seed = self.settings.num_steps, self.settings.seed_of(kind)
        return self._with_envs(
            _NUM_ENVS,
            lambda envs: collect_episodes(behaviour, envs, num_steps, seed, self._metadata(kind, source)),
        )

    def _metadata(self, kind: str, source: str) -> dict[str, Any]:
        described = {"name": kind, "source": source, "env": self._env_id, "env_config": self._env_config}
        return described | self._bounds

    def _with_envs(self, num_envs: int, use_fn: Callable[[list[gym.Env]], Result]) -> Result:
        """Calls a function with fresh environments, and closes them."""
        envs = [make_env(self._env_id, env_config=self._env_config) for _ in range(num_envs)]
        try:
            return use_fn(envs)
        finally:
            for env in envs:
                env.close()


class TrainingCollector(PolicyCollector):
    """Makes the datasets of a task that is trained on.

    The training is kept in a folder of its own: its medium and its expert policy, all its steps and those up
    to the medium policy, and `result.json` with the returns of all policies that were evaluated.
    """

    def __init__(self, settings: CollectSettings, progress: ProgressLine):
        """Resolves the preset, and checks it; see `PolicyCollector`."""
        super().__init__(settings, progress)
        self._num_training_steps = self._sections.get("run", {}).get("max_env_steps")
        check_at_least_one("run.max_env_steps", self._num_training_steps)
        self._folder = datasets_folder() / _TRAININGS / f"{settings.prefix}-{self.task}"

    def _origin(self) -> dict[str, Any]:
        return {"training": self._training_recipe()}

    def _make_of_policy(self, kind: str) -> OfflineDataset:
        """Makes a dataset after the training, unless that was done."""
        if kind == "medium-expert":
            return concatenate([load_dataset(self.get(k)) for k in kind.split("-")], self.name_of(kind))
        policies = self._trained_policies()
        if kind.endswith(_REPLAY):
            return load_dataset(self._folder / kind)
        num_steps, mean_return = policies[kind]["env_steps"], policies[kind]["mean_return"]
        whose = f"the student after {num_steps:,} steps of training (return {mean_return:.1f} without noise)"
        return self._roll_out_about(load_policy(self._folder / kind), whose, kind)

    def _training_recipe(self) -> dict[str, Any]:
        recipe = {
            "sections": self._sections,
            "evaluation_steps": self.settings.evaluation_steps,
            "num_evaluation_episodes": self.settings.num_evaluation_episodes,
        }
        return _as_json(recipe)

    def _trained_policies(self) -> dict[str, dict[str, float]]:
        """Returns steps and return of the medium and the expert policy; trains unless that was done."""
        result = self._folder / _RESULT
        if not result.is_file() or _read(result)["recipe"] != self._training_recipe():
            self.progress.note(f"training on {self._env_id} for {self._num_training_steps:,} steps")
            self._train()
        return _read(result)["policies"]

    def _train(self) -> None:
        log, evaluations = train_recorded(
            self._sections,
            num_steps=self._num_training_steps,
            evaluation_steps=self.settings.evaluation_steps,
            num_episodes=self.settings.num_evaluation_episodes,
            progress=self.progress,
        )
        choice = choose_policies([evaluation.mean_return for evaluation in evaluations])
        rows = [{"env_steps": e.env_steps, "mean_return": e.mean_return} for e in evaluations]
        content = {
            "recipe": self._training_recipe(),
            "policies": {name: rows[index] for name, index in choice._asdict().items()},
            "evaluations": rows,
        }
        policy_metadata = {"env": self._env_id, "env_config": self._env_config, "action_repeat": 1}
        replays = {"medium-replay": evaluations[choice.medium].env_steps, "full-replay": len(log)}
        self._folder.parent.mkdir(parents=True, exist_ok=True)
        with atomic.new_folder(self._folder) as folder:
            for name, index in choice._asdict().items():
                evaluations[index].save(folder / name, policy_metadata)
            for kind, num_steps in replays.items():
                source = f"own: the first {num_steps:,} steps of training, of search and student"
                dataset = log.to_dataset(self._metadata(kind, source), num_steps=num_steps)
                save_dataset(dataset, folder / kind)
            atomic.write_text(folder / _RESULT, json.dumps(content, indent=1) + "\n")


class SavedPolicyCollector(PolicyCollector):
    """Makes the datasets of a policy that a run left, which is the expert."""

    def __init__(self, settings: CollectSettings, progress: ProgressLine):
        """Resolves the preset, and checks it and the policy; see `PolicyCollector`.

        Raises:
          ValueError: if there is no policy, it is one over chunks of actions, or its environment is another.
        """
        super().__init__(settings, progress)
        assert settings.policy_path is not None
        self._path = settings.policy_path
        policy = load_policy(self._path)
        if not isinstance(policy, LoadedPolicy):
            raise ValueError(
                f"`--from` must hold a policy of single actions, got one over chunks in `{self._path}`"
            )
        wanted = {"env": self._env_id, "env_config": self._env_config, "action_repeat": 1}
        for name, value in wanted.items():
            found = policy.metadata.get(name)
            if found != value:
                raise ValueError(
                    f"`--from` must hold a policy of {name} = {value!r} for {settings.preset}, got {found!r} "
                    f"in `{self._path}`"
                )
        self._policy = policy

    def _origin(self) -> dict[str, Any]:
        return {"policy": policy_digest(self._path)}

    def _make_of_policy(self, kind: str) -> OfflineDataset:
        return self._roll_out_about(self._policy, f"the policy of {self._path.resolve().name}", kind)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _as_json(value: dict[str, Any]) -> dict[str, Any]:
    """Returns plain values as JSON gives them back, to be compared with what is on the disk."""
    return json.loads(json.dumps(value))
