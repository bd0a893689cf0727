"""The one-machine cluster is a real Slurm: accounting, GPUs, preemption, crashes of its daemons; nothing is left."""

import subprocess
import sys
from pathlib import Path

import pytest
from slurm_place import wait_until

from slurm.devcluster import Cluster, ClusterError
from slurm.devcluster.__main__ import main


def submit(cluster: Cluster, folder: Path, script: str, *options: str) -> str:
    """Submit a shell script whose output goes to `folder`/<job id>; returns the job id."""
    path = folder / "job.sh"
    path.write_text(f"#!/bin/sh\n{script}\n")
    output = cluster.command("sbatch", "--parsable", f"--output={folder}/%j", "--open-mode=append", *options, str(path))
    return output.strip()


def state(cluster: Cluster, job: str) -> str:
    """As accounting has it; it lags behind by seconds."""
    return cluster.command(
        "sacct", "--jobs", job, "--allocations", "--noheader", "--parsable2", "--format=State"
    ).strip()


@pytest.mark.slurm
def test_two_jobs_get_a_gpu_each_and_are_accounted(cluster: Cluster, tmp_path: Path) -> None:
    wait = f"while [ ! -e {tmp_path}/go ]; do sleep 0.1; done"
    script = f"echo $CUDA_VISIBLE_DEVICES; touch {tmp_path}/$SLURM_JOB_ID.up; {wait}"
    jobs = [submit(cluster, tmp_path, script, "--gres=gpu:1") for _ in range(3)]
    wait_until(lambda: len(list(tmp_path.glob("*.up"))) == 2, "two jobs run")
    assert cluster.command("squeue", "--noheader", "--format=%T", "--jobs", jobs[2]) == "PENDING\n"
    (tmp_path / "go").touch()
    wait_until(lambda: [state(cluster, job) for job in jobs] == ["COMPLETED"] * 3, "all are completed")
    assert {(tmp_path / job).read_text().strip() for job in jobs[:2]} == {"0", "1"}


@pytest.mark.slurm
def test_high_evicts_low_which_is_warned_and_requeued(cluster: Cluster, tmp_path: Path) -> None:
    # Into a file of its own: the shell may announce in the job's output that Slurm ended its `sleep`.
    said = tmp_path / "said"
    script = (
        f"echo start $SLURM_RESTART_COUNT >>{said}\n"
        f'trap "echo warned >>{said}; scontrol requeue $SLURM_JOB_ID" USR2\n'
        f"touch {tmp_path}/up\n"
        'if [ -z "$SLURM_RESTART_COUNT" ]; then while true; do sleep 0.1; done; fi'
    )
    low = submit(cluster, tmp_path, script, "--partition=low", "--gres=gpu:2", "--signal=B:USR2@60", "--time=10")
    wait_until((tmp_path / "up").exists, "the first job runs")
    high = submit(cluster, tmp_path, "echo high", "--partition=high", "--gres=gpu:2")
    wait_until(lambda: state(cluster, high) == "COMPLETED", "the second job is completed")
    wait_until(lambda: state(cluster, low) == "COMPLETED", "the first job is completed")
    assert said.read_text().splitlines() == ["start", "warned", "start 1"]


@pytest.mark.slurm
def test_killed_daemons_come_back_and_the_job_did_not_notice(cluster: Cluster, tmp_path: Path) -> None:
    job = submit(cluster, tmp_path, f"touch {tmp_path}/up; while [ ! -e {tmp_path}/go ]; do sleep 0.1; done; echo end")
    wait_until((tmp_path / "up").exists, "the job runs")
    # A controller that is killed within two seconds of a submission forgets the job.
    saved = cluster.state / "slurmctld" / "job_state"
    wait_until(lambda: saved.stat().st_mtime > (tmp_path / "up").stat().st_mtime, "the controller has saved its state")
    before = {daemon.name: daemon.pid() for daemon in cluster.daemons}
    cluster.slurmctld.kill()
    cluster.slurmd.kill()
    assert cluster.slurmd.pid() is None and cluster.slurmctld.pid() is None
    cluster.start()
    after = {daemon.name: daemon.pid() for daemon in cluster.daemons}
    assert {name for name in before if before[name] != after[name]} == {"slurmctld", "slurmd"}
    (tmp_path / "go").touch()
    wait_until(lambda: state(cluster, job) == "COMPLETED", "the job is completed")
    assert (tmp_path / job).read_text() == "end\n"


@pytest.mark.slurm
def test_two_clusters_live_side_by_side_and_stop_leaves_no_process(cluster: Cluster, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "slurm.devcluster"]
    place = ["--state", str(tmp_path / "other")]
    root = Path(__file__).parents[1]

    def run(name: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run([*command, name, *place], cwd=root, capture_output=True, text=True, check=False)

    other = Cluster(tmp_path / "other")
    try:
        started = run("start")
        assert started.returncode == 0, started.stderr
        lines = run("env").stdout.splitlines()
        assert lines == [f"export SLURM_CONF={tmp_path}/other/etc/slurm.conf"]
        job = submit(other, tmp_path, f"touch {tmp_path}/up; sleep 1000")
        wait_until((tmp_path / "up").exists, "its job runs")
        assert cluster.command("squeue", "--noheader") == ""
        status = run("status")
        assert status.returncode == 0 and "job.sh" in status.stdout and "gpu:fake:2" in status.stdout
        other.slurmd.kill()  # so that the job cannot be cancelled
        assert other.job_processes()
        stopped = run("stop")
        assert (stopped.returncode, stopped.stdout) == (0, f"Slurm is stopped in {tmp_path / 'other'}\n")
        assert [daemon.pid() for daemon in other.daemons] == [None] * 5
        wait_until(lambda: not other.job_processes(), "the job's processes are gone")
        status = run("status")
        assert status.returncode == 1 and status.stdout.count("not running") == 5
        other.start()
        assert state(other, job) != ""  # accounting outlives the cluster
    finally:
        other.stop()
    wait_until(lambda: cluster.command("sinfo", "--noheader", "--format=%t").split() == ["idle"], "the node is idle")


def test_missing_packages_meet_one_line_and_nothing_is_written(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("slurm.devcluster.cluster.PROGRAM_PATH", str(tmp_path))
    assert main(["start", "--state", str(tmp_path / "state")]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "slurmctld" in said and "apt-get install" in said and "mariadb-server" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("folder", ["long" * 20, "with blank"])
def test_a_folder_that_cannot_hold_a_cluster_is_refused(folder: str, tmp_path: Path) -> None:
    with pytest.raises(ClusterError, match="80 characters, or contains spaces"):
        Cluster(tmp_path / folder)


@pytest.mark.slurm
@pytest.mark.usefixtures("cluster")  # skipped without Slurm
def test_an_unwritable_folder_meets_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert main(["start", "--state", str(tmp_path / "file" / "state")]) == 2
    assert capsys.readouterr().err == f"devcluster: cannot write to {tmp_path}/file/state: Not a directory\n"


def test_the_environment_of_a_cluster_that_was_never_started(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main(["env", "--state", str(tmp_path)]) == 2
    assert "start it first" in capsys.readouterr().err
    assert not (tmp_path / "etc").exists()
