"""From the arguments of `distill-rl train` to sections and a run folder."""

import dataclasses
from pathlib import Path
from typing import Any

from distill_rl.cli.duration import parse_duration
from distill_rl.cli.presets import load_preset, read_sections
from distill_rl.storage.checkpoints import CheckpointStore
from distill_rl.storage.run_folder import RunFolder


@dataclasses.dataclass(frozen=True)
class TrainArguments:
    """What was typed after `distill-rl train`.

    Attributes:
      preset: name or file; on a resume it may be left out.
      overrides: `section.key=value` each.
      out: run folder; None for `runs/PRESET`.
      size: one of `distill_rl.cli.presets.SIZES` that the preset has.
      time_limit: training time, such as `15m`; None keeps the preset's.
      seed: None keeps the preset's.
      resume: whether a run goes on.
    """

    preset: str | None = None
    overrides: tuple[str, ...] = ()
    out: Path | None = None
    size: str = "laptop"
    time_limit: str | None = None
    seed: int | None = None
    resume: bool = False


def resume_if_saved(arguments: TrainArguments) -> TrainArguments:
    """Returns the arguments that go on with the run in the folder, or start it if it has saved nothing.

    Raises:
      ValueError: if no folder can be told.
    """
    run = RunFolder(_run_folder(arguments.preset, arguments.out))
    is_saved = run.is_run() and CheckpointStore(run.checkpoints_folder).latest() is not None
    return dataclasses.replace(arguments, resume=is_saved)


def resolve_sections(arguments: TrainArguments) -> tuple[dict[str, Any], Path]:
    """Resolves the arguments.

    A run that goes on keeps the configuration it was started with; overrides, time limit and seed apply on
    top.

    Args:
      arguments: what was typed.

    Returns:
      Sections, and the run folder.

    Raises:
      ValueError: for a missing, unknown or contradictory argument.
    """
    preset, overrides = arguments.preset, list(arguments.overrides)
    if preset is not None and "=" in preset:  # `--resume section.key=value`: no preset was typed
        overrides.insert(0, preset)
        preset = None
    if arguments.time_limit is not None:
        overrides.append(f"run.time_limit_sec={parse_duration(arguments.time_limit)}")
    if arguments.seed is not None:
        overrides.append(f"debugging.seed={arguments.seed}")
    if not arguments.resume:
        if preset is None:
            raise ValueError("give a preset (see `distill-rl presets`), or --resume and --out of a run")
        return load_preset(preset, arguments.size, overrides), _run_folder(preset, arguments.out)
    folder = _run_folder(preset, arguments.out)
    run = RunFolder(folder)
    run.require_run()
    sections = read_sections(run.config_path, overrides)
    if preset is not None:
        _check_same_env(sections, load_preset(preset, arguments.size, overrides), folder)
    return sections, folder


def _run_folder(preset: str | None, out: Path | None) -> Path:
    if out is not None:
        return out
    if preset is None:
        raise ValueError("`--out` must name the run folder when no preset is given")
    return Path("runs") / Path(preset).stem


def _check_same_env(stored: dict[str, Any], typed: dict[str, Any], folder: Path) -> None:
    was, now = (sections.get("environment", {}).get("env") for sections in (stored, typed))
    if was != now:
        raise ValueError(f"`{folder}` must be resumed in its environment {was!r}, got a preset of {now!r}")
