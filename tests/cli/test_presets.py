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
    *(f"{task}_ppo" for task in ("cheetah_run", "inverted_pendulum", "inverted_double_pendulum")),
    *(f"{task}_online" for task in ("half_cheetah", "hopper", "walker2d")),
    *(
        f"{task}_{kind}"
        for task in ("half_cheetah", "hopper", "walker2d")
        for kind in ("medium", "medium_replay", "medium_expert")
    ),
    *(
        f"ractd_{task}_{kind}"
        for task in ("half_cheetah", "hopper", "walker2d")
        for kind in ("medium", "medium_replay", "medium_expert")
    ),
    *(
        f"antmaze_{maze}"
        for maze in ("umaze", "umaze_diverse", "medium_play", "medium_diverse", "large_play", "large_diverse")
    ),
    "pen_human",
    "pen_cloned",
    "kitchen_complete",
    "kitchen_partial",
    "kitchen_mixed",
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


_OFFLINE_FILES = {
    "base.yaml": "search: {a: 0}\n",
    "base_offline.yaml": (
        "learning: {a: 0, b: 0, c: 0, d: 0, e: 0, f: 0, g: 0}\n"
        "laptop: {learning: {b: 1, c: 1, d: 1, e: 1, f: 1, g: 1}}\n"
        "diffusion_ql: {learning: {c: 2, d: 2, e: 2, f: 2, g: 2}}\n"
    ),
    "task.yaml": (
        "run: {algorithm: diffusion_ql}\n"
        "dataset: {name: made}\n"
        "learning: {d: 3, e: 3, f: 3, g: 3}\n"
        "laptop: {learning: {e: 4, f: 4, g: 4}}\n"
        "diffusion_ql: {learning: {f: 5, g: 5}}\n"
        "consistency_ac: {learning: {a: 8}, run: {max_updates: 7}}\n"
    ),
}


@pytest.fixture
def offline_folder(monkeypatch, tmp_path):
    """A folder of presets in which `task` learns from a dataset."""
    for name, text in _OFFLINE_FILES.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(presets, "presets_folder", lambda: tmp_path)
    return tmp_path


def test_blocks_of_the_algorithm_are_levels_too(offline_folder):
    """Base, its size, its algorithm, preset, its size, its algorithm, overrides: each over those before."""
    sections = load_preset("task", overrides=["learning.g=6"])
    assert sections == {
        "learning": {"a": 0, "b": 1, "c": 2, "d": 3, "e": 4, "f": 5, "g": 6},
        "dataset": {"name": "made"},
        "run": {"algorithm": "diffusion_ql"},
    }
    assert load_preset("task", size="cluster")["learning"] == {
        **dict.fromkeys("ab", 0),
        **dict.fromkeys("c", 2),
        **dict.fromkeys("de", 3),
        **dict.fromkeys("fg", 5),
    }


def test_another_algorithm_brings_its_own_blocks(offline_folder):
    """What the blocks of the old one say is not there; the override's name is kept."""
    sections = load_preset("task", overrides=["run.algorithm=consistency_ac"])
    assert sections["learning"] == {"a": 8, "b": 1, "c": 1, "d": 3, "e": 4, "f": 4, "g": 4}
    assert sections["run"] == {"algorithm": "consistency_ac", "max_updates": 7}


def test_what_searches_has_the_other_base(offline_folder):
    """Without a name of an algorithm, or with that of the search; blocks never become sections."""
    (offline_folder / "searching.yaml").write_text("loop: {x: 1}\ndiffusion_ql: {learning: {a: 1}}\n")
    assert load_preset("searching") == {"search": {"a": 0}, "loop": {"x": 1}}
    sections = load_preset("task", overrides=["run.algorithm=distill"])
    assert sections["search"] == {"a": 0} and sections["learning"] == {"d": 3, "e": 4, "f": 4, "g": 4}


def test_what_learns_from_its_own_steps_has_a_third_base(offline_folder):
    """Chosen by the algorithm, in the preset or in an override; it is no preset itself."""
    (offline_folder / "base_online.yaml").write_text("loop: {z: 2}\n")
    (offline_folder / "acting.yaml").write_text("run: {algorithm: online_diffusion_ql}\n")
    assert load_preset("acting") == {"loop": {"z": 2}, "run": {"algorithm": "online_diffusion_ql"}}
    sections = load_preset("task", overrides=["run.algorithm=online_consistency_ac"])
    assert sections["loop"] == {"z": 2} and "search" not in sections
    assert preset_names() == ["acting", "task"]


def test_what_was_resolved_with_an_algorithm_is_a_preset(tmp_path):
    """What `dump_sections` wrote is read back the same: its blocks are not asked again."""
    sections = load_preset("hopper_medium_replay", overrides=["run.algorithm=diffusion_ql"])
    path = tmp_path / "config.yaml"
    path.write_text(dump_sections(sections))
    assert load_preset(str(path)) == presets.read_sections(path) == sections


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
        (
            ("cheetah_rum",),
            r"must be .* got 'cheetah_rum' \(did you mean 'cheetah_run'\?\); see `distill-rl presets`$",
        ),
        (("base",), r"`preset` must be the name of one, or a YAML file, got 'base'"),
        (("base_offline",), r"`preset` must be the name of one, or a YAML file, got 'base_offline'"),
        (
            ("hopper_medium", "laptop", ["run.algorithm=consistency_aq"]),
            r"`run.algorithm` must be one of .*did you mean 'consistency_ac'",
        ),
        (("cheetah_run", "desktop"), r"`size` must be one of cluster, collect, laptop; got 'desktop'"),
        (("cheetah_run_ppo", "huge"), r"`size` must be one of cluster, laptop; got 'huge'"),
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


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            b"just words",
            r"section 'just words' of preset `broken\.yaml` must be a mapping of settings, got None",
        ),
        (b"[1, 2]", r"preset `broken\.yaml` must map sections to settings, got '\[1, 2\]'"),
        (b"a: [b", r"preset `broken\.yaml` must be YAML in UTF-8, got"),
        (b"search: \xff", r"preset `broken\.yaml` must be YAML in UTF-8, got"),
        (b"search: 3", r"section 'search' of preset `broken\.yaml` must be a mapping of settings, got 3"),
        (b"search:", r"section 'search' of preset `broken\.yaml` must be a mapping of settings, got None"),
        (b"# nothing\n", r"preset `broken\.yaml` must map sections to settings, got an empty file"),
    ],
)
def test_a_file_that_is_no_mapping_of_sections_is_refused(tmp_path, content, message):
    """A preset is a mapping of mappings."""
    path = tmp_path / "broken.yaml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
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
