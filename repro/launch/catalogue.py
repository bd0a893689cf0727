"""`docs/studies.md`, made from the studies' own docstrings and sweep files: `python -m repro.launch.catalogue`."""

import inspect
from pathlib import Path

import yaml

from repro.experiments.study import studies
from repro.launch.plan import count_work, parents_first
from repro.launch.sweep import find_sweep, read_sweep

HEADER = """# Studies

Made by `python -m repro.launch.catalogue > docs/studies.md` from the modules in `repro/experiments/` and the files
in `sweeps/`. Any single run starts by name, for example `repro run data_recycling split=D1 trial=2`. Work is counted
at preset `paper`; students count their teachers once. `short` is about 1 % of it.
"""


def catalogue() -> str:
    """The whole page as Markdown."""
    sweeps = sorted(find_sweep("any").parent.glob("*.yaml"))
    sections = [HEADER]
    for name, study in studies().items():
        lines = [f"## {name}: figure {study.figures}", "", inspect.getdoc(study) or "", ""]
        for path in sweeps:
            if Path(yaml.safe_load(path.read_text())["program"]).stem == name:
                plan = parents_first(read_sweep(path, {"preset": "paper"}))
                lines.append(f"- `sweeps/{path.name}`: {count_work(plan)}")
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


if __name__ == "__main__":
    print(catalogue(), end="")
