"""What each command does. Options come parsed from `repro.cli`; output for people goes to stdout as tables."""

import argparse
import importlib
import json
from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from repro import progress
from repro.config import GeneratorConfig
from repro.data.prepare import prepare, prepared_datasets
from repro.errors import BadInput, did_you_mean
from repro.experiments.study import find_study
from repro.export import export_runs
from repro.generative.quality import inception, measure_quality
from repro.generative.sampling import ImageSampler
from repro.launch.commands import check_data
from repro.launch.local import run_here
from repro.launch.plan import parents_first
from repro.launch.request import Request
from repro.launch.sweep import parse_settings, read_sweep, request_run
from repro.runner import Runner
from repro.stop import StopRequest
from repro.store import Store
from repro.surface import make_surface
from repro.training.examples import assemble
from repro.training.hardware import choose_device, keep_freed_memory


def demo(options: argparse.Namespace) -> None:
    """`repro demo`"""
    from repro.demo import run_demo

    run_demo(options.out)


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
    missing = _missing(plan, runner.store)
    if len(missing) > 1:
        runner.progress.say(f"{request.label}: trains {len(missing) - 1} missing parent(s) first")
    with runner.stop.listening():
        run_here(plan, runner)
    record = runner.store.run(request.config.run_id)
    if not missing:
        runner.progress.say(f"{request.label}: already done, nothing to train")
    metrics = record.read_json("summary.json")["metrics"]
    print(tabulate(sorted(metrics.items()), headers=["metric", request.label], floatfmt=".4f"))
    print(f"\nrecord: {record.path}")


def figures(options: argparse.Namespace) -> None:
    """`repro figures [NAME ...]`"""
    known = importlib.import_module("analysis").FIGURES
    names = list(known) if options.names == ["all"] else options.names
    for name in names:
        if name not in known:
            raise BadInput(f"no figure is called '{name}'{did_you_mean(name, known)}")
    for name in names:
        for path in known[name](Store(options.runs), options.out):
            print(path)


def surface(options: argparse.Namespace) -> None:
    """`repro surface STUDY`"""
    request = request_run(find_study(Path(options.study).stem), parse_settings(options.settings))
    path = make_surface(_runner(options), request.config, request.label, options.points, options.images)
    anchors = json.loads(path.read_text())["anchors"]
    rows = [{"network": name.replace("_", ", ")} | values for name, values in anchors.items()]
    print(tabulate(rows, headers="keys", floatfmt=".4f"))
    print(f"\nsurface: {path}")


def export(options: argparse.Namespace) -> None:
    """`repro export SWEEP.yaml --out FILE`"""
    store = Store(options.runs)
    plan = parents_first(read_sweep(options.sweep, parse_settings(options.settings)))
    count = export_runs([(request.label, store.run(request.config.run_id)) for request in plan], options.out)
    print(f"{options.out}: {count} of {len(plan)} runs")


def sample_quality(options: argparse.Namespace) -> None:
    """`repro sample-quality RUN`"""
    runner = _runner(options)
    record = runner.store.run(options.run)
    if not record.is_done() or not isinstance(config := record.config(), GeneratorConfig):
        raise BadInput(f"{record.path}: no finished generator run; `repro status --runs {options.runs}` lists runs")
    extract = inception(options.data, runner.device)
    datasets = {dataset: dataset.load(options.data) for dataset in config.data.datasets}
    real = assemble(config.data, datasets, runner.device, runner.generators(config)).inputs
    sampler = ImageSampler(runner.finished_network(config).to(runner.device), config.model.latent_size)
    generated = sampler.fixed_set(options.samples, config.stream_seed("quality"), runner.device)
    quality = measure_quality(real, generated, extract)
    record.write_json("quality.json", quality)
    print(tabulate(quality.items(), headers=["measure", options.run], floatfmt=".4g"))


def bench(options: argparse.Namespace) -> None:
    """`repro bench [NAME ...]`"""
    from repro.bench import run_benches

    print(run_benches(options.names, as_json=options.json, say=progress.for_this_output().say))


def _runner(options: argparse.Namespace) -> Runner:
    keep_freed_memory()
    device = choose_device(options.device)
    return Runner(Store(options.runs), options.data, device, progress.for_this_output(), StopRequest())


def _missing(plan: Sequence[Request], store: Store) -> list[Request]:
    return [request for request in plan if not store.run(request.config.run_id).is_done()]
