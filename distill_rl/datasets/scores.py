"""Reference returns of D4RL, by which scores of different tasks are put on one scale.

Source: Fu et al. (2020), "D4RL: Datasets for deep data-driven reinforcement learning",
https://arxiv.org/abs/2004.07219, and the tables of its repository (https://github.com/Farama-Foundation/D4RL).
"""

from collections.abc import Mapping
from typing import Any, NamedTuple


class ReferenceScore(NamedTuple):
    """Returns that are 0 and 100 on D4RL's scale."""

    low: float
    high: float


_MUJOCO = ("random", "medium", "expert", "medium-replay", "medium-expert")
_MUJOCO_LATER = (*_MUJOCO, "full-replay")
_ADROIT = ("human", "cloned", "expert")
_MAZES = ("umaze", "umaze-diverse", "medium-play", "medium-diverse", "large-play", "large-diverse")

_FAMILIES: dict[tuple[str, tuple[str, ...], tuple[str, ...]], tuple[float, float]] = {
    # (environment, kinds of data, versions): the scores that all of them share
    ("halfcheetah", _MUJOCO, ("v0",)): (-280.178953, 12135.0),
    ("walker2d", _MUJOCO, ("v0",)): (1.629008, 4592.3),
    ("hopper", _MUJOCO, ("v0",)): (-20.272305, 3234.3),
    ("ant", _MUJOCO, ("v0",)): (-325.6, 3879.7),
    ("halfcheetah", _MUJOCO_LATER, ("v1", "v2")): (-280.178953, 12135.0),
    ("walker2d", _MUJOCO_LATER, ("v1", "v2")): (1.629008, 4592.3),
    ("hopper", _MUJOCO_LATER, ("v1", "v2")): (-20.272305, 3234.3),
    ("ant", _MUJOCO_LATER, ("v1", "v2")): (-325.6, 3879.7),
    ("antmaze", _MAZES, ("v0", "v2")): (0.0, 1.0),
    ("kitchen", ("complete", "partial", "mixed"), ("v0",)): (0.0, 4.0),
    ("pen", _ADROIT, ("v0", "v1")): (96.262799, 3076.8331017826877),
    ("hammer", _ADROIT, ("v0", "v1")): (-274.856578, 12794.134825156867),
    ("relocate", _ADROIT, ("v0", "v1")): (-6.425911, 4233.877797728884),
    ("door", _ADROIT, ("v0", "v1")): (-56.512833, 2880.5693087298737),
    ("maze2d", ("open",), ("v0",)): (0.01, 20.66),
    ("maze2d", ("umaze",), ("v1",)): (23.85, 161.86),
    ("maze2d", ("medium",), ("v1",)): (13.13, 277.39),
    ("maze2d", ("large",), ("v1",)): (6.7, 273.99),
    ("maze2d", ("open-dense",), ("v0",)): (11.17817, 27.166538620695782),
    ("maze2d", ("umaze-dense",), ("v1",)): (68.537689, 193.66285642381482),
    ("maze2d", ("medium-dense",), ("v1",)): (44.264742, 297.4552547777125),
    ("maze2d", ("large-dense",), ("v1",)): (30.569041, 303.4857382709002),
    ("minigrid", ("fourrooms", "fourrooms-random"), ("v0",)): (0.01442, 2.89685),
    ("flow", ("ring-random", "ring-controller"), ("v0",)): (-165.22, 24.42),
    ("flow", ("merge-random", "merge-controller"), ("v0",)): (118.67993, 330.03179),
    ("carla", ("lane",), ("v0",)): (-0.8503839912088142, 1023.5784385429523),
    ("carla", ("town",), ("v0",)): (-114.81579500772153, 2440.1772022247314),
    ("bullet-halfcheetah", _MUJOCO, ("v0",)): (-1275.766996, 2381.6725),
    ("bullet-hopper", _MUJOCO, ("v0",)): (20.058972, 1441.8059623430963),
    ("bullet-ant", _MUJOCO, ("v0",)): (373.705955, 2650.495),
    ("bullet-walker2d", _MUJOCO, ("v0",)): (16.523877, 1623.6476303317536),
    ("bullet-maze2d", ("open",), ("v0",)): (8.75, 64.15),
    ("bullet-maze2d", ("umaze",), ("v0",)): (32.46, 153.99),
    ("bullet-maze2d", ("medium",), ("v0",)): (14.87, 238.05),
    ("bullet-maze2d", ("large",), ("v0",)): (1.82, 285.92),
}

REFERENCE_SCORES: dict[str, ReferenceScore] = {
    f"{env}-{kind}-{version}": ReferenceScore(*scores)
    for (env, kinds, versions), scores in _FAMILIES.items()
    for kind in kinds
    for version in versions
}
"""By name, of every dataset of D4RL that has one."""


def find_reference(metadata: Mapping[str, Any]) -> ReferenceScore | None:
    """Returns the reference of a dataset: its own, or that of the dataset of D4RL it names as `reference`.

    Args:
      metadata: of the dataset.
    """
    own = REFERENCE_SCORES.get(str(metadata["name"]))
    return own or REFERENCE_SCORES.get(str(metadata.get("reference")))


def normalized_score(episode_return: float, reference: ReferenceScore) -> float:
    """Returns `100 (return - low) / (high - low)`."""
    return 100.0 * (episode_return - reference.low) / (reference.high - reference.low)
