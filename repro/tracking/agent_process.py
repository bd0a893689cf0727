"""W&B's own agent, which ends when its standard input does: `python -m repro.tracking.agent_process SWEEP`.

`repro.tracking.agent` starts it with a pipe to which nothing is written. So the input ends with that process, even if
it was killed; without this, the agent would work on the rest of the sweep with nobody to stop it.
"""

import os
import signal
import sys
import threading

from wandb.cli import cli


def main() -> None:
    """Work on the sweep. At the end of the input, stop as at SIGTERM: the run saves a checkpoint first."""
    threading.Thread(target=_stop_at_the_end_of_the_input, daemon=True).start()
    cli.cli(["agent", "--forward-signals", *sys.argv[1:]], prog_name="wandb")


def _stop_at_the_end_of_the_input() -> None:
    # Unbuffered, because a buffered reader that is blocked in a thread cannot be torn down at exit.
    while os.read(sys.stdin.fileno(), 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
