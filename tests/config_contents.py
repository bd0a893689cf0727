"""Run configs as JSON-like data, to be changed and parsed in tests."""

import copy
from typing import Any


def teacher() -> dict[str, Any]:
    """A teacher with every key written out, so that nothing of it comes from the schema's defaults."""
    return {
        "kind": "teacher",
        "data": {
            "train": {
                "dataset": {"name": "digits", "image_size": 28},
                "half": None,
                "size": None,
                "fraction": None,
                "seed": 0,
            },
            "pools": [],
        },
        "augmentation": [],
        "model": {"name": "preresnet", "depth": 8, "norm": "batch", "skip_connections": True},
        "init": {"name": "random"},
        "objective": {"name": "cross_entropy"},
        "optimizer": {
            "name": "sgd",
            "learning_rate": 0.1,
            "weight_decay": 1e-4,
            "momentum": 0.9,
            "nesterov": False,
        },
        "schedule": {"name": "cosine", "warmup_epochs": 0, "per": "epoch", "final": 0.0},
        "epochs": 20,
        "batch_size": 64,
        "evaluate_every": 2,
        "precision": "float32",
        "seed": 3,
    }


def student(*teachers: dict[str, Any]) -> dict[str, Any]:
    """A student with augmentation, of the teachers given (of one by default)."""
    return teacher() | {
        "kind": "student",
        "augmentation": [{"name": "random_crop", "padding": 2}, {"name": "mixup", "alpha": 1.0}],
        "objective": {
            "name": "forward_cross_entropy",
            "temperature": 4.0,
            "temperature_squared": True,
            "alpha": 0.0,
            "alpha_final": None,
        },
        "teachers": list(teachers) or [teacher()],
    }


def student_with_pools() -> dict[str, Any]:
    """A student of a student of a teacher, whose images come from two sources."""
    content = student(student())
    pool = copy.deepcopy(content["data"]["train"])
    content["data"]["pools"] = [pool, pool | {"dataset": {"name": "emnist", "transposed": False}}]
    return content


def at(content: Any, key: str) -> Any:
    """The value at a dotted key."""
    for part in key.split(".") if key else []:
        content = content[int(part) if isinstance(content, list) else part]
    return content


def changed(content: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """A copy with another value at the dotted key."""
    content = copy.deepcopy(content)
    parent, _, last = key.rpartition(".")
    place = at(content, parent)
    place[int(last) if isinstance(place, list) else last] = value
    return content


def without(content: dict[str, Any], key: str) -> dict[str, Any]:
    """A copy without the dotted key."""
    content = copy.deepcopy(content)
    parent, _, last = key.rpartition(".")
    del at(content, parent)[last]
    return content
