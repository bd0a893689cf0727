"""`wandb sweep` and `wandb agent`, the real ones, with the very sweep files; the server is ours."""

import ctypes
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import processes
import psutil
import pytest
import yaml
from processes import Process, has_argument, outlive

from repro.bench.wandb_server import StandInServer
from repro.bench.wandb_server_runs import ENTITY
from repro.cli import main
from repro.launch.sweep import find_sweep
from repro.store import Store
from repro.tracking import agent
from repro.tracking.agent import STOP_SECONDS, _work
from repro.tracking.description import PROJECT
from repro.tracking.under_agent import REPORT, reported_to_agent
from slurm.devcluster import Cluster

pytestmark = pytest.mark.slow


def begin_sweep(server: StandInServer, folder: Path, program: str = "repro", **parameters: object) -> str:
    """Begin `sweeps/digits.yaml` in W&B with other parameters; what the agent is to be told."""
    content = yaml.safe_load(find_sweep("digits").read_text())
    content["command"][1] = program
    content["parameters"] = {name: {"values": value} for name, value in parameters.items()}
    path = folder / "digits.yaml"
    path.write_text(yaml.safe_dump(content))
    command = [sys.executable, "-m", "wandb", "sweep", "--project", PROJECT, "--entity", ENTITY, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert done.returncode == 0, done.stderr
    (name,) = server.sweeps
    assert server.sweeps[name].config["command"] == content["command"]
    return f"{ENTITY}/{PROJECT}/{name}"


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRO_RUNS", str(tmp_path / "runs"))
    # As where `repro` is called by its path: the shell does not know it.
    here = Path(sys.executable).parent
    known = (folder for folder in os.environ["PATH"].split(os.pathsep) if Path(folder) != here)
    monkeypatch.setenv("PATH", os.pathsep.join(known))
    monkeypatch.setenv("REPRO", str(here / "repro"))  # for slurm/agent.sbatch
    monkeypatch.delenv("WANDB_SERVICE", raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # as all tests


def start_agent(
    sweep: str, folder: Path, *options: str, hang_up: signal.Handlers = signal.SIG_DFL
) -> "subprocess.Popen[str]":
    """hang_up: what it finds set for SIGHUP, whatever holds where the tests run; `nohup` sets SIG_IGN."""
    command = [sys.executable, "-m", "repro", "wandb", "agent", sweep, *options]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, hang_up),
    )


def its_processes(agent: "subprocess.Popen[str]", runs: Path) -> list[psutil.Process]:
    """All that the agent has started, as soon as its first run trains."""
    deadline = time.monotonic() + 300
    while not list(runs.glob("*/metrics.jsonl")):
        assert time.monotonic() < deadline and agent.poll() is None
        time.sleep(0.2)
    family = psutil.Process(agent.pid).children(recursive=True)
    assert len(family) >= 2
    return family


@pytest.mark.usefixtures("environment")
def test_an_agent_makes_the_runs_of_a_sweep_and_tells_of_those_that_fail(server: StandInServer, tmp_path: Path) -> None:
    # The second point cannot be made: there are not so many images.
    sweep = begin_sweep(server, tmp_path, preset=["smoke"], images=[100, 999_999, 100])
    agent = start_agent(sweep, tmp_path, "--count", "2")
    out, err = agent.communicate(timeout=600)
    assert agent.returncode == 1, (out, err)
    assert err.splitlines()[-1].startswith(f"repro: 1 of 2 runs of the sweep {sweep} failed")
    done = {run.run_id for run in Store(tmp_path / "runs").runs() if run.is_done()}
    assert len(done) == 2  # teacher and student
    shown = set(server.runs)  # under the runs' own ids
    # A busy machine may not send two runs within the time that a command has for it; the command then says so.
    assert shown == done or (shown < done and "warning: W&B is incomplete" in err), err
    for run in server.runs.values():  # on the sweep's page, with its parameters
        assert run.setting("sweep") == sweep.split("/")[-1]
        assert (run.config()["preset"], run.config()["images"]) == ("smoke", 100)
    sync = [sys.executable, "-m", "repro", "wandb", "sync"]
    subprocess.run(sync, capture_output=True, check=True, cwd=tmp_path)
    assert {run_id for run_id, run in server.runs.items() if run.exit_code == 0} == done
    rest = start_agent(sweep, tmp_path)  # the first point once more, of which all is done
    out, err = rest.communicate(timeout=600)
    assert rest.returncode == 0, (out, err)
    assert out.splitlines()[-1] == f"{sweep}: 1 run made, none failed"


@pytest.mark.usefixtures("environment")
def test_points_whose_command_cannot_start_are_failures(server: StandInServer, tmp_path: Path) -> None:
    sweep = begin_sweep(server, tmp_path, "no-program-is-called-so", preset=["smoke"], images=[100, 300])
    agent = start_agent(sweep, tmp_path)
    out, err = agent.communicate(timeout=300)
    assert agent.returncode == 1, (out, err)
    assert err.splitlines()[-1] == f"repro: 2 of 2 runs of the sweep {sweep} failed"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.usefixtures("environment")
def test_a_stopped_agent_leaves_no_process_behind(
    number: signal.Signals, server: StandInServer, tmp_path: Path
) -> None:
    sweep = begin_sweep(server, tmp_path, preset=["short"], images=[1200])
    agent = start_agent(sweep, tmp_path)
    family = its_processes(agent, tmp_path / "runs")
    agent.send_signal(number)
    _, err = agent.communicate(timeout=300)
    assert agent.returncode == 1
    assert f"stopped by {number.name} after 0 runs" in err.splitlines()[-1]
    assert outlive(family) == []
    (record,) = Store(tmp_path / "runs").runs()
    assert record.state() == "interrupted" and (record.path / "checkpoint.pt").exists()


@pytest.mark.usefixtures("environment")
def test_a_run_does_not_outlive_the_agent_of_w_and_b(server: StandInServer, tmp_path: Path) -> None:
    """Which was killed; our own ends its run, and is not impressed by the terminal's end under `nohup`."""
    sweep = begin_sweep(server, tmp_path, preset=["short"], images=[1200])
    agent = start_agent(sweep, tmp_path, hang_up=signal.SIG_IGN)
    family = its_processes(agent, tmp_path / "runs")
    agent.send_signal(signal.SIGHUP)
    next(one for one in family if has_argument(one, "repro.tracking.agent_process")).kill()
    _, err = agent.communicate(timeout=300)
    assert agent.returncode == 1
    assert err.splitlines()[-1] == f"repro: 1 of 1 run of the sweep {sweep} failed"
    assert outlive(family) == []
    (record,) = Store(tmp_path / "runs").runs()
    assert record.state() == "interrupted" and (record.path / "checkpoint.pt").exists()


@pytest.mark.usefixtures("environment")
def test_a_killed_agent_leaves_the_sweep_and_its_run_to_the_next(
    server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # what it leaves behind
    sweep = begin_sweep(server, tmp_path, preset=["short"], images=[100, 300])
    killed = start_agent(sweep, tmp_path)
    family = its_processes(killed, tmp_path / "runs")
    killed.kill()
    assert outlive(family) == []
    killed.communicate()
    (teacher,) = Store(tmp_path / "runs").runs()
    assert teacher.state() == "interrupted" and (teacher.path / "checkpoint.pt").exists()
    assert [point["images"] for point in server.sweeps[sweep.split("/")[-1]].points] == [300]
    after = start_agent(sweep, tmp_path)
    deadline = time.monotonic() + 300
    while not teacher.is_done():
        assert time.monotonic() < deadline and after.poll() is None
        time.sleep(0.2)
    after.terminate()
    after.communicate(timeout=300)
    first, second = teacher.read_json("environment.json")["attempts"]
    assert first["step"] == 0 < second["step"]
    assert [row["epoch"] for row in teacher.metrics()] == list(range(6, 61, 6))  # each once


def test_what_has_ended_is_not_waited_for_where_nobody_reaps_it() -> None:
    """As in a container whose first process is not made for that; here, the tests are in its place."""
    leaves_another = "import subprocess, time; subprocess.Popen(['sleep', '900']); time.sleep(3)"
    become_the_first = 36  # PR_SET_CHILD_SUBREAPER
    prctl = ctypes.CDLL(None).prctl
    others = set(psutil.Process().children())
    prctl(become_the_first, 1)
    try:
        begin = time.monotonic()
        command = [sys.executable, "-S", "-c", leaves_another]
        assert Process(lambda pipe: pipe.send(_work(command, os.environ))).hear() == (0, None)
        assert time.monotonic() - begin < STOP_SECONDS
    finally:
        prctl(become_the_first, 0)
    (left,) = (one for one in set(psutil.Process().children()) - others if one.name() == "sleep")
    assert left.status() == psutil.STATUS_ZOMBIE
    os.waitpid(left.pid, 0)


def test_what_does_not_end_when_it_is_told_to_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(agent, "STOP_SECONDS", 0.5)
    script = f"trap '' TERM; cd {tmp_path}; echo $$ > new; mv new pid; exec sleep 900"
    leaves_it = f"import subprocess, time; subprocess.Popen(['sh', '-c', {script!r}]); time.sleep(3)"
    command = [sys.executable, "-S", "-c", leaves_it]
    working = Process(lambda pipe: pipe.send(_work(command, os.environ)))
    deadline = time.monotonic() + 60
    while not (tmp_path / "pid").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    left = psutil.Process(int((tmp_path / "pid").read_text()))
    assert working.hear() == (0, None)
    monkeypatch.setattr(processes, "PATIENCE", 10.0)  # it must end much earlier than by itself
    assert outlive([left]) == []


def test_a_command_within_another_is_not_counted_by_the_agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(REPORT, str(tmp_path / "report"))
    with reported_to_agent():
        assert main(["status", "--runs", str(tmp_path)]) == 0
    assert (tmp_path / "report").read_text().split() == ["begun", "done"]


@pytest.mark.usefixtures("environment", "server")
def test_an_unknown_sweep_is_bad_input(tmp_path: Path) -> None:
    agent = start_agent(f"{ENTITY}/{PROJECT}/nothing", tmp_path)
    _, err = agent.communicate(timeout=300)
    assert agent.returncode == 2
    assert "could not work on the sweep" in err.splitlines()[-1]


@pytest.mark.slurm
@pytest.mark.usefixtures("environment")
def test_an_agent_as_a_slurm_job_fails_with_its_run(server: StandInServer, cluster: Cluster, tmp_path: Path) -> None:
    sweep = begin_sweep(server, tmp_path, preset=["smoke"], images=[100, 999_999])
    script = Path(__file__).parents[1] / "slurm" / "agent.sbatch"
    options = ("--cpus-per-task=1", "--array=0-0", f"--output={tmp_path}/log", "--parsable")
    job = cluster.command("sbatch", *options, str(script), sweep).strip()
    deadline = time.monotonic() + 300
    while job in cluster.command("squeue", "--noheader", "--format=%F").split():
        assert time.monotonic() < deadline
        time.sleep(0.5)
    log = (tmp_path / "log").read_text()
    assert f"repro: 1 of 2 runs of the sweep {sweep} failed" in log, log
    assert "ExitCode=1:0" in cluster.command("scontrol", "show", "job", job)
    assert {run.run_id for run in Store(tmp_path / "runs").runs() if run.is_done()} == set(server.runs)
    assert len(server.runs) == 2
