"""The predictions of a network and their fidelity and generalization metrics. Always in evaluation mode."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from repro.data.dataset import as_input
from repro.distill.ensemble import Ensemble, ensemble_logits
from repro.metrics.cka import MINIMUM_BATCH, StreamingCKA
from repro.metrics.fidelity import evaluate_fidelity
from repro.metrics.generalization import evaluate as evaluate_generalization
from repro.models.base import Staged
from repro.models.stages import capture_stages
from repro.training.distributed import ALONE, Ranks
from repro.training.inputs import FileInputs, Inputs
from repro.training.training import Metrics

BATCH = 500
DECODED_TO_IDENTIFY = 8
"""By so many inputs, spread over the whole set, inputs in files are identified: to decode them all takes long."""


@dataclass(frozen=True)
class EvaluationSet:
    """Examples to predict on, fixed for the whole run.

    inputs: (n, ...), as stored or, for images that were augmented, float32 in [0, 1].
    labels: int64 (n,), or None unless they are known for all examples.
    teacher_logits: (n, classes), log of the teachers' mean probability; None for a run without teachers.
    """

    inputs: Inputs
    labels: Tensor | None
    teacher_logits: Tensor | None


@torch.no_grad()
def predict(network: nn.Module, inputs: Inputs, ranks: Ranks = ALONE) -> Tensor:
    """Logits (n, classes) of a network, whose training mode is left unchanged. Processes share the work."""
    was_training = network.training
    network.eval()
    logits = _by_batch(network, inputs, ranks, dim=0)
    network.train(was_training)
    return logits


def predict_members(teachers: Ensemble, inputs: Inputs, ranks: Ranks = ALONE) -> Tensor:
    """Logits (members, n, classes) of every teacher."""
    return _by_batch(teachers, inputs, ranks, dim=1)


def predict_ensemble(teachers: Ensemble, inputs: Inputs, ranks: Ranks) -> Tensor:
    """Logits (n, classes) of the teachers' mean probability."""
    return ensemble_logits(predict_members(teachers, inputs, ranks))


def _by_batch(network: nn.Module, inputs: Inputs, ranks: Ranks, dim: int) -> Tensor:
    """The network's outputs for all inputs, in every process; dimension `dim` of the outputs runs over the inputs."""
    if len(inputs) < ranks.size:
        ranks = ALONE
    rows = torch.split(torch.arange(len(inputs)), min(BATCH, max(1, len(inputs) // ranks.size)))
    outputs = [network(batch) for batch in stream_inputs(inputs, ranks.share(rows))]
    if ranks.size == 1:
        return torch.cat(outputs, dim)
    shape = list(outputs[0].shape)
    shape[dim] = len(inputs)
    everyones = torch.zeros(shape, device=outputs[0].device)
    for own, output in zip(ranks.share(rows), outputs, strict=True):
        everyones.narrow(dim, int(own[0]), len(own)).copy_(output)
    ranks.sum([everyones])
    return everyones


def stream_inputs(inputs: Inputs, chunks: Sequence[Tensor]) -> Iterator[Tensor]:
    """The inputs of each chunk of rows, as a network takes them."""
    if isinstance(inputs, FileInputs):
        return inputs.stream(chunks)
    return (as_input(inputs[chunk.to(inputs.device)]) for chunk in chunks)


def identify(inputs: Inputs) -> str:
    """16 hexadecimal digits that depend on the inputs themselves, whatever data set and options they come from."""
    if isinstance(inputs, FileInputs):
        rows = torch.linspace(0, len(inputs) - 1, min(len(inputs), DECODED_TO_IDENTIFY)).long()
        (inputs,) = replace(inputs, workers=0).stream([rows])
    return hashlib.sha256(inputs.cpu().contiguous().numpy().tobytes()).hexdigest()[:16]


def measure(logits: Tensor, evaluation: EvaluationSet) -> dict[str, Tensor]:
    """Every metric that can be computed on the set, as 0-dim tensors: see `repro.metrics`."""
    metrics: dict[str, Tensor] = {}
    if evaluation.labels is not None:
        metrics |= evaluate_generalization(logits, evaluation.labels)
    if evaluation.teacher_logits is not None:
        metrics |= evaluate_fidelity(logits, evaluation.teacher_logits)
    return metrics


@torch.no_grad()
def stage_similarity(student: nn.Module, teacher: nn.Module, inputs: Inputs, seed: int) -> dict[str, Tensor]:
    """Linear CKA of student and teacher after each stage, by the student's stage names.

    Empty if the two have different numbers of stages, or if there are fewer than four inputs. The inputs are visited in
    a random order drawn from `seed`, since prepared test sets may be ordered by class and the estimate needs random
    batches.
    """
    assert isinstance(student, Staged) and isinstance(teacher, Staged)
    if len(student.stages) != len(teacher.stages) or len(inputs) < MINIMUM_BATCH:
        return {}
    modes = student.training, teacher.training
    student.eval(), teacher.eval()
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(seed))
    similarity = {stage: StreamingCKA() for stage in student.stages}
    with capture_stages(student) as ours, capture_stages(teacher) as theirs:
        # Batches of nearly equal size: none is too small for the estimate.
        for batch in stream_inputs(inputs, order.tensor_split(-(-len(order) // BATCH))):
            student(batch), teacher(batch)
            for own_stage, teacher_stage in zip(student.stages, teacher.stages, strict=True):
                similarity[own_stage].update(ours[own_stage], theirs[teacher_stage])
    student.train(modes[0]), teacher.train(modes[1])
    return {stage: cka.value() for stage, cka in similarity.items()}


def as_numbers(metrics: Mapping[str, Tensor]) -> Metrics:
    """Metrics as numbers; None for undefined ones (such as CKA of a network with the same output for every image)."""
    return {name: None if value.isnan() else float(value) for name, value in metrics.items()}
