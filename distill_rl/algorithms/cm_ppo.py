"""PPO with a consistency policy, as an RLlib algorithm."""

import math
import time
from typing import Any

from ray.rllib.algorithms.ppo import PPO
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.utils.metrics import (
    ENV_RUNNER_RESULTS,
    EPISODE_RETURN_MEAN,
    LEARNER_RESULTS,
    NUM_ENV_STEPS_SAMPLED_LIFETIME,
)

from distill_rl.algorithms.cm_ppo_config import CMPPOConfig
from learners.ppo.learner import (
    NUM_ROLLBACKS_LIFETIME,
    NUM_SKIPPED_UPDATES_LIFETIME,
    NUM_UPDATES_LIFETIME,
)

_LOOP = "loop"


class CMPPO(PPO):
    """RLlib's PPO on a consistency policy; see `CMPPOConfig`.

    Beside RLlib's own entries a result holds the section `loop` with `env_steps`, `updates`, their rates,
    `student_return`, the mean return of the episodes that ended last, with the noise of exploring, and
    `skipped_updates` and `rollbacks`, see `CMPPOLearner`.

    Attributes:
      description: what is learned, in one line.
    """

    config: CMPPOConfig

    @classmethod
    def get_default_config(cls) -> CMPPOConfig:
        """Returns the default configuration."""
        return CMPPOConfig()

    def setup(self, config: CMPPOConfig) -> None:
        """Checks the environment in this process, then starts actors and learners.

        Raises:
          ValueError: if the environment is unknown or has no bounded continuous actions.
        """
        self.config.check_env()
        super().setup(config)
        settings = self.config.consistency_settings
        self.description = f"ratios: {settings.likelihood}; weights of the consistency loss: " + (
            settings.weights if settings.consistency_coeff else "none"
        )
        self._env_steps, self._updates, self._student_return = 0, 0, math.nan

    def step(self) -> dict[str, Any]:
        """Runs one iteration of RLlib and adds the section `loop` to its result."""
        start_sec = time.monotonic()
        result = super().step()
        elapsed_sec = time.monotonic() - start_sec
        sampled, learned = result[ENV_RUNNER_RESULTS], result[LEARNER_RESULTS][DEFAULT_MODULE_ID]
        env_steps, updates = int(sampled[NUM_ENV_STEPS_SAMPLED_LIFETIME]), int(learned[NUM_UPDATES_LIFETIME])
        episode_return = float(sampled.get(EPISODE_RETURN_MEAN, math.nan))
        if math.isfinite(episode_return):  # NaN where no episode ended
            self._student_return = episode_return
        result[_LOOP] = {
            "env_steps": env_steps,
            "updates": updates,
            "env_steps_per_sec": (env_steps - self._env_steps) / elapsed_sec,
            "updates_per_sec": (updates - self._updates) / elapsed_sec,
            "student_return": self._student_return,
            "skipped_updates": int(learned[NUM_SKIPPED_UPDATES_LIFETIME]),
            "rollbacks": int(learned[NUM_ROLLBACKS_LIFETIME]),
        }
        self._env_steps, self._updates = env_steps, updates
        return result

    def restore_from_path(self, path: Any, *args: Any, **kwargs: Any) -> None:
        """Restores a checkpoint, of an earlier or a later time."""
        # Runners keep their own weights against older ones, unless they think that theirs are older still.
        for group in (self.env_runner_group, self.eval_env_runner_group):
            if group is not None:
                group.foreach_env_runner(_forget_version)
        super().restore_from_path(path, *args, **kwargs)
        self._env_steps = int(
            self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0)
        )
        key = (LEARNER_RESULTS, DEFAULT_MODULE_ID, NUM_UPDATES_LIFETIME)
        self._updates = int(self.metrics.peek(key, default=0))


def _forget_version(runner: Any) -> None:
    runner._weights_seq_no = 0
