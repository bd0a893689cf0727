"""Single runs: make them, look around and into them."""

import argparse
from pathlib import Path

from repro.usage.options import Commands, command, data_option, positive, run_options, wandb_option
from repro.usage.studies import StudyHelp, list_studies


def add(commands: Commands) -> None:
    for one in (_demo, _data, _run, _surface, _quality):
        one(commands)


def _demo(commands: Commands) -> None:
    demo = command(
        commands,
        "demo",
        "repro.demo:demo",
        "answer the paper's question on scikit-learn's digits, offline",
        "example:\n  repro demo --out demo",
    )
    demo.add_argument(
        "--out",
        type=Path,
        default=Path("demo"),
        metavar="DIR",
        help="where to write its runs and figure (default: demo)",
    )
    wandb_option(demo)


def _data(commands: Commands) -> None:
    data = command(commands, "data", None, "list the data sets, or prepare one")
    data_commands = data.add_subparsers(metavar="list|prepare", required=True)
    listed = command(
        data_commands,
        "list",
        "repro.commands:data_list",
        "list every data set and the state of its file",
        "example:\n  repro data list --data data",
    )
    data_option(listed)
    prepare = command(
        data_commands,
        "prepare",
        "repro.commands:data_prepare",
        "download a data set and write its prepared file",
        "example:\n  repro data prepare mnist --data data",
    )
    prepare.add_argument("name", metavar="NAME", help="a data set, as `repro data list` shows it")
    data_option(prepare)


def _run(commands: Commands) -> None:
    run = command(
        commands,
        "run",
        "repro.commands:run",
        "train one run of a study, and before it any parent (such as its teacher) that is missing",
        "examples:\n"
        "  repro run lenet_mnist preset=smoke\n"
        "  repro run lenet_mnist preset=short pool=0.25 trial=1 --data data\n"
        "  repro run lenet_mnist preset=smoke optimizer.learning_rate=0.01 teachers.epochs=5\n"
        "  repro run lenet_mnist --help        # the settings of this study",
        help_action=StudyHelp,
    )
    run.add_argument("study", metavar="STUDY", help="a name from the list below")
    run.add_argument(
        "settings", nargs="*", metavar="key=value", help="settings of the study, or keys of the run's config"
    )
    run_options(run)
    wandb_option(run)
    run.make_epilog = list_studies


def _surface(commands: Commands) -> None:
    surface = command(
        commands,
        "surface",
        "repro.commands:surface",
        "measure the loss around a finished student, for Figure 6c",
        "Measures loss and agreement on a grid over the plane through the teacher, the initial student and the final\n"
        "student. Writes surface.json into the student's record. If interrupted, the same command continues.\n\n"
        "examples:\n"
        "  repro surface init_interpolation preset=smoke weight=0.25 --points 5\n"
        "  repro surface init_interpolation preset=short weight=0.25 --data data",
        help_action=StudyHelp,
    )
    surface.add_argument("study", metavar="STUDY", help="as for `repro run`")
    surface.add_argument("settings", nargs="*", metavar="key=value", help="as for `repro run`")
    surface.add_argument("--points", type=_grid, default=21, metavar="N", help="points along each axis (default: 21)")
    surface.add_argument(
        "--images",
        type=positive,
        default=1000,
        metavar="N",
        help="images from the train sample, and as many from the test set (default: 1000)",
    )
    run_options(surface)


def _quality(commands: Commands) -> None:
    quality = command(
        commands,
        "sample-quality",
        "repro.commands:sample_quality",
        "measure FID and inception score of a finished generator run",
        "example:\n  repro sample-quality 0123456789ab --samples 5000 --data data\n\n"
        "Needs torch-fidelity (`pip install -e '.[fid]'`) and, in the data folder, the Inception network's weights;\n"
        "if these are missing, it says where to get them. Writes quality.json into the run's folder.",
    )
    quality.add_argument("run", metavar="RUN", help="a run id, as `repro status` shows it, or its first characters")
    quality.add_argument(
        "--samples", type=positive, default=5000, metavar="N", help="images to generate (default: 5000)"
    )
    run_options(quality)


def _grid(text: str) -> int:
    if not text.isdecimal() or not 2 <= int(text) <= 1000:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 2 to 1000")
    return int(text)
