"""Scripts in place of Slurm's commands, which note what they are given and say what a test wants them to say."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

SBATCH = """#!/bin/bash
n=$(cat {folder}/count 2>/dev/null || echo 0)
if [ "$n" -ge {accepted} ]; then echo 'sbatch: error: no more of them' >&2; exit 1; fi
echo $((n + 1)) > {folder}/count
ls {runs}/.launch/submitted > {folder}/ledger_$n
cp "$1" {folder}/script_$n
echo "Submitted batch job $((100 + n))"
"""
SCANCEL = """#!/bin/bash
echo "$*" >> {folder}/cancelled
for id; do case $id in
    {others}) echo "scancel: error: Kill job error on job id $id: Access/permission denied" >&2; code=210;;
esac; done
exit $code
"""


class PretendSlurm:
    """A folder of commands before all others in PATH. `sbatch` accepts the first `accepted` arrays."""

    def __init__(self, folder: Path, runs: Path, monkeypatch: pytest.MonkeyPatch, accepted: int = 99) -> None:
        self.folder = folder
        folder.mkdir()
        self.runs = runs
        self.accepts(accepted)
        self.denies("none")
        for name in ("srun", "squeue", "sacct"):
            self.answers(name, [])
        monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")

    def accepts(self, arrays: int) -> None:
        """Have sbatch take so many arrays."""
        self.script("sbatch", SBATCH.format(folder=self.folder, runs=self.runs, accepted=arrays))

    def answers(self, command: str, lines: Sequence[str]) -> None:
        """Have a command print these lines, and note its arguments in `asked_COMMAND`."""
        prints = "".join(f"echo '{line}'\n" for line in lines)
        self.script(command, f'#!/bin/bash\necho "$*" >> {self.folder}/asked_{command}\n{prints}')

    def denies(self, others: str) -> None:
        """Have scancel cancel no jobs whose ids fit this pattern of the shell, since other users own them."""
        self.script("scancel", SCANCEL.format(folder=self.folder, others=others))

    def fails(self, command: str, said: str) -> None:
        self.script(command, f"#!/bin/bash\necho '{said}' >&2; exit 1\n")

    @property
    def submitted(self) -> int:
        """How many arrays sbatch has taken."""
        return int(self.read("count") or 0)

    @property
    def cancelled(self) -> list[str]:
        """What each call of scancel was given."""
        return self.read("cancelled").splitlines()

    def read(self, name: str) -> str:
        path = self.folder / name
        return path.read_text() if path.exists() else ""

    def script(self, command: str, script: str) -> None:
        (self.folder / command).write_text(script)
        (self.folder / command).chmod(0o755)
