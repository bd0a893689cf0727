"""The process that makes one run whose config comes on standard input; started by `repro.launch.local`."""

import argparse
import json
import sys
from pathlib import Path

import torch

from repro.config import parse_config
from repro.errors import BadInput, RunFailed
from repro.progress import Lines
from repro.runner import Runner, StopRequest
from repro.store import Store
from repro.training.hardware import choose_device, keep_freed_memory


def main() -> int:
    """Make the run; exit codes as the command line's."""
    parser = argparse.ArgumentParser(prog="repro.launch.worker")
    parser.add_argument("--runs", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--label", required=True)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    keep_freed_memory()
    stop = StopRequest()
    try:
        with stop.listening():
            config = parse_config(json.load(sys.stdin))
            runner = Runner(Store(options.runs), options.data, choose_device(options.device), Lines(), stop)
            runner.make(config, options.label)
    except (BadInput, RunFailed) as error:
        print(f"repro: {error}", file=sys.stderr)
        return 2 if isinstance(error, BadInput) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
