"""Commands called in this process."""

from collections.abc import Callable
from typing import NamedTuple, TypeAlias

import pytest

from repro.cli import main


class Output(NamedTuple):
    code: int
    out: str
    err: str


Repro: TypeAlias = Callable[..., Output]


def calling(capsys: pytest.CaptureFixture[str]) -> Repro:
    """What calls `repro` with arguments."""

    def call(*arguments: str) -> Output:
        code = main(arguments)
        return Output(code, *capsys.readouterr())

    return call
