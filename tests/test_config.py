"""The run schema: what it refuses, and how it says so in one line."""

import math
from collections.abc import Callable
from datetime import date
from functools import partial
from typing import Any

import pytest
from config_contents import changed, student, student_with_pools, teacher, without

from repro.config import parse_config
from repro.config.data import GeneratedImages
from repro.config.override import override
from repro.data.synthetic import Synthetic
from repro.data.synthetic_texts import SyntheticTexts
from repro.errors import BadInput

PYDANTIC_JARGON = ("union_tag", "type=", "http", "validation error", "pydantic", "tuple", "discriminator", "ctx")


def refusal(content: Any) -> str:
    """The message that refuses `content`: one line in plain words."""
    with pytest.raises(BadInput) as caught:
        parse_config(content)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    assert not [word for word in PYDANTIC_JARGON if word in message], message
    return message


# -- unknown keys ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("epoch", "epochs"),
        ("optimizer.momentun", "optimizer.momentum"),
        ("augmentation.0.pading", "augmentation.0.padding"),
        ("data.train.sized", "data.train.size"),
        ("data.train.dataset.image_sise", "data.train.dataset.image_size"),
        ("data.pools.0.fractoin", "data.pools.0.fraction"),
        ("data.pools.1.dataset.transpose", "data.pools.1.dataset.transposed"),
        ("teachers.0.batchsize", "teachers.0.batch_size"),
        ("teachers.0.objective.temprature", "teachers.0.objective.temperature"),
        ("teachers.0.augmentation.1.alfa", "teachers.0.augmentation.1.alpha"),
        ("teachers.0.teachers.0.schedule.warmup_epoch", "teachers.0.teachers.0.schedule.warmup_epochs"),
    ],
)
def test_an_unknown_key_is_refused_at_any_depth_naming_what_was_given_and_the_nearest_key(
    key: str, nearest: str
) -> None:
    message = refusal(changed(student_with_pools(), key, 7))
    assert message == f"unknown config key '{key}' (given 7); did you mean '{nearest}'?"
    with pytest.raises(BadInput) as caught:
        override(parse_config(student_with_pools()), {key: 7})
    assert str(caught.value) == message


def test_an_unknown_key_near_to_none_lists_the_keys_of_the_component_that_was_named() -> None:
    assert refusal(changed(student(), "optimizer.zzz", 1)).endswith(
        "valid: learning_rate, momentum, name, nesterov, weight_decay"
    )
    adam = changed(student(), "optimizer", {"name": "adam", "learning_rate": 0.1, "zzz": 1})
    assert refusal(adam).endswith("valid: beta1, beta2, learning_rate, name, weight_decay")


def test_a_key_of_another_component_of_the_same_kind_is_unknown() -> None:
    content = changed(student(), "optimizer", {"name": "adam", "learning_rate": 0.1, "momentum": 0.9})
    assert refusal(content).startswith("unknown config key 'optimizer.momentum' (given 0.9)")
    assert "unknown config key 'teachers'" in refusal(student() | {"kind": "teacher"})


def test_a_misspelt_required_key_is_reported_as_misspelt_not_as_missing() -> None:
    content = changed(without(student(), "teachers.0.optimizer.learning_rate"), "teachers.0.optimizer.learnin_rate", 1)
    assert refusal(content).startswith(
        "unknown config key 'teachers.0.optimizer.learnin_rate' (given 1); "
        "did you mean 'teachers.0.optimizer.learning_rate'?"
    )


def test_a_long_value_is_shortened() -> None:
    assert len(refusal(changed(student(), "epoch", "x" * 10_000))) < 200


# -- wrong values ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("epochs", "3", "'3': input should be a valid integer"),
        ("epochs", "1", "'1': input should be a valid integer"),
        ("epochs", True, "True: input should be a valid integer"),
        ("epochs", 3.0, "3.0: input should be a valid integer"),
        ("epochs", None, "None: input should be a valid integer"),
        ("epochs", [1], "[1]: input should be a valid integer"),
        ("epochs", 0, "0: input should be greater than or equal to 1"),
        ("seed", -1, "-1: input should be greater than or equal to 0"),
        ("optimizer.learning_rate", "1e-3", "'1e-3': input should be a valid number"),
        ("optimizer.learning_rate", True, "True: input should be a valid number"),
        ("optimizer.learning_rate", math.nan, "nan: input should be a finite number"),
        ("optimizer.learning_rate", math.inf, "inf: input should be a finite number"),
        ("optimizer.learning_rate", 10**400, f"1{'0' * 56}...: input should be a finite number"),
        ("optimizer.learning_rate", 0, "0: input should be greater than 0"),
        ("optimizer.momentum", 1, "1: input should be less than 1"),
        ("optimizer.nesterov", 1, "1: input should be a valid boolean"),
        ("optimizer.nesterov", "true", "'true': input should be a valid boolean"),
        ("augmentation.0.padding", 0, "0: input should be greater than or equal to 1"),
        ("data.pools.1.fraction", 1.5, "1.5: input should be less than or equal to 1"),
        ("data.pools.1.dataset.transposed", "no", "'no': input should be a valid boolean"),
        ("teachers.0.teachers.0.batch_size", "64", "'64': input should be a valid integer"),
        ("teachers.0.objective.temperature", -1.0, "-1.0: input should be greater than 0"),
        ("optimizer", "sgd", "'sgd': input should be an object; to choose one by its name, set 'optimizer.name'"),
        ("augmentation", {}, "{}: input should be a valid array"),
        ("teachers", [], "[]: it needs at least 1 element"),
        ("teachers.0", 5, "5: input should be an object"),
        ("data.train.half", "D2", "'D2'; did you mean 'D1'?"),
        ("schedule.per", "batch", "'batch'; valid: epoch, step"),
        ("precision", "fp16", "'fp16'; did you mean 'bfloat16'?"),
        ("optimizer.name", "adamm", "'adamm'; did you mean 'adam'?"),
        ("optimizer.name", "xyz", "'xyz'; valid: adam, adamw, sgd"),
        ("data.pools.0.dataset.name", "minst", "'minst'; did you mean 'mnist'?"),
        ("augmentation.1.name", "mixip", "'mixip'; did you mean 'mixup'?"),
        ("teachers.0.teachers.0.model.name", "preresne", "'preresne'; did you mean 'preresnet'?"),
        ("teachers.0.kind", "studnet", "'studnet'; did you mean 'student'?"),
        ("kind", "studnet", "'studnet'; did you mean 'student'?"),
    ],
)
def test_a_wrong_value_is_refused_naming_the_key_what_was_given_and_what_is_right(
    key: str, value: Any, problem: str
) -> None:
    message = refusal(changed(student_with_pools(), key, value))
    assert message.startswith(f"config key '{key}' is {problem}")
    with pytest.raises(BadInput) as caught:
        override(parse_config(student_with_pools()), {key: value})
    # A new component name drops the old one's options, so there the number of further problems may differ.
    assert str(caught.value).startswith(f"config key '{key}' is {problem}")


@pytest.mark.parametrize("part", [Synthetic, SyntheticTexts, partial(GeneratedImages, images=1)])
def test_a_seed_beyond_those_of_torchs_generators_is_refused(part: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match=f"seed\n  Input should be less than {2**63} "):
        part(seed=2**63)


@pytest.mark.parametrize("key", ["epochs", "data", "data.train.dataset", "teachers", "teachers.0.optimizer", "kind"])
def test_a_missing_key_is_named(key: str) -> None:
    assert refusal(without(student(), key)).startswith(f"config key '{key}' is missing")


@pytest.mark.parametrize("key", ["optimizer.name", "teachers.0.model.name", "teachers.0.kind"])
def test_a_component_without_its_name_is_refused_naming_the_key_it_lacks(key: str) -> None:
    assert refusal(without(student(), key)) == f"config key '{key}' is missing"


def test_the_number_of_further_problems_is_told() -> None:
    content = changed(changed(student(), "teachers.0.epochs", "x"), "teachers.0.seed", "y")
    assert refusal(content).endswith("input should be a valid integer (and 1 more problem)")
    assert "more problem" not in refusal(changed(student(), "teachers.0.epochs", "x"))


@pytest.mark.parametrize("content", [None, 3, "x", [], [teacher()]])
def test_what_is_no_mapping_is_refused(content: Any) -> None:
    assert "input should be an object" in refusal(content)


def test_a_value_that_json_cannot_hold_is_refused() -> None:
    circular: list[Any] = []
    circular.append(circular)
    for value in (date(2020, 1, 1), {1, 2}, b"bytes", circular):
        assert "JSON" in refusal(changed(student(), "epochs", value))


# -- rules between keys ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "place", "rule"),
    [
        ({"schedule.warmup_epochs": 20}, "the config", "schedule.warmup_epochs 20 must be below epochs 20"),
        (
            {"teachers.0.schedule.warmup_epochs": 30},
            "config key 'teachers.0'",
            "schedule.warmup_epochs 30 must be below epochs 20",
        ),
        (
            {"objective": {"name": "cross_entropy"}, "augmentation": []},
            "the config",
            "a student needs an objective with a teacher, not cross_entropy",
        ),
        (
            {"teachers.0.objective": {"name": "forward_kl"}},
            "config key 'teachers.0'",
            "a teacher cannot train with the objective forward_kl, which needs a teacher",
        ),
        (
            {"objective.alpha": 0.5},
            "the config",
            "the objective forward_cross_entropy needs labels, which mixup destroys",
        ),
        (
            {"teachers.0.augmentation": [{"name": "mixup"}]},
            "config key 'teachers.0'",
            "the objective cross_entropy needs labels, which mixup destroys",
        ),
        (
            {"teachers.0.data.pools": [{"dataset": {"name": "digits"}}]},
            "config key 'teachers.0'",
            "the objective cross_entropy needs labels, which pools do not have",
        ),
        (
            {"objective.alpha_final": 0.5, "augmentation": [], "data.pools": [{"dataset": {"name": "digits"}}]},
            "the config",
            "the objective forward_cross_entropy needs labels, which pools do not have",
        ),
        (
            {"data.pools": [{"dataset": {"name": "digits"}}, {"dataset": {"name": "cifar10"}}]},
            "config key 'data'",
            "cifar10 has images (3, 32, 32), digits has (1, 28, 28)",
        ),
        (
            {"teachers.0.data.train.dataset": {"name": "digits", "image_size": 32}},
            "the config",
            "its teacher's data do not fit: digits has images (1, 32, 32), digits has (1, 28, 28)",
        ),
        (
            {"teachers.0.data.train.dataset": {"name": "emnist"}},
            "the config",
            "its teacher has 47 classes (emnist), the student 10 (digits)",
        ),
        (
            {"teachers": [teacher(), changed(teacher(), "seed", 9), teacher()]},
            "the config",
            "teacher 2 is the same run as teacher 0: give it a seed of its own (teachers.2.seed)",
        ),
        (
            {"teachers.0.data.train.half": "D0", "data.train.half": "D1", "data.train.size": 100},
            "the config",
            "D1 and its teacher's D0 are halves of different images, and may overlap: data.train.size is 100, its "
            "teacher's is None; give both the same",
        ),
        (
            {"micro_batch_size": 16, "data.streams": [{"name": "noise", "share": 0.5}]},
            "the config",
            "micro_batch_size does not work with streams, which would be cut into unequal mixtures",
        ),
        (
            {"data.train.size": 10, "data.train.fraction": 0.5},
            "config key 'data.train'",
            "give size or fraction, not both",
        ),
    ],
)
def test_values_that_do_not_go_together_are_refused_with_the_rule(
    changes: dict[str, Any], place: str, rule: str
) -> None:
    content = student()
    for key, value in changes.items():
        content = changed(content, key, value)
    assert refusal(content) == f"{place}: {rule}"


@pytest.mark.parametrize(
    "changes",
    [
        {"schedule.warmup_epochs": 19},
        {"micro_batch_size": 64},  # the whole batch
        {"objective.alpha": 0.5, "augmentation": [{"name": "random_crop"}]},
        {"data.pools": [{"dataset": {"name": "emnist"}}]},  # other classes than the student's: labels are not used
        {"teachers.0.data.train.dataset": {"name": "mnist"}},
        {"teachers.0.data.train": {"dataset": {"name": "digits"}, "half": "D0"}, "data.train.half": "D1"},
        {"teachers.0.model": {"name": "lenet5"}},
    ],
)
def test_what_keeps_the_rules_is_accepted(changes: dict[str, Any]) -> None:
    content = student()
    for key, value in changes.items():
        content = changed(content, key, value)
    assert parse_config(content).run_id != parse_config(student()).run_id
