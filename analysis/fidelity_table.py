"""The table behind most of the paper's figures: for every student its own metrics, its teacher's, and the control's.

The independent-student control: two networks that classify well agree anyway, so how well a student agrees
with its teacher says little by itself. Beside it stands how well students of the *other* trials, distilled the
same way from other teachers, agree with this teacher. Fidelity is specific only as far as it is above that.
"""

from collections.abc import Iterable, Sequence

import pandas as pd
import torch
from torch import Tensor

from repro.config import StudentConfig
from repro.distill.ensemble import ensemble_logits
from repro.experiments.study import Study
from repro.metrics.fidelity import evaluate_fidelity
from repro.metrics.generalization import evaluate as evaluate_generalization
from repro.store import RunDirectory, Store

METRICS = ("accuracy", "agreement", "kl", "nll", "ece")


def fidelity_table(store: Store, studies: Iterable[Study]) -> pd.DataFrame:
    """One row for every run of `studies` that is done.

    Columns: the studies' settings; `run_id`; `training_images`; `student_x` for every metric x of METRICS on
    test; `train_agreement`; `teacher_x` without the two fidelities; `control_agreement` and `control_kl`, means
    over the other trials of the same condition (missing where there is no other trial).
    """
    done = [study for study in studies if store.run(study.config().run_id).is_done()]
    rows = []
    for study in done:
        config = study.config()
        assert isinstance(config, StudentConfig)
        record = store.run(config.run_id)
        summary = record.read_json("summary.json")
        teacher_logits = _teacher_logits([store.run(teacher.run_id) for teacher in config.teachers])
        labels = record.predictions()["test_labels"]
        others = [other for other in done if _same_condition(study, other) and other.trial != study.trial]
        control = [
            evaluate_fidelity(store.run(other.config().run_id).predictions()["test_logits"], teacher_logits)
            for other in others
        ]
        teacher_metrics = evaluate_generalization(teacher_logits, labels)
        row = {**study.settings(), "run_id": record.run_id, "training_images": summary["training_images"]}
        row |= {f"student_{metric}": summary["metrics"][f"test/{metric}"] for metric in METRICS}
        row["train_agreement"] = summary["metrics"]["train/agreement"]
        row |= {f"teacher_{metric}": float(teacher_metrics[metric]) for metric in ("accuracy", "nll", "ece")}
        row |= {f"control_{metric}": _mean([float(c[metric]) for c in control]) for metric in ("agreement", "kl")}
        rows.append(row)
    return pd.DataFrame(rows)


def _same_condition(one: Study, other: Study) -> bool:
    return one.model_copy(update={"trial": 0}) == other.model_copy(update={"trial": 0})


def _teacher_logits(records: Sequence[RunDirectory]) -> Tensor:
    """Test logits (n, classes) of the ensemble of these teachers, from their records."""
    return ensemble_logits(torch.stack([record.predictions()["test_logits"] for record in records]))


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None
