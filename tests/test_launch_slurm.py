"""What is asked of Slurm: arrays by level, packing, dependencies, options; and what is written down of it.

Slurm itself is in test_slurm_*.py. Here its commands are scripts that note what they are given.
"""

import os
import re
import resource
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from config_contents import changed, student, teacher
from pretend_slurm import PretendSlurm
from processes import Process
from pydantic import ValidationError
from submitit.core.utils import DelayedSubmission

from repro.config import parse_config
from repro.errors import BadInput, RunFailed
from repro.launch.job import Job
from repro.launch.ledger import Ledger
from repro.launch.plan import parents_first
from repro.launch.profile import Profile
from repro.launch.request import Request, order
from repro.launch.slurm import Array, Submitter, arrange, sbatch_parameters
from repro.launch.slurm_queue import Task
from repro.store import Store


def teacher_of(seed: int) -> dict[str, object]:
    return changed(teacher(), "seed", seed)


def plan(trials: int) -> list[Request]:
    """A teacher and its student for each trial, a student of the first two students."""
    students = [student(teacher_of(seed)) for seed in range(trials)]
    contents = [*students, student(*students[:2])]
    return parents_first(Request(str(number), parse_config(content)) for number, content in enumerate(contents))


def shape(arrays: list[Array]) -> list[tuple[int, list[int]]]:
    return [(array.level, [len(job) for job in array.jobs]) for array in arrays]


# -- arrays ------------------------------------------------------------------------------------------------------------


def test_runs_are_packed_level_by_level() -> None:
    arrays = arrange(plan(5), {}, Profile(runs_per_job=2))
    assert shape(arrays) == [(0, [2, 2, 1]), (1, [2, 2, 1]), (2, [1])]
    kinds = [{request.config.kind for job in array.jobs for request in job} for array in arrays]
    assert kinds == [{"teacher"}, {"student"}, {"student"}]
    ids = [request.run_id for array in arrays for job in array.jobs for request in job]
    assert sorted(ids) == sorted(request.run_id for request in plan(5))


def test_an_array_has_no_more_jobs_than_slurm_takes_and_its_parts_share_the_throttle() -> None:
    arrays = arrange(plan(5), {}, Profile(array_size=2, array_parallelism=7))
    assert shape(arrays) == [(0, [1, 1]), (0, [1, 1]), (0, [1]), (1, [1, 1]), (1, [1, 1]), (1, [1]), (2, [1])]
    assert [array.parallelism for array in arrays] == [2, 2, 2, 2, 2, 2, 7]
    assert {array.parallelism for array in arrange(plan(5), {}, Profile(array_size=1, array_parallelism=2))} == {1, 2}


def test_runs_whose_parents_are_done_wait_for_nothing() -> None:
    students = [request for request in plan(3) if request.config.kind == "student"]
    assert shape(arrange(students, {}, Profile())) == [(0, [1, 1, 1]), (1, [1])]


def test_runs_whose_parents_are_in_the_queue_wait_for_the_jobs_of_these() -> None:
    requests = plan(3)
    teachers = [request for request in requests if request.config.kind == "teacher"]
    queued = {
        teachers[0].run_id: Task("t7", "7_3", "7", "RUNNING", "None", "n1"),
        teachers[1].run_id: Task("t9", "9_0", "9", "PENDING", "Resources", ""),
    }
    arrays = arrange([request for request in requests if request.run_id not in queued], queued, Profile())
    assert shape(arrays) == [(0, [1]), (1, [1, 1, 1]), (2, [1])]
    assert [array.after_ids for array in arrays] == [(), ("7", "9"), ()]


def test_sbatch_is_asked_for_what_the_profile_says() -> None:
    asked = {"time": "01:30:00", "gpus": 1, "cpus": 4, "memory": "9G", "sbatch": {"constraint": "a100"}}
    profile = Profile.model_validate({"partition": "p", "account": "a", "qos": "q"} | asked)
    assert sbatch_parameters(profile, "name", 5, ["3", "4"]) == {
        "job_name": "name",
        "partition": "p",
        "account": "a",
        "qos": "q",
        "time": 90,
        "gpus_per_node": 1,
        "cpus_per_task": 4,
        "mem": "9G",
        "array_parallelism": 5,
        "signal_delay_s": 90,
        "dependency": "afterany:3:4",
        "additional_parameters": {"requeue": True, "kill-on-invalid-dep": "yes", "constraint": "a100"},
    }
    assert "dependency" not in sbatch_parameters(profile, "name", 5, [])
    assert sbatch_parameters(Profile(gpus=4, gpu_type="a100"), "name", 5, [])["gpus_per_node"] == "a100:4"
    assert "gpus_per_node" not in sbatch_parameters(Profile(), "name", 5, [])  # a cluster without GPUs may refuse 0


# -- submitting --------------------------------------------------------------------------------------------------------


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], PretendSlurm]:
    """Puts an `sbatch` that accepts so many arrays before all others."""
    return lambda accepted: PretendSlurm(tmp_path / "bin", tmp_path / "runs", monkeypatch, accepted)


def submitter(folder: Path, profile: Profile, sweep: str = "sweep") -> Submitter:
    ledger, code = Ledger(folder / "runs"), folder / "code"
    return Submitter(ledger, Store(folder / "runs"), folder / "data", profile, "profile", sweep, code, "auto")


def submit(ours: Submitter, requests: list[Request], queued: dict[str, Task]) -> list[str]:
    """Submit what is not queued."""
    with ours.ledger.lock(print):
        missing = [request for request in requests if request.run_id not in queued]
        return ours.submit(arrange(missing, queued, ours.profile))


def test_each_array_is_written_down_before_it_is_submitted_and_waits_for_the_level_above(
    tmp_path: Path, pretend: Callable[[int], PretendSlurm]
) -> None:
    notes, requests = pretend(9), plan(2)
    profile = Profile(runs_per_job=2, array_size=1, preamble=("module load x",), environment={"A": "b c"}, scratch="$T")
    ours = submitter(tmp_path, profile)
    assert submit(ours, requests, {}) == [
        "submitted 100: 2 runs in 1 job",
        "submitted 101: 2 runs in 1 job, after 100",
        "submitted 102: 1 run in 1 job, after 101",
    ]
    assert [len(notes.read(f"ledger_{n}").split()) for n in range(3)] == [1, 2, 3]
    first, second, third = ours.ledger.open_submissions()
    by_id = {entry.job_id: entry for entry in (first, second, third)}
    assert by_id["100"].jobs == [[request.run_id for request in requests if request.config.kind == "teacher"]]
    script = notes.read("script_1")
    assert f"#SBATCH --job-name={by_id['101'].name}\n" in script
    assert by_id["101"].name == f"repro-sweep-{by_id['101'].token}"
    assert "#SBATCH --dependency=afterany:100\n" in script
    assert "#SBATCH --kill-on-invalid-dep=yes\n" in script
    assert "#SBATCH --signal=USR2@90\n" in script
    body = script[script.index("# setup") : script.index("# command")]
    assert body.splitlines()[1:6] == [
        "module load x",
        "export A='b c'",
        'export REPRO_SCRATCH="$T" TMPDIR="$T"',
        'mkdir -p "$REPRO_SCRATCH"',
        f"export PYTHONSAFEPATH=1 PYTHONPATH={tmp_path / 'code'}${{PYTHONPATH:+:$PYTHONPATH}}",
    ]


def test_an_array_waits_for_all_of_the_level_above_and_for_jobs_of_earlier_launches(
    tmp_path: Path, pretend: Callable[[int], PretendSlurm]
) -> None:
    notes, requests = pretend(9), plan(2)
    queued = {requests[0].run_id: Task("earlier", "7_3", "7", "PENDING", "Resources", "")}
    assert submit(submitter(tmp_path, Profile(array_size=1)), requests, queued) == [
        "submitted 100: 1 run in 1 job",
        "submitted 101: 1 run in 1 job, after 7, 100",
        "submitted 102: 1 run in 1 job, after 100",
        "submitted 103: 1 run in 1 job, after 101, 102",
    ]
    assert "#SBATCH --dependency=afterany:7:100\n" in notes.read("script_1")
    assert "#SBATCH --dependency=afterany:101:102\n" in notes.read("script_3")


def test_a_job_takes_along_what_it_needs_wherever_it_starts(
    tmp_path: Path, pretend: Callable[[int], PretendSlurm], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Folders were given relative to the launcher's; a job is requeued at its time limit a hundred times."""
    notes = pretend(9)
    folder = tmp_path / "two words"
    folder.mkdir()
    monkeypatch.chdir(folder)
    ours = submitter(
        Path(), Profile(cpus=8, gpus=4, runs_per_job=4, runs_at_once=2, processes_per_run=2, warning_seconds=120)
    )
    teachers = [request for request in plan(5) if request.config.kind == "teacher"]
    submit(ours, teachers, {})
    (submission,) = ours.ledger.submissions()
    first, second = (
        DelayedSubmission.load(ours.ledger.job_folder(submission.token) / f"100_{task}_submitted.pkl")
        for task in range(2)
    )
    job = Job(
        runs=tuple(order(request) for request in teachers[:4]),
        store=folder / "runs",
        data=folder / "data",
        devices=("cuda:0", "cuda:1", "cuda:2", "cuda:3"),
        at_once=2,
        threads=2,
        processes=2,
        code=folder / "code",
        warning_seconds=120,
        wandb="auto",
        group="sweep",
    )
    assert (first.function, second.function) == (job, replace(job, runs=(order(teachers[4]),)))
    assert first._timeout_countdown == second._timeout_countdown == 100
    script = notes.read("script_0")
    assert f"PYTHONPATH='{folder}/code'${{PYTHONPATH:+:$PYTHONPATH}}\n" in script
    assert " --cpus-per-task=8 " in script[script.index("\nsrun ") :]


def test_neither_the_users_defaults_nor_the_job_that_one_launches_from_change_what_a_profile_asks_for(
    tmp_path: Path, pretend: Callable[[int], PretendSlurm], monkeypatch: pytest.MonkeyPatch
) -> None:
    slurm = pretend(9)
    slurm.script("sbatch", f"#!/bin/bash\nenv > {slurm.folder}/environment; echo Submitted batch job 7\n")
    seen = {"SLURM_CONF": "c", "SBATCH_ACCOUNT": "mine", "SBATCH_RESERVATION": "r"}  # on which the profile is silent
    hidden = {
        "SBATCH_PARTITION": "short",
        "SBATCH_TIMELIMIT": "5",
        "SBATCH_MEM_PER_NODE": "1G",
        "SBATCH_NO_REQUEUE": "1",
    }
    inherited = {"SLURM_MEM_PER_CPU": "400", "SLURM_NTASKS": "2"}
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    for name, value in (seen | hidden | inherited).items():
        monkeypatch.setenv(name, value)

    def variables() -> dict[str, str]:
        submit(submitter(tmp_path, Profile(partition="long")), plan(1)[:1], {})
        lines = [line.partition("=") for line in slurm.read("environment").splitlines()]
        return {name: value for name, _, value in lines if name in {*seen, *hidden, *inherited, "SLURM_JOB_ID"}}

    assert variables() == seen | inherited  # outside of a job, the user's own
    monkeypatch.setenv("SLURM_JOB_ID", "3")
    assert variables() == seen
    assert os.environ["SBATCH_PARTITION"] == "short" and os.environ["SLURM_JOB_ID"] == "3"


def test_the_name_of_a_job_is_one_that_squeue_can_look_for(
    tmp_path: Path, pretend: Callable[[int], PretendSlurm]
) -> None:
    """It takes a comma between two names, and prints `|` between two fields."""
    pretend(9)
    ours = submitter(tmp_path, Profile(), sweep="a, b|c's")
    submit(ours, plan(1)[:1], {})
    (submission,) = ours.ledger.submissions()
    assert submission.name == f"repro-a__b_c_s-{submission.token}"


def test_no_option_that_the_launcher_gives_to_sbatch_can_be_given_in_a_profile_as_well(
    tmp_path: Path, pretend: Callable[[int], PretendSlurm]
) -> None:
    notes = pretend(9)
    submit(submitter(tmp_path, Profile(partition="p", account="a", qos="q", gpus=1)), plan(2), {})
    options = set(re.findall(r"^#SBATCH --([a-z-]+)", notes.read("script_1"), re.MULTILINE))
    assert {"array", "job-name", "time", "output", "dependency", "signal", "mem"} <= options
    for option in options - {"wckey"}:  # a label of submitit's, for accounting
        with pytest.raises(ValidationError, match=r"is set by the launcher|has a key of its own"):
            Profile(sbatch={option: "1"})


def test_a_refused_submission_is_one_line_and_leaves_nothing(
    tmp_path: Path, pretend: Callable[[int], PretendSlurm], capfd: pytest.CaptureFixture[str]
) -> None:
    notes = pretend(0)
    ours = submitter(tmp_path, Profile())
    with pytest.raises(BadInput, match="Slurm refused the jobs: sbatch: error: no more of them"):
        submit(ours, plan(2), {})
    assert ours.ledger.submissions() == []
    assert list((tmp_path / "runs" / ".launch" / "jobs").iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert [line.startswith("--name=repro-sweep-") for line in notes.cancelled] == [
        True
    ]  # if it was taken all the same


def test_a_submission_that_nobody_could_withdraw_is_left_for_the_next_launch(
    tmp_path: Path, pretend: Callable[[int], PretendSlurm]
) -> None:
    """Slurm may have taken the jobs and died before it answered."""
    notes = pretend(0)
    notes.fails("scancel", "slurm_load_jobs error: Unable to contact")
    ours = submitter(tmp_path, Profile())
    with pytest.raises(BadInput, match="Slurm refused the jobs: sbatch: error: no more of them"):
        submit(ours, plan(2), {})
    (left,) = ours.ledger.open_submissions()
    assert left.job_id is None


def test_what_was_submitted_before_a_refusal_stays_and_is_counted(
    tmp_path: Path, pretend: Callable[[int], PretendSlurm]
) -> None:
    pretend(2)
    ours = submitter(tmp_path, Profile())
    with pytest.raises(RunFailed, match=r"2 of 3 arrays are submitted; when Slurm would .* launch again to submit"):
        submit(ours, plan(2), {})
    assert [entry.job_id for entry in sorted(ours.ledger.submissions(), key=lambda s: s.job_id or "")] == ["100", "101"]


def test_on_a_full_disk_nothing_is_submitted(tmp_path: Path, pretend: Callable[[int], PretendSlurm]) -> None:
    """A file size limit stands in for a full disk."""
    notes = pretend(9)
    arrays = arrange(plan(40), {}, Profile())

    def launch(pipe: Connection) -> None:
        ours = submitter(tmp_path, Profile())
        with ours.ledger.lock(print):
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
            try:
                ours.submit(arrays)
            except BadInput as error:
                pipe.send(str(error))

    said = Process(launch).hear()
    assert said.endswith(".json cannot be written: File too large")
    assert notes.submitted == 0
    assert Ledger(tmp_path / "runs").submissions() == []


def test_runs_can_only_be_kept_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(BadInput, match=r"runs: cannot keep runs there \(Not a directory\); see --runs"):
        Ledger(tmp_path / "runs").lock(print).__enter__()


def test_a_folder_where_the_lock_of_launches_should_be_is_named(tmp_path: Path) -> None:
    (tmp_path / ".launch" / "lock").mkdir(parents=True)
    with pytest.raises(BadInput, match=rf"^{tmp_path}/\.launch/lock: is a folder, but a file .* remove it$"):
        Ledger(tmp_path).lock(print).__enter__()
