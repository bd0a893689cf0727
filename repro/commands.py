"""What each command does. `repro.cli` passes the parsed options; results are printed to stdout as tables."""

import argparse
import contextlib
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

from tabulate import tabulate

from repro import progress
from repro.config import GeneratorConfig
from repro.data.prepare import prepare, prepared_datasets
from repro.errors import BadInput, RunFailed
from repro.experiments.study import find_study
from repro.generative.quality import SPLITS, inception, measure_quality
from repro.generative.sampling import ImageSampler
from repro.launch.commands import check_data
from repro.launch.ledger import Ledger
from repro.launch.local import make_checked
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.launch.sweep import parse_settings, request_run
from repro.run_data import check_data_of_done
from repro.runner import Runner
from repro.store import Store, find_id
from repro.surface import make_surface
from repro.tracking.label import Label
from repro.tracking.mirror import Mode, mirrored
from repro.training.distributed import connected, ranks_of_this_job
from repro.training.examples import assemble
from repro.training.hardware import choose_device, keep_freed_memory, use_exact_kernels


def data_list(options: argparse.Namespace) -> None:
    """`repro data list`"""
    rows = []
    for name, dataset in prepared_datasets().items():
        path = dataset.file(options.data)
        try:
            state = dataset.model_validate({}).fingerprint(options.data)
        except BadInput:
            state = "damaged" if path.exists() else "not prepared"
        shape = "x".join(map(str, dataset.model_validate({}).input_shape))
        size = f"{path.stat().st_size / 1e6:.0f} MB" if path.exists() else ""
        rows.append([name, dataset.num_classes, shape, state, size])
    rows.append(["digits", 10, "1x28x28", "embedded", ""])
    print(f"prepared data in {options.data}\n")
    print(tabulate(rows, headers=["name", "classes", "input", "fingerprint", "file"]))


def data_prepare(options: argparse.Namespace) -> None:
    """`repro data prepare NAME`"""
    path = prepare(options.name, options.data, progress.for_this_output().say)
    print(path)


def run(options: argparse.Namespace) -> None:
    """`repro run STUDY`"""
    request = request_run(find_study(Path(options.study).stem), parse_settings(options.settings))
    plan = parents_first([request])
    check_data(plan, options.data)
    runner = _runner(options)
    runner.check(one.config for one in plan)
    missing = [one for one in plan if not runner.store.run(one.run_id).is_done()]
    if len(missing) > 1:
        runner.progress.say(f"{request.label}: training {len(missing) - 1} missing parent(s) first")
    labels = {made.run_id: Label(made.label, made.study, made.tags) for made in missing}
    mode: Mode = options.wandb if runner.ranks.is_first else "disabled"
    remembered = missing and runner.ranks.is_first
    with (
        _remembered(request, plan, runner) if remembered else contextlib.nullcontext(),
        mirrored(mode, options.runs, labels, runner.progress.say),
        runner.stop.listening(),
        connected(runner.ranks, runner.device),
    ):
        make_checked(plan, runner)
    if not runner.ranks.is_first:
        return
    record = runner.store.run(request.config.run_id)
    if not missing:
        runner.progress.say(f"{request.label}: already done, nothing to train")
    metrics = record.read_json("summary.json")["metrics"]
    print(f"{request.label}\n")
    print(tabulate(sorted(metrics.items()), headers=["metric", "value"], floatfmt=".4f"))
    print(f"\nrecord: {record.path}")


def surface(options: argparse.Namespace) -> None:
    """`repro surface STUDY`"""
    request = request_run(find_study(Path(options.study).stem), parse_settings(options.settings))
    path = make_surface(_runner(options), request.config, request.label, options.points, options.images)
    anchors = json.loads(path.read_text())["anchors"]
    rows = [{"network": name.replace("_", ", ")} | values for name, values in anchors.items()]
    print(tabulate(rows, headers="keys", floatfmt=".4f"))
    print(f"\nsurface: {path}")


def sample_quality(options: argparse.Namespace) -> None:
    """`repro sample-quality RUN`"""
    if options.samples < SPLITS:
        raise BadInput(f"--samples {options.samples} is too few: the inception score is a mean over {SPLITS} parts")
    runner = _runner(options)
    listed = f"`repro status --runs {options.runs}` lists runs"
    ids = [run.run_id for run in runner.store.runs()]
    record = runner.store.run(find_id(options.run, ids, str(options.runs), listed))
    if not record.is_done() or not isinstance(config := record.config(), GeneratorConfig):
        raise BadInput(f"{record.path}: no finished generator run; {listed}")
    check_data_of_done(record, config, options.data)
    use_exact_kernels()
    extract = inception(options.data, runner.device)
    with record.lock(lambda holder: runner.progress.say(f"waiting, {holder} is writing to {record.path}")):
        datasets = {dataset: dataset.load_checked(options.data) for dataset in config.data.datasets}
        real = assemble(config.data, datasets, runner.device, runner.generators(config)).inputs
        sampler = ImageSampler(runner.finished_network(config).to(runner.device), config.model.latent_size)
        generated = sampler.fixed_set(options.samples, config.stream_seed("quality"), runner.device)
        quality = measure_quality(real, generated, extract)
        record.write_json("quality.json", quality)
    print(tabulate(quality.items(), headers=["measure", record.run_id], floatfmt=".4g"))


def bench(options: argparse.Namespace) -> None:
    """`repro bench [NAME ...]`"""
    from repro.bench import run_benches

    chosen: dict[str, bool | str] = {"fast": True} if options.fast else {}
    if options.device != "auto":
        chosen["device"] = str(choose_device(options.device))
    try:
        found = run_benches(options.names, as_json=options.json, say=progress.for_this_output().say, **chosen)
    except KeyboardInterrupt as error:
        raise RunFailed("interrupted; nothing that was measured is kept") from error
    print(found)


def _runner(options: argparse.Namespace) -> Runner:
    keep_freed_memory()
    device = choose_device(options.device)
    ranks = ranks_of_this_job()
    output = progress.for_this_output() if ranks.is_first else progress.Progress()
    return Runner(Store(options.runs), options.data, device, output, ranks=ranks)


@contextlib.contextmanager
def _remembered(request: Request, plan: Sequence[Request], runner: Runner) -> Iterator[None]:
    """Record what the runs are made for, for `repro status` and `repro wandb sync`; undone if the input is bad."""
    ledger = Ledger(runner.store.root)
    with ledger.lock(runner.progress.say):  # the same command in another terminal writes the same file
        # Under the study's name, as in W&B; the origin keeps it apart from a sweep of the same name.
        forget = ledger.remember_sweep(request.study, {"run": request.run_id}, plan)
    try:
        yield
    except BadInput:
        forget()
        raise
