"""`repro bench precision`: changes are paired by trial, and their numbers are those of the records."""

import json
from functools import partial
from pathlib import Path

import pytest

from analysis import bench_precision
from analysis.bench_precision import InMode
from repro.cli import main
from repro.store import Store
from repro.training.mode import Mode


@pytest.mark.slow
def test_the_changes_are_those_of_the_runs_trial_by_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_precision, "modes_of", lambda _: [Mode("bfloat16")])  # compiling takes its time
    smoke = ["bench", "precision", "--preset", "smoke", "--device", "cpu", "--runs", str(tmp_path)]
    command = [*smoke, "--trials", "2"]
    assert main([*command, "--workers", "2", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)["precision"]
    assert numbers["settings"] == {"on": "digits", "preset": "smoke", "trials": 2, "images": 597}
    assert [(change["precision"], change["who"]) for change in numbers["changes"]] == [
        ("bfloat16", "student"),
        ("bfloat16", "student and teacher"),
    ]
    store = Store(tmp_path)

    def metric(name: str, trial: int, **mode: str) -> float:
        point = InMode(preset="smoke", data="digits", trial=trial, **mode)  # type: ignore[arg-type]
        value: float = store.run(point.config().run_id).read_json("summary.json")["metrics"][f"test/{name}"]
        return value

    for name in ("agreement", "kl", "accuracy"):
        of = numbers["float32"][name]
        assert of["trials"] == pytest.approx([metric(name, trial) for trial in range(2)])
        for change in numbers["changes"]:
            mode = {"precision": "bfloat16", "who": change["who"]}
            expected = [metric(name, trial, **mode) - metric(name, trial) for trial in range(2)]
            assert change[name]["trials"] == pytest.approx(expected)
            assert change[name]["estimate"] == pytest.approx(sum(expected) / 2)
            assert change[name]["low"] <= change[name]["estimate"] <= change[name]["high"]
    kl = numbers["changes"][0]["kl"]
    assert any(kl["trials"])  # the mode does change something
    assert main(command) == 0  # from the records
    assert f"{kl['estimate']:+.4f} ({kl['low']:+.4f} to {kl['high']:+.4f})" in capsys.readouterr().out

    # A third trial diverges in bfloat16: it is counted, and the others' change stands.
    command = [*smoke, "--trials", "3"]
    lost = store.run(InMode(preset="smoke", data="digits", trial=2, precision="bfloat16").config().run_id)
    lost.path.mkdir()
    lost.write_failure("the loss became nan at epoch 0, step 3; training diverged at learning rate 1")
    assert main([*command, "--json"]) == 0
    one, both = json.loads(capsys.readouterr().out)["precision"]["changes"]
    assert one["diverged"] == [2] and both["diverged"] == []
    assert one["kl"]["trials"] == pytest.approx(kl["trials"]) and len(both["kl"]["trials"]) == 3
    lost.write_failure("the disk is full")
    assert main(command) == 1
    assert "the disk is full" in capsys.readouterr().err

    assert main([*smoke, "--trials", "2", "--same-teacher", "--json"]) == 0
    (alone,) = json.loads(capsys.readouterr().out)["precision"]["changes"]
    assert alone == numbers["changes"][0]


def test_a_students_teacher_is_trained_in_the_mode_only_if_it_says_so() -> None:
    smoke = partial(InMode, preset="smoke", data="digits")
    plain = smoke(precision="float32", who="student").config()
    own = smoke(precision="bfloat16", who="student").config()
    both = smoke(precision="bfloat16", who="student and teacher").config()
    assert [config.precision for config in (plain, own, both)] == ["float32", "bfloat16", "bfloat16"]
    assert plain.teachers == own.teachers != both.teachers
    assert [teacher.precision for teacher in both.teachers] == ["bfloat16"]
    compiled = InMode(preset="smoke", data="digits", compiled=True, who="student and teacher").config()
    assert compiled.compiled and compiled.teachers[0].compiled and not both.compiled
