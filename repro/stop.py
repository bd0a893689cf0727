"""Requests to stop, sent as signals."""

import contextlib
import signal
from collections.abc import Callable, Iterable, Iterator
from types import FrameType
from typing import Any, TypeAlias

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2)
"""Ctrl-C; the usual request to terminate; and the signal that the launcher has Slurm send before it ends a job."""


Handler: TypeAlias = Callable[[int, FrameType | None], Any]


@contextlib.contextmanager
def handling(signals: Iterable[signal.Signals], handler: Handler) -> Iterator[None]:
    """Have these signals handled by `handler` within the block."""
    before = {number: signal.signal(number, handler) for number in signals}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


def not_ignored(*signals: signal.Signals) -> list[signal.Signals]:
    """Those of the signals that are not to be ignored, as SIGHUP is under `nohup`."""
    return [number for number in signals if signal.getsignal(number) != signal.SIG_IGN]


class StopRequest:
    """Set by a signal; the training loop checks it after every step."""

    def __init__(self) -> None:
        self.signal: str | None = None

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Treat SIGNALS as requests to stop; a SIGINT that follows one of them interrupts at once."""
        with handling(SIGNALS, self._handle):
            yield

    def _handle(self, number: int, frame: FrameType | None) -> None:  # noqa: ARG002
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        self.signal = signal.Signals(number).name
