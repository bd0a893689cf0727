"""The methods of the study `methods`, each with the four settings that are tried. The first is its default."""

from typing import Literal, NamedTuple, get_args

from repro.distill.attention_transfer import AttentionTransfer
from repro.distill.codistillation import Codistillation
from repro.distill.contrastive import Contrastive
from repro.distill.correlation import Correlation
from repro.distill.decoupled import DecoupledKD
from repro.distill.divergences import ForwardCrossEntropy
from repro.distill.flow import Flow
from repro.distill.hard_labels import HardLabels
from repro.distill.hidden import HiddenObjective
from repro.distill.hidden_cosine import HiddenCosine
from repro.distill.hint import Hint
from repro.distill.logit_matching import LogitMSE
from repro.distill.mutual_learning import MutualLearning
from repro.distill.objective import Objective
from repro.distill.own_exits import OwnExits
from repro.distill.relational import Relational
from repro.distill.similarity import Similarity
from repro.distill.supervised import LabelSmoothing

MethodName = Literal[
    "independent",
    "label_smoothing",
    "hard_labels",
    "soft_labels",
    "logit_mse",
    "decoupled",
    "hint",
    "hidden_cosine",
    "attention_transfer",
    "flow",
    "relational",
    "similarity",
    "correlation",
    "contrastive",
    "independent_peers",
    "mutual_learning",
    "codistillation",
    "independent_exits",
    "own_exits",
]
TRIES = 4
TEMPERATURE = 1.0
"""Of the soft labels that are added to a hidden layer's distance, as for most of the paper's students."""


class Try(NamedTuple):
    """One setting of a method.

    The learning rate is varied where the scale of the loss matters: the squared distance of logits, and soft labels at
    a high temperature, which come close to it, are several times as steep as the other losses. Otherwise it is varied
    only for one setting of the hard labels.
    """

    objective: Objective
    slower: float = 1.0  # factor on the learning rate


def _weights(method: type[HiddenObjective], *weights: float) -> tuple[Try, ...]:
    return tuple(Try(method.model_validate({"weight": weight, "temperature": TEMPERATURE})) for weight in weights)


METHODS: dict[MethodName, tuple[Try, ...]] = {
    "independent": (Try(LabelSmoothing(smoothing=0.0)),),
    "label_smoothing": tuple(Try(LabelSmoothing(smoothing=smoothing)) for smoothing in (0.1, 0.05, 0.2, 0.4)),
    "hard_labels": (
        Try(HardLabels()),
        Try(HardLabels(), slower=0.5),
        Try(HardLabels(labels_from="sample")),
        Try(HardLabels(labels_from="sample", temperature=2.0)),
    ),
    "soft_labels": (
        Try(ForwardCrossEntropy(temperature=4.0)),
        Try(ForwardCrossEntropy(temperature=1.0)),
        Try(ForwardCrossEntropy(temperature=2.0)),
        Try(ForwardCrossEntropy(temperature=4.0), slower=0.2),
    ),
    "logit_mse": tuple(Try(LogitMSE(), slower=factor) for factor in (1.0, 0.5, 0.2, 0.1)),
    "decoupled": tuple(
        Try(DecoupledKD(temperature=temperature, non_target_weight=weight))
        for temperature, weight in ((4.0, 8.0), (1.0, 8.0), (1.0, 2.0), (1.0, 1.0))
    ),
    "hint": _weights(Hint, 100.0, 10.0, 1.0, 0.1),
    "hidden_cosine": _weights(HiddenCosine, 0.2, 1.0, 5.0, 25.0),
    "attention_transfer": _weights(AttentionTransfer, 1000.0, 100.0, 10.0, 1.0),
    "flow": _weights(Flow, 1.0, 0.1, 0.01, 10.0),
    "relational": _weights(Relational, 25.0, 2.5, 0.25, 0.025),
    "similarity": _weights(Similarity, 3000.0, 300.0, 30.0, 3.0),
    "correlation": _weights(Correlation, 100.0, 10.0, 1.0, 1000.0),
    "contrastive": _weights(Contrastive, 0.8, 0.08, 0.008, 8.0),
    "independent_peers": (Try(MutualLearning(weight=0.0)),),
    "mutual_learning": tuple(
        Try(MutualLearning(peers=peers, weight=weight)) for peers, weight in ((2, 1.0), (2, 4.0), (2, 0.25), (3, 1.0))
    ),
    "codistillation": tuple(
        Try(Codistillation(peers=peers, burn_in=burn_in)) for peers, burn_in in ((2, 0.1), (2, 0.5), (3, 0.1), (3, 0.5))
    ),
    "independent_exits": (Try(OwnExits(alpha=0.0)),),
    "own_exits": tuple(
        Try(OwnExits(alpha=alpha, temperature=temperature))
        for alpha, temperature in ((0.3, 3.0), (0.3, 1.0), (0.7, 3.0), (0.1, 3.0))
    ),
}
assert set(METHODS) == set(get_args(MethodName))
WITHOUT_TEACHER: tuple[MethodName, ...] = (
    "independent_peers",
    "mutual_learning",
    "codistillation",
    "independent_exits",
    "own_exits",
)
"""Schemes in which networks or exits teach each other, and the controls of both kinds in which they do not."""
CONTROLS: tuple[MethodName, ...] = ("independent", "label_smoothing", *WITHOUT_TEACHER)
"""Methods that learn from labels and never use a teacher."""
