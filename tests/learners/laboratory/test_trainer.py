import pytest
import torch

from learners.config import DistillationConfig
from learners.laboratory.experiment import Experiment, ReferenceSource
from learners.laboratory.metrics import energy_distance
from learners.laboratory.trainer import LaboratoryTrainer

EXPERIMENT = Experiment(data="fresh", num_instances=2, num_seeds=1, batch_size=16)

LOSSES = [
    {"objective": "denoising", "posterior": "single_sample"},
    {"objective": "denoising", "posterior": "importance"},
    {"objective": "denoising", "posterior": "gumbel"},
    {"objective": "denoising", "posterior": "control_variate"},
    {"objective": "consistency", "posterior": "single_sample", "noise_level_schedule": "adaptive"},
    {"objective": "consistency", "posterior": "single_sample", "noise_level_schedule": "improved"},
    {"objective": "consistency", "posterior": "single_sample", "noise_level_schedule": "easy"},
    {"objective": "consistency", "posterior": "proposal_corrected", "ode_solver": "heun"},
    {"objective": "consistency", "posterior": "defensive_mixture", "distance": "pseudo_huber"},
    {"objective": "endpoint", "posterior": "proposal_corrected"},
    {"objective": "endpoint", "posterior": "stein"},
    {"objective": "energy", "posterior": "proposal_corrected"},
]


def _trainer(experiment: Experiment = EXPERIMENT, **fields) -> LaboratoryTrainer:
    return LaboratoryTrainer(experiment, DistillationConfig(num_noises=experiment.num_noises, **fields))


@pytest.mark.parametrize("loss", LOSSES, ids=lambda fields: "-".join(map(str, fields.values())))
def test_every_loss_trains(loss):
    """Updates are finite and move every parameter of every member."""
    trainer = _trainer(**loss, schedule_updates=10)
    before = {name: p.detach().clone() for name, p in trainer.online.parameters.items()}
    assert all(bool(torch.isfinite(trainer.update())) for _ in range(3))
    assert not any(average.requires_grad for average in trainer.average.parameters.values())
    for name, parameter in trainer.online.parameters.items():
        moved = (parameter != before[name]).flatten(1).any(dim=1)
        assert bool(moved.all()), name


def test_the_average_follows_the_adaptive_schedule():
    """With N(k) the target's decay is mu(k): at first 0.95, as N(0) = 2; the configured one else."""
    for schedule, decay in (("adaptive", 0.95), ("fixed", 0.9)):
        trainer = _trainer(
            objective="consistency",
            posterior="single_sample",
            noise_level_schedule=schedule,
            ema_decay=0.9,
            schedule_updates=1000,
        )
        before = {name: p.clone() for name, p in trainer.average.parameters.items()}
        trainer.update()
        for name, average in trainer.average.parameters.items():
            expected = decay * before[name] + (1.0 - decay) * trainer.online.parameters[name].detach()
            torch.testing.assert_close(average, expected)


def test_a_seed_settles_the_weights():
    """Two trainers of one experiment end up equal; one of another seed does not."""
    ends = []
    for seed in (0, 0, 1):
        trainer = _trainer(
            Experiment(data="conditioned", num_instances=1, num_seeds=2, batch_size=8, seed=seed)
        )
        for _ in range(3):
            trainer.update()
        ends.append(trainer.average.parameters["member.mlp.0.weight"])
    assert torch.equal(ends[0], ends[1]) and not torch.equal(ends[0], ends[2])


def test_member_learns_as_if_alone():
    """A member's rows and gradients do not depend on how many others learn beside it."""
    steps = []
    for num_seeds in (1, 3):
        trainer = _trainer(
            Experiment(num_instances=1, num_seeds=num_seeds, batch_size=16), learning_rate=1e-2
        )
        before = trainer.online.parameters["member.mlp.2.weight"][0].detach().clone()
        loss = trainer.update()
        assert bool(torch.isfinite(loss))
        steps.append(trainer.online.parameters["member.mlp.2.weight"][0].detach() - before)
    # Adam's first step is the learning rate where the gradient is not tiny, whatever the number of members.
    for step in steps:
        assert float(step.abs().median()) == pytest.approx(1e-2, rel=1e-2)


def test_endpoint_learns_its_target():
    """A few hundred updates bring one-step samples several times nearer to the target."""
    trainer = _trainer(zero_noise_fraction=0.0, learning_rate=1e-3)
    targets, _ = ReferenceSource(EXPERIMENT).draw(torch.Generator())
    generator = torch.Generator().manual_seed(5)
    truth = targets.sample(500, generator)
    noise = torch.randn(truth.shape, generator=generator)

    def distance() -> float:
        samples = trainer.average.one_step(torch.zeros(2, 1, 0), noise)
        return float(energy_distance(samples, truth).mean())

    before = distance()
    for _ in range(300):
        trainer.update()
    assert distance() < 0.2 * before


@pytest.mark.slow
@pytest.mark.parametrize("loss", [LOSSES[1], LOSSES[7]], ids=["denoising", "consistency"])
def test_compiled_updates_are_the_same(loss):
    """Compiling changes speed only: weights and averages agree after some updates."""
    experiment = Experiment(data="fresh", num_instances=2, num_seeds=1, batch_size=16)
    config = DistillationConfig(**loss, num_noises=experiment.num_noises)
    plain, compiled = (LaboratoryTrainer(experiment, config, is_compiled=value) for value in (False, True))
    for _ in range(3):
        torch.testing.assert_close(plain.update(), compiled.update(), rtol=1e-4, atol=1e-6)
    for name, parameter in plain.online.parameters.items():
        torch.testing.assert_close(compiled.online.parameters[name], parameter, rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(
            compiled.average.parameters[name], plain.average.parameters[name], rtol=1e-3, atol=1e-4
        )
