"""The time spent on a run."""

import time


class Clock:
    """Counts the seconds spent on a run over all attempts, and says when the next checkpoint is due."""

    def __init__(self, checkpoint_seconds: float) -> None:
        self.start = self.last = time.monotonic()
        self.checkpoint_seconds = checkpoint_seconds

    def add(self, seconds: float) -> None:
        """Add the seconds of earlier attempts, as stored in their checkpoint."""
        self.start -= seconds

    def seconds(self) -> float:
        return time.monotonic() - self.start

    def checkpoint_due(self) -> bool:
        return time.monotonic() - self.last >= self.checkpoint_seconds

    def checkpointed(self) -> None:
        self.last = time.monotonic()
