import dataclasses

import mujoco
import numpy as np
import pytest
from dm_control.rl.control import PhysicsError
from toy_simulator import LinearPolicy, PointMassEnv, PointMassSimulator

from actors.operators.config import ActingConfig, RootBanditConfig
from actors.operators.root_bandit import RootBandit
from actors.search_actor import SearchActor

SEARCH = RootBanditConfig(
    num_candidates=6,
    num_perturbed=2,
    ascent_steps=(0.5,),
    horizon_steps=3,
    hold_steps=1,
    target_kl=1.0,
    discount=0.9,
)
FIELDS = ("observation", "actions", "log_probs", "value", "policy_value")


class RecordingBandit(RootBandit):
    """Remembers what it was asked and what it answered."""

    def __init__(self, *args):
        super().__init__(*args)
        self.answers = []

    def improve(self, *args, **kwargs):
        self.answers.append(super().improve(*args, **kwargs))
        return self.answers[-1]


FIXED = ActingConfig(mixed_fraction=0.0)


def _actor(envs, acting=FIXED, seed=0, **simulator_settings):
    simulator = PointMassSimulator(envs[0].action_space.shape[0], **simulator_settings)
    return SearchActor(envs, simulator, RecordingBandit(simulator, SEARCH), acting, seed)


def test_every_state_is_labelled():
    """A fragment holds one label for each environment step, of the state the action was taken in."""
    envs = [PointMassEnv(2, max_steps=7) for _ in range(3)]
    collected = _actor(envs).collect(LinearPolicy(), 10, policy_version=4)
    reference_set = collected.reference_set.validate()
    assert len(reference_set) == collected.num_env_steps == 30
    assert reference_set.policy_version == 4
    assert collected.num_simulator_steps == 30 * 6 * 3
    # Time first: within an episode an environment's states are linked by its actions.
    observation = reference_set.observation.reshape(10, 3, 2)
    for index, env in enumerate(envs):
        actions = np.stack(env.actions)
        moved = observation[:-1, index] + 0.1 * actions[:9]
        np.testing.assert_allclose(observation[1:7, index], moved[:6], atol=1e-6)
        assert (np.abs(observation[7, index] - moved[6]) > 1e-3).any()  # a new episode


def test_students_act_with_the_policy_and_search_from_the_candidates():
    """Half of the environments take the policy's action at its noise scale; the others take candidates."""
    envs = [PointMassEnv(1) for _ in range(4)]
    actor = _actor(envs, ActingConfig(student_fraction=0.5, student_noise_scale=0.0, mixed_fraction=0.0))
    actor.collect(LinearPolicy(), 5)
    num_students = 0
    for index, env in enumerate(envs):
        candidates = np.stack([answer.actions[index] for answer in actor.operator.answers])
        zero_noise = -np.stack([answer.observation[index] for answer in actor.operator.answers])
        taken = np.stack(env.actions)
        if np.array_equal(taken, zero_noise):
            num_students += 1
        else:
            assert (taken[:, None] == candidates).all(axis=-1).any(axis=1).all()
    assert num_students == 2


def test_student_noise_scale_is_passed_on():
    """The student's own actions are asked for at `student_noise_scale`, once a step, for its half."""
    policy = LinearPolicy()
    _actor(
        [PointMassEnv(1) for _ in range(2)], ActingConfig(student_noise_scale=0.25, mixed_fraction=0.0)
    ).collect(policy, 3)
    assert policy.noise_scales.count(0.25) == 3
    assert set(policy.noise_scales) == {0.0, 0.25, 1.0}


def test_episodes_are_recorded():
    """Returns, lengths and who acted are those of the environments' own episodes, across fragments."""
    envs = [PointMassEnv(1, max_steps=4, start=0.5) for _ in range(2)]
    actor = _actor(envs)
    policy = LinearPolicy()
    first = actor.collect(policy, 3)
    second = actor.collect(policy, 3)
    assert first.episodes == [] and len(second.episodes) == 2
    assert {record.acted_by for record in second.episodes} == {"search", "student"}
    for record, env in zip(second.episodes, envs, strict=True):
        positions = 0.5 + 0.1 * np.cumsum(np.concatenate(env.actions[:4]).astype(np.float64))
        np.testing.assert_allclose(record.episode_return, -np.square(positions).sum())
        assert record.num_steps == 4 and not record.terminated and record.duration_sec > 0.0


def test_termination_is_told_from_a_time_limit():
    """An episode that the environment ends is marked as terminated, and a new one starts."""
    envs = [PointMassEnv(1, limit=0.75, start=0.6)]
    collected = _actor(envs, ActingConfig(1.0, 0.0, mixed_fraction=0.0), limit=0.75).collect(
        LinearPolicy(gain=-1.0), 8
    )
    # 0.6 -> 0.66 -> 0.726 -> 0.7986: three steps.
    assert [record.num_steps for record in collected.episodes] == [3, 3]
    assert all(record.terminated for record in collected.episodes)
    np.testing.assert_allclose(collected.reference_set.observation[3], 0.6)


@pytest.mark.parametrize("failure", [None, PhysicsError("bad"), mujoco.FatalError("bad")])
def test_failed_physics_drops_the_episode(failure):
    """An exception of physics, or NaN, drops that episode's labels, is counted, and the run goes on."""
    bad = PointMassEnv(1, start=0.5, poison=0.65, failure=failure)
    envs = [bad, PointMassEnv(1, start=0.2)]
    actor = _actor(envs, ActingConfig(1.0, 0.0, mixed_fraction=0.0))
    collected = actor.collect(LinearPolicy(gain=-1.0), 7)
    # 0.5 -> 0.55 -> 0.605 -> 0.6655: the third step of an episode fails, twice in seven steps.
    assert collected.num_dropped_episodes == 2
    assert len(collected.reference_set.validate()) == 8  # seven of the sound one, one of the third episode
    assert (collected.reference_set.observation >= 0.5).sum() == 1
    assert collected.num_env_steps == 14
    assert len(actor.collect(LinearPolicy(gain=-1.0), 1).reference_set) == 2


def test_drop_keeps_labels_of_earlier_episodes():
    """Only the failed episode is dropped, not what its environment did before in the same fragment."""
    env = PointMassEnv(1, max_steps=2, start=0.2)
    actor = _actor([env], ActingConfig(1.0, 0.0, mixed_fraction=0.0))
    policy = LinearPolicy(gain=0.0)
    actor.collect(policy, 1)
    env._failure, env._start, env._simulator._poison = PhysicsError("bad"), 0.9, 0.8
    collected = actor.collect(policy, 4)
    np.testing.assert_allclose(collected.reference_set.observation, 0.2)
    assert (len(collected.reference_set), collected.num_dropped_episodes) == (1, 3)


def test_drop_reaches_back_to_the_start_of_the_fragment():
    """An episode that runs on from the last fragment loses all its labels in this one."""
    env = PointMassEnv(1, max_steps=3, start=0.2)
    actor = _actor([env], ActingConfig(1.0, 0.0, mixed_fraction=0.0))
    policy = LinearPolicy(gain=0.0)
    assert len(actor.collect(policy, 5).reference_set) == 5  # the second episode starts in step 3
    env._max_steps, env._failure = 10, PhysicsError("bad")
    env._simulator._poison = 0.25  # 0.2 -> 0.22 -> 0.242 -> 0.2662: the third step fails
    collected = actor.collect(LinearPolicy(gain=-1.0), 3)
    assert (len(collected.reference_set), collected.num_dropped_episodes) == (0, 1)


def test_search_without_a_sound_candidate_drops_the_episode():
    """A state whose every simulation diverges has no label; its episode is dropped."""
    envs = [PointMassEnv(1, start=0.9), PointMassEnv(1, start=0.1)]
    collected = _actor(envs, ActingConfig(0.0, mixed_fraction=0.0), poison=0.7).collect(LinearPolicy(), 2)
    assert collected.num_dropped_episodes == 2
    assert len(collected.reference_set.validate()) == 2
    assert (collected.reference_set.observation < 0.5).all()


def test_fragment_with_nothing_left_is_valid():
    """When every label is dropped the fragment is an empty, valid set."""
    collected = _actor([PointMassEnv(1, start=0.9)], poison=0.7).collect(LinearPolicy(), 2)
    assert len(collected.reference_set.validate()) == 0 and collected.num_dropped_episodes == 2


def test_faults_of_programs_are_not_swallowed():
    """An exception that is not of physics reaches the caller."""
    envs = [PointMassEnv(1, start=0.9, poison=0.5, failure=KeyError("bug"))]
    with pytest.raises(KeyError):
        _actor(envs).collect(LinearPolicy(), 1)


def _collect_twice(seed):
    actor = _actor([PointMassEnv(2, max_steps=5) for _ in range(3)], seed=seed)
    return [actor.collect(LinearPolicy(), 4) for _ in range(2)]


def test_seed_settles_everything():
    """The same seed gives the same labels and episodes; another one does not."""
    for first, again in zip(_collect_twice(1), _collect_twice(1), strict=True):
        for name in FIELDS:
            np.testing.assert_array_equal(
                getattr(first.reference_set, name), getattr(again.reference_set, name)
            )
        assert first.episodes == again.episodes and first.metrics == again.metrics
    other = _collect_twice(2)
    assert (other[0].reference_set.observation != _collect_twice(1)[0].reference_set.observation).all()


def test_state_restores_the_random_draws():
    """An actor restored from a state goes on as the one it was taken from, from new episodes."""
    actor = _actor([PointMassEnv(2, max_steps=3) for _ in range(3)], seed=1)
    actor.collect(LinearPolicy(), 3)  # all episodes end here
    state = actor.get_state()
    expected = actor.collect(LinearPolicy(), 4)
    restored = _actor([PointMassEnv(2, max_steps=3) for _ in range(3)], seed=9)
    restored.collect(LinearPolicy(), 2)
    restored.set_state(state)
    found = restored.collect(LinearPolicy(), 4)
    for name in FIELDS:
        np.testing.assert_array_equal(
            getattr(expected.reference_set, name), getattr(found.reference_set, name)
        )


def test_state_of_another_number_of_environments_is_refused():
    """A state belongs to actors with as many environments."""
    state = _actor([PointMassEnv(1)]).get_state()
    with pytest.raises(ValueError, match="`state` must be of 2 environments, got 1"):
        _actor([PointMassEnv(1), PointMassEnv(1)]).set_state(state)


@pytest.mark.parametrize("num_envs, fraction", [(1, 0.5), (3, 0.5), (4, 0.25), (2, 0.3), (2, 0.0), (2, 1.0)])
def test_student_share_of_steps(num_envs, fraction):
    """In the long run the student acts its fraction of the steps, whole number of environments or not."""
    envs = [PointMassEnv(1, max_steps=2) for _ in range(num_envs)]
    collected = _actor(envs, ActingConfig(student_fraction=fraction, mixed_fraction=0.0)).collect(
        LinearPolicy(), 80
    )
    students = sum(record.acted_by == "student" for record in collected.episodes)
    np.testing.assert_allclose(students / len(collected.episodes), fraction, atol=0.05)


def test_metrics_are_means_over_the_searches():
    """The fragment's metrics are the operator's diagnostics, averaged over its steps."""
    actor = _actor([PointMassEnv(2) for _ in range(2)])
    collected = actor.collect(LinearPolicy(), 4)
    sizes = [1 / np.square(np.exp(answer.log_probs)).sum(1) for answer in actor.operator.answers]
    np.testing.assert_allclose(collected.metrics["effective_sample_size"], np.mean(sizes), rtol=1e-5)
    assert set(collected.metrics) == set(dataclasses.asdict(actor.operator.last_search))


@pytest.mark.parametrize(
    "settings, message",
    [
        (dict(student_fraction=1.2), r"`student_fraction` must be within \[0, 1\], got 1.2"),
        (dict(student_noise_scale=-0.1), "`student_noise_scale` must not be negative, got -0.1"),
    ],
)
def test_bad_settings_are_named(settings, message):
    """Each wrong setting is refused by name."""
    with pytest.raises(ValueError, match=message):
        ActingConfig(**settings)


def test_bad_calls_are_named():
    """An actor needs an environment, and a fragment a step."""
    with pytest.raises(ValueError, match="`envs` must hold at least one environment"):
        SearchActor([], PointMassSimulator(), None)
    with pytest.raises(ValueError, match="`num_steps` must be at least 1, got 0"):
        _actor([PointMassEnv()]).collect(LinearPolicy(), 0)


def test_mixed_environments_change_hands_within_an_episode():
    """Segments last `mean_segment_steps` on average, the student acts its share, and the rest stay fixed."""
    envs = [PointMassEnv(1, max_steps=10_000) for _ in range(4)]
    config = ActingConfig(student_fraction=0.5, mixed_fraction=0.5, mean_segment_steps=4.0)
    actor = _actor(envs, config)
    acted = []
    for _ in range(400):
        actor.collect(LinearPolicy(), 1)
        acted.append([slot.is_student for slot in actor._slots])
    share, changes = np.mean(acted, axis=0), np.abs(np.diff(np.array(acted, int), axis=0)).mean(axis=0)
    assert sorted(share[:2]) == [0.0, 1.0] and not changes[:2].any()
    np.testing.assert_allclose(share[2:], 0.5, atol=0.15)
    # A redraw after every fourth step changes hands every second time.
    np.testing.assert_allclose(changes[2:], 1 / 8, atol=0.05)


def test_mixed_episodes_are_told_apart():
    """An episode acted by both counts for neither's return."""
    config = ActingConfig(mixed_fraction=1.0, mean_segment_steps=2.0)
    collected = _actor([PointMassEnv(1, max_steps=4)], config).collect(LinearPolicy(), 4)
    assert [record.acted_by for record in collected.episodes] == ["mixed"]


def test_mixed_environments_start_anew_early():
    """They are reset after the steps given, without a record; the others run to their end."""
    envs = [PointMassEnv(1, max_steps=20) for _ in range(2)]
    config = ActingConfig(mixed_fraction=0.5, mixed_episode_steps=6)
    collected = _actor(envs, config).collect(LinearPolicy(), 20)
    observation = collected.reference_set.observation.reshape(20, 2)
    for env, column, ends in ((envs[0], 0, []), (envs[1], 1, [5, 11, 17])):
        moved = observation[:-1, column] + 0.1 * np.concatenate(env.actions)[:19]
        jumps = np.abs(observation[1:, column] - moved) > 1e-5
        np.testing.assert_array_equal(np.flatnonzero(jumps), ends)
    assert [record.num_steps for record in collected.episodes] == [20]
    assert len(collected.reference_set) == collected.num_env_steps == 40


def test_episode_length_of_mixed_environments_is_checked():
    """A limit that is no positive integer is refused by name."""
    with pytest.raises(ValueError, match="`mixed_episode_steps` must be an integer of at least 1, got 0"):
        ActingConfig(mixed_episode_steps=0)


def test_search_interval_labels_some_states_and_holds_what_the_search_changed():
    """In between, the search acts as the policy plus its last difference, and the student as itself."""
    envs = [PointMassEnv(1, start=0.5, max_steps=100) for _ in range(2)]
    acting = ActingConfig(0.5, 0.0, mixed_fraction=0.0, search_interval=3)
    actor = _actor(envs, acting)
    collected = actor.collect(LinearPolicy(), 6)
    assert (collected.num_env_steps, len(collected.reference_set.validate())) == (12, 4)
    assert collected.num_simulator_steps == 4 * 6 * 3
    answers = actor.operator.answers
    assert len(answers) == 2
    num_students = 0
    for index, env in enumerate(envs):
        taken = np.concatenate(env.actions).astype(np.float64)
        positions = 0.5 + 0.1 * np.cumsum([0.0, *taken])[:-1]
        labelled = np.concatenate([answer.observation[index] for answer in answers])
        np.testing.assert_allclose(labelled, positions[::3], atol=1e-6)
        shifts = taken + positions  # the policy acts -x
        if np.allclose(shifts, 0.0, atol=1e-6):
            num_students += 1
            continue
        for answer, first in zip(answers, (0, 3), strict=True):
            best = answer.actions[index, answer.log_probs[index].argmax(), 0]
            assert taken[first] == best and abs(shifts[first]) > 1e-3
            expected = np.clip(shifts[first] - positions[first : first + 3], -1.0, 1.0)
            np.testing.assert_allclose(taken[first : first + 3], expected, atol=1e-6)
    assert num_students == 1


def test_an_episode_that_starts_between_searches_holds_nothing():
    """Until the next search it follows the policy; if it fails, only its own labels go."""
    env = PointMassEnv(1, max_steps=2, start=0.5)
    actor = _actor([env], ActingConfig(0.0, mixed_fraction=0.0, search_interval=4))
    collected = actor.collect(LinearPolicy(), 8)
    taken = np.concatenate(env.actions)
    np.testing.assert_allclose(taken[[2, 6]], -0.5, atol=1e-6)  # first steps of episodes without a search
    assert taken[0] != -0.5
    assert len(collected.reference_set) == 2
    env._start, env._failure, env._simulator._poison = None, PhysicsError("bad"), -2.0
    collected = actor.collect(LinearPolicy(), 4)
    assert (len(collected.reference_set), collected.num_dropped_episodes) == (0, 4)


def test_fragments_are_whole_intervals():
    """Each begins with a search."""
    actor = _actor([PointMassEnv(1)], ActingConfig(search_interval=4))
    with pytest.raises(ValueError, match="`num_steps` must be a multiple of search_interval = 4, got 6"):
        actor.collect(LinearPolicy(), 6)
