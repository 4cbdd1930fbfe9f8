"""What AWS and Google Cloud accept as a machine, from the descriptions of their APIs inside their clients."""

import json
from pathlib import Path

import botocore.session
import googleapiclient


def find_aws_problems(node_config):
    """Returns what EC2's `RunInstances` would not take: one line for each such value."""
    shape = botocore.session.Session().get_service_model("ec2").operation_model("RunInstances").input_shape
    return list(_aws_problems("node_config", node_config, shape))


def find_gcp_problems(node_config):
    """Returns what Compute Engine's `instances.insert` would not take: one line for each such value."""
    folder = Path(googleapiclient.__file__).parent / "discovery_cache" / "documents"
    schemas = json.loads((folder / "compute.v1.json").read_text())["schemas"]
    return list(_gcp_problems("node_config", node_config, {"$ref": "Instance"}, schemas))


def _aws_problems(name, value, shape):
    expected = {"structure": dict, "list": list, "string": str, "integer": int, "boolean": bool}
    kind = expected.get(shape.type_name)
    if kind is not None and not isinstance(value, kind):
        yield f"{name} must be a {shape.type_name}, got {value!r}"
    elif shape.type_name == "structure":
        for key, item in value.items():
            if key in shape.members:
                yield from _aws_problems(f"{name}.{key}", item, shape.members[key])
            else:
                yield f"{name}.{key} is unknown"
    elif shape.type_name == "list":
        for index, item in enumerate(value):
            yield from _aws_problems(f"{name}[{index}]", item, shape.member)
    elif getattr(shape, "enum", None) and value not in shape.enum:
        yield f"{name} must be one of {len(shape.enum)} values, got {value!r}"


def _gcp_problems(name, value, schema, schemas):
    schema = schemas[schema["$ref"]] if "$ref" in schema else schema
    expected = {"object": dict, "array": list, "string": (str, int), "integer": int, "boolean": bool}
    if not isinstance(value, expected[schema["type"]]):
        yield f"{name} must be of type {schema['type']}, got {value!r}"
    elif schema["type"] == "object":
        for key, item in value.items():
            inner = schema.get("properties", {}).get(key, schema.get("additionalProperties"))
            if inner is None:
                yield f"{name}.{key} is unknown"
            else:
                yield from _gcp_problems(f"{name}.{key}", item, inner, schemas)
    elif schema["type"] == "array":
        for index, item in enumerate(value):
            yield from _gcp_problems(f"{name}[{index}]", item, schema["items"], schemas)
    elif "enum" in schema and value not in schema["enum"]:
        yield f"{name} must be one of {', '.join(schema['enum'])}; got {value!r}"
