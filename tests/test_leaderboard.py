"""The table and the figure that compare methods, the choice of their settings, and a user's own method beside them."""

import json
import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from figure_records import series
from runs import runner
from scipy import stats
from synthetic_records import SyntheticRecords, Truth, everywhere

from analysis import choose_methods
from analysis.choose_methods import best, scores_of, source
from analysis.fidelity_row import remember
from analysis.figures.methods import FIGURE
from analysis.formats import describe, percent, plain
from analysis.generations import generations_table
from analysis.leaderboard import FAMILY_OF, leaderboard, section, surpassed
from analysis.online import online_section
from analysis.statistics.intervals import interval
from analysis.statistics.sample import Sample
from analysis.tables import StudyTables, study_table
from analysis.transfer_table import conditions_table, contrasts_table
from repro.errors import BadInput
from repro.experiments.method_choices import CHOICES
from repro.experiments.method_tries import METHODS, MethodName
from repro.experiments.methods import Methods
from repro.launch.local import run_here
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.launch.sweep import find_sweep, sweep_studies
from repro.records.folder import RunFolder
from repro.runner import Runner
from repro.store import Store

pytestmark = pytest.mark.slow

TRAINED: tuple[MethodName, ...] = ("independent", "soft_labels", "hint")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Runner:
    """Three methods, two trials, at smoke."""
    work = runner(tmp_path_factory.mktemp("runs"))
    points = [
        Methods(preset="smoke", data="digits", method=method, trial=trial) for method in TRAINED for trial in (0, 1)
    ]
    run_here(parents_first([Request(point.label(), point.config()) for point in points]), work)
    return work


def test_a_section_ranks_methods_by_agreement_with_the_values_of_their_records(work: Runner) -> None:
    table = study_table(RunFolder(work.store), "methods_digits", "smoke")
    text = section(table, "digits", "same")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    header, *methods = rows
    assert {row[1] for row in methods} == set(TRAINED) and [row[0] for row in methods] == ["1", "2", "3"]
    shown = [float(row[header.index("agreement %")].split()[0]) for row in methods]
    assert shown == sorted(shown, reverse=True)
    row = next(row for row in methods if row[1] == "hint")
    for title, metric, factor in (("agreement %", "test/agreement", 100), ("KL on train", "train/kl", 1)):
        values = [
            work.store.run(
                Methods(preset="smoke", data="digits", method="hint", trial=trial).config().run_id
            ).read_json("summary.json")["metrics"][metric]
            for trial in (0, 1)
        ]
        assert float(row[header.index(title)].split()[0]) == pytest.approx(factor * sum(values) / 2, abs=0.06)
    assert len(row[header.index("CKA")].split()) == 3
    assert re.fullmatch(r"[+-]\S+ \([+-]\S+ to [+-]\S+\)", row[header.index("specific")])
    assert "Not run: 11 methods." in text and "n = 2 trials" in text
    assert section(table, "digits", "ensemble") == ""


def test_schemes_stand_below_their_controls_and_are_compared_with_them_trial_by_trial(tmp_path: Path) -> None:
    work = runner(tmp_path)
    methods: tuple[MethodName, ...] = ("mutual_learning", "own_exits", "independent_exits")
    points = {
        (method, trial): Methods(preset="smoke", data="digits", method=method, trial=trial)
        for method in methods
        for trial in (0, 1)
    }
    run_here(parents_first([Request(point.label(), point.config()) for point in points.values()]), work)
    table = study_table(RunFolder(work.store), "methods_online", "smoke")
    text = online_section(table, "digits")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("| ")]
    header, *lines = rows
    assert [line[0] for line in lines] == ["independent_exits", "own_exits", "mutual_learning"]

    def together(method: MethodName, trial: int) -> float:
        summary = work.store.run(points[method, trial].config().run_id).read_json("summary.json")
        metrics: dict[str, float] = summary["metrics"]
        values = [value for name, value in metrics.items() if re.fullmatch(r".*companion.*agreement", name)]
        assert len(values) == (2 if method != "mutual_learning" else 1)
        return 100 * sum(values) / len(values)

    own, alone = ([together(method, trial) for trial in (0, 1)] for method in ("own_exits", "independent_exits"))
    agreement, gain = header.index("together %"), header.index("more than alone")
    assert float(lines[1][agreement].split()[0]) == pytest.approx(sum(own) / 2, abs=0.06)
    assert float(lines[1][gain].split()[0]) == pytest.approx((sum(own) - sum(alone)) / 2, abs=0.06)
    assert lines[0][gain] == "-" and lines[2][gain] == "-"  # a control; and one whose control has not run
    assert "n = 2 trials" in text and online_section(table, "mnist") == ""


def test_a_pair_is_decided_by_a_paired_test_that_holds_for_all_pairs_together() -> None:
    generator = np.random.default_rng(3)
    luck = generator.normal(0, 0.05, 6)  # of a trial's teacher: larger than the differences, but in all methods alike
    values = [0.9 + luck + generator.normal(shift, 0.004, 6) for shift in (0.02, 0.012, 0.005, 0.0)]
    samples = [Sample((0, 1, 2, 3, 4, 5), one, None) for one in values]
    pvalues = [[stats.ttest_rel(one, other).pvalue if one is not other else 1 for other in values] for one in values]
    wanted = [
        [
            place
            for place, other in enumerate(values, start=1)
            if pvalues[row][place - 1] < 0.05 / 6 and one.mean() > other.mean()
        ]
        for row, one in enumerate(values)
    ]
    assert surpassed(samples) == wanted
    alone = sum(pvalue < 0.05 for row in pvalues for pvalue in row) / 2
    assert 0 < sum(map(len, wanted)) < alone  # some are decided, but not all that would be one by one
    examples = np.stack([np.ones((1, 1000)), np.zeros((1, 1000))])
    assert surpassed([Sample((0,), one.mean(axis=1), one) for one in examples]) == [[], []]  # one trial


def test_the_page_says_what_was_not_run(work: Runner) -> None:
    page = leaderboard(RunFolder(work.store))
    assert "Not run: `repro launch sweeps/methods_digits.yaml`.\n" in page  # smoke is no result
    assert "Not run: `repro launch sweeps/methods_cifar100.yaml`.\nNo settings were chosen for it on held-out" in page


@pytest.mark.slow
def test_the_committed_page_is_that_of_the_committed_records() -> None:
    from repro.records import open_records

    root = Path(__file__).parents[1]
    made = leaderboard(open_records(root / "results"))
    assert (root / "docs" / "leaderboard.md").read_text() == made, (
        "python -m analysis.leaderboard > docs/leaderboard.md"
    )


def test_the_figure_has_a_point_for_every_method_and_one_for_the_teacher(work: Runner) -> None:
    evidence = FIGURE.evidence(StudyTables(RunFolder(work.store)), "smoke")
    picture = FIGURE.picture(evidence, "smoke")
    (axes,) = picture.axes
    labels = axes.get_legend_handles_labels()[1]
    assert sorted(labels) == ["hint", "independent student", "soft labels", "teacher"]
    assert axes.get_title() == "digits: teacher like student\nn = 2"
    rows = evidence.table[evidence.table["method"] == "hint"]
    (((agreement,), (accuracy,)),) = series(axes)["hint"]
    assert agreement == pytest.approx(100 * rows["student_agreement"].mean())
    assert accuracy == pytest.approx(100 * rows["student_accuracy"].mean())


def test_the_teachers_level_is_the_mean_of_the_trials_however_many_methods_each_has() -> None:
    records = SyntheticRecords(examples=60, trial_std=0.1)
    for method, trials in (("soft_labels", [0, 1]), ("hint", [0]), ("logit_mse", [0])):
        only = {"teacher": ["same"], "method": [method], "trial": trials}
        records.add("methods_digits", everywhere(Truth()), only=only)
    teachers = [records.scores(run_id) for run_id in records.ids() if not records.record(run_id).teachers]
    accuracy, nll, ece = (np.mean([one[name] for one in teachers if one]) for name in ("accuracy", "nll", "ece"))
    assert len(teachers) == 2
    tables = StudyTables(records)
    said = f"Teacher: {100 * accuracy:.1f} % accuracy, NLL {nll:.3f}, ECE {ece:.3f}. n = 1 or 2 trials."
    assert said in section(tables("methods_digits", "short"), "digits", "same")
    (axes,) = FIGURE.picture(FIGURE.evidence(tables, "short"), "short").axes
    drawn = {str(line.get_label()): np.array(line.get_ydata()) for line in axes.lines}
    assert drawn["teacher"].tolist() == [pytest.approx(100 * accuracy)]


def test_generations_are_compared_with_their_teacher_and_with_the_first() -> None:
    from repro.records import open_records

    records = open_records(Path(__file__).parents[1] / "results" / "generations")
    lines = generations_table(records, "short").splitlines()
    rows = {
        cells[1].strip(): [cell.strip() for cell in cells[2:-1]] for cells in (line.split("|") for line in lines[2:])
    }
    assert list(rows) == ["born_again_1", "born_again_2", "born_again_3", "direct", "assistant"]
    for chain in ("born_again_1", "direct"):  # one generation: the first is the teacher
        assert rows[chain][3] == rows[chain][-1]
    assert rows["born_again_1"][2] == rows["born_again_2"][1]  # the student of one is the teacher of the next
    assert rows["born_again_2"][3] != rows["born_again_2"][-1]


def test_transfer_is_shown_by_condition_and_by_what_each_setting_changes() -> None:
    from repro.records import open_records

    records = open_records(Path(__file__).parents[1] / "results" / "transfer")
    table = study_table(records, "transfer", "short")
    accuracy = {
        key: 100 * rows.set_index("trial")["student_accuracy"]
        for key, rows in table.rows.groupby(["trunk", "weights", "loss"])
    }
    shown, contrasts = (
        [[cell.strip() for cell in line.split("|")[1:-1]] for line in made.splitlines()[2:]]
        for made in (conditions_table(table), contrasts_table(table))
    )
    assert len(shown) == len(accuracy) == 12
    for trunk, weights, loss, cell, *_ in shown:
        of_trials = accuracy[trunk, weights, loss]
        assert cell == f"{of_trials.mean():.1f} ± {of_trials.std(ddof=1):.1f}"
    changes = {(difference, fixed): cell for difference, fixed, cell, _ in contrasts}
    assert len(changes) == 4 + 4 + 6 + 6
    one, other = accuracy["distilled", "fine_tuned", "teacher"], accuracy["distilled", "fine_tuned", "labels"]
    change = one - other
    half = 4.302653 * change.std(ddof=1) / 3**0.5  # Student's t, 2 degrees of freedom; no single images in this export
    expected = f"{change.mean():+.1f} ({change.mean() - half:+.1f} to {change.mean() + half:+.1f})"
    assert changes["teacher - labels", "distilled, fine_tuned"] == expected


def test_every_method_has_a_family_and_says_what_was_set() -> None:
    assert set(FAMILY_OF) == set(METHODS)
    assert describe(METHODS["hint"][1]) == "temperature 1.0, weight 10.0"
    assert describe(METHODS["logit_mse"][2]) == "learning rate × 0.2"


def test_cells_have_a_deviation_from_two_trials_on() -> None:
    one, two = interval(sample_of(0.123)), interval(sample_of(0.1, 0.3))
    assert (percent(one), plain(one)) == ("12.3", "0.123")
    assert (percent(two), plain(two)) == ("20.0 ± 14.1", "0.200 ± 0.141")


def sample_of(*values: float) -> Sample:
    return Sample(tuple(range(len(values))), np.array(values), None)


def test_the_best_try_is_the_first_of_the_highest_and_never_one_that_diverged() -> None:
    assert best([0.5, 0.7, 0.7, None]) == 1
    assert best([None, None, 0.1, 0.0]) == 2
    assert {data: set(chosen) for data, chosen in CHOICES.items()} == {
        data: {method for method, tries in METHODS.items() if len(tries) > 1} for data in ("digits", "mnist")
    }


def test_tries_are_all_needed_before_one_is_chosen(work: Runner) -> None:
    assert scores_of("digits", "smoke", work.store) == {}
    with pytest.raises(BadInput, match="no tuning run is done"):
        source("smoke", work.store, choose_methods.MODULE.read_text())
    point = Methods(preset="smoke", data="digits", method="hint", tuning=2)
    run_here(parents_first([Request("try", point.config())]), work)
    with pytest.raises(BadInput, match=r"label_smoothing .* is not done; run `repro launch sweeps/methods_tries.yaml"):
        scores_of("digits", "smoke", work.store)


def test_the_score_of_a_try_is_its_agreement_or_a_controls_accuracy_and_none_only_if_it_diverged(
    tmp_path: Path,
) -> None:
    store, scores = Store(tmp_path), {"label_smoothing": (0.25, 0.5), "hint": (0.75, 0.125)}
    points = sweep_studies(find_sweep("methods_tries"), {"preset": "smoke", "data": "digits"})
    for point in points:
        run = store.run(point.config().run_id)
        run.path.mkdir()
        accuracy, agreement = scores.get(point.method, (0.0, 0.0))  # type: ignore[attr-defined]
        metrics = {"test/accuracy": accuracy, "test/agreement": agreement}
        run.write_json("summary.json", {"metrics": metrics, "seconds": 1.0, "data": {}})
    third = store.run(Methods(preset="smoke", data="digits", method="hint", tuning=2).config().run_id)
    (third.path / "summary.json").unlink()
    third.write_failure("the loss became nan at epoch 0, step 3; training diverged at learning rate 1: lower it")
    found = scores_of("digits", "smoke", store)
    assert found["label_smoothing"] == [0.25] * len(METHODS["label_smoothing"])
    assert found["hint"] == [0.125, 0.125, None, 0.125]
    third.write_failure("No space left on device")
    again = r"methods .*method=hint .*failed \(No space left on device\); run `repro launch sweeps/methods_tries.yaml "
    with pytest.raises(BadInput, match=again + "preset=smoke data=digits`"):
        scores_of("digits", "smoke", store)


def test_choices_are_written_whole_and_those_of_data_sets_without_tries_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    committed = choose_methods.MODULE.read_text()
    module = tmp_path / "choices.py"
    monkeypatch.setattr(choose_methods, "MODULE", module)
    module.write_text(committed)
    arguments = ["--preset", "smoke", "--runs", str(tmp_path)]
    with pytest.raises(SystemExit, match="no tuning run is done"):
        choose_methods.main(arguments)
    assert module.read_text() == committed
    scores: dict[str, list[float | None]] = {"hint": [None, 0.5, 0.25]}
    monkeypatch.setattr(choose_methods, "scores_of", lambda data, *_: scores if data == "digits" else {})
    choose_methods.main(arguments)
    made = module.read_text()
    assert '    "digits": {  # preset smoke\n        "hint": 1,  # - 50.0 25.0\n    },\n' in made
    kept = committed.index('    "mnist"')
    assert made.endswith(committed[kept:]) and made.startswith(committed[: committed.index('    "digits"')])
    module.write_text(committed.replace("    ", "  "))
    with pytest.raises(SystemExit, match=r"choices.py: differs in form .*; restore it"):
        choose_methods.main(arguments)


OWN = """
from typing import Literal
from torch import Tensor
from repro.distill.divergences import DivergenceObjective

class Own(DivergenceObjective):
    name: Literal["own"] = "own"
    def divergence(self, log_p: Tensor, log_q: Tensor) -> Tensor:
        return 0.5 * (log_p.exp() - log_q.exp()).abs().sum(dim=-1)
"""


def test_runs_of_a_method_as_it_was_are_not_taken_for_those_of_what_it_became(tmp_path: Path) -> None:
    """Run ids hold its name and options only."""
    file, runs = tmp_path / "own.py", tmp_path / "runs"
    file.write_text(OWN)
    remember("own", file, runs)
    file.write_text(OWN.replace("0.5", "0.75"))  # it failed before it learned anything
    remember("own", file, runs)
    run = Store(runs).run("0123456789ab")
    run.path.mkdir()
    run.write_plain_config(run.run_id, {"objective": {"name": "own"}})
    run.write_json("summary.json", {})
    remember("own", file, runs)
    file.write_text(OWN.replace("0.5", "0.25"))
    with pytest.raises(
        BadInput, match=r"own.py: differs from the file that made the runs of own in .*; give the method another name"
    ):
        remember("own", file, runs)
    remember("own", file, tmp_path / "other runs")


SESSION = """
    import sys, torch
    torch.set_num_threads(1)
    from repro.cli import main
    bench = ["bench", "fidelity", "--preset", "smoke", "--runs", "runs"]
    print(main(bench))
    for file in ("none.py", "empty.py", "broken.py", "unfinished.py", sys.argv[1]):
        print(main(bench + ["--method", file]))
    print(main(bench + ["--method", "own.py"]))
    print(main(bench + ["--method", "late.py"]))
    print(main(["bench", "lenet", "--method", "own.py"]))
"""


@pytest.mark.slow
def test_a_file_of_ones_own_earns_a_row(tmp_path: Path) -> None:
    (tmp_path / "own.py").write_text("from __future__ import annotations\n" + OWN)
    (tmp_path / "empty.py").write_text("")
    (tmp_path / "broken.py").write_text("1 / 0")
    (tmp_path / "unfinished.py").write_text(OWN.replace("def divergence", "def divergance").replace('"own"', '"other"'))
    (tmp_path / "late.py").write_text("from repro.config import StudentConfig\n" + OWN.replace('"own"', '"late"'))
    root = Path(__file__).parents[1]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SESSION), str(root / "repro" / "distill" / "divergences.py")],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert lines[:6] == ["2"] * 6 and lines[-3:] == ["0", "2", "2"]
    problems = ["needs --method", "none.py: is not a Python file", "empty.py: defines 0", "ZeroDivisionError"]
    problems += ["Own must define divergence", "divergences.py: defines 6 objectives (brier, "]
    problems += ["late.py: imports the schema of runs (repro.config, "]
    for problem in (*problems, "--method works only with"):
        assert problem in done.stderr
    header, _, row = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines[6:-3]]
    assert row[0] == "own" and len(row) == len(header)
    again = [sys.executable, "-m", "repro", "bench", "fidelity", "--preset", "smoke", "--runs", "runs"]
    again += ["--method", "own.py", "--json"]
    found = subprocess.run(again, capture_output=True, cwd=tmp_path, env=environment, check=True)
    assert json.loads(found.stdout)["fidelity"] == dict(zip(header, row, strict=True))
    assert 0 <= float(row[header.index("accuracy %")].split()[0]) <= 100
