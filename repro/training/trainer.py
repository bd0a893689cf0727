"""The one training loop, for teachers and students. It computes; files, signals and progress are the runner's."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from repro.config import GeneratorConfig, StudentConfig, TrainingConfig
from repro.data.dataset import Dataset, LabeledData, Split
from repro.distill.ensemble import Ensemble
from repro.distill.initialization import TeacherPoints
from repro.distill.objective import loss_of_parts
from repro.errors import RunFailed
from repro.models.base import count_parameters
from repro.training.batch_norm import reestimate_batch_norm
from repro.training.batches import Batch, Batches
from repro.training.evaluation import (
    EvaluationSet,
    measure,
    predict,
    predict_ensemble,
    predict_members,
    stage_similarity,
)
from repro.training.examples import NO_LABEL, assemble
from repro.training.streams import open_streams
from repro.training.training import Metrics, Result

TRAIN_SAMPLE = 10_000
"""At most this many training images, augmented once as in training, make the fixed sample for train metrics."""


def build_network(config: TrainingConfig) -> nn.Module:
    """The network of a run, freshly initialised from torch's global generator. Raises BadInput if it does not fit."""
    dataset = config.data.train.dataset
    return config.model.build(dataset.num_classes, dataset.input_shape)


def initial_network(config: TrainingConfig, teachers: Ensemble | None) -> nn.Module:
    """The network of a run before its first step, on the CPU (before any BatchNorm re-estimation).

    `teachers` are the run's trained teachers; only a start that is given in terms of them looks at them.
    """
    points = None
    if isinstance(config, StudentConfig) and config.init.needs_teacher and teachers is not None:
        (parent,) = config.teachers
        points = TeacherPoints(initial=lambda: initial_network(parent, None), final=teachers.members[0])
    return config.init.initialize(lambda: build_network(config), config.stream_seed("init"), points)


class Trainer:
    """A run in memory: network, optimizer, position, and every random stream.

    Everything that moves is in `state_dict`, so a run continued from it goes on to the bit (on one machine).
    """

    def __init__(
        self,
        config: TrainingConfig,
        datasets: Mapping[Dataset, LabeledData],
        teachers: Ensemble | None,
        device: torch.device,
        generators: Mapping[GeneratorConfig, nn.Module] | None = None,
    ) -> None:
        """`generators` are the finished networks of `config.data.generators`, on the device."""
        self.config = config
        self.device = device
        self.teachers = teachers.to(device) if teachers is not None else None
        self.training = assemble(config.data, datasets, device, generators or {})
        dataset = config.data.train.dataset
        network = initial_network(config, self.teachers)
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.optimizer = config.optimizer.build(self.network.parameters())
        self.generators = {
            name: torch.Generator(device).manual_seed(config.stream_seed(name))
            for name in ("augmentation", "objective")
        }
        self.batches = Batches(
            self.training,
            config.batch_size,
            config.augmentation,
            self.generators["augmentation"],
            open_streams(config.data, datasets, device, generators or {}),
            config.stream_counts,
            config.last_batch,
        )
        torch.manual_seed(config.stream_seed("dropout"))
        self.epoch = 0
        self.position = 0  # steps done in this epoch
        self.steps_per_epoch = len(self.batches)
        self.losses = torch.zeros(self.steps_per_epoch, device=device)  # of this epoch, by step
        if config.init.reestimates_batch_norm:
            reestimate_batch_norm(self.network, self.batches.extra_pass(config.stream_seed("batch norm")))
        self.test_set = self._test_set(datasets[dataset].test)
        self.train_sample, self.train_sample_indices = self._train_sample()
        # Without augmentation a teacher always sees the same image, so its logits are computed once.
        self.teacher_logits = (
            predict_members(self.teachers, self.training.inputs)
            if self.teachers is not None and not config.augmentation and not config.data.streams
            else None
        )

    # -- the position, and how to come back to it -------------------------------------------------------------

    @property
    def finished(self) -> bool:
        return self.epoch == self.epochs

    @property
    def step(self) -> int:
        """Steps done since the run began."""
        return self.epoch * self.steps_per_epoch + self.position

    @property
    def total_steps(self) -> int:
        return self.config.epochs * self.steps_per_epoch

    @property
    def images_seen(self) -> int:
        sizes = self.batches.sizes()
        return int(self.epoch * sizes.sum() + sizes[: self.position].sum())

    @property
    def epochs(self) -> int:
        return self.config.epochs

    @property
    def row_is_due(self) -> bool:
        return self.epoch % self.config.evaluate_every == 0 or self.finished

    def pictures(self) -> dict[str, bytes]:
        return {}

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
        self.network.train()
        for batch in self.batches.epoch(self.config.stream_seed("order", self.epoch), self.position):
            self._train_step(batch)
            if pause() and self.position < self.steps_per_epoch:
                self._check_losses()
                return False
        self._check_losses()
        self.epoch, self.position = self.epoch + 1, 0
        return True

    def _train_step(self, batch: Batch) -> None:
        config = self.config
        learning_rate = self.learning_rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        if self.teacher_logits is not None:
            teacher_logits: Tensor | None = self.teacher_logits.index_select(1, batch.indices)
        else:
            teacher_logits = self.teachers(batch.inputs) if self.teachers is not None else None
        loss = loss_of_parts(
            config.objectives,
            batch.parts,
            self.network(batch.inputs),
            teacher_logits=teacher_logits,
            # Labels that the objective does not need are never handed over, so they cannot leak.
            labels=batch.labels if config.objective.needs_labels else None,
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
        sample = self.training.inputs[:1]
        if self.teachers is not None and not bool(predict_ensemble(self.teachers, sample).isfinite().all()):
            return "a teacher's own predictions are not finite: look at its record"
        return (
            f"training diverged at learning rate {self.learning_rate(step):.3g}: "
            "lower optimizer.learning_rate or set schedule.warmup_epochs"
        )

    # -- evaluation -----------------------------------------------------------------------------------------------

    def epoch_metrics(self) -> Metrics:
        """A row of metrics for the epoch that has just ended: loss as trained, and both evaluation sets."""
        sizes = self.batches.sizes()
        loss = (self.losses.cpu().double() * sizes).sum() / sizes.sum()
        metrics = {"train/loss": loss, **self._measure("test", self.test_set)[0]}
        metrics |= self._measure("train", self.train_sample)[0]
        return _numbers(metrics)

    def row(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "step": self.step,
            "images_seen": self.images_seen,
            "learning_rate": self.learning_rate(self.step - 1),
            **self.epoch_metrics(),
        }

    def result(self) -> Result:
        """All metrics of the trained network, CKA included, and the predictions that the record keeps."""
        test_metrics, test_logits = self._measure("test", self.test_set)
        train_metrics, train_logits = self._measure("train", self.train_sample)
        metrics = test_metrics | train_metrics
        if self.teachers is not None and len(self.teachers.members) == 1:
            teacher = self.teachers.members[0]
            similarity = stage_similarity(self.network, teacher, self.test_set.inputs, self.config.stream_seed("cka"))
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
        counts = {
            "epochs": self.epoch,
            "steps": self.step,
            "training_images": len(self.training),
            "images_seen": self.images_seen,
            "parameters": count_parameters(self.network),
        }
        return Result(_numbers(metrics), counts, self.network.state_dict(), {"predictions": predictions})

    def _measure(self, prefix: str, evaluation: EvaluationSet) -> tuple[dict[str, Tensor], Tensor]:
        logits = predict(self.network, evaluation.inputs)
        return {f"{prefix}/{name}": value for name, value in measure(logits, evaluation).items()}, logits

    def _test_set(self, test: Split) -> EvaluationSet:
        inputs = test.inputs.to(self.device)
        return EvaluationSet(inputs, test.labels.to(self.device), self._teacher_view(inputs))

    def _train_sample(self) -> tuple[EvaluationSet, Tensor]:
        """A fixed sample of the training images as training sees them: augmented, with draws of its own."""
        inputs, indices = self.batches.sample(TRAIN_SAMPLE, self.config.stream_seed("train sample"))
        labels = self.training.labels[indices]
        mixed = any(augmentation.mixes_images for augmentation in self.config.augmentation)
        known = not mixed and bool((labels != NO_LABEL).all())
        return EvaluationSet(inputs, labels if known else None, self._teacher_view(inputs)), indices

    def _teacher_view(self, inputs: Tensor) -> Tensor | None:
        return predict_ensemble(self.teachers, inputs) if self.teachers is not None else None


def _numbers(metrics: Mapping[str, Tensor]) -> Metrics:
    """Metrics as numbers; None where one is undefined (CKA of a network that says the same about every image)."""
    return {name: None if value.isnan() else float(value) for name, value in metrics.items()}
