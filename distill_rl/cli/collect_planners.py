"""Datasets of an operator that plans with a simulator of the environment, without anything learned."""

import dataclasses
from typing import Any

from actors.operators.config import OperatorChoice
from actors.operators.registry import make_operator
from actors.planning import planning_behaviour
from distill_rl.algorithms.search_loop_config import SearchLoopConfig
from distill_rl.cli.collect_policies import PolicyCollector
from distill_rl.cli.collector import CollectSettings
from distill_rl.cli.progress import ProgressLine
from distill_rl.cli.sections import build_config
from distill_rl.datasets.offline_dataset import OfflineDataset


class PlannerCollector(PolicyCollector):
    """Makes the datasets of a planner, which is the expert."""

    def __init__(self, settings: CollectSettings, progress: ProgressLine):
        """Resolves the preset, and checks it and the planner; see `PolicyCollector`.

        Raises:
          ValueError: if the overrides name another operator, no simulator can reproduce the environment, or
            the planner's settings do not fit it.
        """
        super().__init__(settings, progress)
        config, _ = build_config(self._sections)
        assert isinstance(config, SearchLoopConfig)  # all that `PolicyCollector` takes
        choice, self._planner_config = config.part(OperatorChoice), config.operator_config
        if choice.operator != settings.planner:
            raise ValueError(
                f"`search.operator` must be left out with --planner {settings.planner}, "
                f"got {choice.operator!r}"
            )
        self._planner = self._with_envs(1, lambda envs: make_operator(envs[0], choice, self._planner_config))

    def _origin(self) -> dict[str, Any]:
        return {
            "planner": self.settings.planner,
            "planner_settings": dataclasses.asdict(self._planner_config),
            "env": self._env_id,
            "env_config": self._env_config,
        }

    def _make_of_policy(self, kind: str) -> OfflineDataset:
        self.progress.note(f"planning in {self._env_id} for {self.settings.num_steps:,} steps")
        scale = self.settings.noise_scale
        source = f"own: truncated normal of scale {scale:g} about the decisions of {self.settings.planner}"
        return self._roll_out(kind, planning_behaviour(self._planner, scale), source)
