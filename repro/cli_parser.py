"""What may be typed: every command, its options and its help."""

import argparse
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from repro import __version__
from repro.errors import BadInput


class Parser(argparse.ArgumentParser):
    """argparse, but bad usage is one line on stderr, and an epilog may be made when the help is shown."""

    make_epilog: Callable[[], str] | None = None

    def format_help(self) -> str:
        if self.make_epilog is not None:
            self.epilog = f"{self.epilog}\n\n{self.make_epilog()}"
        return super().format_help()

    def error(self, message: str) -> NoReturn:
        raise BadInput(f"{message} (see `{self.prog} --help`)")


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command. Raises BadInput."""
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    # argparse leaves over the key=value that come after an option; here they may come anywhere.
    settings = [text for text in rest if not text.startswith("-")] if "settings" in options else []
    unknown = [text for text in rest if text not in settings]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if settings:
        options.settings = [*options.settings, *settings]
    if getattr(options, "names", None) == ["fidelity"]:
        # Apart from the other benches, since the user's file has to be there before the schema of a run is made.
        options.command = "analysis.bench_fidelity:bench"
    return options


def build_parser() -> Parser:
    parser = Parser(
        prog="repro",
        description="Reproduce 'Does Knowledge Distillation Really Work?' (Stanton et al., NeurIPS 2021).",
        epilog="Start with `repro demo`: the paper's question on this machine, offline, in two minutes.",
    )
    parser.add_argument("--version", action="version", version=f"repro {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    demo = _command(commands, "demo", "demo", "answer the paper's question on the embedded digits, offline")
    demo.add_argument("--out", type=Path, default=Path("demo"), metavar="DIR", help="its runs, table and figure")

    data = _command(commands, "data", None, "list the data sets, or prepare one")
    data_commands = data.add_subparsers(metavar="list|prepare", required=True)
    _data_option(_command(data_commands, "list", "data_list", "every data set and the state of its file"))
    prepare = _command(
        data_commands,
        "prepare",
        "data_prepare",
        "download a data set and write its file",
        "example:\n  repro data prepare mnist --data data",
    )
    prepare.add_argument("name", metavar="NAME", help="as `repro data list` shows it")
    _data_option(prepare)

    run = _command(
        commands,
        "run",
        "run",
        "make one run of a study, its missing parents first",
        "examples:\n"
        "  repro run lenet_mnist preset=smoke\n"
        "  repro run lenet_mnist preset=short pool=0.25 trial=1 --data data\n"
        "  repro run lenet_mnist preset=smoke optimizer.learning_rate=0.01 teachers.epochs=5",
    )
    run.add_argument("study", metavar="STUDY", help="a name from the list below")
    run.add_argument("settings", nargs="*", metavar="key=value", help="settings of the study, or keys of the config")
    _run_options(run)
    _wandb_option(run)
    run.make_epilog = _list_studies

    launch = _command(
        commands,
        "launch",
        "repro.launch.commands:launch",
        "make every missing run of a sweep",
        "examples:\n"
        "  repro launch sweeps/lenet_mnist.yaml --dry-run\n"
        "  repro launch sweeps/lenet_mnist.yaml preset=short --workers 2 --data data\n"
        "  repro launch sweeps/lenet_mnist.yaml preset=smoke trial=[0]\n"
        "  repro launch sweeps/capacity_resnet20.yaml --cluster slurm --profile academic_gpu --dry-run\n"
        "  repro launch sweeps/capacity_resnet20.yaml --cluster slurm --profile academic_gpu --wait",
    )
    launch.add_argument("sweep", type=Path, metavar="SWEEP.yaml")
    launch.add_argument("settings", nargs="*", metavar="key=value", help="replace values of the sweep")
    launch.add_argument("--dry-run", action="store_true", help="only show what would be made")
    launch.add_argument(
        "--speeds", type=Path, metavar="FILE", help="for --dry-run: hours by what `repro bench throughput` measured"
    )
    launch.add_argument(
        "--cluster",
        choices=["local", "slurm", "debug"],
        default="local",
        help="this machine; Slurm; or jobs as for Slurm, but in this process, with pdb at an error (local)",
    )
    launch.add_argument("--profile", metavar="P", help="what jobs ask of Slurm (docs/slurm.md)")
    launch.add_argument("--wait", action="store_true", help="on Slurm: follow the runs until all have ended")
    launch.add_argument("--retry", choices=["failed"], help="also make runs again that failed")
    launch.add_argument("--require-clean", action="store_true", help="refuse to launch code that is not a git commit")
    launch.add_argument("--workers", type=_positive, metavar="N", help="locally: runs side by side (1)")
    _runs_option(launch)
    _data_option(launch)
    launch.add_argument(
        "--device", metavar="D", help="locally: auto, cpu, cuda, cuda:N, or several, cuda:0,cuda:1 (auto)"
    )

    _wandb_option(launch)

    wandb = _command(commands, "wandb", None, "show records in W&B")
    wandb_commands = wandb.add_subparsers(metavar="sync|dashboard|agent", required=True)
    sync = _command(
        wandb_commands,
        "sync",
        "repro.tracking.commands:sync",
        "bring W&B up to the records on disk, and check that it is",
        "For runs made offline, or whose mirror had trouble; as often as you like, also while runs are being made.\n\n"
        "examples:\n"
        "  repro wandb sync\n"
        "  repro wandb sync sweeps/lenet_mnist.yaml preset=short",
    )
    sync.add_argument("sweep", type=Path, nargs="?", metavar="SWEEP.yaml", help="only runs of this sweep")
    sync.add_argument("settings", nargs="*", metavar="key=value", help="replace values of the sweep")
    sync.add_argument("--models", action="store_true", help="also the weights, as artifacts linked to their teachers'")
    _runs_option(sync)
    dashboard = _command(
        wandb_commands,
        "dashboard",
        "repro.tracking.commands:dashboard",
        "save a workspace for the project and a report for each study in W&B, or bring them up to date",
        "examples:\n  repro wandb dashboard                          # of every study that has runs there\n"
        "  repro wandb dashboard lenet_mnist data_recycling",
    )
    dashboard.add_argument("names", nargs="*", metavar="STUDY", help="only the reports of these studies")
    agent = _command(
        wandb_commands,
        "agent",
        "repro.tracking.commands:agent",
        "work on a W&B sweep, with an honest exit code; stopped, it stops its run and leaves nothing behind",
        "examples:\n"
        "  wandb sweep --project does-distillation-work sweeps/digits.yaml\n"
        "  repro wandb agent ENTITY/does-distillation-work/SWEEP_ID",
    )
    agent.add_argument("sweep", metavar="SWEEP", help="as `wandb sweep` prints it")
    agent.add_argument("--count", type=_positive, metavar="N", help="make at most so many runs")

    status = _command(
        commands,
        "status",
        "repro.launch.oversee:status",
        "what is done, running, failed or missing",
        "examples:\n"
        "  repro status\n"
        "  repro status sweeps/lenet_mnist.yaml preset=short\n"
        "  repro status sweeps/lenet_mnist.yaml --json",
    )
    status.add_argument("sweep", type=Path, nargs="?", metavar="SWEEP.yaml", help="only, and all, runs of this sweep")
    status.add_argument("settings", nargs="*", metavar="key=value", help="replace values of the sweep")
    status.add_argument("--json", action="store_true", help="as JSON (documented in docs/architecture.md)")
    status.add_argument("--watch", action="store_true", help="look again every 10 seconds, until Ctrl-C")
    _runs_option(status)

    cancel = _command(
        commands,
        "cancel",
        "repro.launch.oversee:cancel",
        "take jobs out of Slurm's queue, and end those that run",
        "examples:\n  repro cancel sweeps/lenet_mnist.yaml preset=short\n  repro cancel 3f2a\n  repro cancel all",
    )
    cancel.add_argument("what", metavar="SWEEP.yaml|RUN|all", help="a sweep, (the beginning of) a run id, or all")
    cancel.add_argument("settings", nargs="*", metavar="key=value", help="replace values of the sweep")
    _runs_option(cancel)

    logs = _command(
        commands,
        "logs",
        "repro.launch.oversee:logs",
        "show what a run, and the jobs it was in, have written",
        "example:\n  repro logs 3f2a",
    )
    logs.add_argument("what", metavar="RUN", help="(the beginning of) a run id, as `repro status` shows it")
    _runs_option(logs)

    figures = _command(
        commands,
        "figures",
        "analysis.commands:figures",
        "draw the paper's figures and tables from the records, ours beside theirs",
        "examples:\n"
        "  repro figures                                  # all that have runs\n"
        "  repro figures 2 table_1 --out figures\n"
        "  repro figures --runs results                   # from exports",
    )
    figures.add_argument("names", nargs="*", default=["all"], metavar="NAME", help="1a to 14, table_1, ... (all)")
    figures.add_argument("--out", type=Path, default=Path("figures"), metavar="DIR", help="where to (figures)")
    _source_option(figures)

    surface = _command(
        commands,
        "surface",
        "surface",
        "measure the loss around a finished student, for Figure 6c",
        "Loss and agreement on a grid over the plane through the teacher, the student as it started and as it\n"
        "ended. Writes surface.json into the student's record; interrupted, the same command goes on.\n\n"
        "examples:\n"
        "  repro surface init_interpolation preset=smoke weight=0.25 --points 5\n"
        "  repro surface init_interpolation preset=short weight=0.25 --data data",
    )
    surface.add_argument("study", metavar="STUDY", help="as for `repro run`")
    surface.add_argument("settings", nargs="*", metavar="key=value", help="as for `repro run`")
    surface.add_argument("--points", type=_grid, default=21, metavar="N", help="points along each axis (21)")
    surface.add_argument(
        "--images", type=_positive, default=1000, metavar="N", help="images of train sample and test set each (1000)"
    )
    _run_options(surface)

    report = _command(
        commands,
        "report",
        "analysis.commands:report",
        "write one web page with every claim, figure and table, ours beside the paper's",
        "examples:\n  repro report\n  repro report --runs results --out results",
    )
    report.add_argument("--out", type=Path, default=Path("report"), metavar="DIR", help="where to (report)")
    _source_option(report)

    compare = _command(
        commands,
        "compare",
        "analysis.commands:compare",
        "show two runs side by side: what differs in their configs, metrics and predictions",
        "example:\n  repro compare 3f2a 9c01       # run ids, or how they begin",
    )
    compare.add_argument("one", metavar="RUN")
    compare.add_argument("other", metavar="RUN")
    _source_option(compare)

    export = _command(
        commands,
        "export",
        "export",
        "write finished runs as one compact file, from which every figure can be drawn",
        "examples:\n"
        "  repro export --out results/all.npz\n"
        "  repro export sweeps/lenet_mnist.yaml preset=short --out results/lenet_mnist/records.npz\n"
        "  repro figures --runs results/all.npz",
    )
    export.add_argument("sweep", type=Path, nargs="?", metavar="SWEEP.yaml", help="only runs of this sweep")
    export.add_argument("settings", nargs="*", metavar="key=value", help="replace values of the sweep")
    export.add_argument("--out", type=Path, required=True, metavar="FILE.npz", help="the file to write")
    _runs_option(export)

    quality = _command(
        commands,
        "sample-quality",
        "sample_quality",
        "FID and inception score of a finished generator run",
        "example:\n  repro sample-quality 0123456789ab --samples 5000 --data data\n\n"
        "Needs torch-fidelity (`pip install 'repro[fid]'`) and, in the data folder, the Inception network's weights;\n"
        "without them it says where to get them. The result is kept in the run's folder as quality.json.",
    )
    quality.add_argument("run", metavar="RUN", help="a run id, as `repro status` shows it")
    quality.add_argument("--samples", type=_positive, default=5000, metavar="N", help="generated images (5000)")
    _run_options(quality)

    cost = _command(
        commands,
        "cost",
        "repro.launch.commands:cost",
        "predict the hours of sweeps, or of the whole paper, on a machine that was measured",
        "examples:\n"
        "  repro bench throughput --json > speeds.json\n"
        "  repro cost --speeds speeds.json\n"
        "  repro cost --speeds speeds.json sweeps/capacity_resnet20.yaml --preset short",
    )
    cost.add_argument("sweeps", type=Path, nargs="*", metavar="SWEEP.yaml", help="which sweeps (all)")
    cost.add_argument("--speeds", type=Path, required=True, metavar="FILE", help="from `repro bench throughput --json`")
    cost.add_argument("--preset", choices=["paper", "short", "smoke"], default="paper", help="(paper)")
    _runs_option(cost)

    bench = _command(
        commands,
        "bench",
        "bench",
        "measure speed as ratios against baselines, or the fidelity of a method of your own",
        "examples:\n"
        "  repro bench lenet --json\n"
        "  repro bench fidelity --method my_method.py            # its row of docs/leaderboard.md",
    )
    bench.add_argument("names", nargs="*", metavar="NAME", help="benches to run (all), or fidelity")
    bench.add_argument("--json", action="store_true", help="as JSON")
    fidelity = bench.add_argument_group("for fidelity")
    fidelity.add_argument("--method", type=Path, metavar="FILE.py", help="defines one objective (docs/extending.md)")
    fidelity.add_argument("--on", choices=["digits", "mnist", "cifar100"], default="digits", help="images (digits)")
    fidelity.add_argument("--preset", choices=["paper", "short", "smoke"], default="short", help="how long (short)")
    _run_options(bench)
    return parser


def _command(
    commands: "argparse._SubParsersAction[Parser]",
    name: str,
    function: str | None,
    summary: str,
    examples: str | None = None,
) -> Parser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if function is not None:
        parser.set_defaults(command=function)
    return parser


def _runs_option(parser: Parser) -> None:
    default = Path(os.environ.get("REPRO_RUNS", "runs"))
    parser.add_argument("--runs", type=Path, default=default, metavar="DIR", help="run records ($REPRO_RUNS or runs)")


def _source_option(parser: Parser) -> None:
    """For commands that only read records."""
    _runs_option(parser)
    parser.add_argument(
        "--source",
        type=_source,
        default="runs",
        metavar="S",
        help="runs: what --runs says (runs); wandb, or wandb:ENTITY/PROJECT: the records in W&B (docs/wandb.md)",
    )


def _source(text: str) -> str:
    entity, slash, project = text.removeprefix("wandb:").partition("/")
    if text in ("runs", "wandb") or (text.startswith("wandb:") and entity and slash and project and "/" not in project):
        return text
    raise argparse.ArgumentTypeError(f"'{text}' is neither runs nor wandb nor wandb:ENTITY/PROJECT")


def _data_option(parser: Parser) -> None:
    default = Path(os.environ.get("REPRO_DATA", "data"))
    parser.add_argument("--data", type=Path, default=default, metavar="DIR", help="prepared data ($REPRO_DATA or data)")


def _wandb_option(parser: Parser) -> None:
    modes = ["online", "offline", "disabled", "auto"]
    # Whoever works on a W&B sweep wants to see it there.
    default = os.environ.get("WANDB_MODE", "online" if "WANDB_SWEEP_ID" in os.environ else "disabled")
    parser.add_argument(
        "--wandb",
        choices=modes,
        default=default if default in modes else "disabled",
        help="show runs in W&B while they are made ($WANDB_MODE; under an agent online, else disabled)",
    )


def _run_options(parser: Parser) -> None:
    _runs_option(parser)
    _data_option(parser)
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N (auto)")


def _list_studies() -> str:
    from repro.experiments.study import studies

    known = studies()
    width = max(len(name) for name in known)
    return "studies:\n" + "\n".join(f"  {name:{width}}  {study.headline()}" for name, study in known.items())


def _grid(text: str) -> int:
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of at least 2")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return int(text)
