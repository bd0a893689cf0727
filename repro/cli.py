"""The command line: parse, call, and turn the two kinds of failure into exit codes 1 and 2."""

import argparse
import errno
import io
import os
import sys
from collections.abc import Callable, Sequence
from pkgutil import resolve_name

from repro.errors import BadInput, RunFailed

FAULTS_OF_A_DISK = (errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""What no program causes, and network drives do at times."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Exit code 0: done; 1: a run failed; 2: bad input, with one line on stderr."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # a terminal that cannot show a ± shows a ?
    return exit_code(lambda: _run(arguments))


def _run(arguments: Sequence[str] | None) -> None:
    # Imported only now, so that Ctrl-C during it ends in one line, like later.
    from repro.usage import parse

    options = parse(arguments)
    if os.environ.get("WORLD_SIZE", "1") != "1" and options.command != "repro.commands:run":
        raise BadInput("torchrun starts several processes for one run: use it only with `repro run`")
    # And these only now: most commands need torch, which `--help` does not.
    from repro.tracking.under_agent import reported_to_agent

    command: Callable[[argparse.Namespace], None] = resolve_name(options.command)
    with reported_to_agent():
        command(options)


def exit_code(work: Callable[[], None]) -> int:
    """Call `work` and return the exit code; a failure is reported on stderr in one line."""
    try:
        work()
        sys.stdout.flush()  # what cannot be written is a failure of this command
    except (BadInput, RunFailed) as error:
        # One line, even if the message quotes several; under torchrun it names the process it comes from.
        process = f"process {os.environ['RANK']}: " if "RANK" in os.environ else ""
        print(f"repro: {process}" + " ".join(str(error).splitlines()), file=sys.stderr)
        return 2 if isinstance(error, BadInput) else 1
    except PermissionError as error:  # for example, the runs belong to another user
        print(f"repro: {error.filename}: this user may not do that ({error.strerror})", file=sys.stderr)
        return 2
    except BrokenPipeError:  # the reader of our output, such as `head`, has closed the pipe
        return 1
    except OSError as error:
        if error.errno not in FAULTS_OF_A_DISK:
            raise
        print(f"repro: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("repro: interrupted; no file is half-written, and the same command can be run again", file=sys.stderr)
        return 1
    finally:
        _drop_unwritable_output()
    return 0


def _drop_unwritable_output() -> None:
    """So that Python does not try it again at exit, which ends in its own two lines and exit code 120."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
