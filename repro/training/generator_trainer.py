"""The training of a generator against its discriminator. Files, signals and progress are left to the runner."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from repro.config import GeneratorConfig
from repro.data.dataset import Dataset, LabeledData
from repro.errors import RunFailed
from repro.generative.hinge import discriminator_loss, generator_loss
from repro.generative.sampling import generate, picture, to_uint8
from repro.models.base import count_parameters
from repro.training.batches import Batches
from repro.training.examples import assemble
from repro.training.training import Metrics, Result, Training

SAMPLES = 64
"""Images of the sample grid; their latents are the same throughout the run."""


def build_networks(config: GeneratorConfig) -> tuple[nn.Module, nn.Module]:
    """Generator and discriminator, freshly initialised. Raises BadInput if they do not fit the images."""
    shape = config.data.train.dataset.input_shape
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.stream_seed("init"))
        return config.model.build_generator(shape), config.model.build_discriminator(shape)


class GeneratorTrainer(Training):
    """A generator's run in memory: both networks, their optimizers, the position, and every random stream.

    A step is one of the generator, after `config.discriminator_steps` of the discriminator.
    """

    config: GeneratorConfig

    def __init__(
        self,
        config: GeneratorConfig,
        datasets: Mapping[Dataset, LabeledData],
        device: torch.device,
        generators: Mapping[GeneratorConfig, nn.Module],
    ) -> None:
        super().__init__(config, config.steps_per_epoch)
        self.device = device
        training = assemble(config.data, datasets, device, generators)
        self.training_images = len(training)
        self.generator, self.discriminator = (
            network.to(device).to(memory_format=torch.channels_last) for network in build_networks(config)
        )
        self.average = (
            AveragedModel(
                self.generator,
                multi_avg_fn=get_ema_multi_avg_fn(config.ema_decay),
                use_buffers=True,
            )
            if config.ema_decay is not None
            else None
        )
        self.optimizers = {
            "generator": config.optimizer.build(self.generator.parameters()),
            "discriminator": config.optimizer.build(self.discriminator.parameters()),
        }
        self.random = {
            name: torch.Generator(device).manual_seed(config.stream_seed(name)) for name in ("augmentation", "latents")
        }
        self.batches = Batches(training, config.batch_size, config.augmentation, self.random["augmentation"])
        fixed = torch.Generator().manual_seed(config.stream_seed("samples"))
        self.sample_latents = torch.randn(SAMPLES, config.model.latent_size, generator=fixed).to(device)
        self.losses = torch.zeros(2, self.steps_per_epoch, device=device)  # of this epoch: generator, discriminator

    # -- the position, and how to restore it ------------------------------------------------------------------

    def state_dict(self) -> dict[str, Any]:
        return {
            "epoch": self.epoch,
            "position": self.position,
            "losses": self.losses,
            "modules": {name: module.state_dict() for name, module in self._modules().items()},
            "optimizers": {name: optimizer.state_dict() for name, optimizer in self.optimizers.items()},
            "random": {name: generator.get_state() for name, generator in self.random.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self.epoch, self.position = state["epoch"], state["position"]
        self.losses.copy_(state["losses"])
        for name, module in self._modules().items():
            module.load_state_dict(state["modules"][name])
        for name, optimizer in self.optimizers.items():
            optimizer.load_state_dict(state["optimizers"][name])
        self.restore_generators(self.random, state["random"])

    def _modules(self) -> dict[str, nn.Module]:
        modules = {"generator": self.generator, "discriminator": self.discriminator}
        return modules if self.average is None else modules | {"average": self.average}

    # -- training -----------------------------------------------------------------------------------------------

    def advance(self, pause: Callable[[], bool]) -> bool:
        self.generator.train(), self.discriminator.train()
        real_batches = self._real_batches(self.step * self.config.discriminator_steps)
        while self.position < self.steps_per_epoch:
            self._step(real_batches)
            if pause() and self.position < self.steps_per_epoch:
                self._check_losses()
                return False
        self._check_losses()
        self.epoch, self.position = self.epoch + 1, 0
        return True

    def _real_batches(self, start: int) -> Iterator[Tensor]:
        """Batches of real images, from the run's batch number `start` on: pass after pass, each newly shuffled."""
        done, position = divmod(start, len(self.batches))
        while True:
            for batch in self.batches.epoch(self.config.stream_seed("order", done), position):
                yield batch.inputs
            done, position = done + 1, 0

    def _step(self, real_batches: Iterator[Tensor]) -> None:
        """Discriminator steps, then one generator step."""
        learning_rate = self.learning_rate(self.step)
        for optimizer in self.optimizers.values():
            for group in optimizer.param_groups:
                group["lr"] = learning_rate
        losses = [self._discriminator_step(next(real_batches)) for _ in range(self.config.discriminator_steps)]
        self.losses[1, self.position] = torch.stack(losses).mean()
        self.losses[0, self.position] = self._generator_step()
        if self.average is not None:
            self.average.update_parameters(self.generator)
        self.position += 1

    def _discriminator_step(self, real: Tensor) -> Tensor:
        with torch.no_grad():
            fake = self.generator(self._latents(len(real)))
        real_scores, fake_scores = self.discriminator(torch.cat([real, fake])).chunk(2)
        loss = discriminator_loss(real_scores, fake_scores)
        self._descend("discriminator", loss)
        return loss.detach()

    def _generator_step(self) -> Tensor:
        self.discriminator.requires_grad_(False)  # its gradients are not needed here
        loss = generator_loss(self.discriminator(self.generator(self._latents(self.config.batch_size))))
        self._descend("generator", loss)
        self.discriminator.requires_grad_(True)
        return loss.detach()

    def _descend(self, name: str, loss: Tensor) -> None:
        self.optimizers[name].zero_grad(set_to_none=True)
        loss.backward()
        self.optimizers[name].step()

    def _latents(self, count: int) -> Tensor:
        return torch.randn(count, self.config.model.latent_size, generator=self.random["latents"], device=self.device)

    def _check_losses(self) -> None:
        bad = (~self.losses[:, : self.position].isfinite()).any(dim=0).nonzero()
        if len(bad) > 0:
            step = self.epoch * self.steps_per_epoch + int(bad[0])
            raise self._diverged(step, f"a loss was not finite at generator step {step} of {self.total_steps}")

    def _diverged(self, step: int, what: str) -> RunFailed:
        rate = self.learning_rate(step)
        return RunFailed(f"{what}: training diverged at learning rate {rate:.3g}; lower optimizer.learning_rate")

    # -- what it leaves -------------------------------------------------------------------------------------------

    @property
    def images_seen(self) -> int:
        """How many real images the discriminator has been shown."""
        passes, batches = divmod(self.step * self.config.discriminator_steps, len(self.batches))
        return passes * self.training_images + int(self.batches.sizes()[:batches].sum())

    def pictures(self) -> dict[str, bytes]:
        return {"samples.png": picture(self._samples())}

    def result(self) -> Result:
        counts = {
            "epochs": self.epoch,
            "steps": self.step,
            "training_images": self.training_images,
            "images_seen": self.images_seen,
            "parameters": count_parameters(self.generator),
            "discriminator_parameters": count_parameters(self.discriminator),
        }
        weights = self._final_generator().state_dict()
        return Result(self.epoch_metrics(), counts, weights, {"samples": {"images": self._samples()}})

    def epoch_metrics(self) -> Metrics:
        """Both losses, averaged over the steps of the epoch that has just ended."""
        generator, discriminator = self.losses.double().mean(dim=1).tolist()
        return {"train/generator_loss": generator, "train/discriminator_loss": discriminator}

    def _samples(self) -> Tensor:
        """The current images of the fixed latents, uint8. Raises RunFailed if they are not finite."""
        images = generate(self._final_generator(), self.sample_latents)
        if not bool(images.isfinite().all()):  # the latest step can cause this although its own loss was finite
            raise self._diverged(self.step - 1, f"the generator's images are not finite after step {self.step}")
        return to_uint8(images)

    def _final_generator(self) -> nn.Module:
        """The generator that the record keeps: the average over steps if there is one."""
        return self.generator if self.average is None else self.average.module
