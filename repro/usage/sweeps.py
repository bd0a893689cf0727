"""Sweeps: launch them, follow them, know their cost."""

from pathlib import Path

from repro.usage.options import Commands, command, data_option, positive, runs_option, wandb_option


def add(commands: Commands) -> None:
    for one in (_launch, _status, _cancel, _logs, _cost):
        one(commands)


def _launch(commands: Commands) -> None:
    launch = command(
        commands,
        "launch",
        "repro.launch.commands:launch",
        "train every missing run of a sweep",
        "examples:\n"
        "  repro launch sweeps/lenet_mnist.yaml --dry-run\n"
        "  repro launch sweeps/lenet_mnist.yaml preset=short --workers 2 --data data\n"
        "  repro launch sweeps/lenet_mnist.yaml preset=smoke trial=[0]\n"
        "  repro launch sweeps/capacity_resnet20.yaml --cluster slurm --profile academic_gpu --dry-run\n"
        "  repro launch sweeps/capacity_resnet20.yaml --cluster slurm --profile academic_gpu --wait",
    )
    launch.add_argument("sweep", type=Path, metavar="SWEEP.yaml")
    launch.add_argument("settings", nargs="*", metavar="key=value", help="override values of the sweep")
    launch.add_argument("--dry-run", action="store_true", help="only show what would be trained")
    launch.add_argument(
        "--speeds", type=Path, metavar="FILE", help="for --dry-run: predict hours from `repro bench throughput --json`"
    )
    launch.add_argument(
        "--cluster",
        choices=["local", "slurm", "debug"],
        default="local",
        help="local: this machine; slurm: Slurm jobs; debug: the same jobs in this process, with pdb on an error "
        "(default: local)",
    )
    launch.add_argument(
        "--profile", metavar="P", help="name of the profile that says what jobs request from Slurm (docs/slurm.md)"
    )
    launch.add_argument("--wait", action="store_true", help="for slurm: follow the runs until all have ended")
    launch.add_argument("--retry", choices=["failed"], help="also train failed runs again")
    launch.add_argument("--require-clean", action="store_true", help="refuse to launch unless the code is a git commit")
    launch.add_argument("--workers", type=positive, metavar="N", help="for local: runs to train at a time (default: 1)")
    runs_option(launch)
    data_option(launch)
    launch.add_argument(
        "--device",
        metavar="D",
        help="for local: auto, cpu, cuda, cuda:N, or several for the workers, as in cuda:0,cuda:1 (default: auto)",
    )

    wandb_option(launch)


def _status(commands: Commands) -> None:
    status = command(
        commands,
        "status",
        "repro.launch.oversee:status",
        "show which runs are done, running, failed or missing",
        "examples:\n"
        "  repro status\n"
        "  repro status sweeps/lenet_mnist.yaml preset=short\n"
        "  repro status sweeps/lenet_mnist.yaml --json",
    )
    status.add_argument(
        "sweep",
        type=Path,
        nargs="?",
        metavar="SWEEP.yaml",
        help="show only the runs of this sweep, including those not started yet",
    )
    status.add_argument("settings", nargs="*", metavar="key=value", help="override values of the sweep")
    status.add_argument("--json", action="store_true", help="print JSON (documented in docs/architecture.md)")
    status.add_argument("--watch", action="store_true", help="refresh every 10 seconds, until Ctrl-C")
    runs_option(status)


def _cancel(commands: Commands) -> None:
    cancel = command(
        commands,
        "cancel",
        "repro.launch.oversee:cancel",
        "cancel jobs in Slurm's queue, pending or running",
        "examples:\n  repro cancel sweeps/lenet_mnist.yaml preset=short\n  repro cancel 3f2a\n  repro cancel all",
    )
    cancel.add_argument("what", metavar="SWEEP.yaml|RUN|all", help="a sweep, a run id or its first characters, or all")
    cancel.add_argument("settings", nargs="*", metavar="key=value", help="override values of the sweep")
    runs_option(cancel)


def _logs(commands: Commands) -> None:
    logs = command(
        commands,
        "logs",
        "repro.launch.oversee:logs",
        "show the log of a run and of the jobs that it was in",
        "example:\n  repro logs 3f2a",
    )
    logs.add_argument("what", metavar="RUN", help="a run id, as `repro status` shows it, or its first characters")
    runs_option(logs)


def _cost(commands: Commands) -> None:
    cost = command(
        commands,
        "cost",
        "repro.launch.commands:cost",
        "predict how many hours sweeps, or the whole paper, take on a machine whose speed was measured",
        "examples:\n"
        "  repro bench throughput --json > speeds.json\n"
        "  repro cost --speeds speeds.json\n"
        "  repro cost --speeds speeds.json sweeps/capacity_resnet20.yaml --preset short",
    )
    cost.add_argument("sweeps", type=Path, nargs="*", metavar="SWEEP.yaml", help="which sweeps (default: all)")
    cost.add_argument("--speeds", type=Path, required=True, metavar="FILE", help="from `repro bench throughput --json`")
    cost.add_argument(
        "--preset", choices=["paper", "short", "smoke"], default="paper", help="how long to train (default: paper)"
    )
    runs_option(cost)
