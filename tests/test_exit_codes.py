"""How commands end: with an exit code, and if they fail with one line."""

import os
import subprocess
import sys
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from processes import Process

from repro.cli import exit_code
from repro.errors import BadInput, Damaged, Interrupted, RunFailed


@pytest.mark.parametrize(
    ("error", "code"),
    [(BadInput, 2), (Damaged, 2), (RunFailed, 1), (Interrupted, 1)],
)
def test_bad_input_and_failed_runs_are_told_apart_and_take_one_line_each(
    error: type[Exception], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise error("the first\nand the second")

    assert exit_code(fail) == code
    assert capsys.readouterr() == ("", "repro: the first and the second\n")
    assert exit_code(lambda: None) == 0


def test_ctrl_c_is_a_failure_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    assert exit_code(interrupted) == 1
    said = "repro: interrupted; no file is half-written, and the same command can be run again\n"
    assert capsys.readouterr() == ("", said)


CTRL_C_DURING_IMPORT = """
import signal, sys
class Finder:
    def find_spec(name, path, target):
        if name == "repro.usage":
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Finder)
from repro.cli import main
sys.exit(main(["status"]))
"""


def test_ctrl_c_while_a_command_is_imported_is_a_failure_in_one_line() -> None:
    ended = subprocess.run([sys.executable, "-c", CTRL_C_DURING_IMPORT], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("repro: interrupted; ") and ended.stderr.count("\n") == 1


def test_a_command_whose_reader_has_gone_ends_without_a_word(tmp_path: Path) -> None:
    """As in `repro status | head -1`."""

    def command(pipe: Connection) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), (tmp_path / "stderr").open("w")
        code = exit_code(lambda: print("a row", flush=True))
        print("what Python writes when it ends", flush=True)
        sys.stderr.flush()
        pipe.send(code)

    assert Process(command).hear() == 1
    assert (tmp_path / "stderr").read_text() == ""


def test_what_this_user_may_not_read_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, user = tmp_path / "config.json", os.geteuid()
    path.touch(mode=0)
    if user == 0:  # who may read everything
        os.seteuid(65534)
    try:
        assert exit_code(lambda: print(path.read_text())) == 2
    finally:
        os.seteuid(user)
    assert capsys.readouterr().err == f"repro: {path}: this user may not do that (Permission denied)\n"


def test_a_fault_of_the_disk_is_one_line_and_any_other_error_of_the_system_a_traceback(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(lambda: print(Path("/proc/self/mem").read_bytes())) == 1  # nothing can be read at its start
    assert capsys.readouterr().err == "repro: a file: Input/output error\n"
    with pytest.raises(FileNotFoundError):
        exit_code(lambda: print((tmp_path / "forgotten").read_text()))
