"""Tables, figures and reports of runs whose configs were changed on the command line, as by `precision=bfloat16`."""

import re
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from synthetic_records import SyntheticRecords, Truth, everywhere

from analysis.changes import UNCHANGED, Changes
from analysis.claims import CLAIMS, Evidence, judge, statement
from analysis.claims.data import c2
from analysis.claims.optimization import c10
from analysis.figures import NAMES, find_figure
from analysis.report import render
from analysis.report.contents import gather
from analysis.tables import StudyTable, StudyTables, study_table
from repro.cli import main
from repro.records import RunFolder, open_records
from repro.store import Store

pytestmark = pytest.mark.slow

CHANGES = Changes.parse(["precision=bfloat16", "teachers.evaluate_every=6"])
ARGUMENTS = "precision=bfloat16 teachers.evaluate_every=6"
WORLD = everywhere(Truth())
RESULTS = Path(__file__).parents[1] / "results"


@pytest.fixture(scope="module")
def records() -> SyntheticRecords:
    """Of `optimizer` both protocols at one number of epochs, one trial of the changed missing and another beyond."""
    only = {"epochs": [300], "trial": [0, 1]}
    lacks = {"optimizer": "sgd", "trial": 1}

    def done(settings: Mapping[str, Any]) -> bool:
        return not lacks.items() <= settings.items()

    made = SyntheticRecords(examples=60).add("optimizer", WORLD, only=only)
    made.add("optimizer", WORLD, only={"epochs": [300], "trial": [0, 1, 2, 3]}, done=done, changes=CHANGES)
    return made.add("teacher_distributions", WORLD)


def test_of_several_sweeps_that_cannot_have_a_change_the_one_whose_setting_it_is_says_why() -> None:
    tables, sweeps = StudyTables(SyntheticRecords(), Changes.parse(["policy=mixup"])), find_figure("5").sweeps
    assert sweeps.index("augmentation") > 0
    assert tables.refusal(sweeps).startswith("'policy' is a setting of the study augmentation, and figures show all of")


def test_a_table_holds_the_runs_with_the_changes_and_no_others(records: SyntheticRecords) -> None:
    own, changed = (study_table(records, "optimizer", "short", changes) for changes in (UNCHANGED, CHANGES))
    assert len(own.rows) == 4 and len(changed.rows) == 7 and own.expected == changed.expected
    assert not set(own.rows["run_id"]) & set(changed.rows["run_id"])
    assert not set(own.rows["teacher_key"]) & set(changed.rows["teacher_key"])
    precisions = {
        name: {records.record(run_id).config["precision"] for run_id in table.rows["run_id"]}
        for name, table in (("own", own), ("changed", changed))
    }
    assert precisions == {"own": {"float32"}, "changed": {"bfloat16"}}
    assert sorted(changed.rows["trial"]) == [0, 0, 1, 2, 2, 3, 3]  # the sweep asks for 0 to 2
    assert all(label.endswith(ARGUMENTS) for label in changed.rows["label"])
    assert {missing.run_id for missing in own.missing}.isdisjoint(missing.run_id for missing in changed.missing)


def test_a_sweep_that_can_not_have_the_changes_has_no_run_and_says_why(records: SyntheticRecords) -> None:
    table = study_table(records, "teacher_distributions", "short", CHANGES)
    assert table.rows.empty and not table.missing and table.expected == 0
    assert table.refusal.startswith("teacher_distributions has no setting 'teachers.evaluate_every'")
    rounded = study_table(records, "sngan", "short", Changes.parse(["precision=bfloat16"]))
    assert rounded.refusal == "config key 'precision' is 'bfloat16'; did you mean 'float32'?"
    one_rate = Changes.parse(["optimizer.learning_rate=0.05"])  # of which the study compares two
    assert "become the same run" in study_table(records, "init_interpolation", "short", one_rate).refusal
    assert len(study_table(records, "teacher_distributions", "short").rows) > 0


def test_a_changed_seed_makes_one_trial_of_a_sweep_that_asks_for_one() -> None:
    seed = Changes.parse(["seed=5"])
    made = SyntheticRecords(examples=20).add("sngan", WORLD, changes=seed)
    assert len(study_table(made, "sngan", "short", seed).rows) == 1


def test_claims_count_the_runs_with_the_changes_alone(records: SyntheticRecords) -> None:
    for changes, count in ((UNCHANGED, 4), (CHANGES, 7)):
        tables = Evidence(StudyTables(records, changes), "short")
        runs = {run_id for test in c10(tables) for run_id in test.sample.runs}
        assert runs == set(study_table(records, "optimizer", "short", changes).rows["run_id"]) and len(runs) == count
        assert tables.missing and all(command.endswith(changes.arguments) for command in tables.missing)


def test_a_figure_says_what_is_changed_and_what_makes_the_rest(records: SyntheticRecords) -> None:
    figure = find_figure("6a")
    evidence = figure.evidence(StudyTables(records, CHANGES), "short")
    notes = figure.notes(evidence, "short")
    said = " ".join(notes)
    assert said.startswith("Preset short, but all runs with precision=bfloat16, teachers.evaluate_every=6. Mean")
    assert figure.notes(evidence, "paper")[0].startswith("Preset paper, but all runs with precision=bfloat16")
    assert notes[-1].strip() == f"repro launch sweeps/optimizer.yaml preset=short {ARGUMENTS}"
    long = find_figure("6c").notes(find_figure("6c").evidence(StudyTables(records, CHANGES), "short"), "short")
    assert max(map(len, long)) <= 100
    command = "\n".join(long).partition("rest:\n")[2].replace("\\\n", "").splitlines()[0]
    (launch, *_) = find_figure("6c").commands(StudyTables(records, CHANGES))
    assert shlex.split(command) == shlex.split(launch.replace("preset=paper", "preset=short"))
    assert set(evidence.table["run_id"]) == set(study_table(records, "optimizer", "short", CHANGES).rows["run_id"])


def test_a_title_names_no_network_that_did_not_run() -> None:
    nine, one = find_figure("9"), find_figure("1b")
    for key in ("model.name=lenet5", "teachers.model.depth=8"):
        changes = Changes.parse([key])
        assert nine.heading(changes) == "Figure 9: the teachers' training images again, or fresh ones?"
        text = find_figure("text_transformer").heading(changes)
        assert text == "Text: [changed network] distilled into [changed network], film reviews"
        assert "three [changed network] distilled into one" in one.heading(changes)
    for figure in map(find_figure, NAMES):
        assert figure.heading(CHANGES) == figure.heading(UNCHANGED) == figure.title
        assert not re.search(r"Net|VGG|former|LSTM", figure.heading(changes)), figure.name


def test_a_verdict_is_on_no_network_that_did_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    changes = Changes.parse(["model.name=lenet5"])
    assert not any(re.search(r"[a-z]Net-\d", changes.rename_networks(statement(claim))) for claim in CLAIMS)
    monkeypatch.setattr("analysis.claims.CLAIMS", {"C2": c2})
    keys = [f"{run}{key}" for key in ("model.name=lenet5", "data.train.size=10000") for run in ("", "teachers.")]
    records = open_records(RESULTS / "optimizer_lenet" / "records.npz")
    (judgement,) = judge(StudyTables(records, Changes.parse(keys)), "paper")
    assert judgement.verdict == "supported"
    assert judgement.statement.startswith("Self-distilled [changed network] students beat their teacher")


@pytest.mark.slow
def test_an_overview_names_the_sweeps_that_are_left_out(records: SyntheticRecords) -> None:
    many = Changes.parse(["epochs=7"])  # a condition of the study `optimizer`
    tables = StudyTables(SyntheticRecords(examples=60).add("digits", WORLD, changes=many), many)
    figure = find_figure("learning_curves")
    assert "Left out, because their runs cannot have this change: optimizer." in " ".join(
        figure.notes(figure.evidence(tables, "short"), "short")
    )
    (few,) = figure.few_commands(StudyTables(records, CHANGES))
    assert few.startswith(f"repro launch sweeps/NAME.yaml preset=paper {ARGUMENTS}, for each of ")


@pytest.mark.slow
def test_a_report_is_of_the_runs_with_the_changes_and_their_teachers(records: SyntheticRecords) -> None:
    contents = gather(records, CHANGES)
    students = set(study_table(records, "optimizer", "short", CHANGES).rows["run_id"])
    teachers = {teacher for run_id in students for teacher in records.record(run_id).teachers}
    assert {run.run_id for run in contents.runs} == students | teachers
    page, summary = (render(template, contents) for template in ("page.html.j2", "summary.md.j2"))
    assert "only runs with <code>precision=bfloat16</code>, <code>teachers.evaluate_every=6</code>." in page
    assert summary.startswith("This report covers only runs with `precision=bfloat16`, `teachers.evaluate_every=6`.")
    for text in (page, summary):
        commands = re.findall(r"repro (?:launch|run|surface) [^`<]*", text)
        assert len(commands) > 10 and all(command.endswith(ARGUMENTS) for command in commands)
        assert (
            "has no setting &#39;teachers.evaluate_every" in text or "has no setting 'teachers.evaluate_every" in text
        )
    (judged,) = [one for one in contents.claims if one.claim == "C10"]
    assert {run_id for part in judged.parts for run_id in part.runs} == students


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the smallest study 2 of 3 conditions with another number of epochs, and the third without."""
    runs = tmp_path_factory.mktemp("real") / "runs"
    smoke = ["launch", "sweeps/digits.yaml", "preset=smoke", "--runs", str(runs)]
    assert main([*smoke, "images=[100, 300]", "trial=[0, 1]", "epochs=3"]) == 0
    assert main([*smoke, "images=1200", "trial=0"]) == 0
    return runs


def test_what_is_missing_is_made_by_its_command_and_nothing_else(real: Path) -> None:
    changes = Changes.parse(["epochs=3"])

    def table(changes: Changes) -> StudyTable:
        return study_table(RunFolder(Store(real)), "digits", "smoke", changes)

    assert set(table(UNCHANGED).rows["images"]) == {1200} and set(table(changes).rows["images"]) == {100, 300}
    (missing,) = [one for one in table(changes).missing if one.settings["trial"] == 0]
    assert missing.command == "repro run digits preset=smoke trial=0 images=1200 epochs=3"
    before = set(RunFolder(Store(real)).ids())
    assert main([*shlex.split(missing.command)[1:], "--runs", str(real)]) == 0
    assert set(RunFolder(Store(real)).ids()) - before == {missing.run_id}  # its teacher is there
    assert missing not in table(changes).missing and set(table(UNCHANGED).rows["images"]) == {1200}


def test_the_commands_draw_and_export_runs_with_changes_beside_those_without(real: Path, tmp_path: Path) -> None:
    export = tmp_path / "changed.npz"
    arguments = ["sweeps/digits.yaml", "preset=smoke", "epochs=3", "--runs", str(real), "--out", str(export)]
    assert main(["export", *arguments]) == 0
    for source in (real, export):
        out = tmp_path / f"from_{source.name}"
        assert main(["figures", "digits", "--runs", str(source), "epochs=3", "--out", str(out)]) == 0
        drawn = pd.read_csv(out / "digits_smoke_epochs=3.csv")
        asked = study_table(RunFolder(Store(real)), "digits", "smoke", Changes.parse(["epochs=3"]))
        assert set(drawn["run_id"]) == set(asked.rows["run_id"]) and drawn["control_agreement"].notna().any()
    assert main(["figures", "digits", "--runs", str(real), "--out", str(out)]) == 0
    assert set(pd.read_csv(out / "digits_smoke.csv")["images"]) == {1200}
    assert main(["figures", "digits", "--runs", str(export), "--out", str(out)]) == 2


def test_figure_6c_has_the_surfaces_of_the_changed_runs(tmp_path: Path) -> None:
    smoke = ["preset=smoke", "weight=0.25", "epochs=3", "teachers.evaluate_every=3", "--runs", str(tmp_path)]
    assert main(["run", "init_interpolation", *smoke]) == 0
    figure, sizes = find_figure("6c"), ["--points", "2", "--images", "20"]
    changes = Changes.parse(["epochs=3", "teachers.evaluate_every=3"])
    for measured in (False, True):
        evidence = figure.evidence(StudyTables(RunFolder(Store(tmp_path)), changes), "smoke")
        surfaces = [command for command in figure.missing_commands(evidence, "smoke") if "surface" in command]
        asked = [0.0, 0.375] if measured else [0.0, 0.25, 0.375]
        ends = "preset=smoke epochs=3 teachers.evaluate_every=3"
        assert surfaces == [f"repro surface init_interpolation weight={weight} {ends}" for weight in asked]
        if not measured:
            command = shlex.split(surfaces[1])[1:]
            assert main([*command, *sizes, "--runs", str(tmp_path)]) == 0
    assert main(["surface", "init_interpolation", "preset=smoke", "weight=0.25", *sizes, "--runs", str(tmp_path)]) == 2


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ("figures 6b weight=0.5", "'weight' is a setting of the study init_interpolation, and figures show all"),
        ("figures digits preset=smoke", "'preset' is a setting of the study digits"),
        ("report trial=0", "'trial' is a setting of the study"),
        ("figures digits precison=bfloat16", "digits has no setting 'precison'; did you mean 'precision'?"),
        ("figures digits precision=bfloat17", "config key 'precision' is 'bfloat17'; did you mean 'bfloat16'?"),
        ("figures digits teachers.epoch=3", "unknown config key 'teachers.0.epoch'"),
        ("figures 7 teachers.evaluate_every=6", "sngan has no setting 'teachers.evaluate_every'"),
        ("figures 7 digits teachers.epochs=3", "figure 7 cannot be drawn with teachers.epochs=3: sngan has no setting"),
        ("figures digits epochs=3 epochs=4", "'epochs' is set twice"),
        ("figures digits seed=3 teachers.seed=4", "runs that the study digits compares become the same run"),
        ("figures digits epochs=77", "holds no run of figure digits with epochs=77; make them with `repro launch"),
        ("report epochs", "'epochs' is not a setting; write key=value"),
    ],
)
def test_what_can_not_be_changed_is_said_in_one_line(
    real: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: str, problem: str
) -> None:
    assert main([*arguments.split(), "--runs", str(real), "--out", str(tmp_path / "out")]) == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("repro: ")]
    assert problem in line
