"""What there is to say about a dataset, and to draw; imports of other formats."""

import dataclasses
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from distill_rl.cli.plots import STYLE, TICKS
from distill_rl.datasets.d4rl import read_d4rl
from distill_rl.datasets.minari_format import is_minari_id, read_minari
from distill_rl.datasets.offline_dataset import OfflineDataset
from distill_rl.datasets.scores import REFERENCE_SCORES, normalized_score
from distill_rl.datasets.store import dataset_path, save_dataset

_D4RL_SUFFIXES = (".hdf5", ".h5")
_MOST_SHOWN_STATES = 50_000
_COLOR = "#1f6fd6"


@dataclasses.dataclass(frozen=True)
class DatasetFacts:
    """What a dataset holds.

    Attributes:
      name: its name.
      source: where it came from.
      num_episodes: episodes.
      num_steps: steps.
      num_transitions: steps to learn from by their next observation.
      num_terminals: episodes that the environment ended.
      observation_size: `O`.
      action_size: `A`.
      returns: minimum, quartiles and maximum of the episodes' returns.
      mean_return: their mean.
      score: that mean on D4RL's scale; None for datasets that have no reference.
      reference: the dataset of D4RL whose scale that is, where it is not this one: own data; else None.
      has_log_probs: whether the log-density of each action is known.
      has_policy: whether the policy that took the actions is known.
    """

    name: str
    source: str
    num_episodes: int
    num_steps: int
    num_transitions: int
    num_terminals: int
    observation_size: int
    action_size: int
    returns: tuple[float, ...]
    mean_return: float
    score: float | None
    reference: str | None
    has_log_probs: bool
    has_policy: bool

    def lines(self) -> list[tuple[str, str]]:
        """Returns labels and texts to print."""
        minimum, low, median, high, maximum = (f"{value:.1f}" for value in self.returns)
        score = "no reference" if self.score is None else f"{self.score:.1f}"
        if self.reference is not None:
            score += f" on the scale of {self.reference}, of which these are no part"
        return [
            ("name", self.name),
            ("source", self.source),
            ("episodes", f"{self.num_episodes:,}, {self.num_terminals:,} of them ended by the environment"),
            ("steps", f"{self.num_steps:,}, {self.num_transitions:,} of them transitions"),
            ("sizes", f"{self.observation_size} observation, {self.action_size} action"),
            ("returns", f"{minimum} to {maximum}, quartiles {low}, {median}, {high}"),
            ("mean return", f"{self.mean_return:.1f}, score {score}"),
            ("log-densities", "of every action" if self.has_log_probs else "none"),
            ("policy", "with the data" if self.has_policy else "not with the data"),
        ]


def describe(dataset: OfflineDataset) -> DatasetFacts:
    """Returns what a dataset holds."""
    returns = dataset.episode_returns()
    name = str(dataset.metadata["name"])
    own_reference = None if name in REFERENCE_SCORES else dataset.metadata.get("reference")
    reference = REFERENCE_SCORES.get(own_reference or name)
    mean_return = float(returns.mean())
    return DatasetFacts(
        name=name,
        source=str(dataset.metadata["source"]),
        num_episodes=dataset.num_episodes,
        num_steps=len(dataset),
        num_transitions=len(dataset.transition_rows),
        num_terminals=int(np.asarray(dataset.terminals).sum()),
        observation_size=dataset.observations.shape[1],
        action_size=dataset.actions.shape[1],
        returns=tuple(np.quantile(returns, [0.0, 0.25, 0.5, 0.75, 1.0]).tolist()),
        mean_return=mean_return,
        score=None if reference is None else normalized_score(mean_return, reference),
        reference=None if reference is None else own_reference,
        has_log_probs=dataset.behaviour_log_probs is not None,
        has_policy=dataset.behaviour_policy is not None,
    )


def draw_dataset(dataset: OfflineDataset, folder: Path) -> list[Path]:
    """Draws a histogram of returns, and where states lie, into PNG files.

    States are shown by their first two principal components, coloured by how far into its episode each is.

    Args:
      dataset: the dataset.
      folder: of the files; made if missing.

    Returns:
      `returns.png` and `states.png`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 3.6), layout="constrained")
        axis = figure.subplots()
        axis.hist(dataset.episode_returns(), bins=40, color=_COLOR)
        axis.set_xlabel("return of an episode")
        axis.set_ylabel("episodes")
        axis.set_title(str(dataset.metadata["name"]))
        figure.savefig(folder / "returns.png")
        _draw_states(dataset).savefig(folder / "states.png")
    return [folder / "returns.png", folder / "states.png"]


def _draw_states(dataset: OfflineDataset) -> Figure:
    rows = np.linspace(0, len(dataset) - 1, min(len(dataset), _MOST_SHOWN_STATES)).astype(int)
    states = np.asarray(dataset.observations[rows], np.float64)
    standard = (states - states.mean(axis=0)) / (states.std(axis=0) + 1e-6)
    _, sizes, directions = np.linalg.svd(standard, full_matrices=False)
    components = standard @ directions[:2].T
    if components.shape[1] == 1:
        components = np.column_stack([components[:, 0], np.zeros(len(components))])
    share = (sizes[:2] ** 2).sum() / max((sizes**2).sum(), 1e-12)
    starts = dataset.episode_starts[np.searchsorted(dataset.episode_ends, rows, side="right")]
    figure = Figure(figsize=(6.0, 4.6), layout="constrained")
    axis = figure.subplots()
    first, second = components.T
    points = axis.scatter(first, second, c=rows - starts, s=2, cmap="viridis", linewidths=0)
    figure.colorbar(points, label="step of the episode").ax.yaxis.set_major_formatter(TICKS)
    axis.set_xlabel("first principal component of states")
    axis.set_ylabel("second")
    axis.set_title(f"{dataset.metadata['name']}: these two hold {share:.0%} of the variance")
    return figure


def import_from(
    source: str,
    name: str | None = None,
    *,
    max_episode_steps: int | None = None,
    download: bool = False,
    overwrite: bool = False,
) -> Path:
    """Imports a dataset into the folder of all datasets.

    Args:
      source: path of an HDF5 file of D4RL, or the id of a Minari dataset.
      name: what to call it; by default the file's name with hyphens, or the id with hyphens for slashes.
      max_episode_steps: see `read_d4rl`.
      download: see `read_minari`.
      overwrite: whether a dataset of that name is replaced.

    Returns:
      The folder of the dataset.

    Raises:
      ValueError: from the readers, for a source that is neither of the two, an option that does not go with
        it, or if the name is taken; nothing is left behind then.
    """
    is_file = source.endswith(_D4RL_SUFFIXES)
    if not is_file and (Path(source).is_file() or not is_minari_id(source)):
        raise ValueError(
            f"`source` must be an HDF5 file of D4RL, called *{' or *'.join(_D4RL_SUFFIXES)}, or the id of a "
            f"Minari dataset such as mujoco/hopper/medium-v0, got {source!r}; data of a run's policy: "
            "distill-rl collect TASK --from RUN"
        )
    if is_file and download:
        raise ValueError("`download` goes with Minari datasets, got an HDF5 file")
    if not is_file and max_episode_steps is not None:
        raise ValueError("`max_episode_steps` goes with HDF5 files of D4RL, got a Minari dataset")
    default = Path(source).stem.replace("_", "-") if is_file else source.replace("/", "-")
    path = dataset_path(name or default)
    dataset = read_d4rl(source, path.name, max_episode_steps) if is_file else read_minari(source, download)
    named = dataclasses.replace(dataset, metadata=dataset.metadata | {"name": path.name})
    return save_dataset(named, path, overwrite)
