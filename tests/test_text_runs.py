"""Texts through the same engine as images: a whole record, exact resume, nothing learnt from the test split."""

from pathlib import Path

import torch
from runs import assert_goes_on_to_the_bit, finished, runner, small_student, small_teacher

from repro.config import DataConfig, Selection, StudentConfig
from repro.data.dataset import Dataset, LabeledData, Split
from repro.data.synthetic_texts import SyntheticTexts
from repro.models.lstm import LSTM
from repro.optimization.optimizers import Adam
from repro.training.trainer import Trainer

TEXTS = SyntheticTexts(texts=90, tokens=10, minimum_count=2, max_words=50)
SETTINGS = {
    "data": DataConfig(train=Selection(dataset=TEXTS, size=70)),
    "model": LSTM(embedding=8, cell=6, layers=2),
    "optimizer": Adam(learning_rate=1e-2),
    "epochs": 12,
    "evaluate_every": 4,
}


def student() -> StudentConfig:
    return small_student(**SETTINGS, teachers=(small_teacher(**SETTINGS),))


def test_a_student_of_texts_leaves_the_same_record_as_one_of_images(tmp_path: Path) -> None:
    work, config = runner(tmp_path), student()
    work.check([*config.parents(), config])
    for run in (*config.parents(), config):
        work.make(run, "text")
    record = work.store.run(config.run_id)
    metrics = record.read_json("summary.json")["metrics"]
    teacher = work.store.run(config.parents()[0].run_id).read_json("summary.json")["metrics"]
    # Half of the words tell the class, but some texts have next to none: they are learnt, and not perfectly.
    assert 0.65 < teacher["test/accuracy"] < 1.0
    assert metrics["test/agreement"] > 0.6
    assert {"test/kl", "test/nll", "test/ece", "test/cka/encoder", "train/agreement"} <= metrics.keys()
    assert record.predictions()["test_logits"].shape == (45, 2)


def test_a_trainer_continued_from_its_state_goes_on_to_the_bit() -> None:
    config = small_teacher(**SETTINGS)
    datasets: dict[Dataset, LabeledData] = {TEXTS: TEXTS.load(Path())}
    assert_goes_on_to_the_bit(lambda: Trainer(config, datasets, None, torch.device("cpu")), 5)


def test_the_test_split_changes_no_weight() -> None:
    config = small_teacher(**SETTINGS | {"epochs": 2})
    data = TEXTS.load(Path())
    poisoned = LabeledData(data.train, Split(data.test.inputs.flip(1), 1 - data.test.labels))

    def weights(content: LabeledData) -> torch.Tensor:
        trainer = finished(Trainer(config, {TEXTS: content}, None, torch.device("cpu")))
        return torch.nn.utils.parameters_to_vector(trainer.network.parameters())

    assert torch.equal(weights(data), weights(poisoned))
