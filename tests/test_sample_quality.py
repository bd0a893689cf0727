"""FID and inception score against float64 hand computations, with a small feature network; and what is missing."""

from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from runs import runner, small_generator, small_teacher
from torch import Tensor

from repro.cli import main
from repro.data.digits import Digits
from repro.generative import quality
from repro.generative.quality import frechet_distance, inception_score, measure_quality

RANDOM = np.random.default_rng(0)


def gaussian_distance(real: np.ndarray, generated: np.ndarray) -> float:
    """|m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) as in Heusel et al. 2017, by scipy."""
    means = real.mean(0), generated.mean(0)
    first, second = np.cov(real.T), np.cov(generated.T)
    root = scipy.linalg.sqrtm(first @ second).real
    return float(((means[0] - means[1]) ** 2).sum() + np.trace(first + second - 2.0 * root))


def test_the_frechet_distance_is_that_of_two_gaussians() -> None:
    real = RANDOM.normal(size=(300, 6)) @ RANDOM.normal(size=(6, 6))
    generated = RANDOM.normal(size=(200, 6)) @ RANDOM.normal(size=(6, 6)) + 0.5
    expected = gaussian_distance(real, generated)
    assert frechet_distance(torch.tensor(real), torch.tensor(generated)) == pytest.approx(expected, rel=1e-9)
    assert frechet_distance(torch.tensor(real), torch.tensor(real)) == pytest.approx(0.0, abs=1e-6)


def test_the_frechet_distance_is_computed_in_float64() -> None:
    features = torch.tensor(RANDOM.normal(size=(400, 3)) + 1e4).float()
    moved = features + 0.01
    expected = gaussian_distance(features.double().numpy(), moved.double().numpy())
    assert frechet_distance(features, moved) == pytest.approx(expected, rel=1e-6)


def test_the_inception_score_by_hand() -> None:
    logits = RANDOM.normal(size=(60, 4)) * 2.0
    scores = []
    for part in np.split(logits, 10):
        p = np.exp(part) / np.exp(part).sum(1, keepdims=True)
        scores.append(np.exp((p * np.log(p / p.mean(0))).sum(1).mean()))
    mean, spread = inception_score(torch.tensor(logits))
    assert [mean, spread] == pytest.approx([np.mean(scores), np.std(scores)])
    assert inception_score(torch.zeros(20, 5))[0] == pytest.approx(1.0)  # every image looks alike
    certain = 100.0 * torch.eye(5).repeat(20, 1)
    assert inception_score(certain)[0] == pytest.approx(5.0)  # certain, and all classes alike


def test_the_distance_is_taken_from_pool_features_and_the_score_from_logits() -> None:
    def extract(images: Tensor) -> tuple[Tensor, Tensor]:
        assert images.shape[1:] == (3, 4, 4) and images.dtype == torch.uint8  # gray shown as RGB
        pixels = images.double() / 255.0
        return pixels[:, 0].flatten(1)[:, :5], pixels[:, 0].flatten(1)[:, 8:11]

    torch.manual_seed(0)
    real = torch.randint(0, 256, (150, 1, 4, 4), dtype=torch.uint8)  # more than one batch
    generated = torch.randint(50, 256, (100, 1, 4, 4), dtype=torch.uint8)
    measured = measure_quality(real, generated, extract)
    features = [images.flatten(1)[:, :5].numpy() / 255.0 for images in (real, generated)]
    assert measured["fid"] == pytest.approx(gaussian_distance(*features), rel=1e-9)
    score, spread = inception_score(generated.flatten(1)[:, 8:11] / 255.0)
    assert measured["inception_score"] == pytest.approx(score) and measured["inception_score_std"] == pytest.approx(
        spread
    )
    assert (measured["samples"], measured["real_images"]) == (100, 150)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("runs")
    for config in (small_generator(), small_teacher(epochs=1)):
        runner(root).make(config, "run")
    return root


def command(root: Path, run: str) -> list[str]:
    return ["sample-quality", run, "--samples", "40", "--runs", str(root), "--data", str(root), "--device", "cpu"]


def test_without_weights_one_line_says_what_to_download_and_where_to(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(command(root, small_generator().run_id)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"download {quality.WEIGHTS_URL} to {root / quality.WEIGHTS_FILE}" in line
    assert not (root / small_generator().run_id / "quality.json").exists()


def test_damaged_weights_are_never_opened(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = root / quality.WEIGHTS_FILE
    weights.write_bytes(b"half a down")
    assert main(command(root, small_generator().run_id)) == 2
    assert "damaged (SHA-256" in capsys.readouterr().err
    weights.unlink()


def test_only_a_finished_generator_has_samples(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for run, told in (("zz", "no run is called 'zz'"), (small_teacher(epochs=1).run_id, "no finished generator run")):
        assert main(command(root, run)) == 2
        assert told in capsys.readouterr().err


def test_other_images_than_the_generator_was_trained_on_are_refused(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Digits, "fingerprint", lambda *_: "0123456789abcdef")
    assert main(command(root, small_generator().run_id)) == 2
    assert "was made with other digits data" in capsys.readouterr().err


def test_too_few_samples_are_refused(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = command(root, small_generator().run_id)
    arguments[arguments.index("40")] = "9"
    assert main(arguments) == 2
    assert "--samples 9 is too few" in capsys.readouterr().err


def test_the_command_measures_and_keeps_the_result(
    root: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    record = runner(root).store.run(small_generator().run_id)

    def corner(images: Tensor) -> tuple[Tensor, Tensor]:
        assert record.holder() is not None  # two commands at once would write the same file
        assert not torch.backends.cudnn.allow_tf32  # or a GPU would round the convolutions of both networks
        return images[:, 0, :2, :2].flatten(1).double(), images[:, 0, :2, :2].flatten(1) / 255.0

    monkeypatch.setattr("repro.commands.inception", lambda *_: corner)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", True)  # torch's default
    assert main(command(root, small_generator().run_id[:6])) == 0
    kept = record.read_json("quality.json")
    assert (kept["samples"], kept["real_images"]) == (40, 50)
    assert kept["fid"] > 0.0 and kept["inception_score"] >= 1.0
    assert f"{kept['fid']:.4g}" in capsys.readouterr().out


def test_the_inception_network_gives_pool_features_and_logits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library's own network, untrained: its weights cannot be had offline."""
    from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3

    (tmp_path / quality.WEIGHTS_FILE).write_bytes(b"")
    monkeypatch.setattr(quality, "WEIGHTS_SHA256_START", "e3b0c442")  # of the empty file
    monkeypatch.setattr(torch, "load", lambda *_, **__: None)
    monkeypatch.setattr(FeatureExtractorInceptionV3, "load_state_dict", lambda *_: None)
    extract = quality.inception(tmp_path, torch.device("cpu"))
    features, logits = extract(torch.zeros(1, 3, 8, 8, dtype=torch.uint8))
    assert features.shape == (1, 2048) and logits.shape == (1, 1008)
