"""The laboratory, from the command to its tables and figures."""

import json

import numpy as np
from typer.testing import CliRunner

from distill_rl.cli.experiments.table1 import table1_specs
from distill_rl.cli.main import app
from distill_rl.cli.reproduce import reproduce
from learners.config import DistillationConfig
from learners.laboratory.experiment import Experiment as ReferenceExperiment
from learners.laboratory.methods import METHODS


def test_table1_tiny(tmp_path):
    """Every part is measured and shown: the paper's rows with their ratios, samples, estimators, figures."""
    out = tmp_path / "table1"
    result = CliRunner().invoke(app, ["reproduce", "table1", "--scale", "tiny", "--out", str(out)])
    assert result.exit_code == 0, result.output
    rows = json.loads((out / "results.json").read_text())
    trained = {(r["data"], r["method"]) for r in rows if "method" in r}
    methods = {"original", "importance", "CT", "endpoint"}
    assert trained == {(d, m) for d in ("fixed", "fresh") for m in methods} | {
        ("conditioned", "CT"),
        ("conditioned", "endpoint"),
    }
    for row in rows:
        numbers = [value for value in row.values() if isinstance(value, float)]
        assert numbers and np.isfinite(numbers).all()
    table = (out / "table.md").read_text()
    assert "Importance over original: LogP MSE" in table and "(paper 0.874)" in table
    assert "| exact samples |" in table and "| defensive_mixture | 256 |" in table
    for name in ("figure1", "figure2", "estimators", "one_step"):
        assert (out / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    lines = []
    reproduce("table1", "tiny", out, lines.append)
    assert len(lines) == 16 and all(line.endswith("already there") for line in lines)
    assert json.loads((out / "results.json").read_text()) == rows


def test_table1_full_is_the_papers_size():
    """Five instances, five seeds, 1e5 updates of 64, sets of 16, learning rate 1e-4, ten noise levels."""
    specs = table1_specs("full")
    trained = [spec for spec in specs.values() if spec["kind"] == "loss"]
    assert {spec["method"] for spec in trained} == set(METHODS)
    assert {spec["num_updates"] for spec in trained} == {100_000}
    for spec in trained:
        experiment = ReferenceExperiment(**spec["experiment"])
        config = DistillationConfig(**spec["distillation"], num_noises=2)
        assert (experiment.num_instances, experiment.num_seeds) == (5, 5)
        assert (experiment.num_candidates, experiment.batch_size) == (16, 64)
        assert (config.sigma_min, config.sigma_max, config.num_noise_levels) == (0.002, 80.0, 10)
        assert config.learning_rate == 1e-4
