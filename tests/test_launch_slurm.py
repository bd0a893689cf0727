"""What is asked of Slurm: arrays by level, packing, dependencies, options; and what is written down of it.

Slurm itself is in test_slurm_*.py. Here `sbatch` and `squeue` are scripts that note what they are given.
"""

import os
import resource
from collections.abc import Callable
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from config_contents import changed, student, teacher
from processes import Process

from repro.config import parse_config
from repro.errors import BadInput, RunFailed
from repro.launch.ledger import Ledger, Submission
from repro.launch.plan import parents_first
from repro.launch.profile import Profile
from repro.launch.request import Request
from repro.launch.slurm import Array, Submitter, arrange, sbatch_parameters
from repro.launch.slurm_queue import Task, queued_runs, reconcile
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
    profile = Profile(partition="p", time="01:30:00", gpus=1, cpus=4, memory="9G", sbatch={"constraint": "a100"})
    assert sbatch_parameters(profile, "name", 5, ["3", "4"]) == {
        "job_name": "name",
        "partition": "p",
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


# -- submitting --------------------------------------------------------------------------------------------------------

SBATCH = """#!/bin/bash
n=$(cat {folder}/count 2>/dev/null || echo 0)
if [ "$n" -ge {accepted} ]; then echo 'sbatch: error: no more of them' >&2; exit 1; fi
echo $((n + 1)) > {folder}/count
ls {runs}/.launch/submitted > {folder}/ledger_$n
cp "$1" {folder}/script_$n
echo "Submitted batch job $((100 + n))"
"""


@pytest.fixture
def pretend(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Path]:
    """Puts an `sbatch` that accepts so many arrays before all others; returns the folder where it takes notes."""

    def install(accepted: int) -> Path:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "sbatch").write_text(SBATCH.format(folder=folder, runs=tmp_path / "runs", accepted=accepted))
        (folder / "srun").write_text("#!/bin/bash\n")
        (folder / "scancel").write_text(f'#!/bin/bash\necho "$*" >> {folder}/cancelled\n')
        for path in folder.iterdir():
            path.chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
        return folder

    return install


def submitter(tmp_path: Path, profile: Profile) -> Submitter:
    ledger, code = Ledger(tmp_path / "runs"), tmp_path / "code"
    return Submitter(ledger, Store(tmp_path / "runs"), tmp_path / "data", profile, "profile", "sweep", code)


def test_each_array_is_written_down_before_it_is_submitted_and_waits_for_the_level_above(
    tmp_path: Path, pretend: Callable[[int], Path]
) -> None:
    notes, requests = pretend(9), plan(2)
    profile = Profile(runs_per_job=2, array_size=1, preamble=("module load x",), environment={"A": "b c"}, scratch="$T")
    ours = submitter(tmp_path, profile)
    with ours.ledger.lock():
        lines = list(ours.submit(arrange(requests, {}, profile)))
    assert lines == [
        "submitted 100: 2 runs in 1 job",
        "submitted 101: 2 runs in 1 job, after 100",
        "submitted 102: 1 run in 1 job, after 101",
    ]
    assert [len((notes / f"ledger_{n}").read_text().split()) for n in range(3)] == [1, 2, 3]
    first, second, third = ours.ledger.open_submissions()
    by_id = {entry.job_id: entry for entry in (first, second, third)}
    assert by_id["100"].jobs == [[request.run_id for request in requests if request.config.kind == "teacher"]]
    script = (notes / "script_1").read_text()
    assert f"#SBATCH --job-name={by_id['101'].name}\n" in script
    assert by_id["101"].name == f"repro-sweep-{by_id['101'].token}"
    assert "#SBATCH --dependency=afterany:100\n" in script
    assert "#SBATCH --kill-on-invalid-dep=yes\n" in script
    assert "#SBATCH --signal=USR2@90\n" in script
    body = script[script.index("# setup") : script.index("# command")]
    assert body.splitlines()[1:5] == [
        "module load x",
        "export A='b c'",
        'export REPRO_SCRATCH="$T" TMPDIR="$T"',
        f"export PYTHONSAFEPATH=1 PYTHONPATH={tmp_path / 'code'}${{PYTHONPATH:+:$PYTHONPATH}}",
    ]


def test_a_refused_submission_is_one_line_and_leaves_nothing(
    tmp_path: Path, pretend: Callable[[int], Path], capfd: pytest.CaptureFixture[str]
) -> None:
    notes = pretend(0)
    ours = submitter(tmp_path, Profile())
    with ours.ledger.lock(), pytest.raises(BadInput, match="Slurm refused the jobs: sbatch: error: no more of them"):
        list(ours.submit(arrange(plan(2), {}, Profile())))
    assert ours.ledger.submissions() == []
    assert list((tmp_path / "runs" / ".launch" / "jobs").iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert (notes / "cancelled").read_text().startswith("--name=repro-sweep-")  # in case it was taken all the same


def test_what_was_submitted_before_a_refusal_stays_and_is_counted(
    tmp_path: Path, pretend: Callable[[int], Path]
) -> None:
    pretend(2)
    ours = submitter(tmp_path, Profile())
    with ours.ledger.lock(), pytest.raises(RunFailed, match="2 of 3 arrays are submitted, and launching again adds"):
        list(ours.submit(arrange(plan(2), {}, Profile())))
    assert [entry.job_id for entry in sorted(ours.ledger.submissions(), key=lambda s: s.job_id or "")] == ["100", "101"]


def test_on_a_full_disk_nothing_is_submitted(tmp_path: Path, pretend: Callable[[int], Path]) -> None:
    """A file size limit stands in for a full disk."""
    notes = pretend(9)
    arrays = arrange(plan(40), {}, Profile())

    def submit(pipe: Connection) -> None:
        ours = submitter(tmp_path, Profile())
        with ours.ledger.lock():
            resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
            try:
                list(ours.submit(arrays))
            except BadInput as error:
                pipe.send(str(error))

    said = Process(submit).hear()
    assert said.endswith(".json cannot be written: File too large")
    assert not (notes / "count").exists()
    assert Ledger(tmp_path / "runs").submissions() == []


def test_runs_can_only_be_kept_in_a_folder(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(BadInput, match=r"runs: cannot keep runs there \(Not a directory\); see --runs"):
        Ledger(tmp_path / "runs").lock().__enter__()


# -- the ledger and the queue ------------------------------------------------------------------------------------------


def entry(token: str, *jobs: list[str]) -> Submission:
    return Submission(token, f"repro-x-{token}", f"2026-01-01T00:00:0{token}", "cpu", "code", list(jobs))


def test_the_queue_is_read_by_the_names_of_jobs_never_by_their_ids(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = ["repro-x-1|8|0|RUNNING|None|n1", "repro-x-1|8|2|PENDING|Resources|", "repro-x-2|9|N/A|COMPLETING|None|n2"]
    squeue = tmp_path / "squeue"
    squeue.write_text(f'#!/bin/bash\necho "$*" > {tmp_path}/asked\n' + "".join(f"echo '{line}'\n" for line in lines))
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    # The scheduler forgot job 8 of entry 1 once, and gave its id to another.
    first = entry("1", ["a", "b"], ["c"], ["d"])
    found = queued_runs([first, entry("2", ["e"]), entry("3", ["f"])])
    assert found == {
        "a": Task("repro-x-1", "8_0", "8", "RUNNING", "None", "n1", first.time),
        "b": Task("repro-x-1", "8_0", "8", "RUNNING", "None", "n1", first.time),
        "d": Task("repro-x-1", "8_2", "8", "PENDING", "Resources", "", first.time),
        "e": Task("repro-x-2", "9", "9", "COMPLETING", "None", "n2", "2026-01-01T00:00:02"),
    }
    assert "--name=repro-x-1,repro-x-2,repro-x-3 " in (tmp_path / "asked").read_text()


def test_a_silent_scheduler_is_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert queued_runs([]) == {}
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BadInput, match="there is no Slurm on this machine: squeue is not installed"):
        queued_runs([entry("1", ["a"])])
    (tmp_path / "squeue").write_text("#!/bin/sh\necho 'slurm_load_jobs error: Unable to contact' >&2; exit 1\n")
    (tmp_path / "squeue").chmod(0o755)
    with pytest.raises(BadInput, match="Slurm does not answer: slurm_load_jobs error: Unable to contact"):
        queued_runs([entry("1", ["a"])])


def test_submissions_are_kept_in_order_and_put_away_when_they_have_ended(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    first, second = entry("1", ["a"], ["b"]), entry("2", ["b"])
    with ledger.lock():
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


def test_jobs_of_a_launcher_that_was_killed_while_it_submitted_are_cancelled_and_made_anew(
    tmp_path: Path, pretend: Callable[[int], Path]
) -> None:
    """Without a job id in the ledger nobody knows whether the jobs have what they need to start."""
    folder, ledger, said = pretend(0), Ledger(tmp_path / "runs"), list[str]()
    (folder / "squeue").write_text(
        "#!/bin/sh\necho 'repro-x-1|8|0|PENDING|None|'\necho 'repro-x-2|9|0|PENDING|None|'\n"
    )
    (folder / "squeue").chmod(0o755)
    with ledger.lock():
        for submission in (entry("1", ["a"]), replace(entry("2", ["b"]), job_id="9"), replace(entry("3"), job_id="7")):
            ledger.write(submission)
        assert set(reconcile(ledger, said.append)) == {"b"}
    assert (folder / "cancelled").read_text() == "8_0\n"
    assert said == ["cancels repro-x-1: its launcher was killed while it submitted"]
    assert [submission.token for submission in ledger.open_submissions()] == ["2"]


def test_two_launchers_of_one_folder_take_turns(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)

    def launch(pipe: Connection) -> None:
        with ledger.lock():
            pipe.send("holds")
            pipe.recv()

    first = Process(launch)
    assert first.hear() == "holds"
    second = Process(launch)
    assert not second.pipe.poll(0.3)
    first.kill()
    assert second.hear() == "holds"
