"""Sweeps: launch them, follow them, know their cost."""

from pathlib import Path

from repro.usage.options import Commands, command, data_option, positive, runs_option, wandb_option


def add(commands: Commands) -> None:
    """`launch`, `status`, `cancel`, `logs`, `cost`."""
    launch = command(
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
    launch.add_argument("--workers", type=positive, metavar="N", help="locally: runs side by side (1)")
    runs_option(launch)
    data_option(launch)
    launch.add_argument(
        "--device",
        metavar="D",
        help="locally: auto, cpu, cuda, cuda:N, or several that workers take in turn, cuda:0,cuda:1 (auto)",
    )

    wandb_option(launch)

    status = command(
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
    runs_option(status)

    cancel = command(
        commands,
        "cancel",
        "repro.launch.oversee:cancel",
        "take jobs out of Slurm's queue, and end those that run",
        "examples:\n  repro cancel sweeps/lenet_mnist.yaml preset=short\n  repro cancel 3f2a\n  repro cancel all",
    )
    cancel.add_argument("what", metavar="SWEEP.yaml|RUN|all", help="a sweep, (the beginning of) a run id, or all")
    cancel.add_argument("settings", nargs="*", metavar="key=value", help="replace values of the sweep")
    runs_option(cancel)

    logs = command(
        commands,
        "logs",
        "repro.launch.oversee:logs",
        "show what a run, and the jobs it was in, have written",
        "example:\n  repro logs 3f2a",
    )
    logs.add_argument("what", metavar="RUN", help="(the beginning of) a run id, as `repro status` shows it")
    runs_option(logs)

    cost = command(
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
    runs_option(cost)
