"""What is typed after `distill-rl train`."""

import dataclasses
from pathlib import Path

import pytest

from distill_rl.cli.arguments import TrainArguments, resolve_sections, resume_if_saved
from distill_rl.cli.presets import dump_sections, load_preset
from distill_rl.storage.checkpoints import CheckpointStore
from distill_rl.storage.run_folder import RunFolder


def _stored_run(path, *overrides):
    run = RunFolder(path)
    run.create()
    run.write_config(dump_sections(load_preset("cheetah_run", overrides=overrides)))
    return path


def test_time_limit_and_seed_are_settings_like_any_other():
    """They win over the preset and over overrides."""
    sections, folder = resolve_sections(
        TrainArguments(
            "cheetah_run", ("debugging.seed=1", "search.num_candidates=9"), time_limit="15m", seed=5
        )
    )
    assert sections["run"]["time_limit_sec"] == 900.0
    assert sections["debugging"]["seed"] == 5
    assert sections["search"]["num_candidates"] == 9
    assert folder == Path("runs/cheetah_run")


def test_a_resumed_run_keeps_its_configuration(tmp_path):
    """The preset may be left out; what is typed applies on top of what is stored."""
    out = _stored_run(tmp_path / "run", "search.num_candidates=9", "debugging.seed=3")
    sections, _ = resolve_sections(TrainArguments(out=out, resume=True, time_limit="1h"))
    assert sections["search"]["num_candidates"] == 9
    assert sections["debugging"]["seed"] == 3
    assert sections["run"]["time_limit_sec"] == 3600.0
    sections, _ = resolve_sections(TrainArguments("search.num_candidates=5", ("loop.x=1",), out, resume=True))
    assert sections["search"]["num_candidates"] == 5
    assert sections["loop"]["x"] == 1


def test_resume_or_start_goes_on_from_a_checkpoint_if_there_is_one(tmp_path):
    """A run that died before its first starts, like one that is not there."""
    arguments = TrainArguments("cheetah_run", out=tmp_path / "run")
    assert not resume_if_saved(arguments).resume
    run = RunFolder(_stored_run(tmp_path / "run"))
    assert not resume_if_saved(arguments).resume
    CheckpointStore(run.checkpoints_folder).save(0, lambda folder: None, {})
    assert resume_if_saved(arguments) == dataclasses.replace(arguments, resume=True)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (TrainArguments(out=Path("x")), "give a preset .see `distill-rl presets`., or --resume and --out"),
        (TrainArguments(), "give a preset .see `distill-rl presets`., or --resume and --out"),
        (TrainArguments(resume=True), "`--out` must name the run folder"),
        (TrainArguments("demo", time_limit="soon"), "`time-limit` must be a positive duration"),
        (TrainArguments("demo", out=Path("none"), resume=True), "must be a run folder"),
    ],
)
def test_mistakes_get_one_clear_line(arguments, message):
    """The name, what was expected, what came."""
    with pytest.raises(ValueError, match=message):
        resolve_sections(arguments)


def test_resuming_in_another_environment_is_refused(tmp_path):
    """A typo in `--out` does not continue the wrong run."""
    out = _stored_run(tmp_path / "run")
    with pytest.raises(
        ValueError, match="in its environment 'dm_control/cheetah-run-v0', got a preset of 'dm_c"
    ):
        resolve_sections(TrainArguments("walker_walk", out=out, resume=True))
    sections, _ = resolve_sections(TrainArguments("cheetah_run", out=out, resume=True))
    assert sections["environment"]["env"] == "dm_control/cheetah-run-v0"
