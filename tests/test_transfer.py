"""Starts from a finished run's trunk, and trunks that stay as they are."""

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from prepared_arrays import arrays_for, write
from runs import SMALL, assert_goes_on_to_the_bit, lenet_teacher, runner, small_student, small_teacher
from safetensors import safe_open
from torch import Tensor, nn

from repro.config import DataConfig, Selection, TrainingConfig
from repro.config.override import override
from repro.data.dataset import LabeledData
from repro.data.prepared import CIFAR10, CIFAR100, EMNIST
from repro.distill.ensemble import Ensemble
from repro.distill.hint import Hint
from repro.distill.initialization import Interpolated, Pretrained, Random
from repro.distill.mutual_learning import MutualLearning
from repro.errors import BadInput
from repro.experiments.transfer import Transfer
from repro.launch.local import run_here
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.models.preresnet import PreResNet
from repro.models.resnet import ResNet
from repro.models.vgg import VGG
from repro.optimization.optimizers import SGD
from repro.optimization.schedules import Constant
from repro.training.start import build_network, initial_network, to_training_mode
from repro.training.trainer import Trainer

CPU = torch.device("cpu")
SOURCE = small_teacher(seed=7, data=DataConfig(train=Selection(dataset=SMALL, size=100, seed=1)), epochs=1)
FROZEN: dict[str, Any] = {"init": Pretrained(source=SOURCE), "frozen_trunk": True, "epochs": 2}


@pytest.fixture(scope="module")
def source(digits: LabeledData) -> nn.Module:
    """A trained network with BatchNorm statistics of its own."""
    trainer = Trainer(SOURCE, {SMALL: digits}, None, CPU)
    trainer.advance(lambda: False)
    return trainer.network


@pytest.fixture(scope="module")
def teacher() -> Ensemble:
    torch.manual_seed(3)
    return Ensemble([build_network(small_teacher())])


def open_trainer(config: TrainingConfig, digits: LabeledData, teacher: Ensemble | None, source: nn.Module) -> Trainer:
    return Trainer(config, {SMALL: digits}, teacher, CPU, source=source)


def parts(network: nn.Module) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Copies of all parameters and buffers: of the trunk, of the classifier."""
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    return tuple(  # type: ignore[return-value]
        {name: tensor for name, tensor in state.items() if name.startswith("classifier.") == of_classifier}
        for of_classifier in (False, True)
    )


def equal(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


def test_a_pretrained_start_is_the_sources_trunk_under_a_random_classifier(source: nn.Module) -> None:
    config = small_student(init=Pretrained(source=SOURCE))
    trunk, classifier = parts(initial_network(config, None, source))
    assert equal(trunk, parts(source)[0])
    assert any("running_var" in name for name in trunk)
    random = small_student(init=Random())
    assert equal(classifier, parts(initial_network(random, None))[1])
    assert not torch.equal(classifier["classifier.weight"], parts(source)[1]["classifier.weight"])


def test_the_source_may_have_other_classes_and_is_left_alone() -> None:
    model = PreResNet(depth=8)
    old, new = (DataConfig(train=Selection(dataset=dataset)) for dataset in (CIFAR100(), CIFAR10()))
    config = small_teacher(data=new, model=model, init=Pretrained(source=small_teacher(data=old, model=model)))
    final = build_network(config.init.source)  # type: ignore[attr-defined]
    before = copy.deepcopy(final.state_dict())
    started = initial_network(config, None, final)
    assert equal(parts(started)[0], parts(final)[0])
    assert started.classifier.weight.shape == (10, 64)  # type: ignore[union-attr]
    with torch.no_grad():
        started.stem.weight.zero_()  # type: ignore[union-attr, operator]
    assert equal(before, dict(final.state_dict()))


@pytest.mark.parametrize("micro_batch_size", [None, 8])
def test_a_frozen_trunk_is_the_same_to_the_bit_after_training(
    digits: LabeledData, teacher: Ensemble, source: nn.Module, micro_batch_size: int | None
) -> None:
    trainer = open_trainer(small_student(**FROZEN, micro_batch_size=micro_batch_size), digits, teacher, source)
    start = parts(trainer.network)
    while not trainer.finished:
        trainer.advance(lambda: False)
        trainer.row()
    trunk, classifier = parts(trainer.network)
    assert equal(trunk, parts(source)[0])
    assert not any(torch.equal(tensor, start[1][name]) for name, tensor in classifier.items())
    (group,) = trainer.optimizer.param_groups
    assert [id(parameter) for parameter in group["params"]] == [
        id(parameter)
        for parameter in trainer.network.classifier.parameters()  # type: ignore[union-attr]
    ]
    assert trainer.result().counts["parameters"] == 64 * 10 + 10


def test_a_trunk_that_is_not_frozen_is_trained(digits: LabeledData, teacher: Ensemble, source: nn.Module) -> None:
    trainer = open_trainer(small_student(**FROZEN | {"frozen_trunk": False}), digits, teacher, source)
    trainer.advance(lambda: False)
    before = parts(source)[0]
    assert not any(torch.equal(tensor, before[name]) for name, tensor in parts(trainer.network)[0].items())


def test_a_step_on_a_frozen_trunk_is_one_of_a_linear_model_on_its_features(
    digits: LabeledData, source: nn.Module
) -> None:
    """The features in evaluation mode, by hand: BatchNorm with the source's statistics, not with the batch's."""
    options = {"optimizer": SGD(learning_rate=0.5, momentum=0.0, weight_decay=0.1), "schedule": Constant()}
    config = small_teacher(**FROZEN | options | {"batch_size": 200, "epochs": 1})
    trainer = open_trainer(config, digits, None, source)
    classifier = copy.deepcopy(trainer.network.classifier)
    assert isinstance(classifier, nn.Linear)
    trainer.advance(lambda: False)

    body = copy.deepcopy(source).eval()
    body.classifier = nn.Identity()
    images, labels = trainer.examples.inputs, trainer.examples.labels
    with torch.no_grad():
        features = body(images / 127.5 - 1)
    F.cross_entropy(classifier(features), labels).backward()
    for name, parameter in classifier.named_parameters():
        assert parameter.grad is not None
        expected = parameter - 0.5 * (parameter.grad + 0.1 * parameter)
        torch.testing.assert_close(trainer.network.get_parameter(f"classifier.{name}"), expected, rtol=1e-4, atol=1e-6)


def test_dropout_is_off_in_a_frozen_trunk_and_on_in_its_classifier() -> None:
    network = nn.ModuleDict({"trunk": nn.Sequential(nn.Dropout(), nn.BatchNorm1d(2)), "classifier": nn.Dropout()})
    for frozen in (True, False):
        to_training_mode(network, small_teacher(frozen_trunk=frozen))
        modes = [module.training for module in (*network["trunk"].modules(), network["classifier"])]
        assert modes == [not frozen] * 3 + [True]


@pytest.mark.parametrize("model", [PreResNet(depth=8), VGG(), ResNet(depth=18)])
def test_every_network_has_the_classifier_its_model_names(model: Any) -> None:
    with torch.device("meta"):
        network = model.build(7, (3, 32, 32))
    last = [module for module in network.get_submodule(model.classifier).modules() if isinstance(module, nn.Linear)][-1]
    assert last.out_features == 7


def test_interrupted_and_resumed_equals_uninterrupted(
    digits: LabeledData, teacher: Ensemble, source: nn.Module
) -> None:
    assert_goes_on_to_the_bit(lambda: open_trainer(small_student(**FROZEN), digits, teacher, source), 3)


def test_without_test_images_a_run_is_tested_on_train_images_that_are_held_out(tmp_path: Path) -> None:
    arrays = arrays_for(EMNIST, train=60)
    (tmp_path / "no data").mkdir()
    write(tmp_path / "no data", EMNIST, {name: array for name, array in arrays.items() if name.endswith("train")})
    train = Selection(dataset=EMNIST(letters=True), size=20)
    config = lenet_teacher(data=DataConfig(train=train, validation=10), epochs=1)
    runner(tmp_path).make(config, "run")
    with safe_open(tmp_path / config.run_id / "predictions.safetensors", "pt") as file:
        assert file.get_tensor("test_labels").shape == (10,) and file.get_tensor("test_labels").min() >= 10
    with pytest.raises(BadInput, match="has no test images: it can only be a pool, unless"):
        runner(tmp_path).check([lenet_teacher(data=DataConfig(train=train))])


def test_what_cannot_be_is_refused_in_one_line() -> None:
    with pytest.raises(BadInput, match="a source of the run's own architecture: their models differ"):
        override(small_student(init=Pretrained(source=SOURCE)), {"init.source.model.depth": 14})
    with pytest.raises(BadInput, match=r"the source's data do not fit: digits has images \(1, 9, 9\), digits has"):
        override(small_student(init=Pretrained(source=SOURCE)), {"init.source.data.train.dataset.image_size": 9})
    with pytest.raises(ValueError, match="endpoint 'initial' needs a teacher whose own init is random"):
        teacher = small_teacher(init=Pretrained(source=SOURCE))
        small_student(init=Interpolated(weight=0.5, endpoint="initial"), teachers=(teacher,))
    with pytest.raises(ValueError, match="frozen_trunk does not work with hint, which trains more than a classifier"):
        small_student(frozen_trunk=True, objective=Hint())
    with pytest.raises(ValueError, match="frozen_trunk does not work with mutual_learning"):
        small_student(frozen_trunk=True, objective=MutualLearning())
    with pytest.raises(BadInput, match=r"config key 'init\.source' is missing"):
        override(small_teacher(), {"init.name": "pretrained"})


def test_a_network_whose_classifier_has_another_name_has_no_trunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PreResNet, "classifier", "fc")
    for config in (small_teacher(frozen_trunk=True), small_teacher(init=Pretrained(source=SOURCE))):
        with pytest.raises(BadInput, match="model preresnet has no submodule 'fc', so its trunk"):
            runner(tmp_path).check([small_teacher(), config])


def test_a_trunk_is_part_of_the_run_id_only_where_it_is_asked_for() -> None:
    plain = small_student()
    assert plain.source is None and plain.parents() == plain.teachers
    assert small_student(frozen_trunk=False).run_id == plain.run_id
    others = [small_student(frozen_trunk=True), small_student(init=Pretrained(source=SOURCE))]
    others.append(small_student(init=Pretrained(source=SOURCE.model_copy(update={"seed": 8}))))
    assert len({config.run_id for config in (plain, *others)}) == 4
    assert others[1].parents() == (*plain.teachers, SOURCE)


def test_the_source_is_made_first_and_its_weights_stand_in_the_record(tmp_path: Path) -> None:
    config = Transfer(preset="smoke", trunk="distilled", weights="frozen", loss="teacher").config()
    plan = parents_first([Request("transfer", config)])
    assert config.source is not None
    order = [request.run_id for request in plan]
    supervised, distilled = config.source.parents()[0].run_id, config.source.run_id
    assert order.index(supervised) < order.index(distilled) < order.index(config.run_id) == len(order) - 1 == 3
    run_here(plan, work := runner(tmp_path))
    ours, theirs = (work.store.run(run_id).weights() for run_id in (config.run_id, distilled))
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]) != name.startswith("classifier."), name
