"""A network's early exits learn from its deepest: the loss by hand, and the engine that trains them with it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from runs import SMALL, finished, small_teacher
from scipy import special
from torch import nn

from repro.config import DataConfig, Selection, TeacherConfig
from repro.data.dataset import LabeledData
from repro.data.synthetic_texts import SyntheticTexts
from repro.distill.own_exits import Exit, OwnExits
from repro.models.lstm import LSTM
from repro.models.preresnet import PreResNet
from repro.training.companions import Companions
from repro.training.trainer import Trainer

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(3, 4, 5, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.tensor([0, 4, 2, 2])


def test_the_loss_agrees_with_numpy_and_leaves_the_deepest_exit_alone() -> None:
    logits = LOGITS.clone().requires_grad_()
    value = OwnExits(temperature=2.0, alpha=0.25).companion_loss(logits[0], logits[1:], LABELS, 0.0)
    tempered, plain = special.softmax(LOGITS.numpy() / 2, axis=-1), special.softmax(LOGITS.numpy(), axis=-1)
    expected = 0.0
    for i in (1, 2):
        label_loss = -np.log(plain[i][np.arange(4), LABELS.numpy()]).mean()
        expected += 0.75 * label_loss + 0.25 * 4 * special.rel_entr(tempered[0], tempered[i]).sum(axis=-1).mean()
    assert value.item() == pytest.approx(expected)
    value.backward()
    assert logits.grad is not None and logits.grad[0].abs().max() == 0 and logits.grad[1:].abs().min() > 0


def test_an_exit_classifies_maps_of_any_size_and_vectors() -> None:
    for shape, inputs in (((6, 14, 14), 96), ((16, 2, 2), 64), ((7,), 7)):
        classifier = Exit("stage", shape, features=5, classes=3)
        assert classifier.classifier[2].in_features == inputs
        assert classifier(torch.empty(0), {"stage": torch.randn(2, *shape)}).shape == (2, 3)


def config(**changes: object) -> TeacherConfig:
    return small_teacher(**{"objective": OwnExits(), "epochs": 1} | changes)


def trained(config: TeacherConfig, digits: LabeledData) -> Trainer:
    return finished(Trainer(config, {SMALL: digits}, None, torch.device("cpu")))


def test_exits_and_the_stages_below_them_are_trained_together_like_in_a_plain_loop(digits: LabeledData) -> None:
    run = config(batch_size=200)
    with torch.random.fork_rng():
        torch.manual_seed(run.stream_seed("init"))
        plain = PreResNet(depth=8).build(10, SMALL.input_shape).train()
        torch.manual_seed(run.stream_seed("companions"))
        exits = [
            nn.Sequential(nn.Flatten(), nn.Linear(channels * 16, 64), nn.ReLU(), nn.Linear(64, 10))
            for channels in (16, 32)
        ]
    trainer = trained(run, digits)
    images, labels = trainer.examples.inputs.float() / 127.5 - 1, trainer.examples.labels
    first = plain.stage1(plain.stem(images))
    second = plain.stage2(first)
    logits = plain.classifier(plain.head(plain.stage3(second)).mean(dim=(2, 3)))
    loss = F.cross_entropy(logits, labels)
    for classifier, maps in zip(exits, (F.avg_pool2d(first, 2), second), strict=True):
        own = classifier(maps)
        kl = F.kl_div(F.log_softmax(own / 3, dim=1), (logits.detach() / 3).softmax(dim=1), reduction="batchmean")
        loss = loss + 0.7 * F.cross_entropy(own, labels) + 0.3 * 9 * kl
    parameters = [p for module in (plain, *exits) for p in module.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=0.05, momentum=0.9, nesterov=True, weight_decay=1e-4)
    loss.backward()
    optimizer.step()
    assert trainer.losses.item() == pytest.approx(loss.item(), rel=1e-5)
    assert isinstance(trainer.beside, Companions)
    for ours, expected in zip([*trainer.network.parameters(), *trainer.beside.parameters()], parameters, strict=True):
        torch.testing.assert_close(ours, expected, rtol=2e-3, atol=2e-4)
    metrics = trainer.result().metrics
    assert {
        f"test/companion/{stage}/{what}" for stage in ("stage1", "stage2") for what in ("agreement", "accuracy")
    } == {name for name in metrics if "companion" in name}


def test_a_network_of_one_stage_has_no_exits() -> None:
    with pytest.raises(ValueError, match=r"two stages or more; this has hidden"):
        OwnExits().check_stages({"hidden": (64,)})
    with pytest.raises(ValueError, match=r"the student's 'tokens' is \(7, 9\), neither maps .* nor a vector"):
        OwnExits().check_stages({"tokens": (7, 9), "hidden": (64,)})
    texts = DataConfig(train=Selection(dataset=SyntheticTexts(tokens=5, max_words=50)))
    with pytest.raises(ValueError, match=r"two stages or more; this has encoder"):
        config(data=texts, model=LSTM(embedding=3, cell=4, layers=1))
