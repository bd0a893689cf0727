"""Text data sets: their rows, where the vocabulary comes from, and what is refused when a file is read."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from config_contents import changed, student
from prepared_texts import LINES, SMALL, Weather, write_lines

from repro.config import parse_config
from repro.data.prepare import prepare
from repro.data.synthetic_texts import SyntheticTexts
from repro.data.texts import IMDB
from repro.data.tokens import Vocabulary
from repro.errors import BadInput


def prepared(directory: Path, lines: list[Any] = LINES) -> Path:
    return write_lines(directory / "weather.jsonl.xz", lines)


def test_a_prepared_file_becomes_rows_of_numbers_and_labels(tmp_path: Path) -> None:
    prepared(tmp_path)
    data = Weather(**SMALL).load(tmp_path)
    # Train: and 3, sun 3, rain 2, cold 1, wind 1.
    assert data.train.inputs.tolist() == [[3, 3, 3, 0], [4, 2, 6, 2]]
    assert data.train.labels.tolist() == [1, 0]
    assert data.test.inputs.tolist() == [[3, 1, 2, 6], [0, 0, 0, 0]]
    assert data.test.labels.tolist() == [1, 0]
    assert (data.train.inputs.dtype, data.train.labels.dtype) == (torch.int32, torch.int64)


def test_the_input_shape_says_how_long_rows_are_and_bounds_their_numbers() -> None:
    dataset = SyntheticTexts(texts=40, tokens=7, minimum_count=1, max_words=10)
    data = dataset.load(Path())
    assert dataset.input_shape == (7, 12)
    assert data.train.inputs.shape == (40, 7) and data.test.inputs.shape == (20, 7)
    assert int(data.train.inputs.max()) == 11
    assert data.train.labels.bincount().tolist() == [20, 20]
    empty = (data.train.inputs == 0).all(dim=1)
    assert 0 < (data.train.inputs == 0).any(dim=1).sum() < 40 and empty.sum() < 10


def test_the_vocabulary_comes_from_the_train_split_alone(tmp_path: Path) -> None:
    prepared(tmp_path)
    clean = Weather(**SMALL).load(tmp_path)
    poison = {"split": "test", "label": "bad", "text": "poison cold cold rain " * 100}
    prepared(tmp_path, [poison, *LINES, poison])
    poisoned = Weather(**SMALL).load(tmp_path)
    assert torch.equal(poisoned.train.inputs, clean.train.inputs)
    assert torch.equal(poisoned.test.inputs[1:-1], clean.test.inputs)
    assert poisoned.test.inputs[0].tolist() == [1, 5, 5, 4]


def test_the_fingerprint_depends_on_the_lines_and_not_on_their_compression(tmp_path: Path) -> None:
    path = prepared(tmp_path)
    fingerprint = Weather().fingerprint(tmp_path)
    compressed = path.read_bytes()
    write_lines(path, LINES, preset=0)
    assert path.read_bytes() != compressed
    assert Weather().fingerprint(tmp_path) == fingerprint
    write_lines(path, [*LINES[:-1], LINES[-1] | {"text": "?"}])
    assert Weather().fingerprint(tmp_path) != fingerprint
    assert SyntheticTexts(seed=1).fingerprint(tmp_path) != SyntheticTexts().fingerprint(tmp_path)


GOOD = LINES[0]


@pytest.mark.parametrize(
    ("lines", "problem"),
    [
        ([GOOD, b"{not json"], "line 2: Expecting property name"),
        ([GOOD, b""], "line 2: Expecting value"),
        ([b"\xff\xfe{}"], "line 1: "),
        ([["train", "good", "sun"]], "line 1: is not a JSON object"),
        ([{"split": "train", "text": "sun"}], "line 1: 'label' is missing"),
        ([GOOD | {"label": 1}], "line 1: 'label' is not a string"),
        ([GOOD | {"text": None}], "line 1: 'text' is not a string"),
        ([GOOD | {"split": "dev"}], "line 1: the split 'dev' is neither train nor test"),
        ([GOOD | {"label": "fair"}], "line 1: the label 'fair' is none of bad, good"),
        ([LINES[1]], "holds no train texts"),
        ([], "holds no train texts"),
    ],
)
def test_a_line_that_is_not_right_is_named(lines: list[Any], problem: str, tmp_path: Path) -> None:
    path = prepared(tmp_path, lines)
    with pytest.raises(BadInput) as caught:
        Weather().load(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{path}: {problem}")
    assert message.endswith("; write it as docs/extending.md says")
    assert "\n" not in message


def test_a_missing_truncated_or_damaged_file_is_one_line(tmp_path: Path) -> None:
    def refusal() -> str:
        with pytest.raises(BadInput) as caught:
            IMDB().load(tmp_path)
        assert str(caught.value).endswith(f"; make it with `repro data prepare imdb --data {tmp_path}`")
        return str(caught.value)

    assert "no such file" in refusal()
    path = tmp_path / "imdb.jsonl.xz"
    whole = write_lines(path, [{"split": "train", "label": "pos", "text": "good " * 50}] * 2).read_bytes()
    assert len(IMDB().load(tmp_path).train) == 2
    for length in range(1, len(whole)):
        path.write_bytes(whole[:length])
        assert "truncated, damaged or not an .xz file" in refusal()
        with pytest.raises(BadInput, match=r"not an \.xz file"):
            IMDB().fingerprint(tmp_path)
    path.write_bytes(b"")
    assert "truncated, damaged or not an .xz file" in refusal()
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x10]) + whole[place + 1 :])
        assert "truncated, damaged or not an .xz file" in refusal()
    path.unlink()
    path.mkdir()
    assert "cannot be read (Is a directory)" in refusal()


def test_a_set_of_ones_own_cannot_be_downloaded(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"weather\.jsonl\.xz: no such file; write it as docs/extending\.md says"):
        prepare("weather", tmp_path / "data", lambda _: None)
    assert list(tmp_path.iterdir()) == []


def text_student() -> dict[str, Any]:
    """A student of a teacher, on synthetic texts."""
    content = student()
    for prefix in ("", "teachers.0."):
        content = changed(content, f"{prefix}data.train.dataset", {"name": "synthetic_texts"})
        content = changed(content, f"{prefix}model", {"name": "lstm"})
    return changed(content, "augmentation", [])


def test_a_student_on_texts_is_a_config() -> None:
    assert parse_config(text_student()).data.train.dataset == SyntheticTexts()


OTHER = "have different vocabularies: use one text data set per run"


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("augmentation", [{"name": "mixup"}], "the augmentation mixup changes images, synthetic_texts holds texts"),
        ("model", {"name": "lenet5"}, "the model lenet5 reads images, synthetic_texts holds texts"),
        ("data.train.dataset", {"name": "digits"}, "the model lstm reads texts, digits holds images"),
        ("data.pools", [{"dataset": {"name": "imdb"}}], f"imdb and synthetic_texts {OTHER}"),
        ("data.pools", [{"dataset": {"name": "synthetic_texts", "minimum_count": 9}}], OTHER),
        (
            "data.pools",
            [{"dataset": {"name": "digits"}}],
            "digits has images (1, 28, 28), synthetic_texts has (100, 25002)",
        ),
        ("teachers.0.data.train.dataset", {"name": "imdb"}, f"imdb and synthetic_texts {OTHER}"),
        (
            "data.streams",
            [{"name": "noise", "share": 0.5}],
            "a stream of noise needs a data set of images, and synthetic_texts has none",
        ),
    ],
)
def test_what_does_not_fit_texts_is_refused_in_one_line(key: str, value: Any, problem: str) -> None:
    with pytest.raises(BadInput) as caught:
        parse_config(changed(text_student(), key, value))
    assert problem in str(caught.value)
    assert "\n" not in str(caught.value)


def test_more_texts_of_the_same_set_can_be_a_pool() -> None:
    pool = [{"dataset": {"name": "synthetic_texts"}, "half": "D1"}]
    assert parse_config(changed(text_student(), "data.pools", pool)).data.pools[0].half == "D1"


@pytest.mark.slow
@pytest.mark.realdata
def test_imdb_is_whole_and_keeps_all_of_its_frequent_words() -> None:
    directory = Path(os.environ.get("REPRO_DATA", "no data"))
    if not IMDB.file(directory).exists():
        pytest.skip(f"{IMDB.file(directory)} is not there (REPRO_DATA)")
    train, test = IMDB().read(IMDB.file(directory))
    assert [sum(label for _, label in texts) for texts in (train, test)] == [12_500, 12_500]
    assert [len(texts) for texts in (train, test)] == [25_000, 25_000]
    assert len(Vocabulary.of((text for text, _ in train), minimum_count=10, max_words=10**6)) == 20_576
