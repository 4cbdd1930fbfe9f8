"""The driver of a run: build, train, log, save, judge."""

import contextlib
import dataclasses
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Console

from distill_rl.algorithms.cm_ppo import CMPPO
from distill_rl.algorithms.distill import Distill
from distill_rl.algorithms.loop_config import LoopConfig
from distill_rl.algorithms.offline import Offline
from distill_rl.algorithms.prometheus import PrometheusMetrics
from distill_rl.algorithms.search_loop_config import SearchLoopConfig
from distill_rl.cli.alarms import AlarmLimits, Alarms
from distill_rl.cli.conclusion import conclude, evaluate_newest
from distill_rl.cli.evaluation import ALGORITHM_FOLDER, load_networks, save_acting_policy
from distill_rl.cli.failure import TrainingError, resume_command, supervised
from distill_rl.cli.learner_supervisor import LearnerSupervisor
from distill_rl.cli.metrics import STUDENT_EVALUATION, collect_metrics
from distill_rl.cli.presets import dump_sections
from distill_rl.cli.progress import ProgressLine
from distill_rl.cli.ray_session import ray_session, start_ray
from distill_rl.cli.report import write_report
from distill_rl.cli.room import needed_room, wait_for_room
from distill_rl.cli.sections import RunConfig, build_config
from distill_rl.cli.settings import RunSettings
from distill_rl.cli.stop_request import StopRequest
from distill_rl.storage.checkpoints import Checkpoint, CheckpointError, CheckpointStore
from distill_rl.storage.metrics import MetricsWriter, show_life
from distill_rl.storage.run_folder import RunFolder

_Algorithm = Distill | Offline | CMPPO


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
      summary: what came out; empty if it was stopped.
      signal_number: the signal that stopped it, or None.
    """

    summary: dict[str, Any]
    signal_number: int | None = None


def run_training(
    sections: Mapping[str, Mapping[str, Any]],
    folder: str | Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    console: Console | None = None,
) -> Outcome:
    """Trains, and leaves a complete run folder behind.

    A signal (Ctrl-C, SIGTERM) ends the training after the iteration in progress, with a checkpoint.
    Everything in `sections` is checked before the folder is touched or Ray started. A cluster that
    `RAY_ADDRESS` names, or that runs on this machine, is used; otherwise Ray starts one here.

    Args:
      sections: the resolved configuration, see `distill_rl.cli.presets`.
      folder: the run folder.
      resume: whether to go on from its newest good checkpoint, counters included.
      overwrite: whether a run that is there may be removed.
      console: where progress shows; standard output by default.

    Returns:
      The summary, or the signal that stopped the run.

    Raises:
      ValueError: for a mistake in the configuration or a folder that must not be used.
      CheckpointError: if there is no good checkpoint to resume from.
      TrainingError: if training failed.
    """
    config, settings = build_config(sections)
    run = RunFolder(folder)
    store = CheckpointStore(run.checkpoints_folder, settings.num_checkpoints)
    checkpoint = None
    if resume:
        run.require_run()
        with _writing(run):
            checkpoint = store.recover()
        if checkpoint is None:
            raise CheckpointError(f"`{run.path}` holds no good checkpoint to resume from; use --overwrite")
        config.resume_from(checkpoint.path)
        config.check_env()
    else:
        config.check_env()
        run.create(overwrite)
    with _writing(run):
        run.write_config(dump_sections(dict(sections)))
    progress = ProgressLine(console or Console())
    with ray_session(lambda: supervised(start_ray, run.path)), StopRequest() as stop:
        return _Training(config, settings, run, store, progress, stop).run(checkpoint)


@contextlib.contextmanager
def _writing(run: RunFolder) -> Iterator[None]:
    """Tells of a disk that refuses; there may be no room for a log of it."""
    try:
        yield
    except OSError as error:
        raise TrainingError(f"`{run.path}` cannot be written to: {error}") from error


class _Training:
    """One process's part of a run."""

    def __init__(
        self,
        config: RunConfig,
        settings: RunSettings,
        run: RunFolder,
        store: CheckpointStore,
        progress: ProgressLine,
        stop: StopRequest,
    ):
        self._config, self._settings = config, settings
        self._run, self._store, self._progress, self._stop = run, store, progress, stop
        self._iteration = 0
        self._untrained_return: float | None = None
        self._env_steps = 0
        self._updates = 0
        self._is_done = False
        self._elapsed_before_sec = 0.0
        self._start_sec = self._saved_sec = self._tried_saving_sec = time.monotonic()
        self._learners = LearnerSupervisor(store, settings.max_learner_restarts, self._warn)

    def run(self, checkpoint: Checkpoint | None) -> Outcome:
        self._progress.note(f"run folder {self._run.path}\nto resume: {resume_command(self._run.path)}")
        if not self._wait_for_room():
            assert self._stop.signal_number is not None
            self._progress.note(f"stopped by {signal.Signals(self._stop.signal_number).name} before it began")
            return Outcome({}, self._stop.signal_number)
        algorithm = self._build()
        try:
            if checkpoint is not None:
                self._restore(algorithm, checkpoint)
            if self._iteration == 0:
                self._save(algorithm)
                num_episodes = self._settings.num_evaluation_episodes
                self._untrained_return = evaluate_newest(self._run, self._config, num_episodes)
            self._train(algorithm)
            is_saved = self._save(algorithm)
        finally:
            algorithm.stop()
        if self._stop.signal_number is not None:
            name = signal.Signals(self._stop.signal_number).name
            saved = "saved" if is_saved else "not saved: it goes on from an older checkpoint"
            self._progress.note(f"stopped by {name} and {saved}; to resume: {resume_command(self._run.path)}")
            try:
                write_report(self._run)
            except OSError as error:
                self._warn(f"no report: {error}")
            return Outcome({}, self._stop.signal_number)
        settings = self._settings.num_evaluation_episodes, self._untrained_return, self._progress.note
        return Outcome(supervised(lambda: conclude(self._run, self._config, *settings), self._run.path))

    def _wait_for_room(self) -> bool:
        """Waits until the cluster has room for the run; returns whether it has, or a signal came first."""

        def note_fn(line: str) -> None:
            self._progress.note(line)
            show_life(self._run.metrics_path)

        return wait_for_room(
            needed_room(self._config), self._settings.machine_timeout_sec, self._stop, note_fn
        )

    def _build(self) -> _Algorithm:
        algorithm = supervised(self._config.build_algo, self._run.path)
        assert isinstance(algorithm, _Algorithm)
        self._stop.install()
        self._progress.note(algorithm.description)
        return algorithm

    def _restore(self, algorithm: _Algorithm, checkpoint: Checkpoint) -> None:
        path = str(checkpoint.path / ALGORITHM_FOLDER)
        supervised(lambda: algorithm.restore_from_path(path), self._run.path)
        # A run that had ended has not any more, and what it came to is no longer what it is.
        self._run.summary_path.unlink(missing_ok=True)
        self._iteration = checkpoint.step
        self._elapsed_before_sec = checkpoint.metadata["elapsed_sec"]
        self._env_steps = checkpoint.metadata["env_steps"]
        self._updates = checkpoint.metadata["updates"]
        self._untrained_return = checkpoint.metadata["untrained_return"]
        done = f"{self._updates} updates, {self._env_steps} environment steps"
        self._progress.note(f"resumed from {checkpoint.path.name}: {done}")

    def _train(self, algorithm: _Algorithm) -> None:
        """Runs iterations until a limit or a signal."""
        self._start_sec = self._saved_sec = self._tried_saving_sec = time.monotonic()
        paths, first_step = (self._run.metrics_path, self._run.tensorboard_folder), self._iteration + 1
        writer = supervised(lambda: MetricsWriter(*paths, first_step), self._run.path)
        gauges, alarms = PrometheusMetrics(self._run.path.name), Alarms(self._alarm_limits())
        with self._progress:
            while not self._is_over():
                result = supervised(lambda: self._train_once(algorithm), self._run.path)
                metrics, self._is_done = collect_metrics(result), bool(result.get("done"))
                self._iteration += 1
                self._env_steps = int(metrics.get("env_steps", 0))
                self._updates = int(metrics["updates"])
                metrics["elapsed_sec"] = self._elapsed_sec()
                metrics["checkpoint_age_sec"] = time.monotonic() - self._saved_sec
                metrics["lost_rows"] = writer.num_lost_rows
                if time.monotonic() - self._tried_saving_sec >= self._settings.checkpoint_interval_sec:
                    self._save(algorithm)
                    num_episodes = self._settings.num_progress_episodes
                    student_return = evaluate_newest(self._run, self._config, num_episodes)
                    if student_return is not None:
                        metrics[STUDENT_EVALUATION] = student_return
                raised, lines = alarms.check(metrics)
                writer.log(metrics | raised, self._iteration)
                gauges.log(metrics | raised)
                self._progress.update(metrics)
                for line in lines:
                    self._warn(line)
        gauges.close()

    def _train_once(self, algorithm: _Algorithm) -> dict[str, Any]:
        """Runs one iteration, with new learners if they fail."""
        if isinstance(algorithm, Distill):
            return self._learners.train(algorithm)
        result: dict[str, Any] = algorithm.train()
        return result

    def _alarm_limits(self) -> AlarmLimits:
        has_actors = isinstance(self._config, SearchLoopConfig)
        max_policy_lag = self._config.part(LoopConfig).max_policy_lag if has_actors else None
        return AlarmLimits(max_policy_lag, self._settings.checkpoint_interval_sec)

    def _warn(self, message: str) -> None:
        self._progress.note(f"warning: {message}")

    def _is_over(self) -> bool:
        counted = (
            (self._env_steps, self._settings.max_env_steps),
            (self._updates, self._settings.max_updates),
        )
        return (
            self._stop.signal_number is not None
            or self._is_done
            or self._elapsed_sec() >= self._settings.time_limit_sec
            or any(limit is not None and count >= limit for count, limit in counted)
        )

    def _elapsed_sec(self) -> float:
        """Returns seconds of training, over all resumes."""
        return self._elapsed_before_sec + time.monotonic() - self._start_sec

    def _save(self, algorithm: _Algorithm) -> bool:
        """Saves a checkpoint, and returns whether it did; one that fails costs a warning, not the run."""

        def save_fn(folder: Path) -> None:
            algorithm.save_to_path(str(folder / ALGORITHM_FOLDER))
            save_acting_policy(load_networks(folder), self._config, folder)

        metadata = {
            "elapsed_sec": self._elapsed_sec() if self._iteration else 0.0,
            "env_steps": self._env_steps,
            "updates": self._updates,
            "untrained_return": self._untrained_return,
        }
        try:
            self._store.save(self._iteration, save_fn, metadata)
        except CheckpointError as error:
            self._warn(f"{error}; training goes on")
            return False
        finally:
            # Also after a failure: a full disk is not tried again after every iteration.
            self._tried_saving_sec = time.monotonic()
        self._saved_sec = time.monotonic()
        self._learners.note_checkpoint()
        return True
