"""The one training loop, for teachers and students. It computes; files, signals and progress are the runner's."""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from repro.config import TrainingConfig
from repro.data.augmentation import augment
from repro.data.dataset import Dataset, LabeledImages, Split, to_unit_interval
from repro.distill.ensemble import Ensemble
from repro.distill.initialization import TeacherPoints
from repro.errors import RunFailed
from repro.models.base import count_parameters
from repro.training.evaluation import (
    EvaluationSet,
    as_input,
    measure,
    predict,
    predict_ensemble,
    predict_members,
    stage_similarity,
)
from repro.training.images import NO_LABEL, assemble

Metrics: TypeAlias = dict[str, float | None]

TRAIN_SAMPLE = 10_000
"""At most this many training images, augmented once as in training, make the fixed sample for train metrics."""


def build_network(config: TrainingConfig) -> nn.Module:
    """The network of a run, freshly initialised from torch's global generator. Raises BadInput if it does not fit."""
    dataset = config.data.train.dataset
    return config.model.build(dataset.num_classes, dataset.image_shape)


def initial_network(config: TrainingConfig, teachers: Ensemble | None) -> nn.Module:
    """The network of a run before its first step, on the CPU (before any BatchNorm re-estimation).

    `teachers` are the run's trained teachers; only a start that is given in terms of them looks at them.
    """
    points = None
    if config.init.needs_teacher and teachers is not None:
        (parent,) = config.parents()
        points = TeacherPoints(initial=lambda: initial_network(parent, None), final=teachers.members[0])
    return config.init.initialize(lambda: build_network(config), config.stream_seed("init"), points)


class Trainer:
    """A run in memory: network, optimizer, position, and every random stream.

    Everything that moves is in `state_dict`, so a run continued from it goes on to the bit (on one machine).
    """

    def __init__(
        self,
        config: TrainingConfig,
        datasets: Mapping[Dataset, LabeledImages],
        teachers: Ensemble | None,
        device: torch.device,
    ) -> None:
        self.config = config
        self.device = device
        self.teachers = teachers.to(device) if teachers is not None else None
        self.training = assemble(config.data, datasets, device)
        dataset = config.data.train.dataset
        network = initial_network(config, self.teachers)
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.optimizer = config.optimizer.build(self.network.parameters())
        self.generators = {
            name: torch.Generator(device).manual_seed(config.stream_seed(name))
            for name in ("augmentation", "objective")
        }
        torch.manual_seed(config.stream_seed("dropout"))
        self.epoch = 0
        self.position = 0  # steps done in this epoch
        self.steps_per_epoch = -(-len(self.training) // config.batch_size)
        self.losses = torch.zeros(self.steps_per_epoch, device=device)  # of this epoch, by step
        if config.init.reestimates_batch_norm:
            self._reestimate_batch_norm()
        self.test_set = self._test_set(datasets[dataset].test)
        self.train_sample, self.train_sample_indices = self._train_sample()
        # Without augmentation a teacher always sees the same image, so its logits are computed once.
        self.teacher_logits = (
            predict_members(self.teachers, self.training.images)
            if self.teachers is not None and not config.augmentation
            else None
        )

    # -- the position, and how to come back to it -------------------------------------------------------------

    @property
    def finished(self) -> bool:
        return self.epoch == self.config.epochs

    @property
    def step(self) -> int:
        """Steps done since the run began."""
        return self.epoch * self.steps_per_epoch + self.position

    @property
    def total_steps(self) -> int:
        return self.config.epochs * self.steps_per_epoch

    @property
    def images_seen(self) -> int:
        return self.epoch * len(self.training) + min(self.position * self.config.batch_size, len(self.training))

    @property
    def parameters(self) -> int:
        return count_parameters(self.network)

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "position": self.position,
            "losses": self.losses,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generators": {name: generator.get_state() for name, generator in self.generators.items()},
            "cpu_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]
        self.losses.copy_(state["losses"])
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        for name, generator in self.generators.items():
            generator.set_state(state["generators"][name])
        torch.set_rng_state(state["cpu_rng"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)

    # -- training -----------------------------------------------------------------------------------------------

    def advance(self, pause: Callable[[], bool]) -> bool:
        """Train to the end of the epoch (True), or until `pause()`, asked after every step, is true (False).

        Inside, nothing waits for the device. Raises RunFailed if a loss was not finite.
        """
        order = self._order()
        self.network.train()
        while self.position < self.steps_per_epoch:
            self._train_step(order)
            if pause() and self.position < self.steps_per_epoch:
                self._check_losses()
                return False
        self._check_losses()
        self.epoch, self.position = self.epoch + 1, 0
        return True

    def _order(self) -> Tensor:
        """This epoch's random order of the training images; a function of seed and epoch alone."""
        generator = torch.Generator().manual_seed(self.config.stream_seed("order", self.epoch))
        return torch.randperm(len(self.training), generator=generator).to(self.device)

    def _train_step(self, order: Tensor) -> None:
        config = self.config
        learning_rate = self.learning_rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        start = self.position * config.batch_size
        indices = order[start : start + config.batch_size]
        images = to_unit_interval(self.training.images.index_select(0, indices))
        inputs = as_input(augment(images, config.augmentation, self.generators["augmentation"]))
        if self.teacher_logits is not None:
            teacher_logits: Tensor | None = self.teacher_logits.index_select(1, indices)
        else:
            teacher_logits = self.teachers(inputs) if self.teachers is not None else None
        loss = config.objective.loss(
            self.network(inputs),
            teacher_logits=teacher_logits,
            # Labels that the objective does not need are never handed over, so they cannot leak.
            labels=self.training.labels[indices] if config.objective.needs_labels else None,
            progress=self.step / self.total_steps,
            generator=self.generators["objective"],
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.losses[self.position] = loss.detach()
        self.position += 1

    def learning_rate(self, step: int) -> float:
        """The learning rate at a step of the whole run."""
        return self.config.schedule.learning_rate(
            self.config.optimizer.learning_rate,
            step=step,
            steps_per_epoch=self.steps_per_epoch,
            epochs=self.config.epochs,
        )

    def _check_losses(self) -> None:
        bad = (~self.losses[: self.position].isfinite()).nonzero()
        if len(bad) == 0:
            return
        position = int(bad[0])
        step = self.epoch * self.steps_per_epoch + position
        raise RunFailed(
            f"the loss became {self.losses[position].item()} at epoch {self.epoch}, step {position} "
            f"(step {step} of {self.total_steps}); {self._likely_cause(step)}"
        )

    def _likely_cause(self, step: int) -> str:
        sample = self.training.images[:1]
        if self.teachers is not None and not bool(predict_ensemble(self.teachers, sample).isfinite().all()):
            return "a teacher's own predictions are not finite: look at its record"
        return (
            f"training diverged at learning rate {self.learning_rate(step):.3g}: "
            "lower optimizer.learning_rate or set schedule.warmup_epochs"
        )

    @torch.no_grad()
    def _reestimate_batch_norm(self) -> None:
        """Set BatchNorm's running statistics to their averages over one pass through the augmented images."""
        layers = [module for module in self.network.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
        momenta = [layer.momentum for layer in layers]
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # a plain average over batches
        generator = torch.Generator(self.device).manual_seed(self.config.stream_seed("batch norm"))
        order = torch.randperm(len(self.training), generator=torch.Generator().manual_seed(generator.initial_seed()))
        self.network.train()
        for indices in torch.split(order.to(self.device), self.config.batch_size):
            images = to_unit_interval(self.training.images[indices])
            self.network(as_input(augment(images, self.config.augmentation, generator)))
        for layer, momentum in zip(layers, momenta, strict=True):
            layer.momentum = momentum

    # -- evaluation -----------------------------------------------------------------------------------------------

    def epoch_metrics(self) -> Metrics:
        """A row of metrics for the epoch that has just ended: loss as trained, and both evaluation sets."""
        sizes = torch.full((self.steps_per_epoch,), float(self.config.batch_size), dtype=torch.float64)
        sizes[-1] = len(self.training) - self.config.batch_size * (self.steps_per_epoch - 1)
        loss = (self.losses.cpu().double() * sizes).sum() / len(self.training)
        metrics = {"train/loss": loss, **self._measure("test", self.test_set)[0]}
        metrics |= self._measure("train", self.train_sample)[0]
        return _numbers(metrics)

    def final_results(self) -> tuple[Metrics, dict[str, Tensor]]:
        """All metrics of the trained network, CKA included, and the predictions that the record keeps."""
        test_metrics, test_logits = self._measure("test", self.test_set)
        train_metrics, train_logits = self._measure("train", self.train_sample)
        metrics = test_metrics | train_metrics
        if self.teachers is not None and len(self.teachers.members) == 1:
            teacher = self.teachers.members[0]
            similarity = stage_similarity(self.network, teacher, self.test_set.images, self.config.stream_seed("cka"))
            metrics |= {f"test/cka/{stage}": value for stage, value in similarity.items()}
        assert self.test_set.labels is not None
        predictions = {
            "test_logits": test_logits,
            "test_labels": self.test_set.labels,
            "train_logits": train_logits,
            "train_labels": self.training.labels[self.train_sample_indices],
            "train_indices": self.train_sample_indices,
        }
        if self.train_sample.teacher_logits is not None:
            predictions["train_teacher_logits"] = self.train_sample.teacher_logits
        return _numbers(metrics), predictions

    def _measure(self, prefix: str, evaluation: EvaluationSet) -> tuple[dict[str, Tensor], Tensor]:
        logits = predict(self.network, evaluation.images)
        return {f"{prefix}/{name}": value for name, value in measure(logits, evaluation).items()}, logits

    def _test_set(self, test: Split) -> EvaluationSet:
        images = test.images.to(self.device)
        return EvaluationSet(images, test.labels.to(self.device), self._teacher_view(images))

    def _train_sample(self) -> tuple[EvaluationSet, Tensor]:
        """A fixed sample of the training images as training sees them: augmented, with draws of its own."""
        seed = self.config.stream_seed("train sample")
        order = torch.randperm(len(self.training), generator=torch.Generator().manual_seed(seed))
        indices = order[:TRAIN_SAMPLE].sort().values.to(self.device)
        images = self.training.images[indices]
        if self.config.augmentation:
            generator = torch.Generator(self.device).manual_seed(seed)
            images = augment(to_unit_interval(images), self.config.augmentation, generator)
        labels = self.training.labels[indices]
        mixed = any(augmentation.mixes_images for augmentation in self.config.augmentation)
        known = not mixed and bool((labels != NO_LABEL).all())
        return EvaluationSet(images, labels if known else None, self._teacher_view(images)), indices

    def _teacher_view(self, images: Tensor) -> Tensor | None:
        return predict_ensemble(self.teachers, images) if self.teachers is not None else None


def _numbers(metrics: Mapping[str, Tensor]) -> Metrics:
    """Metrics as numbers; None where one is undefined (CKA of a network that says the same about every image)."""
    return {name: None if value.isnan() else float(value) for name, value in metrics.items()}
