"""`distill-rl collect`: datasets of our own policies, planners and controllers, by the protocols of D4RL."""

from pathlib import Path
from typing import Any

from actors.collection import action_bounds
from actors.waypoints import collect_maze
from distill_rl.cli.collector import ALL, MAZES, Collector, CollectSettings
from distill_rl.cli.progress import ProgressLine
from distill_rl.datasets.minari_format import write_minari
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.store import load_dataset
from distill_rl.envs import make_env
from distill_rl.envs.maze2d import ENV_IDS


class MazeCollector(Collector):
    """Makes the datasets of the waypoint controller."""

    version = "v1"

    def __init__(self, settings: CollectSettings, progress: ProgressLine):
        """Names the task."""
        super().__init__(settings, MAZES, progress)

    def recipe(self, kind: str) -> dict[str, Any]:
        """Returns all that a dataset depends on."""
        return {"kind": kind, "num_steps": self.settings.num_steps, "seed": self.settings.seed}

    def make(self, kind: str) -> OfflineDataset:
        """Collects a dataset."""
        env = make_env(ENV_IDS[kind])
        source = "own: waypoint controller with noise, from one random target to the next"
        metadata = {"name": kind, "source": source, "env": ENV_IDS[kind]} | action_bounds(env)
        try:
            return collect_maze(env, self.settings.num_steps, self.settings.seed_of(kind), metadata)
        finally:
            env.close()


def collect(settings: CollectSettings, progress: ProgressLine) -> list[Path]:
    """Collects datasets into the folder of all datasets.

    A dataset that is there and came about in the same way is kept, and so is a training. What a kind is made
    from (the medium and expert sets of medium-expert) is collected too.

    Args:
      settings: what to collect.
      progress: where it shows.

    Returns:
      Folders of the datasets.

    Raises:
      ValueError: for a mistake in the preset or the overrides, names that Minari refuses, a training too
        short to bring a medium policy, a saved policy of another environment, a planner without a simulator,
        or a dataset of the same name that came about in another way.
    """
    collector: Collector
    if settings.preset == MAZES:
        collector = MazeCollector(settings, progress)
    else:
        # Here and not above: only these need Ray.
        from distill_rl.cli.collect_planners import PlannerCollector
        from distill_rl.cli.collect_policies import SavedPolicyCollector, TrainingCollector

        if settings.planner is not None:
            collector = PlannerCollector(settings, progress)
        elif settings.policy_path is not None:
            collector = SavedPolicyCollector(settings, progress)
        else:
            collector = TrainingCollector(settings, progress)
    wanted = settings.all_kinds if ALL in settings.kinds else settings.kinds
    paths = []
    for kind in settings.all_kinds:
        if kind not in wanted:
            continue
        paths.append(collector.get(kind))
        if settings.minari_prefix is not None:
            minari_id, dataset = collector.minari_id(kind), load_dataset(paths[-1])
            write_minari(dataset, minari_id, overwrite=True, description=dataset.metadata["source"])
            progress.note(f"Minari dataset {minari_id}")
    return paths
