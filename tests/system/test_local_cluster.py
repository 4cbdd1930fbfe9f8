"""The size `cluster` on several Ray nodes of this machine, with roles that they only claim to have."""

import json
import subprocess
import sys

import pytest
import yaml
from chaos_run import ChaosRun
from ray_nodes import CHECKOUT, LEARNER, RUNNER, RayNodes, wait_until

pytestmark = [pytest.mark.ray, pytest.mark.slow]

ROLES = [
    *("--size", "cluster", "env_runners.num_env_runners=2", "learners.num_gpus_per_learner=0"),
    *("evaluation.evaluation_interval=2", "evaluation.evaluation_duration=2"),
]
"""Roles as on a cluster, but no GPU for the learner: torch would look for it."""

_PLACES = """
import json, sys
import ray
from ray.cluster_utils import Cluster
sys.path.insert(0, sys.argv[1])
from system_config import make_config

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
nodes = {
    "actor": cluster.add_node(num_cpus=2, resources={"actor": 2}),
    "learner": cluster.add_node(num_cpus=1, num_gpus=1, resources={"learner": 1}),
    "evaluator": cluster.add_node(num_cpus=1, resources={"evaluator": 1}),
}
ray.init(address=cluster.address, log_to_driver=False)
config = make_config(num_env_runners=2, num_learners=1)
config.env_runners(custom_resources_per_env_runner={"actor": 1})
config.learners(custom_resources_per_learner={"learner": 1})
config.evaluation(evaluation_num_env_runners=1, evaluation_interval=1, evaluation_parallel_to_training=True)
config.evaluation_config["custom_resources_per_env_runner"] = {"evaluator": 1}
algorithm = config.build_algo()
loop = [algorithm.train() for _ in range(3)][-1]["loop"]
find_node = lambda part: ray.get_runtime_context().get_node_id()
found = {
    "actor": algorithm.env_runner_group.foreach_env_runner(find_node),
    "learner": [r.get() for r in algorithm.learner_group.foreach_learner(find_node)],
    "evaluator": algorithm.eval_env_runner_group.foreach_env_runner(find_node, local_env_runner=False),
}
expected = {role: {node.node_id} for role, node in nodes.items()}
is_right = {role: set(nodes) == expected[role] for role, nodes in found.items()}
print(json.dumps({"is_right": is_right, "updates": loop["updates"]}))
algorithm.stop()
ray.shutdown()
cluster.shutdown()
"""


def test_every_role_runs_on_its_nodes(tmp_path):
    """With `ray.cluster_utils.Cluster`: actors, learner and evaluator apart, and updates are made."""
    with RayNodes() as nodes:  # for its environment: `Cluster` writes notes where others would read them
        command = [sys.executable, "-c", _PLACES, str(CHECKOUT / "tests" / "system")]
        done = subprocess.run(command, env=nodes.env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["is_right"] == {"actor": True, "learner": True, "evaluator": True}
    assert found["updates"] > 0


def test_the_command_line_trains_on_nodes_of_ray_start(tmp_path):
    """Head by `cluster/start_head.sh`, a token, one node for each role; one evaluates meanwhile."""
    with RayNodes() as nodes:
        nodes.start_head("--num-cpus=0", "--include-dashboard=false")
        nodes.start_worker("actors", "--num-cpus=2", '--resources={"actor": 2}')
        nodes.start_worker("learners", "--num-cpus=1", "--num-gpus=1", '--resources={"learner": 1}')
        nodes.start_worker("evaluators", "--num-cpus=1", '--resources={"evaluator": 1}')
        with ChaosRun(tmp_path / "run", *ROLES, "run.max_updates=300", env=nodes.driver_env()) as run:
            wait_until(lambda: nodes.pids("learners", LEARNER), 120, "no learner on its node")
            assert len(nodes.pids("actors", RUNNER)) == 2
            assert len(nodes.pids("evaluators", RUNNER)) == 1
            assert run.finish() == 0, run.output
            assert any(row.get("evaluation/student_return") is not None for row in run.rows)
            assert run.summary["updates"] >= 300


@pytest.mark.parametrize("token", [None, "0" * 64])
def test_without_the_token_nobody_gets_in(tmp_path, token):
    """A driver that shows none, or a wrong one, is refused."""
    with RayNodes() as nodes:
        nodes.start_head("--num-cpus=1", "--include-dashboard=false")
        code = "import ray; ray.init(address='auto', log_to_driver=False); print('in')"
        stranger = nodes.driver_env(RAY_AUTH_MODE="disabled")
        if token:
            (tmp_path / "token").write_text(token)
            stranger |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "token")}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=stranger, capture_output=True, text=True, timeout=120)
        assert done.returncode != 0 and "in" not in done.stdout.split()
        done = subprocess.run(command, env=nodes.driver_env(), capture_output=True, text=True, timeout=120)
        assert done.stdout.split() == ["in"], done.stderr


_HEAD_ID = "f" * 51 + "00000"


def _autoscaling(address):
    """Returns a launch file whose provider starts nodes on this machine."""

    def node_type(max_workers, **resources):
        return {"resources": resources, "node_config": {}, "min_workers": 0, "max_workers": max_workers}

    return {
        "cluster_name": "local",
        "max_workers": 3,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 0.1,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        # Nobody to run them: the nodes are processes here.
        **{f"{kind}setup_commands": [] for kind in ("", "head_", "worker_")},
        **{f"{kind}_start_ray_commands": [] for kind in ("head", "worker")},
        **{name: [] for name in ("initialization_commands", "cluster_synced_files")},
        **{name: [] for name in ("rsync_exclude", "rsync_filter")},
        "provider": {
            "type": "external",
            "module": "ray.autoscaler._private.fake_multi_node.node_provider.FakeMultiNodeProvider",
            "gcs_address": address,
            "head_node_id": _HEAD_ID,
            "launch_multiple": True,
        },
        "available_node_types": {
            "ray.head.default": node_type(0, CPU=0, driver=1),
            "actor": node_type(1, CPU=2, actor=2),
            "learner": node_type(1, CPU=1, GPU=1, learner=1),
            "evaluator": node_type(1, CPU=1, evaluator=1),
        },
        "head_node_type": "ray.head.default",
    }


def test_the_autoscaler_brings_nodes_up_and_down(tmp_path):
    """A run starts with the head alone, gets one node of each type, and leaves the head alone behind."""
    with RayNodes(
        RAY_FAKE_CLUSTER="1",
        RAY_OVERRIDE_NODE_ID_FOR_TESTING=_HEAD_ID,
        RAY_CLOUD_INSTANCE_ID=_HEAD_ID,
        RAY_enable_autoscaler_v2="1",
        AUTOSCALER_UPDATE_INTERVAL_S="1",
    ) as nodes:
        launch_file = tmp_path / "launch.yaml"
        launch_file.write_text(yaml.safe_dump(_autoscaling(nodes.address)))
        nodes.start_head("--num-cpus=0", "--include-dashboard=false", f"--autoscaling-config={launch_file}")
        assert nodes.alive_resources() == {}
        with ChaosRun(tmp_path / "run", *ROLES, "run.max_updates=200", env=nodes.driver_env()) as run:
            wanted = {"actor": 2, "learner": 1, "evaluator": 1, "GPU": 1}.items()
            # Looked for all along: so short a run is over, and its nodes are gone, soon after they came.
            wait_until(lambda: wanted <= nodes.alive_resources().items(), 240, "no node of some type")
            assert run.finish() == 0, run.output
        wait_until(lambda: nodes.alive_resources() == {}, 120, "nodes stayed")
