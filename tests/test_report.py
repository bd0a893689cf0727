"""`repro report`: one page, whole, honest, and readable in a real browser."""

import re
import shutil
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_records import SyntheticRecords, Truth, everywhere

from analysis.claims import CLAIMS, Judgement, Part
from analysis.figures import find_figure
from analysis.report import render
from analysis.report.against_paper import Comparison, against_paper
from analysis.report.contents import Contents, gather
from analysis.report.provenance import Deviation, deviations, provenance
from analysis.statistics.intervals import interval
from analysis.statistics.sample import Sample
from analysis.tables import StudyTables
from repro.cli import main
from repro.records import open_records, write_export

pytestmark = pytest.mark.slow

CHROMIUM = shutil.which("chromium")
COMMITTED = Path(__file__).parents[1] / "results" / "report.html"


def world(sweep: str, settings: Mapping[str, Any]) -> Truth:  # noqa: ARG001
    return Truth()


@pytest.fixture(scope="module")
def records() -> SyntheticRecords:
    """Two optimizers at preset short: Figure 6a in part; C10 can be judged, most claims can not."""
    return SyntheticRecords(examples=200).add("optimizer", world, only={"epochs": 300, "trial": [0, 1]})


@pytest.fixture(scope="module")
def contents(records: SyntheticRecords) -> Contents:
    return gather(records)


@pytest.fixture(scope="module")
def page(contents: Contents) -> str:
    return render("page.html.j2", contents)


class Links(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.targets: set[str] = set()
        self.ids: list[str] = []
        self.loaded: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        if tag == "a":
            self.targets.add(found["href"] or "")
        elif found.get("href") or found.get("src"):
            self.loaded.append(found.get("href") or found.get("src") or "")
        if found.get("id"):
            self.ids.append(found["id"] or "")
        if tag not in ("meta", "link", "img", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_needs_no_network_and_all_its_links_lead_somewhere(page: str) -> None:
    links = Links(page)
    assert not links.open and len(links.ids) == len(set(links.ids))
    assert all(source.startswith("data:") for source in links.loaded)
    assert not re.search(r"url\(|@import|fetch\(", page)
    inner = {target[1:] for target in links.targets if target.startswith("#")}
    assert inner <= set(links.ids)
    assert any(target.startswith("run-") for target in inner)


def test_every_claim_is_there_and_none_is_supported_by_what_was_not_run(page: str, contents: Contents) -> None:
    assert {one.claim for one in contents.claims} == set(CLAIMS)
    # C10 alone was run, at preset short; at the paper's nothing was, so that it has no count.
    (counts,) = contents.verdicts.values()
    assert list(contents.verdicts) == ["short"] and sum(counts.values()) == 17 and counts["not run"] == 16
    for one in contents.claims:
        assert f"<td>{one.claim}</td>" in page
        assert one.n or one.verdict == "not run"
    judged = {one.claim for one in contents.claims if one.n}
    assert "C10" in judged and "C1" not in judged
    one_trial = interval(Sample((0,), np.array([0.7125]), None))
    part = Part("train agreement", "< 0", one_trial, "inconclusive", ())
    alone = Judgement("C10", "", "short", "inconclusive", 1, (part,), ())
    assert '<td class="number">0.7125</td>' in render("page.html.j2", replace(contents, claims=[alone]))


def test_what_was_not_run_stands_there_with_its_command(page: str, contents: Contents) -> None:
    not_run = page[page.index('id="not-run"') :]
    assert "repro launch sweeps/lenet_mnist.yaml preset=paper" in not_run
    assert "repro launch sweeps/optimizer.yaml" not in not_run
    drawn = [section.anchor for section in contents.sections if section.pictures]
    assert drawn[0] == "figure_6a" and not any(name.startswith(("figure", "table")) for name in drawn[1:])
    picture = contents.sections[[section.anchor for section in contents.sections].index("figure_6a")].pictures[0]
    assert (picture.done, picture.expected) == (4, 18)
    assert picture.commands == ["repro launch sweeps/optimizer.yaml preset=short"]


def test_numbers_stand_beside_the_papers_with_difference_interval_and_runs(
    contents: Contents, records: SyntheticRecords
) -> None:
    picture = next(section for section in contents.sections if section.anchor == "figure_6a").pictures[0]
    rows = {(row.quantity, row.condition): row for row in picture.comparisons}
    one = rows["student: train agreement (%)", "SGD, epochs 300"]
    assert len(one.runs) == 2 and all(records.has(run) for run in one.runs)
    ours = sum(records.record(run).summary["metrics"]["train/agreement"] for run in one.runs) / 2
    assert one.ours.startswith(f"{100 * ours:.1f} ±")
    assert float(one.paper) == pytest.approx(78.95, abs=0.051) and one.source == "Figure 6a (text)"
    assert one.difference == f"{100 * (ours - 0.7895):+.1f}"
    low, high = map(float, one.interval.split(" to "))
    assert low < 100 * ours < high
    assert "2 trials" in one.caution
    assert rows["student: agreement (%)", "SGD, epochs 5000"].ours == "not run"
    assert rows["student minus control: agreement (%)", "Adam, epochs 300"].ours


def test_there_is_no_difference_to_a_value_of_which_the_paper_does_not_say_what_it_is_of() -> None:
    only = {"members": [1], "temperature": [4.0], "trial": [0]}
    tables = StudyTables(SyntheticRecords(examples=50).add("data_recycling_resnet20", world, only=only))
    figure = find_figure("9")
    rows = against_paper(figure, figure.evidence(tables, "short"), [tables("data_recycling_resnet20", "short")])
    done = [row for row in rows if row.runs and row.quantity == "student: agreement (%)"]
    assert len(done) == 3  # both halves, and each
    assert {row.paper for row in done} == {"65.3"} and {row.difference for row in done} == {""}
    assert {row.source for row in done} == {"Figure 9 (table); the paper does not say which split"}


def test_numbers_are_of_the_conditions_that_the_figure_shows() -> None:
    """Figure 3 is of ensembles of five; the study has others too, which stand before them in its table."""
    only = {"policy": ["baseline"], "trial": [0, 1]}
    tables = StudyTables(SyntheticRecords(examples=50).add("augmentation", world, only=only))
    figure = find_figure("3")
    rows = against_paper(figure, figure.evidence(tables, "short"), [tables("augmentation", "short")])
    members = {(row.quantity, len(tables.records.record(run).teachers)) for row in rows for run in row.runs}
    assert {count for _, count in members} == {5}
    assert {quantity for quantity, _ in members} >= {"student: agreement (%)", "teacher: accuracy (%)"}


def rows_beside_the_paper(name: str, sweep: str, truth: Truth, **only: Any) -> dict[tuple[str, str], Comparison]:
    """The rows of a figure, from a world in which no condition makes a difference."""
    tables = StudyTables(SyntheticRecords(examples=400).add(sweep, everywhere(truth), only={"trial": [0, 1], **only}))
    figure = find_figure(name)
    rows = against_paper(figure, figure.evidence(tables, "short"), [tables(sweep, "short")])
    return {(row.quantity, row.condition): row for row in rows}


def test_a_condition_in_which_two_panels_meet_is_listed_once_and_the_paper_says_nothing_of_the_control() -> None:
    only = {"members": [3], "temperature": [4.0], "split": ["both"]}
    rows = rows_beside_the_paper("4", "data_recycling", Truth(None, 0.8), **only)
    agreement = [row for row in rows.values() if row.runs and "agreement" in row.quantity]
    assert [(row.quantity, row.paper, row.difference) for row in agreement] == [
        ("student: agreement (%)", "< 85.0", ""),
        ("student minus control: agreement (%)", "", ""),
        ("independent control: agreement (%)", "", ""),
    ]
    assert {row.condition for row in agreement} == {"temperature 4, student on both, members 3"}


@pytest.mark.parametrize(("agreement", "where"), [(0.7, "outside"), (0.85, "within"), (0.95, "outside")])
def test_ours_lies_outside_of_bounds_on_either_side(agreement: float, where: str) -> None:
    truth = Truth(train_agreement=agreement)
    rows = rows_beside_the_paper("5", "augmentation", truth, policy=["rotation"], members=[1])
    (row,) = (row for row in rows.values() if row.runs)
    assert (row.paper, row.difference) == ("80.0 to 90.0", where)


@pytest.mark.parametrize(("agreement", "where"), [(0.999, "within"), (0.95, "outside")])
def test_where_the_paper_gives_bounds_ours_lies_within_or_outside(agreement: float, where: str) -> None:
    truth = Truth(None, agreement)
    rows = rows_beside_the_paper("2", "lenet_mnist", truth, pool=[1.0])
    most = rows["student: agreement (%)", "pool 1"]
    assert (most.paper, most.source, most.difference) == ("> 99.0", "Figure 2 (text)", where)
    teacher = rows["teacher: accuracy (%)", "pool 1"]
    assert (teacher.paper, teacher.difference) == ("84.0 to 86.0", "outside")  # these teachers are right on 80 %
    assert float(teacher.ours.split(" ")[0]) < 83


def test_what_the_records_lack_of_a_student_that_is_done_is_not_called_not_run() -> None:
    """As its teacher's accuracy, after copying only a sweep's own runs from elsewhere."""
    records = SyntheticRecords(examples=50).add("lenet_mnist", world, only={"pool": [1.0], "trial": [0]})
    for run_id in [run_id for run_id in records.ids() if records.record(run_id).kind == "teacher"]:
        del records.made[run_id], records.logits[run_id]
    tables, figure = StudyTables(records), find_figure("2")
    rows = against_paper(figure, figure.evidence(tables, "short"), [tables("lenet_mnist", "short")])
    found = {row.condition: row.ours for row in rows if row.quantity == "teacher: accuracy (%)"}
    assert found.pop("pool 1") == "not in the records" and set(found.values()) == {"not run"}


def test_of_several_values_of_the_paper_the_best_source_counts_and_a_number_before_a_bound() -> None:
    policies = ["baseline_tau4", "mixup_tau4"]
    rows = rows_beside_the_paper("3", "augmentation", Truth(0.74, 0.8), policy=policies, members=[5])
    tempered, mixed = (rows["student: agreement (%)", name] for name in ("Baseline, τ = 4", "MixUp, τ = 4"))
    assert (tempered.paper, tempered.source) == ("84.5", "Figure 3 (text)")  # its plot shows 83.5
    assert (mixed.paper, mixed.source) == ("85.5", "Figure 3 (plot)")  # its text says at most 86


def test_the_cost_of_a_figure_is_that_of_its_students_and_their_teachers_each_once(contents: Contents) -> None:
    picture = next(section for section in contents.sections if section.anchor == "figure_6a").pictures[0]
    assert picture.provenance is not None
    assert picture.provenance.runs == contents.totals.runs == 4 + 2  # SGD and Adam in two trials, which share a teacher
    assert picture.provenance.hours == pytest.approx(6 / 3600)  # a second each
    twice = provenance([contents.runs[0], contents.runs[0]], {})
    assert twice.runs == 1 and twice.hours == pytest.approx(1 / 3600)


def test_departures_from_the_paper_are_read_off_the_configs(contents: Contents) -> None:
    run = next(run for run in contents.runs if run.teachers)
    settings = {"trial": 0, "optimizer": run.config["optimizer"]["name"], "epochs": 300}
    found = {one.key: one for one in deviations(run, "optimizer", settings)}
    assert found["epochs"] == Deviation("epochs", "300", "18")
    assert found["teachers.epochs"].paper == "200"
    assert found["data.train.size"] == Deviation("data.train.size", "all", "10000")
    assert not {"seed", "evaluate_every", "teachers.seed"} & set(found)
    assert "images distilled on (as found in the data files)" in found  # the synthetic runs say 1,000


def test_code_from_no_git_checkout_is_named_by_its_content(contents: Contents) -> None:
    """As of a package that was installed, or unpacked from an archive."""
    run = contents.runs[0]
    codes: list[dict[str, Any]] = [
        {"commit": None, "dirty": None, "content": "0123456789ab"},
        {"commit": "a" * 40, "dirty": True, "content": "0123456789ab"},
        {"commit": "b" * 40, "dirty": False},
    ]
    attempts = [{**run.attempts[0], "code": code} for code in codes]
    run = replace(run, attempts=attempts)
    assert provenance([run], {}).commits == ["aaaaaaa*", "bbbbbbb", "no commit (content 0123456789ab)"]
    assert '<td class="number">none</td></tr>' in render("page.html.j2", replace(contents, runs=[run]))


@pytest.mark.slow
def test_runs_with_differing_copies_have_their_own_place(records: SyntheticRecords, page: str, tmp_path: Path) -> None:
    again = SyntheticRecords(seed=1, examples=200).add("optimizer", world, only={"epochs": 300, "trial": [0]})
    for name, source in (("first", records), ("second", again)):
        write_export(source, [(run_id, "") for run_id in again.ids()], tmp_path / f"{name}.npz", examples=False)
    found = gather(open_records(tmp_path))
    assert {one.run_id for one in found.disagreements} == set(again.ids())
    assert {(one.first, one.other) for one in found.disagreements} == {("first.npz", "second.npz")}
    shown = render("page.html.j2", found)
    assert 'id="disagreements"' in shown and Links(shown).targets <= {f"#{name}" for name in Links(shown).ids} | {
        "https://arxiv.org/abs/2106.05945"
    }
    assert f"| {again.ids()[0]} | first.npz | second.npz |" in render("summary.md.j2", found)
    assert "differing" not in page


def test_text_from_records_is_escaped(contents: Contents) -> None:

    evil = replace(contents, source="<script>alert(1)</script>")
    assert "<script>alert" not in render("page.html.j2", evil)


def test_the_command_writes_page_and_summary_and_an_empty_store_is_all_not_run(tmp_path: Path) -> None:
    assert main(["report", "--runs", str(tmp_path / "none"), "--out", str(tmp_path)]) == 0
    summary = (tmp_path / "report.md").read_text()
    assert summary.count("| not run |") >= 17 + 5
    assert "supported" not in summary.replace("not supported", "")
    assert "17" in (tmp_path / "report.html").read_text()


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="Debian's chromium is not installed")
@pytest.mark.parametrize("committed", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_a_browser_shows_it_without_error_and_without_overflow(
    page: str, tmp_path: Path, width: int, committed: bool
) -> None:
    """A report of few records, and the one that is committed as the state of the evidence."""
    playwright = pytest.importorskip("playwright.sync_api")
    path = COMMITTED if committed else tmp_path / "report.html"
    if not committed:
        path.write_text(page)
    some_run = re.search(r'id="(run-[0-9a-f]{12}[^"]*)"', path.read_text())
    assert some_run is not None
    errors: list[str] = []
    requests: list[str] = []
    with playwright.sync_playwright() as driver:
        # The sandbox needs rights that a container's root has not; the page is our own.
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        view = browser.new_page(viewport={"width": width, "height": 900})
        view.on("pageerror", lambda error: errors.append(str(error)))
        view.on("console", lambda message: errors.append(message.text) if message.type == "error" else None)
        view.on("request", lambda request: requests.append(request.url))
        view.goto(path.as_uri())
        for state in ("closed", "open"):
            assert view.evaluate("document.documentElement.scrollWidth") <= width, state
            view.evaluate("document.querySelectorAll('details').forEach((part) => { part.open = true })")
        assert view.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
        assert view.evaluate("document.images.length") >= 2
        view.evaluate(f"location.hash = '#{some_run[1]}'")
        assert view.evaluate("document.querySelector(':target') !== null")
        browser.close()
    assert not errors
    assert all(url.startswith(("file:", "data:")) for url in requests)
