"""D4RL's Maze2d on the point mass of gymnasium-robotics.

Source: Fu et al. (2020), "D4RL", https://arxiv.org/abs/2004.07219, and `d4rl/pointmaze` of its repository.
Layouts, goals, coordinates, starts, rewards, time limits and every constant of the physics (a sphere of
radius 0.1, 0.01 s a step, gear 100, damping 1, speeds clipped to 5, no gravity) are D4RL's. What differs:

* MuJoCo 3 instead of 2, whose contact solver is another: trajectories along walls are not the same number by
  number;
* walls begin at the height of the point's centre instead of 0.2 below it, which nothing in the plane notices.
"""

import contextlib
import io
import os
from typing import Any

import gymnasium as gym
import numpy as np

LAYOUTS: dict[str, tuple[str, ...]] = {
    "umaze": (
        "#####",
        "#G..#",
        "###.#",
        "#...#",
        "#####",
    ),
    "medium": (
        "########",
        "#..##..#",
        "#..#...#",
        "##...###",
        "#..#...#",
        "#.#..#.#",
        "#...#.G#",
        "########",
    ),
    "large": (
        "############",
        "#....#.....#",
        "#.##.#.#.#.#",
        "#......#...#",
        "#.####.###.#",
        "#..#.#.....#",
        "##.#.#.#.###",
        "#..#...#.G.#",
        "############",
    ),
}
"""Walls `#`, and the goal `G`, by name."""

MAX_EPISODE_STEPS = {"umaze": 300, "medium": 600, "large": 800}
GOAL_RADIUS = 0.5

ENV_IDS = {"umaze": "Maze2dUMaze-v0", "medium": "Maze2dMedium-v0", "large": "Maze2dLarge-v0"}

CENTRE = -0.2
"""Where a cell's centre is, from its number: D4RL puts the origin that far from the walls' grid."""
_START_NOISE = 0.1


def wall_map(layout: str) -> np.ndarray:
    """Returns which cells of a layout are walls. Shape `[rows, columns]`, bool."""
    return np.array([[cell == "#" for cell in row] for row in LAYOUTS[layout]])


def goal_cell(layout: str) -> tuple[int, int]:
    """Returns row and column of the goal of a layout."""
    row, column = np.argwhere([[cell == "G" for cell in row] for row in LAYOUTS[layout]])[0]
    return int(row), int(column)


def cell_of(position: np.ndarray) -> tuple[int, int]:
    """Returns row and column of the cell that a position `[2]` is in."""
    row, column = np.round(np.asarray(position) - CENTRE).astype(int)
    return int(row), int(column)


class Maze2dEnv(gym.Env):
    """A point mass that is pushed through a maze; reward 1 within 0.5 of a fixed goal, else 0.

    Observations are `x, y, vx, vy`: x counts the rows of the layout and y its columns, and the goal is where
    they say, at (1, 1) in `umaze`. Actions push along x and y. Nothing ends an episode but its time limit. An
    episode starts in any free cell, within 0.1 of its numbers, at a speed of scale 0.1.

    Attributes:
      layout: its name.
      goal: position of the goal. Shape `[2]`.
    """

    def __init__(self, layout: str = "umaze"):
        """Builds the maze.

        Args:
          layout: `umaze`, `medium` or `large`.

        Raises:
          ValueError: for another one.
        """
        if layout not in LAYOUTS:
            raise ValueError(f"`layout` must be one of {', '.join(LAYOUTS)}, got {layout!r}")
        with contextlib.redirect_stderr(io.StringIO()):  # a notice about other environments
            # Here and not above: only this needs the package, which takes a second to import.
            from gymnasium_robotics.envs.maze.point_maze import PointMazeEnv

        walls = wall_map(layout)
        maze = PointMazeEnv(maze_map=walls.astype(int).tolist())
        os.unlink(maze.tmp_xml_file_path)  # read, and left behind
        self._point = maze.point_env
        self._first_row = maze.maze.y_map_center - 0.5 + CENTRE
        self._first_column = -maze.maze.x_map_center + 0.5 - CENTRE
        self._free_cells = np.argwhere(~walls)
        self.layout = layout
        self.goal = np.array(goal_cell(layout), np.float64)
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (4,), np.float64)
        self.action_space = gym.spaces.Box(-1.0, 1.0, (2,), np.float32)
        self.model, self.data = self._point.model, self._point.data
        self.dt = self._point.dt

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Puts the point into a free cell, drawn uniformly. Shape of observations: `[4]`."""
        super().reset(seed=seed)
        cell = self._free_cells[self.np_random.integers(len(self._free_cells))]
        x, y = cell + self.np_random.uniform(-_START_NOISE, _START_NOISE, 2)
        speed = 0.1 * self.np_random.standard_normal(2)
        self._point.reset()
        self._point.set_state(np.array([y + self._first_column, self._first_row - x]), speed)
        return self._observe(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Pushes the point for 0.01 seconds. Shapes of actions and observations: `[2]`, `[4]`."""
        push_x, push_y = action
        self._point.step(np.array([push_y, -push_x]))
        observation = self._observe()
        is_there = np.linalg.norm(observation[:2] - self.goal) <= GOAL_RADIUS
        return observation, float(is_there), False, False, {}

    def close(self) -> None:
        """Releases what the point mass holds."""
        self._point.close()

    def _observe(self) -> np.ndarray:
        """Returns position and velocity along rows and columns. Shape `[4]`."""
        (column, row), (to_column, to_row) = self.data.qpos, self.data.qvel
        return np.array([self._first_row - row, column - self._first_column, -to_row, to_column])


def register_mazes() -> None:
    """Registers the three mazes with Gymnasium, with their time limits."""
    for layout, env_id in ENV_IDS.items():
        gym.register(
            env_id,
            entry_point=f"{__name__}:{Maze2dEnv.__name__}",
            kwargs={"layout": layout},
            max_episode_steps=MAX_EPISODE_STEPS[layout],
        )
