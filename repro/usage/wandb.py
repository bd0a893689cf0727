"""W&B beside or after training."""

from pathlib import Path

from repro.usage.options import Commands, command, positive, runs_option


def add(commands: Commands) -> None:
    """`wandb sync`, `wandb dashboard`, `wandb agent`."""
    wandb = command(commands, "wandb", None, "show records in W&B")
    wandb_commands = wandb.add_subparsers(metavar="sync|dashboard|agent", required=True)
    sync = command(
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
    runs_option(sync)
    dashboard = command(
        wandb_commands,
        "dashboard",
        "repro.tracking.commands:dashboard",
        "save a workspace for the project and a report for each study in W&B, or bring them up to date",
        "examples:\n  repro wandb dashboard                          # of every study that has runs there\n"
        "  repro wandb dashboard lenet_mnist data_recycling",
    )
    dashboard.add_argument("names", nargs="*", metavar="STUDY", help="only the reports of these studies")
    agent = command(
        wandb_commands,
        "agent",
        "repro.tracking.commands:agent",
        "work on a W&B sweep, with an honest exit code; stopped, it stops its run and leaves nothing behind",
        "examples:\n"
        "  wandb sweep --project does-distillation-work sweeps/digits.yaml\n"
        "  repro wandb agent ENTITY/does-distillation-work/SWEEP_ID",
    )
    agent.add_argument("sweep", metavar="SWEEP", help="as `wandb sweep` prints it")
    agent.add_argument("--count", type=positive, metavar="N", help="make at most so many runs")
