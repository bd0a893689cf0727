"""Records of which a file is not what was written: told with its name, and in the way of nothing else."""

import re
import shutil
import zipfile
from pathlib import Path

import pytest
from runs import runner, small_student, small_teacher

from repro.cli import main
from repro.errors import BadInput, Damaged, Interrupted, RunFailed
from repro.launch.local import make_in_turn, run_here
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.launch.status import Named, status_row
from repro.records import RunFolder, open_records, write_export
from repro.store import RunDirectory, Store
from repro.tracking.carried import digest, pack, unpack
from repro.tracking.description import nested_config
from repro.tracking.pictures import final_pictures


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("finished") / "runs"
    run_here(parents_first([Request("a student", small_student())]), runner(root))
    return root


@pytest.fixture
def student(finished: Path, tmp_path: Path) -> RunDirectory:
    shutil.copytree(finished, tmp_path / "runs")
    return Store(tmp_path / "runs").run(small_student().run_id)


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + (b"\n" if path.suffix == ".jsonl" else b""))


@pytest.mark.parametrize("name", ["config.json", "summary.json", "environment.json", "metrics.jsonl"])
def test_a_damaged_text_is_named_by_who_reads_it_and_status_goes_on(
    student: RunDirectory, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cut(student.path / name)
    with pytest.raises(Damaged, match=f"{name}: damaged .*; remove {student.path} to make the run again"):
        RunFolder(Store(student.path.parent)).record(student.run_id)
    row = status_row(Named(student))
    assert row["state"] == "done"
    assert (f"{name}: damaged" in (row["error"] or "")) == (name != "metrics.jsonl")  # which it does not read then
    assert main(["status", "--runs", str(student.path.parent)]) == 0
    assert capsys.readouterr().out.count(" done ") == 2


@pytest.mark.parametrize(
    ("name", "content", "lacking"),
    [
        ("config.json", "{}", "config"),
        ("config.json", '{"config": {}}', "epochs"),
        ("config.json", "[]", "it is no JSON object"),
        ("config.json", '{"config": []}', r"its 'config' is \[\]"),
        ("summary.json", '{"seconds": 1.0, "data": {}, "metrics": 3}', "its 'metrics' is 3"),
        ("summary.json", '{"seconds": "1", "data": {}, "metrics": {}}', "its 'seconds' is '1'"),
        ("summary.json", '{"seconds": 1.0, "data": {}}', "metrics"),
        ("environment.json", "{}", "attempts"),
        ("environment.json", '{"attempts": []}', "list index out of range"),
    ],
)
def test_a_text_that_lacks_what_is_read_is_named_and_status_goes_on(
    student: RunDirectory, name: str, content: str, lacking: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (student.path / name).write_text(content)
    assert main(["status", "--runs", str(student.path.parent)]) == 0
    assert re.search(rf"{student.path / name}: damaged \(.*{lacking}", capsys.readouterr().out)


@pytest.mark.parametrize("name", ["config.json", "summary.json", "environment.json"])
@pytest.mark.parametrize("command", ["export", "compare"])
def test_a_text_that_lacks_what_is_read_ends_a_command_in_a_line(
    student: RunDirectory, name: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (student.path / name).write_text("{}")
    given = ["--out", str(tmp_path / "all.npz")] if command == "export" else [student.run_id, student.run_id]
    assert main([command, *given, "--runs", str(student.path.parent)]) == 2
    said = capsys.readouterr().err
    assert re.fullmatch(rf"repro: {student.path / name}: damaged \(it has no .*\n", said)
    assert not (tmp_path / "all.npz").exists()


@pytest.mark.parametrize("name", ["config.json", "environment.json", "metrics.jsonl"])
def test_what_a_finished_run_has_lost_is_named(student: RunDirectory, name: str) -> None:
    (student.path / name).unlink()
    with pytest.raises(Damaged, match=f"{name}: is missing from a finished run; remove {student.path} to make it"):
        RunFolder(Store(student.path.parent)).record(student.run_id)


def test_metrics_that_are_no_text_are_named(student: RunDirectory) -> None:
    (student.path / "metrics.jsonl").write_bytes(b"\xff\xfe\n")
    with pytest.raises(Damaged, match=r"metrics.jsonl: damaged"):
        student.metrics()


def test_a_run_of_a_part_that_is_gone_is_named_and_keeps_no_other_from_being_shown(
    student: RunDirectory, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    content = student.read_json("config.json")
    content["config"]["model"] = {"name": "perceptron"}
    student.write_json("config.json", content)
    problem = rf"{student.path / 'config.json'}: config key 'model.name' is 'perceptron'"
    with pytest.raises(BadInput, match=problem):
        RunFolder(Store(student.path.parent)).record(student.run_id)
    assert main(["export", "--runs", str(student.path.parent), "--out", str(tmp_path / "all.npz")]) == 0
    output = capsys.readouterr()
    assert re.match(rf"warning: left out 1 run that this suite cannot read: {problem}", output.err)
    assert "1 of 1 runs" in output.out
    assert open_records(tmp_path / "all.npz").ids() == [small_teacher().run_id]


@pytest.mark.parametrize("content", ["", "{}", "[]"])
def test_a_damaged_failure_is_named_and_status_goes_on(
    student: RunDirectory, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (student.path / "summary.json").unlink()
    (student.path / "failure.json").write_text(content)
    with pytest.raises(Damaged, match=f"failure.json: damaged .*; remove {student.path} to make the run again"):
        student.last_failure()
    assert main(["status", "--runs", str(student.path.parent)]) == 0
    assert f"{student.path / 'failure.json'}: damaged" in capsys.readouterr().out


@pytest.mark.parametrize("content", ["", "{}", "[]"])
@pytest.mark.parametrize(
    ("folder", "remedy"), [("sweeps", "remove it, and launch the sweep again"), ("submitted", "remove it, and cancel")]
)
def test_a_damaged_note_of_a_launch_is_named(
    folder: str, remedy: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    note = tmp_path / ".launch" / folder / "one.json"
    note.parent.mkdir(parents=True)
    note.write_text(content)
    command = ["logs", "0123456789ab"] if folder == "sweeps" else ["cancel", "all"]
    assert main([*command, "--runs", str(tmp_path)]) == 2
    assert re.fullmatch(rf"repro: {note}: damaged \(.*\); {remedy}.*\n", capsys.readouterr().err)


@pytest.mark.parametrize("content", ["test_logits", "train_logits"])
def test_damaged_predictions_are_named(student: RunDirectory, content: str) -> None:
    cut(student.path / "predictions.safetensors")
    records = RunFolder(Store(student.path.parent))
    with pytest.raises(Damaged, match=r"predictions.safetensors: damaged"):
        records.predictions(student.run_id) if content == "test_logits" else records.shown_train(student.run_id)


@pytest.mark.parametrize("name", ["checkpoint.pt", "metrics.jsonl"])
def test_what_a_run_cannot_go_on_from_keeps_no_other_run_from_being_made(student: RunDirectory, name: str) -> None:
    if name == "metrics.jsonl":  # older than the checkpoint, as in a copy made while the run was written
        rows = (student.path / name).read_text().splitlines(keepends=True)
        (student.path / name).write_text("".join(rows[:-1]))
    else:
        cut(student.path / name)
    (student.path / "summary.json").unlink()
    other = small_teacher(epochs=1)
    requests = [Request("a student", small_student()), Request("another", other)]
    work = runner(student.path.parent)
    with pytest.raises(RunFailed, match=rf"1 of 2 runs are not done \({student.run_id}: .*{name}: damaged .*; remove "):
        make_in_turn(requests, work)
    assert work.store.run(other.run_id).is_done()
    assert f"{name}: damaged" in (student.failure() or "")  # as where workers make the runs


def test_a_run_that_was_begun_with_other_data_fails_alone_in_this_process_as_with_workers(tmp_path: Path) -> None:
    work, config = runner(tmp_path), small_teacher(epochs=20_000, evaluate_every=20_000)
    work.stop.signal = "Ctrl-C"
    with pytest.raises(Interrupted):
        work.make(config, "a teacher")
    begun, other = work.store.run(config.run_id), small_teacher(epochs=1)
    content = begun.checkpoint()
    assert content is not None
    begun.write_checkpoint(content | {"data": {"digits": "other"}})
    again = runner(tmp_path)
    with pytest.raises(RunFailed, match=rf"1 of 2 runs are not done \({config.run_id}: .* with other digits data"):
        make_in_turn([Request("a teacher", config), Request("another", other)], again)
    assert work.store.run(other.run_id).is_done()
    assert "with other digits data" in (begun.failure() or "")


def test_a_log_that_cannot_be_written_keeps_no_run_from_being_made(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    config = small_teacher(epochs=1)
    run = Store(tmp_path).run(config.run_id)
    run.path.mkdir()
    (run.path / "run.log").symlink_to("/dev/full")
    runner(tmp_path).make(config, "a teacher")
    assert run.is_done()
    assert "No space left" not in capfd.readouterr().err


def test_a_damaged_array_of_an_export_is_named(student: RunDirectory, tmp_path: Path) -> None:
    export = tmp_path / "some.npz"
    write_export(RunFolder(Store(student.path.parent)), [(student.run_id, "a student")], export)
    with zipfile.ZipFile(export) as archive:
        entry = archive.getinfo(f"{student.run_id}/nll.npy")
    content = bytearray(export.read_bytes())
    content[entry.header_offset + 30 + len(entry.filename) + entry.compress_size // 2] ^= 1
    export.write_bytes(content)
    predictions = open_records(export).predictions(student.run_id)
    assert predictions is not None
    with pytest.raises(Damaged, match=f"{export}: damaged .*; copy it, or export the runs, again"):
        _ = predictions.nll
    with zipfile.ZipFile(tmp_path / "lacking.npz", "w") as lacking, zipfile.ZipFile(export) as archive:
        lacking.writestr("records.jsonl", archive.read("records.jsonl"))
        lacking.writestr(f"{student.run_id}/nll.npy", b"no array")
    predictions = open_records(tmp_path / "lacking.npz").predictions(student.run_id)
    for name in ("nll", "top_class"):
        with pytest.raises(Damaged, match=r"lacking\.npz: damaged"):
            getattr(predictions, name)


def test_what_cannot_be_sent_to_w_and_b_is_named_and_other_runs_are_not_held_up(student: RunDirectory) -> None:
    (teacher,) = (RunDirectory(student.path.parent / parent.run_id) for parent in small_student().parents())
    other = RunDirectory(student.path.parent / ("0" * 12))
    other.path.mkdir()
    (other.path / "config.json").touch()
    assert "figures/agreement_by_class" in final_pictures(student)
    (other.path / "config.json").write_text('{"config": {}}')
    (other.path / "environment.json").write_text('{"attempts": []}')
    with pytest.raises(Damaged, match=f"{other.path}/environment.json: damaged"):
        nested_config(other, None)
    cut(teacher.path / "predictions.safetensors")
    for drawn in (teacher, student):  # whose agreement with its teacher is shown
        with pytest.raises(Damaged, match=f"{teacher.path}/predictions.safetensors: damaged"):
            final_pictures(drawn)
    with pytest.raises(Damaged, match=f"{teacher.path}/predictions.safetensors: damaged"):
        pack(teacher)


def test_a_record_from_w_and_b_is_told_to_be_damaged_wherever_it_is(student: RunDirectory, tmp_path: Path) -> None:
    whole, fetched, damaged = pack(student), RunDirectory(tmp_path / student.run_id), 0
    for place in range(0, len(whole), len(whole) // 100):
        content = bytearray(whole)
        content[place] ^= 0xFF
        try:
            unpack(bytes(content), fetched)
        except RunFailed as error:
            damaged += f"the record of run {student.run_id} is damaged" in str(error)
    assert damaged > 80
    unpack(whole, fetched)
    assert digest(fetched) == digest(student)


def test_weights_that_are_gone_are_made_again_once_their_folder_is(student: RunDirectory) -> None:
    (teacher,) = (RunDirectory(student.path.parent / parent.run_id) for parent in small_student().parents())
    (teacher.path / "model.safetensors").unlink()
    shutil.rmtree(student.path)
    work = runner(student.path.parent)
    plan = parents_first([Request("a student", small_student())])
    with pytest.raises(RunFailed, match=f"the weights of its teacher are gone: remove {teacher.path}"):
        run_here(plan, work)
    shutil.rmtree(teacher.path)
    run_here(plan, work)
    assert student.is_done()


@pytest.mark.parametrize("folder", ["file/pictures", "/proc"])  # the latter exists, but even root cannot write there
@pytest.mark.parametrize("command", ["figures digits", "report", "export"])
def test_where_nothing_can_be_written_is_told_in_a_line(
    command: str, folder: str, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    out = tmp_path / folder / ("all.npz" if command == "export" else "")
    assert main([*command.split(), "--runs", str(finished), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert "cannot write there" in said and said.endswith("see --out\n") and said.count("\n") == 1
