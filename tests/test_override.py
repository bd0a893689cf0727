"""Overrides: values set at dotted keys of a config."""

import random

import pytest
from config_contents import changed, student, student_with_pools, teacher

from repro.config import StudentConfig, parse_config
from repro.config.override import override
from repro.errors import BadInput


def test_an_override_sets_dotted_keys_and_leaves_the_rest() -> None:
    config = parse_config(student_with_pools())
    found = override(config, {"optimizer.learning_rate": 0.3, "data.pools.1.fraction": 0.5}).model_dump(mode="json")
    expected = changed(changed(student_with_pools(), "optimizer.learning_rate", 0.3), "data.pools.1.fraction", 0.5)
    assert found == parse_config(expected).model_dump(mode="json")
    assert config == parse_config(student_with_pools())


def test_a_key_without_an_index_changes_every_element_and_one_with_an_index_only_that() -> None:
    config = parse_config(student(*(changed(teacher(), "seed", seed) for seed in range(3))))
    assert [parent.epochs for parent in override(config, {"teachers.epochs": 5}).parents()] == [5, 5, 5]
    assert [parent.epochs for parent in override(config, {"teachers.1.epochs": 5}).parents()] == [20, 5, 20]
    both = override(config, {"teachers.2.epochs": 7, "teachers.epochs": 5})
    assert [parent.epochs for parent in both.parents()] == [5, 5, 7]


def test_one_element_set_as_a_whole_does_not_undo_what_is_set_in_all() -> None:
    config = parse_config(student(teacher(), changed(teacher(), "seed", 8)))
    in_all, in_one = ("teachers.epochs", 5), ("teachers.1", changed(teacher(), "seed", 9))
    for changes in ([in_all, in_one], [in_one, in_all]):
        found = override(config, dict(changes))
        assert [(parent.epochs, parent.seed) for parent in found.parents()] == [(5, teacher()["seed"]), (5, 9)]


def test_an_index_replaces_the_whole_element() -> None:
    config = parse_config(student())
    assert isinstance(config, StudentConfig)
    found = override(config, {"augmentation.0": {"name": "horizontal_flip", "p": 0.25}})
    assert [step.name for step in found.augmentation] == ["horizontal_flip", "mixup"]


def test_a_new_component_name_drops_the_options_of_the_old_component() -> None:
    config = override(parse_config(student()), {"optimizer.name": "adam", "optimizer.learning_rate": 0.01})
    assert config.model_dump()["optimizer"] == {
        "name": "adam",
        "learning_rate": 0.01,
        "weight_decay": 0.0,
        "beta1": 0.9,
        "beta2": 0.999,
    }
    with pytest.raises(BadInput, match=r"^config key 'optimizer\.learning_rate' is missing$"):
        override(parse_config(student()), {"optimizer.name": "adam"})


def test_the_same_component_name_keeps_the_options() -> None:
    config = parse_config(student())
    assert override(config, {"optimizer.name": "sgd"}) == config


def test_the_order_of_overrides_does_not_matter() -> None:
    changes = {
        "optimizer.learning_rate": 0.01,
        "optimizer.name": "adam",
        "data.train.dataset.name": "emnist",
        "data.train.dataset.transposed": True,
        "teachers": [changed(teacher(), "data.train.dataset", {"name": "emnist", "transposed": True})],
        "teachers.optimizer.name": "adamw",
        "teachers.optimizer.learning_rate": 0.02,
    }
    shuffled = list(changes.items())
    ids = set()
    for seed in range(20):
        random.Random(seed).shuffle(shuffled)
        ids.add(override(parse_config(student()), dict(shuffled)).run_id)
    assert len(ids) == 1


def test_a_value_set_in_several_places_is_not_shared_between_them_nor_with_the_caller() -> None:
    value = {"name": "adam", "learning_rate": 0.1}
    changes = {"teachers.optimizer": value, "teachers.0.optimizer.learning_rate": 0.5}
    found = override(parse_config(student(teacher(), changed(teacher(), "seed", 9))), changes)
    assert [parent.optimizer.learning_rate for parent in found.parents()] == [0.5, 0.1]
    assert value == {"name": "adam", "learning_rate": 0.1}


@pytest.mark.parametrize(
    ("key", "problem"),
    [
        ("data.pools.fraction", "config key 'data.pools.fraction' changes nothing"),
        ("teachers.5.epochs", "config key 'teachers.5.epochs': there is no element 5, the list has 1"),
        ("epochs.x", "config key 'epochs.x' is set inside 20, which has no keys"),
        ("teachers.0.seed.x.y", "config key 'teachers.0.seed.x.y' is set inside 3, which has no keys"),
        ("optimizer.", "unknown config key 'optimizer.'"),
        ("", "unknown config key ''"),
    ],
)
def test_an_override_that_leads_nowhere_is_refused(key: str, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        override(parse_config(student()), {key: 3})
    assert str(caught.value).startswith(problem)
