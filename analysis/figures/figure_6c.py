"""Figure 6c: the loss on the plane through teacher, initial student and final student, LayerNorm ResNet-20."""

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from analysis.drawing.panels import Evidence
from analysis.drawing.style import BLUE, VERMILLION, canvas
from analysis.figure import PaperFigure, main
from repro.records.record import Floats

WEIGHTS = (0.0, 0.25, 0.375)
ANCHORS = {
    "teacher": ("teacher", VERMILLION, "s"),
    "student_initial": ("student's start", BLUE, "^"),
    "student_final": ("student's end", BLUE, "o"),
}
COMMAND = "repro surface init_interpolation"


@dataclass(frozen=True)
class Surface:
    """Loss (y, x) on the plane; NaN where it is not finite. anchors: where the three networks lie."""

    x: Floats
    y: Floats
    loss: Floats
    anchors: dict[str, tuple[float, float]]


def read_surface(content: bytes) -> Surface:
    """Parse a `surface.json`. Raises ValueError, TypeError or KeyError if the content is not one."""
    kept = json.loads(content)
    x, y, loss = (np.array(kept[name], dtype=float) for name in ("x", "y", "train/loss"))
    if loss.shape != (len(y), len(x)):
        raise ValueError(f"{loss.size} values of loss on {len(y)} x {len(x)} points")
    return Surface(x, y, loss, {name: (kept["anchors"][name]["x"], kept["anchors"][name]["y"]) for name in ANCHORS})


def draw(evidence: Evidence) -> Figure:
    """A map of the training loss for each initialization of one trial, darker where the loss is lower."""
    figure, grid = canvas(1, len(WEIGHTS), height=2.3)
    _, surfaces = _surfaces(evidence)
    low = min((np.nanmin(surface.loss) for surface in surfaces.values()), default=1.0)
    high = max((np.nanmax(surface.loss) for surface in surfaces.values()), default=2.0)
    norm = LogNorm(max(low, high * 1e-4), high)
    image = None
    for axes, weight in zip(grid[0], WEIGHTS, strict=True):
        axes.set_title(f"λ = {weight:g}", loc="left")
        surface = surfaces.get(weight)
        if surface is None:
            axes.text(0.5, 0.5, "not run", transform=axes.transAxes, ha="center", color="0.6")
            axes.set(xticks=[], yticks=[])
            continue
        image = _draw_surface(axes, surface, norm)
    grid[0, 0].set_ylabel("distance in weight space")
    if image is not None:
        figure.colorbar(image, ax=list(grid[0]), label="training loss (log scale)", shrink=0.9)
    return figure


def _draw_surface(axes: Axes, surface: Surface, norm: LogNorm) -> Any:
    grid = (surface.x, surface.y, surface.loss)
    image = axes.pcolormesh(*grid, norm=norm, cmap="Greys_r", shading="nearest", rasterized=True)
    assert norm.vmin is not None and norm.vmax is not None
    levels = np.geomspace(norm.vmin, norm.vmax, 10)[1:-1]
    axes.contour(*grid, colors="white", linewidths=0.4, levels=levels)
    for name, (label, color, marker) in ANCHORS.items():
        style: dict[str, Any] = {"marker": marker, "linestyle": "none", "markeredgecolor": "white", "markersize": 6}
        axes.plot(*surface.anchors[name], color=color, label=label, **style)
    axes.set_xlabel("distance in weight space")
    axes.grid(visible=False)
    return image


def _surfaces(evidence: Evidence) -> tuple[int, dict[float, Surface]]:
    """The trial with the most surfaces (the first of several), and its surfaces by the teacher's weight λ."""
    trials: dict[int, dict[float, Surface]] = {}
    for row in evidence.table.sort_values("trial").to_dict("records"):
        surface = evidence.attachment(row["run_id"], "surface.json", read_surface)
        if surface is not None:
            trials.setdefault(row["trial"], {})[row["weight"]] = surface
    return max(trials.items(), key=lambda trial: len(trial[1]), default=(0, {}))


def _remedy(evidence: Evidence | None) -> list[str]:
    """The commands that measure the missing surfaces of the trial that is shown."""
    trial, measured = (0, {}) if evidence is None else _surfaces(evidence)
    of_trial = f" trial={trial}" if trial else ""
    return [f"{COMMAND} weight={weight}{of_trial}" for weight in WEIGHTS if weight not in measured]


FIGURE = PaperFigure(
    name="6c",
    title="Figure 6c: is there a barrier between the student's end and its teacher?",
    caption="One trial. The plane goes through all three networks; the loss is the student's own.",
    sweeps=("init_interpolation",),
    only={"learning_rate": "constant", "weight": WEIGHTS},
    remedy=_remedy,
    draw=draw,
)

if __name__ == "__main__":
    main(FIGURE)
