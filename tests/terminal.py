"""A screen to write on, as a program sees it."""

import io


class Terminal(io.StringIO):
    """What is written to a terminal."""

    def isatty(self) -> bool:
        return True
