"""What the commands say of themselves, and how they take their arguments."""

from pathlib import Path

import pytest

from repro.cli import main
from repro.experiments.study import find_study, parse_study, studies
from repro.launch.sweep import all_sweeps, parse_settings
from repro.usage import parse
from repro.usage.studies import describe

COMMANDS = [
    "",
    "demo",
    "data",
    "data list",
    "data prepare",
    "run",
    "launch",
    "status",
    "figures",
    "report",
    "compare",
    "surface",
    "export",
]
COMMANDS += ["cancel", "logs", "bench", "wandb", "wandb sync", "wandb dashboard", "wandb agent"]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([*command.split(), "--help"])
    assert caught.value.code == 0
    out, err = capsys.readouterr()
    assert err == ""
    assert out.startswith(f"usage: repro {command}".rstrip())
    if command == "":
        known = {name.split()[0] for name in COMMANDS if name}
        assert known <= {line.split()[0] for line in out.splitlines() if line.startswith("    ")}
    if command in ("run", "launch", "status", "surface", "data prepare"):
        assert f"\n  repro {command} " in out[out.index("example") :]


def test_the_help_of_run_lists_every_study_with_its_headline(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", "--help"])
    listed = capsys.readouterr().out.partition("studies:\n")[2].splitlines()
    found = {line.split()[0]: line.split(maxsplit=1)[1] for line in listed}
    for sweep in all_sweeps():
        assert any(f"experiments/{study}.py" in sweep.read_text() for study in found), sweep
    assert found["lenet_mnist"].startswith("LeNet-5 self-distillation on MNIST")


@pytest.mark.parametrize("command", ["run", "surface"])
def test_help_after_a_study_lists_its_settings_with_defaults_and_valid_values(
    command: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "methods", "trial=1", "--help"])
    assert caught.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith(f"usage: repro {command} methods [key=value ...]\n\nEvery family of distillation")
    lines = [" ".join(line.split()) for line in out.partition("settings, with their defaults:\n")[2].splitlines()]
    assert lines[:3] == [
        "preset=paper paper, short, smoke",
        "trial=0 an integer, at least 0",
        "data=mnist digits, mnist, cifar100",
    ]
    assert "tuning=null an integer, at least 0, less than 4 or null" in lines
    assert main([command, "lenet", "--help"]) == 2
    assert capsys.readouterr().err == "repro: no study is called 'lenet'; did you mean 'lenet_mnist'?\n"


@pytest.mark.parametrize("name", studies())
def test_every_study_can_be_described_and_its_defaults_are_as_they_are_typed(name: str) -> None:
    study = find_study(name)
    listed = describe(name, "repro run").partition("defaults:\n")[2].split("\n\n")[0]
    texts = [line.split()[0] for line in listed.splitlines() if not line.startswith("   ")]
    assert parse_study(study, parse_settings(texts)) == parse_study(study, {})
    assert len(texts) == len(study.model_fields) - 1


def test_settings_may_stand_before_between_and_after_options() -> None:
    expected = vars(parse(["run", "digits", "preset=smoke", "trial=1", "--runs", "r", "--device", "cpu"]))
    for arguments in (
        ["run", "--runs", "r", "--device", "cpu", "digits", "preset=smoke", "trial=1"],
        ["run", "digits", "--runs", "r", "--device", "cpu", "preset=smoke", "trial=1"],
        ["run", "digits", "preset=smoke", "--runs", "r", "trial=1", "--device", "cpu"],
    ):
        assert vars(parse(arguments)) == expected


def test_folders_come_from_the_environment_unless_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REPRO_RUNS", "there/runs")
    monkeypatch.setenv("REPRO_DATA", "there/data")
    options = parse(["run", "digits"])
    assert (options.runs, options.data) == (Path("there/runs"), Path("there/data"))
    assert parse(["run", "digits", "--runs", "here"]).runs == Path("here")
    for variable in ("REPRO_RUNS", "REPRO_DATA"):
        monkeypatch.setenv(variable, "")
    options = parse(["run", "digits"])
    assert (options.runs, options.data) == (Path("runs"), Path("data"))


@pytest.mark.parametrize(
    ("variables", "mode"),
    [
        ({}, "disabled"),
        ({"WANDB_MODE": "offline"}, "offline"),
        ({"WANDB_SWEEP_ID": "abc"}, "online"),  # whose agent works on the sweep wants to see it
        ({"WANDB_SWEEP_ID": "abc", "WANDB_MODE": "disabled"}, "disabled"),
        ({"WANDB_SWEEP_ID": "abc", "WANDB_MODE": ""}, "online"),
        ({"WANDB_SWEEP_ID": ""}, "disabled"),
        ({"WANDB_MODE": "dryrun"}, "disabled"),  # a mode of the client's that is none of ours
    ],
)
def test_runs_are_shown_in_wandb_if_the_environment_says_so(
    variables: dict[str, str], mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("WANDB_MODE", "WANDB_SWEEP_ID"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for command in (["run", "digits"], ["launch", "sweeps/digits.yaml"], ["demo"]):
        assert parse(command).wandb == mode
        assert parse([*command, "--wandb", "auto"]).wandb == "auto"
