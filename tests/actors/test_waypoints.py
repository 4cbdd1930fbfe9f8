import subprocess
import sys

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.sparse.csgraph import shortest_path as graph_distances
from toy_simulator import PointMassEnv

from actors.waypoints import REACHED_DISTANCE, WaypointController, collect_maze, shortest_path
from distill_rl.envs import make_env
from distill_rl.envs.maze2d import ENV_IDS, wall_map

_METADATA = {"name": "maze2d-own", "source": "a test"}


def test_paths_are_as_short_as_the_graphs():
    """Steps from cell to neighbouring free cell, as many as Dijkstra's algorithm counts."""
    walls = wall_map("large")
    free = np.argwhere(~walls)
    is_edge = np.abs(free[:, None] - free[None]).sum(axis=2) == 1
    distances = graph_distances(csr_matrix(is_edge), unweighted=True)
    for start, target in np.random.default_rng(0).integers(len(free), size=(40, 2)):
        path = shortest_path(walls, tuple(free[start]), tuple(free[target]))
        cells = np.array([free[start], *path])
        assert len(path) == distances[start, target]
        assert (np.abs(np.diff(cells, axis=0)).sum(axis=1) == 1).all()
        assert not walls[tuple(cells.T)].any()
        assert tuple(cells[-1]) == tuple(free[target])


def test_a_walled_cell_cannot_be_reached():
    """It is said so."""
    with pytest.raises(ValueError, match=r"`start` must be a cell from which \(3, 1\) can be reached"):
        shortest_path(wall_map("umaze"), (0, 0), (3, 1))


def test_the_controller_reaches_every_cell_of_the_umaze():
    """From every cell, without noise, in less than an episode."""
    env = make_env(ENV_IDS["umaze"])
    walls = wall_map("umaze")
    controller = WaypointController(walls, np.random.default_rng(0))
    assert controller.has_arrived
    for seed in range(8):
        observation, _ = env.reset(seed=seed)
        for target in np.argwhere(~walls):
            controller.go_to(tuple(target), observation[:2])
            num_steps = 0
            while not controller.has_arrived:
                last = observation
                observation, *_ = env.unwrapped.step(controller.act(observation))
                num_steps += 1
                assert num_steps < 300
            assert np.linalg.norm(last[:2] - target) < REACHED_DISTANCE


def test_controls_follow_the_gains():
    """`10 (waypoint - position) - velocity`, clipped: worked out by hand for the last waypoint."""
    controller = WaypointController(wall_map("umaze"), np.random.default_rng(0))
    controller.go_to((1, 1), np.array([0.95, 1.15]))
    action = controller.act(np.array([0.8, 1.05, 0.3, -0.1]))
    np.testing.assert_allclose(action, [1.0, 10 * -0.05 + 0.1])
    assert not controller.has_arrived
    controller.act(np.array([0.95, 1.05, 0.3, -0.1]))
    assert controller.has_arrived


def test_maze_data_is_the_environments():
    """Episodes to the time limit, rewards at the goal, the walk continuous, and no density."""
    dataset = collect_maze(make_env(ENV_IDS["umaze"]), 1_000, 0, _METADATA)
    assert len(dataset) == 1_200 and np.diff(dataset.episode_ends, prepend=0).tolist() == [300] * 4
    assert not dataset.terminals.any() and dataset.behaviour_log_probs is None
    at_goal = np.linalg.norm(dataset.next_observations[:, :2] - 1.0, axis=1) <= 0.5
    np.testing.assert_array_equal(dataset.rewards, at_goal)
    assert 0 < at_goal.sum() < len(dataset)
    # Noise of scale 0.5 about the controller's action, clipped.
    assert np.abs(dataset.actions).max() == 1.0 and 0.05 < (np.abs(dataset.actions) == 1.0).mean() < 0.9
    for steps in dataset.episodes():
        np.testing.assert_array_equal(dataset.next_observations[steps][:-1], dataset.observations[steps][1:])


def test_maze_data_repeats_itself_for_a_seed():
    """And differs from that of another one."""
    first, again, other = (
        collect_maze(make_env(ENV_IDS["umaze"]), 300, seed, _METADATA) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first.observations, again.observations)
    assert not np.array_equal(first.observations, other.observations)


def test_another_environment_is_refused():
    """The controller knows mazes only."""
    with pytest.raises(ValueError, match="`env` must be a Maze2dEnv, got PointMassEnv"):
        collect_maze(make_env(PointMassEnv), 10, 0, _METADATA)


def test_stepping_can_be_imported_first():
    """Simulators and stepping need each other; neither import is the one that must come first."""
    subprocess.run([sys.executable, "-c", "import actors.stepping"], check=True)
