"""Fields of KubeRay's `ray.io/v1` kinds, as far as `cluster/kuberay/` may use them.

Written by hand after the Go types of KubeRay (`ray-operator/apis/ray/v1`), so that an unknown field is an
error here, not on a cluster. Pod templates are opaque to it: they are checked against Kubernetes' own schema.
"""


def _object(required=(), **properties):
    return {
        "type": "object",
        "properties": properties,
        "required": list(required),
        "additionalProperties": False,
    }


_STRING = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_STRINGS = {"type": "object", "additionalProperties": _STRING}
_ANY = {"type": "object"}
_METADATA = {"anyOf": [{"required": ["name"]}, {"required": ["generateName"]}]}
_CREDENTIAL = _object(value=_STRING, valueFrom=_ANY)

_CLUSTER_SPEC = _object(
    ["headGroupSpec"],
    rayVersion=_STRING,
    enableInTreeAutoscaling={"type": "boolean"},
    autoscalerOptions=_object(
        upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
        idleTimeoutSeconds=_COUNT,
        resources=_ANY,
    ),
    authOptions=_object(mode={"enum": ["disabled", "token"]}, secretName=_STRING),
    gcsFaultToleranceOptions=_object(
        ["redisAddress"],
        redisAddress=_STRING,
        redisUsername=_CREDENTIAL,
        redisPassword=_CREDENTIAL,
        externalStorageNamespace=_STRING,
    ),
    headGroupSpec=_object(["rayStartParams", "template"], rayStartParams=_STRINGS, template=_ANY),
    workerGroupSpecs={
        "type": "array",
        "items": _object(
            ["groupName", "minReplicas", "maxReplicas", "rayStartParams", "template"],
            groupName=_STRING,
            replicas=_COUNT,
            minReplicas=_COUNT,
            maxReplicas=_COUNT,
            idleTimeoutSeconds=_COUNT,
            rayStartParams=_STRINGS,
            template=_ANY,
        ),
    },
)

_JOB_SPEC = _object(
    ["entrypoint"],
    entrypoint=_STRING,
    entrypointResources=_STRING,
    entrypointNumCpus={"type": "number"},
    runtimeEnvYAML=_STRING,
    clusterSelector=_STRINGS,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode"]},
    shutdownAfterJobFinishes={"type": "boolean"},
    ttlSecondsAfterFinished=_COUNT,
    activeDeadlineSeconds=_COUNT,
)

SCHEMAS = {
    kind: _object(
        ["apiVersion", "kind", "metadata", "spec"],
        apiVersion={"const": "ray.io/v1"},
        kind={"const": kind},
        metadata=_METADATA,
        spec=spec,
    )
    for kind, spec in (("RayCluster", _CLUSTER_SPEC), ("RayJob", _JOB_SPEC))
}
