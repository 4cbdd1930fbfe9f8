import dataclasses
import itertools

import numpy as np
import pytest
from toy_simulator import STEP, LinearPolicy, PointMassSimulator

from actors.operators.config import RootBanditConfig
from actors.operators.root_bandit import RootBandit

CONFIG = RootBanditConfig(
    num_candidates=8,
    num_perturbed=3,
    ascent_steps=(),
    horizon_steps=5,
    hold_steps=2,
    target_kl=1.0,
    discount=0.9,
)


def _improve(states, config=CONFIG, policy=None, seed=0, **simulator_settings):
    states = np.asarray(states, np.float64)
    simulator = PointMassSimulator(states.shape[1], **simulator_settings)
    bandit = RootBandit(simulator, config)
    reference_set = bandit.improve(
        states.astype(np.float32), states, policy or LinearPolicy(), np.random.default_rng(seed), 3
    )
    return reference_set, bandit, simulator


def _slow_return(position, actions_of_step, policy, discount, limit=np.inf):
    """One trajectory in plain Python, from the actions taken."""
    total, weight = 0.0, 1.0
    for action in actions_of_step:
        position = position + STEP * action.astype(np.float64)
        total += weight * -np.square(position).sum()
        weight *= discount
        if np.abs(position).max() > limit:
            return total
    return total + weight * float(policy.value(position.astype(np.float32)[None])[0])


def _q_values(states, config, seed, policy, **simulator_settings):
    """Q of a bandit by the slow loop over the actions that its simulator saw. Shape `[B, N]`, one round."""
    reference_set, _, simulator = _improve(states, config, policy, seed, **simulator_settings)
    num_states, num_candidates, _ = reference_set.actions.shape
    taken = np.stack(simulator.actions, axis=1)  # [M, H, A]
    num_rollouts = config.rollouts_per_round[0]
    taken = taken.reshape(num_states, num_candidates, num_rollouts, *taken.shape[1:])
    slow = np.empty((num_states, num_candidates, num_rollouts))
    for index in np.ndindex(slow.shape):
        limit = simulator_settings.get("limit", np.inf)
        slow[index] = _slow_return(
            np.array(states[index[0]], np.float64), taken[index], policy, config.discount, limit
        )
    return reference_set, slow


STATES = np.array([[0.55, -0.3], [-0.2, 0.6], [0.0, 0.1], [0.58, 0.5]])


@pytest.mark.parametrize("limit", [np.inf, 0.62])
def test_values_agree_with_a_slow_loop(limit):
    """Weights and values are those of returns computed one trajectory at a time, terminations included."""
    reference_set, slow = _q_values(STATES, CONFIG, 1, LinearPolicy(gain=-1.0), limit=limit)
    q_values = slow[:, :, 0]
    log_probs = reference_set.log_probs.astype(np.float64)
    # log p = Q / eta + constant: the ratio of differences of Q and of log p is the temperature of the state.
    differences_q = q_values - q_values[:, :1]
    differences_p = log_probs - log_probs[:, :1]
    eta = (differences_q * differences_p).sum(1) / np.square(differences_p).sum(1)
    np.testing.assert_allclose(differences_p * eta[:, None], differences_q, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        (np.exp(log_probs) * (log_probs + np.log(8))).sum(axis=1), CONFIG.target_kl, rtol=1e-5
    )
    np.testing.assert_allclose(reference_set.value, (np.exp(log_probs) * q_values).sum(1), rtol=1e-5)
    np.testing.assert_allclose(reference_set.policy_value, q_values[:, 0], rtol=1e-5)


def test_reference_set_keeps_the_contract():
    """The result is a valid reference set in the mass convention, with version and shapes."""
    reference_set, _, _ = _improve(STATES)
    reference_set.validate()
    assert reference_set.policy_version == 3 and reference_set.convention == "mass"
    assert reference_set.actions.shape == (4, 8, 2) and reference_set.actions.dtype == np.float32


def test_one_simulator_call_for_each_step_of_a_round():
    """A round over all states and candidates is as many calls as it has steps."""
    config = dataclasses.replace(CONFIG, rollouts_per_round=(2, 4), noisy_rollout_share=0.5)
    _, bandit, simulator = _improve(STATES, config)
    assert simulator.num_calls == [4 * 8 * 2] * 5 + [4 * 4 * 4] * 5
    assert bandit.last_search.simulator_steps == sum(simulator.num_calls)


def test_first_candidate_is_the_zero_noise_action():
    """The first candidate is the policy's zero-noise action, the last ones are perturbed."""
    config = dataclasses.replace(CONFIG, num_candidates=4, num_perturbed=3, perturbation_scales=(1e-3, 0.1))
    reference_set, _, _ = _improve([[0.5, -0.25]], config)
    distance = np.abs(reference_set.actions[0] - [[-0.5, 0.25]]).max(axis=1)
    assert distance[0] == 0.0
    assert distance[1] < 0.01 < distance[2] and distance[3] < 0.01


def test_perturbation_is_held_exactly():
    """A perturbed candidate adds the same noise for `hold_steps`, and nothing afterwards."""
    config = dataclasses.replace(CONFIG, horizon_steps=6, hold_steps=3, perturbation_scales=(0.2,))
    policy = LinearPolicy(gain=0.0)
    reference_set, _, simulator = _improve([[0.1, 0.2]], config, policy)
    taken = np.stack(simulator.actions, axis=1)  # [N, H, A], with a policy that always acts 0
    for step in range(3):
        np.testing.assert_array_equal(taken[5:, step], reference_set.actions[0, 5:])
    np.testing.assert_array_equal(taken[1:5, 0], reference_set.actions[0, 1:5])
    np.testing.assert_array_equal(taken[:5, 1:], 0.0)
    np.testing.assert_array_equal(taken[:, 3:], 0.0)
    assert np.abs(taken[5:, :3]).min() > 0.0


def test_noisy_rollouts_share():
    """Half of the rollouts of each candidate are noisy from the second step on; first actions agree."""
    config = dataclasses.replace(CONFIG, rollouts_per_round=(4,), noisy_rollout_share=0.5)
    reference_set, _, simulator = _improve([[0.1, 0.2]], config, LinearPolicy(gain=0.0))
    taken = np.stack(simulator.actions, axis=1).reshape(8, 4, 5, 2)
    np.testing.assert_array_equal(taken[:, :, 0], np.repeat(reference_set.actions[0][:, None], 4, axis=1))
    np.testing.assert_array_equal(taken[:5, :2, 1:], 0.0)
    assert np.abs(taken[:5, 2:, 1:]).min() > 0.0
    np.testing.assert_array_equal(taken[5:, :2, 2:], 0.0)
    assert np.abs(taken[5:, 2:, 2:]).min() > 0.0
    # A perturbed candidate holds its own perturbation over the first segment, noisy rollout or not.
    np.testing.assert_array_equal(taken[5:, :, 1], taken[5:, :, 0])
    # Held: steps 2 and 3 share a draw, step 4 has another one.
    np.testing.assert_array_equal(taken[:, :, 2], taken[:, :, 3])
    assert (taken[:, 2:, 3] != taken[:, 2:, 4]).all()


def test_policy_value_excludes_all_other_candidates_and_noisy_rollouts():
    """The policy's value is the return of its zero-noise action without noise."""
    config = dataclasses.replace(CONFIG, rollouts_per_round=(4,), noisy_rollout_share=0.5, rollout_scale=0.8)
    reference_set, slow = _q_values(STATES, config, 2, LinearPolicy())
    np.testing.assert_allclose(reference_set.policy_value, slow[:, 0, 0], rtol=1e-5)
    np.testing.assert_allclose(reference_set.policy_value, slow[:, 0, 1], rtol=1e-5)
    assert (np.abs(slow.mean(axis=(1, 2)) - reference_set.policy_value) > 1e-4).all()


def test_policy_value_is_the_true_value_of_the_policy():
    """With one own candidate and an exact value function, `policy_value` is the policy's own value.

    Perturbed candidates are better at some of these states and worse at others, and play no part.

    For `a = -x` the position decays by 0.9 a step, so `V(x) = -0.81 |x|^2 / (1 - 0.81 discount)`.
    """
    config = dataclasses.replace(CONFIG, num_candidates=4, num_perturbed=3)
    policy = LinearPolicy(weight=0.81 / (1 - 0.81 * 0.9))
    reference_set, _, _ = _improve(STATES[:3], config, policy)
    expected = -policy.weight * np.square(STATES[:3]).sum(axis=1)
    np.testing.assert_allclose(reference_set.policy_value, expected, rtol=1e-5)


def test_halving_spends_later_rounds_on_the_best():
    """The second round rolls out the better half of the first, and values are means over all rollouts."""
    config = dataclasses.replace(CONFIG, rollouts_per_round=(2, 2), noisy_rollout_share=0.5)
    reference_set, _, simulator = _improve(STATES[:1], config)
    policy = LinearPolicy()
    first = np.stack(simulator.actions[:5], axis=1).reshape(8, 2, 5, 2)
    second = np.stack(simulator.actions[5:], axis=1).reshape(4, 2, 5, 2)
    start = STATES[0]
    q_first = np.array([[_slow_return(start, plan, policy, 0.9) for plan in plans] for plans in first])
    best = np.sort(np.argsort(-q_first.mean(axis=1))[:4])
    np.testing.assert_array_equal(second[:, 0, 0], reference_set.actions[0, best])
    q_values = q_first.mean(axis=1)
    q_second = np.array([[_slow_return(start, plan, policy, 0.9) for plan in plans] for plans in second])
    q_values[best] = np.concatenate([q_first[best], q_second], axis=1).mean(axis=1)
    np.testing.assert_allclose(
        reference_set.value[0], (np.exp(reference_set.log_probs[0]) * q_values).sum(), rtol=1e-5
    )
    assert np.argmax(reference_set.log_probs[0]) == np.argmax(q_values)


ASCENT = dataclasses.replace(CONFIG, num_candidates=12, num_perturbed=6, ascent_steps=(0.2, 0.5, 1.0))


def test_ascent_candidates_lie_along_the_fitted_direction():
    """The last candidates are steps along the line that least squares fits to the perturbed ones.

    The fit here is numpy's `lstsq` on the augmented system of ridge regression, one state at a time.
    """
    reference_set, _, simulator = _improve(STATES, ASCENT, seed=3)
    first = np.stack(simulator.actions[:5], axis=1).reshape(4, 9, 5, 2)
    slow = np.array(
        [[_slow_return(s, plan, LinearPolicy(), 0.9) for plan in plans] for s, plans in zip(STATES, first)]
    )
    fitted = [0, *range(3, 9)]
    for actions, q_values in zip(reference_set.actions, slow):
        displacements = actions[fitted].astype(np.float64) - actions[0]
        x = displacements - displacements.mean(axis=0)
        q = q_values[fitted] - q_values[fitted].mean()
        augmented = np.concatenate([x, np.sqrt(0.1) * np.eye(2)])
        slope = np.linalg.lstsq(augmented, np.append(q, np.zeros(2)), rcond=None)[0]
        steps = np.array(ASCENT.ascent_steps)[:, None] * slope / np.abs(slope).max()
        np.testing.assert_allclose(actions[9:], np.clip(actions[0] + steps, -1.0, 1.0), atol=1e-5)


def test_ascent_candidates_are_held_and_valued_as_the_others():
    """Second-round candidates are held like perturbations; p* weighs all by their returns."""
    reference_set, _, simulator = _improve(STATES, ASCENT, LinearPolicy(gain=0.0))
    assert simulator.num_calls == [4 * 9] * 5 + [4 * 3] * 5
    second = np.stack(simulator.actions[5:], axis=1).reshape(4, 3, 5, 2)
    for step in range(2):
        np.testing.assert_array_equal(second[:, :, step], reference_set.actions[:, 9:])
    np.testing.assert_array_equal(second[:, :, 2:], 0.0)
    first = np.stack(simulator.actions[:5], axis=1).reshape(4, 9, 5, 2)
    taken = np.concatenate([first, second], axis=1)
    slow = np.array(
        [[_slow_return(s, plan, LinearPolicy(), 0.9) for plan in plans] for s, plans in zip(STATES, taken)]
    )
    np.testing.assert_allclose(
        reference_set.value, (np.exp(reference_set.log_probs) * slow).sum(axis=1), rtol=1e-5
    )


def test_ascent_improves_on_random_candidates():
    """At equal cost the best candidate is better with a second round than without, on a smooth problem."""
    values = {}
    for ascent_steps in ((), (0.2, 0.5, 1.0)):
        config = dataclasses.replace(
            ASCENT, num_perturbed=11 - len(ascent_steps), ascent_steps=ascent_steps, target_kl=50.0
        )
        runs = [_improve(STATES, config, LinearPolicy(gain=0.0), seed)[0].value for seed in range(30)]
        values[ascent_steps] = np.mean(runs, axis=0)
    assert (values[(0.2, 0.5, 1.0)] > values[()]).all()


def test_states_do_not_leak():
    """Changing one state of the batch changes nothing in the others."""
    moved = STATES.copy()
    moved[1] = [-0.9, 0.9]
    before, _, _ = _improve(STATES, limit=0.62)
    after, _, _ = _improve(moved, limit=0.62)
    others = [0, 2, 3]
    for name in ("actions", "log_probs", "value", "policy_value"):
        np.testing.assert_array_equal(getattr(before, name)[others], getattr(after, name)[others])
    assert before.value[1] != after.value[1]


def test_permuted_states_give_permuted_values():
    """With candidates that hold no noise to speak of, permuting the states permutes the result."""
    config = dataclasses.replace(CONFIG, num_candidates=2, num_perturbed=1, perturbation_scales=(1e-30,))
    states, order = STATES + 0.01, [2, 0, 3, 1]
    straight, _, _ = _improve(states, config)
    permuted, _, _ = _improve(states[order], config)
    np.testing.assert_array_equal(straight.value[order], permuted.value)
    np.testing.assert_array_equal(straight.actions[order], permuted.actions)


def test_same_seed_gives_the_same_set():
    """A seed settles every bit; another seed gives another set."""
    first, _, _ = _improve(STATES, seed=5)
    again, _, _ = _improve(STATES, seed=5)
    other, _, _ = _improve(STATES, seed=6)
    for name in ("actions", "log_probs", "value", "policy_value"):
        np.testing.assert_array_equal(getattr(first, name), getattr(again, name))
    assert (first.actions[:, 1:] != other.actions[:, 1:]).any()


def test_more_candidates_do_not_lower_the_greedy_value():
    """On an exact bandit the expected value of the best candidate rises with the number of candidates."""
    means = []
    for num_candidates in (2, 4, 16):
        config = dataclasses.replace(CONFIG, num_candidates=num_candidates, num_perturbed=0, target_kl=50.0)
        values = [_improve(STATES, config, seed=seed)[0].value.mean() for seed in range(40)]
        means.append((np.mean(values), np.std(values) / np.sqrt(len(values))))
    for (fewer, fewer_error), (more, more_error) in itertools.pairwise(means):
        assert more - fewer > 3.0 * (fewer_error + more_error)


def test_diverged_candidates_get_no_mass():
    """Candidates that diverge have no mass, the others share it, and the values leave them out."""
    states = np.array([[0.98, 0.0]])
    policy = LinearPolicy(gain=0.0)  # zero-noise action 0 never crosses the poisonous line at 1
    config = dataclasses.replace(CONFIG, num_candidates=32, num_perturbed=0)
    reference_set, bandit, _ = _improve(states, config, policy, poison=1.0)
    is_diverged = reference_set.actions[0, :, 0] * STEP + 0.98 > 1.0
    assert 0 < is_diverged.sum() < 32
    np.testing.assert_array_equal(np.isneginf(reference_set.log_probs[0]), is_diverged)
    reference_set.validate()
    np.testing.assert_allclose(bandit.last_search.diverged_fraction, is_diverged.mean())


def test_state_without_a_sound_candidate_is_marked():
    """Where everything diverges the values are NaN; the other states are as they would be alone."""
    reference_set, _, _ = _improve([[5.0, 0.0], [0.2, 0.0]], poison=1.0)
    np.testing.assert_array_equal(np.isnan(reference_set.value), [True, False])
    np.testing.assert_array_equal(np.isnan(reference_set.policy_value), [True, False])
    np.testing.assert_allclose(np.exp(reference_set.log_probs).sum(axis=1), 1.0, rtol=1e-5)


def test_diagnostics_describe_the_search():
    """The diagnostics are those of the weights that came back."""
    reference_set, bandit, _ = _improve(STATES)
    weights = np.exp(reference_set.log_probs.astype(np.float64))
    found = bandit.last_search
    np.testing.assert_allclose(found.kl, 1.0, atol=1e-6)
    np.testing.assert_allclose(found.effective_sample_size, (1 / (weights**2).sum(1)).mean(), rtol=1e-5)
    np.testing.assert_allclose(found.perturbed_mass, weights[:, 5:].sum(1).mean(), rtol=1e-5)
    np.testing.assert_allclose(
        found.improvement, (reference_set.value - reference_set.policy_value).mean(), rtol=1e-4
    )


def test_seconds_become_steps():
    """A horizon and a hold in seconds are rounded to steps; steps override seconds."""
    config = RootBanditConfig(horizon_sec=0.42, hold_sec=0.01)
    bandit = RootBandit(PointMassSimulator(), config)
    assert (bandit.horizon_steps, bandit.hold_steps) == (4, 1)
    bandit = RootBandit(PointMassSimulator(), dataclasses.replace(config, horizon_steps=7, hold_steps=3))
    assert (bandit.horizon_steps, bandit.hold_steps) == (7, 3)


def test_unknown_timestep_needs_steps():
    """Where the simulator does not know its time step, the settings must be in steps."""
    with pytest.raises(ValueError, match="`horizon_steps` and `hold_steps` must be given"):
        RootBandit(PointMassSimulator(timestep=None), RootBanditConfig())
    RootBandit(PointMassSimulator(timestep=None), CONFIG)


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(num_candidates=0), "`num_candidates` must be an integer of at least 1, got 0"),
        (
            dict(num_perturbed=16),
            r"`num_perturbed` must be within 0 to num_candidates - len\(ascent_steps\) - 1 = 11, got 16",
        ),
        (dict(perturbation_scales=()), "`perturbation_scales` must hold at least one"),
        (dict(perturbation_scales=(0.1, -0.3)), "`perturbation_scales` must be positive, got -0.3"),
        (dict(num_perturbed=0), "`ascent_steps` must be empty without perturbed candidates"),
        (dict(ascent_steps=(0.5, 0.0)), "`ascent_steps` must be positive, got 0.0"),
        (dict(num_transitions=0), "`num_transitions` must be an integer of at least 1, got 0"),
        (dict(horizon_sec=0.0), "`horizon_sec` must be positive, got 0.0"),
        (dict(hold_steps=0), "`hold_steps` must be an integer of at least 1, got 0"),
        (dict(discount=1.5), r"`discount` must be within \[0, 1\], got 1.5"),
        (dict(target_kl=-1.0), "`target_kl` must be positive, got -1.0"),
        (dict(rollouts_per_round=()), "`rollouts_per_round` must hold at least one round"),
        (dict(rollouts_per_round=(1, 2)), r"`rollouts_per_round` must be \(1,\) while no rollout is noisy"),
        (dict(noisy_rollout_share=1.0), r"`noisy_rollout_share` must be within \[0, 1\), got 1.0"),
    ],
)
def test_bad_settings_are_named(settings, message):
    """Each wrong setting is refused by name, with what was expected and what came."""
    with pytest.raises(ValueError, match=message):
        RootBanditConfig(**settings)


def test_lists_become_tuples():
    """Settings from YAML come as lists and are stored as tuples, so that configurations compare equal."""
    settings = RootBanditConfig(perturbation_scales=[0.1, 0.3], rollouts_per_round=[1], ascent_steps=[1.0])
    expected = RootBanditConfig(perturbation_scales=(0.1, 0.3), rollouts_per_round=(1,), ascent_steps=(1.0,))
    assert settings == expected
