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
        "bring W&B up to date with the records on disk, and check the result",
        "For runs that were made offline, or whose live mirror had trouble. Safe to repeat, also while runs train.\n\n"
        "examples:\n"
        "  repro wandb sync\n"
        "  repro wandb sync sweeps/lenet_mnist.yaml preset=short",
    )
    sync.add_argument("sweep", type=Path, nargs="?", metavar="SWEEP.yaml", help="send only the runs of this sweep")
    sync.add_argument("settings", nargs="*", metavar="key=value", help="override values of the sweep")
    sync.add_argument(
        "--models", action="store_true", help="also send weights, as artifacts linked to those of their teachers"
    )
    runs_option(sync)
    dashboard = command(
        wandb_commands,
        "dashboard",
        "repro.tracking.commands:dashboard",
        "create or update, in W&B, a workspace for the project and a report for each study",
        "examples:\n  repro wandb dashboard                          # every study that has runs there\n"
        "  repro wandb dashboard lenet_mnist data_recycling",
    )
    dashboard.add_argument("names", nargs="*", metavar="STUDY", help="save only the reports of these studies")
    agent = command(
        wandb_commands,
        "agent",
        "repro.tracking.commands:agent",
        "work on a W&B sweep; exit with 1 if a run failed; when stopped, stop the run and leave nothing behind",
        "examples:\n"
        "  wandb sweep --project does-distillation-work sweeps/digits.yaml\n"
        "  repro wandb agent ENTITY/does-distillation-work/SWEEP_ID",
    )
    agent.add_argument("sweep", metavar="SWEEP", help="a sweep id, as `wandb sweep` prints it")
    agent.add_argument("--count", type=positive, metavar="N", help="make at most N runs")
