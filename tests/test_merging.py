"""Several teachers as one: weights, disjoint classes, and what the engine and the records make of it."""

import functools
from pathlib import Path

import numpy as np
import pytest
import torch
from runs import SMALL, runner, small_student, small_teacher
from scipy import special
from torch import nn

from repro.config import DataConfig, Selection, StudentConfig, parse_config
from repro.data.dataset import LabeledData
from repro.distill.disjoint_classes import DisjointClasses
from repro.distill.ensemble import Ensemble, ensemble_logits
from repro.distill.hint import Hint
from repro.distill.weighted_mean import WeightedMean
from repro.errors import BadInput
from repro.launch.local import run_here
from repro.launch.plan import examples_of, parents_first
from repro.launch.request import Request
from repro.records.export import ExportFile, write_export
from repro.records.folder import RunFolder
from repro.runner import Runner
from repro.training.examples import select_from
from repro.training.trainer import Trainer

LOGITS = 3 * torch.randn(2, 4, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
LOW, HIGH = (0, 1, 2, 3, 4), (5, 6, 7, 8, 9)


def test_weighted_mean_agrees_with_numpy_and_with_the_ensemble_where_weights_are_equal() -> None:
    merged = WeightedMean(weights=(0.75, 0.25)).merge(LOGITS, ())
    p = special.softmax(LOGITS.numpy(), axis=-1)
    np.testing.assert_allclose(merged.exp().numpy(), 0.75 * p[0] + 0.25 * p[1])
    torch.testing.assert_close(WeightedMean(weights=(0.5, 0.5)).merge(LOGITS, ()), ensemble_logits(LOGITS))
    sure = torch.tensor([[[300.0, 0.0]], [[300.0, 0.0]]])
    assert WeightedMean(weights=(0.5, 0.5)).merge(sure, ()).tolist() == [[0.0, -300.0]]


def test_teachers_that_compute_in_bfloat16_are_merged_in_float32() -> None:
    members = [nn.Linear(5, 10) for _ in range(3)]
    inputs = 4 * torch.randn(6, 5)
    weights = (0.6, 0.3, 0.1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = torch.stack([member(inputs) for member in members])
        merge = functools.partial(WeightedMean(weights=weights).merge, known=())
        merged = Ensemble(members, merge)(inputs)[0]
    assert logits.dtype == torch.bfloat16
    p = special.softmax(logits.detach().double().numpy(), axis=-1)
    np.testing.assert_allclose(merged.exp().numpy(), np.tensordot(weights, p, axes=1), rtol=1e-4)


def test_disjoint_classes_by_hand() -> None:
    """Teacher 0 knows classes 0 and 3, teacher 1 knows 1 and 2; what they say of others does not count."""
    logits = torch.tensor([[[4.0, 90.0, -90.0, 2.0]], [[50.0, -1.0, 2.0, 7.0]]])
    merged = DisjointClasses().merge(logits, ((0, 3), (1, 2)))
    assert merged.tolist() == [[1.0, -1.5, 1.5, -1.0]]


def test_among_a_teachers_own_classes_the_merged_target_is_its_own() -> None:
    known = ((0, 2, 5), (1, 3, 4))
    merged = DisjointClasses().merge(LOGITS, known)
    for logits, classes in zip(LOGITS, known, strict=True):
        own = [list(classes)]
        torch.testing.assert_close(merged[:, own[0]].softmax(dim=1), logits[:, own[0]].softmax(dim=1))


def test_for_estimates_of_cost_all_classes_have_the_same_size() -> None:
    assert [examples_of(expert(classes)) for classes in (None, LOW, (3,))] == [200, 100, 20]  # type: ignore[arg-type]


def test_a_selection_of_classes_is_that_part_of_the_selection_without(digits: LabeledData) -> None:
    whole, low, high = (
        select_from(Selection(dataset=SMALL, size=101, classes=classes), {SMALL: digits})
        for classes in (None, LOW, HIGH)
    )
    assert set(digits.train.labels[low].tolist()) == set(LOW)
    assert torch.equal(torch.cat([low, high]).sort().values, whole) and abs(len(low) - len(high)) < 10
    with pytest.raises(BadInput, match=r"none of the images is of classes \(9,\)"):
        select_from(Selection(dataset=SMALL, size=1, seed=1, classes=(9,)), {SMALL: digits})


@pytest.mark.parametrize(
    ("classes", "problem"),
    [
        ((1, 0), r"ascending, each named once, not \[1, 0\]"),
        ((1, 1), "each named once"),
        ((9, 10), "digits has the classes 0 to 9"),
        (tuple(range(10)), "classes lists every class of digits: leave it out"),
    ],
)
def test_classes_that_make_no_part_are_refused(classes: tuple[int, ...], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Selection(dataset=SMALL, classes=classes)


def expert(classes: tuple[int, ...] | None, seed: int = 0, **changes: object) -> object:
    return small_teacher(
        data=DataConfig(train=Selection(dataset=SMALL, size=200, classes=classes)), seed=seed, **changes
    )


def student(*teachers: object, **changes: object) -> StudentConfig:
    return small_student(**{"teachers": teachers, "epochs": 1} | changes)


def test_merges_that_do_not_fit_their_teachers_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the weights of teachers add up to 1\.1, not to 1"):
        WeightedMean(weights=(0.5, 0.6))
    with pytest.raises(ValueError, match=r"3 weights were given for 2 teachers"):
        student(expert(None), expert(None, 1), merge=WeightedMean(weights=(0.5, 0.25, 0.25)))
    with pytest.raises(ValueError, match=r"class 4 is known to several teachers; set each one's data\.train\.classes"):
        student(expert(LOW), expert((4, *HIGH)), merge=DisjointClasses())
    with pytest.raises(ValueError, match="no teacher knows class 9"):
        student(expert(LOW), expert(HIGH[:-1]), merge=DisjointClasses())


def test_a_merge_is_part_of_the_run_id() -> None:
    merged = student(expert(None), expert(None, 1), merge=WeightedMean(weights=(0.5, 0.5)))
    assert merged.run_id != student(expert(None), expert(None, 1)).run_id
    assert parse_config(merged.model_dump(mode="json")) == merged


@pytest.mark.parametrize("objective", [None, Hint(weight=0.1)])
def test_a_student_learns_from_the_merged_teacher(digits: LabeledData, objective: Hint | None) -> None:
    """The first step's loss and the metrics are those of the merged logits; hidden layers are each teacher's own."""
    changes = {} if objective is None else {"objective": objective}
    config = student(expert(LOW), expert(HIGH, 1), merge=DisjointClasses(), **changes)
    networks = []
    for seed in (5, 6):
        torch.manual_seed(seed)
        networks.append(config.model.build(10, SMALL.input_shape))
    trainer = Trainer(config, {SMALL: digits}, Ensemble(networks, config.merging), torch.device("cpu"))
    images = digits.test.inputs.float() / 127.5 - 1
    with torch.no_grad():
        low, high = (network.eval()(images) for network in networks)
    low, high = low[:, :5] - low[:, :5].mean(dim=1, keepdim=True), high[:, 5:] - high[:, 5:].mean(dim=1, keepdim=True)
    expected = torch.cat([low, high], dim=1)
    assert trainer.test_set.teacher_logits is not None
    torch.testing.assert_close(
        trainer.test_set.teacher_logits.softmax(dim=1), expected.softmax(dim=1), rtol=1e-4, atol=1e-6
    )
    trainer.advance(lambda: False)
    result = trainer.result()
    agreement = (result.tensors["predictions"]["test_logits"].argmax(dim=1) == expected.argmax(dim=1)).double().mean()
    assert result.metrics["test/agreement"] == pytest.approx(agreement.item(), abs=0.005)


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> tuple[Runner, list[StudentConfig]]:
    """Two trials of teachers of disjoint classes, merged."""
    work = runner(tmp_path_factory.mktemp("runs"))
    students = [
        student(expert(LOW, seed, epochs=2), expert(HIGH, seed + 1, epochs=2), merge=DisjointClasses(), seed=seed)
        for seed in (0, 2)
    ]
    run_here(parents_first([Request("merged", config) for config in students]), work)
    return work, students


def test_records_compare_students_with_merged_teachers_as_the_runs_saw_them(
    work: tuple[Runner, list[StudentConfig]], tmp_path: Path
) -> None:
    runs = RunFolder(work[0].store)
    ids = [config.run_id for config in work[1]]
    own, other = (runs.record(run_id).teacher_key for run_id in ids)
    metrics = runs.record(ids[0]).summary["metrics"]
    pair = runs.pair(ids[0], own)
    assert pair is not None and pair.agreement == pytest.approx(metrics["test/agreement"])
    assert pair.kl == pytest.approx(metrics["test/kl"], rel=1e-5)
    control = runs.pair(ids[0], other)
    assert control is not None and control != pair
    scores = runs.scores(own)
    assert scores is not None and scores != runs.scores("+".join(teacher.run_id for teacher in work[1][0].teachers))
    write_export(runs, [(run_id, "") for run_id in ids], tmp_path / "records.npz")
    export = ExportFile(tmp_path / "records.npz")
    assert export.scores(own) == scores and export.pair(ids[0], other) == control
    np.testing.assert_array_equal(export.predictions(own).top_class, runs.predictions(own).top_class)  # type: ignore[union-attr]


def test_a_teacher_of_some_classes_never_says_another(work: tuple[Runner, list[StudentConfig]]) -> None:
    expert_of_low = work[1][0].teachers[0].run_id
    said = RunFolder(work[0].store).predictions(expert_of_low)
    assert said is not None and set(said.top_class.tolist()) <= set(LOW)
