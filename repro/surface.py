"""The loss around a student: distillation loss and agreement on a plane through three networks (Figure 6c).

The plane goes through the teacher, the initial student and the trained student, as in Section 6.2 and in Garipov et al.
2018 (arXiv 1802.10026). The result is `surface.json` in the student's run folder; docs/architecture.md describes its
content.
"""

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from repro.config import RunConfig, TrainingConfig
from repro.distill.ensemble import ensemble_logits
from repro.distill.hidden import HiddenObjective
from repro.errors import BadInput, Damaged
from repro.metrics.fidelity import agreement
from repro.run_data import check_data_of_done
from repro.runner import Runner
from repro.store import RunDirectory
from repro.training import hardware
from repro.training.batch_norm import reestimate_batch_norm
from repro.training.evaluation import BATCH, EvaluationSet, predict, predict_members, stream_inputs
from repro.training.trainer import Trainer

ANCHORS = ("teacher", "student_initial", "student_final")
MEASURES = ("train/loss", "train/agreement", "test/loss", "test/agreement")
MARGIN = 0.25
"""How far the grid extends beyond the three networks on every side, as a fraction of their larger extent."""
COLLINEAR = 1e-6
"""Three networks span no plane if one is closer to the line through the others than this fraction of their distance:
the plane would be determined only by the rounding errors of float32 weights."""

Point = tuple[float, float]
Measured = dict[str, float | None]


@dataclass(frozen=True)
class Plane:
    """The plane through three networks of one architecture, with orthonormal coordinates in weight space.

    The first network is the origin, the second lies on the x axis (x > 0), the third at y > 0. Distances are
    Euclidean, over all parameters. Every point is an affine combination of the three networks, including their
    floating-point buffers, although these do not count towards distances. Integer buffers are the first network's.
    """

    states: tuple[Mapping[str, Tensor], ...]
    coordinates: tuple[Point, Point, Point]

    @classmethod
    def through(cls, networks: Sequence[nn.Module]) -> "Plane":
        """The plane through three networks. Raises ValueError if they lie on one line."""
        origin, second, third = (
            torch.cat([parameter.detach().cpu().double().flatten() for parameter in network.parameters()])
            for network in networks
        )
        to_second, to_third = second - origin, third - origin
        x2 = float(to_second.norm())
        scale = max(x2, float(to_third.norm()))
        if x2 <= COLLINEAR * scale:
            raise ValueError("two of the three networks are equal, so they span no plane")
        x3 = float(to_third @ to_second) / x2
        y3 = float((to_third - to_second * (x3 / x2)).norm())
        if y3 <= COLLINEAR * scale:
            raise ValueError("the three networks lie on one line in weight space, so they span no plane")
        states = tuple(
            {name: tensor.detach().clone() for name, tensor in network.state_dict().items()} for network in networks
        )
        return cls(states, ((0.0, 0.0), (x2, 0.0), (x3, y3)))

    def shares(self, point: Point) -> tuple[float, float, float]:
        """The weight of each network at a point; they sum to 1. At a network, exactly 1 for it and 0 for the others."""
        _, (x2, _), (x3, y3) = self.coordinates
        third = point[1] / y3
        second = (point[0] - third * x3) / x2
        return 1.0 - second - third, second, third

    def state(self, point: Point) -> dict[str, Tensor]:
        """The weights and buffers at a point, combined in float64 and rounded once."""
        shares = self.shares(point)
        state = dict(self.states[0])
        for name, tensor in state.items():
            if tensor.is_floating_point():
                terms = [share * of[name].double() for share, of in zip(shares, self.states, strict=True)]
                state[name] = (terms[0] + terms[1] + terms[2]).to(tensor.dtype)
        return state

    def axes(self, points: int) -> tuple[list[float], list[float]]:
        """`points` evenly spaced values of x, and of y, that cover the three networks and a margin around them."""
        columns = list(zip(*self.coordinates, strict=True))
        margin = MARGIN * max(max(values) - min(values) for values in columns)
        x, y = (
            torch.linspace(min(values) - margin, max(values) + margin, points, dtype=torch.float64).tolist()
            for values in columns
        )
        return x, y


class Surface:
    """What is measured at a point of the plane: the run's own objective and the agreement, in evaluation mode.

    Both use the same images at every point: at most `images` of the run's fixed train sample (augmented, as its record
    describes) and at most as many of the test images. The loss does not include weight decay.

    A BatchNorm network that is not one of the three has no statistics of its own, and combining those of the three is
    meaningless (a variance may even be negative): its statistics are computed in one pass over the measured train
    images.
    """

    def __init__(self, trainer: Trainer, trained: Mapping[str, Tensor], images: int) -> None:
        """`trainer`: that of the student before its first step, with one teacher; `trained`: its final weights."""
        assert trainer.teachers is not None
        self.config: TrainingConfig = trainer.config
        self.progress = 1.0 - 1.0 / trainer.total_steps  # the last step, for objectives that change during training
        self.network = copy.deepcopy(trainer.network)
        self.network.load_state_dict(trained)
        self.has_batch_norm = any(isinstance(module, _BatchNorm) for module in self.network.modules())
        self.plane = Plane.through([trainer.teachers.members[0], trainer.network, self.network])
        seed = self.config.stream_seed("surface")
        self.sets = {
            name: _some(examples, images, seed)
            for name, examples in (("train", trainer.train_sample), ("test", trainer.test_set))
        }
        self.teacher_logits = {
            name: predict_members(trainer.teachers, examples.inputs) for name, examples in self.sets.items()
        }

    @torch.no_grad()
    def at(self, point: Point, own_statistics: bool = False) -> Measured:
        """The four MEASURES at a point; None for values that are not finite.

        `own_statistics` keeps the BatchNorm statistics of the plane, which are meaningful, and exact, at the three
        networks.

        Networks are evaluated one at a time: stacking the weights of several points (`torch.func.vmap`) took more than
        twice as long per point for a ResNet-20 on a CPU, because its convolutions become grouped convolutions.
        """
        self.network.load_state_dict(self.plane.state(point))
        if self.has_batch_norm and not own_statistics:
            inputs = self.sets["train"].inputs
            batches = torch.arange(len(inputs)).tensor_split(-(-len(inputs) // BATCH))
            reestimate_batch_norm(self.network, stream_inputs(inputs, batches))
        measured: Measured = {}
        for name, examples in self.sets.items():
            logits, teacher_logits = predict(self.network, examples.inputs), self.teacher_logits[name]
            loss = self.config.objective.loss(
                logits,
                teacher_logits=teacher_logits,
                labels=examples.labels if self.config.objective.needs_labels else None,
                progress=self.progress,
                generator=torch.Generator(logits.device).manual_seed(self.config.stream_seed("surface")),
            )
            values = {"loss": loss, "agreement": agreement(logits, ensemble_logits(teacher_logits))}
            for key, value in values.items():
                measured[f"{name}/{key}"] = float(value) if value.isfinite() else None
        return measured


def _some(examples: EvaluationSet, count: int, seed: int) -> EvaluationSet:
    """At most `count` of the examples, chosen at random by `seed`."""
    order = torch.randperm(len(examples.inputs), generator=torch.Generator().manual_seed(seed))
    chosen = order[:count].sort().values.to(examples.inputs.device)
    labels = None if examples.labels is None else examples.labels[chosen]
    return EvaluationSet(examples.inputs[chosen], labels, None)


def make_surface(runner: Runner, config: RunConfig, title: str, points: int, images: int) -> Path:
    """Measure a finished student's surface on a grid of `points` x `points`; returns the path of its `surface.json`.

    The file is written atomically. If killed at any moment, the same call resumes with the row of the grid that was
    being measured. An existing surface with these settings is kept; one with other settings is replaced. Raises
    BadInput if the run or its teacher is not done, if the run was made with other data, or if the networks span no
    plane.
    """
    run = runner.store.run(config.run_id)
    teacher = _only_teacher(config, title)
    for needed in (run, runner.store.run(teacher.run_id)):
        if not needed.is_done():
            raise BadInput(f"{title}: run {needed.run_id} is not done; `repro run` with the same settings makes it")
    settings = {"run_id": run.run_id, "points": points, "images": images}
    if _known(run, "surface.json", settings) is not None:  # before the lock: the folder may be read-only
        return run.path / "surface.json"
    with run.lock(on_wait=lambda holder: runner.progress.say(f"{title}: waiting, {holder} is writing to its record")):
        if _known(run, "surface.json", settings) is None:
            surface = _open_surface(runner, config, title, run, images)
            _measure(surface, run, runner, title, settings)
    return run.path / "surface.json"


def _only_teacher(config: RunConfig, title: str) -> TrainingConfig:
    if config.kind != "student" or [teacher.model for teacher in config.teachers] != [config.model]:
        raise BadInput(f"{title}: a loss surface needs a student with one teacher, of the student's own architecture")
    if isinstance(config.objective, HiddenObjective) or not config.objective.needs_teacher:
        raise BadInput(f"{title}: a loss surface needs an objective on logits, not {config.objective.name}")
    return config.teachers[0]


def _open_surface(runner: Runner, config: RunConfig, title: str, run: RunDirectory, images: int) -> Surface:
    assert isinstance(config, TrainingConfig)
    hardware.use_exact_kernels()
    check_data_of_done(run, config, runner.data_directory)
    datasets = {dataset: dataset.load_checked(runner.data_directory) for dataset in config.data.datasets}
    teachers, source = runner.teachers(config), runner.source(config)
    trained = runner.finished_network(config).state_dict()
    trainer = Trainer(config, datasets, teachers, runner.device, runner.generators(config), source=source)
    try:
        return Surface(trainer, trained, images)
    except ValueError as error:
        raise BadInput(f"{title}: no loss surface of teacher, initial and final student: {error}") from error


def _measure(surface: Surface, run: RunDirectory, runner: Runner, title: str, settings: dict[str, Any]) -> None:
    """Measure row by row into `surface_progress.json`, which then becomes `surface.json`."""
    content = _known(run, "surface_progress.json", settings)
    if content is None:
        content = settings | _empty(surface, settings["points"])
    x, y = content["x"], content["y"]
    done = len(content[MEASURES[0]])
    runner.progress.start(f"surface of {title}", len(x) * len(y), done * len(x))
    try:
        for height in y[done:]:
            row = []
            for width in x:
                row.append(surface.at((width, height)))
                runner.progress.step()
            for name in MEASURES:
                content[name].append([measured[name] for measured in row])
            run.write_json("surface_progress.json", content)
    finally:
        runner.progress.stop()
    (run.path / "surface_progress.json").replace(run.path / "surface.json")


def _empty(surface: Surface, points: int) -> dict[str, Any]:
    """A surface with only the three networks measured."""
    anchors = {
        name: {"x": point[0], "y": point[1], **surface.at(point, own_statistics=True)}
        for name, point in zip(ANCHORS, surface.plane.coordinates, strict=True)
    }
    x, y = surface.plane.axes(points)
    sizes = {f"{name}_images": len(examples.inputs) for name, examples in surface.sets.items()}
    return {**sizes, "anchors": anchors, "x": x, "y": y, **{name: [] for name in MEASURES}}


def _known(run: RunDirectory, name: str, settings: Mapping[str, Any]) -> dict[str, Any] | None:
    """The content of the file if it exists and was made with these settings, else None. Raises Damaged."""
    path = run.path / name
    if not path.exists():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text())
        lacking = {*settings, "x", "y", "anchors", *MEASURES} - content.keys()
        if lacking:
            raise ValueError(f"it lacks {', '.join(sorted(lacking))}")
    except (ValueError, AttributeError) as error:
        raise Damaged(f"{path}: damaged ({error}); remove it to measure the surface again") from error
    return content if all(content[key] == value for key, value in settings.items()) else None
