"""Networks that learn from each other: the losses by hand, and the engine that trains them in one run."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from runs import SMALL, assert_goes_on_to_the_bit, finished, runner, small_student, small_teacher
from scipy import special

from repro.config import DataConfig, Selection, TeacherConfig, TrainingConfig
from repro.data.augment_geometric import RandomCrop
from repro.data.dataset import LabeledData
from repro.distill.codistillation import Codistillation
from repro.distill.mutual_learning import MutualLearning
from repro.distill.peers import PeerObjective
from repro.distill.supervised import LabelSmoothing
from repro.errors import BadInput
from repro.models.base import count_parameters
from repro.models.preresnet import PreResNet
from repro.optimization.optimizers import SGD
from repro.optimization.schedules import Constant
from repro.surface import make_surface
from repro.training.companions import Companions
from repro.training.trainer import Trainer

GENERATOR = torch.Generator().manual_seed(0)
LOGITS = 2 * torch.randn(3, 4, 5, generator=GENERATOR, dtype=torch.float64)
LABELS = torch.tensor([0, 4, 2, 2])


def whole_loss(objective: PeerObjective, logits: torch.Tensor, progress: float = 0.9) -> torch.Tensor:
    student = objective.loss(logits[0], teacher_logits=None, labels=LABELS, progress=progress, generator=GENERATOR)
    return student + objective.companion_loss(logits[0], logits[1:], LABELS, progress)


def by_numpy(weight: float, ensemble: bool) -> float:
    """The sum over networks of cross-entropy + weight * KL to the others, one by one or their mean."""
    p = special.softmax(LOGITS.numpy(), axis=-1)
    total = 0.0
    for i in range(3):
        others = np.delete(p, i, axis=0)
        said = others.mean(axis=0, keepdims=True) if ensemble else others
        divergence = np.mean([special.rel_entr(q, p[i]).sum(axis=-1) for q in said])
        total += -np.log(p[i][np.arange(4), LABELS.numpy()]).mean() + weight * divergence
    return total


def test_losses_agree_with_numpy() -> None:
    assert whole_loss(MutualLearning(peers=3, weight=2.0), LOGITS).item() == pytest.approx(by_numpy(2.0, False))
    assert whole_loss(Codistillation(peers=3, weight=2.0), LOGITS).item() == pytest.approx(by_numpy(2.0, True))


def test_mutual_learning_by_hand() -> None:
    """Two peers, one image of class 0: (1/2, 1/2) and (3/4, 1/4)."""
    logits = torch.tensor([[[0.5, 0.5]], [[0.75, 0.25]]], dtype=torch.float64).log()
    objective = MutualLearning()
    companions = objective.companion_loss(logits[0], logits[1:], torch.tensor([0]), 0.5)
    to_student = 0.75 * np.log(0.75 / 0.5) + 0.25 * np.log(0.25 / 0.5)
    to_peer = 0.5 * np.log(0.5 / 0.75) + 0.5 * np.log(0.5 / 0.25)
    assert companions.item() == pytest.approx(-np.log(0.75) + to_student + to_peer)


def test_two_codistilled_peers_after_the_burn_in_learn_mutually_and_before_it_alone() -> None:
    pair = LOGITS[:2]
    mutual, alone = whole_loss(MutualLearning(), pair), whole_loss(MutualLearning(weight=0.0), pair)
    objective = Codistillation(burn_in=0.25)
    assert whole_loss(objective, pair, progress=0.25).item() == pytest.approx(mutual.item())
    assert whole_loss(objective, pair, progress=0.249).item() == pytest.approx(alone.item())
    assert mutual > alone


@pytest.mark.parametrize("objective", [MutualLearning(peers=3), Codistillation(peers=3)])
def test_no_gradient_goes_through_what_the_others_say(objective: PeerObjective) -> None:
    """The gradient of network i is that of its own loss, the others' predictions being constants."""
    logits = LOGITS.clone().requires_grad_()
    whole_loss(objective, logits).backward()
    p = LOGITS.softmax(dim=-1)
    for i in range(3):
        others = torch.cat([p[:i], p[i + 1 :]]).mean(
            dim=0
        )  # of both methods, since sum_j KL(p_j || q) is linear in p_j
        expected = (p[i] - F.one_hot(LABELS, 5) + p[i] - others) / 4
        assert logits.grad is not None
        torch.testing.assert_close(logits.grad[i], expected)


def test_peers_are_at_least_two() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 2"):
        MutualLearning(peers=1)


def alone(**changes: object) -> TeacherConfig:
    """A run without teachers, whose objective nevertheless looks at peers."""
    return small_teacher(**{"objective": MutualLearning(peers=3), "epochs": 2} | changes)


def trainer_of(config: TrainingConfig, digits: LabeledData) -> Trainer:
    return Trainer(config, {SMALL: digits}, None, torch.device("cpu"))


def trained(config: TrainingConfig, digits: LabeledData) -> Trainer:
    return finished(trainer_of(config, digits))


def peers_of(trainer: Trainer) -> list[torch.nn.Module]:
    assert isinstance(trainer.beside, Companions)
    return [peer.network for peer in trainer.beside.trained.values()]  # type: ignore[misc]


def test_peers_are_trained_together_like_in_a_plain_loop(digits: LabeledData) -> None:
    """Two networks, one after the other by its own loss and optimizer, from what the other said before the step."""
    config = alone(
        objective=MutualLearning(weight=2.0),
        optimizer=SGD(learning_rate=0.02, momentum=0.9, weight_decay=1e-2),
        schedule=Constant(),
        epochs=1,
        batch_size=100,
    )
    networks = []
    with torch.random.fork_rng():
        for stream in ("init", "companions"):
            torch.manual_seed(config.stream_seed(stream))
            networks.append(PreResNet(depth=8).build(10, SMALL.input_shape).train())
    optimizers = [torch.optim.SGD(n.parameters(), lr=0.02, momentum=0.9, weight_decay=1e-2) for n in networks]
    trainer = trained(config, digits)
    rows = torch.randperm(200, generator=torch.Generator().manual_seed(config.stream_seed("order", 0)))
    for batch in rows.split(100):
        images, labels = trainer.examples.inputs[batch].float() / 127.5 - 1, trainer.examples.labels[batch]
        logits = [network(images) for network in networks]
        said = [one.detach().softmax(dim=1) for one in logits]
        for own, other, optimizer in zip(logits, reversed(said), optimizers, strict=True):
            optimizer.zero_grad()
            kl = F.kl_div(F.log_softmax(own, dim=1), other, reduction="batchmean")
            (F.cross_entropy(own, labels) + 2.0 * kl).backward()
            optimizer.step()
    for ours, plain in zip([trainer.network, *peers_of(trainer)], networks, strict=True):
        for name, tensor in plain.state_dict().items():
            torch.testing.assert_close(ours.state_dict()[name], tensor, rtol=2e-3, atol=2e-4, msg=name)


def test_a_run_with_peers_goes_on_from_its_checkpoint_to_the_bit(digits: LabeledData) -> None:
    config = alone(objective=Codistillation(peers=3, burn_in=0.5), augmentation=(RandomCrop(padding=1),))
    ended = assert_goes_on_to_the_bit(lambda: trainer_of(config, digits), 9)
    assert ended.state_dict()["beside"]


def test_without_weight_the_student_is_the_independent_one_and_peers_are_no_part_of_it(digits: LabeledData) -> None:
    control, plain = alone(objective=MutualLearning(weight=0.0)), alone(objective=LabelSmoothing(smoothing=0.0))
    one, other = trained(control, digits), trained(plain, digits)
    for name, tensor in other.network.state_dict().items():
        torch.testing.assert_close(one.network.state_dict()[name], tensor, msg=name)
    result = one.result()
    assert result.counts["parameters"] == count_parameters(other.network)
    assert result.weights.keys() == other.network.state_dict().keys()
    assert other.beside is None and "beside" not in other.state_dict()


def test_codistilled_peers_learn_alone_up_to_the_burn_in_and_then_from_each_other(digits: LabeledData) -> None:
    """The losses of two epochs in which the networks all but stand still."""

    def losses(objective: PeerObjective) -> list[torch.Tensor]:
        few = DataConfig(train=Selection(dataset=SMALL, size=40))
        still = alone(objective=objective, optimizer=SGD(learning_rate=1e-30), data=few, batch_size=20)
        trainer = trainer_of(still, digits)
        return [trainer.losses.clone() for _ in range(2) if trainer.advance(lambda: False)]

    found = losses(Codistillation(burn_in=0.5))
    apart, together = losses(MutualLearning(weight=0.0)), losses(MutualLearning())
    torch.testing.assert_close(found, [apart[0], together[1]])
    assert (together[0] > apart[0] + 1e-3).all()


def test_the_record_says_how_well_peers_agree_and_classify(digits: LabeledData) -> None:
    trainer = trained(alone(), digits)
    metrics = trainer.result().metrics
    images, labels = digits.test.inputs.float() / 127.5 - 1, digits.test.labels
    networks = [network.eval() for network in (trainer.network, *peers_of(trainer))]
    own, *others = (network(images).argmax(dim=1) for network in networks)
    for number, other in enumerate(others, start=1):
        assert metrics[f"test/companion/peer{number}/agreement"] == pytest.approx((own == other).double().mean().item())
        assert metrics[f"test/companion/peer{number}/accuracy"] == pytest.approx(
            (other == labels).double().mean().item()
        )
    assert not (others[0] == others[1]).all()


def test_peers_do_not_go_with_micro_batches_or_loss_surfaces(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="micro_batch_size does not work with mutual_learning"):
        alone(micro_batch_size=8)
    with pytest.raises(BadInput, match="an objective on logits, not mutual_learning"):
        make_surface(runner(tmp_path), small_student(objective=MutualLearning()), "this run", 3, 10)
