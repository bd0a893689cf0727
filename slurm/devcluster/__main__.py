"""`python -m slurm.devcluster start|stop|status|env`: a real one-machine Slurm to try things on."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from slurm.devcluster import Cluster, ClusterError

_EXAMPLES = """\
examples:
  python -m slurm.devcluster start
  eval "$(python -m slurm.devcluster env)"     # now sbatch, squeue, sacct ... talk to it
  sbatch --wrap='echo hello from $(hostname)'; squeue
  python -m slurm.devcluster stop
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command. Exit code 0, or 2 with one line on stderr; for `status`, 1 if a daemon is not running."""
    options = _parse(arguments)
    try:
        cluster = Cluster(options.state)
        return _COMMANDS[options.command](cluster)
    except ClusterError as error:
        print("devcluster:", *str(error).splitlines(), file=sys.stderr)
        return 2


def _start(cluster: Cluster) -> int:
    cluster.start()
    print(f"Slurm is running in {cluster.state}; to use it in a shell, run there:\n{_env_line(cluster)}")
    return 0


def _stop(cluster: Cluster) -> int:
    cluster.stop()
    print(f"Slurm is stopped in {cluster.state}")
    return 0


def _status(cluster: Cluster) -> int:
    for daemon in cluster.daemons:
        pid = daemon.pid()
        print(f"{daemon.name:10}", f"process {pid}" if pid else "not running", f"  log {daemon.log}")
    if not all(daemon.pid() for daemon in cluster.daemons):
        return 1
    print(cluster.command("sinfo", "--format=%9P %5a %9T %4c %G"), end="")
    print(cluster.command("squeue"), end="")
    return 0


def _env(cluster: Cluster) -> int:
    if not all(Path(value).exists() for value in cluster.variables.values()):
        raise ClusterError(f"there is no cluster in {cluster.state}; start it first")
    print(_env_line(cluster))
    return 0


def _env_line(cluster: Cluster) -> str:
    return "\n".join(f"export {name}={value}" for name, value in cluster.variables.items())


_COMMANDS = {"start": _start, "stop": _stop, "status": _status, "env": _env}


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    parser = argparse.ArgumentParser(
        prog="python -m slurm.devcluster",
        description="A real Slurm on this machine, with accounting, two fake GPUs and a preemptible partition. "
        "It needs no root access and keeps everything in one folder.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=_COMMANDS, help="env prints the lines that point a shell to the cluster")
    parser.add_argument(
        "--state",
        type=Path,
        default=cache / "repro" / "devcluster",
        metavar="DIR",
        help="folder of the cluster (default: %(default)s); each folder has a cluster of its own",
    )
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
