"""The bench of methods: all of them train, at one budget, with settings chosen on images that are no test images."""

from pathlib import Path
from typing import get_args

import pytest
from runs import runner

from repro.config import StudentConfig
from repro.experiments import methods
from repro.experiments.method_tries import CONTROLS, METHODS, WITHOUT_TEACHER, MethodName
from repro.experiments.methods import MEMBERS, PROTOCOLS, Methods
from repro.launch.local import run_here
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.launch.sweep import find_sweep, read_sweep, sweep_studies


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_at_smoke_with_a_larger_teacher(method: MethodName, root: Path) -> None:
    config = Methods(preset="smoke", data="digits", method=method, teacher="larger").config()
    run_here(parents_first([Request(method, config)]), work := runner(root))
    metrics = work.store.run(config.run_id).read_json("summary.json")["metrics"]
    known = {"test/accuracy", "test/nll", "test/ece", "test/agreement", "test/kl", "train/agreement", "train/kl"}
    assert known | {f"test/cka/{stage}" for stage in ("stage1", "stage2", "hidden")} <= metrics.keys()
    assert 0.0 <= metrics["test/agreement"] <= 1.0


def test_hidden_layers_are_learned_from_three_teachers_and_resnets(root: Path) -> None:
    for data in ("cifar100", "mnist"):
        config = Methods(preset="smoke", data=data, method="hint", teacher="ensemble").config()
        run_here(parents_first([Request(data, config)]), work := runner(root))
        assert work.store.run(config.run_id).is_done()


def test_merged_teachers_share_out_the_labeled_images_and_teach_at_smoke(root: Path) -> None:
    configs = {
        kind: Methods(preset="smoke", data="digits", method="soft_labels", teacher=kind).config() for kind in MEMBERS
    }
    run_here(parents_first([Request(kind, configs[kind]) for kind in ("weighted", "disjoint")]), work := runner(root))
    for kind in ("weighted", "disjoint"):
        assert work.store.run(configs[kind].run_id).is_done()
    assert configs["weighted"].teachers == configs["ensemble"].teachers
    images = [
        work.store.run(config.run_id).read_json("summary.json")["training_images"]
        for config in configs["disjoint"].teachers
    ]
    assert sum(images) == configs["ensemble"].teachers[0].data.train.size and min(images) >= 20


@pytest.mark.parametrize("key", PROTOCOLS, ids="-".join)
def test_every_run_makes_as_many_passes_as_its_budget_allows(key: tuple[methods.DataName, str]) -> None:
    data, preset = key
    protocol = PROTOCOLS[key]  # type: ignore[index]
    budget = 4 * protocol.epochs * protocol.images
    for method in METHODS:
        for teacher, members in MEMBERS.items():
            config = Methods(data=data, preset=preset, method=method, teacher=teacher).config()  # type: ignore[arg-type]
            size = config.data.train.size
            assert size is not None and len(config.teachers) == members
            assert size == (protocol.labeled if method in CONTROLS else protocol.images)
            networks = getattr(config.objective, "networks", 1)
            passes_per_epoch = size * (3 * networks + (0 if method in CONTROLS else members))
            assert budget - passes_per_epoch < config.epochs * passes_per_epoch <= budget
            assert config.objective.needs_labels == (method in CONTROLS)


def test_settings_are_tried_on_held_out_images_with_the_studys_own_teacher() -> None:
    final = Methods(preset="short", data="digits", method="hint").config()
    tries = [Methods(preset="short", data="digits", method="hint", tuning=number).config() for number in range(4)]
    assert {config.teachers for config in tries} == {final.teachers}
    assert len({config.run_id for config in (*tries, final)}) == 5
    assert final.data.validation is None
    assert {config.data.validation for config in tries} == {300}
    assert {config.data.train for config in tries} == {final.data.train}


def test_the_study_takes_what_was_chosen_and_else_the_authors_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods, "CHOICES", {"digits": {"hint": 2}})
    for data, expected in (("digits", METHODS["hint"][2]), ("cifar100", METHODS["hint"][0])):
        config = Methods(preset="short", data=data, method="hint").config()  # type: ignore[arg-type]
        assert config.objective == expected.objective
    monkeypatch.setattr(methods, "CHOICES", {"digits": {"logit_mse": 1}})
    config = Methods(preset="short", data="digits", method="logit_mse").config()
    assert isinstance(config, StudentConfig) and config.optimizer.learning_rate == 0.05 * 64 / 128 * 0.5


def test_the_sweeps_name_every_method_and_give_each_four_tries() -> None:
    for data in ("digits", "mnist", "cifar100"):
        points = sweep_studies(find_sweep(f"methods_{data}"), {})
        assert {point.method for point in points} == set(get_args(MethodName)) - set(WITHOUT_TEACHER)  # type: ignore[attr-defined]
        assert len(points) == 14 * 3 * 3
        tries = read_sweep(find_sweep("methods_tries"), {"data": data, "preset": "short"})
        assert len({request.run_id for request in tries}) == 16 * 4
    online = sweep_studies(find_sweep("methods_online"), {})
    assert {point.method for point in online} == set(WITHOUT_TEACHER)  # type: ignore[attr-defined]


def test_peers_share_the_budget_and_the_control_learns_beside_as_many() -> None:
    epochs = {
        method: Methods(preset="short", method=method).config().epochs
        for method in ("independent", "independent_peers", "independent_exits")
    }
    assert epochs == {"independent": 400, "independent_peers": 200, "independent_exits": 400}
