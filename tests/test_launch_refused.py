"""A launch onto a disk that is full, gets full half way, or cannot be written: one line, exit code 2, nothing left.

The disks are real (tmpfs), which only root can mount.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from pretend_slurm import PretendSlurm

from repro.cli import main
from repro.launch.ledger import Ledger
from repro.launch.sweep import find_sweep

ONE = [str(find_sweep("digits")), "preset=smoke", "trial=0", "images=100"]
SLURM = ["--cluster", "slurm", "--profile", "cpu"]
PAGE = os.sysconf("SC_PAGE_SIZE")
DISK = 4 * 2**20


class Disk:
    """A disk of 4 MiB at `path`, whose free space can be set."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def leave(self, free: int) -> None:
        """Have `free` bytes left, in whole pages."""
        with (self.path / "filler").open("wb") as filler:
            left = os.statvfs(self.path).f_bavail * PAGE
            if left > free:
                os.posix_fallocate(filler.fileno(), 0, left - free)

    def mount(self, *options: str) -> None:
        subprocess.run(["mount", "-t", "tmpfs", "-o", ",".join(options), "tmpfs", str(self.path)], check=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    path = tmp_path / "disk"
    path.mkdir()
    one = Disk(path)
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small tmpfs")
    try:
        one.mount(f"size={DISK}")
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no tmpfs can be mounted here")
    yield one
    subprocess.run(["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def slurm(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretendSlurm:
    for variable, folder in (("REPRO_RUNS", disk.path / "runs"), ("REPRO_PROFILES", tmp_path / "profiles")):
        monkeypatch.setenv(variable, str(folder))
    return PretendSlurm(tmp_path / "bin", disk.path / "runs", monkeypatch)


def refused(capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """The one line with which a launch ends that is refused; anything else fails."""
    capsys.readouterr()
    assert main(["launch", *ONE, *options]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1, err
    return err


def accepted_and_not_cancelled(slurm: PretendSlurm) -> set[str]:
    """Names of the arrays that sbatch was given and that still stand."""
    scripts = [slurm.read(f"script_{number}") for number in range(slurm.submitted)]
    names = {name for script in scripts for name in re.findall(r"--job-name=(\S+)", script)}
    return names - {line.removeprefix("--name=") for line in slurm.cancelled}


def test_a_disk_that_gets_full_at_any_moment_of_a_launch_leaves_nothing(
    disk: Disk, slurm: PretendSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = disk.path / "runs"
    ledger = Ledger(runs)
    disk.leave(16 * PAGE)  # too little for the copy of the code
    assert "the code cannot be copied there (No space left on device)" in refused(capsys, *SLURM)
    assert list(ledger.code_folder.iterdir()) == []
    disk.leave(DISK)
    assert main(["launch", *ONE, *SLURM]) == 0  # the copy stays for the next
    for submission in ledger.submissions():
        ledger.forget(submission)
        subprocess.run(["scancel", f"--name={submission.name}"], check=True)
    for path in ledger.sweep_folder.iterdir():
        path.unlink()
    before = slurm.submitted
    said = []
    for pages in range(100):  # with so many pages left, something else is the first that does not fit
        disk.leave(pages * PAGE)
        capsys.readouterr()
        code = main(["launch", *ONE, *SLURM])
        out, err = capsys.readouterr()
        if code == 0:
            break
        assert (code, out, err.count("\n")) == (2, "", 1), (pages, err)
        assert "No space left on device" in err
        said.append(err)
        assert ledger.submissions() == []
        left = [path for path in runs.rglob("*") if path.is_file() and "code" not in path.parts]
        assert left == [runs / ".launch" / "lock"], pages
    assert len(said) >= 6  # it did fail at many moments,
    assert slurm.submitted - before > 4  # also when arrays had been submitted already
    stand = {submission.name for submission in ledger.submissions()}
    assert len(stand) == 2
    assert accepted_and_not_cancelled(slurm) == stand


def test_a_full_disk_refuses_a_launch_on_this_machine_too(
    disk: Disk, slurm: PretendSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.leave(0)
    assert "No space left on device" in refused(capsys)
    assert "No space left on device" in refused(capsys, "--workers", "2")
    assert "No space left on device" in refused(capsys, "--cluster", "debug")
    assert slurm.submitted == 0


def test_a_folder_that_cannot_be_written_is_refused_but_can_be_looked_at(
    disk: Disk, slurm: PretendSlurm, capsys: pytest.CaptureFixture[str]
) -> None:
    disk.mount("remount", "ro")
    for options in (SLURM, [], ["--cluster", "debug"]):
        assert "runs: cannot keep runs there (Read-only file system); see --runs" in refused(capsys, *options)
    assert slurm.submitted == 0
    assert main(["launch", *ONE, *SLURM, "--dry-run"]) == 0
    assert main(["status"]) == 0
    disk.mount("remount", "rw")
    assert main(["launch", *ONE, *SLURM]) == 0
    disk.mount("remount", "ro")  # what is there can be looked at, and is not taken for free
    assert main(["status"]) == 0
    assert "cannot keep runs there (Read-only file system)" in refused(capsys, *SLURM)
