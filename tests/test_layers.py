"""The layers of docs/architecture.md: what imports what, read from the source."""

import ast
from collections.abc import Iterator
from pathlib import Path

FOLDERS = ("repro", "analysis", "slurm")
ROOT = Path(__file__).parents[1]
LAYERS = (
    "analysis repro.bench repro.demo repro.cli repro.commands repro.usage repro.__main__",
    "repro.tracking.commands repro.tracking.dashboard",
    "repro.launch slurm",
    "repro.tracking",
    "repro.experiments",
    "repro.surface",
    "repro.runner repro.attempt",
    "repro.records",
    "repro.store repro.run_data",
    "repro.training",
    "repro.config",
    "repro.data repro.distill repro.generative repro.metrics repro.models repro.optimization",
    "repro.component",
    "repro repro.atomic repro.clock repro.errors repro.lock repro.progress repro.provenance repro.seeds repro.stop",
)
"""From top to bottom; within one, modules may import each other. What is not named is at the bottom."""
HEIGHTS = {name: -row for row, names in enumerate(LAYERS) for name in names.split()}


def height(module: str) -> int:
    """That of the nearest package that is listed."""
    while module not in HEIGHTS:
        module = module.rpartition(".")[0]
    return HEIGHTS[module]


def imports(tree: ast.AST) -> Iterator[str]:
    """All that are carried out, those within functions too; not those for the types alone."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from (name for other in node.orelse for name in imports(other))
        else:
            yield from imports(node)


def test_a_layer_imports_only_from_those_below_it() -> None:
    wrong, checked = [], 0
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            for name in imports(ast.parse(path.read_text())):
                if name.split(".")[0] in FOLDERS:
                    checked += 1
                    if height(name) > height(module):
                        wrong.append(f"{module} imports {name}")
    assert wrong == [] and checked > 1000
