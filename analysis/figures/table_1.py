"""Table 1: ResNet-20 students initialized at random or with their teacher's initial weights."""

from analysis.drawing.panels import AGREEMENT, KL, Metric, Names, Panel
from analysis.drawing.table import PAPER_IS_GREY, draw_table
from analysis.figure import PaperFigure, main

STARTS = Names("start", {"random": "random", "teachers_initial": "teacher's initial weights"})
CKA = [Metric(f"CKA {stage}", f"CKA, stage {stage} ↑", {"student": f"cka_stage{stage}"}) for stage in (1, 2, 3)]
PANELS = [
    [Panel(metric, STARTS, title="Fidelity, by start of the student") for metric in (AGREEMENT, KL)],
    [Panel(metric, STARTS, title="Similarity of the stages") for metric in CKA],
]

FIGURE = PaperFigure(
    name="table_1",
    title="Table 1: does it help to start where the teacher started? (ResNet-20, test)",
    sweeps=("shared_init",),
    panels=PANELS,
    caption=f"{PAPER_IS_GREY} Its CKA is not comparable: the original code averages it over channels and rows.",
    draw=lambda evidence: draw_table(PANELS, evidence),
)

if __name__ == "__main__":
    main(FIGURE)
