"""Who looks after the learners: replaces those that die or do not answer."""

import logging
from collections.abc import Callable
from typing import Any, Protocol

from ray.exceptions import RayError

from distill_rl.algorithms.initial_checkpoint import ALGORITHM_FOLDER
from distill_rl.algorithms.learning import LearnerFailedError
from distill_rl.storage.checkpoints import CheckpointStore

_logger = logging.getLogger(__name__)


class Recoverable(Protocol):
    """What is looked after: `Distill`, or whatever trains alike."""

    def train(self) -> dict[str, Any]:
        """Runs one iteration."""

    def recover_learners(self, path: str) -> None:
        """Replaces the learners by new ones with the state of a checkpoint."""


class LearnerSupervisor:
    """Runs iterations, and goes on from the newest good checkpoint when a learner fails in one.

    Env runners are left alone: while learners are replaced they finish what they were asked for, then wait
    to be asked again.
    """

    def __init__(self, store: CheckpointStore, max_restarts: int, note: Callable[[str], None]) -> None:
        """Looks after the learners of one run.

        Args:
          store: its checkpoints.
          max_restarts: times the learners are replaced between two checkpoints: a learner that dies at the
            same update each time must not do so for ever.
          note: told of each failure, in one line.
        """
        self._store = store
        self._max_restarts = max_restarts
        self._note = note
        self._num_restarts = 0

    def note_checkpoint(self) -> None:
        """Notes that a checkpoint was saved: the learners got somewhere."""
        self._num_restarts = 0

    def train(self, algorithm: Recoverable) -> dict[str, Any]:
        """Runs one iteration.

        Raises:
          LearnerFailedError: if a learner failed and there is no good checkpoint, or for too many times.
        """
        while True:
            try:
                return algorithm.train()
            except LearnerFailedError as error:
                self._recover(algorithm, error)

    def _recover(self, algorithm: Recoverable, error: LearnerFailedError) -> None:
        while True:
            checkpoint = self._store.recover() if self._num_restarts < self._max_restarts else None
            if checkpoint is None:
                raise error
            self._num_restarts += 1
            self._note(f"{str(error).splitlines()[0]}\nnew learners go on from {checkpoint.path.name}")
            try:
                algorithm.recover_learners(str(checkpoint.path / ALGORITHM_FOLDER))
            except (RayError, LearnerFailedError) as next_error:
                _logger.warning("learners failed while they were replaced: %s", next_error)
            else:
                return
