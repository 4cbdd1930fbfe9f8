"""Actions between states of a linear system."""

import dataclasses

import numpy as np
import pytest
from linear_walks import make_dataset

from distill_rl.datasets.state_limits import StateLimits
from distill_rl.policies.plan_sampling import infer_actions
from learners.trajectory.inverse_dynamics import InverseDynamicsTrainer, StepSampler
from learners.trajectory.plan_config import PlanConfig

_CONFIG = PlanConfig(ema_decay=0.98)


def test_inverse_dynamics_recovers_the_actions_of_a_linear_system():
    dataset = make_dataset()
    limits = StateLimits.of(dataset)
    sampler, generator = StepSampler(dataset, limits), np.random.default_rng(0)
    trainer = InverseDynamicsTrainer(2, 1, _CONFIG, 0, step_scale=sampler.step_scale)
    with pytest.raises(ValueError, match=r"`step_scale` must have shape \[2\], got \[1\]"):
        InverseDynamicsTrainer(2, 1, _CONFIG, 0, step_scale=sampler.step_scale[:1])
    batch = sampler.sample(4, generator)
    with pytest.raises(ValueError, match=r"`action` must have shape \[4, 1\], got \[4\]"):
        trainer.update(dataclasses.replace(batch, action=batch.action[:, 0]))
    for _ in range(600):
        trainer.update(sampler.sample(64, generator))
    found = infer_actions(trainer.ema, limits, dataset.observations, dataset.next_observations)
    assert float(np.abs(found - dataset.actions).mean()) < 0.05
