"""`docs/studies.md`, made from the studies' own docstrings and sweep files: `python -m repro.launch.catalogue`."""

import inspect

from repro.experiments.study import studies
from repro.launch.plan import count_work, images_of, parents_first
from repro.launch.sweep import all_sweeps, read_sweep, study_of

PRESETS = ("paper", "short", "smoke")

HEADER = """# Studies

Made by `python -m repro.launch.catalogue > docs/studies.md` from the modules in `repro/experiments/` and the files
in `sweeps/`. Any single run starts by name, for example `repro run data_recycling split=D1 trial=2`. The work of a
sweep is counted at preset `paper`, each teacher once; in brackets its images at `short` and at `smoke`. What a run
took where it was measured stands in the study's text.
"""


def catalogue() -> str:
    """The whole page as Markdown."""
    sections = [HEADER]
    for name, study in studies().items():
        lines = [f"## {name}: figure {study.figures}", "", inspect.getdoc(study) or "", ""]
        for path in all_sweeps():
            if study_of(path) == name:
                paper, short, smoke = (parents_first(read_sweep(path, {"preset": preset})) for preset in PRESETS)
                others = f"`short` {images_of(short)}, `smoke` {images_of(smoke)}"
                lines.append(f"- `sweeps/{path.name}`: {count_work(paper)} ({others})")
        sections.append("\n".join(lines) + "\n")
    return "\n".join(sections)


if __name__ == "__main__":
    print(catalogue(), end="")
