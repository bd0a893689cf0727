"""Changes to a config by dotted keys."""

import copy
from typing import Any

from repro.config.schema import RunConfig, parse_config
from repro.errors import BadInput


def override(config: RunConfig, changes: dict[str, Any]) -> RunConfig:
    """The config with values replaced at dotted keys: {"optimizer.learning_rate": 0.1, "teachers.epochs": 5}.

    A key that reaches a list without an index changes every element. A new `name` drops the options of the
    previous component. The order of `changes` does not matter. Raises BadInput for unknown keys.
    """
    content = config.model_dump(mode="json")

    def place(key: str) -> tuple[int, bool, int]:
        """Sort key: outer keys first, a component's name before its options, and a whole list before one element,
        so that no change undoes another."""
        parts = key.split(".")
        return sum(not part.isdecimal() for part in parts), parts[-1] != "name", len(parts)

    for key in sorted(changes, key=place):
        _assign(content, key.split("."), changes[key], key)
    return parse_config(content)


def _assign(content: Any, path: list[str], value: Any, key: str) -> None:
    """Set the value at `path`, the rest of `key`. Unknown keys are left for `parse_config` to reject."""
    head, *rest = path
    place: str | int = head
    if isinstance(content, dict):
        if rest:
            content.setdefault(head, {})
        elif head == "name" and content.get("name") not in (None, value):
            content.clear()  # another component: the options of the old one do not apply to it
    elif not isinstance(content, list):
        raise BadInput(f"config key '{key}' is set inside {content!r}, which has no keys", key)
    elif head.isdecimal():
        place = int(head)
        if place >= len(content):
            raise BadInput(f"config key '{key}': there is no element {head}, the list has {len(content)}", key)
    else:
        if not content:
            raise BadInput(f"config key '{key}' changes nothing: the list that '{head}' would be set in is empty", key)
        for element in content:
            _assign(element, path, value, key)
        return
    if rest:
        _assign(content[place], rest, value, key)
    else:
        content[place] = copy.deepcopy(value)
