"""The engine computes what the config says: against a plain loop that shares nothing with it."""

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from runs import SMALL, finished, lenet_teacher, network, small_student, small_teacher
from test_metrics_cka import hsic_from_formula, ratio

from repro.config import DataConfig, Selection
from repro.data.augment_geometric import RandomCrop
from repro.data.augment_mixing import MixUp
from repro.data.dataset import LabeledData, Split
from repro.data.digits import Digits
from repro.distill.divergences import ForwardCrossEntropy
from repro.distill.ensemble import Ensemble
from repro.distill.initialization import Interpolated
from repro.errors import RunFailed
from repro.models.lenet import LeNet5
from repro.models.preresnet import PreResNet
from repro.models.vgg import VGG
from repro.optimization.optimizers import SGD
from repro.optimization.schedules import Cosine
from repro.training.batches import Batch
from repro.training.evaluation import predict, stage_similarity
from repro.training.examples import NO_LABEL, assemble
from repro.training.hardware import use_exact_kernels
from repro.training.trainer import Trainer

CPU = torch.device("cpu")


def test_training_equals_a_plain_loop_written_from_the_paper(digits: LabeledData) -> None:
    """Cosine per epoch, Nesterov momentum and weight decay by hand, tau^2 cross-entropy, last batch kept."""
    config = small_student(
        objective=ForwardCrossEntropy(temperature=4.0),
        optimizer=SGD(learning_rate=0.02, momentum=0.9, nesterov=True, weight_decay=1e-2),
        schedule=Cosine(final=1e-3),
        epochs=2,
        data=DataConfig(train=Selection(dataset=SMALL)),
        batch_size=500,
    )
    trainer = Trainer(config, {SMALL: digits}, Ensemble([network(5)]), CPU)
    with torch.random.fork_rng():
        torch.manual_seed(config.stream_seed("init"))
        plain = PreResNet(depth=8).build(10, SMALL.input_shape)
    teacher = network(5).eval()
    velocity = [torch.zeros_like(p) for p in plain.parameters()]
    rates = [0.02, 1e-3 + (0.02 - 1e-3) / 2]  # cosine at 0 and at half of the run
    for epoch, rate in enumerate(rates):
        order = torch.randperm(1200, generator=torch.Generator().manual_seed(config.stream_seed("order", epoch)))
        for rows in (order[:500], order[500:1000], order[1000:]):
            images = digits.train.inputs[rows].float() / 127.5 - 1
            with torch.no_grad():
                target = F.softmax(teacher(images) / 4, dim=1)
            loss = -16 * (target * F.log_softmax(plain(images) / 4, dim=1)).sum(1).mean()
            gradients = torch.autograd.grad(loss, list(plain.parameters()))
            with torch.no_grad():
                for p, g, v in zip(plain.parameters(), gradients, velocity, strict=True):
                    g = g + 1e-2 * p
                    v.mul_(0.9).add_(g)
                    p.sub_(rate * (g + 0.9 * v))
    finished(trainer)
    for (name, ours), theirs in zip(trainer.network.named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=2e-4, atol=2e-5, msg=partial("{}: {}".format, name))


def test_a_student_with_its_teachers_seed_shares_neither_start_nor_order_with_it(digits: LabeledData) -> None:
    teacher = Trainer(small_teacher(seed=3), {SMALL: digits}, None, CPU)
    student = Trainer(small_student(seed=3), {SMALL: digits}, Ensemble([network(5)]), CPU)
    weights = [dict(trainer.network.named_parameters()) for trainer in (teacher, student)]
    name = next(key for key, tensor in weights[0].items() if tensor.ndim == 4)
    assert not torch.equal(weights[0][name], weights[1][name])
    orders = [
        torch.cat([batch.indices for batch in trainer.batches.epoch(trainer.config.stream_seed("order", 0), 0)])
        for trainer in (teacher, student)
    ]
    assert orders[0].sort().values.tolist() == orders[1].sort().values.tolist() == list(range(200))
    assert not torch.equal(*orders)


def test_each_epoch_has_an_order_of_its_own_and_no_stream_has_been_drawn_from_before_the_first(
    digits: LabeledData,
) -> None:
    config = small_student(augmentation=(RandomCrop(padding=1),), init=Interpolated(weight=0.5), epochs=2)
    trainer = Trainer(config, {SMALL: digits}, Ensemble([network(5)]), CPU)
    for name in ("augmentation", "objective"):
        fresh = torch.Generator().manual_seed(config.stream_seed(name))
        assert torch.equal(trainer.random[name].get_state(), fresh.get_state()), name
    orders: list[list[int]] = []
    train_step = trainer._train_step

    def watched(micro_batches: Sequence[Batch]) -> None:
        orders[-1].extend(micro_batches[0].indices.tolist())
        train_step(micro_batches)

    trainer._train_step = watched  # type: ignore[method-assign]
    for epoch in range(2):
        orders.append([])
        trainer.advance(lambda: False)
        order = torch.Generator().manual_seed(config.stream_seed("order", epoch))
        assert orders[-1] == torch.randperm(200, generator=order).tolist()
    assert orders[0] != orders[1]


@pytest.mark.parametrize("micro_batch_size", [None, 50])
def test_the_objective_is_told_at_every_step_how_much_of_the_run_is_done(
    digits: LabeledData, micro_batch_size: int | None
) -> None:
    """A weight of the labels that rises from 0.2 to 0.8 over four steps, in which the network all but stands still."""
    config = small_student(
        model=PreResNet(depth=8, norm="layer"),
        objective=ForwardCrossEntropy(alpha=0.2, alpha_final=0.8),
        optimizer=SGD(learning_rate=1e-30),
        epochs=2,
        batch_size=100,
        micro_batch_size=micro_batch_size,
    )
    trainer = Trainer(config, {SMALL: digits}, Ensemble([network(5)]), CPU)
    images, labels = trainer.examples.inputs.float() / 127.5 - 1, trainer.examples.labels
    with torch.no_grad():
        own = F.log_softmax(trainer.network(images), dim=1)
        distances = -(F.softmax(network(5).eval()(images), dim=1) * own).sum(dim=1)
    for epoch in range(2):
        order = torch.Generator().manual_seed(config.stream_seed("order", epoch))
        trainer.advance(lambda: False)
        for step, rows in enumerate(torch.randperm(200, generator=order).split(100), start=2 * epoch):
            alpha = 0.2 + 0.6 * step / 4
            expected = alpha * F.nll_loss(own[rows], labels[rows]) + (1 - alpha) * distances[rows].mean()
            assert trainer.losses[step % 2].item() == pytest.approx(expected.item(), rel=1e-4)


def test_labels_do_not_reach_a_student_that_must_not_see_them(digits: LabeledData) -> None:
    poisoned = LabeledData(Split(digits.train.inputs, (digits.train.labels + 3) % 10), digits.test)
    config = small_student(data=DataConfig(train=Selection(dataset=SMALL)), epochs=1, batch_size=128)
    results = []
    for data in (digits, poisoned):
        trainer = Trainer(config, {SMALL: data}, Ensemble([network(5)]), CPU)
        trainer.advance(lambda: False)
        results.append(trainer.network.state_dict())
    assert all(torch.equal(results[0][name], results[1][name]) for name in results[0])


def test_cached_teacher_logits_give_the_same_student_as_asking_the_teacher_at_every_step(digits: LabeledData) -> None:
    config = small_student(epochs=1)
    cached = Trainer(config, {SMALL: digits}, Ensemble([network(5)]), CPU)
    asking = Trainer(config, {SMALL: digits}, Ensemble([network(5)]), CPU)
    assert cached.loss.teacher_logits is not None
    asking.loss.teacher_logits = None
    for trainer in (cached, asking):
        trainer.advance(lambda: False)
    torch.testing.assert_close(cached.losses, asking.losses, rtol=1e-4, atol=1e-5)


def test_a_student_takes_teachers_of_other_architectures_and_sees_their_mean_probability() -> None:
    dataset = Digits(image_size=28)
    data = dataset.load(Path())
    torch.manual_seed(3)
    members = [LeNet5().build(10, (1, 28, 28)), PreResNet(depth=8).build(10, (1, 28, 28))]
    config = small_student(
        data=DataConfig(train=Selection(dataset=dataset, size=64)),
        teachers=(lenet_teacher(), lenet_teacher(model=PreResNet(depth=8))),
        epochs=1,
    )
    trainer = Trainer(config, {dataset: data}, Ensemble(members), CPU)
    images = data.test.inputs.float() / 127.5 - 1
    with torch.no_grad():
        mean = torch.stack([F.softmax(member.eval()(images).double(), dim=1) for member in members]).mean(0)
    assert trainer.test_set.teacher_logits is not None
    torch.testing.assert_close(trainer.test_set.teacher_logits.double().exp(), mean, rtol=1e-4, atol=1e-6)
    assert trainer.advance(lambda: False)


def test_in_every_micro_batch_dropout_and_the_objective_have_random_streams_of_their_own(digits: LabeledData) -> None:
    draws = []

    def draw(batch: Batch, progress: float, generator: torch.Generator) -> torch.Tensor:  # noqa: ARG001
        draws.extend([torch.rand(1).item(), torch.rand(1, generator=generator).item()])
        return torch.zeros(())

    trainer = Trainer(small_student(micro_batch_size=8), {SMALL: digits}, Ensemble([network(5)]), CPU)
    trainer.loss = draw  # type: ignore[assignment]
    steps = trainer.batches.steps(0, 0, 8, trainer.ranks)
    list(trainer._micro_losses(next(steps)))
    assert len(set(draws)) == len(draws) == 2 * 4


def test_the_loss_of_an_epoch_weighs_every_image_once(digits: LabeledData) -> None:
    trainer = Trainer(small_teacher(), {SMALL: digits}, None, CPU)  # 200 images: 6 batches of 32 and one of 8
    trainer.losses = torch.tensor([1.0] * 6 + [11.0])
    assert trainer.epoch_metrics()["train/loss"] == pytest.approx((192 * 1.0 + 8 * 11.0) / 200)


def test_metrics_of_a_row_are_those_of_the_network_in_evaluation_mode_on_the_whole_set(digits: LabeledData) -> None:
    trainer = Trainer(small_teacher(epochs=1), {SMALL: digits}, None, CPU)
    trainer.advance(lambda: False)
    row = trainer.epoch_metrics()
    with torch.no_grad():
        logits = trainer.network.eval()(digits.test.inputs.float() / 127.5 - 1)
    assert row["test/accuracy"] == pytest.approx((logits.argmax(1) == digits.test.labels).double().mean().item())
    assert row["test/nll"] == pytest.approx(F.cross_entropy(logits.double(), digits.test.labels).item(), rel=1e-5)


def test_evaluation_leaves_training_untouched(digits: LabeledData) -> None:
    config = small_student(augmentation=(RandomCrop(padding=1),), epochs=2)
    losses = []
    for evaluate in (False, True):
        trainer = Trainer(config, {SMALL: digits}, Ensemble([network(5)]), CPU)
        trainer.advance(lambda: False)
        if evaluate:
            trainer.epoch_metrics()
            trainer.result()
        trainer.advance(lambda: False)
        losses.append(trainer.losses)
    assert torch.equal(*losses)


def test_the_train_sample_is_what_training_sees_and_stays_the_same(digits: LabeledData) -> None:
    def images_of(trainer: Trainer) -> torch.Tensor:
        assert isinstance(trainer.train_sample.inputs, torch.Tensor)
        return trainer.train_sample.inputs

    plain = Trainer(small_student(), {SMALL: digits}, Ensemble([network(5)]), CPU)
    assert torch.equal(images_of(plain), plain.examples.inputs[plain.train_sample_indices])
    crops = [
        Trainer(small_student(augmentation=(RandomCrop(padding=2),)), {SMALL: digits}, Ensemble([network(5)]), CPU)
        for _ in range(2)
    ]
    assert torch.equal(images_of(crops[0]), images_of(crops[1]))
    original = crops[0].examples.inputs[crops[0].train_sample_indices] / 255.0
    moved = (images_of(crops[0]) != original).flatten(1).any(1)
    assert moved.double().mean() > 0.8  # 24 of 25 crops move the image
    mixed = Trainer(small_student(augmentation=(MixUp(),)), {SMALL: digits}, Ensemble([network(5)]), CPU)
    assert mixed.train_sample.labels is None


def test_networks_of_the_same_images_keep_their_logits_on_the_same_few(digits: LabeledData) -> None:
    """Whatever their seeds, unlike those on their train samples: an ensemble's prediction needs all members'."""
    for seed in (1, 2):
        config = small_teacher(seed=seed, augmentation=(RandomCrop(padding=2),))
        trainer = Trainer(config, {SMALL: digits}, None, CPU)
        kept = trainer.result().tensors["predictions"]["shown_train_logits"]
        torch.testing.assert_close(kept, predict(trainer.network, trainer.examples.inputs)[:8])


def test_the_train_sample_of_what_mixes_images_has_as_many_mixtures_as_training_has_batches() -> None:
    """Of images that are black or white, a mixture shows how much of its first image was taken."""
    labels = torch.arange(10).repeat_interleave(20)
    images = (255 * (labels % 2)).to(torch.uint8).view(200, 1, 1, 1).expand(200, 1, 8, 8)
    data = LabeledData(Split(images, labels), Split(images, labels))
    config = small_student(augmentation=(MixUp(),), batch_size=32)
    inputs = Trainer(config, {SMALL: data}, Ensemble([network(5)]), CPU).train_sample.inputs
    assert isinstance(inputs, torch.Tensor)
    own = images[:, 0, 0, 0] == 255
    shares = torch.where(own, inputs[:, 0, 0, 0], 1 - inputs[:, 0, 0, 0])  # 1 where both are of one colour
    drawn = [set(shares[batch::7].round(decimals=4).tolist()) - {0.0, 1.0} for batch in range(7)]
    assert [len(values) for values in drawn] == [1] * 7
    assert len(set.union(*drawn)) == 7


def test_of_many_training_images_some_are_measured_each_with_its_own_label(
    digits: LabeledData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("repro.training.trainer.TRAIN_SAMPLE", 50)
    trainer = Trainer(small_student(), {SMALL: digits}, Ensemble([network(5)]), CPU)
    result = trainer.result()
    kept = result.tensors["predictions"]
    rows = kept["train_indices"]
    assert len(rows) == 50 and rows.max() > 50  # not the first ones
    images, labels = trainer.examples.inputs[rows].float() / 127.5 - 1, trainer.examples.labels[rows]
    with torch.no_grad():
        own, teachers = trainer.network.eval()(images), network(5).eval()(images)
    assert torch.equal(kept["train_labels"], labels)
    torch.testing.assert_close(kept["train_logits"], own, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(kept["train_teacher_logits"], F.log_softmax(teachers, dim=1), rtol=1e-4, atol=1e-5)
    assert result.metrics["train/nll"] == pytest.approx(F.cross_entropy(own, labels).item(), rel=1e-4)
    assert result.metrics["train/agreement"] == (own.argmax(1) == teachers.argmax(1)).double().mean()


def test_pool_images_come_without_labels_and_after_the_train_images() -> None:
    labels = torch.arange(10).repeat(4)
    images = torch.arange(40, dtype=torch.uint8).reshape(40, 1, 1, 1).expand(40, 1, 8, 8)
    data = LabeledData(Split(images, labels), Split(images[:0], labels[:0]))
    config = DataConfig(
        train=Selection(dataset=SMALL, half="D0"),
        pools=(Selection(dataset=SMALL, half="D1"), Selection(dataset=SMALL, fraction=0.25, seed=1)),
    )
    training = assemble(config, {SMALL: data}, CPU, {})
    assert len(training) == 50
    assert (training.labels[:20] != NO_LABEL).all()
    assert (training.labels[20:] == NO_LABEL).all()
    seen = training.inputs[:, 0, 0, 0].tolist()
    assert len(set(seen[:40])) == 40
    assert sorted(labels[seen[40:]].tolist()) == list(range(10))  # a quarter of the four images of each class


def test_a_network_that_its_last_step_destroyed_is_no_result(digits: LabeledData) -> None:
    config = small_teacher(epochs=1, batch_size=200, optimizer=SGD(learning_rate=1e30))
    trainer = Trainer(config, {SMALL: digits}, None, CPU)
    assert trainer.advance(lambda: False)
    assert trainer.losses.isfinite().all()
    with pytest.raises(RunFailed, match=r"predictions are not finite; training diverged at learning rate 1e\+30"):
        trainer.result()


def test_the_final_record_holds_cka_for_one_teacher_of_the_same_stages(digits: LabeledData) -> None:
    twin = network(5)
    trainer = Trainer(small_student(), {SMALL: digits}, Ensemble([twin]), CPU)
    trainer.network.load_state_dict(twin.state_dict())
    result = trainer.result()
    metrics, predictions = result.metrics, result.tensors["predictions"]
    assert metrics["test/agreement"] == 1.0
    assert metrics["test/kl"] == pytest.approx(0.0, abs=1e-6)
    assert [metrics[f"test/cka/stage{stage}"] for stage in (1, 2, 3)] == pytest.approx([1.0] * 3, abs=1e-4)
    assert predictions["test_logits"].shape == (597, 10)
    assert torch.equal(predictions["test_labels"], digits.test.labels)
    teachers = small_teacher(), small_teacher(seed=9)
    two = Trainer(small_student(teachers=teachers), {SMALL: digits}, Ensemble([twin, network(6)]), CPU)
    assert not any(name.startswith("test/cka") for name in two.result().metrics)


def test_cka_compares_each_stage_on_all_test_images(digits: LabeledData) -> None:
    """Two random batches of the 597, weighted by size, by the formula of Song et al. (2012)."""
    trainer = Trainer(small_student(), {SMALL: digits}, Ensemble([network(5)]), CPU)
    metrics = trainer.result().metrics
    images = digits.test.inputs.float() / 127.5 - 1
    order = torch.randperm(597, generator=torch.Generator().manual_seed(trainer.config.stream_seed("cka")))
    own, other = trainer.network.eval(), network(5).eval()
    with torch.no_grad():
        x, y = own.get_submodule("stem")(images), other.stem(images)
        for stage in ("stage1", "stage2", "stage3"):
            x, y = own.get_submodule(stage)(x), other.get_submodule(stage)(y)
            features = [maps.flatten(1).double() for maps in (x, y)]
            hsics = [len(rows) * hsic_from_formula(*(each[rows] for each in features)) for rows in order.split(299)]
            assert metrics[f"test/cka/{stage}"] == pytest.approx(ratio(hsics[0] + hsics[1]), rel=1e-4), stage
            assert ratio(hsics[0]) != pytest.approx(ratio(hsics[1]), rel=1e-3)


def test_evaluation_leaves_the_mode_of_networks_and_draws_from_its_seed_alone(digits: LabeledData) -> None:
    own, other, inputs = network(5).train(), network(6).eval(), digits.test.inputs
    first = stage_similarity(own, other, inputs, seed=3)
    torch.rand(1)
    assert stage_similarity(own, other, inputs, seed=3) == first != stage_similarity(own, other, inputs, seed=4)
    assert own.training and not other.training
    predict(own, inputs)
    assert own.training
    assert set(stage_similarity(own, other, inputs[:4], seed=0)) == set(first)
    assert stage_similarity(own, other, inputs[:3], seed=0) == {}
    assert stage_similarity(own, VGG().build(10, (1, 32, 32)), inputs, seed=0) == {}  # of five stages


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_no_step_waits_for_the_gpu_and_the_result_is_near_the_cpus(digits: LabeledData) -> None:
    use_exact_kernels()
    config = small_student(augmentation=(RandomCrop(padding=1),), epochs=1)
    cpu = Trainer(small_student(epochs=1), {SMALL: digits}, Ensemble([network(5)]), CPU)
    gpu = Trainer(small_student(epochs=1), {SMALL: digits}, Ensemble([network(5)]), torch.device("cuda"))
    for trainer in (cpu, gpu):
        trainer.advance(lambda: False)
    torch.testing.assert_close(cpu.losses, gpu.losses.cpu(), rtol=1e-2, atol=1e-2)
    watched = Trainer(config, {SMALL: digits}, Ensemble([network(5)]), torch.device("cuda"))
    watched.advance(lambda: True)  # one step: the epoch's order is on the device now
    assert watched.epoch_steps is not None
    torch.cuda.set_sync_debug_mode("error")
    try:
        for micro_batches in watched.epoch_steps:
            watched._train_step(micro_batches)
    finally:
        torch.cuda.set_sync_debug_mode("default")
