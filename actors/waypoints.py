"""The controller that made D4RL's Maze2d data: shortest paths over cells, followed by proportional control.

Source: Fu et al. (2020), "D4RL", https://arxiv.org/abs/2004.07219, Section 5, and `d4rl/pointmaze` of its
repository. Departures are named where they are made.
"""

import collections
from typing import Any

import gymnasium as gym
import numpy as np

from actors.step_log import StepLog
from actors.stepping import step_env
from distill_rl.checks import check_at_least_one
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.envs.maze2d import Maze2dEnv, cell_of, wall_map

Cell = tuple[int, int]
"""Row and column."""

REACHED_DISTANCE = 0.1
"""How near a waypoint counts as reached."""

_POSITION_GAIN, _VELOCITY_GAIN = 10.0, -1.0
_WAYPOINT_SHIFT = 0.2
_NOISE_SCALE = 0.5
_NEIGHBOURS = ((0, 1), (0, -1), (1, 0), (-1, 0))


def shortest_path(walls: np.ndarray, start: Cell, target: Cell) -> list[Cell]:
    """Finds a shortest path over free cells, by breadth-first search from the target.

    D4RL iterates Q-values on the same grid, whose greedy path is as short; which of several paths it takes
    may differ.

    Args:
      walls: which cells are walls; the border must be. Shape `[rows, columns]`, bool.
      start: where the path starts.
      target: where it ends.

    Returns:
      The cells after `start`, `target` included; empty where they are the same.

    Raises:
      ValueError: if there is no path.
    """
    following: dict[Cell, Cell] = {target: target}
    waiting = collections.deque([target])
    while waiting and start not in following:
        row, column = cell = waiting.popleft()
        for down, right in _NEIGHBOURS:
            neighbour = (row + down, column + right)
            if neighbour not in following and not walls[neighbour]:
                following[neighbour] = cell
                waiting.append(neighbour)
    if start not in following:
        raise ValueError(f"`start` must be a cell from which {target} can be reached, got {start}")
    path = [start]
    while path[-1] != target:
        path.append(following[path[-1]])
    return path[1:]


class WaypointController:
    """Pushes the point along the cells of a path: `a = clip(10 (waypoint - position) - velocity, -1, 1)`.

    Waypoints are the numbers of cells; on the way to the target each is shifted by a draw from
    `-U(0, 0.2)^2`, which is towards the cell's centre. One counts as reached within 0.1. D4RL asks for a
    displacement below 0.1 in the last step too, which the limit of speed keeps always. It takes the cell that
    a path starts in by rounding the position, which is a wall's next to some walls; here it is the cell that
    the point is in.

    Attributes:
      target: the cell it goes to.
    """

    def __init__(self, walls: np.ndarray, generator: np.random.Generator):
        """Starts without a target.

        Args:
          walls: which cells are walls. Shape `[rows, columns]`, bool.
          generator: source of the shifts.
        """
        self.target: Cell | None = None
        self._walls = walls
        self._generator = generator
        self._waypoints: collections.deque[np.ndarray] = collections.deque()

    @property
    def has_arrived(self) -> bool:
        """Whether there is nowhere to go: no target yet, or it was reached."""
        return not self._waypoints

    def go_to(self, target: Cell, position: np.ndarray) -> None:
        """Plans a path.

        Args:
          target: a free cell.
          position: where the point is. Shape `[2]`.

        Raises:
          ValueError: if there is no path.
        """
        self.target = target
        path = shortest_path(self._walls, cell_of(position), target)
        shifts = _WAYPOINT_SHIFT * self._generator.random((len(path), 2))
        waypoints = [np.array(cell) - shift for cell, shift in zip(path, shifts, strict=True)]
        self._waypoints = collections.deque([*waypoints[:-1], np.array(target, np.float64)])

    def act(self, observation: np.ndarray) -> np.ndarray:
        """Returns the push towards the next waypoint, and goes on to the one after it where that is reached.

        Args:
          observation: `x, y, vx, vy`. Shape `[4]`.

        Returns:
          Shape `[2]`, in [-1, 1].
        """
        position, velocity = observation[:2], observation[2:]
        offset = self._waypoints[0] - position
        if np.linalg.norm(offset) < REACHED_DISTANCE:
            self._waypoints.popleft()
        return np.clip(_POSITION_GAIN * offset + _VELOCITY_GAIN * velocity, -1.0, 1.0)


def collect_maze(
    env: gym.Env, num_steps: int, seed: int, metadata: dict[str, Any], noise_scale: float = _NOISE_SCALE
) -> OfflineDataset:
    """Collects data as D4RL did: a controller that goes from target to target, with noise.

    Targets are free cells, drawn anew where one is reached. Noise is added to the action of the controller,
    and the sum is clipped, which leaves atoms at the bounds: it has no density. Rewards are those of the
    environment, for its one goal, which the controller does not know.

    D4RL's data is one long walk. Here it starts anew when the time limit of the environment has passed, so
    that returns of episodes are on the scale of D4RL's scores.

    Args:
      env: a `Maze2dEnv` of `distill_rl.envs.make_env`.
      num_steps: at least that many steps, in whole episodes.
      seed: of everything random.
      metadata: of the dataset; the seed is added.
      noise_scale: standard deviation of the noise.

    Returns:
      The dataset.

    Raises:
      ValueError: if `env` is no maze, or `num_steps` below 1.
    """
    maze = env.unwrapped
    if not isinstance(maze, Maze2dEnv):
        raise ValueError(f"`env` must be a Maze2dEnv, got {type(maze).__name__}")
    check_at_least_one("num_steps", num_steps)
    generator = np.random.default_rng(seed)
    walls = wall_map(maze.layout)
    controller = WaypointController(walls, generator)
    free_cells = np.argwhere(~walls)
    log = StepLog(4, 2)
    while len(log) < num_steps:
        observation, _ = env.reset(seed=int(generator.integers(2**31)))
        episode, is_over = None, False
        while not is_over:
            if episode is None or controller.has_arrived:
                row, column = generator.choice(free_cells)
                controller.go_to((int(row), int(column)), observation[:2])
            action = controller.act(observation) + noise_scale * generator.standard_normal(2)
            action = np.clip(action, -1.0, 1.0).astype(np.float32)
            step = step_env(env, action)
            assert step is not None  # nothing in a maze diverges
            episode = log.add(episode, observation, action, step)
            observation, is_over = step.observation, step.terminated or step.truncated
    return log.to_dataset(metadata | {"seed": seed})
