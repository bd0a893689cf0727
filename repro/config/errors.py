"""Turn pydantic's errors about a config into one line: the key, what was given, what is valid."""

import types
from collections.abc import Iterator, Sequence
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from repro.errors import BadInput, did_you_mean


def explain(
    error: ValidationError, content: Any, roots: Sequence[type[BaseModel]], noun: str = "config key"
) -> BadInput:
    """A one-line BadInput about the first problem of `content`, which does not match any of the schemas `roots`.

    `noun` is what the message calls a key of `content`.
    """
    problems = _without_consequences(error.errors(include_url=False))
    # A misspelt key is reported twice: as unknown and, if it is required, as missing. The former explains both.
    problems.sort(key=lambda problem: problem["type"] != "extra_forbidden")
    first = problems[0]
    path = _without_tags(first["loc"], content)
    key = ".".join(str(part) for part in path)
    subject = f"{noun} '{key}'" if path else "the config"
    kind, context = first["type"], first.get("ctx", {})
    if kind == "extra_forbidden":
        parent = path[:-1]
        valid = sorted({name for schema in _schemas_at(roots, content, parent) for name in schema.model_fields})
        prefix = "".join(f"{part}." for part in parent)
        hint = did_you_mean(str(path[-1]), valid).replace("did you mean '", f"did you mean '{prefix}")
        line = f"unknown {subject} (given {_shorten(first['input'])}){hint}"
    elif kind == "missing":
        line = f"{subject} is missing"
    elif kind in ("union_tag_invalid", "union_tag_not_found"):
        key = ".".join([*map(str, path), str(context["discriminator"]).strip("'")])
        valid = [tag.strip().strip("'") for tag in str(context.get("expected_tags", "")).split(",")]
        given = str(context.get("tag"))
        line = f"{noun} '{key}' is " + (f"'{given}'{did_you_mean(given, valid)}" if "tag" in context else "missing")
    elif kind == "value_error":
        line = f"{subject}: {context['error']}"
    elif kind == "literal_error":
        valid = [choice.strip().strip("'") for choice in str(context["expected"]).replace(" or ", ",").split(",")]
        hint = "" if isinstance(first["input"], list) else did_you_mean(str(first["input"]), valid)
        line = f"{subject} is {_shorten(first['input'])}{hint}"
    elif kind == "too_short":
        line = f"{subject} is {_shorten(first['input'])}: it needs at least {context['min_length']} element"
    else:
        message = first["msg"][0].lower() + first["msg"][1:]
        line = f"{subject} is {_shorten(first['input'])}: {message}"
        if isinstance(first["input"], str) and any("name" in s.model_fields for s in _schemas_at(roots, content, path)):
            line += f"; to choose one by its name, set '{key}.name'"
    if isinstance(first["input"], list) and (kind == "literal_error" or kind.endswith("_type")):
        line += "; several values are for a sweep, see `repro launch --help`"
    others = len(problems) - 1
    return BadInput(line + (f" (and {others} more problem{'s' if others > 1 else ''})" if others else ""), key)


def _without_consequences(problems: list[ErrorDetails]) -> list[ErrorDetails]:
    """Leave out lists that are reported as too short only because some of their elements are invalid."""
    places = [problem["loc"] for problem in problems]
    return [
        problem
        for problem, place in zip(problems, places, strict=True)
        if problem["type"] != "too_short" or all(other == place or other[: len(place)] != place for other in places)
    ]


def _shorten(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _without_tags(location: Sequence[str | int], content: Any) -> list[str | int]:
    """Drop the union tags that pydantic writes into a location: they are not keys of the content."""
    path: list[str | int] = []
    for position, part in enumerate(location):
        last = position == len(location) - 1
        if isinstance(content, dict) and (part in content or last):
            tag = last and part not in content and part in (content.get("name"), content.get("kind"))
            if tag:
                continue
            path.append(part)
            content = content.get(part)
        elif isinstance(content, list) and isinstance(part, int):
            path.append(part)
            content = content[part] if part < len(content) else None
    return path


def _schemas_at(roots: Sequence[type[BaseModel]], content: Any, path: Sequence[str | int]) -> list[type[BaseModel]]:
    """The schemas that the value at `path` may have, narrowed by the `name` or `kind` it states."""
    schemas = _narrow(list(roots), content)
    for part in path:
        content = content[part]
        if isinstance(part, int):
            continue  # the annotation of the list itself already led to its elements' schemas
        found = [m for s in schemas if part in s.model_fields for m in _models(s.model_fields[str(part)].annotation)]
        schemas = found
        if isinstance(content, dict):
            schemas = _narrow(schemas, content)
    return _narrow(schemas, content)


def _narrow(schemas: list[type[BaseModel]], content: Any) -> list[type[BaseModel]]:
    for tag in ("name", "kind"):
        if isinstance(content, dict) and tag in content:
            fitting = [s for s in schemas if tag in s.model_fields and s.model_fields[tag].default == content[tag]]
            schemas = fitting or schemas
    return schemas


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every schema class inside an annotation such as `tuple[Annotated[A | B, ...], ...] | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Annotated, Union, types.UnionType, tuple) and get_origin(annotation) is not Literal:
        for argument in get_args(annotation):
            yield from _models(argument)
