"""The one training loop, for teachers and students. Files, signals and progress are left to the runner."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from repro.config import GeneratorConfig, TrainingConfig
from repro.data.dataset import Dataset, LabeledData
from repro.distill.ensemble import Ensemble
from repro.errors import RunFailed
from repro.models.base import count_parameters
from repro.training.accumulation import accumulate, check_shares
from repro.training.batch_loss import BatchLoss
from repro.training.batch_norm import reestimate_batch_norm
from repro.training.batches import Batch
from repro.training.companions import Companions
from repro.training.distributed import ALONE, Ranks
from repro.training.evaluation import (
    EvaluationSet,
    as_numbers,
    identify,
    measure,
    predict,
    predict_ensemble,
    stage_similarity,
)
from repro.training.examples import NO_LABEL, assemble, with_validation
from repro.training.file_batches import make_batches
from repro.training.inputs import Inputs, inputs_of_test
from repro.training.start import initial_network, to_training_mode
from repro.training.streams import open_streams
from repro.training.training import Metrics, Result, Training

TRAIN_SAMPLE = 10_000
"""The fixed sample for train metrics has at most this many training images, augmented once as in training."""
SHOWN_TRAIN = 8
"""Of so many training images, the first ones, the record holds the logits without augmentation: unlike samples, they
are the same for all networks that learn from the same images, so that figures can show ensembles."""


class Trainer(Training):
    """A teacher's or student's run in memory: network, optimizer, position, and every random stream."""

    config: TrainingConfig

    def __init__(
        self,
        config: TrainingConfig,
        datasets: Mapping[Dataset, LabeledData],
        teachers: Ensemble | None,
        device: torch.device,
        generators: Mapping[GeneratorConfig, nn.Module] | None = None,
        ranks: Ranks = ALONE,
        loader_workers: int = 0,
        source: nn.Module | None = None,
    ) -> None:
        """`generators` are the finished networks of `config.data.generators`, on the device. `ranks` are the processes
        that train the run together; `loader_workers` decode files for this one. `source`: the trained network of
        `config.source`."""
        self.device = device
        self.ranks = ranks
        self.teachers = teachers.to(device) if teachers is not None else None
        self.examples = assemble(config.data, datasets, device, generators or {})
        network = initial_network(config, self.teachers, source)
        self.network = network.to(device).to(memory_format=torch.channels_last)
        self.loss = BatchLoss(config, self.network, self.teachers, device)
        self.beside = self.loss.beside
        parameters = [parameter for parameter in self.network.parameters() if parameter.requires_grad]
        if self.beside is not None:
            parameters += self.beside.parameters()
        self.optimizer = config.optimizer.build(parameters)
        self.random = {
            name: torch.Generator(device).manual_seed(config.stream_seed(name))
            for name in ("augmentation", "objective")
        }
        check_shares(config, ranks)
        streams = open_streams(config.data, datasets, device, generators or {})
        reader = datasets[config.data.train.dataset].reader
        self.batches = make_batches(config, self.examples, streams, self.random["augmentation"], reader, loader_workers)
        torch.manual_seed(config.stream_seed("dropout"))
        super().__init__(config, steps_per_epoch=len(self.batches))
        self.losses = torch.zeros(self.steps_per_epoch, device=device)  # of this epoch, by step
        if config.init.reestimates_batch_norm:
            reestimate_batch_norm(self.network, self.batches.extra_pass(config.stream_seed("batch norm")))
        ranks.copy_from_first(list(self.network.state_dict().values()))
        own = with_validation(config, datasets)
        test_inputs = inputs_of_test(own, loader_workers, device)
        self.test_set = EvaluationSet(test_inputs, own.test.labels.to(device), self._teacher_view(test_inputs))
        self.train_sample, self.train_sample_indices = self._train_sample()
        if self.batches.fixed_inputs is not None:
            self.loss.remember_teachers(self.batches.fixed_inputs, ranks)
        self.epoch_steps: Iterator[Sequence[Batch]] | None = None  # the rest of this epoch, once it has begun

    # -- the position, and how to restore it ------------------------------------------------------------------

    @property
    def progress(self) -> float:
        """The fraction of the run's steps that are done."""
        return self.step / self.total_steps

    @property
    def images_seen(self) -> int:
        sizes = self.batches.sizes()
        return int(self.epoch * sizes.sum() + sizes[: self.position].sum())

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "position": self.position,
            "losses": self.losses,
            "network": self.network.state_dict(),
            **({"beside": self.beside.state_dict()} if self.beside is not None else {}),
            "optimizer": self.optimizer.state_dict(),
            "generators": {name: generator.get_state() for name, generator in self.random.items()},
            "cpu_rng": torch.get_rng_state(),
            "cuda_rng": torch.cuda.get_rng_state(self.device) if self.device.type == "cuda" else None,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]
        self.epoch_steps = None
        self.losses.copy_(state["losses"])
        self.network.load_state_dict(state["network"])
        if self.beside is not None:
            self.beside.load_state_dict(state["beside"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.restore_generators(self.random, state["generators"])
        torch.manual_seed(self.config.stream_seed("dropout", self.step))  # if the device's own state is not known
        torch.set_rng_state(state["cpu_rng"])
        if self.device.type == "cuda" and state["cuda_rng"] is not None:
            torch.cuda.set_rng_state(state["cuda_rng"], self.device)

    # -- training -----------------------------------------------------------------------------------------------

    def advance(self, pause: Callable[[], bool]) -> bool:
        to_training_mode(self.network, self.config)
        if self.epoch_steps is None:
            seed = self.config.stream_seed("order", self.epoch)
            self.epoch_steps = self.batches.steps(seed, self.position, self.config.micro_batch_size, self.ranks)
        for micro_batches in self.epoch_steps:
            self._train_step(micro_batches)
            if pause() and self.position < self.steps_per_epoch:
                self._check_losses()
                return False
        self._check_losses()
        self.epoch, self.position, self.epoch_steps = self.epoch + 1, 0, None
        return True

    def _train_step(self, micro_batches: Sequence[Batch]) -> None:
        learning_rate = self.learning_rate(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)
        if self.config.micro_batch_size is None:
            (batch,) = micro_batches
            loss = self.loss(batch, self.progress, self.random["objective"])
            with self.loss.precision.backward():
                loss.backward()
        else:
            loss = accumulate(self.network, self._micro_losses(micro_batches), self.ranks, self.loss.precision)
        self.optimizer.step()
        self.losses[self.position] = loss.detach()
        self.position += 1

    def _micro_losses(self, micro_batches: Sequence[Batch]) -> Iterator[tuple[float, Tensor]]:
        """For each of this process's micro-batches, its share of the step's examples and its mean loss.

        Random draws depend only on the run's seed, the step and the micro-batch's place in it, not on the process."""
        step_size = self.batches.sizes()[self.position].item()
        for place, batch in enumerate(micro_batches):
            names = self.step, self.ranks.rank + place * self.ranks.size
            torch.manual_seed(self.config.stream_seed("micro-batch", *names))  # what dropout draws from
            objective_seed = self.config.stream_seed("micro-batch", *names, "objective")
            generator = torch.Generator(self.device).manual_seed(objective_seed)
            yield len(batch.indices) / step_size, self.loss(batch, self.progress, generator)

    def _check_losses(self) -> None:
        bad = (~self.losses[: self.position].isfinite()).nonzero()
        if len(bad) > 0:
            position = int(bad[0])
            step = self.epoch * self.steps_per_epoch + position
            raise RunFailed(
                f"the loss became {self.losses[position].item()} at epoch {self.epoch}, step {position} (step {step} "
                f"of {self.total_steps}); {self._likely_cause(step)}"
            )

    def _likely_cause(self, steps: int) -> str:
        """A hint for the user on why training failed after this many steps."""
        teacher_logits = self.train_sample.teacher_logits
        if teacher_logits is not None and not bool(teacher_logits.isfinite().all()):
            return "a teacher's own predictions are not finite: look at its record"
        if steps == 0:
            return "nothing had been learned yet: the cause is in the network, the objective or an augmentation"
        return (
            f"training diverged at learning rate {self.learning_rate(steps - 1):.3g}: "
            "lower optimizer.learning_rate or set schedule.warmup_epochs"
        )

    # -- evaluation -----------------------------------------------------------------------------------------------

    def epoch_metrics(self) -> Metrics:
        """The metrics of the epoch that has just ended: its training loss, and those on both evaluation sets."""
        sizes = self.batches.sizes()
        loss = (self.losses.cpu().double() * sizes).sum() / sizes.sum()
        metrics = {"train/loss": loss, **self._measure("test", self.test_set)[0]}
        metrics |= self._measure("train", self.train_sample)[0]
        return as_numbers(metrics)

    def result(self) -> Result:
        """All metrics of the trained network, CKA included, and the predictions that the record keeps."""
        test_metrics, test_logits = self._measure("test", self.test_set)
        if not bool(test_logits.isfinite().all()):  # the last step can cause this although its own loss was finite
            raise RunFailed(f"the trained network's predictions are not finite; {self._likely_cause(self.step)}")
        train_metrics, train_logits = self._measure("train", self.train_sample)
        metrics = test_metrics | train_metrics
        if self.teachers is not None and len(self.teachers.members) == 1:
            teacher = self.teachers.members[0]
            similarity = stage_similarity(self.network, teacher, self.test_set.inputs, self.config.stream_seed("cka"))
            metrics |= {f"test/cka/{stage}": value for stage, value in similarity.items()}
        if isinstance(self.beside, Companions):
            beside = self.beside.measure(self.network, self.test_set)
            metrics |= {f"test/companion/{name}": value for name, value in beside.items()}
        assert self.test_set.labels is not None
        predictions = {
            "test_logits": test_logits,
            "test_labels": self.test_set.labels,
            "train_logits": train_logits,
            "train_labels": self.examples.labels[self.train_sample_indices],
            "train_indices": self.train_sample_indices,
            "shown_train_logits": predict(self.network, self.batches.first(SHOWN_TRAIN), self.ranks),
        }
        if self.train_sample.teacher_logits is not None:
            predictions["train_teacher_logits"] = self.train_sample.teacher_logits
        if self.teachers is not None and self.teachers.merge is not None and self.test_set.teacher_logits is not None:
            predictions["test_teacher_logits"] = self.test_set.teacher_logits  # readers can only recompute ensembles
        counts = {
            "epochs": self.epoch,
            "steps": self.step,
            "training_images": len(self.examples),
            "images_seen": self.images_seen,
            "parameters": count_parameters(self.network),
        }
        tensors, test_set = {"predictions": predictions}, identify(self.test_set.inputs)
        return Result(as_numbers(metrics), counts, self.network.state_dict(), tensors, test_set)

    def _measure(self, prefix: str, evaluation: EvaluationSet) -> tuple[dict[str, Tensor], Tensor]:
        logits = predict(self.network, evaluation.inputs, self.ranks)
        return {f"{prefix}/{name}": value for name, value in measure(logits, evaluation).items()}, logits

    def _train_sample(self) -> tuple[EvaluationSet, Tensor]:
        """A fixed sample of the training images as training sees them: augmented, with its own random draws."""
        inputs, indices = self.batches.sample(TRAIN_SAMPLE, self.config.stream_seed("train sample"))
        labels = self.examples.labels[indices]
        mixed = any(augmentation.mixes_images for augmentation in self.config.augmentation)
        known = not mixed and bool((labels != NO_LABEL).all())
        return EvaluationSet(inputs, labels if known else None, self._teacher_view(inputs)), indices

    def _teacher_view(self, inputs: Inputs) -> Tensor | None:
        return predict_ensemble(self.teachers, inputs, self.ranks) if self.teachers is not None else None
