import dataclasses
import functools
import math

import numpy as np
import pytest
import torch

from distill_rl.algorithms.offline_config import OFFLINE_METHODS
from distill_rl.policies.consistency import ConsistencyPolicy
from distill_rl.policies.diffusion import DiffusionPolicy
from distill_rl.policies.gaussian import GaussianPolicy
from learners.offline import trainer as trainer_module
from learners.offline.config import LearningConfig
from learners.offline.trainer import OfflineTrainer
from learners.offline.transitions import TransitionBatch
from learners.offline.values import ascend_values, critic_reference_set, temporal_difference_targets

_METHODS = list(OFFLINE_METHODS)
_WITH_CRITIC = ["consistency_ac", "diffusion_ql", "critic_distill"]
_ASCENDING = ("critic_distill", {"ascent_distance": 0.3, "num_critics": 3})
_VARIANTS = [*((method, {}) for method in _METHODS), _ASCENDING]
_SMALL = {"hidden_sizes": (8,), "batch_size": 16, "num_references": 4, "num_reference_states": 8}

_BETTER, _WORSE = np.array([[0.6, -0.5], [-0.4, 0.5]], np.float32)
# Of the bandit: few updates of small networks, and steep learning.
_BANDIT = {"batch_size": 128, "learning_rate": 3e-3, "critic_learning_rate": 3e-3, "num_references": 8} | {
    "curriculum_updates": 20_000,
    "ema_start_updates": 50,
    "ema_interval_updates": 1,
    "ema_decay": 0.98,
}
_NUM_UPDATES = {"gaussian_bc": 150, "consistency_bc": 300, "diffusion_bc": 300} | dict.fromkeys(
    _WITH_CRITIC, 200
)


def _config(method: str, **options) -> LearningConfig:
    return LearningConfig(**{**OFFLINE_METHODS[method].method_options, **_SMALL, **options})


def _make(method: str, seed: int = 0, **options) -> OfflineTrainer:
    return OfflineTrainer(3, 2, _config(method, **options), seed)


def _batch(seed: int = 0) -> TransitionBatch:
    generator = np.random.default_rng(seed)
    return TransitionBatch(
        observation=generator.normal(size=(16, 3)).astype(np.float32),
        action=generator.uniform(-1, 1, (16, 2)).astype(np.float32),
        reward=generator.normal(size=16).astype(np.float32),
        next_observation=generator.normal(size=(16, 3)).astype(np.float32),
        is_terminal=(np.arange(16) % 4 == 0).astype(np.float32),
    )


def _weights(trainer: OfflineTrainer) -> dict[str, torch.Tensor]:
    both = {"online": trainer.online, "ema": trainer.ema}
    return {f"{n}.{k}": v.clone() for n, net in both.items() for k, v in net.state_dict().items()}


def _assert_equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> None:
    assert one.keys() == other.keys()
    for name in one:
        assert torch.equal(one[name], other[name]), name


def _grads(network: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in network.parameters()])


@functools.cache
def _bandit(method: str) -> tuple[torch.Tensor, OfflineTrainer]:
    """Trains on two actions, each taken half of the time, of which one is worth 1 and the other nothing.

    Returns:
      Distances of the averaged policy's samples from the better and the worse action `[2000, 2]`, and the
      trainer.
    """
    own = {"hidden_sizes": (32, 32) if method in _WITH_CRITIC else (64, 64)}
    own |= {"q_weight": 3.0} if method == "consistency_ac" else {}
    config = LearningConfig(**{**OFFLINE_METHODS[method].method_options, **_BANDIT, **own})
    trainer, generator = OfflineTrainer(1, 2, config, 0), np.random.default_rng(0)
    for _ in range(_NUM_UPDATES[method]):
        is_better = generator.random((128, 1)) < 0.5
        action = np.where(is_better, _BETTER, _WORSE) + generator.normal(0.0, 0.05, (128, 2))
        observation = generator.normal(size=(128, 1))
        trainer.update(TransitionBatch(observation, action, is_better[:, 0] * 1.0, observation, np.ones(128)))
    observation = torch.randn(2_000, 1, generator=torch.Generator().manual_seed(0))
    samples = trainer.ema.policy.act(
        observation, config.num_sampling_steps, 1.0, torch.Generator().manual_seed(1)
    )
    return torch.cdist(samples, torch.from_numpy(np.stack([_BETTER, _WORSE]))), trainer


def _near(distance: torch.Tensor) -> float:
    """Returns the share of the samples that are near one of the two actions."""
    return float((distance.amin(dim=-1) < 0.3).float().mean())


def _share(distance: torch.Tensor) -> float:
    """Returns the share of the samples that are nearer to the better action."""
    return float((distance[:, 0] < distance[:, 1]).float().mean())


@pytest.mark.parametrize("method", ["consistency_bc", "diffusion_bc"])
def test_clones_of_generative_policies_keep_both_modes(method):
    """Learns: samples lie near the two actions of the data, and as often at one as at the other."""
    distance, _ = _bandit(method)
    assert _near(distance) > 0.45
    assert 0.35 < _share(distance) < 0.65


def test_a_gaussian_clone_mixes_the_modes():
    """Learns: its mean is between them, its deviation that of the data, and few samples lie near either."""
    distance, trainer = _bandit("gaussian_bc")
    assert _near(distance) < 0.25
    mean, log_std = trainer.ema.policy.parameters_of(torch.zeros(1, 1))
    np.testing.assert_allclose(mean.detach()[0], (_BETTER + _WORSE) / 2, atol=0.1)
    np.testing.assert_allclose(log_std.detach().exp()[0], abs(_BETTER - _WORSE) / 2, atol=0.1)


@pytest.mark.parametrize("method", _WITH_CRITIC)
def test_a_critic_makes_the_better_mode_preferred(method):
    """Learns: the critic tells the actions apart, and the policy leaves the data for the better one."""
    distance, trainer = _bandit(method)
    values = trainer.ema.critic(torch.zeros(2, 1), torch.from_numpy(np.stack([_BETTER, _WORSE])))
    np.testing.assert_allclose(values.amin(dim=0).detach(), [1.0, 0.0], atol=0.4)
    assert _share(distance) > 0.7


def test_the_distilled_policy_acts_well_without_noise():
    """Learns: at zero noise it gives the better action itself, where a clone has none to give."""
    _, trainer = _bandit("critic_distill")
    action = trainer.ema.policy.act(torch.linspace(-1.0, 1.0, 5)[:, None])
    assert float((action - torch.from_numpy(_BETTER)).norm(dim=-1).max()) < 0.3


@pytest.mark.parametrize(("method", "options"), _VARIANTS)
def test_same_seed_same_weights_and_the_global_generator_is_left_alone(method, options):
    """Every draw comes from the seed; nothing depends on or disturbs torch's global state."""
    runs = []
    for seed in (7, 7, 8):
        torch.manual_seed(len(runs))
        before, trainer = torch.get_rng_state(), _make(method, seed, **options)
        for step in range(3):
            trainer.update(_batch(step))
        assert torch.equal(torch.get_rng_state(), before)
        runs.append(_weights(trainer))
    _assert_equal(runs[0], runs[1])
    assert not all(torch.equal(runs[0][name], runs[2][name]) for name in runs[0])


@pytest.mark.parametrize(
    ("method", "policy_type", "names"),
    [
        ("gaussian_bc", GaussianPolicy, {"behaviour_loss"}),
        ("consistency_bc", ConsistencyPolicy, {"behaviour_loss"}),
        ("diffusion_bc", DiffusionPolicy, {"behaviour_loss"}),
        ("consistency_ac", ConsistencyPolicy, {"behaviour_loss", "q_loss", "critic_loss", "q_value"}),
        ("diffusion_ql", DiffusionPolicy, {"behaviour_loss", "q_loss", "critic_loss", "q_value"}),
        ("critic_distill", ConsistencyPolicy, {"behaviour_loss", "policy_loss", "critic_loss", "q_value"}),
    ],
)
def test_each_method_has_its_networks_and_metrics(method, policy_type, names):
    """The kind of the policy, a critic or none, a model of the data or none; every loss is reported."""
    options = {"num_sampling_steps": 3, "num_behaviour_steps": 4, "sigma_max": 40.0, "backbone": "ln_resnet"}
    trainer = _make(method, **options)
    metrics = trainer.update(_batch())
    counters = {"num_updates", "num_skipped_updates", "num_rollbacks"}
    assert metrics.keys() == names | counters | {"grad_norm"}
    assert all(math.isfinite(value) for value in metrics.values())
    policy = trainer.online.policy
    assert type(policy) is policy_type and (policy.hidden_sizes, policy.backbone) == ((8,), "ln_resnet")
    assert getattr(policy, "sigma_max", 40.0) == 40.0
    assert getattr(policy, "num_diffusion_steps", 3) == 3
    assert (trainer.online.critic is not None) == (method in _WITH_CRITIC)
    assert (trainer.online.behaviour is not None) == (method == "critic_distill")
    if method == "critic_distill":
        assert trainer.online.behaviour.num_diffusion_steps == 4


@pytest.mark.parametrize(("method", "options"), _VARIANTS)
def test_every_network_learns_in_one_step(method, options):
    """Each weight is moved by Adam's first step, lr g / (|g| + eps), the critic's by its own rate."""
    trainer = _make(method, learning_rate=0.01, critic_learning_rate=0.002, grad_clip_norm=1e9, **options)
    before = {name: p.detach().clone() for name, p in trainer.online.named_parameters()}
    trainer.update(_batch())
    for name, new in trainer.online.named_parameters():
        rate = 0.002 if name.startswith("critic") else 0.01
        expected = before[name] - rate * new.grad / (new.grad.abs() + 1e-8)
        torch.testing.assert_close(new.detach(), expected)
        assert bool(new.grad.any()), name


@pytest.mark.parametrize("method", ["consistency_ac", "diffusion_ql"])
def test_the_policys_climb_leaves_the_critic_alone(method):
    """Whatever its weight, the critic's gradient is that of the temporal differences; the policy's is not."""
    trainers = [_make(method, q_weight=weight, grad_clip_norm=1e9) for weight in (0.0, 5.0)]
    for trainer in trainers:
        trainer.update(_batch())
        assert all(parameter.requires_grad for parameter in trainer.online.critic.parameters())
    still, climbing = (trainer.online for trainer in trainers)
    assert torch.equal(_grads(still.critic), _grads(climbing.critic))
    assert bool(_grads(still.critic).any())
    assert not torch.allclose(_grads(still.policy), _grads(climbing.policy), rtol=1e-2)


def test_the_critic_weight_scales_the_climb():
    """The policy's gradient is that of cloning plus `q_weight` times that of the climb."""
    grads = []
    for weight in (0.0, 1.0, 3.0):
        trainer = _make("diffusion_ql", q_weight=weight, grad_clip_norm=1e9)
        trainer.update(_batch())
        grads.append(_grads(trainer.online.policy))
    assert float((grads[1] - grads[0]).norm()) > 1e-2
    torch.testing.assert_close(grads[2] - grads[0], 3.0 * (grads[1] - grads[0]), rtol=1e-3, atol=1e-5)


def test_targets_and_reference_sets_come_from_the_averaged_networks(monkeypatch):
    """With the settings of the configuration, and reference sets for the first states of a batch only."""
    trainer = _make(
        "critic_distill",
        discount=0.7,
        max_q_backup_actions=3,
        normalize_q_targets=True,
        target_kl=0.4,
        num_reference_states=5,
    )
    calls = {}

    def recorded(name):
        function = getattr(trainer_module, name)

        def record(*arguments, **settings):
            calls.setdefault(name, []).append((arguments, settings))
            return function(*arguments, **settings)

        return record

    for name in ("temporal_difference_targets", "behaviour_candidates", "critic_reference_set"):
        monkeypatch.setattr(trainer_module, name, recorded(name))
    batch = _batch()
    trainer.update(batch)
    (arguments, settings), *others = calls["temporal_difference_targets"]
    assert arguments[1] is trainer.ema.policy and arguments[2] is trainer.ema.critic and not others
    assert (settings["discount"], settings["num_steps"]) == (0.7, 1)
    assert (settings["num_actions"], settings["is_normalized"]) == (3, True)
    (((observation, action, behaviour, num_candidates, _), _),) = calls["behaviour_candidates"]
    np.testing.assert_array_equal(observation, batch.observation[:5])
    np.testing.assert_array_equal(action, batch.action[:5])
    assert behaviour is trainer.ema.behaviour and num_candidates == 4
    ((arguments, _),) = calls["critic_reference_set"]
    assert arguments[2] is trainer.ema.critic and arguments[3] == 0.4


def test_moved_candidates_are_the_policys_alone(monkeypatch):
    """The policy is distilled from them, the one that bootstraps from the same ones where they were drawn."""
    sets, bootstrapping = [], []

    def record(observation, candidates, *arguments):
        sets.append(candidates)
        return critic_reference_set(observation, candidates, *arguments)

    def record_policy(batch, policy, *arguments, **settings):
        bootstrapping.append(policy)
        return temporal_difference_targets(batch, policy, *arguments, **settings)

    monkeypatch.setattr(trainer_module, "critic_reference_set", record)
    monkeypatch.setattr(trainer_module, "temporal_difference_targets", record_policy)
    trainer = _make(_ASCENDING[0], **_ASCENDING[1])
    assert type(trainer.online.backup_policy) is ConsistencyPolicy and trainer.online.critic.num_members == 3
    critic = {name: value.clone() for name, value in trainer.ema.critic.state_dict().items()}
    metrics = trainer.update(_batch())
    assert {"policy_loss", "backup_loss"} < metrics.keys()
    assert bootstrapping == [trainer.ema.backup_policy]
    moved, drawn = sets
    trainer.ema.critic.load_state_dict(critic)
    observation = torch.from_numpy(_batch().observation[:8])
    expected = ascend_values(observation, drawn, trainer.ema.critic, 0.3)
    torch.testing.assert_close(moved, expected)
    assert float((moved - drawn).norm(dim=-1).max()) > 0.2


def test_the_average_is_the_policy_at_first_and_then_follows_at_intervals():
    """Exact copies for 4 updates, then every third one moves it by 1 - 0.9; the critic's by 0.2 always."""
    options = {"ema_start_updates": 4, "ema_interval_updates": 3, "ema_decay": 0.9, "critic_ema_decay": 0.8}
    trainer = _make("critic_distill", learning_rate=0.01, **options)
    average = {name: p.clone() for name, p in trainer.ema.named_parameters()}
    for update in range(12):
        trainer.update(_batch(update))
        online = {name: p.detach().clone() for name, p in trainer.online.named_parameters()}
        for name, ema in trainer.ema.named_parameters():
            if name.startswith("critic"):
                average[name] = 0.8 * average[name] + 0.2 * online[name]
            elif update < 4:
                average[name] = online[name]
                assert torch.equal(ema, online[name]), (update, name)
            elif update % 3 == 0:
                average[name] = 0.9 * average[name] + 0.1 * online[name]
            torch.testing.assert_close(ema, average[name])
    assert not torch.allclose(average["policy.mlp.0.weight"], online["policy.mlp.0.weight"], atol=1e-3)


def test_all_step_sizes_fall_along_a_cosine():
    """Half of them half-way, for the critic's own size too; and nothing moves any more after the end."""
    trainer = _make("diffusion_ql", learning_rate_decay_updates=2, critic_learning_rate=1e-2)
    trainer.update(_batch(0)), trainer.update(_batch(1))
    sizes = [group["lr"] for group in trainer._optimizer.param_groups]
    assert sizes == pytest.approx([0.5 * trainer.config.learning_rate, 0.5e-2])
    before = {name: value.clone() for name, value in trainer.online.state_dict().items()}
    trainer.update(_batch(2)), trainer.update(_batch(3))
    _assert_equal(before, trainer.online.state_dict())


def test_each_network_is_clipped_on_its_own():
    """A limit between two norms scales the larger gradient to it, and leaves the other as it was."""
    free = _make("critic_distill", grad_clip_norm=1e9)
    joint = free.update(_batch())["grad_norm"]
    norms = {name: float(_grads(network).norm()) for name, network in free.online.named_children()}
    assert joint == pytest.approx(math.sqrt(sum(norm**2 for norm in norms.values())), rel=1e-4)
    low, middle, high = sorted(norms.values())
    limit = math.sqrt(middle * high)
    assert low > 1e-3 and limit < 0.95 * high
    clipped = _make("critic_distill", grad_clip_norm=limit)
    assert clipped.update(_batch())["grad_norm"] == joint
    for name, network in clipped.online.named_children():
        assert float(_grads(network).norm()) == pytest.approx(min(norms[name], limit), rel=1e-4)


def test_statistics_are_set_once_and_outlive_a_rollback():
    """Every network normalises by them, batches change nothing, and they come back with the weights."""
    trainer = _make("critic_distill", max_consecutive_skips=2)
    mean, var = np.array([1.0, -2.0, 3.0]), np.array([4.0, 0.5, 9.0])
    trainer.set_statistics(mean, var, 500)
    broken = dataclasses.replace(_batch(), action=np.full((16, 2), np.nan, np.float32))
    for num_rollbacks in (1, 2):  # before and after the first good update
        assert trainer.update(broken)["num_rollbacks"] == num_rollbacks - 1
        assert trainer.update(broken)["num_rollbacks"] == num_rollbacks
        trainer.update(_batch())
    for networks in (trainer.online, trainer.ema):
        assert len(list(networks.children())) == 3
        for network in networks.children():
            np.testing.assert_allclose(network.normalizer.mean, mean)
            np.testing.assert_allclose(network.normalizer.var, var)
            assert float(network.normalizer.count) == 500.0
    restored = _make("critic_distill", seed=1)
    restored.set_state(trainer.get_state())
    np.testing.assert_allclose(restored.online.critic.normalizer.mean, mean)


@pytest.mark.parametrize(("method", "options"), _VARIANTS)
def test_restored_state_goes_on_bit_for_bit(method, options):
    """Weights, moments, draws, averages and counters continue where the saved ones would have."""
    options = options | {"ema_start_updates": 2, "ema_interval_updates": 2}
    trainer = _make(method, **options)
    for step in range(3):
        trainer.update(_batch(step))
    state = trainer.get_state()
    metrics = [trainer.update(_batch(step)) for step in (3, 4)]
    restored = _make(method, seed=99, **options)
    restored.set_state(state)
    assert [restored.update(_batch(step)) for step in (3, 4)] == metrics
    _assert_equal(_weights(trainer), _weights(restored))
    assert metrics[-1]["num_updates"] == 5


@pytest.mark.parametrize("method", _METHODS)
def test_a_batch_that_is_not_finite_is_skipped(method):
    """It is counted, touches neither weights nor averages, and the next good batch steps again."""
    trainer = _make(method)
    trainer.update(_batch(0))
    before = _weights(trainer)
    broken = _batch(1)
    array = broken.reward if method in _WITH_CRITIC else broken.action
    array[3] = np.nan
    metrics = trainer.update(broken)
    assert (metrics["num_updates"], metrics["num_skipped_updates"]) == (1, 1)
    _assert_equal(_weights(trainer), before)
    metrics = trainer.update(_batch(2))
    assert (metrics["num_updates"], metrics["num_skipped_updates"]) == (2, 1)
    assert any(not torch.equal(tensor, before[name]) for name, tensor in _weights(trainer).items())


def test_it_goes_on_from_another_trainer_at_its_own_step_sizes():
    """Weights, averages, moments and the count are the other's; the limits of its steps are not."""
    other = _make("critic_distill", seed=3)
    for step in range(3):
        other.update(_batch(step))
    trainer = _make("critic_distill", learning_rate=1e-5, critic_learning_rate=2e-5)
    trainer.start_from(other.get_state())
    _assert_equal(_weights(trainer), _weights(other))
    assert trainer.num_updates == 3
    groups, others = trainer._optimizer.param_groups, other._optimizer.param_groups
    assert [group["lr"] for group in groups] == [1e-5, 1e-5, 2e-5]
    moments = [
        [trainer._optimizer.state[p]["exp_avg"] for group in of for p in group["params"]]
        for trainer, of in ((trainer, groups), (other, others))
    ]
    assert all(torch.equal(one, two) for one, two in zip(*moments, strict=True))


def test_it_does_not_go_on_from_what_it_cannot():
    """Other networks, and a trainer of another kind, are named."""
    trainer = _make("critic_distill")
    with pytest.raises(ValueError, match="networks of the checkpoint must be those configured"):
        trainer.start_from(_make("critic_distill", hidden_sizes=(9,)).get_state())
    with pytest.raises(ValueError, match=r"trainer of single actions, got \['networks', 'stage'\]"):
        trainer.start_from({"stage": 0, "networks": {}})
