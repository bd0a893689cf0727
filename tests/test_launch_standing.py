"""Which runs of a plan are to be made: what is done, on its way, failed, or waits for what failed."""

from pathlib import Path

import pytest
from config_contents import changed, student, teacher

from repro.config import parse_config
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.launch.slurm_queue import Task
from repro.launch.standing import sort_out
from repro.store import RunDirectory, Store

OTHER = changed(teacher(), "seed", 4)
PLAN = parents_first(
    Request(name, parse_config(content))
    for name, content in (("child", student(student())), ("both", student(teacher(), OTHER)))
)
TEACHER, STUDENT, GRANDCHILD, SECOND, BOTH = PLAN


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def stands(store: Store, queued: tuple[Request, ...] = (), retry: bool = False) -> dict[str, str]:
    task = Task("name", "7_0", "7", "RUNNING", "", "n", "2100-01-01T00:00:00+0000")
    tasks = {request.run_id: task for request in queued}
    found = sort_out(PLAN, store, tasks, retry_failed=retry)
    assert [standing.request.run_id for standing in found] == [request.run_id for request in PLAN]
    return {standing.request.run_id: standing.stand for standing in found}


def begin(store: Store, request: Request) -> RunDirectory:
    run = store.run(request.run_id)
    run.path.mkdir()
    run.write_config(request.config)
    return run


def test_at_first_all_runs_are_to_be_made(store: Store) -> None:
    assert set(stands(store).values()) == {"to make"}
    assert len(PLAN) == 5


def test_done_queued_running_and_interrupted_runs(store: Store) -> None:
    begin(store, TEACHER).write_json("summary.json", {})
    begin(store, SECOND)
    begin(store, BOTH)
    with begin(store, STUDENT).lock(on_wait=print):
        found = stands(store, queued=(TEACHER, STUDENT, GRANDCHILD, BOTH))
    assert found == {
        TEACHER.run_id: "done",
        STUDENT.run_id: "running",
        GRANDCHILD.run_id: "queued",
        SECOND.run_id: "to make",
        BOTH.run_id: "queued",  # interrupted, and to be continued by a job
    }


def test_a_failed_run_and_all_that_need_it_are_left_alone_unless_asked_for(store: Store) -> None:
    begin(store, TEACHER).write_failure("the loss became nan")
    found = sort_out(PLAN, store, {}, retry_failed=False)
    assert [standing.stand for standing in found] == ["failed", "blocked", "blocked", "to make", "blocked"]
    assert found[0].reason == "the loss became nan"
    assert found[2].reason == f"its student {STUDENT.run_id} failed"
    assert set(stands(store, retry=True).values()) == {"to make"}
    again = sort_out(PLAN, store, {}, retry_failed=True)
    failure = store.run(TEACHER.run_id).read_json("failure.json")
    assert [standing.request.forgiven for standing in again] == [failure["time"], None, None, None, None]
    assert stands(store, queued=(TEACHER,))[TEACHER.run_id] == "queued"  # being tried again already
    begin(store, STUDENT).write_json("summary.json", {})  # of an earlier record of the teacher
    after = stands(store, queued=(GRANDCHILD,))
    assert (after[STUDENT.run_id], after[GRANDCHILD.run_id], after[BOTH.run_id]) == ("done", "queued", "blocked")


def test_a_run_that_failed_in_a_job_that_still_makes_others_is_failed_and_not_queued(store: Store) -> None:
    begin(store, TEACHER).write_failure("the loss became nan")
    task = Task("name", "7_0", "7", "RUNNING", "", "n", "2020-01-01T00:00:00+0000")  # submitted before
    found = sort_out([TEACHER], store, {TEACHER.run_id: task}, retry_failed=False)
    assert [(standing.stand, standing.reason) for standing in found] == [("failed", "the loss became nan")]


@pytest.mark.parametrize(
    ("submitted", "stand"),
    [
        ("2026-10-25T02:49:59+0200", "failed"),
        ("2026-10-25T02:50:00+0200", "queued"),  # in the second of the failure, which it was submitted to retry
        ("2026-10-25T02:10:00+0100", "queued"),  # after it, when clocks had been set back
    ],
)
def test_a_failure_is_that_of_a_job_if_it_is_later_than_its_submission(
    store: Store, submitted: str, stand: str
) -> None:
    failure = {"error": "the loss became nan", "traceback": "", "parent": None, "time": "2026-10-25T02:50:00+0200"}
    begin(store, TEACHER).write_json("failure.json", failure)
    task = Task("name", "7_0", "7", "RUNNING", "", "n", submitted)
    (found,) = sort_out([TEACHER], store, {TEACHER.run_id: task}, retry_failed=False)
    assert found.stand == stand


def test_what_failed_for_its_parent_is_made_as_soon_as_that_is_no_longer_failed(store: Store) -> None:
    parent = begin(store, TEACHER)
    parent.write_failure("the loss became nan")
    begin(store, STUDENT).write_failure("its teacher failed", parent=TEACHER.run_id)
    assert stands(store)[STUDENT.run_id] == "blocked"
    parent.forget_failure()
    parent.write_json("summary.json", {})
    assert stands(store)[STUDENT.run_id] == "to make"
