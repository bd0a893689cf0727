"""The speeds that predictions of cost are made of: as `repro bench throughput` measures them and as they are read."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from runs import small_generator
from test_cost import WIDE, entry, machine, student

from repro.bench import throughput
from repro.cli import main
from repro.config import DataConfig, RunConfig, Selection
from repro.config.override import override
from repro.data.augment_geometric import HorizontalFlip
from repro.data.digits import Digits
from repro.data.synthetic_texts import SyntheticTexts
from repro.experiments import protocol
from repro.launch.cost import read_speeds
from repro.models.lenet import LeNet5
from repro.models.lstm import LSTM
from repro.training.mode import Mode


@pytest.mark.parametrize(
    ("machine", "name"),
    [
        ({"device": "H200", "processor": "Abacus", "threads": 2}, "H200"),
        ({"device": "H200", "processor": "Abacus", "threads": 2, "process_count": 4}, "4 times H200"),
        ({"device": "cpu", "processor": "Abacus", "threads": 2, "process_count": 2}, "2 times Abacus, 2 threads"),
        ({"device": "cpu", "processor": "Abacus", "threads": 2, "process_count": 1}, "Abacus, 2 threads"),
    ],
)
def test_what_makes_a_machine_fast_is_in_its_name(machine: dict[str, Any], name: str, tmp_path: Path) -> None:
    path = tmp_path / "speeds.json"
    path.write_text(json.dumps({"throughput": {"machine": machine, "networks": []}}))
    assert read_speeds(path).processor == name


NO_SPEED = [
    json.dumps({"throughput": {"machine": machine("A"), "networks": [entry(LeNet5(), [value], [1.0])]}})
    for value in (math.nan, 0.0, math.inf)
]


@pytest.mark.parametrize("content", [*NO_SPEED, "", "[]", '{"throughput": {"networks": [{}]}}', '{"lenet": {}}'])
def test_a_file_that_is_something_else_is_refused(
    content: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "other.json"
    path.write_text(content)
    assert main(["cost", "--speeds", str(path)]) == 2
    assert capsys.readouterr().err == f"repro: --speeds {path}: not what `repro bench throughput --json` writes\n"
    assert main(["cost", "--speeds", str(tmp_path / "nowhere.json")]) == 2
    assert "cannot be read (No such file or directory)" in capsys.readouterr().err


@pytest.mark.slow
def test_what_the_bench_writes_is_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    many = DataConfig(train=Selection(dataset=Digits(), size=100_000))  # more than the bench makes
    texts = Selection(dataset=SyntheticTexts(tokens=5, max_words=50))
    reader = LSTM(embedding=3, cell=4, layers=1)
    text = protocol.teacher(data=texts, model=reader, epochs=3, seed=0)
    small: list[RunConfig] = [
        student(data=many),
        student(model=WIDE, augmentation=(HorizontalFlip(),)),
        text,
        small_generator(),
    ]
    monkeypatch.setattr(throughput, "networks_of_sweeps", lambda: small)
    monkeypatch.setattr(throughput, "EXAMPLES", 300)
    monkeypatch.setattr(throughput, "modes_of", lambda _: [Mode("bfloat16")])  # compiling takes its time
    monkeypatch.setattr(throughput, "missing_for_compiling", lambda: "a compiler")
    report = throughput.measure(rounds=2, seconds=0.02, device="cpu", fast=True)
    path = tmp_path / "speeds.json"
    path.write_text(json.dumps({"throughput": report.numbers}))
    small += [override(student(), {"precision": "bfloat16"})]
    seconds = [read_speeds(path).seconds(config) for config in small]
    assert all(isinstance(value, float) and value > 0 for value in seconds)
    assert "not measured: tfloat32, which needs a CUDA device; compiled, which takes a compiler" in report.text


def test_every_network_of_the_papers_studies_is_measured_but_those_on_images_in_files() -> None:
    names = {(config.model.name, config.model.model_dump().get("depth")) for config in throughput.networks_of_sweeps()}
    assert names == {
        *(("preresnet", depth) for depth in (20, 56, 110)),
        ("vgg", 16),
        *((name, None) for name in ("lenet5", "lstm", "transformer", "sngan")),
    }
