"""Sweep files in W&B's sweep schema, expanded locally, without a server."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from repro.component import Schema
from repro.config import BaseRunConfig, RunConfig
from repro.config.override import override
from repro.errors import BadInput, blamed_on, did_you_mean
from repro.experiments.study import Study, find_study, parse_study
from repro.launch.request import Request
from repro.launch.yaml_file import Loader, read_mapping

Made = TypeVar("Made")

SWEEPS = Path(__file__).parents[2] / "sweeps"
FORM = "a sweep is a mapping with the keys program, method and parameters"
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
    """Parse settings such as `["pool=0.25", "trial=[0, 1]"]` into a dict; values are YAML. Raises BadInput."""
    settings: dict[str, Any] = {}
    for text in texts:
        key, separator, value = text.partition("=")
        if not separator or not key:
            raise BadInput(f"'{text}' is not a setting; write key=value, for example trial=1")
        if key in settings:
            raise BadInput(f"'{key}' is set twice")
        try:
            settings[key] = yaml.load(value, Loader)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise BadInput(f"the value of '{text}' is not valid YAML") from error
    return settings


def request_run(study: type[Study], settings: dict[str, Any]) -> Request:
    """Request one run of a study. Settings are fields of the study, or dotted keys of the run's config."""
    own = {key: value for key, value in settings.items() if key in study.model_fields}
    rest = {key: value for key, value in settings.items() if key not in study.model_fields}
    parsed = parse_study(study, own)
    config = changed_config(parsed, rest)
    changes = " ".join(f"{key}={value}" for key, value in rest.items())
    varied = {key: value for key, value in parsed.settings().items() if key not in ("preset", "trial")}
    condition = " ".join([*(f"{key}={value}" for key, value in varied.items()), changes]).strip()
    label = f"{parsed.label()} {changes}".strip()
    return Request(label, config, condition, parsed.trial, study.model_fields["name"].default, parsed.preset)


def changed_config(study: Study, changes: Mapping[str, Any]) -> RunConfig:
    """The config of the study's run, with `changes` (by dotted key) applied. Raises BadInput."""
    with blamed_on(f"study {study.name}"):
        try:
            config = study.config()
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(["its config", *map(str, first["loc"])])
            raise BadInput(f"study {study.name}: {key}: {first['msg']}") from error
    if not isinstance(config, BaseRunConfig):
        raise BadInput(f"study {study.name}: config gives {type(config).__name__}, not the config of a run")
    fields = type(config).model_fields
    for key in changes:
        if key.split(".")[0] not in fields:
            hint = did_you_mean(key, {*type(study).model_fields, *fields} - {"name"}, _dotted_keys(config))
            raise BadInput(f"{study.name} has no setting '{key}'{hint}", key)
    return override(config, dict(changes)) if changes else config


def _dotted_keys(part: Schema, prefix: str = "") -> Iterator[str]:
    """The keys of all parts of a config, except of those in lists."""
    for name in type(part).model_fields:
        yield f"{prefix}{name}"
        value = getattr(part, name)
        if isinstance(value, Schema):
            yield from _dotted_keys(value, f"{prefix}{name}.")


def find_sweep(name: str) -> Path:
    """The path of the suite's sweep file of this name."""
    return SWEEPS / f"{name}.yaml"


def all_sweeps() -> list[Path]:
    """All sweep files of the suite, sorted by name."""
    return sorted(SWEEPS.glob("*.yaml"))


def study_of(path: Path) -> str:
    """The name of the study whose runs a sweep makes. Raises BadInput for a file that names none."""
    content, _ = read_mapping(path, FORM)
    if "program" not in content:
        raise BadInput(f"{path}:1: the key 'program' is missing")
    return Path(str(content["program"])).stem


def read_sweep(path: Path, changes: dict[str, Any]) -> list[Request]:
    """Every run that a sweep file asks for, in the file's order.

    `changes` replaces the values of parameters: {"trial": [0, 1], "preset": "smoke"}. Raises BadInput with file and
    line, and also if changed config keys would make one run of several that the sweep compares.
    """
    requests, unchanged = list[Request](), dict[str, str]()
    for request, plain_id in _expand(path, changes, _request_with_plain_id):
        if unchanged.setdefault(request.run_id, plain_id) != plain_id:
            first = next(one for one in requests if one.run_id == request.run_id)
            problem = f"'{first.label}' and '{request.label}', which the sweep compares, would be one and the same run"
            raise BadInput(f"{path}: {problem}; leave one of them out, or change other keys")
        requests.append(request)
    return requests


def _request_with_plain_id(study: type[Study], settings: dict[str, Any]) -> tuple[Request, str]:
    """The request of a run, and the id that the run would have if the settings changed no config key."""
    own = {key: value for key, value in settings.items() if key in study.model_fields}
    request = request_run(study, settings)
    return request, request.run_id if own == settings else parse_study(study, own).config().run_id


def sweep_studies(path: Path, changes: dict[str, Any]) -> list[Study]:
    """The same runs as `read_sweep`, as instances of their study."""
    return _expand(path, changes, parse_study)


def _expand(path: Path, changes: dict[str, Any], make: Callable[[type[Study], dict[str, Any]], Made]) -> list[Made]:
    """Call `make` with the study and the settings of every point of the sweep's grid."""
    if not path.exists() and (own := find_sweep(path.stem)).exists():
        raise BadInput(f"{path}: there is no such file here; the suite's own is {own}")
    content, lines = read_mapping(path, FORM)

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
        if not isinstance(name, str):
            raise refuse(f"parameters.{name}", f"parameter {name!r} is not a name")
        if isinstance(parameter, dict) and set(parameter) == {"value"}:
            grid[name] = [parameter["value"]]
        elif isinstance(parameter, dict) and set(parameter) == {"values"} and isinstance(parameter["values"], list):
            grid[name] = parameter["values"]
        else:
            raise refuse(f"parameters.{name}", f"parameter '{name}' needs either `value: x` or `values: [x, y]`")
    grid |= {name: value if isinstance(value, list) else [value] for name, value in changes.items()}
    for name, choices in grid.items():
        if problem := _problem_of(name, choices):
            raise BadInput(problem) if name in changes else refuse(f"parameters.{name}", problem)
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
            at_fault = _setting_at_fault(error.key, settings)
            if at_fault in changes:
                raise  # the error is in the command line, not in the file
            raise refuse(f"parameters.{at_fault}" if at_fault else "parameters", str(error)) from error
    return made


def _problem_of(name: str, choices: list[Any]) -> str | None:
    if not choices:
        return f"'{name}' has no values, so the sweep has no runs; as a value, an empty list is written [[]]"
    [(written, times)] = Counter(map(repr, choices)).most_common(1)
    return f"'{name}' lists {written} twice" if times > 1 else None


def _setting_at_fault(key: str | None, settings: Iterable[str]) -> str | None:
    """The most specific setting that sets the config key `key`, a part of its value, or something that contains it."""

    def parts(dotted: str) -> list[str]:
        # Indices are dropped, because `teachers.epochs` sets `teachers.0.epochs`; `optimizer.name` decides what
        # options there are in `optimizer`.
        return [part for part in dotted.removesuffix(".name").split(".") if not part.isdecimal()]

    wanted = parts(key or "")
    fitting = [name for name in settings if all(a == b for a, b in zip(parts(name), wanted, strict=False))]
    return max(fitting, key=len, default=None)
