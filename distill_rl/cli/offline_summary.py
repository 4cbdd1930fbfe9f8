"""What a run of offline learning came to, by each of the ways to choose a model."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from distill_rl.cli.metrics import STUDENT_EVALUATION
from distill_rl.datasets.scores import find_reference, normalized_score

_BEHAVIOUR_LOSS = "learner/behaviour_loss"


class SelectedReturns(NamedTuple):
    """Returns of the models that two rules choose; None where nothing is known to choose by.

    Attributes:
      online: the largest return of all evaluations. It was chosen by the episodes that it is judged by, and
        needs an environment; papers report it often.
      offline: the return where the loss of cloning the data, which needs no environment, was smallest.
    """

    online: float | None
    offline: float | None


def select_models(rows: Sequence[Mapping[str, Any]]) -> SelectedReturns:
    """Chooses models among those that were evaluated along the way.

    The loss is the mean over the iteration that ends at the evaluation. Source: Wang et al. (2023),
    "Diffusion policies as an expressive policy class for offline reinforcement learning", Section 5.

    Args:
      rows: rows of metrics.
    """
    evaluated = [row for row in rows if row.get(STUDENT_EVALUATION) is not None]
    if not evaluated:
        return SelectedReturns(None, None)
    online = max(row[STUDENT_EVALUATION] for row in evaluated)
    known = [row for row in evaluated if row.get(_BEHAVIOUR_LOSS) is not None]
    offline = min(known, key=lambda row: row[_BEHAVIOUR_LOSS])[STUDENT_EVALUATION] if known else None
    return SelectedReturns(online, offline)


def summarise_offline(
    rows: Sequence[Mapping[str, Any]], final_return: float | None, dataset_metadata: Mapping[str, Any]
) -> dict[str, Any]:
    """Returns what the summary of such a run has beside that of any other.

    Args:
      rows: rows of metrics.
      final_return: of the last model.
      dataset_metadata: of the dataset.

    Returns:
      `online_selected_return`, `offline_selected_return`, and scores on the scale of D4RL where the dataset
      has one: `score` of the last model, `online_selected_score`, `offline_selected_score`.
    """
    online, offline = select_models(rows)
    returns = {"": final_return, "online_selected_": online, "offline_selected_": offline}
    reference = find_reference(dataset_metadata)
    scores = {
        f"{name}score": None if value is None or reference is None else normalized_score(value, reference)
        for name, value in returns.items()
    }
    selected = {f"{name}return": value for name, value in returns.items() if name}
    return {"dataset": dataset_metadata["name"], **selected, **scores}
