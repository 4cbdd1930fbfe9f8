"""Cluster files pass Ray's own validation, offline."""

from pathlib import Path

import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config

_CLUSTER = Path(__file__).parents[2] / "cluster"


def _load(name="local.yaml"):
    return yaml.safe_load((_CLUSTER / name).read_text())


@pytest.mark.parametrize("path", sorted(_CLUSTER.glob("*.yaml")), ids=lambda path: path.name)
def test_file_is_valid(path):
    """What `ray up` would refuse is refused here."""
    validate_config(prepare_config(_load(path.name)))


def test_validation_catches_an_unknown_key():
    """The check above can fail."""
    with pytest.raises(Exception, match="num_workers"):
        validate_config(prepare_config(_load() | {"num_workers": 2}))


def test_every_worker_machine_is_used():
    """`max_workers` counts the machines without the head."""
    config = _load()
    assert config["max_workers"] == len(config["provider"]["worker_ips"])
