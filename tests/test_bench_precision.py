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
    command = [*smoke, "--trials", "3"]
    store = Store(tmp_path)
    # The third trial diverges in bfloat16: it is counted, and the others' change stands.
    lost = store.run(InMode(preset="smoke", data="digits", trial=2, precision="bfloat16").config().run_id)
    lost.path.mkdir(parents=True)
    lost.write_failure("the loss became nan at epoch 0, step 3; training diverged at learning rate 1")
    assert main([*command, "--workers", "2", "--json"]) == 0
    numbers = json.loads(capsys.readouterr().out)["precision"]
    assert numbers["settings"] == {"on": "digits", "preset": "smoke", "trials": 3, "images": 597}
    changes = numbers["changes"]
    assert [(change["precision"], change["who"], change["diverged"]) for change in changes] == [
        ("bfloat16", "student", [2]),
        ("bfloat16", "student and teacher", []),
    ]

    def metric(name: str, trial: int, **mode: str) -> float:
        point = InMode(preset="smoke", data="digits", trial=trial, **mode)  # type: ignore[arg-type]
        value: float = store.run(point.config().run_id).read_json("summary.json")["metrics"][f"test/{name}"]
        return value

    for name in ("agreement", "kl", "accuracy"):
        of = numbers["float32"][name]
        assert of["trials"] == pytest.approx([metric(name, trial) for trial in range(3)])
        for change, trials in zip(changes, (2, 3), strict=True):
            mode = {"precision": "bfloat16", "who": change["who"]}
            expected = [metric(name, trial, **mode) - metric(name, trial) for trial in range(trials)]
            assert change[name]["trials"] == pytest.approx(expected)
            assert change[name]["estimate"] == pytest.approx(sum(expected) / trials)
            assert change[name]["low"] <= change[name]["estimate"] <= change[name]["high"]
    kl = changes[0]["kl"]
    assert any(kl["trials"])  # the mode does change something

    from_records = [*smoke, "--trials", "2", "--same-teacher"]
    assert main(from_records) == 0
    shown = capsys.readouterr().out
    assert f"{kl['estimate']:+.4f} ({kl['low']:+.4f} to {kl['high']:+.4f})" in shown
    share = {end: f"{100 * changes[0]['agreement'][end]:+.2f}" for end in ("estimate", "low", "high")}
    assert f"{share['estimate']} ({share['low']} to {share['high']})" in shown
    assert main([*from_records, "--json"]) == 0
    (alone,) = json.loads(capsys.readouterr().out)["precision"]["changes"]
    assert alone == changes[0] | {"diverged": []}

    lost.write_failure("the disk is full")
    assert main(command) == 1
    assert "the disk is full" in capsys.readouterr().err


def test_a_students_teacher_is_trained_in_the_mode_only_if_it_says_so() -> None:
    smoke = partial(InMode, preset="smoke", data="digits")
    plain = smoke(precision="float32", who="student").config()
    own = smoke(precision="bfloat16", who="student").config()
    both = smoke(precision="bfloat16", who="student and teacher").config()
    assert {config.objective.model_dump()["temperature"] for config in (plain, own, both)} == {1.0}
    assert [config.precision for config in (plain, own, both)] == ["float32", "bfloat16", "bfloat16"]
    assert plain.teachers == own.teachers != both.teachers
    assert [teacher.precision for teacher in both.teachers] == ["bfloat16"]
    compiled = InMode(preset="smoke", data="digits", compiled=True, who="student and teacher").config()
    assert compiled.compiled and compiled.teachers[0].compiled and not both.compiled
