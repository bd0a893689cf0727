"""Read YAML files written by hand: their content, and the line number of each key."""

import re
from pathlib import Path
from typing import Any

import yaml

from repro.errors import BadInput


class Loader(yaml.SafeLoader):
    """YAML 1.1, except that `1e-3` is a number, and that dates, times such as `12:00:00`, and what YAML 1.1 takes for
    unexpected numbers (`010` for 8, `1_0` for 10) are text."""

    yaml_implicit_resolvers = {  # noqa: RUF012  (PyYAML's own, unannotated)
        first: [("tag:yaml.org,2002:str", re.compile(r"[-+]?(\d+(:\d+)+(\.\d*)?|0\d+|[\d.].*_.*)$"))]
        + [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        + [("tag:yaml.org,2002:float", re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+$"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def read_mapping(path: Path, form: str) -> tuple[dict[str, Any], dict[str, int]]:
    """The content of a YAML file, and the line number (from 1) of each key; nested keys are `outer.inner`.

    `form` describes the expected form, for the error message. Raises BadInput, with the line number if known.
    """
    try:
        loader = Loader(path.read_text())
        root = loader.get_single_node()
        content = loader.construct_document(root) if root is not None else None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror})") from error
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise BadInput(f"{path}:{line}: not valid YAML ({error.problem})") from error
    except (yaml.YAMLError, ValueError) as error:
        raise BadInput(f"{path}: not a YAML text file") from error
    except RecursionError as error:
        raise BadInput(f"{path}: nested too deeply") from error
    if not isinstance(root, yaml.MappingNode) or not isinstance(content, dict):
        raise BadInput(f"{path}:1: {form}")
    lines: dict[str, int] = {}
    try:
        _find_lines(path, root, "", lines)
    except RecursionError as error:
        raise BadInput(f"{path}: an alias (`*name`) refers to something that contains it") from error
    return content, lines


def _find_lines(path: Path, mapping: yaml.MappingNode, prefix: str, lines: dict[str, int]) -> None:
    for key, value in mapping.value:
        name, line = f"{prefix}{key.value}", key.start_mark.line + 1
        if name in lines:
            raise BadInput(f"{path}:{line}: '{key.value}' was set already, in line {lines[name]}")
        lines[name] = line
        if isinstance(value, yaml.MappingNode):
            _find_lines(path, value, f"{name}.", lines)
