"""The engine trains on hidden layers, with modules of the objective's own, held-out images and controls."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from runs import SMALL, assert_goes_on_to_the_bit, finished, network, runner, small_student, small_teacher

from repro.config import DataConfig, Selection, StudentConfig
from repro.data.augment_geometric import RandomCrop
from repro.data.dataset import LabeledData, as_input
from repro.data.synthetic import Synthetic
from repro.distill.attention_transfer import AttentionTransfer
from repro.distill.contrastive import Contrastive
from repro.distill.divergences import ForwardCrossEntropy
from repro.distill.ensemble import Ensemble
from repro.distill.hint import Hint
from repro.distill.supervised import LabelSmoothing
from repro.errors import BadInput
from repro.models.base import count_parameters
from repro.models.preresnet import PreResNet, PreResNetNetwork
from repro.optimization.optimizers import SGD
from repro.optimization.schedules import Constant
from repro.surface import make_surface
from repro.training.examples import with_validation
from repro.training.hidden_comparison import HiddenComparison
from repro.training.trainer import Trainer

CPU = torch.device("cpu")


def trained(config: StudentConfig, digits: LabeledData, *members: torch.nn.Module) -> Trainer:
    return finished(Trainer(config, {SMALL: digits}, Ensemble(members), CPU))


def test_student_and_regressor_are_trained_together_like_in_a_plain_loop(digits: LabeledData) -> None:
    """Two teachers of other depths, one step each of two batches: momentum and weight decay by hand."""
    config = small_student(
        teachers=(small_teacher(), small_teacher(seed=5, model=PreResNet(depth=14))),
        objective=Hint(weight=3.0, layers=(("stage3", "stage2"),)),
        optimizer=SGD(learning_rate=0.02, momentum=0.0, weight_decay=1e-2),
        schedule=Constant(),
        epochs=1,
        batch_size=100,
    )
    trainer = trained(config, digits, network(5), network(6, depth=14))
    plain, regressors = network(0), []
    with torch.random.fork_rng():
        torch.manual_seed(config.stream_seed("init"))
        plain = PreResNet(depth=8).build(10, SMALL.input_shape)
        for number in range(2):
            torch.manual_seed(config.stream_seed("objective modules", number))
            regressors.append(torch.nn.Conv2d(64, 32, 1))
    teachers = [network(5).eval(), network(6, depth=14).eval()]

    def maps(net: PreResNetNetwork, images: torch.Tensor, stages: int) -> torch.Tensor:
        x: torch.Tensor = net.stem(images)
        for stage in (net.stage1, net.stage2, net.stage3)[:stages]:
            x = stage(x)
        return x

    parameters = [p for module in (plain, *regressors) for p in module.parameters()]
    rows = torch.randperm(200, generator=torch.Generator().manual_seed(config.stream_seed("order", 0)))
    examples = trainer.examples
    for batch in rows.split(100):
        images = examples.inputs[batch].float() / 127.5 - 1
        with torch.no_grad():
            targets = torch.stack([F.softmax(teacher(images), dim=1) for teacher in teachers]).mean(dim=0)
            theirs = [F.avg_pool2d(maps(teacher, images, 2), 2) for teacher in teachers]
        own = maps(plain, images, 3)
        logits = plain.classifier(plain.head(own).mean(dim=(2, 3)))
        loss = -(targets * F.log_softmax(logits, dim=1)).sum(dim=1).mean()
        for regressor, other in zip(regressors, theirs, strict=True):
            loss = loss + 3.0 / 2 * (0.5 * (regressor(own) - other) ** 2).mean()
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            for p, g in zip(parameters, gradients, strict=True):
                p.sub_(0.02 * (g + 1e-2 * p))
    assert trainer.beside is not None
    for ours, expected in zip([*trainer.network.parameters(), *trainer.beside.parameters()], parameters, strict=True):
        torch.testing.assert_close(ours, expected, rtol=2e-3, atol=2e-4)


def test_what_teachers_are_remembered_to_say_is_what_they_say_of_each_image(digits: LabeledData) -> None:
    config = small_student(teachers=(small_teacher(), small_teacher(seed=5)), objective=Hint())
    trainer = Trainer(config, {SMALL: digits}, Ensemble([network(5), network(6)]), CPU)
    assert isinstance(trainer.beside, HiddenComparison) and trainer.teachers is not None
    assert trainer.beside.remembered is not None
    rows = torch.tensor([150, 3, 77])
    remembered = trainer.beside.remembered.at(rows)
    asked = trainer.beside.view(trainer.teachers, as_input(trainer.examples.inputs[rows]))
    torch.testing.assert_close(remembered, asked, rtol=1e-4, atol=1e-5)


WITH_MODULES = small_student(
    teachers=(small_teacher(), small_teacher(seed=5)),
    augmentation=(RandomCrop(padding=1),),
    objective=Contrastive(embedding=8),
    epochs=2,
)


def test_a_run_with_modules_goes_on_from_its_checkpoint_to_the_bit(digits: LabeledData) -> None:
    members = network(5), network(6)
    ended = assert_goes_on_to_the_bit(lambda: Trainer(WITH_MODULES, {SMALL: digits}, Ensemble(members), CPU), 9)
    assert ended.state_dict()["beside"]


def test_modules_are_no_part_of_the_student_and_do_not_touch_its_random_streams(digits: LabeledData) -> None:
    members = network(5), network(6)
    plain = WITH_MODULES.model_copy(update={"objective": ForwardCrossEntropy()})
    one, other = (Trainer(config, {SMALL: digits}, Ensemble(members), CPU) for config in (WITH_MODULES, plain))
    for name, tensor in one.network.state_dict().items():
        assert torch.equal(tensor, other.network.state_dict()[name]), name
    batches = [next(trainer.batches.epoch(0, 0)) for trainer in (one, other)]
    assert torch.equal(batches[0].inputs, batches[1].inputs)
    result = one.result()
    assert result.counts["parameters"] == count_parameters(other.network)
    assert result.weights.keys() == other.network.state_dict().keys()
    assert other.beside is None and "beside" not in other.state_dict()
    modules = [module.weight for module in one.beside.modules() if isinstance(module, torch.nn.Linear)]  # type: ignore[union-attr]
    assert not torch.equal(modules[0], modules[2])  # each teacher has its own


def test_the_weight_of_the_hidden_layers_counts(digits: LabeledData) -> None:
    def loss_of_first_step(weight: float) -> float:
        config = small_student(objective=AttentionTransfer(weight=weight), epochs=1)
        trainer = Trainer(config, {SMALL: digits}, Ensemble([network(5)]), CPU)
        trainer.advance(lambda: True)
        return trainer.losses[0].item()

    one, two, three = (loss_of_first_step(weight) for weight in (100.0, 200.0, 300.0))
    assert two - one == pytest.approx(three - two, rel=1e-3) and two - one > 1e-3


def test_the_weight_may_change_in_the_course_of_training(digits: LabeledData) -> None:
    class Fading(AttentionTransfer):
        def weight_at(self, progress: float) -> float:
            asked.append(progress)
            return self.weight * (1 - progress)

    asked = list[float]()
    constant, fading = (small_student(objective=kind(weight=100.0)) for kind in (AttentionTransfer, Fading))
    start, end = trained(constant, digits, network(5)), trained(fading, digits, network(5))
    assert asked[0] == 0.0 < asked[-1] < 1.0
    assert asked == sorted(asked)
    assert any(not torch.equal(a, b) for a, b in zip(start.network.parameters(), end.network.parameters(), strict=True))


def test_hidden_layers_do_not_go_with_micro_batches_or_loss_surfaces(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="micro_batch_size does not work with hint"):
        small_student(objective=Hint(), micro_batch_size=8)
    with pytest.raises(BadInput, match="an objective on logits, not hint"):
        make_surface(runner(tmp_path), small_student(objective=Hint()), "this run", 3, 10)


def test_a_control_learns_nothing_of_its_teacher_and_is_compared_with_it(digits: LabeledData) -> None:
    config = small_student(objective=LabelSmoothing(smoothing=0.1), epochs=1)
    one, other = (trained(config, digits, network(seed)) for seed in (5, 6))
    for name, tensor in one.network.state_dict().items():
        assert torch.equal(tensor, other.network.state_dict()[name]), name
    metrics = [trainer.result().metrics for trainer in (one, other)]
    assert metrics[0]["test/accuracy"] == metrics[1]["test/accuracy"]
    assert metrics[0]["test/kl"] != metrics[1]["test/kl"]


def test_held_out_train_images_take_the_place_of_the_test_images(digits: LabeledData) -> None:
    def config(size: int, **data: object) -> StudentConfig:
        selected = DataConfig(train=Selection(dataset=SMALL, size=size), **data)  # type: ignore[arg-type]
        return small_student(data=selected, epochs=1)

    held_out = Trainer(config(900, validation=300), {SMALL: digits}, Ensemble([network(5)]), CPU)
    seen = {image.numpy().tobytes() for image in held_out.examples.inputs}
    validation = [image.numpy().tobytes() for image in held_out.test_set.inputs]  # type: ignore[union-attr]
    train = {image.numpy().tobytes() for image in digits.train.inputs}
    assert len(validation) == 300 and set(validation) <= train and not set(validation) & seen
    assert held_out.test_set.labels is not None
    counts = held_out.test_set.labels.bincount()
    assert counts.max() - counts.min() <= 3  # stratified, as the data set is nearly balanced
    usual = Trainer(config(900), {SMALL: digits}, Ensemble([network(5)]), CPU)
    assert torch.equal(usual.test_set.inputs, digits.test.inputs)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=r"1 of the 300 images .* are trained on; train on at most 900"):
        Trainer(config(901, validation=300), {SMALL: digits}, Ensemble([network(5)]), CPU)
    pool = Selection(dataset=SMALL, size=100, seed=1)
    with pytest.raises(BadInput, match=r"that data\.validation holds out"):
        Trainer(config(900, validation=300, pools=(pool,)), {SMALL: digits}, Ensemble([network(5)]), CPU)
    with pytest.raises(BadInput, match=r"data\.validation holds out all of 1200 images"):
        Trainer(config(1, validation=1200), {SMALL: digits}, Ensemble([network(5)]), CPU)


def test_no_run_that_a_run_learns_from_has_trained_on_its_held_out_images(tmp_path: Path) -> None:
    def data(size: int, **more: object) -> DataConfig:
        return DataConfig(train=Selection(dataset=SMALL, size=size), **more)  # type: ignore[arg-type]

    def student_of(first: int, second: int) -> StudentConfig:
        """The student of a student of a teacher on `first` images; that student learns from `second`."""
        teacher = small_teacher(data=data(first))
        between = small_student(data=data(second), teachers=(teacher,))
        return small_student(data=data(40, validation=300), teachers=(between,))

    work = runner(tmp_path)
    work.check([student_of(900, 900)])
    with pytest.raises(BadInput, match=rf"1 of the 300 images .* by teacher {small_teacher(data=data(901)).run_id},"):
        work.check([student_of(900, 900), student_of(901, 900)])
    with pytest.raises(BadInput, match=r"2 of the 300 images .* by student \w+, from which the run learns"):
        work.check([student_of(900, 902)])
    both = small_student(data=data(901, validation=300), teachers=(small_teacher(data=data(901)),))
    with pytest.raises(BadInput, match=r"1 of the 300 images .* are trained on; train on at most 900"):
        work.check([both])  # its own images are the first to be changed


def test_a_data_set_with_other_options_may_be_of_the_same_images() -> None:
    train, pool = Synthetic(images=80, image_size=8), Synthetic(images=90, image_size=8)
    data = DataConfig(train=Selection(dataset=train, size=40), pools=(Selection(dataset=pool),), validation=10)
    teacher = small_teacher(data=DataConfig(train=Selection(dataset=train, size=40)))
    held_out = small_student(data=data, teachers=(teacher,))
    with pytest.raises(BadInput, match="data set synthetic is trained on with other options, so its images may be"):
        with_validation(held_out, {one: one.load(Path()) for one in (train, pool)})
