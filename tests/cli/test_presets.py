"""Presets: found in both kinds of installation, layered, and overridden."""

import shutil
import subprocess
import sys
import zipfile
from importlib import resources
from pathlib import Path

import pytest

from distill_rl.cli import presets
from distill_rl.cli.presets import dump_sections, load_preset, preset_names, presets_folder

_REPOSITORY = Path(__file__).parents[2]

_TASKS = [
    "cheetah_run",
    "walker_stand",
    "walker_walk",
    "walker_run",
    "hopper_stand",
    "hopper_hop",
    "cartpole_balance",
    "cartpole_swingup",
    "pendulum_swingup",
    "reacher_easy",
    "reacher_hard",
    "point_mass_easy",
    "acrobot_swingup",
    "finger_spin",
    "ball_in_cup_catch",
    "half_cheetah",
    "hopper",
    "walker2d",
    "swimmer",
    "inverted_pendulum",
    "reacher",
    "cartpole_swingup_latent",
    "cheetah_run_latent",
]


def test_there_is_a_preset_for_every_task():
    """The list of tasks, those with a learned model among them, and the demo; `base` is not one."""
    assert preset_names() == sorted([*_TASKS, "demo"])


def test_folder_is_the_package_data_where_there_is_one(monkeypatch, tmp_path):
    """In a wheel `distill_rl.presets` resolves, and wins."""
    monkeypatch.setattr(resources, "files", lambda name: {"distill_rl.presets": tmp_path}[name])
    assert presets_folder() == tmp_path


def test_folder_falls_back_to_the_checkout(monkeypatch):
    """In an editable install there is no such package."""

    def files(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(resources, "files", files)
    assert presets_folder() == _REPOSITORY / "configs"


def test_levels_override_each_other_in_order(monkeypatch, tmp_path):
    """Base, its size, preset, its size, overrides: each wins over the one before."""
    (tmp_path / "base.yaml").write_text(
        "search: {a: 0, b: 0, c: 0, d: 0, e: 0}\nlaptop: {search: {b: 1, c: 1, d: 1, e: 1}}\n"
    )
    (tmp_path / "task.yaml").write_text(
        "search: {c: 2, d: 2, e: 2}\nlaptop: {search: {d: 3, e: 3}}\ncluster: {search: {d: 9}}\n"
    )
    monkeypatch.setattr(presets, "presets_folder", lambda: tmp_path)
    assert load_preset("task", overrides=["search.e=4"]) == {
        "search": {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4}
    }
    assert load_preset("task", size="cluster") == {"search": {"a": 0, "b": 0, "c": 2, "d": 9, "e": 2}}


def test_override_values_are_yaml():
    """Numbers, lists, booleans and null keep their types."""
    sections = load_preset(
        "cheetah_run",
        overrides=["search.num_candidates=32", "search.discount=1e-1", "search.x=[0.1, 0.2]", "loop.y=null"],
    )
    assert sections["search"]["num_candidates"] == 32
    assert sections["search"]["discount"] == 0.1
    assert sections["search"]["x"] == [0.1, 0.2]
    assert sections["loop"] == {"y": None}


def test_another_operator_leaves_the_presets_options_of_the_old_one_behind():
    """What both operators have stays; what is given with the new one is set."""
    search = load_preset("cheetah_run", overrides=["search.operator=gumbel_muzero", "search.max_depth=3"])[
        "search"
    ]
    assert search == {"operator": "gumbel_muzero", "max_depth": 3, "discount": 0.96}
    assert load_preset("cheetah_run", overrides=["search.operator=mppi"])["search"]["horizon_sec"] == 0.32


def test_a_yaml_file_is_a_preset(tmp_path):
    """What `dump_sections` wrote is read back the same, whatever the base says."""
    sections = load_preset("walker_walk", overrides=["search.num_candidates=5"])
    path = tmp_path / "config.yaml"
    path.write_text(dump_sections(sections))
    assert load_preset(str(path)) == sections


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cheetah_rum",), r"`preset` must be one of .*did you mean 'cheetah_run'"),
        (("base",), r"`preset` must be one of"),
        (("cheetah_run", "desktop"), r"`size` must be one of cluster, laptop; got 'desktop'"),
        (("none.yaml",), r"got no file at 'none.yaml'"),
        (("cheetah_run", "laptop", ["search"]), r"of the form section.key=value, got 'search'"),
        (("cheetah_run", "laptop", ["search=3"]), r"of the form section.key=value, got 'search=3'"),
        (("cheetah_run", "laptop", ["search.a=[1"]), r"overrides must have YAML values"),
    ],
)
def test_mistakes_get_one_clear_line(arguments, message):
    """The name, what was expected, what came."""
    with pytest.raises(ValueError, match=message):
        load_preset(*arguments)


@pytest.mark.parametrize("text", ["just words", "[1, 2]", "search: 3", "a: [b"])
def test_a_file_that_is_no_mapping_of_sections_is_refused(tmp_path, text):
    """A preset is a mapping of mappings."""
    path = tmp_path / "broken.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"preset `broken\.yaml` must"):
        load_preset(str(path))


@pytest.mark.slow
def test_the_wheel_carries_the_presets(tmp_path):
    """Installed from a wheel, away from the checkout, the presets are found as package data."""
    source = tmp_path / "source"
    for name in ("distill_rl", "actors", "learners", "configs"):
        shutil.copytree(_REPOSITORY / name, source / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(_REPOSITORY / name, source)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "-q",
        "-w",
        tmp_path,
    ]
    subprocess.run([*command, str(source)], check=True, cwd=tmp_path)
    (wheel,) = tmp_path.glob("*.whl")
    installed = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(installed)
    program = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from distill_rl.cli.presets import preset_names, presets_folder\n"
        "print(presets_folder()); print(*preset_names())"
    )
    output = subprocess.run(
        [sys.executable, "-S", "-c", "import site; site.main()\n" + program, str(installed)],
        check=True,
        cwd=tmp_path,
        capture_output=True,
        text=True,
    ).stdout.splitlines()
    assert str(installed) in output[0]
    assert output[1].split() == sorted([*_TASKS, "demo"])
