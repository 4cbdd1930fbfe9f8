import h5py
import numpy as np
import pytest
from scipy import stats

from distill_rl.datasets.d4rl import read_d4rl
from distill_rl.datasets.store import load_dataset, save_dataset


def _arrays(lengths=(5, 4, 6), terminated=(True, False, False)):
    """Episodes in the order of the file: the observation is the number of the row."""
    total = sum(lengths)
    generator = np.random.default_rng(0)
    ends = np.cumsum(lengths) - 1
    terminals, timeouts = np.zeros(total, bool), np.zeros(total, bool)
    terminals[ends] = terminated
    timeouts[ends] = ~np.array(terminated)
    return {
        "observations": np.arange(total, dtype=np.float32)[:, None].repeat(3, axis=1),
        "actions": generator.uniform(-1, 1, (total, 2)).astype(np.float32),
        "rewards": np.arange(total, dtype=np.float32),
        "terminals": terminals,
        "timeouts": timeouts,
    }


def _write(path, arrays):
    with h5py.File(path, "w") as file:
        for key, array in arrays.items():
            file[key] = array
    return path


def _slow_transitions(arrays, max_episode_steps=None):
    """The loop of D4RL's `qlearning_dataset`, whose count is off by one after a terminal."""
    rows, step = [], 0
    for row in range(len(arrays["rewards"]) - 1):
        if "timeouts" in arrays:
            is_last = arrays["timeouts"][row]
        else:
            is_last = max_episode_steps is not None and step == max_episode_steps - 1
        if is_last:
            step = 0
            continue
        step = 0 if arrays["terminals"][row] else step + 1
        rows.append(row)
    return rows


def test_transitions_are_those_of_d4rls_own_loop(tmp_path):
    """Row by row: what counts, what follows, where it is terminal; the last row of a file never counts."""
    for terminated in ((True, False, False), (True, False, True)):
        arrays = _arrays(terminated=terminated)
        arrays["timeouts"][4] = terminated[2]  # terminal and out of time at once
        found = read_d4rl(_write(tmp_path / "a.hdf5", arrays), "hopper-medium-v2")
        rows = _slow_transitions(arrays)
        np.testing.assert_array_equal(found.transition_rows, rows)
        expected = arrays["observations"][np.array(rows) + 1]
        np.testing.assert_array_equal(found.next_observations[rows], expected)
        np.testing.assert_array_equal(found.terminals[rows], arrays["terminals"][rows])
        np.testing.assert_array_equal(found.episode_ends, [5, 9, 15])
    assert found.metadata["name"] == "hopper-medium-v2" and found.behaviour_log_probs is None
    assert not found.has_final_observations


def test_without_timeouts_the_limit_of_the_environment_cuts(tmp_path):
    """Without a limit only terminals end an episode; with timeouts a limit is of no use."""
    arrays = _arrays((5, 10), (True, False))
    path = _write(tmp_path / "a.hdf5", arrays)
    with pytest.raises(ValueError, match="`max_episode_steps` is of no use"):
        read_d4rl(path, "x", max_episode_steps=4)
    del arrays["timeouts"]
    path = _write(path, arrays)
    with pytest.raises(ValueError, match="`max_episode_steps` must be an integer of at least 1, got 0"):
        read_d4rl(path, "x", max_episode_steps=0)
    found = read_d4rl(path, "x", max_episode_steps=4)
    np.testing.assert_array_equal(found.episode_ends, [4, 5, 9, 13, 15])
    np.testing.assert_array_equal(found.transition_rows, _slow_transitions(arrays, 4))
    np.testing.assert_array_equal(read_d4rl(path, "x").episode_ends, [5, 15])


def test_what_followed_is_kept_where_the_file_has_it(tmp_path):
    """Version 2 knows what came after the last step of an episode, too."""
    arrays = _arrays()
    arrays["next_observations"] = arrays["observations"] + 0.5
    found = read_d4rl(_write(tmp_path / "a.hdf5", arrays), "x")
    np.testing.assert_array_equal(found.next_observations, arrays["next_observations"])
    assert found.has_final_observations


def test_log_probs_and_the_behaviour_policy_come_along(tmp_path):
    """Under the keys of version 2; the policy's density is that of its squashed Gaussian."""
    arrays = _arrays()
    generator = np.random.default_rng(1)
    sizes = {"fc0": (8, 3), "fc1": (8, 8), "last_fc": (2, 8), "last_fc_log_std": (2, 8)}
    layers = {
        f"metadata/policy/{name}/{kind}": 0.3 * generator.normal(size=shape[:rank])
        for name, shape in sizes.items()
        for kind, rank in (("weight", 2), ("bias", 1))
    }
    arrays["infos/action_log_probs"] = np.linspace(-3, 1, 15).astype(np.float32)
    form = {"metadata/policy/nonlinearity": "relu", "metadata/policy/output_distribution": "tanh_gaussian"}
    found = read_d4rl(_write(tmp_path / "a.hdf5", arrays | layers | form), "x")
    np.testing.assert_array_equal(found.behaviour_log_probs, arrays["infos/action_log_probs"])
    # Of another form it would be another policy.
    other = form | {"metadata/policy/nonlinearity": "tanh"}
    assert read_d4rl(_write(tmp_path / "b.hdf5", arrays | layers | other), "x").behaviour_policy is None
    save_dataset(found, tmp_path / "stored")
    policy = load_dataset(tmp_path / "stored").behaviour_policy
    observation, action = generator.normal(size=(20, 3)), generator.uniform(-0.9, 0.9, (20, 2))
    hidden = observation
    for name in ("fc0", "fc1"):
        weight, bias = (layers[f"metadata/policy/{name}/{kind}"] for kind in ("weight", "bias"))
        hidden = np.maximum(hidden @ weight.T + bias, 0)
    head = {
        name: hidden @ layers[f"metadata/policy/{name}/weight"].T + layers[f"metadata/policy/{name}/bias"]
        for name in ("last_fc", "last_fc_log_std")
    }
    normal = stats.norm(head["last_fc"], np.exp(head["last_fc_log_std"]))
    expected = (normal.logpdf(np.arctanh(action)) - np.log(1 - action**2)).sum(1)
    np.testing.assert_allclose(policy.log_prob(observation, action), expected, rtol=1e-8)
    np.testing.assert_allclose(policy.act(observation), np.tanh(head["last_fc"]), rtol=1e-5)
    draws = policy.act(np.repeat(observation[:1], 4_000, axis=0), np.random.default_rng(0))
    one = stats.norm(normal.mean()[0, 0], normal.std()[0, 0])
    assert stats.kstest(np.arctanh(draws[:, 0].astype(float)), one.cdf).pvalue > 1e-3


def test_a_policy_of_other_sizes_than_the_data_is_refused(tmp_path):
    """One that sees four numbers cannot have acted on three."""
    form = {"metadata/policy/nonlinearity": "relu", "metadata/policy/output_distribution": "tanh_gaussian"}
    sizes = {"fc0": (8, 4), "fc1": (8, 8), "last_fc": (2, 8), "last_fc_log_std": (2, 8)}
    for name, shape in sizes.items():
        form[f"metadata/policy/{name}/weight"], form[f"metadata/policy/{name}/bias"] = (
            np.zeros(shape),
            np.zeros(shape[0]),
        )
    path = _write(tmp_path / "a.hdf5", _arrays() | form)
    with pytest.raises(ValueError, match=r"`behaviour_policy\.first weight` must have shape \[any, 3\]"):
        read_d4rl(path, "x")


def _truncate(path):
    path.write_bytes(path.read_bytes()[:600])


@pytest.mark.parametrize(
    ("break_fn", "message"),
    [
        (lambda arrays: arrays.pop("rewards"), r"must have the key 'rewards', got \['actions'"),
        (lambda arrays: arrays.update(rewards=np.array([b"x"] * 15)), "must hold numbers under 'rewards'"),
        (lambda arrays: arrays.update(actions=arrays["actions"][:7]), "must hold arrays of one length"),
        (
            lambda arrays: arrays.update(terminals=np.zeros(15, bool), timeouts=np.zeros(15, bool)),
            "must say where episodes end, got neither a terminal nor a timeout",
        ),
        (lambda arrays: arrays["observations"].__setitem__((3, 1), np.nan), "`observations` must be finite"),
        (lambda arrays: arrays["actions"].__setitem__((3, 1), 2.0), r"`actions` must lie in \[-1, 1\]"),
    ],
)
def test_a_broken_file_gives_one_clear_error(tmp_path, break_fn, message):
    """What is wrong is named."""
    arrays = _arrays()
    break_fn(arrays)
    with pytest.raises(ValueError, match=message):
        read_d4rl(_write(tmp_path / "a.hdf5", arrays), "x")


def test_a_truncated_file_gives_one_clear_error(tmp_path):
    """And so does none at all, which is another one."""
    path = _write(tmp_path / "a.hdf5", _arrays())
    _truncate(path)
    with pytest.raises(ValueError, match=r"a\.hdf5` must be a whole HDF5 file"):
        read_d4rl(path, "x")
    with pytest.raises(ValueError, match=r"b\.hdf5` must be an HDF5 file, got no such file"):
        read_d4rl(tmp_path / "b.hdf5", "x")
