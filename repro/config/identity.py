"""What identifies a run: its config as canonical JSON."""

import json
from typing import Any

from repro.component import Schema
from repro.errors import BadInput

SCHEMA_VERSION = 1
"""Part of every run id. Raise it when the meaning of every config changes. If only some configs are affected, as after
most corrections, give those `corrections` instead (`repro.component.Schema`)."""


def canonical_json(config: Schema) -> str:
    """The config as JSON with every default written out and keys sorted, together with the schema version.

    Only `later_fields` at their defaults are left out, so that a new option does not change the ids of earlier runs.
    The `corrections` of each part that has some are added.
    """
    content = {"schema_version": SCHEMA_VERSION, "config": _identity(config)}
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def _identity(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_identity(element) for element in value]
    if not isinstance(value, Schema):
        return value
    content = {
        name: _identity(content)
        for name, content in vars(value).items()
        if name not in value.later_fields or content != type(value).model_fields[name].default
    }
    corrections = value.corrections()
    return content | {"corrections": corrections} if corrections else content


def as_json(content: Any) -> str:
    """JSON text for pydantic to validate: in strict mode its lists become tuples, and nothing else is converted.

    Raises BadInput for values that JSON cannot represent, such as YAML dates.
    """
    try:
        return json.dumps(content)
    except (TypeError, ValueError) as error:
        raise BadInput(f"a value cannot be stored as JSON: {error}") from error
