"""Sweep files: W&B's sweep schema, expanded here without any server."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import yaml

from repro.config import override
from repro.errors import BadInput, did_you_mean
from repro.experiments.study import Study, find_study, parse_study
from repro.launch.plan import Request

Made = TypeVar("Made")

SWEEP_KEYS = (
    "program",
    "method",
    "parameters",
    "name",
    "description",
    "project",
    "entity",
    "command",
    "metric",
)


def parse_settings(texts: list[str]) -> dict[str, Any]:
    """`["pool=0.25", "trial=[0, 1]"]` to a dict; values are YAML. Raises BadInput."""
    settings = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise BadInput(f"'{text}' is not a setting; write key=value, for example trial=1")
        try:
            settings[key] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise BadInput(f"the value of '{text}' is not valid YAML") from error
        if key in settings and isinstance(settings[key], str) and _is_exponent_float(settings[key]):
            settings[key] = float(settings[key])
    return settings


def _is_exponent_float(text: str) -> bool:
    """`1e-3`: a float to everyone but YAML 1.1, which asks for a dot."""
    try:
        float(text)
    except ValueError:
        return False
    return "e" in text.lower()


def request_run(study: type[Study], settings: dict[str, Any]) -> Request:
    """One run of a study: settings of the study by name, anything else as a dotted key of the run's config."""
    own = {key: value for key, value in settings.items() if key in study.model_fields}
    rest = {key: value for key, value in settings.items() if key not in study.model_fields}
    config = parse_study(study, own).config()
    fields = type(config).model_fields
    for key in rest:
        if key.split(".")[0] not in fields:
            name = study.model_fields["name"].default
            raise BadInput(
                f"{name} has no setting '{key}'{did_you_mean(key, {*study.model_fields, *fields} - {'name'})}"
            )
    label = parse_study(study, own).label()
    changes = " ".join(f"{key}={value}" for key, value in rest.items())
    return Request(f"{label} {changes}".strip(), override(config, rest) if rest else config)


def find_sweep(name: str) -> Path:
    """The sweep file of this name that comes with the suite."""
    return Path(__file__).parents[2] / "sweeps" / f"{name}.yaml"


def read_sweep(path: Path, changes: dict[str, Any]) -> list[Request]:
    """Every run that a sweep file asks for, in the file's order.

    `changes` replaces the values of parameters: {"trial": [0, 1], "preset": "smoke"}.
    Raises BadInput with file and line.
    """
    return _expand(path, changes, request_run)


def sweep_studies(path: Path, changes: dict[str, Any]) -> list[Study]:
    """The same runs as `read_sweep`, as settings of their study."""
    return _expand(path, changes, parse_study)


def _expand(path: Path, changes: dict[str, Any], make: Callable[[type[Study], dict[str, Any]], Made]) -> list[Made]:
    """Call `make` with the study and the settings of every point of the sweep's grid."""
    content, lines = _read(path)

    def refuse(key: str, problem: str) -> BadInput:
        return BadInput(f"{path}:{lines.get(key, 1)}: {problem}")

    for key in content:
        if key not in SWEEP_KEYS:
            raise refuse(key, f"unknown key '{key}'{did_you_mean(str(key), SWEEP_KEYS)}")
    for key in ("program", "method", "parameters"):
        if key not in content:
            raise refuse(key, f"the key '{key}' is missing")
    if content["method"] != "grid":
        raise refuse("method", f"method '{content['method']}' is not supported; valid: grid")
    if not isinstance(content["parameters"], dict):
        raise refuse("parameters", "'parameters' must map names to `value:` or `values:`")
    grid: dict[str, list[Any]] = {}
    for name, parameter in content["parameters"].items():
        if isinstance(parameter, dict) and set(parameter) == {"value"}:
            grid[name] = [parameter["value"]]
        elif isinstance(parameter, dict) and set(parameter) == {"values"} and isinstance(parameter["values"], list):
            grid[name] = parameter["values"]
        else:
            raise refuse(f"parameters.{name}", f"parameter '{name}' needs either `value: x` or `values: [x, y]`")
    grid |= {name: value if isinstance(value, list) else [value] for name, value in changes.items()}
    try:
        study = find_study(Path(str(content["program"])).stem)
    except BadInput as error:
        raise refuse("program", str(error)) from error
    made = []
    for values in itertools.product(*grid.values()):
        settings = dict(zip(grid, values, strict=True))
        try:
            made.append(make(study, settings))
        except BadInput as error:
            named = next((name for name in settings if f"'{name}" in str(error)), "")
            if named in changes:
                raise  # the command line's fault, not the file's
            raise refuse(f"parameters.{named}" if named else "parameters", str(error)) from error
    return made


def _read(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """The content of a sweep file, and the line (from 1) of every key; parameters as `parameters.x`."""
    try:
        text = path.read_text()
        root = yaml.compose(text)
        content = yaml.safe_load(text)
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInput(f"{path}:{line}: not valid YAML ({error.problem})") from error
    if not isinstance(root, yaml.MappingNode) or not isinstance(content, dict):
        raise BadInput(f"{path}:1: a sweep is a mapping with the keys program, method and parameters")
    lines = {}
    for key, value in root.value:
        lines[str(key.value)] = key.start_mark.line + 1
        if key.value == "parameters" and isinstance(value, yaml.MappingNode):
            lines |= {f"parameters.{inner.value}": inner.start_mark.line + 1 for inner, _ in value.value}
    return content, lines
