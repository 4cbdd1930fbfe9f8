"""Figures and the report of a run."""

import re

import numpy as np
import pytest
from PIL import Image

from distill_rl.cli.plots import draw_plots, series
from distill_rl.cli.report import write_report
from distill_rl.storage.metrics import MetricsWriter
from distill_rl.storage.run_folder import RunFolder

_RETURNS = ["return_time", "return_env_steps", "student_search_ratio"]
_PLOTS = [*_RETURNS, "throughput", "losses", "search", "staleness"]


def _row(step):
    return {
        "elapsed_sec": 2.0 * step,
        "env_steps": 100 * step,
        "search_return": None if step < 2 else 40.0 + step,
        "student_return": None if step < 2 else 30.0 + step,
        "student_search_ratio": None if step < 2 else (30.0 + step) / (40.0 + step),
        "env_steps_per_sec": 50.0,
        "simulator_steps_per_sec": 9_000.0,
        "reference_sets_per_sec": 50.0,
        "updates": 50 * step,
        "updates_per_sec": 25.0,
        "learner/policy_loss": 1.0 / (1 + step),
        "learner/value_loss": 2.0,
        "search_effective_sample_size": 4.0,
        "search_kl": 2.0,
        "policy_lag_mean": 3.0,
        "dropped": 0,
    }


def _run(tmp_path, num_rows, summary=None):
    run = RunFolder(tmp_path / "my <run>")
    run.create()
    run.write_config("search:\n  num_candidates: 16\n")
    writer = MetricsWriter(run.metrics_path, run.tensorboard_folder)
    for step in range(num_rows):
        writer.log({k: float("nan") if v is None else v for k, v in _row(step).items()}, step)
    if summary:
        run.write_summary(summary)
    return run


def test_series_skips_rows_with_a_gap():
    """Only rows that have both columns count, in their order."""
    rows = [{"x": 1, "y": None}, {"x": 2, "y": 5.0}, {"y": 3.0}, {"x": 4, "y": 6}]
    x, y = series(rows, "x", "y")
    np.testing.assert_array_equal(x, [2, 4])
    np.testing.assert_array_equal(y, [5, 6])


def test_every_figure_is_drawn_from_complete_rows(tmp_path):
    """Seven figures, none of them blank."""
    paths = draw_plots([_row(step) for step in range(5)], {"untrained_return": 3.0}, tmp_path / "plots")
    assert [path.stem for path in paths] == _PLOTS
    for path in paths:
        assert np.asarray(Image.open(path).convert("L")).std() > 5


def test_figures_of_learning_from_a_dataset(tmp_path):
    """Returns over time and updates, rates, and losses of either sign; nothing of actors or searches."""
    rows = [
        {
            "elapsed_sec": 2.0 * step,
            "updates": 500 * step,
            "epochs": 0.1 * step,
            "updates_per_sec": 250.0,
            "transitions_per_sec": 64_000.0,
            "learner/behaviour_loss": 1.0 / (1 + step),
            "learner/critic_loss": 3.0,
            "learner/q_loss": -1.0,
            "learner/q_value": 50.0 + step,
            **({"evaluation/student_return": 10.0 * step} if step % 2 else {}),
        }
        for step in range(5)
    ]
    paths = draw_plots(rows, {"untrained_return": 3.0}, tmp_path / "plots")
    assert [path.stem for path in paths] == ["return_time", "return_updates", "throughput", "losses"]
    for path in paths:
        assert np.asarray(Image.open(path).convert("L")).std() > 5
    unevaluated = [{k: v for k, v in row.items() if not k.startswith("evaluation/")} for row in rows]
    assert [path.stem for path in draw_plots(unevaluated, {}, tmp_path)] == ["throughput", "losses"]


@pytest.mark.parametrize("rows", [[], [{"elapsed_sec": 1.0}], [{"elapsed_sec": 1.0, "policy_loss": None}]])
def test_figures_without_data_are_left_out(tmp_path, rows):
    """A run that only began draws nothing rather than empty axes."""
    assert draw_plots(rows, {}, tmp_path) == []


def test_one_row_is_enough_to_draw(tmp_path):
    """The first report of a run may come after one iteration."""
    assert len(draw_plots([_row(3)], {}, tmp_path)) == len(_PLOTS)


def test_report_is_self_contained(tmp_path):
    """It shows summary and configuration, embeds every figure, escapes text, and loads nothing."""
    run = _run(
        tmp_path, 5, {"student_return": 368.4, "search_return": 417.0, "updates": 12_345, "host": "<b>"}
    )
    written = write_report(run)
    page = run.report_path.read_text()
    assert written[0] == run.report_path
    assert page.count("data:image/png;base64,") == len(_PLOTS)
    assert "<b>368.4</b><span>Student, one step</span>" in page
    assert "12,345" in page
    assert "num_candidates: 16" in page
    assert "my &lt;run&gt;" in page
    assert "&lt;b&gt;" in page
    assert not re.search(r'(src|href)="(?!data:)', page)


def test_report_of_a_run_that_goes_on_uses_the_newest_metrics(tmp_path):
    """Without a summary the last row stands in, and the page says so."""
    run = _run(tmp_path, 4)
    write_report(run)
    page = run.report_path.read_text()
    assert "has not ended; 4 iterations" in page
    assert "<b>33</b><span>Student, one step</span>" in page


def test_report_needs_a_run(tmp_path):
    """A folder without a run gives one clear line."""
    with pytest.raises(ValueError, match="must be a run folder"):
        write_report(RunFolder(tmp_path))
