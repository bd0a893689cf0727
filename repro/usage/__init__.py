"""What may be typed: every command, its options and its help, a file for each subject."""

import argparse
from collections.abc import Sequence

from repro import __version__
from repro.usage import analysis, runs, sweeps, wandb
from repro.usage.options import Parser


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options of a command. Raises BadInput."""
    parser = build_parser()
    options, rest = parser.parse_known_args(arguments)
    # argparse leaves over the key=value that come after an option; here they may come anywhere.
    settings = [text for text in rest if not text.startswith("-")] if "settings" in options else []
    unknown = [text for text in rest if text not in settings]
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    if settings:
        options.settings = [*options.settings, *settings]
    if options.command == analysis.BENCH:
        options.command = analysis.command_of_bench(options)
    return options


def build_parser() -> Parser:
    parser = Parser(
        prog="repro",
        description="Reproduce 'Does Knowledge Distillation Really Work?' (Stanton et al., NeurIPS 2021).",
        epilog="Start with `repro demo`: it answers the paper's question on this machine, offline, in two minutes.",
    )
    parser.add_argument("--version", action="version", version=f"repro {__version__}")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for subject in (runs, sweeps, wandb, analysis):
        subject.add(commands)
    return parser
