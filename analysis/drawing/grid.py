"""Drawing panels: lines along a numeric setting, or a row of dots for each named condition."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.drawing.lines import draw_lines
from analysis.drawing.panels import Evidence, Names, Panel, of_panel
from analysis.drawing.rows import draw_rows
from analysis.drawing.style import canvas


def draw_grid(
    panels: Sequence[Sequence[Panel]], evidence: Evidence, row_height: float, share_y: bool = False
) -> Figure:
    """A figure with these panels, in rows of `row_height` inches."""
    height = row_height * len(panels)
    figure, grid = canvas(len(panels), len(panels[0]), height, sharey="row" if share_y else False)
    for row, panels_of_row in enumerate(panels):
        for column, panel in enumerate(panels_of_row):
            axes = grid[row, column]
            draw_panel(axes, panel, evidence)
            # Do not repeat labels that the panel to the left, above or below has.
            if share_y and column > 0:
                axes.set_ylabel("")
            if row > 0 and panel.title == panels[row - 1][column].title:
                axes.set_title("", loc="left")
            if row + 1 < len(panels) and panel.along == panels[row + 1][column].along:
                axes.set_xlabel("")
    return figure


def draw_panel(axes: Axes, panel: Panel, evidence: Evidence) -> None:
    """Draw one panel: along numbers as lines, along names as rows of dots."""
    here = of_panel(panel, evidence)
    if isinstance(panel.along, Names):
        draw_rows(axes, panel, panel.along, here)
    else:
        draw_lines(axes, panel, panel.along, here)
    axes.set_title(panel.title, loc="left")
