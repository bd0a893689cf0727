"""Figure 2: LeNet-5 self-distillation on MNIST, agreement and accuracy against the size of the distillation set."""

from pathlib import Path
from typing import get_args

from analysis.fidelity_table import fidelity_table
from analysis.growing_data import add_legends, draw_growing_data
from analysis.paper import paper_values
from analysis.style import PAPER, TEACHER, save, use_style
from repro.errors import BadInput
from repro.experiments.study import Preset
from repro.launch.sweep import find_sweep, sweep_studies
from repro.store import Store

TITLES = {
    "paper": "protocol of the paper",
    "short": "short protocol: 20 student epochs",
    "smoke": "smoke test on digits",
}


def draw(store: Store, out: Path) -> list[Path]:
    """Draw it for every preset that has runs; presets never share a picture. Raises BadInput if none has."""
    use_style()
    written = []
    for preset in get_args(Preset):
        points = sweep_studies(find_sweep("lenet_mnist"), {"preset": preset})
        table = fidelity_table(store, points)
        if table.empty:
            continue
        figure, fidelity, generalization = draw_growing_data(
            table,
            f"Figure 2: LeNet-5 distilled into LeNet-5 ({TITLES[preset]})",
            expected=len(points),
            remedy=f"repro launch sweeps/lenet_mnist.yaml preset={preset}",
        )
        if preset != "smoke":
            paper = {value.quantity: value for value in paper_values() if value.sweep == "lenet_mnist"}
            low, high = paper["teacher_accuracy"].low, paper["teacher_accuracy"].high
            generalization.axhspan(low, high, color=TEACHER, alpha=0.12, label="teacher, paper", zorder=0)
            fidelity.axhline(
                paper["student_agreement"].low, color=PAPER, linestyle=":", label="paper, with most data: above"
            )
            add_legends(fidelity, generalization)
        written += save(figure, table, out, f"figure_2_{preset}")
    if not written:
        raise BadInput(f"{store.root}: holds no run of Figure 2; make them with `repro launch sweeps/lenet_mnist.yaml`")
    return written
