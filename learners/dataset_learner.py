"""What learners of fixed data share: their draws from it are saved with them."""

from typing import Any

import numpy as np

from learners.network_learner import NetworkLearner

_DRAWS = "draws"


class DatasetLearner(NetworkLearner):
    """A learner that draws from a dataset by `_generator`."""

    def get_state(
        self, components: Any = None, *, not_components: Any = None, **kwargs: Any
    ) -> dict[str, Any]:
        """Returns RLlib's state, the trainer's, and that of the draws from the dataset."""
        state = super().get_state(components, not_components=not_components, **kwargs)
        if self._check_component(_DRAWS, components, not_components):
            state[_DRAWS] = self._generator.bit_generator.state
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        """Restores a state, of an earlier or a later time."""
        super().set_state(state)
        if _DRAWS in state and self._rank == 0:
            self._generator.bit_generator.state = state[_DRAWS]
        elif _DRAWS in state:  # those of the first learner
            self._generator = np.random.default_rng(self._seeds(self.trainer.num_updates)[0])
