"""The identity of a run: the hash of everything in its config, and of nothing else."""

import hashlib
import json
import random
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from config_contents import changed, student, student_with_pools, teacher

from repro.config import StudentConfig, TeacherConfig, canonical_json, parse_config
from repro.errors import BadInput
from repro.experiments.lenet_mnist import LenetMnist


def leaves(content: Any, key: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is neither a mapping nor a list, under its dotted key."""
    items = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else None
    if items is None:
        yield key, content
        return
    for part, value in items:
        yield from leaves(value, f"{key}.{part}".lstrip("."))


OTHER_COMPONENT = {
    "dataset": {"name": "mnist"},
    "model": {"name": "lenet5"},
    "init": {"name": "interpolated", "weight": 0.5},
    "objective": {"name": "reverse_kl"},
    "optimizer": {"name": "adam", "learning_rate": 0.1},
    "schedule": {"name": "linear"},
    "augmentation": {"name": "uniform_noise"},
}


def variants(content: dict[str, Any], key: str, value: Any) -> Iterator[dict[str, Any]]:
    """Copies of `content` with something else at `key`; not all of them need be valid."""
    parent, _, last = key.rpartition(".")
    if last == "name":
        kind = next(part for part in reversed(parent.split(".")) if not part.isdecimal())
        yield changed(content, parent, OTHER_COMPONENT[kind])
        return
    candidates: list[Any] = [1, 0.5, "D0", "D1", "step", "layer", "bfloat16", True, False]
    if isinstance(value, int | float):
        candidates = [value + 1, value - 1, value + 6, value + 0.25, value / 2, not value]
    for candidate in candidates:
        if candidate != value:
            yield changed(content, key, candidate)


# What one key alone cannot change, in each of the configs below: `kind` comes with other keys, a teacher needs a
# teacher's objective and init, labels are not there or mixed, shapes must agree.
OF_A_TEACHER = {"kind", "init.name", "objective.name"}
OF_A_STUDENT = {"kind", "data.train.dataset.image_size"}
LABELS = {"objective.alpha", "objective.alpha_final"}


def within(prefix: str, keys: set[str]) -> set[str]:
    return {prefix + key for key in keys}


@pytest.mark.parametrize(
    ("content", "alone_unchangeable"),
    [
        (teacher(), OF_A_TEACHER),
        (student(), OF_A_STUDENT | LABELS | within("teachers.0.", OF_A_TEACHER | OF_A_STUDENT)),
        (
            changed(student(), "augmentation", []),
            OF_A_STUDENT | within("teachers.0.", OF_A_TEACHER | OF_A_STUDENT),
        ),
        (
            student_with_pools(),
            OF_A_STUDENT
            | LABELS
            | {"data.pools.0.dataset.image_size"}
            | within("teachers.0.", OF_A_STUDENT | LABELS)
            | within("teachers.0.teachers.0.", OF_A_TEACHER | OF_A_STUDENT),
        ),
    ],
)
def test_every_value_that_can_be_another_is_part_of_the_run_id(
    content: dict[str, Any], alone_unchangeable: set[str]
) -> None:
    ids, unchangeable = [parse_config(content).run_id], set()
    for key, value in leaves(content):
        for variant in variants(content, key, value):
            try:
                ids.append(parse_config(variant).run_id)
                break
            except BadInput:
                continue
        else:
            unchangeable.add(key)
    assert len(set(ids)) == len(ids)
    assert unchangeable == alone_unchangeable


def test_the_number_and_order_of_list_elements_are_part_of_the_run_id() -> None:
    one, two = student(), changed(student(), "augmentation", student()["augmentation"][::-1])
    other_teacher = changed(teacher(), "seed", 9)
    configs = [one, two, changed(one, "augmentation", [])]
    configs += [student(teacher(), other_teacher), student(other_teacher, teacher())]
    assert len({parse_config(content).run_id for content in configs}) == len(configs)


def sha(content: dict[str, Any]) -> str:
    """A run id computed by hand from the full content of a config."""
    text = json.dumps({"schema_version": 1, "config": content}, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:12]


MIXED = "the train sample of the metrics is mixed batch by batch, not with one weight for all"


def identity(content: dict[str, Any]) -> dict[str, Any]:
    """The content, with what was corrected for runs that mix images."""
    if "teachers" not in content:
        return content
    teachers = [identity(teacher) for teacher in content["teachers"]]
    mixes = any(augmentation["name"] == "mixup" for augmentation in content["augmentation"])
    return content | {"teachers": teachers} | ({"corrections": [MIXED]} if mixes else {})


@pytest.mark.parametrize("content", [teacher(), student(), student_with_pools()])
def test_the_run_id_is_the_hash_of_the_full_content(content: dict[str, Any]) -> None:
    assert parse_config(content).run_id == sha(identity(content))


def test_what_was_corrected_changes_the_ids_of_runs_that_it_concerns_and_of_no_others() -> None:
    plain = changed(student(), "augmentation", [])
    assert parse_config(plain).run_id == sha(plain)
    draws = changed(plain, "micro_batch_size", 16)
    text = "in a micro-batch, objective and dropout draw different numbers"
    assert parse_config(draws).run_id == sha(draws | {"corrections": [text]})
    merged = changed(student(teacher(), changed(teacher(), "seed", 9)), "augmentation", [])
    merged["merge"] = {"name": "weighted_mean", "weights": [0.6, 0.4]}
    assert parse_config(merged).run_id == sha(merged)
    half = changed(merged, "precision", "bfloat16")
    assert parse_config(half).run_id == sha(half | {"corrections": ["teachers are merged in float32"]})


def test_run_ids_stay_as_they_were() -> None:
    """Records on disk are found by these; a change here means new runs."""
    assert parse_config(teacher()).run_id == "70651d2cd43b"
    assert parse_config(student()).run_id == "bde1ede55e3c"
    assert parse_config(changed(student(), "augmentation", [])).run_id == "257742c44ea0"
    assert LenetMnist(preset="short", pool=0.25, trial=1).config().run_id == "f35bc3e2fc5b"


def test_random_streams_stay_those_that_earlier_records_were_made_with() -> None:
    """63 bits of a SHA-256 of seed, kind of run and the stream's names. Ids do not tell if this changes."""
    for seed in (0, 12, 1207):
        for names, text in (("init",), "init"), (("order", 7), "order:7"), (("micro-batch", 3, 1), "micro-batch:3:1"):
            for content, kind in ((teacher(), "teacher"), (student(), "student")):
                digest = hashlib.sha256(f"{seed}:{kind}:{text}".encode()).hexdigest()
                assert parse_config(content | {"seed": seed}).stream_seed(*names) == int(digest[:16], 16) // 2


def test_defaults_written_out_and_left_out_are_the_same_run() -> None:
    short = {
        "kind": "teacher",
        "data": {"train": {"dataset": {"name": "digits"}}},
        "model": {"name": "preresnet", "depth": 8},
        "init": {"name": "random"},
        "objective": {"name": "cross_entropy"},
        "optimizer": {"name": "sgd", "learning_rate": 0.1, "weight_decay": 1e-4},
        "schedule": {"name": "cosine"},
        "epochs": 20,
        "batch_size": 64,
        "evaluate_every": 2,
        "seed": 3,
    }
    assert parse_config(short).run_id == parse_config(teacher()).run_id


def reordered(content: Any, order: random.Random) -> Any:
    """The same content with its mappings' keys in another order."""
    if isinstance(content, list):
        return [reordered(element, order) for element in content]
    if not isinstance(content, dict):
        return content
    keys = order.sample(list(content), len(content))
    return {key: reordered(content[key], order) for key in keys}


def test_the_run_id_does_not_depend_on_the_order_of_keys() -> None:
    expected = parse_config(student_with_pools()).run_id
    for seed in range(5):
        assert parse_config(reordered(student_with_pools(), random.Random(seed))).run_id == expected


def test_a_whole_number_given_for_a_float_is_the_same_run() -> None:
    given_as_int = changed(changed(student(), "objective.temperature", 4), "augmentation.1.alpha", 1)
    assert parse_config(given_as_int).run_id == parse_config(student()).run_id


@pytest.mark.parametrize("content", [teacher(), student(), student_with_pools()])
def test_a_config_survives_the_way_through_json(content: dict[str, Any]) -> None:
    config = parse_config(content)
    again = parse_config(json.loads(json.dumps(config.model_dump(mode="json"))))
    assert again == config
    assert again.run_id == config.run_id
    # As it was before later fields came, at whose defaults it still is.
    assert json.loads(canonical_json(again))["config"] == identity(content)


def test_the_parents_of_a_run_are_its_teachers() -> None:
    config = parse_config(student_with_pools())
    (parent,) = config.parents()
    assert parent == parse_config(student())
    assert [type(run) for run in (config, parent, *parent.parents())] == [StudentConfig, StudentConfig, TeacherConfig]
    assert parent.parents()[0].parents() == ()


class LaterTeacher(TeacherConfig):
    """A teacher config as a later version of the schema might have it."""

    label_smoothing: float = 0.0
    later_fields: ClassVar[frozenset[str]] = TeacherConfig.later_fields | {"label_smoothing"}


def test_a_field_added_later_changes_an_id_only_when_it_is_used() -> None:
    before = parse_config(teacher())
    fields = {name: getattr(before, name) for name in type(before).model_fields}
    assert LaterTeacher(**fields).run_id == before.run_id
    assert LaterTeacher(**fields, label_smoothing=0.1).run_id != before.run_id
