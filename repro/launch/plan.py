"""Which runs are to be made, each once, and in which order."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from repro.config import RunConfig


@dataclass(frozen=True)
class Request:
    """A run that somebody asked for, under the name they know it by."""

    label: str
    config: RunConfig


def parents_first(requests: Iterable[Request]) -> list[Request]:
    """Every run that is needed, once, each after its parents. A parent is labelled after the first that needs it."""
    planned: dict[str, Request] = {}
    for request in requests:
        for needed in _with_parents(request):
            planned.setdefault(needed.config.run_id, needed)
    wanted = {request.config.run_id: request for request in reversed(list(requests))}
    return [wanted.get(run_id, request) for run_id, request in planned.items()]


def _with_parents(request: Request) -> Iterator[Request]:
    for parent in request.config.parents():
        yield from _with_parents(Request(f"{parent.kind} of {request.label}", parent))
    yield request
