"""What the commands' options have in common."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn, TypeAlias

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


Commands: TypeAlias = "argparse._SubParsersAction[Parser]"


def command(
    commands: Commands,
    name: str,
    function: str | None,
    summary: str,
    examples: str | None = None,
    help_action: str | type[argparse.Action] = "help",
) -> Parser:
    parser = commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        add_help=False,
    )
    words = "show this help message and exit"
    parser.add_argument("-h", "--help", action=help_action, default=argparse.SUPPRESS, help=words)
    if function is not None:
        parser.set_defaults(command=function)
    return parser


def _path(text: str) -> Path:
    if not text:
        raise argparse.ArgumentTypeError("is empty (an unset variable?); write . for the current folder")
    return Path(text)


def runs_option(parser: Parser, metavar: str = "DIR", what: str = "run records") -> None:
    default = Path(os.environ.get("REPRO_RUNS") or "runs")
    parser.add_argument(
        "--runs", type=_path, default=default, metavar=metavar, help=f"{what} (default: $REPRO_RUNS or runs)"
    )


def source_option(parser: Parser) -> None:
    """For commands that only read records."""
    runs_option(parser, "PATH", "run records, an export (.npz), or a folder of exports")
    parser.add_argument(
        "--source",
        type=_source,
        default="runs",
        metavar="S",
        help="where to read records: runs (as --runs says, the default); or, from W&B, wandb or wandb:ENTITY/PROJECT "
        "(docs/wandb.md)",
    )


def _source(text: str) -> str:
    entity, slash, project = text.removeprefix("wandb:").partition("/")
    if text in ("runs", "wandb") or (text.startswith("wandb:") and entity and slash and project and "/" not in project):
        return text
    raise argparse.ArgumentTypeError(f"'{text}' is neither runs nor wandb nor wandb:ENTITY/PROJECT")


def data_option(parser: Parser) -> None:
    default = Path(os.environ.get("REPRO_DATA") or "data")
    parser.add_argument(
        "--data", type=_path, default=default, metavar="DIR", help="prepared data (default: $REPRO_DATA or data)"
    )


def wandb_option(parser: Parser) -> None:
    modes = ["online", "offline", "disabled", "auto"]
    # Whoever works on a W&B sweep wants to see it there. The client, too, treats an empty variable as unset.
    default = os.environ.get("WANDB_MODE") or ("online" if os.environ.get("WANDB_SWEEP_ID") else "disabled")
    parser.add_argument(
        "--wandb",
        choices=modes,
        default=default if default in modes else "disabled",
        help="show runs in W&B while they train (default: $WANDB_MODE, else online under a W&B agent, else disabled)",
    )


def run_options(parser: Parser) -> None:
    runs_option(parser)
    data_option(parser)
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, cuda or cuda:N (default: auto)")


def positive(text: str) -> int:
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number")
    return int(text)
