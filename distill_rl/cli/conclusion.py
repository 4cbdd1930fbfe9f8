"""What a run came to: the last evaluation, the summary and the report."""

from collections.abc import Callable
from typing import Any

from distill_rl.algorithms.acting_policy import policy_metadata
from distill_rl.algorithms.offline_config import OfflineConfig
from distill_rl.algorithms.search_loop_config import SearchLoopConfig
from distill_rl.cli.evaluation import POLICY_FOLDER, evaluate_run_search, evaluate_student, load_networks
from distill_rl.cli.metrics import student_search_ratio, summarise
from distill_rl.cli.offline_summary import summarise_offline
from distill_rl.cli.report import write_report
from distill_rl.cli.sections import RunConfig
from distill_rl.datasets.store import load_dataset
from distill_rl.policies.loading import load_policy
from distill_rl.storage.checkpoints import CheckpointStore
from distill_rl.storage.metrics import read_metrics
from distill_rl.storage.run_folder import RunFolder
from learners.offline.config import DatasetConfig


def evaluate_newest(run: RunFolder, config: RunConfig, num_episodes: int) -> float | None:
    """Returns the mean return of the newest policy of a run, without noise.

    Args:
      run: the run folder.
      config: of the run.
      num_episodes: episodes to average.

    Returns:
      Reward units; None without episodes, environment or checkpoint, or while of several stages none that
      makes a policy has begun.
    """
    checkpoint = CheckpointStore(run.checkpoints_folder).latest()
    if not num_episodes or config.env is None or checkpoint is None:
        return None
    if not (checkpoint / POLICY_FOLDER).is_dir():
        return None
    return evaluate_student(load_policy(run.path), num_episodes).mean_return


def conclude(
    run: RunFolder,
    config: RunConfig,
    num_episodes: int,
    untrained_return: float | None,
    note_fn: Callable[[str], None],
) -> dict[str, Any]:
    """Evaluates what a run learned, and writes summary, figures and report.

    Args:
      run: the run folder.
      config: of the run.
      num_episodes: episodes of the student, and of the search where there is one; 0 for no evaluation.
      untrained_return: mean return before training, if it is known.
      note_fn: takes lines about progress.

    Returns:
      The summary.
    """
    rows = read_metrics(run.metrics_path)
    summary = summarise(rows) | {"untrained_return": untrained_return}
    checkpoint = CheckpointStore(run.checkpoints_folder).latest()
    if num_episodes and config.env is not None and checkpoint is not None:
        has_search = isinstance(config, SearchLoopConfig)
        judged = "the student and of the search" if has_search else "the policy"
        note_fn(f"evaluating {num_episodes} episodes of {judged}")
        summary["student_return"] = evaluate_newest(run, config, num_episodes)
        if isinstance(config, SearchLoopConfig):
            search = evaluate_run_search(load_networks(checkpoint), config, num_episodes)
            summary["search_return"] = search.mean_return
    if isinstance(config, OfflineConfig):
        dataset = load_dataset(config.part(DatasetConfig).name)
        summary |= summarise_offline(rows, summary["student_return"], dataset.metadata)
    summary["student_search_ratio"] = student_search_ratio(summary)
    summary |= policy_metadata(config) | {"seed": config.seed}
    run.write_summary(summary)
    write_report(run)
    return summary
