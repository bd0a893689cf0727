"""The examples a run trains on, assembled from its data sets and kept on the device as they are stored."""

from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from repro.config import BaseRunConfig, DataConfig, GeneratorConfig, Selection, TrainingConfig
from repro.data.dataset import Dataset, LabeledData, Split
from repro.data.selection import select, stratified_order
from repro.errors import BadInput
from repro.generative.sampling import ImageSampler
from repro.seeds import stream_seed

NO_LABEL = -1


def assemble(
    config: DataConfig,
    datasets: Mapping[Dataset, LabeledData],
    device: torch.device,
    generators: Mapping[GeneratorConfig, nn.Module],
) -> Split:
    """The selected examples of `train`, those of each pool without labels, then the generated ones, which have none.

    A label that is withheld or does not exist is NO_LABEL.
    `generators` are the finished networks of `config.generators`, on the device. Raises BadInput like `select_all`.
    """
    train, *pools = (
        datasets[selection.dataset].train.subset(indices)
        for selection, indices in zip((config.train, *config.pools), select_all(config, datasets), strict=True)
    )
    generated = [
        ImageSampler(
            generators[images.generator], images.generator.model.latent_size, images.batch_statistics
        ).fixed_set(images.images, images.seed, device)
        for images in config.generated
    ]
    unlabeled = [*(pool.inputs.to(device) for pool in pools), *generated]
    inputs = torch.cat([train.inputs.to(device), *unlabeled])
    labels = torch.full((len(inputs),), NO_LABEL, device=device)
    labels[: len(train)] = train.labels.to(device)
    return Split(inputs, labels)


def select_all(config: DataConfig, datasets: Mapping[Dataset, LabeledData]) -> list[Tensor]:
    """Indices of the selected examples of `train` and of each pool. Raises BadInput if a data set has too few."""
    return [select_from(selection, datasets) for selection in (config.train, *config.pools)]


def lineage(config: BaseRunConfig) -> Iterator[BaseRunConfig]:
    """The run and every run that it learns from, directly or indirectly."""
    yield config
    for parent in config.parents():
        yield from lineage(parent)


def with_validation(config: TrainingConfig, datasets: Mapping[Dataset, LabeledData]) -> LabeledData:
    """The data set of `train`, with its test images replaced by those that `config.data.validation` holds out, if any.

    Raises BadInput if no other images are left, or if the run or one that it learns from is trained on a held-out image
    or on the same data set with other options, which may read the same file.
    """
    train, validation = config.data.train, config.data.validation
    own = datasets[train.dataset]
    if validation is None:
        return own
    order = stratified_order(own.train.labels, stream_seed(train.seed, "selection"))
    left = len(order) - validation
    if left < 1:
        raise BadInput(f"data set {train.dataset.name}: data.validation holds out all of {len(order)} images")
    held_out = order[left:].sort().values
    trained_on = {selection: run for run in reversed([*lineage(config)]) for selection in run.data.selections}
    for selection, run in trained_on.items():
        by = "" if run == config else f" by {run.kind} {run.run_id}, from which the run learns"
        if selection.dataset == train.dataset:
            shared = int(torch.isin(select_from(selection, datasets), held_out).sum())
            if shared:
                raise BadInput(
                    f"data set {train.dataset.name}: {shared} of the {validation} images that data.validation holds "
                    f"out are trained on{by}; train on at most {left} of its images"
                )
        elif selection.dataset.name == train.dataset.name:
            raise BadInput(
                f"data set {train.dataset.name} is trained on with other options{by}, so its images may be among "
                f"those that data.validation holds out; give both the same options"
            )
    return replace(own, test=own.train.subset(held_out))


def select_from(selection: Selection, datasets: Mapping[Dataset, LabeledData]) -> Tensor:
    """Ascending indices of the selected train examples. Raises BadInput if there are too few, or none of `classes`."""
    labels = datasets[selection.dataset].train.labels
    try:
        chosen = select(
            labels,
            half=selection.half,
            size=selection.size,
            fraction=selection.fraction,
            seed=selection.seed,
        )
    except ValueError as error:
        raise BadInput(f"data set {selection.dataset.name}: {error}") from error
    if selection.classes is not None:
        chosen = chosen[torch.isin(labels[chosen], torch.tensor(selection.classes))]
        if len(chosen) == 0:
            raise BadInput(f"data set {selection.dataset.name}: none of the images is of classes {selection.classes}")
    return chosen
