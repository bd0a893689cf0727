"""From requested runs to an order in which each can be made, and how much work they are."""

import random
from typing import Any

import pytest
from config_contents import changed, student, teacher
from runs import SMALL, small_generator, small_student, small_teacher

from repro.config import DataConfig, Selection, parse_config
from repro.data.dataset import LabeledData
from repro.data.selection import select
from repro.launch.plan import count_work, examples_of, images_to_train, parents_first
from repro.launch.request import Request

T1 = teacher()
T2 = changed(teacher(), "seed", 2)
CHAIN = student(student(T1))


def requested(*contents: tuple[str, dict[str, object]]) -> list[Request]:
    return [Request(label, parse_config(content)) for label, content in contents]


def labels(plan: list[Request]) -> list[str]:
    return [request.label for request in plan]


def test_every_ancestor_comes_before_what_needs_it() -> None:
    plan = parents_first(requested(("last", CHAIN)))
    assert [request.config for request in plan] == [parse_config(content) for content in (T1, student(T1), CHAIN)]
    assert labels(plan) == ["teacher of student of last", "student of last", "last"]
    assert [request.condition for request in plan] == ["teacher of student", "student", ""]  # the study has only one


def test_all_teachers_of_an_ensemble_are_planned() -> None:
    plan = parents_first(requested(("both", student(T1, T2))))
    assert [request.config.seed for request in plan[:2]] == [3, 2]
    assert len(plan) == 3


def test_a_shared_parent_is_planned_once_under_the_name_of_the_first_that_needs_it() -> None:
    one, two = student(T1), changed(student(T1), "seed", 8)
    plan = parents_first(requested(("one", one), ("two", two)))
    assert labels(plan) == ["teacher of one", "one", "two"]


def test_a_run_requested_twice_is_planned_once() -> None:
    plan = parents_first(requested(("one", T1), ("again", T1)))
    assert labels(plan) == ["one"]


def test_a_parent_that_is_also_requested_keeps_the_name_it_was_requested_under() -> None:
    for order in ((("s", student(T1)), ("t", T1)), (("t", T1), ("s", student(T1)))):
        assert labels(parents_first(requested(*order))) == ["t", "s"]


def test_the_requests_may_come_as_an_iterator() -> None:
    requests = requested(("s", student(T1)), ("t", T1))
    assert parents_first(iter(requests)) == parents_first(requests)


def test_nothing_requested_is_nothing_planned() -> None:
    assert parents_first([]) == []


def test_the_work_of_a_generator_and_of_a_selection_of_classes() -> None:
    assert images_to_train(small_generator()) == 3 * 4 * 2 * 16  # epochs, steps, discriminator steps, batch size
    three_classes = Selection(dataset=SMALL, size=200, classes=(0, 3, 7))
    assert images_to_train(small_teacher(data=DataConfig(train=three_classes))) == 3 * 60


def test_any_order_of_any_requests_is_planned_parents_first_and_each_run_once() -> None:
    contents = [T1, T2, student(T1), student(T2), student(T1, T2), CHAIN, student(student(T1), T2), student(CHAIN)]
    for seed in range(20):
        order = random.Random(seed)
        chosen = order.sample(contents, order.randint(1, len(contents)))
        requests = requested(*((str(number), content) for number, content in enumerate(chosen)))
        plan = parents_first(requests)
        ids = [request.config.run_id for request in plan]
        assert len(set(ids)) == len(ids)
        assert {request.config.run_id for request in requests} <= set(ids)
        for place, request in enumerate(plan):
            assert all(parent.run_id in ids[:place] for parent in request.config.parents())


@pytest.mark.parametrize(
    "part",
    [
        {"size": 101, "half": "D0"},
        {"size": 101, "half": "D1"},
        {"fraction": 0.0338},
        {"fraction": 0.5, "half": "D1", "seed": 3},
    ],
)
def test_the_examples_that_are_counted_are_those_that_a_run_gets(part: dict[str, Any], digits: LabeledData) -> None:
    selection = Selection(dataset=SMALL, **part)
    indices = select(
        digits.train.labels, half=selection.half, size=selection.size, fraction=selection.fraction, seed=selection.seed
    )
    config = small_teacher(data=DataConfig(train=selection), epochs=3, batch_size=32)
    assert examples_of(config) == len(indices)
    assert images_to_train(config) == 3 * len(indices)
    dropped = config.model_copy(update={"last_batch": "drop"})
    assert images_to_train(dropped) == 3 * (len(indices) // 32 * 32)


def test_work_is_counted_by_kind_in_what_is_left_of_it() -> None:
    whole, half = Request("whole", small_student()), Request("half", small_teacher(), left=0.5)
    assert count_work([whole, half]) == "2 distinct runs (1 teacher, 1 student), 900 images to train"
    assert count_work([half]) == "1 distinct run (1 teacher), 300 images to train"
