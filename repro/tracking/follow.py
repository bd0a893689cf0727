"""Mirror runs while a command makes them: `python -m repro.tracking.follow`, started by `repro.tracking.mirror`.

Standard input has one line, which says which records to follow and how to label them. Its end means that nothing more
will be written.
"""

import json
import os
import select
import signal
import sys
from pathlib import Path

from repro.tracking.label import Label
from repro.tracking.under_agent import Point

POLL_SECONDS = 2.0
NICENESS = 19


def main() -> int:
    """Follow the records to their end. Exit code 1 if W&B could not be brought up to date with one of them."""
    os.nice(NICENESS)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # signals are for the training; this process ends with its input
    # Imported only now, at low priority: importing the client is half of this process's work.
    from repro.tracking.follower import Follower

    task = json.loads(sys.stdin.readline())
    labels = {run_id: Label(text, group, tuple(tags)) for run_id, (text, group, tags) in task["labels"].items()}
    follower = Follower(Path(task["runs"]), labels, Point(*task["point"]) if task["point"] else None)
    listening, blocked = [sys.stdin], False
    while listening or blocked:
        if select.select(listening, [], [], POLL_SECONDS)[0]:
            listening = []
        blocked = follower.look(ended=not listening)
    return 0 if follower.complete else 1


if __name__ == "__main__":
    sys.exit(main())
