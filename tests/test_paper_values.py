"""The paper's values: typed, sourced, and about conditions that our studies have."""

import math
from pathlib import Path

import pytest

from analysis.paper import PaperValue, paper_table, paper_values
from repro.errors import BadInput
from repro.launch.sweep import all_sweeps, find_sweep, sweep_studies

VALUES = paper_values()
SWEEPS = {path.stem for path in all_sweeps()}
WITHOUT_NUMBERS = {"teacher_distributions", "capacity_resnet20", "capacity_resnet56"}
"""Figure 8 is a picture; of Figure 12 the paper tells a difference, which its caption repeats."""


def test_every_sweep_of_the_paper_has_values() -> None:
    of_paper = {name for name in SWEEPS if not sweep_studies(find_sweep(name), {})[0].figures.startswith("none")}
    assert of_paper - {value.sweep for value in VALUES} <= WITHOUT_NUMBERS
    assert len(of_paper) > 12


def test_every_figure_and_table_with_numbers_is_there() -> None:
    assert {value.figure for value in VALUES} == {
        *("1a", "1b", "2", "3", "4", "5", "6a", "6b", "7", "9", "10", "13", "14", "Table 1", "Table 2")
    }


@pytest.mark.parametrize("sweep", sorted({value.sweep for value in VALUES} & SWEEPS))
def test_values_are_about_conditions_of_the_study(sweep: str) -> None:
    conditions = [point.settings() for point in sweep_studies(find_sweep(sweep), {})]
    for value in VALUES:
        if value.sweep != sweep:
            continue
        assert any(value.settings.items() <= condition.items() for condition in conditions), value


@pytest.mark.parametrize(
    ("sweep", "quantities"),
    [
        ("ensemble_size", ("student_accuracy", "teacher_accuracy", "student_agreement")),
        ("vgg", ("student_accuracy", "student_nll", "student_agreement")),
        ("loss_mix", ("student_accuracy", "student_agreement")),
        ("shared_init", ("student_agreement", "student_kl", "cka_stage1", "cka_stage2", "cka_stage3")),
        ("text", ("teacher_accuracy", "student_accuracy", "student_agreement", "student_kl")),
        ("imagenet", ("teacher_accuracy", "student_accuracy", "student_agreement", "student_kl")),
    ],
)
def test_tables_and_curves_are_complete(sweep: str, quantities: tuple[str, ...]) -> None:
    for point in sweep_studies(find_sweep(sweep), {"trial": 0}):
        for quantity in quantities:
            fitting = [
                v
                for v in VALUES
                if (v.sweep, v.quantity) == (sweep, quantity) and v.settings.items() <= point.settings().items()
            ]
            assert len(fitting) == 1 and math.isfinite(fitting[0].value), (point.label(), quantity)


def test_values_lie_where_they_can() -> None:
    for value in VALUES:
        given = [x for x in (value.value, value.low, value.high) if not math.isnan(x)]
        assert given and all(x >= 0 for x in given)
        if value.quantity.endswith(("accuracy", "agreement")) or value.quantity.startswith("cka"):
            assert all(x <= 1 for x in given)
            assert math.isnan(value.std) or value.std < 0.05


def find(figure: str, quantity: str, **settings: object) -> PaperValue:
    fitting = [v for v in VALUES if (v.figure, v.quantity, v.settings) == (figure, quantity, settings)]
    assert len(fitting) >= 1, (figure, quantity, settings)
    return fitting[0]


def test_numbers_of_every_kind_are_read() -> None:
    table = find("Table 1", "student_agreement", start="random")
    assert (table.value, table.std, table.source) == (0.77174, 0.00352, "table")
    assert table.reference == "Table 1 (table)"
    plot = find("10", "teacher_accuracy", members=12)
    assert plot.value == 0.776 and plot.reference == "Figure 10 (plot)"
    bound = find("2", "student_agreement", pool=1.0)
    assert math.isnan(bound.value) and bound.low == 0.99 and math.isnan(bound.high)
    printed = find("9", "student_agreement", depth=20, members=1, temperature=4.0)
    assert printed.reference == "Figure 9 (table)"  # with hundredths of a point, which no eye reads off
    sgd = [find("6a", "train_agreement", optimizer="sgd", epochs=epochs).source for epochs in (300, 1000, 5000)]
    assert sgd == ["text", "plot", "text"]
    frame = paper_table("shared_init").set_index(["quantity", "start"])
    assert frame.loc[("cka_stage3", "teachers_initial"), "std"] == 0.015
    assert paper_table("capacity_resnet20").empty and paper_table("digits").empty


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("- {figure: '1', sweep: x, source: guess, at: {a: [1]}, values: {b: [1.0]}}", "source"),
        ("- {figure: '1', sweep: x, source: plot, at: {a: [1, 2]}, values: {b: [1.0]}}", "different lengths"),
        ("- {figure: '1', sweep: x, source: plot, at: {a: [1]}, values: {b: [high]}}", "values"),
        ("- {figure: '1', sweep: x, source: plot, at: {a: [1]}, values: {}}", "values"),
    ],
)
def test_a_bad_entry_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "values.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=message) as error:
        paper_values(path)
    assert str(path) in str(error.value)
