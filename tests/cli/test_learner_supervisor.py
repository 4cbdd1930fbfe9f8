"""The supervisor goes on from the newest good checkpoint, but not for ever."""

import json

import pytest

from distill_rl.algorithms.learning import LearnerFailedError
from distill_rl.cli.learner_supervisor import LearnerSupervisor
from distill_rl.storage.checkpoints import CheckpointStore


class FailingAlgorithm:
    """Fails a number of times, then trains; notes what it was restored from."""

    def __init__(self, num_failures, num_failed_recoveries=0):
        self.num_failures = num_failures
        self.num_failed_recoveries = num_failed_recoveries
        self.restored_from = []

    def train(self):
        if self.num_failures:
            self.num_failures -= 1
            raise LearnerFailedError("learner 0 of 1 (host a, pid 1) failed\nand more")
        return {"loop": {}}

    def recover_learners(self, path):
        if self.num_failed_recoveries:
            self.num_failed_recoveries -= 1
            raise LearnerFailedError("dead again")
        self.restored_from.append(path)


@pytest.fixture
def store(tmp_path):
    store = CheckpointStore(tmp_path)
    for step in (1, 2):
        store.save(step, lambda folder: (folder / "file").write_text("content"), {})
    return store


def test_learners_go_on_from_the_newest_good_checkpoint(store):
    """A damaged one is passed over; the message names learner and checkpoint."""
    manifest = store.latest() / "manifest.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"files": {}}))
    algorithm, notes = FailingAlgorithm(1), []
    assert LearnerSupervisor(store, 3, notes.append).train(algorithm) == {"loop": {}}
    assert algorithm.restored_from == [str(store.folder / "checkpoint_00000001" / "algorithm")]
    assert notes == ["learner 0 of 1 (host a, pid 1) failed\nnew learners go on from checkpoint_00000001"]


def test_a_recovery_that_fails_is_tried_again(store):
    """Each try counts."""
    algorithm = FailingAlgorithm(1, num_failed_recoveries=2)
    LearnerSupervisor(store, 3, lambda note: None).train(algorithm)
    assert len(algorithm.restored_from) == 1
    with pytest.raises(LearnerFailedError):
        LearnerSupervisor(store, 2, lambda note: None).train(FailingAlgorithm(1, num_failed_recoveries=2))


def test_a_learner_that_always_dies_ends_the_run(store):
    """After the allowed number between two checkpoints; a checkpoint in between starts the count anew."""
    supervisor = LearnerSupervisor(store, 2, lambda note: None)
    supervisor.train(FailingAlgorithm(2))
    with pytest.raises(LearnerFailedError, match="learner 0 of 1"):
        supervisor.train(FailingAlgorithm(1))
    supervisor.note_checkpoint()
    supervisor.train(FailingAlgorithm(1))


def test_without_a_checkpoint_the_failure_is_raised(tmp_path):
    """There is nothing to go on from."""
    with pytest.raises(LearnerFailedError):
        LearnerSupervisor(CheckpointStore(tmp_path), 2, lambda note: None).train(FailingAlgorithm(1))
