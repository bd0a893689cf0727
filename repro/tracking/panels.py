"""The panels for runs with given metrics: one table for the workspace and all reports of studies."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from typing import TypeAlias

import wandb_workspaces.reports.v2 as wr

GENERALIZATION = ("test/accuracy", "test/nll", "test/ece")
FIDELITY = ("test/agreement", "test/kl")
CONDITION = wr.Config("condition")
"""Runs that differ only in the trial have the same condition."""


Panel: TypeAlias = wr.LinePlot | wr.BarPlot | wr.ScatterPlot | wr.MediaBrowser


@dataclass(frozen=True)
class Group:
    """Panels under one heading."""

    title: str
    panels: Sequence[Panel]


def groups(metrics: Set[str]) -> list[Group]:
    """The panels for runs with these metrics, by heading. Other metrics get no panel; empty groups are left out."""
    found = [
        Group("Progress", [*_bars(metrics, "epoch", by_condition=False), *_curves(metrics, "train/loss")]),
        Group("Fidelity against generalization", list(_scatter(metrics, "test/agreement", "test/accuracy"))),
        Group("Train against test agreement", list(_scatter(metrics, "train/agreement", "test/agreement"))),
        Group("By condition: fidelity", list(_bars(metrics, *FIDELITY))),
        Group("By condition: generalization", list(_bars(metrics, *GENERALIZATION))),
        Group("By condition: similarity of representations (CKA)", list(_bars(metrics, *_cka(metrics)))),
        Group("Curves", list(_curves(metrics, *FIDELITY, *GENERALIZATION, "train/agreement"))),
        Group("Generator", list(_curves(metrics, "train/generator_loss", "train/discriminator_loss"))),
        Group("Pictures of finished runs", list(_pictures(metrics))),
    ]
    return [group for group in found if group.panels]


def _scatter(metrics: Set[str], x: str, y: str) -> Iterator[wr.ScatterPlot]:
    if {x, y} <= metrics:
        yield wr.ScatterPlot(title=f"{y} against {x}", x=wr.SummaryMetric(x), y=wr.SummaryMetric(y))


def _bars(metrics: Set[str], *names: str, by_condition: bool = True) -> Iterator[wr.BarPlot]:
    for name in names:
        if name in metrics and by_condition:
            title = f"{name}: mean and standard deviation over trials"
            yield wr.BarPlot(
                title=title, metrics=[name], groupby=CONDITION, groupby_aggfunc="mean", groupby_rangefunc="stddev"
            )
        elif name in metrics:
            yield wr.BarPlot(title=f"{name} reached", metrics=[name])


def _curves(metrics: Set[str], *names: str) -> Iterator[wr.LinePlot]:
    for name in names:
        if name in metrics:
            yield wr.LinePlot(title=name, x="epoch", y=[name])


def _cka(metrics: Set[str]) -> list[str]:
    return sorted(name for name in metrics if name.startswith("test/cka/"))


def _pictures(metrics: Set[str]) -> Iterator[wr.MediaBrowser]:
    for name in sorted(name for name in metrics if name.startswith("figures/")):
        yield wr.MediaBrowser(title=name.removeprefix("figures/"), media_keys=[name], num_columns=4)
