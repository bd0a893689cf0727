"""Which runs are to be made, each once, and in what order."""

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from repro.config import GeneratorConfig, RunConfig, Selection, StudentConfig, TeacherConfig
from repro.launch.request import Request
from repro.training.batches import plan_epoch


def parents_first(requests: Iterable[Request]) -> list[Request]:
    """Every run that is needed, once and after its parents. A parent's label comes from the first run that needs it."""
    requests = list(requests)
    planned: dict[str, Request] = {}
    for request in requests:
        for needed in _with_parents(request):
            planned.setdefault(needed.run_id, needed)
    wanted = {request.run_id: request for request in reversed(requests)}
    return [wanted.get(run_id, request) for run_id, request in planned.items()]


def _with_parents(request: Request) -> Iterator[Request]:
    for parent in request.config.parents():
        name, condition = f"{parent.kind} of {request.label}", f"{parent.kind} of {request.condition}"
        named = replace(request, label=name, config=parent, condition=condition.removesuffix(" of "))
        yield from _with_parents(named)
    yield request


def images_to_train(config: RunConfig) -> int | None:
    """How many images (with repetition) pass through the network in training; None if a data set's size is unknown.

    For a generator, the real images that its discriminator sees.
    """
    if isinstance(config, GeneratorConfig):
        return config.epochs * config.steps_per_epoch * config.discriminator_steps * config.batch_size
    parts = images_of_epoch(config)
    return None if parts is None else config.epochs * sum(parts)


def images_of_epoch(config: TeacherConfig | StudentConfig) -> list[int] | None:
    """Images per epoch: of the run's own training set, then of each stream; None if a data set's size is unknown."""
    examples = examples_of(config)
    if examples is None:
        return None
    batches = plan_epoch(examples, config.batch_size, config.stream_counts, config.last_batch)
    return [sum(parts) for parts in zip(*batches, strict=True)]


def examples_of(config: RunConfig) -> int | None:
    """How many examples the run trains on, if its data sets are complete; None if the size of one is unknown.

    If the run selects a subset of classes, this is approximate: all classes are assumed to have the same size.
    """
    sizes = [_selected(selection) for selection in (config.data.train, *config.data.pools)]
    sizes += [images.images for images in config.data.generated]
    return None if None in sizes else sum(size for size in sizes if size is not None)


def _selected(selection: Selection) -> int | None:
    count = selection.size if selection.size is not None else selection.dataset.train_size
    if count is None:
        return None
    if selection.fraction is not None:
        count = round(count * selection.fraction)
    if selection.half is not None:
        count = count // 2 if selection.half == "D0" else count - count // 2
    if selection.classes is not None:
        count = round(count * len(selection.classes) / selection.dataset.num_classes)
    return count


def count_work(plan: Iterable[Request]) -> str:
    """`105 distinct runs (15 teachers, 90 students), 1.50e+09 images to train`."""
    requests = list(plan)
    kinds = Counter(request.config.kind for request in requests)
    by_kind = ", ".join(
        f"{count} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(kinds.items(), reverse=True)
    )
    runs = "run" if len(requests) == 1 else "runs"
    return f"{len(requests)} distinct {runs} ({by_kind}), {images_of(requests)} {inputs_of(requests)} to train"


def images_of(plan: Iterable[Request]) -> str:
    """`1.5e+09`: how many images or texts pass through all networks of a plan in what is left of its training."""
    images = [(images_to_train(request.config), request.left) for request in plan]
    known = [left * count for count, left in images if count is not None]
    parts = [f"{sum(known):.3g}"] if known or not images else []
    if len(known) < len(images):
        parts.append("an unknown number of")
    return " and ".join(parts)


def inputs_of(plan: Iterable[Request]) -> str:
    """What the runs train on: `images`, `texts`, or `examples` if a plan has runs of both."""
    kinds = {request.config.data.train.dataset.input_kind for request in plan}
    return kinds.pop() if len(kinds) == 1 else "examples"
