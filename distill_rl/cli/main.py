"""The command `distill-rl`. Commands only read arguments and print; the work is in the modules beside."""

import os
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from distill_rl.cli.datasets_app import datasets_app
from distill_rl.cli.edge_commands import actor, follow
from distill_rl.cli.messages import told_in_one_line
from distill_rl.cli.stop_request import SIGNAL_EXIT_BASE

# Training renders nothing; without this MuJoCo looks for a display in every process.
os.environ.setdefault("MUJOCO_GL", "disabled")

app = typer.Typer(
    help="Distils slow decision makers into one-step policies.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

app.add_typer(datasets_app, name="datasets")
app.command()(actor)
app.command()(follow)

_STYLES = {"ok": "green", "warn": "yellow", "fail": "red"}


@app.command()
def train(
    preset: Annotated[
        str | None, typer.Argument(help="Name of a preset (see `distill-rl presets`) or a YAML file.")
    ] = None,
    overrides: Annotated[
        list[str] | None, typer.Argument(help="section.key=value, such as search.num_candidates=32.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Run folder; by default runs/PRESET.")] = None,
    size: Annotated[
        str, typer.Option(help="laptop, cluster, collect or small, if the preset has it.")
    ] = "laptop",
    time_limit: Annotated[str | None, typer.Option(help="Training time: 90, 15m, 1h30m.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of everything random.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the newest good checkpoint.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove the run that is there.")] = False,
    resume_or_start: Annotated[
        bool, typer.Option("--resume-or-start", help="Go on if the folder has a checkpoint, else start.")
    ] = False,
    restarts: Annotated[
        int,
        typer.Option(min=0, help="Go on by itself, at most so many times, if the driver dies or is stuck."),
    ] = 0,
) -> None:
    """Trains a one-step policy, and leaves a run folder with checkpoints, figures and a report."""
    with told_in_one_line():
        from distill_rl.cli.arguments import TrainArguments, resolve_sections, resume_if_saved

        arguments = TrainArguments(preset, tuple(overrides or ()), out, size, time_limit, seed, resume)
        if resume_or_start:
            if resume or overwrite:
                named = "--resume" if resume else "--overwrite"
                raise ValueError(f"`--resume-or-start` decides for itself what to do; got {named} too")
            arguments = resume_if_saved(arguments)
            overwrite = not arguments.resume  # a run that died before its first checkpoint
        sections, folder = resolve_sections(arguments)
        if restarts:
            from distill_rl.cli.driver_supervisor import DriverSupervisor
            from distill_rl.cli.sections import build_config

            patience_sec = build_config(sections)[1].progress_timeout_sec
            supervisor = DriverSupervisor(folder, restarts, patience_sec, partial(typer.echo, err=True))
            raise typer.Exit(supervisor.run(arguments, overwrite))
        # Only now: it brings Ray, for which a mistyped name should not have to wait.
        from distill_rl.cli.training import run_training

        outcome = run_training(
            sections, folder, resume=arguments.resume, overwrite=overwrite, console=_console()
        )
    if outcome.signal_number is not None:
        raise typer.Exit(SIGNAL_EXIT_BASE + outcome.signal_number)
    _print_returns(outcome.summary)
    _console().print(f"report: {Path(folder).absolute() / 'report.html'}", soft_wrap=True, highlight=False)


@app.command()
def evaluate(
    path: Annotated[Path, typer.Argument(help="Run folder, checkpoint or policy folder.")],
    episodes: Annotated[int, typer.Option(min=1, help="Episodes of each kind.")] = 10,
    noise_scale: Annotated[
        float | None, typer.Option(min=0.0, help="0 mode-like, 1 full distribution; by default the policy's.")
    ] = None,
    num_steps: Annotated[
        int | None, typer.Option(min=1, help="Network calls for each action; by default the policy's.")
    ] = None,
    num_candidates: Annotated[
        int | None, typer.Option(min=1, help="Actions sampled for a critic to choose from.")
    ] = None,
    exec_horizon: Annotated[
        int | None, typer.Option(min=1, help="Actions of a chunk acted out before it plans again.")
    ] = None,
    sampler: Annotated[str | None, typer.Option(help="Of a teacher over chunks: heun, ddim, ...")] = None,
    teacher: Annotated[
        bool, typer.Option("--teacher", help="Judge the teacher over chunks instead.")
    ] = False,
    search: Annotated[bool, typer.Option("--search", help="Also judge the search; needs a run.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of the episodes.")] = 0,
) -> None:
    """Measures the return of a saved policy."""
    with told_in_one_line():
        from distill_rl.cli.evaluation import (
            POLICY_FOLDER,
            TEACHER_FOLDER,
            StudentSettings,
            evaluate_path,
        )

        settings = StudentSettings(num_steps, noise_scale, num_candidates, exec_horizon, sampler)
        name = TEACHER_FOLDER if teacher else POLICY_FOLDER
        results = evaluate_path(path, episodes, seed, settings, with_search=search, name=name)
    for name, result in results.items():
        line = f"{name} return {result.mean_return:.1f} +- {result.returns.std():.1f}"
        typer.echo(f"{line} over {len(result.returns)} episodes of {result.lengths.mean():.0f} steps")


@app.command()
def report(run: Annotated[Path, typer.Argument(help="Run folder, finished or not.")]) -> None:
    """Draws the figures of a run and writes its report."""
    with told_in_one_line():
        from distill_rl.cli.report import write_report
        from distill_rl.storage.run_folder import RunFolder

        for path in write_report(RunFolder(run)):
            typer.echo(path)


@app.command()
def reproduce(
    name: Annotated[str, typer.Argument(help="Name of an experiment, such as learning_curves.")],
    scale: Annotated[str, typer.Option(help="tiny (seconds), small (minutes) or full.")] = "small",
    out: Annotated[Path | None, typer.Option(help="Folder; by default results/NAME.")] = None,
) -> None:
    """Runs an experiment; writes results.json, table.md and figures. Finished parts are kept."""
    with told_in_one_line():
        from distill_rl.cli.reproduce import reproduce as reproduce_experiment

        paths = reproduce_experiment(name, scale, out or Path("results") / name, typer.echo)
    for path in paths:
        typer.echo(path)


@app.command()
def collect(
    targets: Annotated[
        list[str],
        typer.Argument(
            help="Presets, or maze2d; and section.key=value for the training or the planner.",
            metavar="PRESET...",
        ),
    ],
    kind: Annotated[
        list[str] | None,
        typer.Option(help="random, medium-replay, ...; umaze, medium, large. All by default."),
    ] = None,
    steps: Annotated[int, typer.Option(min=1, help="Steps of each dataset that is no replay.")] = 50_000,
    training_steps: Annotated[
        int | None, typer.Option(min=1, help="Environment steps of the training; by default the preset's.")
    ] = None,
    evaluation_steps: Annotated[
        int, typer.Option(min=1, help="Steps of training between two policies that are judged.")
    ] = 2_000,
    noise_scale: Annotated[float, typer.Option(help="Noise of the medium and the expert policy.")] = 0.05,
    seed: Annotated[int, typer.Option(min=0, help="Seed of everything random.")] = 0,
    prefix: Annotated[str, typer.Option(help="Datasets are called PREFIX-TASK-KIND.")] = "own",
    minari_id: Annotated[
        str | None, typer.Option(help="Also write Minari datasets PREFIX/TASK/KIND-v0.", metavar="PREFIX")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace datasets of these names.")] = False,
    policy_path: Annotated[
        Path | None,
        typer.Option("--from", help="Take the policy of this run or checkpoint, instead of training one."),
    ] = None,
    planner: Annotated[
        str | None,
        typer.Option(help="Plan with this operator, such as mppi, instead of training a policy."),
    ] = None,
) -> None:
    """Makes datasets of our own policies, after a training, of planners, or of the controller of Maze2d."""
    with told_in_one_line():
        from distill_rl.cli.collect import collect as collect_datasets
        from distill_rl.cli.collector import ALL, CollectSettings
        from distill_rl.cli.progress import ProgressLine

        overrides = tuple(word for word in targets if "=" in word)
        plans = [
            CollectSettings(
                preset,
                tuple(kind or (ALL,)),
                overrides,
                num_steps=steps,
                training_steps=training_steps,
                evaluation_steps=evaluation_steps,
                noise_scale=noise_scale,
                seed=seed,
                prefix=prefix,
                minari_prefix=minari_id,
                overwrite=overwrite,
                policy_path=policy_path,
                planner=planner,
            )
            for preset in targets
            if "=" not in preset
        ]
        if not plans:
            raise ValueError(f"a preset must be named, or maze2d; got {targets}")
        for plan in plans:
            for path in collect_datasets(plan, ProgressLine(_console())):
                typer.echo(path)


@app.command()
def presets() -> None:
    """Lists the presets, with their environments and datasets."""
    from distill_rl.cli.presets import load_preset, preset_names

    # Not a table, which would cut long names off on a narrow terminal.
    for name in preset_names():
        sections = load_preset(name)
        env, dataset = sections.get("environment", {}).get("env"), sections.get("dataset", {}).get("name")
        typer.echo(f"{name:<29} {env or 'no environment':<40} {dataset or ''}".rstrip())


@app.command()
def doctor() -> None:
    """Looks at what this machine has and lacks; fails if training cannot work."""
    from distill_rl.cli.doctor import examine

    findings = examine()
    for finding in findings:
        mark = f"[{_STYLES[finding.status]}]{finding.status:<4}[/]"
        remedy = f"\n     -> {finding.remedy}" if finding.remedy else ""
        _console().print(f"{mark} {finding.name}: {finding.detail}{remedy}", highlight=False, soft_wrap=True)
    if any(finding.status == "fail" for finding in findings):
        raise typer.Exit(1)


def _console() -> Console:
    return Console()


def _print_returns(summary: dict) -> None:
    table = Table("policy", "return", box=None)
    for name in ("untrained", "student", "search"):
        value = summary.get(f"{name}_return")
        table.add_row(name, "-" if value is None else f"{value:.1f}")
    _console().print(table)


if __name__ == "__main__":
    app()
