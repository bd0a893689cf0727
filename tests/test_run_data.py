"""The data of a run are those that its record and its parents were made with."""

from pathlib import Path

import numpy as np
import pytest
from prepared_arrays import arrays_for, write
from runs import lenet_teacher, runner, small_student, small_teacher

from repro.config import DataConfig, Selection
from repro.data.prepared import MNIST
from repro.data.synthetic import Synthetic
from repro.errors import BadInput
from repro.models.lenet import LeNet5


def test_a_record_knows_data_sets_that_differ_in_their_options_alone(tmp_path: Path) -> None:
    datasets = [Synthetic(images=20, image_size=8, seed=seed) for seed in range(4)]
    train, *pools = (Selection(dataset=dataset) for dataset in datasets)
    teacher = small_teacher(data=DataConfig(train=train), epochs=1)
    config = small_student(teachers=(teacher,), data=DataConfig(train=train, pools=tuple(pools)), epochs=1)
    work = runner(tmp_path)
    work.make(teacher, "teacher")
    work.make(config, "student")
    recorded = work.store.run(config.run_id).read_json("summary.json")["data"]
    assert recorded == {"synthetic": " and ".join(sorted(dataset.fingerprint(tmp_path) for dataset in datasets))}
    work.make(config, "student")  # is done, on these data


def test_a_run_is_not_begun_on_other_data_than_its_teacher_was_made_with(tmp_path: Path) -> None:
    work = runner(tmp_path)
    work.data_directory.mkdir()
    arrays = arrays_for(MNIST, train=40, test=20)
    write(work.data_directory, MNIST, arrays)
    data = DataConfig(train=Selection(dataset=MNIST()))
    teacher = lenet_teacher(data=data, epochs=1)
    work.make(teacher, "teacher")
    student = small_student(teachers=(teacher,), data=data, model=LeNet5(), epochs=1)
    write(work.data_directory, MNIST, arrays | {"x_test": np.zeros_like(arrays["x_test"])})
    with pytest.raises(BadInput, match=rf"run {teacher.run_id} was made with other mnist data"):
        work.make(student, "student")
    assert not work.store.run(student.run_id).path.exists()
    write(work.data_directory, MNIST, arrays)
    work.make(student, "student")
    assert work.store.run(student.run_id).is_done()
