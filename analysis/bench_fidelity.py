"""`repro bench fidelity --method FILE.py`: a user-defined objective under the protocol of the study `methods`.

No import at the top may load `repro.config`: it builds the schema of a run from the objectives registered by then.
"""

import argparse
import importlib.util
import json
import sys
from pathlib import Path

from pydantic import ValidationError
from tabulate import tabulate

from repro import distill
from repro.component import discover
from repro.distill.objective import Objective
from repro.errors import BadInput, blamed_on

TRIALS = 3


def bench(options: argparse.Namespace) -> None:
    """Train one student in each of three trials with the file's objective and print its row for the leaderboard."""
    if options.method is None:
        raise BadInput("the bench fidelity needs --method: repro bench fidelity --method FILE.py")
    method = load_method(options.method)
    from analysis.fidelity_row import measure_row  # only now, since it imports the schema

    headers, row = measure_row(method, options, TRIALS)
    if options.json:
        print(json.dumps({"fidelity": dict(zip(headers, row, strict=True))}, indent=1))
    else:
        print(tabulate([row], headers, tablefmt="github", disable_numparse=True))


def load_method(path: Path) -> str:
    """Import the Python file, and return the name of the one objective that it registers. Raises BadInput."""
    discover(distill)
    spec = importlib.util.spec_from_file_location(f"method_{path.stem}", path)
    if path.suffix != ".py" or spec is None or spec.loader is None or not path.is_file():
        raise BadInput(f"{path}: is not a Python file with an objective; docs/extending.md shows one")
    before = set(Objective.registry)
    if path.resolve().parent == Path(distill.__path__[0]).resolve():  # discover() has imported it
        module = f"{distill.__name__}.{path.stem}"
        found = sorted(name for name in before if Objective.registry[name].__module__ == module)
    else:
        # Annotations that are text (`from __future__ import annotations`) are looked up in the module of that name.
        sys.modules[spec.name] = importlib.util.module_from_spec(spec)
        with blamed_on(f"{path} cannot be imported"):
            spec.loader.exec_module(sys.modules[spec.name])
        if "repro.config" in sys.modules:
            raise BadInput(
                f"{path}: imports the schema of runs (repro.config, perhaps through another module), to which its "
                "objective could then not be added: import that inside the function that uses it"
            )
        found = sorted(set(Objective.registry) - before)
    if len(found) != 1:
        raise BadInput(
            f"{path}: defines {len(found)} objectives ({', '.join(found) or 'none'}); it must define one, "
            'a class with the field name: Literal["my_method"] = "my_method"'
        )
    try:
        Objective.registry[found[0]]()
    except ValidationError as error:
        key = ".".join(map(str, error.errors()[0]["loc"]))
        raise BadInput(f"{path}: every option of {found[0]} needs a default, and '{key}' has none") from error
    return found[0]
