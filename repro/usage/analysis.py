"""What the records say."""

from pathlib import Path

from repro.usage.options import Commands, command, positive, run_options, source_option

CHANGES = "keys of the config that all runs were launched with, and only such runs are shown"


def add(commands: Commands) -> None:
    """`figures`, `report`, `compare`, `export`, `bench`."""
    figures = command(
        commands,
        "figures",
        "analysis.commands:figures",
        "draw the paper's figures and tables from the records, ours beside theirs",
        "examples:\n"
        "  repro figures                                  # all that have runs\n"
        "  repro figures 2 table_1 --out figures\n"
        "  repro figures --runs results                   # from exports\n"
        "  repro figures 2 precision=bfloat16             # of the runs of `repro launch ... precision=bfloat16`",
    )
    names = f"1a to 14, table_1, ... (all); {CHANGES}"
    figures.add_argument("settings", nargs="*", metavar="NAME|key=value", help=names)
    figures.add_argument("--out", type=Path, default=Path("figures"), metavar="DIR", help="where to (figures)")
    source_option(figures)

    report = command(
        commands,
        "report",
        "analysis.commands:report",
        "write one web page with every claim, figure and table, ours beside the paper's",
        "examples:\n"
        "  repro report\n"
        "  repro report --runs results --out results\n"
        "  repro report precision=bfloat16 evaluate_every=6 --out report_bfloat16",
    )
    report.add_argument("settings", nargs="*", metavar="key=value", help=CHANGES)
    report.add_argument("--out", type=Path, default=Path("report"), metavar="DIR", help="where to (report)")
    source_option(report)

    compare = command(
        commands,
        "compare",
        "analysis.commands:compare",
        "show two runs side by side: what differs in their configs, metrics and predictions",
        "example:\n  repro compare 3f2a 9c01       # run ids, or how they begin",
    )
    compare.add_argument("one", metavar="RUN")
    compare.add_argument("other", metavar="RUN")
    source_option(compare)

    export = command(
        commands,
        "export",
        "analysis.commands:export",
        "write finished runs as one compact file, from which every figure can be drawn",
        "examples:\n"
        "  repro export --out results/all.npz\n"
        "  repro export sweeps/lenet_mnist.yaml preset=short --out results/lenet_mnist/records.npz\n"
        "  repro figures --runs results/all.npz",
    )
    export.add_argument("sweep", type=Path, nargs="?", metavar="SWEEP.yaml", help="only runs of this sweep")
    export.add_argument("settings", nargs="*", metavar="key=value", help="replace values of the sweep")
    export.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="the file to write")
    export.add_argument(
        "--without-examples",
        action="store_true",
        help="metrics and controls, but nothing of single test examples: far smaller, intervals are over trials only",
    )
    source_option(export)

    bench = command(
        commands,
        "bench",
        "bench",
        "measure speed as ratios against baselines, the fidelity of a method of your own, or what precision changes",
        "examples:\n"
        "  repro bench lenet --json\n"
        "  repro bench fidelity --method my_method.py            # its row of docs/leaderboard.md\n"
        "  repro bench precision --on mnist --workers 2          # faster modes against float32: docs/speed.md",
    )
    bench.add_argument("names", nargs="*", metavar="NAME", help="benches to run (all), or fidelity, or precision")
    bench.add_argument("--json", action="store_true", help="as JSON")
    bench.add_argument("--fast", action="store_true", help="of throughput: also in every faster mode of this machine")
    fidelity = bench.add_argument_group("for fidelity and precision")
    fidelity.add_argument("--method", type=Path, metavar="FILE.py", help="of fidelity: defines one objective")
    fidelity.add_argument("--on", choices=["digits", "mnist", "cifar100"], default="digits", help="images (digits)")
    fidelity.add_argument("--preset", choices=["paper", "short", "smoke"], default="short", help="how long (short)")
    precision = bench.add_argument_group("for precision")
    precision.add_argument("--trials", type=positive, default=5, metavar="N", help="of every mode (5)")
    precision.add_argument(
        "--same-teacher",
        action="store_true",
        help="only students of the float32 teacher, none of one trained in the mode",
    )
    precision.add_argument("--workers", type=positive, default=1, metavar="N", help="runs side by side (1)")
    run_options(bench)
