"""Show something repeatedly: redrawn in place on a terminal, otherwise one line whenever it changes."""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

CLEAR = "\x1b[H\x1b[2J\x1b[3J"


class View(NamedTuple):
    """What to show now; `short` is the one-line form. Following ends when `over` is true, or at Ctrl-C."""

    full: str
    short: str
    over: bool


def follow(look: Callable[[], View], seconds: float) -> View | None:
    """Look every `seconds` until it is over. Return the last view, which stays on the terminal; None after Ctrl-C."""
    on_terminal = sys.stdout.isatty()
    shown = None
    with contextlib.suppress(KeyboardInterrupt):
        while True:
            view = look()
            if on_terminal:
                when = f"{time.strftime('%H:%M:%S')}, every {seconds:g} s; Ctrl-C ends only the view"
                print(f"{CLEAR}{view.full}\n\n{when}", flush=True)
            elif view.short != shown:
                print(view.short, flush=True)
            shown = view.short
            if view.over:
                return view
            time.sleep(seconds)
    return None
