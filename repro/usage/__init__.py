"""What may be typed: every command, its options and its help, a file for each subject."""

import argparse
from collections.abc import Sequence

from repro import __version__
from repro.errors import BadInput
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
    if getattr(options, "fast", False) and options.names != ["throughput"]:
        raise BadInput("--fast works only with the bench throughput: repro bench throughput --fast")
    if getattr(options, "names", None) == ["fidelity"]:
        # Apart from the other benches, since the user's file has to be there before the schema of a run is made.
        options.command = "analysis.bench_fidelity:bench"
    if getattr(options, "names", None) == ["precision"]:
        options.command = "analysis.bench_precision:bench"
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
