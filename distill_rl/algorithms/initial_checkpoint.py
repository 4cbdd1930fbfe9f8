"""What a checkpoint knows that another algorithm can go on from."""

import pickle
from pathlib import Path
from typing import Any

from ray.rllib.core import COMPONENT_LEARNER, COMPONENT_LEARNER_GROUP

from distill_rl.policies.loading import checkpoint_folders
from learners.network_learner import TRAINER

ALGORITHM_FOLDER = "algorithm"
"""What an algorithm writes lies here in a checkpoint of a run."""

_LEARNER_STATE = Path(COMPONENT_LEARNER_GROUP, COMPONENT_LEARNER, "state.pkl")


def read_trainer_state(path: str | Path) -> dict[str, Any]:
    """Reads the state of the trainer in a checkpoint. Like all of RLlib's, it is pickled: trust its source.

    Args:
      path: what `save_to_path` of an algorithm wrote, a checkpoint of a run, or a run folder (its latest).

    Returns:
      What `NetworkTrainer.get_state` returned.

    Raises:
      ValueError: if there is no checkpoint, it is damaged, or it holds no trainer.
    """
    roots = checkpoint_folders(path)
    files = [root / folder / _LEARNER_STATE for root in roots for folder in ("", ALGORITHM_FOLDER)]
    file = next((file for file in files if file.is_file()), None)
    if file is None:
        raise ValueError(f"`{path}` must hold the checkpoint of an algorithm, got none in it")
    try:
        with file.open("rb") as opened:
            state = pickle.load(opened)
    except (EOFError, pickle.UnpicklingError) as error:
        raise ValueError(f"`{file}` is damaged: {error}") from error
    if TRAINER not in state:
        raise ValueError(f"`{path}` must hold the checkpoint of a learner of ours, got {sorted(state)}")
    trainer: dict[str, Any] = state[TRAINER]
    return trainer
