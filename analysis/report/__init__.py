"""`repro report`: the state of the evidence as one self-contained web page, and its summary as Markdown."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from analysis.changes import Changes
from analysis.report.contents import Contents, gather
from repro.atomic import make_folder, write_atomically
from repro.records import Records

TEMPLATES = {"page.html.j2": "report.html", "summary.md.j2": "report.md"}


def write_report(records: Records, out: Path, changes: Changes) -> list[Path]:
    """Write report.html and report.md on the runs with these config changes into `out`; return their paths."""
    contents = gather(records, changes)
    make_folder(out, "--out")
    written = []
    for template, name in TEMPLATES.items():
        write_atomically(out / name, render(template, contents).encode())
        written.append(out / name)
    return written


def render(template: str, contents: Contents) -> str:
    """The page or the summary as text. In HTML, everything that comes from records is escaped."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=lambda name: name is not None and name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(contents=contents)
