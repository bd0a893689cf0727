"""docs/extending.md is true: its files, added to a copy of the suite that is otherwise unchanged, work."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]

ONE_AFTER_ANOTHER = """
import contextlib, io, json, sys
from repro.cli import main
for arguments in sys.stdin:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = main(json.loads(arguments))
        except SystemExit as end:  # of --help
            code = end.code
    print(json.dumps([code, out.getvalue(), err.getvalue()]), flush=True)
"""


class Done(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


@pytest.mark.slow
def test_a_network_a_data_set_a_method_and_a_study_are_one_file_each(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    shutil.copytree(ROOT / "repro", suite / "repro", ignore=shutil.ignore_patterns("__pycache__"))
    page = (ROOT / "docs" / "extending.md").read_text()
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 9
    for name, code in blocks:
        assert not (suite / name).exists()
        (suite / name).write_text(code)

    process = subprocess.Popen(
        [sys.executable, "-c", ONE_AFTER_ANOTHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(suite), "OMP_NUM_THREADS": "1"},
    )
    with process:
        _follow_the_page(page, process, tmp_path)
    assert process.returncode == 0


def _follow_the_page(page: str, process: "subprocess.Popen[str]", tmp_path: Path) -> None:
    """What the page's reader types, in a process that knows the page's files, and what must come of it."""
    to_process, from_process = process.stdin, process.stdout
    assert to_process is not None and from_process is not None

    def repro(*arguments: str) -> Done:
        print(json.dumps(arguments), file=to_process, flush=True)
        return Done(*json.loads(from_process.readline()))

    done = repro("run", "stripes_study", "preset=smoke", "hidden=16", "--runs", "runs")
    assert done.returncode == 0, done.stderr
    summaries = [json.loads(path.read_text()) for path in (tmp_path / "runs").glob("*/summary.json")]
    assert sorted(summary["kind"] for summary in summaries) == ["student", "teacher"]
    student = next(summary for summary in summaries if summary["kind"] == "student")
    assert student["parameters"] == (64 * 16 + 16) + (16 * 2 + 2)
    assert student["data"] == {"stripes": "stripes-1"}
    assert {"test/agreement", "test/kl", "test/cka/hidden"} <= student["metrics"].keys()

    (writes_texts,) = re.findall(r"```python\n(import json.*?)```", page, flags=re.DOTALL)
    (tmp_path / "data").mkdir()
    subprocess.run([sys.executable, "-c", writes_texts], cwd=tmp_path, check=True)
    trained = repro(
        *("run", "text", "preset=smoke", "--data", "data", "--runs", "texts"),
        *("data.train.dataset.name=tickets", "teachers.data.train.dataset.name=tickets"),
    )
    assert trained.returncode == 0, trained.stderr
    records = [json.loads(path.read_text()) for path in (tmp_path / "texts").glob("*/summary.json")]
    assert [list(record["data"]) for record in records] == [["tickets"]] * 2

    (writes_images,) = re.findall(r"```python\n(import numpy.*?)```", page, flags=re.DOTALL)
    missing = repro("data", "prepare", "flowers", "--data", "data")
    assert (missing.returncode, "no such file; write it as docs/extending.md says" in missing.stderr) == (2, True)
    subprocess.run([sys.executable, "-c", writes_images], cwd=tmp_path, check=True)
    checked = repro("data", "prepare", "flowers", "--data", "data")
    assert (checked.returncode, "already there" in checked.stderr) == (0, True), checked.stderr
    (command,) = re.findall(r"^repro (run capacity .*)$", page, flags=re.MULTILINE)
    tried = repro(*command.split(), "--data", "data", "--runs", "flowers")
    assert tried.returncode == 0, tried.stderr
    records = [json.loads(path.read_text()) for path in (tmp_path / "flowers").glob("*/summary.json")]
    assert [list(record["data"]) for record in records] == [["flowers"]] * 2
    _, _, preset, *flowers = command.split()
    sweep = str(ROOT / "sweeps" / "capacity_resnet20.yaml")
    planned = repro("launch", sweep, preset, *flowers, "trial=0", "members=1", "student_depth=20", "--dry-run")
    assert "2 distinct runs (1 teacher, 1 student), 120 images to train" in planned.stdout, planned

    (command,) = re.findall(r"^repro (run digits .*augmentation=.*)$", page, flags=re.MULTILINE)
    augmented = repro(*shlex.split(command), "--runs", "augmented")
    assert augmented.returncode == 0, augmented.stderr

    (command,) = re.findall(r"^repro (run digits .*schedule=.*)$", page, flags=re.MULTILINE)
    scheduled = repro(*shlex.split(command), "--runs", "scheduled")
    assert scheduled.returncode == 0, scheduled.stderr
    configs = [json.loads(path.read_text())["config"] for path in (tmp_path / "scheduled").glob("*/config.json")]
    assert {"name": "steps", "warmup_epochs": 0, "per": "epoch", "drops": [0.3, 0.6], "factor": 0.1} in [
        config["schedule"] for config in configs
    ]

    hidden = repro("run", "stripes_study", "preset=smoke", "objective.name=vector_distance", "--runs", "runs")
    assert hidden.returncode == 0, hidden.stderr

    assert "stripes_study" in repro("run", "--help").stdout
    refused = repro("run", "stripes_study", "preset=smoke", "model.hiden=8", "--runs", "runs")
    assert refused.returncode == 2
    assert "did you mean 'model.hidden'?" in refused.stderr
