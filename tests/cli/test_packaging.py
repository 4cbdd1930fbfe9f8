import tomllib
from pathlib import Path

_REPOSITORY = Path(__file__).parents[2]


def test_every_package_is_in_the_wheel():
    """The list in `pyproject.toml` names every folder with modules, and none that is not there."""
    with open(_REPOSITORY / "pyproject.toml", "rb") as file:
        listed = set(tomllib.load(file)["tool"]["setuptools"]["packages"])
    found = {
        ".".join(path.parent.relative_to(_REPOSITORY).parts)
        for top in ("distill_rl", "actors", "learners")
        for path in (_REPOSITORY / top).rglob("__init__.py")
    }
    assert listed == found | {"distill_rl.presets"}
