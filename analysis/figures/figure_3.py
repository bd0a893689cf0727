"""Figure 3: augmentation policies for the student of five ResNet-56 on CIFAR-100."""

from analysis.drawing.panels import ACCURACY, AGREEMENT, Names, Panel
from analysis.figure import PaperFigure, main

POLICIES = Names(
    "policy",
    {
        "baseline": "Baseline, τ = 1",
        "baseline_tau4": "Baseline, τ = 4",
        "rotation": "Rotation",
        "vertical_flip": "Vertical flip",
        "color_jitter": "Color jitter",
        "combined": "Combined",
        "mixup": "MixUp, τ = 1",
        "mixup_tau4": "MixUp, τ = 4",
        "gan": "GAN images, τ = 4",
        "ood": "SVHN images (OOD)",
        "noise": "Uniform noise",
    },
)

FIGURE = PaperFigure(
    name="3",
    title="Figure 3: which augmentation makes the student of five ResNet-56 faithful?",
    sweeps=("augmentation",),
    only={"members": 5},
    panels=[[Panel(AGREEMENT, POLICIES, title="Fidelity"), Panel(ACCURACY, POLICIES, title="Generalization")]],
    row_height=2.8,
    share_y=True,
)

if __name__ == "__main__":
    main(FIGURE)
