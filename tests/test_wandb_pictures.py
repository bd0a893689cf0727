"""The pictures of a finished run: what they show, against hand-computed values."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor, ImageDraw, ImageFont
from safetensors.numpy import save_file

from repro.store import RunDirectory
from repro.tracking.charts import BLUE, DARK, GRAY, LIGHT, chart
from repro.tracking.pictures import (
    draw_by_class,
    draw_reliability,
    final_pictures,
    reliability,
    share_by_class,
    softmax,
    teacher_probabilities,
)


def test_reliability_by_hand() -> None:
    # Confidences 0.95 and 0.91 (one right), 0.65 (right), and 0.5, an edge: bins 9, 6 and 4.
    probabilities = np.array([[0.95, 0.05], [0.09, 0.91], [0.65, 0.35], [0.5, 0.5]])
    confidence, accuracy, counts = reliability(probabilities, np.array([0, 0, 0, 0]))
    assert counts.tolist() == [0, 0, 0, 0, 1, 0, 1, 0, 0, 2]
    assert confidence[6] == pytest.approx(0.65) and confidence[9] == pytest.approx(0.93)
    assert accuracy[6] == 1.0 and accuracy[9] == 0.5
    assert np.isnan(accuracy[0])


def test_shares_are_of_each_class_that_has_examples() -> None:
    hits = np.array([True, False, True, True])
    assert share_by_class(hits, np.array([0, 0, 2, 2])).tolist() == [0.5, 1.0]


def test_large_logits_have_probabilities_too() -> None:
    assert softmax(np.array([[900.0, 0.0], [0.0, -900.0]], dtype=np.float32)).tolist() == [[1.0, 0.0], [1.0, 0.0]]


LABELS = np.array([1, 0])


def write_run(
    folder: Path, config: dict[str, object], logits: list[list[float]], test_set: str = "own", **more: list[list[float]]
) -> RunDirectory:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps({"run_id": folder.name, "config": config}))
    (folder / "summary.json").write_text(json.dumps({"metrics": {}, "seconds": 0, "data": {}, "test_set": test_set}))
    tensors = {name: np.array(values, dtype=np.float32) for name, values in ({"test_logits": logits} | more).items()}
    save_file(tensors | {"test_labels": LABELS[: len(logits)]}, folder / "predictions.safetensors")
    return RunDirectory(folder)


def test_agreement_is_with_the_mean_of_the_teachers_probabilities(tmp_path: Path) -> None:
    teachers: list[dict[str, object]] = [{"kind": "teacher", "seed": seed} for seed in (0, 1)]
    # On the first image one teacher is surer of class 0 than the other of class 1.
    write_run(tmp_path / "one", teachers[0], [[np.log(9.0), 0.0], [0.0, 0.0]])
    student = write_run(tmp_path / "student", {"kind": "student", "teachers": teachers}, [[1.0, 0.0], [0.0, 1.0]])
    assert teacher_probabilities(student) is None  # not all are there
    assert set(final_pictures(student)) == {"figures/reliability", "figures/accuracy_by_class"}
    write_run(tmp_path / "two", teachers[1], [[0.0, np.log(3.0)], [0.0, np.log(3.0)]])
    (tmp_path / "two" / "summary.json").rename(tmp_path / "summary of two")
    assert teacher_probabilities(student) is None  # one is still being made
    (tmp_path / "summary of two").rename(tmp_path / "two" / "summary.json")
    found = teacher_probabilities(student)
    assert found is not None
    np.testing.assert_allclose(found, [[(0.9 + 0.25) / 2, (0.1 + 0.75) / 2], [0.375, 0.625]], rtol=1e-6)
    pictures = final_pictures(student)
    # The student takes the images for classes 0 and 1, as its teachers do, and both are wrong.
    for name, title, hit in (
        ("agreement", "agreement with the teacher on test", True),
        ("accuracy", "accuracy on test", False),
    ):
        expected = draw_by_class(title, np.array([hit, hit]), LABELS)
        assert pictures[f"figures/{name}_by_class"].tobytes() == expected.tobytes()
    (student.path / "predictions.safetensors").unlink()  # by a user who needed the space
    assert final_pictures(student) == {}


def test_a_teacher_that_was_tested_on_other_data_is_not_compared(tmp_path: Path) -> None:
    for name, logits, test_set in (("fewer", [[1.0, 0.0]], "own"), ("same labels", [[1.0, 0.0]] * 2, "other")):
        (tmp_path / name).mkdir()
        teacher: dict[str, object] = {"kind": "teacher", "seed": 0}
        write_run(tmp_path / name / "teacher", teacher, logits, test_set)
        config: dict[str, object] = {"kind": "student", "teachers": [teacher]}
        student = write_run(tmp_path / name / "student", config, [[1.0, 0.0]] * 2)
        assert set(final_pictures(student)) == {"figures/reliability", "figures/accuracy_by_class"}


def test_agreement_is_with_what_the_merge_rule_makes_of_the_teachers(tmp_path: Path) -> None:
    teachers: list[dict[str, object]] = [{"kind": "teacher", "seed": seed} for seed in (0, 1)]
    for number, teacher in enumerate(teachers):
        write_run(tmp_path / str(number), teacher, [[5.0, 0.0]] * 2)
    config: dict[str, object] = {"kind": "student", "teachers": teachers, "merge": {"name": "weighted_mean"}}
    student = write_run(tmp_path / "student", config, [[1.0, 0.0]] * 2, test_teacher_logits=[[0.0, 0.0], [0.0, 900.0]])
    found = teacher_probabilities(student)
    assert found is not None and found.tolist() == [[0.5, 0.5], [0.0, 1.0]]


def test_a_reliability_diagram_has_accuracy_over_confidence_and_the_share_of_examples_as_bars(tmp_path: Path) -> None:
    """Both images with confidence 0.73, both wrong: a dot at the bottom, and a bar as high as the diagram."""
    run = write_run(tmp_path / "run", {"kind": "teacher"}, [[1.0, 0.0], [0.0, 1.0]])
    picture = final_pictures(run)["figures/reliability"]
    axes = np.asarray(picture)[36:425, 56:465]
    rows, columns = np.nonzero((axes == rgb(BLUE)).all(axis=-1))
    assert np.abs(columns - 0.731 * 408).max() <= 5 and np.abs(rows - 388).max() <= 5
    (bar,) = np.nonzero((axes == rgb(LIGHT)).all(axis=-1).sum(axis=0) > 300)
    assert (bar.min(), bar.max()) == pytest.approx((0.708 * 408, 0.792 * 408), abs=2)
    assert all((axes[388 - place, place * 408 // 388] == rgb(GRAY)).all() for place in (60, 120, 180))
    # Of 1000 images, 250 with confidence 0.25 and 750 with 0.85: bars as high as their shares, below their number.
    counts, nothing = np.zeros(10, dtype=int), np.full(10, np.nan)
    counts[[2, 8]] = 250, 750
    two = draw_reliability(nothing, nothing, counts)
    columns = (np.asarray(two)[36:424, 56:465] == rgb(LIGHT)).all(axis=-1).sum(axis=0)
    for bin_, share in ((2, 0.25), (8, 0.75)):
        assert np.median(columns[round((bin_ + 0.5) * 40.8) + np.arange(-10, 11)]) == pytest.approx(388 * share, abs=3)
    title = chart("Reliability on test, n = 1,000; bars: share of examples", "", "", np.zeros(10), LIGHT)
    assert two.crop((0, 0, 480, 30)).tobytes() == title.crop((0, 0, 480, 30)).tobytes()
    small = ImageFont.load_default(13)
    for number in range(6):  # the scales run to the right and upwards
        text, share = f"{number / 5:.1f}", number / 5
        for place, anchor in (((56 + 408 * share, 430), "ma"), ((49, 424 - 388 * share), "rm")):
            expected = Image.new("RGB", picture.size, "white")
            ImageDraw.Draw(expected).text(place, text, fill=DARK, font=small, anchor=anchor)
            box = Image.eval(expected.convert("L"), lambda value: 255 - value).getbbox()
            assert picture.crop(box).tobytes() == expected.crop(box).tobytes(), (number, anchor)


def test_a_generator_shows_its_samples(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8), "red").save(tmp_path / "samples.png")
    pictures = final_pictures(RunDirectory(tmp_path))
    assert list(pictures) == ["figures/samples"] and pictures["figures/samples"].size == (8, 8)


def rgb(color: str) -> tuple[int, int, int]:
    return ImageColor.getrgb(color)[:3]


def test_bars_are_as_high_as_their_shares() -> None:
    picture = np.asarray(chart("title", "x", "y", np.array([0.25, 1.0]), BLUE))
    axes = picture[36:424, 56:464]
    for column, share in ((100, 0.25), (300, 1.0)):
        height = (axes[:, column] == rgb(BLUE)).all(axis=-1).sum()
        assert height == pytest.approx(share * 388, abs=3)
