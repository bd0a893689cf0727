"""How long a run has been worked on."""

import time


class Clock:
    """Seconds of work over all attempts, and when the next checkpoint is due."""

    def __init__(self, checkpoint_seconds: float) -> None:
        self.start = self.last = time.monotonic()
        self.checkpoint_seconds = checkpoint_seconds

    def add(self, seconds: float) -> None:
        """Count the work of earlier attempts, as their checkpoint knows it."""
        self.start -= seconds

    def seconds(self) -> float:
        return time.monotonic() - self.start

    def checkpoint_due(self) -> bool:
        return time.monotonic() - self.last >= self.checkpoint_seconds

    def checkpointed(self) -> None:
        self.last = time.monotonic()
