"""What the records say."""

import argparse
from pathlib import Path

from repro.errors import BadInput
from repro.usage.options import Commands, command, positive, run_options, source_option

CHANGES = "show only runs that were launched with this value of a config key"
BENCH = "repro.commands:bench"
BENCHES_OF_OPTIONS = {
    "fast": ["throughput"],
    "method": ["fidelity"],
    "on": ["fidelity", "precision"],
    "preset": ["fidelity", "precision"],
    "trials": ["precision"],
    "same_teacher": ["precision"],
    "workers": ["precision"],
    "runs": ["fidelity", "precision"],
    "data": ["fidelity", "precision"],
    "device": ["fidelity", "precision", "resnet", "throughput", "workers"],
}
"""The benches that an option is for."""


def add(commands: Commands) -> None:
    for one in (_figures, _report, _compare, _export, _bench):
        one(commands)


def _figures(commands: Commands) -> None:
    figures = command(
        commands,
        "figures",
        "analysis.commands:figures",
        "draw the paper's figures and tables from run records, our results beside the paper's",
        "examples:\n"
        "  repro figures                                  # every figure that has runs\n"
        "  repro figures 2 table_1 --out figures\n"
        "  repro figures --runs results                   # from exports\n"
        "  repro figures 2 precision=bfloat16             # runs of `repro launch ... precision=bfloat16`",
    )
    names = f"NAME: a figure or table, 1a to 14, table_1, ... (default: all); key=value: {CHANGES}"
    figures.add_argument("settings", nargs="*", metavar="NAME|key=value", help=names)
    figures.add_argument(
        "--out", type=Path, default=Path("figures"), metavar="DIR", help="where to write (default: figures)"
    )
    source_option(figures)


def _report(commands: Commands) -> None:
    report = command(
        commands,
        "report",
        "analysis.commands:report",
        "write one web page with every claim, figure and table, our results beside the paper's",
        "examples:\n"
        "  repro report\n"
        "  repro report --runs results --out results\n"
        "  repro report precision=bfloat16 evaluate_every=6 --out report_bfloat16",
    )
    report.add_argument("settings", nargs="*", metavar="key=value", help=CHANGES)
    report.add_argument(
        "--out", type=Path, default=Path("report"), metavar="DIR", help="where to write (default: report)"
    )
    source_option(report)


def _compare(commands: Commands) -> None:
    compare = command(
        commands,
        "compare",
        "analysis.commands:compare",
        "show two runs side by side: what differs in their configs, metrics and predictions",
        "example:\n  repro compare 3f2a 9c01       # run ids, or their first characters",
    )
    compare.add_argument("one", metavar="RUN", help="a run id, or its first characters")
    compare.add_argument("other", metavar="RUN", help="the run to compare it with")
    source_option(compare)


def _export(commands: Commands) -> None:
    export = command(
        commands,
        "export",
        "analysis.commands:export",
        "write finished runs to one compact file, from which every figure can be drawn",
        "examples:\n"
        "  repro export --out results/all.npz\n"
        "  repro export sweeps/lenet_mnist.yaml preset=short --out results/lenet_mnist/records.npz\n"
        "  repro figures --runs results/all.npz",
    )
    export.add_argument("sweep", type=Path, nargs="?", metavar="SWEEP.yaml", help="export only the runs of this sweep")
    export.add_argument("settings", nargs="*", metavar="key=value", help="override values of the sweep")
    export.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="the file to write")
    export.add_argument(
        "--without-examples",
        action="store_true",
        help="leave out what belongs to single test examples: far smaller, but intervals are over trials only",
    )
    source_option(export)


def _bench(commands: Commands) -> None:
    bench = command(
        commands,
        "bench",
        BENCH,
        "measure speed relative to baselines, the fidelity of your own method, or what faster training modes change",
        "examples:\n"
        "  repro bench lenet --json\n"
        "  repro bench fidelity --method my_method.py            # its row of docs/leaderboard.md\n"
        "  repro bench precision --on mnist --workers 2          # faster modes against float32: docs/speed.md",
    )
    bench.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="speed benches to run (default: all; docs/speed.md), or fidelity, or precision",
    )
    bench.add_argument("--json", action="store_true", help="print JSON")
    bench.add_argument(
        "--fast", action="store_true", help="for throughput: also measure every faster mode of this machine"
    )
    fidelity = bench.add_argument_group("for fidelity and precision")
    fidelity.add_argument(
        "--method", type=Path, metavar="FILE.py", help="for fidelity: a file that defines one objective"
    )
    fidelity.add_argument(
        "--on", choices=["digits", "mnist", "cifar100"], default="digits", help="data set (default: digits)"
    )
    fidelity.add_argument(
        "--preset", choices=["paper", "short", "smoke"], default="short", help="how long to train (default: short)"
    )
    precision = bench.add_argument_group("for precision")
    precision.add_argument("--trials", type=positive, default=5, metavar="N", help="trials of each mode (default: 5)")
    precision.add_argument(
        "--same-teacher",
        action="store_true",
        help="leave out the students whose teacher was trained in the mode too",
    )
    precision.add_argument(
        "--workers", type=positive, default=1, metavar="N", help="runs to train at a time (default: 1)"
    )
    run_options(bench)
    bench.set_defaults(defaults={name: bench.get_default(name) for name in BENCHES_OF_OPTIONS})


def command_of_bench(options: argparse.Namespace) -> str:
    """The function that runs the named benches. Raises BadInput if an option is given that not all of them have."""
    for name, benches in BENCHES_OF_OPTIONS.items():
        if getattr(options, name) != options.defaults[name] and not (options.names and {*options.names} <= {*benches}):
            option = "--" + name.replace("_", "-")
            what = f"the bench {benches[0]}" if len(benches) == 1 else f"the benches {', '.join(benches)}"
            raise BadInput(f"{option} works only with {what}: repro bench {benches[0]} {option} ...")
    # Apart from the other benches: what they measure is learned, and a user's file has to be there before the schema of
    # a run is made.
    return {("fidelity",): "analysis.bench_fidelity:bench", ("precision",): "analysis.bench_precision:bench"}.get(
        tuple(options.names), BENCH
    )
