"""Images mixed into every batch: exact proportions, their own temperature, no labels, and exact resumption."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from runs import SMALL, assert_goes_on_to_the_bit, finished, runner, small_student, small_teacher
from torch import Tensor

from repro.config import DataConfig, DatasetStream, NoiseStream, Selection, StudentConfig, canonical_json, parse_config
from repro.data.augment_geometric import HorizontalFlip, RandomCrop
from repro.data.augment_mixing import MixUp
from repro.data.augmentation import Augmentation
from repro.data.dataset import LabeledData, Split
from repro.data.digits import Digits
from repro.data.prepared import MNIST
from repro.distill.divergences import Brier, ForwardCrossEntropy, MemberSymmetricKL
from repro.distill.ensemble import Ensemble
from repro.distill.hard_labels import HardLabels
from repro.distill.logit_matching import LogitMSE
from repro.distill.objective import DistillationObjective, loss_of_parts
from repro.distill.supervised import CrossEntropy
from repro.errors import BadInput
from repro.launch.plan import images_to_train
from repro.models.preresnet import PreResNet
from repro.training.batches import NO_INDEX, Batches, plan_epoch
from repro.training.examples import NO_LABEL, select_from
from repro.training.streams import DatasetImages, ImageStream, NoiseImages, open_streams
from repro.training.trainer import Trainer

CPU = torch.device("cpu")
EVERYTHING = Selection(dataset=SMALL)
MIXED = DataConfig(
    train=Selection(dataset=SMALL, size=200),
    streams=(
        DatasetStream(selection=EVERYTHING, share=0.25, temperature=1.0),
        NoiseStream(share=0.1),
    ),
)


def student(**changes: Any) -> StudentConfig:
    return small_student(**{"data": MIXED, "objective": ForwardCrossEntropy(temperature=4.0), "epochs": 2} | changes)


def teacher_network() -> Ensemble:
    torch.manual_seed(5)
    return Ensemble([PreResNet(depth=8).build(10, SMALL.input_shape)])


def trainer(config: StudentConfig, data: LabeledData) -> Trainer:
    return Trainer(config, {SMALL: data}, teacher_network(), CPU)


def run_to_the_end(training: Trainer) -> dict[str, Tensor]:
    return finished(training).network.state_dict()


# -- proportions ---------------------------------------------------------------------------------------------


def test_an_epoch_is_one_pass_over_the_own_images_with_the_streams_beside_them() -> None:
    # One image in five of 128 is 25.6, so 26; the own 102 a batch make 9 full batches of 1000, and 82 are left.
    assert student(
        batch_size=128, data=DataConfig(train=EVERYTHING, streams=(NoiseStream(share=0.2),))
    ).stream_counts == (26,)
    halves = DataConfig(train=EVERYTHING, streams=(NoiseStream(share=0.5),))
    assert student(batch_size=5, data=halves).stream_counts == (3,)  # of 2.5
    full, ragged = (102, 26), (82, 21)  # 82 * 26 / 102 = 20.9
    assert plan_epoch(1000, 128, (26,), "keep") == [full] * 9 + [ragged]
    assert plan_epoch(1000, 128, (26,), "drop") == [full] * 9
    assert plan_epoch(1020, 128, (26,), "keep") == plan_epoch(1020, 128, (26,), "drop") == [full] * 10
    assert plan_epoch(7, 4, (), "keep") == [(4,), (3,)]
    assert plan_epoch(1, 32, (8, 3), "keep") == [(1, 0, 0)]


def test_over_any_number_of_steps_every_source_has_its_share() -> None:
    for examples in (1, 20, 21, 39, 40, 107):
        for counts in ((1,), (11,), (3, 8), (1, 1, 1)):
            own_size = 32 - sum(counts)
            for last_batch in ("keep", "drop"):
                own, streamed, ragged = 0, [0] * len(counts), 0
                for parts in plan_epoch(examples, 32, counts, last_batch) * 5:  # five epochs
                    own += parts[0]
                    ragged += parts[0] < own_size
                    for which, count in enumerate(counts):
                        streamed[which] += parts[1 + which]
                        assert abs(streamed[which] - own * count / own_size) <= 0.5 * ragged
                assert own == 5 * (examples if last_batch == "keep" else examples // own_size * own_size)


def test_the_parts_of_a_batch_come_from_their_sources_without_labels() -> None:
    own = Split(torch.full((20, 1, 8, 8), 51, dtype=torch.uint8), torch.arange(20))
    others = torch.full((3, 1, 8, 8), 204, dtype=torch.uint8)
    streams: list[ImageStream] = [DatasetImages(others), NoiseImages((1, 8, 8), CPU)]
    batches = Batches(own, 12, (), torch.Generator(), streams, (3, 1))
    first, second, third = batches.epoch(0, 0)
    assert [batch.parts for batch in (first, second, third)] == [(8, 3, 1), (8, 3, 1), (4, 2, 1)]
    assert batches.sizes().tolist() == [12.0, 12.0, 7.0]
    for batch in (first, second, third):
        assert len(batch.labels) == len(batch.indices) == len(batch.inputs)
        ours, theirs, noise = torch.split(batch.inputs, list(batch.parts))
        torch.testing.assert_close(ours, torch.full_like(ours, 2 * 51 / 255 - 1))
        torch.testing.assert_close(theirs, torch.full_like(theirs, 2 * 204 / 255 - 1))
        assert float(noise.min()) < -0.8 < 0.8 < float(noise.max())
        assert batch.labels[: len(ours)].tolist() == batch.indices[: len(ours)].tolist()
        assert set(batch.labels[len(ours) :].tolist()) == {NO_LABEL}
        assert set(batch.indices[len(ours) :].tolist()) == {NO_INDEX}
    assert sorted(torch.cat([batch.indices[: batch.parts[0]] for batch in (first, second, third)])) == list(range(20))
    noises = [batch.inputs[-1] for batch in (first, second, third)]
    assert not torch.equal(noises[0], noises[1])
    alone = next(Batches(own, 12, (), torch.Generator(), streams[:1], (3,)).epoch(0, 0))
    assert alone.parts == (9, 3) and len(alone.inputs) == len(alone.labels) == 12


def test_the_train_sample_is_a_function_of_its_seed_alone() -> None:
    own = Split(torch.arange(50, dtype=torch.uint8).view(50, 1, 1, 1), torch.arange(50))
    first, second = (Batches(own, 12, (), torch.Generator()).sample(10, seed=3)[1] for _ in range(2))
    assert torch.equal(first, second) and first.tolist() == sorted(set(first.tolist()))
    assert not torch.equal(first, Batches(own, 12, (), torch.Generator()).sample(10, seed=4)[1])


def test_a_data_set_comes_round_after_round_each_time_in_another_order() -> None:
    stream = DatasetImages(torch.arange(10, dtype=torch.uint8).view(10, 1, 1, 1))
    seen = torch.cat([stream.draw(first, 7, seed=1).flatten() for first in range(0, 70, 7)]).view(7, 10)
    for row in seen:
        assert sorted(row.tolist()) == list(range(10))
    assert len({tuple(row.tolist()) for row in seen}) == 7
    assert torch.equal(stream.draw(5, 20, seed=1).flatten(), seen.flatten()[5:25])
    assert not torch.equal(stream.draw(0, 10, seed=2).flatten(), seen[0])


def test_two_streams_of_noise_are_not_the_same_noise() -> None:
    own = Split(torch.zeros(4, 1, 8, 8, dtype=torch.uint8), torch.arange(4))
    streams: list[ImageStream] = [NoiseImages((1, 8, 8), CPU), NoiseImages((1, 8, 8), CPU)]
    (batch,) = Batches(own, 12, (), torch.Generator(), streams, (4, 4)).epoch(0, 0)
    _, first, second = torch.split(batch.inputs, list(batch.parts))
    assert first.shape == second.shape and not torch.equal(first, second)


def test_noise_is_uniform_and_a_function_of_seed_and_place() -> None:
    stream = NoiseImages((3, 8, 8), CPU)
    noise = stream.draw(0, 500, seed=1)
    assert noise.shape == (500, 3, 8, 8)
    assert float(noise.mean()) == pytest.approx(0.5, abs=0.005)
    assert float(noise.var()) == pytest.approx(1 / 12, abs=0.002)
    assert torch.equal(noise, stream.draw(0, 500, seed=1))
    assert not torch.equal(noise, stream.draw(500, 500, seed=1))
    assert not torch.equal(noise, stream.draw(0, 500, seed=2))


# -- augmentation --------------------------------------------------------------------------------------------


def mixed_batch(augmentation: tuple[Augmentation, ...]) -> tuple[Tensor, Tensor, Tensor]:
    half_dark = torch.zeros(8, 1, 8, 8, dtype=torch.uint8)
    half_dark[..., :4] = 255  # the left half is bright
    streams: list[ImageStream] = [DatasetImages(255 - half_dark), NoiseImages((1, 8, 8), CPU)]
    examples = Split(half_dark, torch.zeros(8, dtype=torch.int64))
    (batch,) = Batches(examples, 16, augmentation, torch.Generator(), streams, (4, 4)).epoch(3, 0)
    ours, theirs, noise = torch.split(batch.inputs, list(batch.parts))
    return ours, theirs, noise


def test_images_of_a_data_set_are_augmented_and_fresh_images_are_not() -> None:
    plain, flipped = mixed_batch(()), mixed_batch((HorizontalFlip(p=1.0),))
    assert torch.equal(flipped[0], plain[0].flip(-1))
    assert torch.equal(flipped[1], plain[1].flip(-1))
    assert torch.equal(flipped[2], plain[2])


def test_mixing_stays_inside_a_source() -> None:
    plain, mixed = mixed_batch(()), mixed_batch((MixUp(),))
    for part in range(3):  # the images of a source are all alike, so blending them with one another changes nothing
        torch.testing.assert_close(mixed[part], plain[part])


# -- temperatures --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", [ForwardCrossEntropy(temperature=4.0), MemberSymmetricKL(temperature=4.0)])
def test_the_gradient_is_that_of_separately_tempered_losses(objective: DistillationObjective) -> None:
    random = torch.Generator().manual_seed(0)
    student_logits = torch.randn(10, 5, generator=random, dtype=torch.float64, requires_grad=True)
    teacher_logits = torch.randn(3, 10, 5, generator=random, dtype=torch.float64)
    parts, temperatures = (6, 0, 4), (4.0, 2.0, 1.0)
    loss = loss_of_parts(
        [objective.at_temperature(tau) for tau in temperatures],
        parts,
        student_logits,
        teacher_logits=teacher_logits,
        labels=None,
        progress=0.0,
        generator=random,
    )
    expected = torch.zeros((), dtype=torch.float64)
    tau = torch.tensor([4.0] * 6 + [1.0] * 4, dtype=torch.float64).unsqueeze(1)
    log_q = F.log_softmax(student_logits / tau, 1)
    if isinstance(objective, ForwardCrossEntropy):
        p = F.softmax(F.softmax(teacher_logits, -1).mean(0).log() / tau, 1)
        expected = -(tau**2 * p * log_q).sum() / 10
    else:
        p = F.softmax(teacher_logits / tau, -1)
        expected = (tau**2 * 0.5 * (p - log_q.exp()) * (p.log() - log_q)).sum() / 30
    torch.testing.assert_close(loss, expected)
    gradients = [torch.autograd.grad(value, student_logits, retain_graph=True)[0] for value in (loss, expected)]
    torch.testing.assert_close(*gradients)


def test_a_streams_own_temperature_changes_no_other_option_of_the_objective() -> None:
    objective = Brier(temperature=4.0, temperature_squared=False)
    tempered = Brier(temperature=1.0, temperature_squared=False)
    assert student(objective=objective).objectives == (objective, tempered, objective)


def test_a_training_step_tempers_each_source_by_its_own_temperature(digits: LabeledData) -> None:
    training = trainer(student(), digits)
    batch = next(training.batches.epoch(training.config.stream_seed("order", 0), 0))
    assert batch.parts == (21, 8, 3)
    tau = torch.tensor([4.0] * 21 + [1.0] * 8 + [4.0] * 3).unsqueeze(1)
    with torch.no_grad():
        p = F.softmax(teacher_network().members[0](batch.inputs) / tau, 1)
        log_q = F.log_softmax(training.network.train()(batch.inputs) / tau, 1)
    expected = -(tau**2 * p * log_q).sum(1).mean()
    fresh = trainer(student(), digits)
    fresh.advance(lambda: True)
    torch.testing.assert_close(fresh.losses[0], expected)


# -- the run -------------------------------------------------------------------------------------------------


def test_no_label_of_any_source_reaches_the_student(digits: LabeledData) -> None:
    poisoned = LabeledData(Split(digits.train.inputs, (digits.train.labels + 3) % 10), digits.test)
    shuffled = torch.randperm(1200, generator=torch.Generator().manual_seed(0))
    permuted = LabeledData(Split(digits.train.inputs, digits.train.labels[shuffled]), digits.test)
    data = MIXED.model_copy(update={"train": EVERYTHING, "pools": (EVERYTHING,)})
    config = student(data=data, augmentation=(RandomCrop(padding=1),), epochs=1, batch_size=256)
    clean, *others = (run_to_the_end(trainer(config, labels)) for labels in (digits, poisoned, permuted))
    for other in others:
        assert all(torch.equal(clean[name], other[name]) for name in clean)


def test_a_run_with_streams_continued_from_its_state_goes_on_to_the_bit(digits: LabeledData) -> None:
    config = student(
        augmentation=(RandomCrop(padding=1), HorizontalFlip()),
        objective=HardLabels(labels_from="sample", temperature=2),
    )
    assert_goes_on_to_the_bit(lambda: trainer(config, digits), 1, 9, 10, 13)


def test_the_plan_counts_the_images_that_the_run_then_sees(digits: LabeledData) -> None:
    for last_batch, per_epoch in (("keep", 9 * 32 + 11 + 4 + 2), ("drop", 9 * 32)):
        config = student(last_batch=last_batch)
        training = trainer(config, digits)
        assert training.steps_per_epoch == {"keep": 10, "drop": 9}[last_batch]
        training.advance(iter((False, True)).__next__)  # two steps
        assert training.images_seen == 64
        run_to_the_end(training)
        assert training.images_seen == images_to_train(config) == 2 * per_epoch
        assert training.result().counts["training_images"] == 200


def test_without_its_last_batch_an_epoch_leaves_out_other_images_each_time(digits: LabeledData) -> None:
    training = Trainer(small_teacher(last_batch="drop"), {SMALL: digits}, None, CPU)
    assert training.steps_per_epoch == 6  # of 200 images 192
    seen = [set(torch.cat([batch.indices for batch in training.batches.epoch(seed, 0)]).tolist()) for seed in (0, 1)]
    assert [len(indices) for indices in seen] == [192, 192]
    assert seen[0] != seen[1]
    training.losses = torch.arange(6.0)
    assert training.epoch_metrics()["train/loss"] == 2.5


def test_a_selection_that_is_too_large_is_found_before_the_run_begins(tmp_path: Path) -> None:
    stream = DatasetStream(selection=Selection(dataset=SMALL, size=5000), share=0.5)
    config = student(data=MIXED.model_copy(update={"streams": (stream,)}), teachers=(small_teacher(),))
    with pytest.raises(BadInput, match="digits: 5000 images asked for, 1200 are there"):
        runner(tmp_path).check([config])
    with pytest.raises(BadInput, match="200 examples do not fill one batch of batch_size 256"):
        runner(tmp_path).check([small_teacher(batch_size=256, last_batch="drop")])
    assert list(tmp_path.iterdir()) == []


def test_streams_are_opened_in_their_order(digits: LabeledData) -> None:
    opened = open_streams(MIXED, {SMALL: digits}, CPU, {})
    assert [type(stream) for stream in opened] == [DatasetImages, NoiseImages]


def test_a_stream_shows_the_images_that_its_selection_takes_and_no_others(digits: LabeledData) -> None:
    some = Selection(dataset=SMALL, size=30, seed=2)
    data = DataConfig(train=EVERYTHING, streams=(DatasetStream(selection=some, share=0.5),))
    (stream,) = open_streams(data, {SMALL: digits}, CPU, {})
    shown = stream.draw(0, 30, seed=0)
    expected = digits.train.inputs[select_from(some, {SMALL: digits})]
    assert sorted(shown.flatten(1).tolist()) == sorted(expected.flatten(1).tolist())


# -- the config ----------------------------------------------------------------------------------------------


def test_streams_and_the_last_batch_enter_the_run_id_only_where_they_are_used() -> None:
    plain = small_student()
    assert "streams" not in canonical_json(plain)
    assert "last_batch" not in canonical_json(plain)
    changed = [student(), student(data=MIXED.model_copy(update={"streams": MIXED.streams[::-1]})), plain]
    changed += [small_student(last_batch="drop")]
    assert len({config.run_id for config in changed}) == 4
    assert parse_config(student().model_dump(mode="json")) == student()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"streams": [{"name": "nose", "share": 0.1}]}, "'data.streams.0.name' is 'nose'; did you mean 'noise'?"),
        ({"streams": [{"name": "noise", "share": 1.0}]}, "'data.streams.0.share' is 1.0: input should be less than 1"),
        ({"streams": [{"name": "noise", "share": 0.01}]}, "a stream's share 0.01 of batch_size 32 is less than half"),
        ({"streams": [{"name": "noise", "share": 0.5}] * 2}, "the streams fill all of batch_size 32"),
        (
            {"streams": [{"name": "noise", "shar": 0.5}]},
            "unknown config key 'data.streams.0.shar' (given 0.5); did you",
        ),
    ],
)
def test_streams_that_cannot_be_are_refused_by_name(changes: dict[str, Any], problem: str) -> None:
    content = small_student().model_dump(mode="json")
    content["data"] |= changes
    with pytest.raises(BadInput) as caught:
        parse_config(content)
    assert problem in str(caught.value)


def test_streams_do_not_go_with_what_needs_labels_or_has_no_temperature() -> None:
    with pytest.raises(ValueError, match="cross_entropy needs labels, which streams do not have"):
        small_teacher(data=MIXED, objective=CrossEntropy())
    with pytest.raises(ValueError, match="forward_cross_entropy needs labels, which streams do not have"):
        student(objective=ForwardCrossEntropy(alpha=0.5))
    tempered = MIXED.model_copy(update={"streams": (NoiseStream(share=0.5, temperature=2.0),)})
    with pytest.raises(ValueError, match="a stream's temperature: logit_mse needs temperature 1"):
        student(data=tempered, objective=LogitMSE())
    assert student(data=tempered, objective=Brier()).objectives[1] == Brier(temperature=2.0)
    with pytest.raises(ValueError, match=r"mnist has images \(1, 28, 28\), digits has \(1, 8, 8\)"):
        DataConfig(train=EVERYTHING, streams=(DatasetStream(selection=Selection(dataset=MNIST()), share=0.5),))
    DataConfig(
        train=Selection(dataset=Digits()),
        streams=(DatasetStream(selection=Selection(dataset=MNIST()), share=0.5),),
    )
