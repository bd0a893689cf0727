"""Sweep files: what they expand to, how their faults are told, and that W&B reads them the same way."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from repro.config import StudentConfig
from repro.errors import BadInput
from repro.experiments.digits import DigitsStudy
from repro.experiments.lenet_mnist import LenetMnist
from repro.experiments.study import find_study
from repro.launch.plan import parents_first
from repro.launch.sweep import SWEEP_KEYS, find_sweep, parse_settings, read_sweep, request_run, sweep_studies

WANDB_KEYS = {
    *("program", "method", "parameters", "name", "description", "project", "entity", "command", "metric"),
    *("apiVersion", "kind", "controller", "job", "image_uri", "run_cap", "early_terminate"),
}
SWEEPS = sorted((Path(__file__).parents[1] / "sweeps").glob("*.yaml"))
HEAD = "program: repro/experiments/lenet_mnist.py\nmethod: grid\n"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """A sweep of 2 x 2 runs; its parameters are in lines 4 to 7."""
    path = tmp_path / "small.yaml"
    parameters = "  preset: {value: smoke}\n  trial:\n    values: [0, 1]\n  pool: {values: [0.0, 0.5]}\n"
    path.write_text(f"{HEAD}parameters:\n{parameters}")
    return path


def refusal(path: Path, **changes: Any) -> str:
    with pytest.raises(BadInput) as caught:
        read_sweep(path, changes)
    message = str(caught.value)
    assert len(message.splitlines()) == 1
    return message


# -- the suite's own sweeps --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "students", "teachers"), [("lenet_mnist", 12, 3), ("digits", 9, 3)])
def test_a_sweep_of_the_suite_expands_to_its_runs(name: str, students: int, teachers: int) -> None:
    requests = read_sweep(find_sweep(name), {})
    assert len({request.config.run_id for request in requests}) == len(requests) == students
    plan = parents_first(requests)
    assert [request.config.kind for request in plan].count("teacher") == teachers
    assert len(plan) == students + teachers
    assert len({request.label for request in plan}) == len(plan)


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_file_expands_to_the_product_of_its_values(path: Path) -> None:
    parameters = yaml.safe_load(path.read_text())["parameters"]
    expected = 1
    for parameter in parameters.values():
        expected *= len(parameter.get("values", [None]))
    assert len(read_sweep(path, {})) == len(sweep_studies(path, {})) == expected


def test_the_keys_a_sweep_may_have_are_keys_of_wandbs_schema() -> None:
    assert set(SWEEP_KEYS) <= WANDB_KEYS


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_every_sweep_file_keeps_the_rules_of_wandbs_sweep_schema(path: Path) -> None:
    """W&B's validator (the package `sweeps`) needs numpy below 2, so the rules that concern a grid stand here."""
    content = yaml.safe_load(path.read_text())
    assert content.keys() <= WANDB_KEYS
    assert content["method"] == "grid"
    assert all(isinstance(content.get(key, ""), str) for key in ("program", "name", "description", "project", "entity"))
    assert isinstance(content["command"], list)
    assert content["parameters"]
    for name, parameter in content["parameters"].items():
        assert re.fullmatch(r"[A-Za-z_][A-Za-z0-9_.-]*", name)
        assert set(parameter) in ({"value"}, {"values"})
        assert parameter.get("values", [None])


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_command_that_a_wandb_agent_makes_of_a_point_asks_for_the_same_run(path: Path) -> None:
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    content = utils.load_sweep_config(str(path))
    requests = read_sweep(path, {})
    for study, request in list(zip(sweep_studies(path, {}), requests, strict=True))[-3:]:
        point = {"args": {name: {"value": getattr(study, name)} for name in content["parameters"]}}
        settings = utils.create_sweep_command_args(point)["args_no_hyphens"]
        command = [part for part in content["command"] if part not in ("${env}", "${args_no_hyphens}")]
        assert command[:2] == ["repro", "run"]
        assert content["command"][-1] == "${args_no_hyphens}"
        assert request_run(find_study(command[2]), parse_settings(settings)) == request


# -- expansion ---------------------------------------------------------------------------------------------------------


def test_the_runs_come_in_the_files_order_the_last_parameter_moving_fastest(sweep: Path) -> None:
    assert [request.label for request in read_sweep(sweep, {})] == [
        "lenet_mnist trial=0 pool=0.0 (smoke)",
        "lenet_mnist trial=0 pool=0.5 (smoke)",
        "lenet_mnist trial=1 pool=0.0 (smoke)",
        "lenet_mnist trial=1 pool=0.5 (smoke)",
    ]


def test_a_point_of_a_sweep_is_the_run_that_one_asks_for_singly(sweep: Path) -> None:
    third = read_sweep(sweep, {})[3]
    single = request_run(LenetMnist, parse_settings(["preset=smoke", "trial=1", "pool=0.5"]))
    assert single == third
    assert third.config == LenetMnist(preset="smoke", trial=1, pool=0.5).config()
    assert sweep_studies(sweep, {})[3] == LenetMnist(preset="smoke", trial=1, pool=0.5)


def test_changes_replace_values_or_add_parameters(sweep: Path) -> None:
    assert len(read_sweep(sweep, {"trial": [5]})) == 2
    assert len(read_sweep(sweep, {"trial": 5, "pool": [0.1, 0.2, 0.3]})) == 3
    added = read_sweep(sweep, {"optimizer.learning_rate": [0.1, 0.2]})
    assert len({request.config.run_id for request in added}) == 8
    assert {request.config.optimizer.learning_rate for request in added} == {0.1, 0.2}
    assert added[0].label.endswith("(smoke) optimizer.learning_rate=0.1")
    assert added[0].condition == "pool=0.0 optimizer.learning_rate=0.1"


def test_a_parameter_may_be_a_dotted_key_of_the_config_in_the_file_too(sweep: Path) -> None:
    sweep.write_text(sweep.read_text() + "  teachers.epochs: {values: [1, 2]}\n")
    requests = read_sweep(sweep, {})
    assert [request.config.parents()[0].epochs for request in requests] == [1, 2] * 4


@pytest.mark.parametrize("text", ["1e-3", "1E-3", "1.0e-3", "+1e-3", "0.001", ".1e-2", "10e-4"])
def test_an_exponent_is_a_number_on_the_command_line_in_lists_and_in_files(sweep: Path, text: str) -> None:
    found = parse_settings([f"x={text}", f"y=[{text}]", f"z={{a: {text}}}"])
    assert found == {"x": 1e-3, "y": [1e-3], "z": {"a": 1e-3}}
    sweep.write_text(sweep.read_text() + f"  optimizer.learning_rate: {{values: [{text}]}}\n")
    assert read_sweep(sweep, {})[0].config.optimizer.learning_rate == 1e-3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("5", 5),
        ("-2", -2),
        ("0.25", 0.25),
        ("true", True),
        ("True", True),
        ("null", None),
        ("", None),
        ("smoke", "smoke"),
        ("'1e-3'", "1e-3"),
        ("e5", "e5"),
        ("1e", "1e"),
        ("2020-01-01", "2020-01-01"),
        ("2020-13-45", "2020-13-45"),
        ("0", 0),
        ("010", "010"),
        ("-010", "-010"),
        ("1_0", "1_0"),
        ("1_0.5", "1_0.5"),
        ("01.5", 1.5),
        ("a=b", "a=b"),
        ("[0, 1]", [0, 1]),
        ("{name: adam}", {"name": "adam"}),
    ],
)
def test_a_setting_is_read_as_yaml(text: str, value: Any) -> None:
    found = parse_settings([f"key={text}"])["key"]
    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("texts", "problem"),
    [
        (["trial"], "'trial' is not a setting; write key=value, for example trial=1"),
        (["=3"], "'=3' is not a setting; write key=value, for example trial=1"),
        (["trial=[0"], "the value of 'trial=[0' is not valid YAML"),
        (["trial=!!python/object:os.system {}"], "the value of 'trial=!!python/object:os.system {}' is not valid YAML"),
        (["trial=" + "9" * 5000], "the value of 'trial="),
        (["trial=" + "[" * 2000], "the value of 'trial="),
        (["trial=0", "pool=1.0", "trial=1"], "'trial' is set twice"),
    ],
)
def test_a_setting_that_cannot_be_read_is_refused(texts: list[str], problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_settings(texts)
    assert str(caught.value).startswith(problem)


# -- faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("programm: x\n" + HEAD + "parameters: {}\n", 1, "unknown key 'programm'; did you mean 'program'?"),
        (HEAD + "parameters: {}\nseed: 3\n", 4, "unknown key 'seed'; valid: command, description, "),
        ("method: grid\nparameters: {}\n", 1, "the key 'program' is missing"),
        (HEAD, 1, "the key 'parameters' is missing"),
        (
            "program: repro/experiments/lenet_mnits.py\nmethod: grid\nparameters: {}\n",
            1,
            "no study is called 'lenet_mnits'; did you mean 'lenet_mnist'?",
        ),
        ("program: lenet_mnist\nmethod: bayes\nparameters: {}\n", 2, "method 'bayes' is not supported; valid: grid"),
        (HEAD + "parameters: [trial]\n", 3, "'parameters' must map names to `value:` or `values:`"),
        (HEAD + "parameters:\n  trial: 0\n", 4, "parameter 'trial' needs either `value: x` or `values: [x, y]`"),
        (HEAD + "parameters:\n  trial: {values: 0}\n", 4, "parameter 'trial' needs either `value: x` or "),
        (HEAD + "parameters:\n  trial: {min: 0, max: 3}\n", 4, "parameter 'trial' needs either `value: x` or "),
        (HEAD + "parameters:\n  trial: {value: 0, values: [1]}\n", 4, "parameter 'trial' needs either `value: x` or "),
        (HEAD + "parameters:\n  trial: {values: []}\n", 4, "'trial' has no values, so the sweep has no runs"),
        (HEAD + "parameters:\n  trial: {values: [2, 3, 2]}\n", 4, "'trial' lists 2 twice"),
        (HEAD + "parameters:\n  3: {value: 1}\n", 4, "parameter 3 is not a name"),
        (
            HEAD + "parameters:\n  pool: {value: 0.5}\n  trail: {value: 1}\n  trial: {value: 1}\n",
            5,
            "lenet_mnist has no setting 'trail'; did you mean 'trial'?",
        ),
        (
            HEAD + "parameters:\n  trial: {value: 1}\n  preset: {values: [smoke, shrt]}\n",
            5,
            "lenet_mnist: setting 'preset' is 'shrt'; did you mean 'short'?",
        ),
        (
            HEAD + 'parameters:\n  trial: {value: 1}\n  pool: {values: [0.5, "0.5"]}\n',
            5,
            "lenet_mnist: setting 'pool' is '0.5': input should be a valid number",
        ),
        (
            HEAD + "parameters:\n  trial: {values: [0, 010]}\n",
            4,
            "lenet_mnist: setting 'trial' is '010': input should be a valid integer",
        ),
        (
            HEAD + "parameters:\n  pool: {value: 2.0}\n",
            4,
            "lenet_mnist: setting 'pool' is 2.0: input should be less than or equal to 1",
        ),
        (
            HEAD + "parameters:\n  trial: {value: 0}\n  teachers.epochs: {values: [1, 2.5]}\n",
            5,
            "config key 'teachers.0.epochs' is 2.5: input should be a valid integer",
        ),
        (
            HEAD + "parameters:\n  trial: {value: 0}\n  optimizer.momentun: {value: 0.5}\n",
            5,
            "unknown config key 'optimizer.momentun' (given 0.5); did you mean 'optimizer.momentum'?",
        ),
        (
            HEAD + "parameters:\n  trial: {value: 0}\n  optimizer: {value: {name: sgd, learning_rate: -1}}\n",
            5,
            "config key 'optimizer.learning_rate' is -1: input should be greater than 0",
        ),
        (
            HEAD + "parameters:\n  optimizer: {value: {name: sgd}}\n  optimizer.learning_rate: {value: -1}\n",
            5,
            "config key 'optimizer.learning_rate' is -1: input should be greater than 0",
        ),
        (HEAD + "parameters:\n  trial: {value: 0]\n", 4, "not valid YAML ("),
        (HEAD + "parameters:\n\ttrial: {value: 0}\n", 4, "not valid YAML ("),
        (
            HEAD + "parameters:\n  trial: {value: 0}\n  pool: {value: 0}\n  trial: {value: 1}\n",
            6,
            "'trial' was set already, in line 4",
        ),
        (HEAD + "parameters: {}\nmethod: grid\n", 4, "'method' was set already, in line 2"),
        ("- a\n- b\n", 1, "a sweep is a mapping with the keys program, method and parameters"),
        ("", 1, "a sweep is a mapping with the keys program, method and parameters"),
    ],
)
def test_a_fault_is_told_with_file_and_line(tmp_path: Path, text: str, line: int, problem: str) -> None:
    path = tmp_path / "faulty.yaml"
    path.write_text(text)
    assert refusal(path).startswith(f"{path}:{line}: {problem}")


def test_a_file_that_is_missing_or_no_text_is_refused(tmp_path: Path) -> None:
    missing = tmp_path / "none.yaml"
    assert refusal(missing) == f"{missing}: cannot be read (No such file or directory)"
    assert refusal(tmp_path) == f"{tmp_path}: cannot be read (Is a directory)"
    binary = tmp_path / "binary.yaml"
    for content in (b"\x89PNG\r\n\x1a\n\xff\xfe", b"program: \x00\x01"):
        binary.write_bytes(content)
        assert refusal(binary) == f"{binary}: not a YAML text file"
    binary.write_text("parameters: &all {preset: *all}")
    assert refusal(binary) == f"{binary}: an alias (`*name`) refers to something that contains it"
    binary.write_text("[" * 2000)
    assert refusal(binary) == f"{binary}: nested too deeply"


def test_changes_that_make_one_run_of_several_that_the_sweep_compares_are_refused() -> None:
    path, change = find_sweep("init_interpolation"), {"preset": "smoke", "optimizer.learning_rate": 0.01}
    both = "weight=0.125 learning_rate=constant .* and .* weight=0.125 learning_rate=scaled .* the same run"
    with pytest.raises(BadInput, match=both):
        read_sweep(path, change)
    one = read_sweep(path, change | {"learning_rate": "constant"})
    assert len({request.run_id for request in one}) == len(one) == 3 * 7
    # In the file itself, a start without the teacher's weights is the same under both rules.
    unchanged = read_sweep(path, {"preset": "smoke"})
    assert len({request.run_id for request in unchanged}) == 39 < len(unchanged)


def test_a_fault_of_the_command_line_is_not_blamed_on_the_file(sweep: Path) -> None:
    assert refusal(sweep, poool=[0.5]) == "lenet_mnist has no setting 'poool'; did you mean 'pool'?"
    assert refusal(sweep, pool=["x"]) == "lenet_mnist: setting 'pool' is 'x': input should be a valid number"
    assert refusal(sweep, trial=[]).startswith("'trial' has no values, so the sweep has no runs")
    assert refusal(sweep, **{"optimizer.name": "adam"}) == "config key 'optimizer.learning_rate' is missing"
    assert refusal(sweep, **{"teachers.epochs": 0}).startswith("config key 'teachers.0.epochs' is 0: ")


def test_a_change_mends_a_wrong_value_of_the_file(sweep: Path) -> None:
    sweep.write_text(sweep.read_text().replace("smoke", "smok"))
    assert "did you mean 'smoke'" in refusal(sweep)
    assert len(read_sweep(sweep, {"preset": "smoke"})) == 4


@pytest.mark.parametrize(
    ("makes", "problem"),
    [
        (lambda: 1 / 0, r"^study digits: ZeroDivisionError: division by zero \(test_sweep.py, line \d+\)$"),
        (lambda: None, "^study digits: config gives NoneType, not the config of a run$"),
        (
            lambda: DigitsStudy().config().model_validate({**dict(DigitsStudy().config()), "epochs": 0}),
            "^study digits: its config.epochs: Input should be greater than or equal to 1$",
        ),
    ],
)
def test_whatever_a_study_of_ones_own_does_is_told_in_a_line(makes: Callable[[], Any], problem: str) -> None:
    class Own(DigitsStudy):
        def config(self) -> StudentConfig:
            config: StudentConfig = makes()
            return config

    with pytest.raises(BadInput, match=problem):
        request_run(Own, {"preset": "smoke"})
