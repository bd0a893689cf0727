"""The commands in this process: what they refuse, say, write and leave alone. Real processes: test_cli_processes.py."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from commands import Repro, calling
from prepared_arrays import arrays_for, write

from repro.bench.wandb_server import StandInServer
from repro.cli import main
from repro.data.prepared import MNIST
from repro.experiments.study import find_study
from repro.launch.sweep import find_sweep, parse_settings, request_run
from repro.store import Store

DIGITS, LENET = str(find_sweep("digits")), str(find_sweep("lenet_mnist"))
SMALLEST = ["digits", "preset=smoke", "images=100"]
"""A study, and settings of which its run takes about a second."""


@pytest.fixture
def repro(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Repro:
    """Runs a command in an empty folder."""
    monkeypatch.chdir(tmp_path)
    for variable in ("REPRO_RUNS", "REPRO_DATA"):
        monkeypatch.delenv(variable, raising=False)
    return calling(capsys)


def times(folder: Path) -> dict[Path, int]:
    """When each file below the folder was last written."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ([], "the following arguments are required: COMMAND (see `repro --help`)"),
        (["rnu"], "argument COMMAND: invalid choice: 'rnu'"),
        (["run"], "the following arguments are required: STUDY"),
        (["run", "lenet_mnst"], "no study is called 'lenet_mnst'; did you mean 'lenet_mnist'?"),
        (["run", "digits", "imagse=100"], "digits has no setting 'imagse'; did you mean 'images'?"),
        (["run", "digits", "tempreature=4"], "digits has no setting 'tempreature'; did you mean 'objective.temp"),
        (["run", "digits", "trial=[0]"], "digits: setting 'trial' is [0]: input should be a valid integer; several"),
        (["run", "digits", "preset=[short]"], "digits: setting 'preset' is ['short']; several values are for a sweep"),
        (["run", "digits", "preset=smok"], "digits: setting 'preset' is 'smok'; did you mean 'smoke'?"),
        (["run", "digits", "images=1e3"], "digits: setting 'images' is 1000.0: input should be a valid integer"),
        (["run", "digits", "trial=-1"], "digits: setting 'trial' is -1: input should be greater than or equal to 0"),
        (["run", "digits", "images"], "'images' is not a setting; write key=value"),
        (["run", "digits", "optimizer.momentun=1"], "unknown config key 'optimizer.momentun' (given 1); did you mean"),
        (["run", "digits", "batch_size=0"], "config key 'batch_size' is 0: input should be greater than or equal to 1"),
        (
            ["run", "digits", "batch_size=9999999999"],
            "config key 'batch_size' is 9999999999: input should be less than or equal to",
        ),
        (
            ["run", "digits", "objective.temperature=1e200"],
            "config key 'objective.temperature' is 1e+200: input should",
        ),
        (
            ["run", "digits", "model.width=1000000000000"],  # 600 terabytes, beyond any address space
            "model lenet5, for inputs (1, 28, 28): it does not fit into this machine's memory ([enforce fail",
        ),
        (["run", "digits", "schedule.warmup_epochs=9999"], "the config: schedule.warmup_epochs 9999 must be below"),
        (["run", "digits", "--frobnicate"], "unrecognized arguments: --frobnicate"),
        (["run", "digits", "--device", "tpu"], "--device tpu is not a device; valid: auto, cpu, cuda, cuda:N"),
        (["run", "digits", "--device", "cuda:99"], "--device cuda:99: this machine has "),
        (["run", "digits", "--runs"], "argument --runs: expected one argument (see `repro run --help`)"),
        (["run", "line\nfeed"], "no study is called 'line feed'"),
        (["run", "digits", "line\nfeed=1"], "digits has no setting 'line feed'"),
        (["launch", "none.yaml"], "none.yaml: cannot be read (No such file or directory)"),
        (["launch", DIGITS, "--workers", "0"], "argument --workers: '0' is not a positive number"),
        (["launch", DIGITS, "--workers", "two"], "argument --workers: 'two' is not a positive number"),
        (["launch", DIGITS, "imagse=100", "--dry-run"], "digits has no setting 'imagse'; did you mean 'images'?"),
        (
            ["launch", DIGITS, "augmentation=[]"],
            "'augmentation' has no values, so the sweep has no runs; as a value, an empty list",
        ),
        (["launch", DIGITS, "trial=[0, 1, 0]"], "'trial' lists 0 twice"),
        (["launch", "x/digits.yaml"], f"x/digits.yaml: there is no such file here; the suite's own is {DIGITS}"),
        (["status", "none.yaml"], "none.yaml: cannot be read (No such file or directory)"),
        (["status", DIGITS, "trail=1"], "digits has no setting 'trail'; did you mean 'trial'?"),
        (["data", "lst"], "argument list|prepare: invalid choice: 'lst'"),
        (["data", "prepare", "minst"], "no data set is called 'minst'; did you mean 'mnist'?"),
        (["figures", "nope"], "no figure is called 'nope'"),
        (["launch", DIGITS, "--device", ""], "--device  is not a device; valid: auto, cpu, cuda, cuda:N"),
        (["bench", "lenet", "--fast"], "--fast works only with the bench throughput: repro bench throughput --fast"),
        (["bench", "lenet", "--method", "mine.py"], "--method works only with the bench fidelity"),
        (["bench", "lenet", "--device", "cpu"], "--device works only with the benches fidelity, precision, resnet, "),
        (["bench", "resnet", "launch", "--device", "cpu"], "--device works only with the benches"),
        (["bench", "--device", "cpu"], "--device works only with the benches"),
        (["bench", "resnet", "--device", "cuda:99"], "--device cuda:99: this machine has "),
        (["bench", "throughput", "--trials", "3"], "--trials works only with the bench precision"),
        (["bench", "lenet", "lenett"], "no bench is called 'lenett'; did you mean 'lenet'"),
        (["run", "digits", "--runs", ""], "argument --runs: is empty (an unset variable?); write . for the current"),
    ],
)
def test_bad_input_is_one_line_exit_code_2_and_nothing_written(
    repro: Repro, tmp_path: Path, arguments: list[str], problem: str
) -> None:
    code, out, err = repro(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"repro: {problem}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["run", "lenet_mnist", "preset=short"],
        ["launch", LENET, "preset=short"],
        ["launch", LENET, "preset=short", "--workers", "2"],
    ],
)
def test_missing_data_are_named_with_the_command_that_makes_them_before_anything_is_written(
    repro: Repro, tmp_path: Path, arguments: list[str]
) -> None:
    code, out, err = repro(*arguments, "--data", "my data")
    path = Path("my data")
    first = "emnist" if arguments[0] == "launch" else "mnist"
    remedy = f"make it with `repro data prepare {first} --data my data`"
    assert (code, out, err) == (2, "", f"repro: {path / first}.npz: no such file; {remedy}\n")
    assert list(tmp_path.iterdir()) == []


def write_mnist(folder: Path, **changes: np.ndarray) -> None:
    folder.mkdir(exist_ok=True)
    write(folder, MNIST, arrays_for(MNIST, train=300, test=40) | changes)


def test_every_data_set_is_listed_with_the_state_of_its_file(repro: Repro, tmp_path: Path) -> None:
    write_mnist(tmp_path / "data")
    (tmp_path / "data" / "emnist.npz").write_text("half a download")
    code, out, err = repro("data", "list")
    assert (code, err) == (0, "")
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines()[4:]}
    assert rows["mnist"] == ["10", "1x28x28", MNIST().fingerprint(tmp_path / "data"), "0", "MB"]
    assert rows["emnist"] == ["47", "1x28x28", "damaged", "0", "MB"]
    assert rows["cifar100"] == ["100", "3x32x32", "not", "prepared"]
    assert rows["digits"] == ["10", "1x28x28", "embedded"]


def test_no_parent_is_trained_if_the_data_of_a_later_run_are_missing(repro: Repro, tmp_path: Path) -> None:
    write_mnist(tmp_path / "data")
    code, _, err = repro("run", "lenet_mnist", "preset=short", "pool=0.5")  # the teacher needs MNIST alone
    assert code == 2
    assert err.startswith("repro: data/emnist.npz: no such file; ")
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_finished_runs_on_other_data_are_not_built_upon(repro: Repro, tmp_path: Path, workers: str) -> None:
    write_mnist(tmp_path / "data")
    quick = ["preset=short", "trial=0", "pool=0.0", "epochs=1", "teachers.epochs=1"]
    assert repro("run", "lenet_mnist", *quick).code == 0
    before = times(tmp_path / "runs")
    write_mnist(tmp_path / "data", x_test=np.zeros((40, 28, 28), np.uint8))
    code, _, err = repro("launch", LENET, *quick, "seed=5", "--workers", workers)  # its teacher is done, it is not
    assert code == 2
    assert "was made with other mnist data" in err
    assert times(tmp_path / "runs") == before


def test_a_file_where_the_runs_should_be_is_bad_input(repro: Repro, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    code, out, err = repro("run", *SMALLEST, "--runs", "file")
    assert (code, out) == (2, "")
    assert err.splitlines()[-1].startswith("repro: file: cannot keep runs there (")
    assert (tmp_path / "file").read_text() == "mine"


# -- runs that fail ----------------------------------------------------------------------------------------------------


def test_a_diverging_run_is_exit_code_1_leaves_its_reason_and_is_tried_again(repro: Repro, tmp_path: Path) -> None:
    command = ["run", *SMALLEST, "optimizer.learning_rate=1e30"]
    code, out, err = repro(*command)
    assert (code, out) == (1, "")
    last = err.splitlines()[-1]
    assert last.startswith("repro: run ")
    assert "the loss became" in last
    assert "optimizer.learning_rate" in last
    assert "Traceback" not in err

    rows = json.loads(repro("status", "--json").out)
    states = {row["label"].split()[0]: row["state"] for row in rows}
    assert states == {"teacher": "done", "digits": "failed"}
    (failed,) = [row for row in rows if row["state"] == "failed"]
    record = Store(tmp_path / "runs").run(failed["run_id"])
    assert failed["error"] == record.read_json("failure.json")["error"]
    assert failed["error"] in last
    assert failed["error"] in repro("status").out

    teacher = [row["run_id"] for row in rows if row["state"] == "done"]
    before = times(tmp_path / "runs" / teacher[0])
    assert repro(*command).code == 1
    assert len(record.read_json("environment.json")["attempts"]) == 2
    assert times(tmp_path / "runs" / teacher[0]) == before


# -- runs that succeed -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs that holds a student of the digits and its teacher."""
    runs = tmp_path_factory.mktemp("made") / "runs"
    assert main(["run", *SMALLEST, "--runs", str(runs)]) == 0
    return runs


def test_a_run_that_is_done_is_not_trained_again(repro: Repro, made: Path) -> None:
    before = times(made)
    code, out, err = repro("run", *SMALLEST, "--runs", str(made))
    assert (code, err) == (0, "digits trial=0 images=100 (smoke): already done, nothing to train\n")
    assert "test/accuracy" in out
    assert times(made) == before
    code, _, err = repro("launch", DIGITS, "preset=smoke", "trial=0", "images=100", "--runs", str(made))
    assert (code, err) == (0, f"{DIGITS}: 2 runs, 2 done, 0 to make\n")
    assert times(made) == before


def test_a_run_is_shown_later_as_what_it_was_asked_for(
    repro: Repro, made: Path, server: StandInServer, tmp_path: Path
) -> None:
    """`repro wandb sync` calls it as `--wandb online` would have, so that the study's report finds it."""
    asked = "digits trial=0 images=100 (smoke)"
    rows = json.loads(repro("status", "--runs", str(made), "--json").out)
    known = {(row["label"], row["sweep"], row["condition"], row["trial"]) for row in rows}
    assert {(asked, "digits", "images=100", 0), (f"teacher of {asked}", "digits", "teacher of images=100", 0)} <= known
    assert repro("wandb", "sync", "--runs", str(made)).code == 0
    shown = {run.setting("displayName"): run for run in server.runs.values()}
    assert shown[asked].setting("groupName") == shown[f"teacher of {asked}"].setting("groupName") == "digits"
    assert shown[asked].setting("tags") == ["digits", "smoke", "images=100"]
    assert shown[asked].config()["study"] == "digits"
    server.forget()
    record = request_run(find_study("digits"), parse_settings(SMALLEST[1:])).run_id
    shutil.copytree(made / record, tmp_path / "elsewhere" / record)  # where nobody knows what it was made for
    assert repro("wandb", "sync", "--runs", "elsewhere").code == 0
    assert not server.runs[record].setting("groupName")
    sync = ("wandb", "sync", DIGITS, "preset=smoke", "trial=0", "--runs", "elsewhere")
    assert repro(*sync, "images=300").code == 2  # none of this sweep's runs is there
    assert not server.runs[record].setting("groupName")
    assert repro(*sync, "images=100").code == 0
    assert (server.runs[record].setting("groupName"), server.runs[record].setting("displayName")) == ("digits", asked)
    assert server.runs[record].config()["condition"] == "images=100" and len(server.runs) == 1


def test_runs_that_could_not_be_begun_are_not_remembered(repro: Repro) -> None:
    assert repro("run", *SMALLEST, "precision=tfloat32", "--device", "cpu").code == 2  # only a GPU has it
    assert json.loads(repro("status", "--json").out) == []


def test_a_student_of_a_finished_teacher_trains_alone(repro: Repro, made: Path) -> None:
    before = times(made)
    code, out, err = repro("run", *SMALLEST, "seed=7", "--runs", str(made))
    assert code == 0
    assert "missing parent" not in err
    new = {path.parent for path in times(made)} - {path.parent for path in before}
    assert [f"record: {folder}" for folder in new] == out.splitlines()[-1:]
    assert {path: time for path, time in times(made).items() if path in before} == before


def test_a_run_that_succeeds_after_a_failure_is_done_and_its_failure_forgotten(repro: Repro, made: Path) -> None:
    command = ["run", *SMALLEST, "seed=8", "--runs", str(made)]
    config = request_run(find_study("digits"), parse_settings([*SMALLEST[1:], "seed=8"])).config
    record = Store(made).run(config.run_id)
    record.path.mkdir()
    record.write_config(config)
    record.write_failure("the disk was full")
    assert "the disk was full" in repro("status", "--runs", str(made)).out
    assert repro(*command).code == 0
    assert record.state() == "done"
    assert not (record.path / "failure.json").exists()


def test_status_counts_the_runs_of_a_sweep(repro: Repro, made: Path, tmp_path: Path) -> None:
    code, out, err = repro("status", DIGITS, "--runs", str(made), "preset=smoke", "trial=0")
    assert (code, err) == (0, "")
    assert out.splitlines()[-1] == "4 runs: 2 done, 2 missing"
    assert list(tmp_path.iterdir()) == []


def test_status_as_json_has_the_documented_keys(repro: Repro, made: Path) -> None:
    documentation = (Path(__file__).parents[1] / "docs" / "architecture.md").read_text()
    paragraph = next(text for text in documentation.split("\n\n") if "`repro status --json`" in text)
    rows: list[dict[str, Any]] = json.loads(
        repro("status", DIGITS, "preset=smoke", "trial=0", "--json", "--runs", str(made)).out
    )
    assert [row["state"] for row in rows] == ["done", "done", "missing", "missing"]
    for row in rows:
        assert all(f"`{key}`" in paragraph for key in row)
        assert f"`{row['state']}`" in paragraph
    assert rows[0]["label"] == "teacher of digits trial=0 images=100 (smoke)"
    assert rows[1]["metrics"]["test/kl"] > 0
    assert repro("status", "--json", "--runs", "nowhere").out == "[]\n"


def test_a_dry_run_shows_the_plan_and_writes_nothing(repro: Repro, made: Path, tmp_path: Path) -> None:
    before = times(made)
    code, out, err = repro("launch", DIGITS, "--dry-run", "--runs", str(made), "preset=smoke", "trial=[0, 1]")
    assert (code, err) == (0, "")
    assert [line.split() for line in out.splitlines()[:4] if not line.startswith("-")] == [
        ["runs", "done", "to", "make", "all"],
        ["teacher", "1", "1", "2"],
        ["student", "1", "5", "6"],
    ]
    assert "8 distinct runs (2 teachers, 6 students), 5.2e+03 images to train" in out
    done = repro("launch", DIGITS, "--dry-run", "--runs", str(made), "preset=smoke", "trial=0", "images=100").out
    assert "\nto make: nothing\n\nnothing to make: 0 run-hours on " in done
    assert times(made) == before
    assert repro("launch", LENET, "--dry-run").code == 0  # needs no data either
    assert list(tmp_path.iterdir()) == []
