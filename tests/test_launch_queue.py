"""What the launcher makes of Slurm's queue: what is on its way, was lost, or will never start."""

from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from config_contents import student, teacher
from pretend_slurm import PretendSlurm
from processes import Process

from repro.config import parse_config
from repro.errors import BadInput
from repro.launch import ledger as ledgers
from repro.launch import slurm_queue
from repro.launch.ledger import Ledger, Submission
from repro.launch.plan import parents_first
from repro.launch.reconcile import reconcile, take_back
from repro.launch.request import Request
from repro.launch.slurm_queue import Task, cancel, job_state, queued_runs
from repro.launch.standing import sort_out
from repro.store import Store


def entry(token: str, *jobs: list[str], job_id: str | None = None) -> Submission:
    time = f"2026-01-01T00:00:0{token}+0000"
    return Submission(token, f"repro-x-{token}", time, "cpu", "code", list(jobs), job_id)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "runs")


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretendSlurm:
    return PretendSlurm(tmp_path / "bin", tmp_path / "runs", monkeypatch)


@pytest.fixture
def reconciled(ledger: Ledger) -> Callable[..., tuple[set[str], list[str]]]:
    """Reconciles the ledger with these submissions; returns which runs are queued, and what was said."""

    def call(*submissions: Submission) -> tuple[set[str], list[str]]:
        said: list[str] = []
        with ledger.lock(print):
            for submission in submissions:
                ledger.write(submission)
            return set(reconcile(ledger, said.append)), said

    return call


def test_the_queue_is_read_by_the_names_of_jobs_never_by_their_ids(slurm: PretendSlurm) -> None:
    # The scheduler forgot job 8 of entry 1 once, and gave its id to another.
    slurm.answers(
        "squeue",
        ["repro-x-1|8|0|RUNNING|None|n1", "repro-x-1|8|2|PENDING|Resources|", "repro-x-2|9|N/A|COMPLETING|None|n2"],
    )
    first = entry("1", ["a", "b"], ["c"], ["d"])
    second = entry("2", ["e"])
    assert queued_runs([first, second, entry("3", ["f"])]) == {
        "a": Task("repro-x-1", "8_0", "8", "RUNNING", "None", "n1", first.time),
        "b": Task("repro-x-1", "8_0", "8", "RUNNING", "None", "n1", first.time),
        "d": Task("repro-x-1", "8_2", "8", "PENDING", "Resources", "", first.time),
        "e": Task("repro-x-2", "9", "9", "COMPLETING", "None", "n2", second.time),
    }
    # --array: a line for each task, not one for all that are pending.
    assert "--array --name=repro-x-1,repro-x-2,repro-x-3 " in slurm.read("asked_squeue")


def test_jobs_that_the_users_own_defaults_would_hide_are_seen(
    slurm: PretendSlurm, monkeypatch: pytest.MonkeyPatch
) -> None:
    shows = 'echo "repro-x-1|8|N/A|PENDING|Resources|"'
    slurm.script("squeue", f'#!/bin/bash\n[ -n "$SQUEUE_STATES$SQUEUE_USERS" ] || {shows}\n')
    for name, value in (("SQUEUE_STATES", "RUNNING"), ("SQUEUE_USERS", "me")):
        monkeypatch.setenv(name, value)
        assert set(queued_runs([entry("1", ["a"])])) == {"a"}


def test_jobs_in_a_hidden_partition_are_seen(slurm: PretendSlurm) -> None:
    """As Slurm does it: to users, but not to root, it shows them only with --all."""
    slurm.script("squeue", '#!/bin/bash\n[[ " $* " != *" --all "* ]] || echo "repro-x-1|8|N/A|PENDING|Resources|"\n')
    assert set(queued_runs([entry("1", ["a"])])) == {"a"}
    assert "PENDING" in job_state("8")


def test_a_silent_scheduler_is_bad_input(slurm: PretendSlurm, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert queued_runs([]) == {}
    slurm.fails("squeue", "slurm_load_jobs error: Unable to contact")
    with pytest.raises(BadInput, match="Slurm does not answer: slurm_load_jobs error: Unable to contact"):
        queued_runs([entry("1", ["a"])])
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="there is no Slurm on this machine: squeue is not installed"):
        queued_runs([entry("1", ["a"])])


def test_a_scheduler_that_hangs_is_bad_input_too(slurm: PretendSlurm, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_queue, "PATIENCE_SECONDS", 0.6)
    slurm.script("squeue", "#!/bin/bash\nexec sleep 60\n")
    with pytest.raises(BadInput, match="Slurm does not answer: no output from squeue for 1 s"):
        queued_runs([entry("1", ["a"])])
    slurm.script("squeue", "#!/bin/bash\nexit 3\n")
    with pytest.raises(BadInput, match="Slurm does not answer: squeue failed"):
        queued_runs([entry("1", ["a"])])


@pytest.mark.parametrize(
    ("state", "reason", "given_up", "needs_a_person"),
    [
        ("PENDING", "launch failed requeued held", True, False),
        ("PENDING", "launch_failed_requeued_held", True, False),  # as later versions of Slurm write it
        ("PENDING", "DependencyNeverSatisfied", True, False),
        ("PENDING", "JobHoldMaxRequeue", True, False),
        ("PENDING", "JobHeldAdmin", False, True),
        ("PENDING", "BadConstraints", False, True),
        ("PENDING", "job_requeued_in_held_state", False, True),
        ("SPECIAL_EXIT", "job requeued in held state", False, True),
        ("PENDING", "QOSMaxWallDurationPerJobLimit", False, True),
        ("PENDING", "AssocMaxGRESPerJob", False, True),
        ("PENDING", "QOSMaxJobsPerUserLimit", False, False),  # until another job ends
        ("PENDING", "Resources", False, False),
        ("PENDING", "Dependency", False, False),
        ("PENDING", "BeginTime", False, False),  # it was requeued just now
        ("RUNNING", "launch failed requeued held", False, False),
        ("COMPLETING", "JobHeldAdmin", False, False),
    ],
)
def test_what_a_pending_job_waits_for_says_whether_it_will_start(
    state: str, reason: str, given_up: bool, needs_a_person: bool
) -> None:
    task = Task("repro-x-1", "8_0", "8", state, reason, "")
    assert (task.given_up, task.needs_a_person) == (given_up, needs_a_person)


def test_thousands_of_jobs_are_cancelled_without_leaving_one_out(slurm: PretendSlurm) -> None:
    """In several calls, because the length of a command line is limited."""
    cancel((Task("repro-x-1", f"8_{index}", "8", "PENDING", "Priority", "") for index in range(1200)), print)
    calls = [line.split() for line in slurm.cancelled]
    assert sorted(job for call in calls for job in call) == sorted(f"8_{index}" for index in range(1200))
    assert max(len(call) for call in calls) <= 500


def test_jobs_count_as_cancelled_only_if_scancel_says_nothing_but_that_some_are_of_other_users(
    slurm: PretendSlurm,
) -> None:
    mine, other = (Task("repro-x-1", job_id, job_id, "RUNNING", "None", "") for job_id in ("8", "9"))
    denied = "scancel: error: Kill job error on job id 9: Access/permission denied"
    said: list[str] = []
    slurm.fails("scancel", denied)
    assert cancel([mine, other], said.append) == {mine}
    assert said == ["left in the queue: 1 job of repro-x-1 that another user owns and has to cancel"]
    for script in (f"echo '{denied}\nscancel: error: Unable to contact slurm controller' >&2; exit 1", "exit 1"):
        slurm.script("scancel", f"#!/bin/bash\n{script}\n")
        with pytest.raises(BadInput, match="Slurm does not answer"):
            cancel([mine, other], said.append)


def test_submissions_are_kept_in_order_and_put_away_when_they_have_ended(ledger: Ledger) -> None:
    first, second = entry("1", ["a"], ["b"]), entry("2", ["b"])
    with ledger.lock(print):
        ledger.write(second)
        ledger.write(first)
        assert ledger.open_submissions() == [first, second]
        ledger.end(first)
    assert ledger.open_submissions() == [second]
    assert ledger.submissions() == [first, second]
    for token, name in (("1", "5_1_0_log.out"), ("1", "5_0_0_log.out"), ("2", "6_0_log.err")):
        ledger.job_folder(token).mkdir(parents=True, exist_ok=True)
        (ledger.job_folder(token) / name).write_text("")
    assert [path.name for path in ledger.job_logs("b")] == ["5_1_0_log.out", "6_0_log.err"]


def test_a_submission_that_is_put_away_while_it_is_looked_for_is_found(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    only, read = entry("1", ["a"]), ledgers._read
    with ledger.lock(print):
        ledger.write(only)

    def read_then_end(folder: Path) -> list[Submission]:
        found = read(folder)
        if (ledger.open_folder / "1.json").exists():
            ledger.end(only)
        return found

    monkeypatch.setattr(ledgers, "_read", read_then_end)
    assert ledger.submissions() == [only]


def test_the_last_submission_is_the_latest_also_where_clocks_were_set_back(ledger: Ledger) -> None:
    summer = replace(entry("1", ["a"]), time="2026-10-25T02:50:00+0200")
    winter = replace(entry("2", ["a"]), time="2026-10-25T02:10:00+0100")
    with ledger.lock(print):
        ledger.write(winter)
        ledger.write(summer)
    assert ledger.open_submissions() == ledger.submissions() == [summer, winter]


def test_two_launchers_of_one_folder_take_turns(ledger: Ledger) -> None:
    def launch(pipe: Connection) -> None:
        with ledger.lock(say=lambda line: pipe.send(line)):
            pipe.send("holds")
            pipe.recv()

    first = Process(launch)
    assert first.hear() == "holds"
    second = Process(launch)
    waiting = f"waiting for another command that launches or cancels runs in {ledger.folder.parent}"
    assert second.hear() == waiting
    assert not second.pipe.poll(0.3)
    first.kill()
    assert second.hear() == "holds"
    second.kill()


# -- repair ------------------------------------------------------------------------------------------------------------


def test_jobs_of_a_launcher_that_was_killed_while_it_submitted_are_cancelled_and_made_anew(
    slurm: PretendSlurm, ledger: Ledger, reconciled: Callable[..., tuple[set[str], list[str]]]
) -> None:
    """Without a job id in the ledger nobody knows whether the jobs have what they need to start."""
    slurm.answers("squeue", ["repro-x-1|8|0|PENDING|JobHeldUser|", "repro-x-2|9|0|PENDING|None|"])
    second = entry("2", ["b"], job_id="9")
    queued, said = reconciled(entry("1", ["a"]), second, entry("3", job_id="7"))
    assert queued == {"b"}
    assert slurm.cancelled == ["8_0"]
    assert said == ["cancelling 1 job of repro-x-1: the launcher was killed while submitting"]
    assert ledger.open_submissions() == [second]


def test_a_job_that_was_requeued_by_hand_after_its_submission_was_put_away_is_seen_again(
    slurm: PretendSlurm, ledger: Ledger, reconciled: Callable[..., tuple[set[str], list[str]]]
) -> None:
    first, second = entry("1", ["a"], ["b"], job_id="8"), entry("2", ["c"], job_id="9")
    assert reconciled(first, second)[0] == set()
    assert ledger.open_submissions() == []
    slurm.answers("squeue", ["repro-x-1|8|1|PENDING|BeginTime|"])
    assert set(queued_runs(ledger.submissions_to_look_for())) == {"b"}  # for `repro status`
    assert reconciled() == ({"b"}, [])
    assert ledger.open_submissions() == [first]
    assert ledger.submissions() == ledger.submissions_to_look_for() == [first, second]
    slurm.answers("squeue", [])
    assert reconciled()[0] == set()
    assert ledger.open_submissions() == []


def test_what_slurm_will_never_start_is_cancelled_and_what_waits_for_a_person_is_said(
    slurm: PretendSlurm, ledger: Ledger, reconciled: Callable[..., tuple[set[str], list[str]]]
) -> None:
    lines = [
        "repro-x-1|8|0|PENDING|launch failed requeued held|",
        "repro-x-1|8|1|PENDING|Resources|",
        "repro-x-2|9|0|PENDING|DependencyNeverSatisfied|",
        "repro-x-3|10|0|PENDING|JobHeldUser|",
        "repro-x-3|10|1|RUNNING|JobHeldUser|n1",  # held while it runs: for when it comes back
    ]
    slurm.answers("squeue", lines)
    first, second = entry("1", ["a"], ["b"], job_id="8"), entry("2", ["c"], job_id="9")
    third = entry("3", ["d"], ["e"], job_id="10")
    queued, said = reconciled(first, second, third)
    assert queued == {"b", "d", "e"}
    assert slurm.cancelled == ["8_0", "9_0"]
    assert said[0] == "cancelling 1 job of repro-x-1: cannot start any more (launch failed requeued held)"
    assert said[1] == "cancelling 1 job of repro-x-2: cannot start any more (DependencyNeverSatisfied)"
    assert said[2].startswith("1 job of repro-x-3 will not start without help (JobHeldUser): `scontrol release`")
    assert ledger.open_submissions() == [first, third]


def test_jobs_that_are_ending_without_their_runs_are_said(
    slurm: PretendSlurm, ledger: Ledger, reconciled: Callable[..., tuple[set[str], list[str]]]
) -> None:
    """They are in the queue, so their runs are not submitted; but nothing may come of them any more."""
    ending = [f"repro-x-1|8|{index}|COMPLETING|None|n1" for index in (0, 1)]
    slurm.answers("squeue", [*ending, "repro-x-2|9|0|RUNNING|None|n1"])
    (ledger.store.root / "done").mkdir(parents=True)
    ledger.store.run("done").write_json("summary.json", {})
    queued, said = reconciled(entry("1", ["a", "b"], ["done"], job_id="8"), entry("2", ["c"], job_id="9"))
    assert queued == {"a", "b", "done", "c"}
    (line,) = said
    assert line.startswith(
        "just ending (COMPLETING) with runs that are not done: 1 job of repro-x-1;"
    ) and line.endswith("launch again")


def test_a_run_in_two_jobs_belongs_to_the_one_submitted_last(
    slurm: PretendSlurm, ledger: Ledger, reconciled: Callable[..., tuple[set[str], list[str]]]
) -> None:
    """It failed in a job that still makes others, and `--retry failed` has submitted it again.

    If the first job counted, the second would be forgotten: `repro cancel` would not find it, and the next
    `--retry failed` would submit the run a third time.
    """
    first, second = entry("1", ["a", "b"], job_id="8"), entry("2", ["a"], job_id="9")
    pending, running = "repro-x-2|9|0|PENDING|Resources|", "repro-x-1|8|0|RUNNING|None|n1"
    for lines in ([pending, running], [running, pending]):  # squeue shows pending jobs first
        slurm.answers("squeue", lines)
        assert reconciled(first, second) == ({"a", "b"}, [])
        assert ledger.open_submissions() == [first, second]
        found = queued_runs(ledger.open_submissions())
        assert {run_id: task.job_id for run_id, task in found.items()} == {"a": "9_0", "b": "8_0"}


def test_a_pending_child_is_taken_back_when_its_parent_has_to_be_made_again(
    slurm: PretendSlurm, tmp_path: Path
) -> None:
    """It waits for the parent's old job, and would find nothing."""
    plan = parents_first([Request("child", parse_config(student(student(teacher()))))])
    parent, child, grandchild = plan
    tasks = {
        child.run_id: Task("n", "8_0", "8", "PENDING", "Dependency", "", ""),
        grandchild.run_id: Task("n", "9_0", "9", "PENDING", "Dependency", "", ""),
    }
    said: list[str] = []
    store = Store(tmp_path / "runs")

    def stands() -> list[str]:
        return [standing.stand for standing in sort_out(plan, store, tasks, retry_failed=False)]

    assert stands() == ["to make", "queued", "queued"]
    assert take_back(sort_out(plan, store, tasks, retry_failed=False), tasks, said.append) == {tasks.pop(child.run_id)}
    assert stands() == ["to make", "to make", "queued"]
    running = {grandchild.run_id: replace(tasks[grandchild.run_id], state="RUNNING")}
    assert take_back(sort_out(plan, store, running, retry_failed=False), running, said.append) == set()
    assert take_back(sort_out(plan, store, tasks, retry_failed=False), tasks, said.append) == {
        tasks.pop(grandchild.run_id)
    }
    assert stands() == ["to make", "to make", "to make"]
    assert slurm.cancelled == ["8_0", "9_0"]
    assert said == 2 * ["cancelling 1 pending job: a parent run must be made again first"]
    assert parent.run_id not in tasks


def test_runs_of_another_sweep_in_a_job_that_is_taken_back_are_said(slurm: PretendSlurm, tmp_path: Path) -> None:
    """They shared the job, and this launch does not submit them again."""
    plan = parents_first([Request("child", parse_config(student(teacher())))])
    task = Task("n", "8_0", "8", "PENDING", "Dependency", "", "")
    queued, said = {plan[1].run_id: task, "another": task}, list[str]()
    take_back(sort_out(plan, Store(tmp_path / "runs"), queued, retry_failed=False), queued, said.append)
    assert slurm.cancelled == ["8_0"]
    assert said[0].endswith("; this also cancels 1 run outside this sweep: launch those again too")
    slurm.denies("8_*")  # another user's: taken for taken back, it would be submitted a second time
    assert take_back(sort_out(plan, Store(tmp_path / "runs"), queued, False), queued, said.append) == set()


def test_a_launch_says_why_a_job_left_the_queue_with_runs_unfinished(
    slurm: PretendSlurm, ledger: Ledger, reconciled: Callable[..., tuple[set[str], list[str]]]
) -> None:
    slurm.answers("sacct", ["repro-x-1|8_0|OUT_OF_MEMORY", "repro-x-1|8_1|COMPLETED"])
    for run_id, file in (("begun", "config.json"), ("done", "summary.json"), ("failed", "failure.json")):
        (ledger.store.root / run_id).mkdir(parents=True)
        ledger.store.run(run_id).write_json(file, {})
    queued, said = reconciled(entry("1", ["a", "begun"], ["done", "failed"], job_id="8"))
    assert queued == set()
    assert said == ["repro-x-1 has left the queue with 2 of 4 runs unfinished (1 job OUT_OF_MEMORY)"]


def test_accounting_that_does_not_answer_is_asked_once_for_all_jobs_that_have_left(
    slurm: PretendSlurm, reconciled: Callable[..., tuple[set[str], list[str]]]
) -> None:
    """It takes its time, while the lock keeps other launches waiting; and it says so in several lines."""
    lines = "sacct: error: no response to persist_init\nsacct: error: Problem talking to the database"
    slurm.script("sacct", f"#!/bin/bash\necho asked >> {slurm.folder}/asked_sacct; echo '{lines}' >&2; exit 1\n")
    _, said = reconciled(*(entry(token, ["a" + token], job_id=token) for token in "123"))
    assert slurm.read("asked_sacct") == "asked\n"
    reason = f"reason unknown: Slurm does not answer: {lines.replace(chr(10), ' ')}"
    assert said == [f"repro-x-{token} has left the queue with 1 of 1 runs unfinished ({reason})" for token in "123"]
