"""Records say the same from run directories and from an export, and what they say is right."""

import io
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from config_contents import changed
from runs import student_of_generated_images
from safetensors.torch import load_file, save_file
from scipy.special import log_softmax, rel_entr, softmax
from synthetic_records import SyntheticRecords, Truth, everywhere

from analysis.summary import summarize
from analysis.tables import study_table
from repro.cli import main
from repro.errors import BadInput
from repro.launch.sweep import find_sweep, sweep_studies
from repro.records import Records, RunFolder, disagreements, open_records, write_export
from repro.records.merged import Merged
from repro.records.record import condition_key, rounded
from repro.store import Store

WORLD = everywhere(Truth(0.74, 0.80))
ONLY = {"policy": ["baseline", "mixup"], "members": [1, 3]}


@pytest.fixture(scope="module")
def made() -> SyntheticRecords:
    return SyntheticRecords(examples=50).add("augmentation", WORLD, only=ONLY)


@pytest.fixture(scope="module")
def folder(made: SyntheticRecords, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.write(tmp_path_factory.mktemp("runs")).root


@pytest.fixture(scope="module")
def export(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("export") / "records.npz"
    runs = open_records(folder)
    assert write_export(runs, [(run_id, "") for run_id in runs.ids()], path) == 21
    return path


def equal(one: Records, other: Records, keys: list[str], students: list[str]) -> None:
    for key in keys:
        assert one.scores(key) == other.scores(key) is not None
        for name in ("top_class", "confidence", "nll"):
            np.testing.assert_array_equal(getattr(one.predictions(key), name), getattr(other.predictions(key), name))
    for student in students:
        for teacher in (one.record(student).teacher_key,):
            assert one.pair(student, teacher) == other.pair(student, teacher) is not None
            np.testing.assert_array_equal(
                one.kl_per_example(student, teacher),
                other.kl_per_example(student, teacher),
            )


def test_an_export_says_what_the_run_directories_say(folder: Path, export: Path, made: SyntheticRecords) -> None:
    runs, exported = open_records(folder), open_records(export)
    assert set(runs.ids()) == set(exported.ids()) == set(made.ids())
    students = [run_id for run_id in runs.ids() if runs.record(run_id).kind == "student"]
    ensembles = sorted({runs.record(student).teacher_key for student in students})
    assert len(students) == 12 and sum("+" in key for key in ensembles) == 3
    equal(runs, exported, [*runs.ids(), *ensembles], students)
    equal(runs, made, [*runs.ids(), *ensembles], students)
    for run_id in runs.ids():
        one, other = runs.record(run_id), exported.record(run_id)
        assert (one.config, one.summary, one.metrics) == (other.config, other.summary, other.metrics)
        assert one.teachers == other.teachers and one.condition == other.condition
        np.testing.assert_array_equal(runs.labels(run_id), exported.labels(run_id))
        for source in (runs, exported):
            np.testing.assert_array_equal(source.shown_logits(run_id), made.logits[run_id][:8].numpy())
            np.testing.assert_array_equal(source.shown_train(run_id), 2 * made.logits[run_id][:8].numpy())


def test_tables_and_intervals_are_the_same_from_runs_and_export(folder: Path, export: Path) -> None:
    one, other = (study_table(open_records(path), "augmentation", "short") for path in (folder, export))
    assert len(one.rows) == 12 and one.missing == other.missing
    assert one.rows.equals(other.rows)
    assert summarize(one).equals(summarize(other))


def test_scores_and_pairs_are_those_of_the_logits(folder: Path, made: SyntheticRecords) -> None:
    runs = open_records(folder)
    record = next(runs.record(run) for run in runs.ids() if len(runs.record(run).teachers) == 3)
    students, labels = made.logits[record.run_id].numpy().astype(np.float64), made.true_labels
    teacher = np.mean([softmax(made.logits[t].numpy().astype(np.float64), axis=1) for t in record.teachers], axis=0)
    scores, pair = runs.scores(record.teacher_key), runs.pair(record.run_id, record.teacher_key)
    assert scores is not None and pair is not None
    assert scores["accuracy"] == np.mean(teacher.argmax(axis=1) == labels)
    assert scores["nll"] == pytest.approx(-np.log(teacher[np.arange(len(labels)), labels]).mean())
    assert pair.agreement == np.mean(students.argmax(axis=1) == teacher.argmax(axis=1))
    kl = rel_entr(teacher, np.exp(log_softmax(students, axis=1))).sum(axis=1)
    assert pair.kl == pytest.approx(kl.mean(), rel=1e-5)
    np.testing.assert_allclose(runs.kl_per_example(record.run_id, record.teacher_key), kl, rtol=1 / 60)  # type: ignore[arg-type]
    predictions = runs.predictions(record.run_id)
    assert predictions is not None
    np.testing.assert_array_equal(predictions.top_class, students.argmax(axis=1))
    np.testing.assert_allclose(predictions.confidence, softmax(students, axis=1).max(axis=1), rtol=1e-3)
    np.testing.assert_allclose(predictions.nll, -log_softmax(students, axis=1)[np.arange(50), labels], rtol=1 / 60)


def test_a_student_and_a_teacher_tested_on_other_data_are_no_pair(made: SyntheticRecords, tmp_path: Path) -> None:
    runs = made.write(tmp_path / "runs")
    records = open_records(runs.root)
    student = next(record for record in map(records.record, records.ids()) if len(record.teachers) == 1)
    path = runs.run(student.teachers[0]).path / "predictions.safetensors"
    predictions = load_file(path)
    for changed_predictions in (
        {name: values[:20] for name, values in predictions.items()},  # as many images as another test set has
        predictions | {"test_labels": predictions["test_labels"].roll(1)},  # others, but as many
    ):
        save_file({name: values.contiguous() for name, values in changed_predictions.items()}, path)
        records = open_records(runs.root)
        assert records.pair(student.run_id, student.teacher_key) is None
        assert records.kl_per_example(student.run_id, student.teacher_key) is None
        assert write_export(records, [(student.run_id, "")], tmp_path / "export.npz") == 1
        table = study_table(records, "augmentation", "short")
        for quantity, known in (("student_agreement", 3), ("teacher_accuracy", 2), ("teacher_ece", 2)):
            sample = table.sample(quantity, policy="baseline", members=1)
            assert len(sample) == known and (known == 2 or sample.examples is None)
        assert len(table.sample("specific_agreement", policy="baseline", members=1)) == 0
    save_file(predictions, path)
    # Other images, but with the same labels; earlier records do not say which images.
    for ours, theirs, is_known in (("a", "b", False), ("a", "a", True), ("a", None, True)):
        for run_id, test_set in ((student.run_id, ours), (student.teachers[0], theirs)):
            summary = runs.run(run_id).read_json("summary.json")
            runs.run(run_id).write_json("summary.json", summary | {"test_set": test_set})
        assert (open_records(runs.root).pair(student.run_id, student.teacher_key) is not None) == is_known


def test_what_is_not_there_is_none(folder: Path, export: Path) -> None:
    for records in (open_records(folder), open_records(export), open_records(folder / "nowhere")):
        assert not records.has("0" * 12)
        with pytest.raises(KeyError):
            records.record("0" * 12)
        for answer in (records.scores, records.labels, records.predictions, records.shown_logits):
            assert answer("0" * 12) is None
        assert records.pair("0" * 12, "1" * 12) is None and records.kl_per_example("0" * 12, "1" * 12) is None


def test_rounding_keeps_five_bits() -> None:
    values = np.concatenate([[0.0], 2.0 ** np.linspace(-13, 6, 500)])
    np.testing.assert_allclose(rounded(values).astype(float), values, rtol=1 / 64)
    assert len(np.unique(rounded(np.linspace(1, 2, 1000)))) == 2**5 + 1
    assert rounded(np.array([1.5]))[0] == 1.5
    assert rounded(np.array([64_512.0, 1.5])).dtype == np.float16
    for large in (65_300.0, 241_427.9, 1e30):  # of networks that have diverged: float16 ends at 65,504
        both = rounded(np.array([large, 1e-5]))
        np.testing.assert_allclose(both.astype(float), [large, 1e-5], rtol=1 / 64)
        assert (rounded(both.astype(float)) == both).all()


@pytest.mark.parametrize("sweep", ["augmentation", "data_recycling", "shared_init", "lenet_mnist"])
def test_trials_share_a_condition_and_nothing_else_does(sweep: str) -> None:
    keys: dict[str, set[str]] = {}
    for point in sweep_studies(find_sweep(sweep), {"trial": [0, 2]}):
        condition = point.model_copy(update={"trial": 0}).label()
        keys.setdefault(condition, set()).add(condition_key(point.config().model_dump(mode="json")))
    assert all(len(found) == 1 for found in keys.values())
    assert len({key for found in keys.values() for key in found}) == len(keys)


def test_only_the_seeds_of_runs_are_left_out_of_a_condition() -> None:
    """A selection of images has a seed too, and other images are another condition, whose students are no control."""
    config = student_of_generated_images().model_dump(mode="json")
    for key in ("seed", "teachers.0.seed", "data.generated.0.generator.seed"):
        assert condition_key(changed(config, key, 9)) == condition_key(config), key
    for key in ("data.train.seed", "teachers.0.data.train.seed", "data.generated.0.seed", "epochs"):
        assert condition_key(changed(config, key, 9)) != condition_key(config), key


def test_an_export_keeps_the_top_class_of_hundreds(tmp_path: Path) -> None:
    """As of ImageNet."""
    records = SyntheticRecords(examples=900, classes=257).add("digits", WORLD, only={"trial": 0, "images": 100})
    write_export(records, [(run_id, "") for run_id in records.ids()], tmp_path / "records.npz")
    exported = open_records(tmp_path / "records.npz")
    for run_id in records.ids():
        one, other = records.predictions(run_id), exported.predictions(run_id)
        assert one is not None and other is not None and one.top_class.max() == 256  # one more than a byte holds
        np.testing.assert_array_equal(one.top_class, other.top_class)


def test_a_run_takes_kilobytes(tmp_path: Path) -> None:
    records = SyntheticRecords(examples=10_000, classes=100).add(
        "augmentation", WORLD, only={"policy": ["baseline"], "members": [1], "trial": [0, 1]}
    )
    write_export(records, [(run_id, "") for run_id in records.ids()], tmp_path / "records.npz")
    assert (tmp_path / "records.npz").stat().st_size < 45_000 * len(records.ids())


def test_without_examples_an_export_keeps_metrics_and_matches_in_a_fraction_of_the_room(
    folder: Path, export: Path
) -> None:
    small = export.with_name("small.npz")
    runs = open_records(folder)
    write_export(runs, [(run_id, "") for run_id in runs.ids()], small, examples=False)
    assert 3 * small.stat().st_size < export.stat().st_size
    again = small.with_name("again.npz")
    runs = open_records(small)
    write_export(runs, [(run_id, "") for run_id in runs.ids()], again)
    whole = open_records(export)
    for kept in (open_records(small), open_records(again)):
        for run_id in whole.ids():
            assert kept.record(run_id) == whole.record(run_id) and kept.scores(run_id) == whole.scores(run_id)
            for other in whole.ids():
                assert kept.pair(run_id, other) == whole.pair(run_id, other)
            assert kept.predictions(run_id) is None and kept.labels(run_id) is None


def test_the_same_runs_give_the_same_bytes_and_no_name_of_the_machine(folder: Path, export: Path) -> None:
    again = export.with_name("again.npz")
    runs = open_records(folder)
    write_export(runs, [(run_id, "") for run_id in runs.ids()], again)
    assert again.read_bytes() == export.read_bytes()
    text = zipfile.ZipFile(export).read("records.jsonl").decode()
    assert "argv" not in text and "processor" in text
    assert len(np.load(export)["labels/" + next(n for n in np.load(export) if n.startswith("labels/"))[7:]]) == 50


def test_exports_beneath_a_folder_are_read_together(made: SyntheticRecords, tmp_path: Path) -> None:
    def trial(number: int) -> list[tuple[str, str]]:
        points = sweep_studies(find_sweep("augmentation"), {"preset": "short", "trial": [number], **ONLY})
        configs = [point.config() for point in points]
        return [(c.run_id, "") for config in configs for c in (config, *config.parents())]

    write_export(made, trial(0), tmp_path / "a" / "first.npz")
    write_export(made, trial(1), tmp_path / "second.npz")
    table = study_table(open_records(tmp_path), "augmentation", "short")
    assert sorted(table.rows["trial"]) == [0, 0, 0, 0, 1, 1, 1, 1]
    assert table.rows["teacher_accuracy"].notna().all()
    # A student and a teacher that were exported apart have not been compared.
    assert table.rows["control_agreement"].isna().all()
    assert len(table.sample("specific_agreement", policy="mixup", members=1)) == 0


@pytest.fixture
def disagreeing(made: SyntheticRecords, tmp_path: Path) -> Path:
    """Two exports with the same teachers, made apart, and different students of theirs; and a copy of the first."""
    other = SyntheticRecords(seed=1, examples=50).add("augmentation", WORLD, only=ONLY)
    for name, records, policy in (("a", made, "baseline"), ("b", other, "mixup"), ("copy", made, "baseline")):
        points = sweep_studies(find_sweep("augmentation"), {"preset": "short", **ONLY, "policy": [policy]})
        configs = [config for point in points for config in (*point.config().parents(), point.config())]
        write_export(records, [(config.run_id, "") for config in configs], tmp_path / name / "records.npz")
    return tmp_path


def test_exports_that_disagree_are_told_and_students_keep_their_own_teachers(disagreeing: Path) -> None:
    records = open_records(disagreeing)
    first, second = (open_records(disagreeing / name / "records.npz") for name in ("a", "b"))
    teachers = set(first.ids()) & set(second.ids())
    assert len(teachers) == 9
    assert {one.run_id for one in disagreements(records)} == teachers
    for one in disagreements(records):
        assert (one.first, one.other) == (first.name, second.name)
        assert one.metric == "test/accuracy" or one.difference != 0
        values = [source.record(one.run_id).summary["metrics"][one.metric] for source in (first, second)]
        assert one.difference == values[1] - values[0]
        assert records.scores(one.run_id) == first.scores(one.run_id) != second.scores(one.run_id)
    table = study_table(records, "augmentation", "short")
    for row in table.rows.to_dict("records"):
        own = first if row["policy"] == "baseline" else second
        assert row["teacher_accuracy"] == own.scores(own.record(row["run_id"]).teacher_key)["accuracy"]  # type: ignore[index]
        for teacher in records.record(row["run_id"]).teachers:
            assert records.has(teacher) and records.record(teacher) == own.record(teacher[:12])
    # What is said of test examples is of the same two networks as the number for all of them.
    quantities = ("student_agreement", "student_kl", "control_agreement", "teacher_accuracy")
    for _, _, sample in table.every_sample(quantities):
        assert sample.examples is not None
        np.testing.assert_allclose(sample.examples.mean(), sample.values.mean(), rtol=0.01)


def test_every_command_says_which_exports_disagree(disagreeing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run, student = open_records(disagreeing / "b" / "records.npz").ids()[:2]
    assert main(["compare", run, student, "--runs", str(disagreeing)]) == 0
    (line,) = capsys.readouterr().err.splitlines()
    files = [str(disagreeing / name / "records.npz") for name in ("a", "b")]
    told = f"warning: other results than in {files[0]}, which counts, are in {files[1]} for 9 runs: "
    assert line.startswith(told)
    assert line.endswith(" and 5 more") and line.count("(test/") == 4
    (disagreeing / "b" / "records.npz").unlink()
    assert main(["compare", run, run, "--runs", str(disagreeing)]) == 0
    assert capsys.readouterr().err == ""  # a copy is no disagreement


def test_a_disagreement_is_told_by_the_accuracy_or_else_by_what_differs_most() -> None:
    """A metric that is newer than one of the two records is no disagreement."""
    one, other = (
        SyntheticRecords(examples=50).add("digits", WORLD, only={"trial": 0, "images": 100}) for _ in range(2)
    )
    ours, theirs = (dict[str, float](source.record(one.ids()[0]).summary["metrics"]) for source in (one, other))

    def told(**changes: float) -> list[tuple[str, float]]:
        changed = {f"test/{name}": theirs.get(f"test/{name}", 0.0) + change for name, change in changes.items()}
        other.record(one.ids()[0]).summary["metrics"].update(theirs | changed)
        return [(found.metric, round(found.difference, 6)) for found in disagreements(Merged("both", [one, other]))]

    assert ours == theirs and told() == told(invented_later=1.0) == []
    assert told(nll=0.25, ece=-0.5) == [("test/ece", -0.5)]
    assert told(nll=0.25, accuracy=0.125) == [("test/accuracy", 0.125)]
    other.record(one.ids()[0]).summary["metrics"].update(theirs | {"test/nll": None})  # it was not finite
    (found,) = disagreements(Merged("both", [one, other]))
    assert found.metric == "test/nll" and np.isnan(found.difference)


def _empty_zip() -> bytes:
    content = io.BytesIO()
    zipfile.ZipFile(content, "w").close()
    return content.getvalue()


def _with_lines(*lines: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("records.jsonl", "\n".join(lines))
    return content.getvalue()


HEADER = '{"format": 1, "ensembles": {}}'


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (lambda: b"text", "not an export"),
        (_empty_zip, "not an export"),
        (lambda: _with_lines('{"format": 99, "ensembles": {}}'), "99"),
        (lambda: _with_lines("[1]"), "not an export"),
        (lambda: _with_lines(HEADER, "3"), "not an export"),
        (lambda: _with_lines(HEADER, '{"run_id": "a", "config": {"kind": "teacher"}, "summary": {}}'), "not an export"),
    ],
)
def test_a_file_that_is_no_export_is_named(tmp_path: Path, content: Callable[[], bytes], message: str) -> None:
    path = tmp_path / "x.npz"
    path.write_bytes(content())
    with pytest.raises(BadInput, match=message) as error:
        open_records(path)
    assert str(path) in str(error.value)


def test_the_command_exports_a_sweep_or_everything(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    everything, some = tmp_path / "all.npz", tmp_path / "some.npz"
    assert main(["export", "--runs", str(folder), "--out", str(everything)]) == 0
    sweep = [str(find_sweep("augmentation")), "preset=short", "policy=mixup", "members=1"]
    assert main(["export", *sweep, "--runs", str(folder), "--out", str(some)]) == 0
    assert main(["export", "--runs", str(folder), "--out", str(tmp_path / "all.csv")]) == 2
    output = capsys.readouterr()
    assert "all.npz" in output.err and not (tmp_path / "all.csv").exists()
    lines = output.out.splitlines()
    assert "21 of 21 runs" in lines[0] and "6 of 6 runs" in lines[1]
    assert len(open_records(some).ids()) == 6
    assert "mixup" in open_records(some).record(open_records(some).ids()[-1]).label
    assert main(["export", "--runs", str(everything), "--out", str(tmp_path / "again.npz")]) == 0
    assert (tmp_path / "again.npz").read_bytes() == everything.read_bytes()
    assert main(["export", "--runs", str(some), "--out", str(tmp_path / "some again.npz")]) == 0  # with the labels
    assert (tmp_path / "some again.npz").read_bytes() == some.read_bytes()


def test_an_export_holds_a_run_and_one_copy_of_it(disagreeing: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out, (teacher, *_) = disagreeing / "all.npz", open_records(disagreeing / "a" / "records.npz").ids()
    told = f"disagree about run {teacher} \\(test/accuracy by [+-]0\\.\\d+\\), and one file holds one copy"
    for runs, message in ((disagreeing / "nowhere", "holds no finished run"), (disagreeing, told)):
        assert main(["export", "--runs", str(runs), "--out", str(out)]) == 2
        assert re.search(message, capsys.readouterr().err) and not out.exists()
    other = SyntheticRecords(examples=50).add("digits", WORLD, only={"trial": 0})
    write_export(other, [(run_id, "") for run_id in other.ids()], disagreeing / "c" / "records.npz")
    of_sweep = ["preset=short", "--runs", str(disagreeing), "--out", str(out)]
    assert main(["export", "sweeps/augmentation.yaml", *of_sweep]) == 2 and not out.exists()
    assert main(["export", "sweeps/digits.yaml", *of_sweep]) == 0  # about whose runs they agree
    assert set(open_records(out).ids()) == set(other.ids())


def test_small_files_go_along(made: SyntheticRecords, tmp_path: Path) -> None:
    runs = RunFolder(made.write(tmp_path / "runs"))
    first, second = runs.ids()[:2]
    (tmp_path / "runs" / first / "surface.json").write_bytes(b"{}")
    (tmp_path / "runs" / first / "model.safetensors").write_bytes(b"weights")
    export = tmp_path / "runs" / "x.npz"  # among the runs, which count
    write_export(runs, [(first, ""), (second, "")], export)
    assert open_records(tmp_path / "runs").ids() == runs.ids() and len(runs.ids()) > 2
    for records in (runs, open_records(export)):
        assert records.attachment(first, "surface.json") == b"{}"
        assert records.attachment(second, "surface.json") is None
        assert records.attachment(first, "model.safetensors") is None


def test_a_run_that_is_not_done_is_no_record(made: SyntheticRecords, tmp_path: Path) -> None:
    store = made.write(tmp_path)
    first = next(record.teachers[1] for run in store.runs() if len((record := made.record(run.run_id)).teachers) == 3)
    (tmp_path / first / "summary.json").unlink()
    runs = RunFolder(Store(tmp_path))
    assert first not in runs.ids() and not runs.has(first) and runs.scores(first) is None
    assert torch.is_tensor(made.logits[first])
    ensembles = {runs.record(run_id).teacher_key for run_id in runs.ids() if len(runs.record(run_id).teachers) == 3}
    known = {key for key in ensembles if runs.scores(key) is not None}
    assert known == {key for key in ensembles if first not in key} and len(known) == len(ensembles) - 1
