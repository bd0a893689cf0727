"""One run, from its config to its finished record: lock, resume, train, evaluate, write."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import torch
from torch import nn

from repro.attempt import note_attempt, now, run_log, write_failure
from repro.clock import Clock
from repro.config import GeneratorConfig, RunConfig, StudentConfig
from repro.data.dataset import Dataset, LabeledData
from repro.distill.ensemble import Ensemble
from repro.errors import BadInput, Interrupted, MadeElsewhere, RunFailed, is_out_of_memory
from repro.progress import Progress, for_this_output, summarize
from repro.run_data import as_recorded, check_data_of_parents, check_same_data, check_test_images, fingerprint_all
from repro.stop import StopRequest
from repro.store import RunDirectory, SharedRun, Store
from repro.training import hardware
from repro.training.accumulation import check_shares
from repro.training.batches import smallest_batch
from repro.training.check_parts import check_optimization, check_parts
from repro.training.compiled import check_compiler
from repro.training.distributed import ALONE, Ranks
from repro.training.examples import lineage, select_all, with_validation
from repro.training.generator_trainer import GeneratorTrainer, build_networks
from repro.training.precision import check_precision
from repro.training.start import build_network
from repro.training.trainer import Trainer
from repro.training.training import Result, Training

CHECKPOINT_SECONDS = 30.0


@dataclass(frozen=True)
class Runner:
    """Makes runs in `store`, one at a time, on `device`, with prepared data from `data_directory`."""

    store: Store
    data_directory: Path
    device: torch.device
    progress: Progress = field(default_factory=for_this_output)
    stop: StopRequest = field(default_factory=StopRequest)
    checkpoint_seconds: float = CHECKPOINT_SECONDS
    ranks: Ranks = ALONE
    """The processes that make each run together; the first writes its record."""
    loader_workers: int = field(default_factory=hardware.count_loader_workers)
    """Worker processes that decode files for this process; 0: it decodes them itself."""

    def check(self, configs: Iterable[RunConfig]) -> None:
        """Raise BadInput, before any run is started, if the data, parts or precision of one of them are unusable."""
        datasets: dict[Dataset, LabeledData] = {}
        smallest: dict[object, int] = {}  # the runs of a sweep share most of their data and architectures
        checked: set[object] = set()
        for config in configs:
            if self.store.run(config.run_id).is_done():
                continue
            check_precision(config, self.device)
            check_compiler(config)
            optimization = (config.optimizer, config.schedule, config.epochs)
            if optimization not in checked:
                check_optimization(config)
                checked.add(optimization)
            for dataset in config.data.datasets:
                if dataset not in datasets:
                    datasets[dataset] = dataset.load_checked(self.data_directory)
            check_test_images(config, datasets)
            if isinstance(config, GeneratorConfig):
                select_all(config.data, datasets)
                with torch.random.fork_rng(devices=[]):
                    build_networks(config)
                continue
            read = tuple(run.data for run in lineage(config))
            batches = (read, config.batch_size, config.micro_batch_size, config.stream_counts, config.last_batch)
            if batches not in smallest:
                smallest[batches] = smallest_batch(config, datasets)
                with_validation(config, datasets)
            parts: tuple[object, ...] = (config.model, config.objective, config.augmentation, config.data.train.dataset)
            if isinstance(config, StudentConfig):
                parts += (config.merge, config.known_classes, *(teacher.model for teacher in config.teachers))
            seen = (parts, config.frozen_trunk, config.source is not None, smallest[batches])
            if seen not in checked:
                check_parts(config, smallest[batches])
                checked.add(seen)

    def make(
        self, config: RunConfig, title: str, forgiven: str | Literal["any"] | None = "any", waits: bool = True
    ) -> None:
        """Finish the run of `config`, whose parents must be done. Returns at once if its record is complete.

        If the record holds a failure of the run itself, the run is tried again only if it failed at the time `forgiven`
        or if that is "any". If another process is making the run, this waits for it or, unless `waits`, raises
        MadeElsewhere. Raises BadInput if data are missing or differ from those that the record was started with or a
        parent was made with; Interrupted if asked to stop; RunFailed if the run cannot finish (the reason is kept in
        `failure.json`).
        """
        run = self._record(config)
        fingerprints = fingerprint_all(config, self.data_directory)
        if self._is_done(run, fingerprints):
            return
        check_data_of_parents(config, fingerprints, self.store)
        datasets = {dataset: dataset.load_checked(self.data_directory) for dataset in config.data.datasets}
        check_test_images(config, datasets)
        check_precision(config, self.device)
        check_compiler(config)

        def give_up_if_asked() -> None:
            if self.stop.signal is not None:
                raise Interrupted(f"run {run.run_id} ({title}): stopped by {self.stop.signal} while it waited")

        def say_for_whom(holder: str) -> None:
            if not waits:
                raise MadeElsewhere(f"{title}: is being trained by {holder}")
            if self.ranks.size > 1:
                raise RunFailed(f"{title}: is being trained by {holder}; a run under torchrun does not wait for it")
            self.progress.say(f"{title}: waiting, {holder} is training it")

        with run.lock(on_wait=say_for_whom, while_waiting=give_up_if_asked):
            if self._is_done(run, fingerprints):  # made by the process we waited for
                return
            self._refuse_if_failed(run, title, forgiven)
            run.forget_failure()
            run.write_config(config)
            with run_log(run, writes=self.ranks.is_first) as log:
                try:
                    self._train(run, config, title, datasets, fingerprints, log)
                    self.ranks.wait_for_all()  # a parent's weights must exist before any process starts its child
                except (Interrupted, BadInput, BrokenPipeError):  # the last if our output is closed, by `| head` say
                    raise
                except Exception as caught:
                    log.exception("failed")
                    error = self._explained(caught)
                    write_failure(run, error)
                    if isinstance(error, RunFailed | OSError):
                        raise RunFailed(f"run {run.run_id} ({title}): {error}") from caught
                    raise

    def _explained(self, error: Exception) -> Exception:
        if not is_out_of_memory(error):
            return error
        reason = str(error).partition("\n")[0]
        return RunFailed(f"{self.device} is out of memory ({reason}); runs that are made at the same time share it")

    def _is_done(self, run: RunDirectory, fingerprints: Mapping[Dataset, str]) -> bool:
        """Whether the run is done. Raises BadInput if it is, but was made with other data."""
        done = self.ranks.first_decides(run.is_done())
        if done:
            check_same_data(run.read_json("summary.json")["data"], fingerprints, run)
        return done

    def _refuse_if_failed(self, run: RunDirectory, title: str, forgiven: str | None) -> None:
        failure = run.last_failure() if self.ranks.is_first and forgiven != "any" else None
        refused = failure is not None and failure["parent"] is None and failure["time"] != forgiven
        if self.ranks.first_decides(refused):
            reason = failure["error"] if failure is not None else "see its record"
            raise RunFailed(f"run {run.run_id} ({title}): has failed since this launch began: {reason}")

    def _record(self, config: RunConfig) -> RunDirectory:
        run = self.store.run(config.run_id)
        return run if self.ranks.is_first else SharedRun(run.path)

    def _train(
        self,
        run: RunDirectory,
        config: RunConfig,
        title: str,
        datasets: Mapping[Dataset, LabeledData],
        fingerprints: Mapping[Dataset, str],
        log: logging.Logger,
    ) -> None:
        hardware.use_exact_kernels()
        clock = Clock(self.checkpoint_seconds)
        trainer = self._training(config, datasets)  # this already evaluates the teachers
        rows = self._resume(run, trainer, clock, fingerprints, log)
        data = as_recorded(fingerprints)

        def save_checkpoint() -> None:
            content = {"trainer": trainer.state_dict(), "data": data, "seconds": clock.seconds(), "metrics_rows": rows}
            run.write_checkpoint(content)
            clock.checkpointed()

        def pause() -> bool:
            self.progress.step()
            return self.ranks.any(self.stop.signal is not None or clock.checkpoint_due())

        self.progress.start(title, trainer.total_steps, trainer.step)
        try:
            while not trainer.finished:
                ended = trainer.advance(pause)
                if ended and trainer.row_is_due:
                    row = trainer.row()
                    run.append_metrics(row)
                    for name, content in trainer.pictures().items():
                        run.write_picture(name, content)
                    rows += 1
                    log.info("epoch %d/%d  %s", trainer.epoch, config.epochs, summarize(row))
                    self.progress.epoch(trainer.epoch, config.epochs, row)
                stopped = self.ranks.any(self.stop.signal is not None)
                if trainer.finished or stopped or clock.checkpoint_due():
                    save_checkpoint()
                if stopped and not trainer.finished:
                    by = self.stop.signal or "a signal to another process"
                    log.info("stopped by %s at step %d", by, trainer.step)
                    raise Interrupted(
                        f"run {run.run_id} ({title}): stopped by {by} at step {trainer.step} of "
                        f"{trainer.total_steps}; the same command continues from there"
                    )
        finally:
            self.progress.stop()
        result = trainer.result()
        _write_result(run, config, result, clock, data)
        log.info("done  %s", summarize(result.metrics))

    def _resume(
        self,
        run: RunDirectory,
        trainer: Training,
        clock: Clock,
        fingerprints: Mapping[Dataset, str],
        log: logging.Logger,
    ) -> int:
        """Begin an attempt, from the checkpoint if there is one. Returns the number of rows of metrics so far."""
        rows = 0
        checkpoint = run.checkpoint()
        if checkpoint is not None:
            check_same_data(checkpoint["data"], fingerprints, run)
            trainer.load_state_dict(checkpoint["trainer"])
            clock.add(checkpoint["seconds"])
            rows = checkpoint["metrics_rows"]
        run.truncate_metrics(rows)
        changed = note_attempt(run, trainer.step, hardware.describe(self.device) | {"process_count": self.ranks.size})
        if changed:
            line = f"continues with another {', '.join(changed)}: its result may differ from that of an undisturbed run"
            log.warning(line)
            self.progress.say(f"warning: run {run.run_id} {line}")
        log.info("%s at step %d of %d", "continues" if trainer.step else "starts", trainer.step, trainer.total_steps)
        return rows

    def _training(self, config: RunConfig, datasets: Mapping[Dataset, LabeledData]) -> Training:
        """The run in memory, before its first step."""
        generators = self.generators(config)
        if isinstance(config, GeneratorConfig):
            check_shares(config, self.ranks)
            return GeneratorTrainer(config, datasets, self.device, generators)
        teachers, source = self.teachers(config), self.source(config)
        return Trainer(config, datasets, teachers, self.device, generators, self.ranks, self.loader_workers, source)

    def teachers(self, config: RunConfig) -> Ensemble | None:
        """The trained teachers of a student, from their records; None for a run without teachers."""
        if not isinstance(config, StudentConfig):
            return None
        return Ensemble([self.finished_network(teacher) for teacher in config.teachers], config.merging)

    def source(self, config: RunConfig) -> nn.Module | None:
        """The trained network whose trunk the run starts from, from its record; None for a run without a source."""
        if isinstance(config, GeneratorConfig) or config.source is None:
            return None
        return self.finished_network(config.source)

    def generators(self, config: RunConfig) -> dict[GeneratorConfig, nn.Module]:
        """The trained generators of a run's data, loaded from their records onto the device."""
        return {parent: self.finished_network(parent).to(self.device) for parent in config.data.generators}

    def finished_network(self, config: RunConfig) -> nn.Module:
        """The trained network of a run that is done."""
        network = build_networks(config)[0] if isinstance(config, GeneratorConfig) else build_network(config)
        record = self.store.run(config.run_id)
        if not (record.path / "model.safetensors").exists():
            raise RunFailed(f"the weights of its {config.kind} are gone: remove {record.path} to make it again")
        network.load_state_dict(record.weights())
        return network.to(memory_format=torch.channels_last)


def _write_result(run: RunDirectory, config: RunConfig, result: Result, clock: Clock, data: dict[str, str]) -> None:
    """Write what a finished run leaves; the summary comes last."""
    run.write_tensors("model.safetensors", result.weights)
    for name, tensors in result.tensors.items():
        run.write_tensors(f"{name}.safetensors", tensors)
    summary = {
        "run_id": run.run_id,
        "kind": config.kind,
        "metrics": result.metrics,
        **result.counts,
        "seconds": clock.seconds(),
        "data": data,
        "test_set": result.test_set,
        "finished": now(),
    }
    run.write_json("summary.json", summary)
