"""PPO with a consistency policy beside RLlib's own: from the command to the files."""

import json

import numpy as np
import pytest
from matplotlib.figure import Figure
from scipy import stats

from distill_rl.cli.experiments.cm_ppo import ppo_specs
from distill_rl.cli.experiments.cm_ppo_results import draw_results, mean_interval, shared_curves
from distill_rl.cli.experiments.cm_ppo_run import STATISTICS
from distill_rl.cli.reproduce import reproduce


@pytest.mark.ray
def test_every_variant_is_trained_and_timed(ray_cluster, tmp_path):
    """Rows, table and figures; a second call finds everything there."""
    paths = reproduce("cm_ppo", "tiny", tmp_path, lambda note: None)
    rows = json.loads(paths[0].read_text())
    curves = [row for row in rows if row["part"] == "curve"]
    assert {row["variant"] for row in curves} == {"gaussian", "literal", "bounded"}
    assert {row["seed"] for row in curves} == {10, 11}
    for row in curves:
        assert np.isfinite(row["episode_return"])
        if row["env_steps"]:
            assert row["kl"] >= 0.0 and 0.0 < row["effective_sample_size"] <= 1.0
    with_loss = {row["variant"] for row in curves if row["consistency_loss"] is not None}
    assert with_loss == {"literal", "bounded"}
    timed = {(row["part"], row["label"]): row for row in rows if row["part"] != "curve"}
    assert timed["update", "gaussian"]["ratio"] == 1.0
    assert timed["likelihood", "exact, 16 steps"]["ratio"] > timed["likelihood", "exact, 4 steps"]["ratio"]
    assert "| inverted_pendulum | literal: exact ratios, A L | 2 |" in paths[1].read_text()
    assert [path.name for path in paths[2:]] == ["cm_ppo_returns.png", "cm_ppo_diagnosis.png"]
    notes: list[str] = []
    assert reproduce("cm_ppo", "tiny", tmp_path, notes.append) == paths
    assert len(notes) == 7 and all("already there" in note for note in notes)


def test_variants_share_everything_but_the_policy():
    """Environment steps, collection, step size, batches and evaluations are the same, seed by seed."""
    specs = ppo_specs("small")
    for task in ("inverted_pendulum", "inverted_double_pendulum", "cheetah_run"):
        own = {name: spec for name, spec in specs.items() if spec.task == task}
        shared = {
            (spec.num_env_steps, spec.evaluation_steps, spec.num_envs, json.dumps(spec.training))
            for spec in own.values()
        }
        assert len(shared) == 1
        seeds = {
            v: {s.seed for s in own.values() if s.variant == v} for v in ("gaussian", "literal", "bounded")
        }
        assert seeds["gaussian"] == seeds["literal"] == seeds["bounded"]


def test_curves_are_compared_where_all_seeds_have_been():
    """Hand-worked: points of both seeds up to the shorter one; of two evaluations at 2 the later one."""

    def run(*points):
        return [{"episodes": x, "episode_return": y} for x, y in points]

    x, values = shared_curves(
        [run((0, 0.0), (4, 8.0), (9, 9.0)), run((0, 1.0), (2, 2.0), (2, 3.0), (6, 7.0))], "episodes"
    )
    np.testing.assert_array_equal(x, [0, 2, 4, 6])
    np.testing.assert_allclose(values, [[0.0, 4.0, 8.0, 8.4], [1.0, 3.0, 5.0, 7.0]])


def test_returns_are_drawn_over_steps_and_over_episodes(monkeypatch, tmp_path):
    """Two rows of panels; the figure that tells why says how many seeds its lines are the mean of."""
    figures = []
    monkeypatch.setattr(Figure, "savefig", lambda figure, path: figures.append(figure))
    statistics = dict.fromkeys(STATISTICS, 1.0)
    own = {"task": "t", "action_repeat": 1, "part": "curve", **statistics}
    rows = [
        {**own, "variant": variant, "seed": seed, "env_steps": n, "episodes": n, "episode_return": float(n)}
        for variant, seeds in (("gaussian", (1, 2)), ("literal", (1,)))
        for seed in seeds
        for n in range(3)
    ]
    draw_results(rows, tmp_path)
    returns, diagnosis = figures
    assert [axis.get_xlabel() for axis in returns.axes] == ["environment steps", "episodes of training"]
    assert [len(axis.lines) for axis in returns.axes] == [2, 2]
    labels = [text.get_text() for text in diagnosis.legends[0].get_texts()]
    assert labels == ["Gaussian (RLlib) (2)", "literal: exact ratios, A L (1)"]


def test_interval_of_the_mean_is_students():
    """Against scipy's, one column at a time; one seed has no width."""
    values = np.random.default_rng(0).normal(size=(5, 3))
    mean, width = mean_interval(values)
    for column in range(3):
        own = values[:, column]
        low, high = stats.t.interval(0.95, 4, loc=own.mean(), scale=stats.sem(own))
        assert (mean[column] - width[column], mean[column] + width[column]) == pytest.approx((low, high))
    assert np.array_equal(mean_interval(values[:1])[1], np.zeros(3))
