import dataclasses

import numpy as np
import pytest
import torch

from distill_rl.types import NStepTransitions, ReferenceSet
from learners.config import DistillationConfig
from learners.distiller import Distiller

_SMALL = {"hidden_sizes": (16,), "num_noises": 1}


def _batch(seed: int = 0, num_states: int = 32) -> ReferenceSet:
    generator = np.random.default_rng(seed)
    logits = generator.normal(size=(num_states, 5))
    log_probs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return ReferenceSet(
        observation=generator.normal(size=(num_states, 3)).astype(np.float32) * 4 + 1,
        actions=generator.uniform(-1, 1, size=(num_states, 5, 2)).astype(np.float32),
        log_probs=log_probs.astype(np.float32),
        log_proposals=np.zeros((num_states, 5), np.float32),
        value=np.zeros(num_states, np.float32),
        policy_value=generator.normal(size=num_states).astype(np.float32),
        policy_version=0,
    )


def _broken(batch: ReferenceSet) -> ReferenceSet:
    return ReferenceSet(**{**vars(batch), "policy_value": np.full_like(batch.policy_value, np.nan)})


def _weights(distiller: Distiller) -> dict[str, torch.Tensor]:
    both = {"online": distiller.online, "ema": distiller.ema}
    return {f"{n}.{k}": v.clone() for n, net in both.items() for k, v in net.state_dict().items()}


def _assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_same_seed_same_weights_and_the_global_generator_is_left_alone():
    """Every draw comes from the seed; nothing depends on or disturbs torch's global state."""
    torch.manual_seed(1)
    before = torch.get_rng_state()
    runs = []
    for seed in (7, 7, 8):
        torch.manual_seed(len(runs))
        distiller = Distiller(3, 2, DistillationConfig(**_SMALL), seed)
        for step in range(3):
            distiller.update(_batch(step))
        runs.append(_weights(distiller))
    _assert_equal(runs[0], runs[1])
    name = "online.policy.mlp.0.weight"
    assert not torch.equal(runs[0][name], runs[2][name])
    torch.manual_seed(1)
    Distiller(3, 2, DistillationConfig(**_SMALL), 0).update(_batch())
    assert torch.equal(torch.get_rng_state(), before)


def test_first_step_matches_adam_written_out():
    """The first Adam step moves each weight by lr g / (|g| + eps); the average by (1 - decay) of that."""
    config = DistillationConfig(**_SMALL, learning_rate=0.01, ema_decay=0.9)
    distiller = Distiller(3, 2, config, 0)
    before = [p.detach().clone() for p in distiller.online.parameters()]
    distiller.update(_batch())
    for old, new, ema in zip(before, distiller.online.parameters(), distiller.ema.parameters(), strict=True):
        expected = old - 0.01 * new.grad / (new.grad.abs() + 1e-8)
        torch.testing.assert_close(new.detach(), expected)
        torch.testing.assert_close(ema, 0.9 * old + 0.1 * new.detach())


def test_gradients_are_clipped_by_their_joint_norm():
    """The reported norm is that before the clip; the gradients stepped on have the limit."""
    distiller = Distiller(3, 2, DistillationConfig(**_SMALL, grad_clip_norm=0.01), 0)
    metrics = distiller.update(_batch())
    clipped = torch.cat([p.grad.flatten() for p in distiller.online.parameters()]).norm()
    assert metrics["grad_norm"] > 0.02
    assert float(clipped) == pytest.approx(0.01, rel=1e-3)


def test_observations_seen_are_normalised_and_the_average_shares_the_statistics():
    """Both normalisers hold the mean of the batches; the averaged networks copy the buffers."""
    distiller = Distiller(3, 2, DistillationConfig(**_SMALL), 0)
    batches = [_batch(0), _batch(1)]
    for batch in batches:
        distiller.update(batch)
    expected = np.concatenate([b.observation for b in batches]).mean(0)
    for networks in (distiller.online, distiller.ema):
        for network in (networks.policy, networks.value):
            np.testing.assert_allclose(network.normalizer.mean, expected, rtol=1e-5)


def test_non_finite_loss_leaves_weights_and_optimiser_alone():
    """A NaN target skips the update, is counted, and the next good batch steps as if it had not been."""
    runs = []
    for with_broken in (False, True):
        distiller = Distiller(3, 2, DistillationConfig(**_SMALL), 0)
        distiller.update(_batch(0))
        if with_broken:
            parameters = [p.detach().clone() for p in distiller.online.parameters()]
            metrics = distiller.update(_broken(_batch(0)))
            assert np.isnan(metrics["value_loss"])
            assert (metrics["num_skipped_updates"], metrics["num_updates"]) == (1, 1)
            assert all(
                torch.equal(p, q) for p, q in zip(parameters, distiller.online.parameters(), strict=True)
            )
        runs.append(distiller)
    moments = [r.get_state()["optimizer"]["state"][0] for r in runs]
    assert torch.equal(moments[0]["exp_avg"], moments[1]["exp_avg"])
    assert float(moments[0]["step"]) == float(moments[1]["step"]) == 1.0


def test_broken_weights_roll_back_to_the_last_good_ones():
    """After `max_consecutive_skips` failures in a row the weights that last gave a finite loss come back."""
    distiller = Distiller(3, 2, DistillationConfig(**_SMALL, max_consecutive_skips=3), 0)
    start = [p.detach().clone() for p in distiller.online.parameters()]
    distiller.update(_batch(0))
    with torch.no_grad():
        distiller.online.policy.mlp[0].weight.fill_(float("nan"))
    rollbacks = [distiller.update(_batch(0))["num_rollbacks"] for _ in range(3)]
    assert rollbacks == [0, 0, 1]
    assert all(torch.equal(p, q) for p, q in zip(start, distiller.online.parameters(), strict=True))
    metrics = distiller.update(_batch(0))
    assert (metrics["num_updates"], metrics["num_skipped_updates"]) == (2, 3)
    assert np.isfinite(metrics["policy_loss"])


def test_separate_failures_do_not_roll_back():
    """Only failures in a row count: a good step in between starts the count anew."""
    distiller = Distiller(3, 2, DistillationConfig(**_SMALL, max_consecutive_skips=2), 0)
    for _ in range(3):
        distiller.update(_broken(_batch(0)))
        metrics = distiller.update(_batch(0))
    assert (metrics["num_skipped_updates"], metrics["num_rollbacks"]) == (3, 0)


def test_restored_state_goes_on_bit_for_bit():
    """Weights, moments, draws and counters continue where the saved ones would have."""
    config = DistillationConfig(**_SMALL, objective="consistency")
    distiller = Distiller(3, 2, config, 0)
    distiller.update(_batch(0))
    state = distiller.get_state()
    distiller.update(_batch(1))
    restored = Distiller(3, 2, config, 99)
    restored.set_state(state)
    metrics = restored.update(_batch(1))
    _assert_equal(_weights(distiller), _weights(restored))
    assert metrics["num_updates"] == 2


def test_group_average_comes_before_the_decision():
    """The step uses what `average_fn` makes of gradients and losses: NaN from elsewhere skips it here too."""

    def average_with_broken(tensors: list[torch.Tensor]) -> None:
        for tensor in tensors:
            tensor.fill_(float("nan"))

    distiller = Distiller(3, 2, DistillationConfig(**_SMALL), 0, average_fn=average_with_broken)
    metrics = distiller.update(_batch(0))
    assert np.isnan(metrics["policy_loss"])
    assert (metrics["num_updates"], metrics["num_skipped_updates"]) == (0, 1)


def test_effective_sample_size_is_reported():
    """The metric is the mean over states of the log effective sample size of the weights."""
    batch = _batch()
    weights = np.exp(batch.log_probs)
    metrics = Distiller(3, 2, DistillationConfig(**_SMALL), 0).update(batch)
    expected = -np.log((weights**2).sum(-1)).mean()
    assert metrics["log_effective_sample_size"] == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    ("objective", "num_updates", "tolerance"),
    [("endpoint", 300, 0.03), ("energy", 300, 0.1), ("consistency", 600, 0.2)],
)
def test_one_step_samples_learn_the_masses_of_two_modes(objective, num_updates, tolerance):
    """Learns: two actions of masses 0.3 and 0.7 that swap with the observation, sampled in one step."""
    config = DistillationConfig(
        objective=objective,
        hidden_sizes=(64, 64),
        num_noises=4,
        num_noise_levels=12,
        ode_solver="heun",
        learning_rate=3e-3,
        ema_decay=0.9,
        zero_noise_fraction=0.0,  # the mean of two modes lies between them
    )
    distiller = Distiller(1, 2, config, 0)
    observation = np.tile([[-1.0], [1.0]], (64, 1)).astype(np.float32)
    masses = np.where(observation < 0, [[0.3, 0.7]], [[0.7, 0.3]]).astype(np.float32)
    modes = np.array([[0.6, -0.5], [-0.4, 0.5]], np.float32)
    batch = ReferenceSet(
        observation=observation,
        actions=np.tile(modes, (128, 1, 1)),
        log_probs=np.log(masses),
        log_proposals=np.zeros_like(masses),
        value=np.zeros(128, np.float32),
        policy_value=observation[:, 0],
        policy_version=0,
    )
    for _ in range(num_updates):
        distiller.update(batch)
    for state, mass in ((-1.0, 0.3), (1.0, 0.7)):
        inputs = torch.full((4000, 1), state)
        samples = distiller.ema.policy.act(inputs, 1, 1.0, torch.Generator().manual_seed(0))
        distance = torch.cdist(samples, torch.from_numpy(modes))
        assert float((distance.argmin(-1) == 0).float().mean()) == pytest.approx(mass, abs=0.06)
        assert float(distance.amin(-1).median()) < tolerance
        assert float(distiller.ema.value.value(inputs[:1])) == pytest.approx(state, abs=0.1)


def test_value_solves_the_bellman_equation_of_the_transitions():
    """Values bootstrap from themselves: two states that lead to each other reach the closed form.

    `V(0) = 1 + 0.5 V(1)`, `V(1) = 4 + 0.8 V(0)`: `V(0) = 5`, `V(1) = 8`. `policy_value` plays no part.
    """
    config = DistillationConfig(hidden_sizes=(64,), num_noises=1, batch_size=64, ema_decay=0.9)
    distiller = Distiller(3, 2, config, 0)
    is_second = np.arange(64) % 2 == 1
    states = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]], np.float32)
    ends = NStepTransitions(
        observation=np.tile(states[is_second.astype(int)][:, None], (1, 2, 1)),
        reward=np.tile(np.where(is_second, 4.0, 1.0)[:, None], (1, 2)).astype(np.float32),
        discount=np.tile(np.where(is_second, 0.8, 0.5)[:, None], (1, 2)).astype(np.float32),
        next_observation=np.tile(states[1 - is_second.astype(int)][:, None], (1, 2, 1)),
    )
    batch = dataclasses.replace(
        _batch(num_states=64),
        observation=ends.observation[:, 0],
        policy_value=np.full(64, -30.0, np.float32),
        transitions=ends,
    )
    for _ in range(400):
        distiller.update(batch)
    value = distiller.ema.value.value(torch.from_numpy(states))
    np.testing.assert_allclose(value.detach().numpy(), [5.0, 8.0], atol=0.15)


def test_every_transition_takes_part():
    """States that stand first, second and last among the stretches all learn their own value."""
    config = DistillationConfig(hidden_sizes=(64,), num_noises=1)
    distiller = Distiller(3, 2, config, 0)
    batch = _batch(num_states=64)
    starts = np.tile(np.eye(3, dtype=np.float32)[None], (64, 1, 1))
    batch = dataclasses.replace(
        batch,
        transitions=NStepTransitions(
            starts,
            np.tile(np.array([1.0, 2.0, 3.0], np.float32), (64, 1)),
            np.zeros((64, 3), np.float32),
            starts,
        ),
    )
    for _ in range(600):
        distiller.update(batch)
    value = distiller.ema.value.value(torch.eye(3)).detach().numpy()
    np.testing.assert_allclose(value, [1.0, 2.0, 3.0], atol=0.15)
