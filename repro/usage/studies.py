"""The help on studies: all of them, or the settings of one. Studies are imported only when their help is shown."""

import argparse
import inspect
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

KINDS = {"integer": "an integer", "number": "a number", "boolean": "true or false", "string": "text", "null": "null"}
BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "more than",
    "maximum": "at most",
    "exclusiveMaximum": "less than",
}
WIDTH = 110


class StudyHelp(argparse.Action):
    """`--help`; after the name of a study, the help on its settings."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,  # noqa: ARG002
        option_string: str | None = None,  # noqa: ARG002
    ) -> None:
        if namespace.study is None:
            parser.print_help()
        else:
            print(describe(namespace.study, parser.prog))
        parser.exit()


def list_studies() -> str:
    from repro.experiments.study import studies

    known = studies()
    width = max(len(name) for name in known)
    return "studies:\n" + "\n".join(f"  {name:{width}}  {study.headline()}" for name, study in known.items())


def describe(name: str, command: str) -> str:
    """What a study is about, and its settings with their defaults and valid values. Raises BadInput for an unknown one.

    command: as in `repro run`.
    """
    from repro.experiments.study import find_study

    study = find_study(name)
    settings = {key: schema for key, schema in study.model_json_schema()["properties"].items() if key != "name"}
    shown = {
        f"{key}={_text(schema['default'])}" if "default" in schema else key: schema for key, schema in settings.items()
    }
    width = max(map(len, shown))
    lines = [
        textwrap.fill(_valid(schema), WIDTH, initial_indent=f"  {text:{width}}  ", subsequent_indent=" " * (width + 4))
        for text, schema in shown.items()
    ]
    listed = "\n".join(lines)
    return f"""usage: {command} {name} [key=value ...]

{inspect.getdoc(study) or ""}

settings, with their defaults:
{listed}

Keys of the run's config can be given too, as in optimizer.learning_rate=0.01 or teachers.epochs=5."""


def _text(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else str(value)


def _valid(schema: Mapping[str, Any]) -> str:
    """The values that a JSON schema allows, in words."""
    if "enum" in schema:
        return ", ".join(map(_text, schema["enum"]))
    if "anyOf" in schema:
        return " or ".join(map(_valid, schema["anyOf"]))
    bounds = [f"{words} {schema[key]}" for key, words in BOUNDS.items() if key in schema]
    return ", ".join([KINDS.get(schema.get("type", ""), "a part of the config"), *bounds])
