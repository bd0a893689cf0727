"""From requested runs to an order in which each can be made."""

import random

from config_contents import changed, student, teacher

from repro.config import parse_config
from repro.launch.plan import parents_first
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
