"""The command `distill-rl datasets`."""

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from distill_rl.cli.messages import told_in_one_line

datasets_app = typer.Typer(help="Fixed data to learn from.", no_args_is_help=True)


@datasets_app.command("list")
def list_datasets() -> None:
    """Lists the datasets on this machine."""
    with told_in_one_line():
        from distill_rl.cli.datasets import describe
        from distill_rl.datasets.store import dataset_names, datasets_folder, load_dataset

        names = dataset_names()
        if not names:
            typer.echo(f"no datasets in {datasets_folder()}; get one by `distill-rl datasets import`")
            return
        table = Table("dataset", "episodes", "steps", "mean return", "score", "source", box=None)
        problems = []
        for name in names:
            try:
                facts = describe(load_dataset(name))
            except ValueError as error:
                table.add_row(name, "-", "-", "-", "-", "damaged, see below")
                problems.append(f"{name}: {error}")
                continue
            score = "-" if facts.score is None else f"{facts.score:.1f}"
            cells = (f"{facts.num_episodes:,}", f"{facts.num_steps:,}", f"{facts.mean_return:.1f}", score)
            table.add_row(name, *cells, facts.source)
    Console().print(table)
    for problem in problems:  # whole, which a cell of the table has no room for
        typer.echo(problem)


@datasets_app.command()
def show(
    name: Annotated[str, typer.Argument(help="Name of a dataset, or its folder.")],
    out: Annotated[Path | None, typer.Option(help="Folder of the figures; by default the dataset's.")] = None,
) -> None:
    """Prints what is in a dataset, and draws its returns and the states that it covers."""
    with told_in_one_line():
        from distill_rl.cli.datasets import describe, draw_dataset
        from distill_rl.datasets.store import find_dataset, load_dataset

        dataset = load_dataset(name)
        for label, text in describe(dataset).lines():
            typer.echo(f"{label:<16} {text}")
        for path in draw_dataset(dataset, out or find_dataset(name)):
            typer.echo(path)


@datasets_app.command("import")
def import_dataset(
    source: Annotated[str, typer.Argument(help="An HDF5 file of D4RL, or the id of a Minari dataset.")],
    name: Annotated[str | None, typer.Option(help="What to call it; by default as the source.")] = None,
    max_episode_steps: Annotated[
        int | None, typer.Option(min=1, help="D4RL files that do not say where episodes end.")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch a Minari dataset that is not here.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace one of that name.")] = False,
) -> None:
    """Reads a dataset of another format."""
    with told_in_one_line():
        from distill_rl.cli.datasets import import_from

        path = import_from(
            source, name, max_episode_steps=max_episode_steps, download=download, overwrite=overwrite
        )
        typer.echo(path)


@datasets_app.command("export")
def export_dataset(
    name: Annotated[str, typer.Argument(help="Name of a dataset, or its folder.")],
    minari_id: Annotated[str, typer.Argument(help="Id to give it, such as own/hopper/medium-v0.")],
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace one of that id.")] = False,
) -> None:
    """Writes a dataset as a Minari dataset of this machine."""
    with told_in_one_line():
        from distill_rl.datasets.minari_format import write_minari
        from distill_rl.datasets.store import load_dataset

        write_minari(load_dataset(name), minari_id, overwrite)
    typer.echo(minari_id)
