"""Cluster files pass the validation of those who will read them, offline."""

import copy
import json
import os
import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import yaml
from cloud_schemas import find_aws_problems, find_gcp_problems
from kuberay_schema import SCHEMAS
from ray.autoscaler._private.util import prepare_config, validate_config

from distill_rl.algorithms.offline_config import OfflineConfig
from distill_rl.cli.alarms import AlarmLimits, Alarms
from distill_rl.cli.presets import load_preset
from distill_rl.cli.sections import build_config

_CHECKOUT = Path(__file__).parents[2]
_CLUSTER = _CHECKOUT / "cluster"
_CLOUDS = {"aws.yaml": find_aws_problems, "gcp.yaml": find_gcp_problems}
_KUBERNETES_VERSION = "1.30"


def _load(name="on_prem.yaml"):
    return yaml.safe_load((_CLUSTER / name).read_text())


def _manifests():
    for path in sorted((_CLUSTER / "kuberay").glob("*.yaml")):
        yield from yaml.safe_load_all(path.read_text())


def _manifest(kind):
    return next(manifest for manifest in _manifests() if manifest["kind"] == kind)


def _pod_templates():
    spec = _manifest("RayCluster")["spec"]
    return {
        group.get("groupName", "head"): group["template"]
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])
    }


def _check_kubernetes(manifest):
    kubernetes_validate.validate(manifest, _KUBERNETES_VERSION, strict=True)


def _check_pod_template(template):
    _check_kubernetes({"apiVersion": "v1", "kind": "PodTemplate", "template": template})


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


@pytest.mark.parametrize("name", _CLOUDS)
def test_the_cloud_would_take_every_machine(name):
    """Every key, type and named value of each `node_config` is known to the cloud's own API description."""
    node_types = _load(name)["available_node_types"]
    problems = {key: _CLOUDS[name](node_type["node_config"]) for key, node_type in node_types.items()}
    assert problems == {key: [] for key in node_types}


@pytest.mark.parametrize(
    ("name", "change", "problem"),
    [
        ("aws.yaml", {"InstanceTyp": "m7i.large"}, "InstanceTyp is unknown"),
        ("aws.yaml", {"InstanceType": "m7i.larg"}, "got 'm7i.larg'"),
        ("aws.yaml", {"InstanceMarketOptions": {"MarketType": "sport"}}, "got 'sport'"),
        ("gcp.yaml", {"machinetype": "n2-standard-2"}, "machinetype is unknown"),
        ("gcp.yaml", {"scheduling": {"provisioningModel": "SPOTS"}}, "got 'SPOTS'"),
        ("gcp.yaml", {"disks": {"boot": True}}, "must be of type array"),
    ],
)
def test_a_typo_in_a_machine_is_caught(name, change, problem):
    """Ray's validator passes these."""
    node_config = _load(name)["available_node_types"]["actor"]["node_config"]
    assert any(problem in line for line in _CLOUDS[name](node_config | change))


@pytest.mark.parametrize("name", _CLOUDS)
def test_only_what_may_be_lost_is_spot(name):
    """Actors and evaluators are cheap and come back; head and learner stay."""
    node_types = _load(name)["available_node_types"]
    spot = {key for key, node_type in node_types.items() if "spot" in str(node_type["node_config"]).lower()}
    assert spot == {"actor", "evaluator"}
    assert all(node_type.get("min_workers", 0) == 0 for node_type in node_types.values())


def _offers(name):
    """Returns what each kind of machine offers."""
    if name != "kuberay":
        return {key: node_type["resources"] for key, node_type in _load(name)["available_node_types"].items()}
    spec = _manifest("RayCluster")["spec"]
    offers = {}
    for group in spec["workerGroupSpecs"]:
        limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
        resources = json.loads(json.loads(group["rayStartParams"]["resources"]))
        counts = {"CPU": int(limits["cpu"]), "GPU": int(limits.get("nvidia.com/gpu", 0))}
        offers[group["groupName"]] = resources | counts
    return offers


def _roles(kind, num_gpus, folder):
    """Returns what `roles.sh` prints where `nvidia-smi` lists that many GPUs."""
    nvidia_smi = folder / "nvidia-smi"
    nvidia_smi.write_text(f"#!/bin/sh\nyes GPU | head -n {num_gpus}\n")
    nvidia_smi.chmod(0o755)
    env = os.environ | {"PATH": f"{folder}:{os.environ['PATH']}"}
    return json.loads(subprocess.check_output([str(_CLUSTER / "roles.sh"), kind], env=env))


def _asked(config):
    """Returns what Ray is asked for by each kind of process beside the driver, and how many there are."""
    bundles = config.algo_class.default_resource_request(config).bundles[1:]
    return Counter(tuple(sorted(bundle.items())) for bundle in bundles)


_LEARNER = {(("GPU", 1), ("learner", 1)): 1}
_LOOP = {(("CPU", 1), ("actor", 1)): 32, (("CPU", 1), ("evaluator", 1)): 1, **_LEARNER}


@pytest.mark.parametrize(
    ("preset", "asked"),
    [
        ("cheetah_run", _LOOP),
        ("half_cheetah_online", _LOOP),
        ("cheetah_run_ppo", _LOOP),
        ("hopper_medium", _LEARNER),
        ("ractd_hopper_medium", _LEARNER),
    ],
)
def test_every_role_of_a_run_has_its_machine(preset, asked, monkeypatch):
    """What the size `cluster` of each base asks for, and one kind of machine that offers it."""
    monkeypatch.setattr(OfflineConfig, "_dataset_spaces", lambda self: (None, None))
    config, _ = build_config(load_preset(preset, "cluster"))
    assert _asked(config) == asked
    for name in ("aws.yaml", "gcp.yaml", "kuberay"):
        offers = _offers(name)
        for resources in map(dict, asked):
            (role,) = resources.keys() - {"CPU", "GPU"}
            hosts = [
                k for k, offer in offers.items() if all(offer.get(r, 0) >= n for r, n in resources.items())
            ]
            assert hosts == [role]
        assert any(offer.get("driver") for offer in offers.values())


def test_own_machines_offer_roles_by_their_gpus(tmp_path):
    """A GPU makes a learner, none makes actors; the head also evaluates and drives."""
    assert _roles("worker", 2, tmp_path) == {"learner": 2}
    assert _roles("head", 1, tmp_path) == {"learner": 1, "evaluator": 1, "driver": 1}
    num_cores = int(subprocess.check_output("nproc"))
    assert _roles("worker", 0, tmp_path) == {"actor": num_cores}


def test_manifests_fit_the_schemas_of_kubernetes():
    """Core kinds and pod templates against Kubernetes' schema, Ray's kinds against KubeRay's fields."""
    kinds = []
    for manifest in _manifests():
        kinds.append(manifest["kind"])
        if manifest["kind"] in SCHEMAS:
            jsonschema.validate(manifest, SCHEMAS[manifest["kind"]])
        else:
            _check_kubernetes(manifest)
    for template in _pod_templates().values():
        _check_pod_template(template)
    assert {"RayCluster", "RayJob", "StatefulSet", "Service", "ConfigMap"} <= set(kinds)


def test_a_typo_in_a_manifest_is_caught():
    """In Ray's kinds, in a pod and in a core kind."""
    cluster = copy.deepcopy(_manifest("RayCluster"))
    cluster["spec"]["workerGroupSpecs"][0]["maxReplica"] = 2
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(cluster, SCHEMAS["RayCluster"])
    template = copy.deepcopy(_pod_templates()["actor"])
    template["spec"]["containers"][0]["resources"]["limit"] = {"cpu": "2"}
    with pytest.raises(kubernetes_validate.ValidationError, match="limit"):
        _check_pod_template(template)
    service = copy.deepcopy(_manifest("Service"))
    service["spec"]["ports"][0]["port"] = "redis"
    with pytest.raises(kubernetes_validate.ValidationError, match="redis"):
        _check_kubernetes(service)


def test_manifests_agree_with_each_other():
    """Names that one manifest gives and another uses."""
    spec = _manifest("RayCluster")["spec"]
    job = _manifest("RayJob")["spec"]
    assert job["clusterSelector"]["ray.io/cluster"] == _manifest("RayCluster")["metadata"]["name"]
    host, port = spec["gcsFaultToleranceOptions"]["redisAddress"].split(":")
    service = _manifest("Service")
    assert (host, int(port)) == (service["metadata"]["name"], service["spec"]["ports"][0]["port"])
    pods = _manifest("StatefulSet")["spec"]["template"]
    assert service["spec"]["selector"].items() <= pods["metadata"]["labels"].items()
    claim = _manifest("PersistentVolumeClaim")["metadata"]["name"]
    templates = _pod_templates()
    for role in ("head", "learner"):
        volume = templates[role]["spec"]["volumes"][0]
        assert volume["persistentVolumeClaim"]["claimName"] == claim
    assert job["entrypoint"].split("--out ")[1].startswith("/runs/")
    pinned = re.search(r"^ray==(.+)$", (_CHECKOUT / "constraints.txt").read_text(), re.M)
    assert spec["rayVersion"] == pinned[1]


def test_a_job_that_is_created_again_goes_on():
    """KubeRay's own retry is not used: it deletes the cluster, also one that the job only selects."""
    job = _manifest("RayJob")["spec"]
    assert "--resume-or-start" in job["entrypoint"].split()
    assert "clusterSelector" in job and "backoffLimit" not in job


def test_the_volume_belongs_to_the_user_of_the_image():
    """Else no run folder could be made on it."""
    for template in _pod_templates().values():
        if "volumes" in template["spec"]:
            group = template["spec"]["securityContext"]["fsGroup"]
            for path in (_CLUSTER / "docker").glob("Dockerfile.*"):
                assert f"useradd --create-home --uid {group} ray" in path.read_text()


def test_images_hold_every_package():
    """Both Dockerfiles copy all that is installed, with a Python that the project supports."""
    project = tomllib.loads((_CHECKOUT / "pyproject.toml").read_text())
    folders = {name.split(".")[0] for name in project["tool"]["setuptools"]["packages"]} | {"configs"}
    for path in sorted((_CLUSTER / "docker").glob("Dockerfile.*")):
        text = path.read_text()
        copied = [word for line in re.findall(r"^COPY (.+)$", text, re.M) for word in line.split()[:-1]]
        assert folders <= set(copied)
        assert all((_CHECKOUT / name).exists() for name in copied)
        assert re.search(r"^FROM python:3\.1[12]-", text, re.M)
        assert text.rstrip().endswith("USER ray")


@pytest.mark.parametrize("path", sorted(_CLUSTER.rglob("*.sh")), ids=lambda path: path.name)
def test_scripts_parse(path):
    """A shell can read them; what is called is executable."""
    subprocess.run(["sh", "-n", str(path)], check=True)
    assert path.name == "env.sh" or os.access(path, os.X_OK)


def test_the_token_is_its_owners_alone():
    """Every launch file brings the token, and the set-up closes it."""
    for name in ("aws.yaml", "gcp.yaml", "on_prem.yaml"):
        config = _load(name)
        assert config["file_mounts"]["~/.ray/auth_token"] == "~/.ray/auth_token"
        assert any("setup_node.sh" in command for command in config["setup_commands"])
    assert 'chmod 600 "$HOME/.ray/auth_token"' in (_CLUSTER / "setup_node.sh").read_text()
    assert "RAY_AUTH_MODE:-token" in (_CLUSTER / "env.sh").read_text()


def test_redis_passwords_are_long_and_not_kept():
    """The users' file holds a hash; nobody gets in without a password."""
    script = str(_CLUSTER / "redis" / "make_acl.sh")
    password = "p" * 40
    users = subprocess.run([script], input=password + "\n", capture_output=True, text=True, check=True).stdout
    assert password not in users
    assert "user default off" in users
    short = subprocess.run([script], input="short\n", capture_output=True, text=True)
    assert short.returncode == 2 and "at least 32 characters" in short.stderr


def test_alerts_ask_for_metrics_that_a_run_has():
    """Each alarm has its rule."""
    rules = _load("prometheus/alerts.yml")["groups"][0]["rules"]
    asked = {name for rule in rules for name in re.findall(r"ray_distill_rl_(\w+)", rule["expr"])}
    raised, _ = Alarms(AlarmLimits(None, 60.0)).check({})
    assert asked == {name.replace("/", "_") for name in raised} | {"row_timestamp_seconds"}
    assert all(rule["annotations"]["summary"] for rule in rules)


def test_a_driver_that_is_gone_raises_the_alert_of_silence():
    """Its gauges vanish with it: the rule looks back, and nothing has to hold for longer."""
    (rule,) = (r for r in _load("prometheus/alerts.yml")["groups"][0]["rules"] if r["alert"] == "Silent")
    assert re.search(r"last_over_time\(\w+\[1h\]\)\) > 0\) > 600$", rule["expr"])
    assert "ten minutes" in rule["annotations"]["summary"] and "for" not in rule
