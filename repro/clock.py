"""How long a run has been worked on."""

import time


class Clock:
    """Seconds of work over all attempts, and when the next checkpoint is due."""

    def __init__(self, seconds_before: float, checkpoint_seconds: float) -> None:
        self.start = time.monotonic() - seconds_before
        self.checkpoint_seconds = checkpoint_seconds
        self.last = time.monotonic()

    def seconds(self) -> float:
        return time.monotonic() - self.start

    def checkpoint_due(self) -> bool:
        return time.monotonic() - self.last >= self.checkpoint_seconds

    def checkpointed(self) -> None:
        self.last = time.monotonic()
