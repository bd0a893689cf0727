"""Why a run cannot start now, and what its record says if it was not finished."""

import contextlib
from collections.abc import Collection, Sequence

from repro.errors import BadInput, RunFailed
from repro.launch.request import Order
from repro.progress import counted
from repro.store import Store

WAIT = "waits for one that is being made"


def obstacle_to(order: Order, store: Store, ours: Collection[str]) -> str | None:
    """Why a run cannot start now, from its record and those of its parents; None if it can.

    WAIT if that may change: another process is making the run or a parent, or a parent is among `ours`, the runs
    that are still to be made. If a parent failed, the run fails too, and its record says so; if no process makes a
    parent, the run is left as it is.
    """
    if any(run_id in ours for _, run_id in order.parents) or store.run(order.run_id).holder() is not None:
        return WAIT
    for kind, run_id in order.parents:
        parent = store.run(run_id)
        if parent.holder() is not None:  # checked first: a parent that ends now shows as done or failed below
            return WAIT
        if parent.is_done():
            continue
        failure = parent.failure()
        if failure is None:
            return f"its {kind} {run_id} is {parent.state()} and no process is making it"
        note_failure(order, store, f"its {kind} {run_id} failed: {failure}", parent=run_id)
        return f"its {kind} {run_id} failed"
    return None


def whom_it_waits_for(orders: Sequence[Order], store: Store) -> str | None:
    """Who is making the first run that these wait for, which may be one of them; None if no process is any more."""
    for run_id in dict.fromkeys(
        one for order in orders for one in (order.run_id, *(parent for _, parent in order.parents))
    ):
        holder = store.run(run_id).holder()
        if holder is not None:
            return f"waiting for run {run_id}, which {holder} is making; {counted(len(orders), 'run')} left"
    return None


def note_failure(order: Order, store: Store, error: str, parent: str | None = None) -> None:
    """Write to a run's record why it was not finished, unless the run is done or its record has a failure already.

    A failed `parent` replaces an earlier failure. If another process holds the run, it is up to that one. If the record
    cannot be written, which may be what kept the run from being made, only the caller knows the reason, and tells it.
    """
    run = store.run(order.run_id)

    def is_settled() -> bool:
        return run.is_done() or (parent is None and run.failure() is not None)

    def leave_it(_: str) -> None:
        raise _HeldByAnother

    if is_settled():
        return
    with contextlib.suppress(_HeldByAnother, BadInput, RunFailed), run.lock(on_wait=leave_it):
        if not is_settled():  # another process may have made the run while we waited
            run.write_plain_config(order.run_id, order.config)
            run.write_failure(error, parent=parent)


class _HeldByAnother(Exception):
    pass
