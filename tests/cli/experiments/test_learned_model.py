"""Search in a learned model beside search in the simulator, from the command to the picture."""

import json

import pytest

from distill_rl.cli.experiments.learned_model import learned_model_specs
from distill_rl.cli.experiments.step_curve import StepCurveSpec, record_step_curve
from distill_rl.cli.reproduce import reproduce


@pytest.mark.ray
def test_learned_model_tiny(tmp_path):
    """Both kinds of search on both tasks; a second call finds everything there."""
    reproduce("learned_model", "tiny", tmp_path)
    rows = json.loads((tmp_path / "results.json").read_text())
    measured = {(row["preset"], row["policy"], row["seed"]) for row in rows}
    presets = ("cartpole_swingup", "cartpole_swingup_latent", "cheetah_run", "cheetah_run_latent")
    assert measured == {(preset, policy, 10) for preset in presets for policy in ("student", "search")}
    for preset, policy, _ in measured:
        own = [row for row in rows if (row["preset"], row["policy"]) == (preset, policy)]
        assert [row["env_steps"] for row in own] == ([0, 40] if "cartpole" in preset else [0, 72])
        # Two candidates at least, over one step of the model or as many control steps as one action takes.
        assert own[-1]["searched_steps"] >= 2 * own[-1]["env_steps"] * (1 if "latent" in preset else 20)
    assert "| cheetah-run | learned model | 1 | 72 |" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "learned_model.png").read_bytes().startswith(b"\x89PNG")
    lines = []
    reproduce("learned_model", "tiny", tmp_path, lines.append)
    assert len(lines) == 4 and all("already there" in line for line in lines)


def test_small_scale_gives_both_searches_the_same_seeds_and_steps():
    """Three seeds a preset; a task's two presets train for as long as each other."""
    specs = learned_model_specs("small")
    assert len(specs) == 12
    for seed in (10, 11, 12):
        for task in ("cartpole_swingup", "cheetah_run"):
            simulator, model = (specs[f"{task}{kind}_seed{seed}"] for kind in ("", "_latent"))
            assert simulator.num_env_steps == model.num_env_steps
            assert simulator.settings == model.settings == {}


@pytest.mark.ray
def test_a_seed_settles_the_curve(ray_cluster):
    """The same returns twice, others with another seed."""
    tiny = learned_model_specs("tiny")["cartpole_swingup_latent_seed10"]
    first, again, other = (
        record_step_curve(StepCurveSpec(**vars(tiny) | {"seed": seed})) for seed in (1, 1, 2)
    )
    assert [row["episode_return"] for row in first] == [row["episode_return"] for row in again]
    assert [row["episode_return"] for row in first] != [row["episode_return"] for row in other]


def test_a_curve_without_steps_is_refused():
    """Naming the field and what came."""
    with pytest.raises(ValueError, match="`num_env_steps` must be positive, got 0"):
        StepCurveSpec("cheetah_run", 0, 0, 1, {"student": 1})
