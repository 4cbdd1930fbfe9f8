"""What trainers of policies share."""

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from distill_rl.networks.normalizer import RunningNormalizer
from learners.policy_trainer import PolicyTrainer


@dataclasses.dataclass(frozen=True)
class Config:
    learning_rate: float = 0.1
    grad_clip_norm: float = 1.0
    ema_decay: float = 0.75
    max_consecutive_skips: int = 2


@dataclasses.dataclass(frozen=True)
class Batch:
    observation: np.ndarray
    action: np.ndarray


class Networks(nn.Module):
    """Two normalisers, one of them below another module."""

    def __init__(self, observation_size, action_size):
        super().__init__()
        self.normalizer = RunningNormalizer(observation_size)
        linear = nn.Linear(observation_size, action_size)
        self.inner = nn.Sequential(RunningNormalizer(observation_size), linear)

    def forward(self, observation):
        return self.inner(self.normalizer(observation))


class Regression(PolicyTrainer[Batch, Config]):
    def _make_networks(self):
        return Networks(*self._sizes)

    def _losses(self, batch):
        assert {batch.observation.dtype, batch.action.dtype} == {torch.float32}
        return {"loss": (self.online(batch.observation) - batch.action).square().mean()}, {"loss": 1.0}


def make_batch(size=4):
    generator = np.random.default_rng(0)
    return Batch(generator.normal(size=(size, 3)), generator.normal(size=(size, 2)))


def test_statistics_reach_every_normaliser_and_outlive_a_rollback():
    """Those of the online and of the averaged networks, wherever they are."""
    trainer = Regression(3, 2, Config(), seed=0)
    mean, var = np.array([1.0, -2.0, 3.0]), np.array([4.0, 0.5, 9.0])
    trainer.set_statistics(mean, var, 500)
    broken = dataclasses.replace(make_batch(), action=np.full((4, 2), np.nan))
    assert [trainer.update(broken)["num_rollbacks"] for _ in range(2)] == [0, 1]
    for networks in (trainer.online, trainer.ema):
        found = [module for module in networks.modules() if isinstance(module, RunningNormalizer)]
        assert len(found) == 2
        for normalizer in found:
            np.testing.assert_allclose(normalizer.mean, mean)
            np.testing.assert_allclose(normalizer.var, var)
            assert float(normalizer.count) == 500.0


def test_nothing_but_broken_batches_ends_training():
    """After ten returns to the last good weights without a good update; one in between starts anew."""
    broken = dataclasses.replace(make_batch(), action=np.full((4, 2), np.nan))
    trainer = Regression(3, 2, Config(), seed=0)
    for _ in range(2):
        for _ in range(19):
            trainer.update(broken)
        trainer.update(make_batch())
    for _ in range(19):
        trainer.update(broken)
    with pytest.raises(ValueError, match=r"`loss` must be finite, .* the last 20 updates, .* 10 times"):
        trainer.update(broken)
    assert (trainer.num_updates, trainer.num_skipped_updates) == (2, 58)


def test_averages_follow_by_the_decay():
    """A quarter of the way at each step for a decay of three quarters."""
    trainer = Regression(3, 2, Config(), seed=0)
    expected = {name: value.clone() for name, value in trainer.ema.named_parameters()}
    for _ in range(3):
        trainer.update(make_batch())
        for name, value in trainer.online.named_parameters():
            expected[name] = 0.75 * expected[name] + 0.25 * value.detach()
    for name, value in trainer.ema.named_parameters():
        torch.testing.assert_close(value, expected[name])


@pytest.mark.parametrize(
    ("mean", "var", "message"),
    [
        (np.zeros(1), np.ones(3), r"`mean` must have shape \[3\], got \[1\]"),
        (np.zeros(3), np.ones((3, 1)), r"`var` must have shape \[3\], got \[3, 1\]"),
        (np.zeros(3), np.array([1.0, np.nan, 1.0]), "`var` must be finite"),
    ],
)
def test_statistics_that_do_not_fit_are_refused(mean, var, message):
    """One entry for all would be repeated in silence."""
    with pytest.raises(ValueError, match=message):
        Regression(3, 2, Config(), seed=0).set_statistics(mean, var, 5)
