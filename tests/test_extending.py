"""docs/extending.md is true: its files, added to a copy of the suite that is otherwise unchanged, work."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_a_network_a_data_set_a_method_and_a_study_are_one_file_each(tmp_path: Path) -> None:
    suite = tmp_path / "suite"
    shutil.copytree(ROOT / "repro", suite / "repro", ignore=shutil.ignore_patterns("__pycache__"))
    page = (ROOT / "docs" / "extending.md").read_text()
    blocks = re.findall(r"```python\n# (\S+)\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 8
    for name, code in blocks:
        assert not (suite / name).exists()
        (suite / name).write_text(code)

    def repro(*arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(suite), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "repro", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)

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

    (command,) = re.findall(r"^repro (run digits .*augmentation=.*)$", page, flags=re.MULTILINE)
    augmented = repro(*shlex.split(command), "--runs", "augmented")
    assert augmented.returncode == 0, augmented.stderr

    hidden = repro("run", "stripes_study", "preset=smoke", "objective.name=vector_distance", "--runs", "runs")
    assert hidden.returncode == 0, hidden.stderr

    assert "stripes_study" in repro("run", "--help").stdout
    refused = repro("run", "stripes_study", "preset=smoke", "model.hiden=8", "--runs", "runs")
    assert refused.returncode == 2
    assert "did you mean 'model.hidden'?" in refused.stderr
