"""The loss surface: the geometry of its plane, what is measured at a point, and the file that it ends in."""

import json
import os
import random
import shutil
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from runs import SMALL, runner, small_student, small_teacher
from torch import Tensor, nn

from repro.cli import main
from repro.config import StudentConfig
from repro.data.augment_geometric import RandomCrop
from repro.distill.divergences import ForwardCrossEntropy
from repro.distill.initialization import Interpolated
from repro.errors import BadInput, Damaged, RunFailed
from repro.models.preresnet import PreResNet
from repro.progress import Lines
from repro.store import Store
from repro.surface import Plane, _open_surface, make_surface
from repro.training.start import initial_network

LAYER_NORM = PreResNet(depth=8, norm="layer")
ALL = 10_000
"""More images than there are."""


def student(weight: float = 0.25) -> StudentConfig:
    return small_student(
        model=LAYER_NORM,
        teachers=(small_teacher(model=LAYER_NORM),),
        init=Interpolated(weight=weight, batch_norm="kept"),
        augmentation=(RandomCrop(padding=1),),
        objective=ForwardCrossEntropy(temperature=4.0),
    )


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of runs with a finished student and its teacher."""
    root = tmp_path_factory.mktemp("surface")
    for config in (*student().parents(), student()):
        runner(root).make(config, "run")
    return root


def vector(state: dict[str, Tensor]) -> Tensor:
    return torch.cat([tensor.double().flatten() for tensor in state.values()])


# -- the plane -----------------------------------------------------------------------------------------------


def three_networks() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Sequential(nn.Linear(5, 7), nn.Linear(7, 3)).double() for _ in range(3)]


def test_coordinates_are_distances_in_weight_space() -> None:
    plane = Plane.through(three_networks())
    origin = vector(plane.state((0.0, 0.0)))
    along_x, along_y = vector(plane.state((1.0, 0.0))) - origin, vector(plane.state((0.0, 1.0))) - origin
    gram = torch.stack([torch.stack([a @ b for a in (along_x, along_y)]) for b in (along_x, along_y)])
    torch.testing.assert_close(gram, torch.eye(2, dtype=torch.float64), rtol=0, atol=1e-12)
    somewhere, elsewhere = (-3.0, 7.5), (2.0, 0.5)
    moved = vector(plane.state(somewhere)) - vector(plane.state(elsewhere))
    assert float(moved.norm()) == pytest.approx((25.0 + 49.0) ** 0.5, rel=1e-12)


def test_the_three_networks_lie_at_their_coordinates_to_the_bit() -> None:
    torch.manual_seed(1)
    networks = [LAYER_NORM.build(10, (1, 8, 8)), *(PreResNet(depth=8).build(10, (1, 8, 8)) for _ in range(3))]
    for network in networks[1:]:
        network(torch.rand(16, 1, 8, 8))  # BatchNorm statistics that differ
    plane = Plane.through(networks[1:])
    assert plane.coordinates[0] == (0.0, 0.0)
    assert plane.coordinates[1][0] > 0.0 == plane.coordinates[1][1]
    assert plane.coordinates[2][1] > 0.0
    teacher, second = (nn.utils.parameters_to_vector(net.parameters()).detach().double() for net in networks[1:3])
    assert plane.coordinates[1][0] == pytest.approx(float((second - teacher).norm()), rel=1e-9)  # without buffers
    for network, point in zip(networks[1:], plane.coordinates, strict=True):
        for name, tensor in plane.state(point).items():
            assert torch.equal(tensor, network.state_dict()[name]), name


def test_the_grid_covers_the_networks_with_a_margin() -> None:
    plane = replace(Plane.through(three_networks()), coordinates=((0.0, 0.0), (8.0, 0.0), (3.0, 4.0)))
    x, y = plane.axes(5)
    assert x == [-2.0, 1.0, 4.0, 7.0, 10.0]
    assert y == [-2.0, 0.0, 2.0, 4.0, 6.0]


def test_networks_on_one_line_span_no_plane() -> None:
    first, second, third = three_networks()
    with pytest.raises(ValueError, match="are equal"):
        Plane.through([first, first, second])
    with torch.no_grad():
        for a, b, c in zip(first.parameters(), second.parameters(), third.parameters(), strict=True):
            c.copy_(-0.5 * a + 1.5 * b)
    with pytest.raises(ValueError, match="lie on one line"):
        Plane.through([first, second, third])


# -- what is measured ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def networks(root: Path) -> list[nn.Module]:
    """Teacher, initial and final student, from the records and the config alone."""
    config, store = student(), Store(root)
    teacher, final = LAYER_NORM.build(10, (1, 8, 8)), LAYER_NORM.build(10, (1, 8, 8))
    teacher.load_state_dict(store.run(config.teachers[0].run_id).weights())
    final.load_state_dict(store.run(config.run_id).weights())
    initial = initial_network(config.model_copy(update={"init": config.teachers[0].init}), None)
    with torch.no_grad():
        for own, target in zip(initial.parameters(), teacher.parameters(), strict=True):
            own.copy_(0.75 * own + 0.25 * target)
    return [teacher, initial, final]


@torch.no_grad()
def measured_by_hand(teacher: nn.Module, network: nn.Module, temperature: float = 4.0) -> tuple[float, float]:
    """Loss and agreement on the test images, in float64."""
    images = SMALL.load(Path()).test.inputs.double() / 127.5 - 1
    theirs, ours = teacher.double()(images), network.double()(images)
    p, log_q = F.softmax(theirs / temperature, 1), F.log_softmax(ours / temperature, 1)
    loss = -(temperature**2) * (p * log_q).sum(1).mean()
    agreement = (theirs.argmax(1) == ours.argmax(1)).double().mean()
    teacher.float(), network.float()
    return float(loss), float(agreement)


def test_the_surface_holds_the_networks_own_loss_and_the_records_own_agreement(
    root: Path, networks: list[nn.Module]
) -> None:
    content = json.loads(make_surface(runner(root), student(), "student", 2, ALL).read_text())
    assert (content["train_images"], content["test_images"]) == (200, 597)
    anchors = content["anchors"]
    assert list(anchors) == ["teacher", "student_initial", "student_final"]
    for anchor, network in zip(anchors.values(), networks, strict=True):
        loss, agreement = measured_by_hand(networks[0], network)
        assert anchor["test/loss"] == pytest.approx(loss, rel=1e-5)
        assert anchor["test/agreement"] == pytest.approx(agreement, abs=1e-9)
    distance = float((vector(networks[0].state_dict()) - vector(networks[1].state_dict())).norm())
    assert (anchors["student_initial"]["x"], anchors["student_initial"]["y"]) == (pytest.approx(distance, rel=1e-6), 0)
    summary = Store(root).run(student().run_id).read_json("summary.json")["metrics"]
    for measure in ("train/agreement", "test/agreement"):
        assert anchors["student_final"][measure] == summary[measure]
        assert anchors["teacher"][measure] == 1.0


def test_a_grid_point_is_the_network_with_those_weights(root: Path, networks: list[nn.Module]) -> None:
    """Against the textbook's two directions: Gram-Schmidt, then a step along each."""
    content = json.loads(make_surface(runner(root), student(), "student", 3, ALL).read_text())
    teacher, initial, final = (vector(dict(network.named_parameters())).detach() for network in networks)
    along_x = (initial - teacher) / (initial - teacher).norm()
    rest = (final - teacher) - ((final - teacher) @ along_x) * along_x
    along_y = rest / rest.norm()
    for row, column in ((0, 2), (1, 1), (2, 0)):
        weights = teacher + content["x"][column] * along_x + content["y"][row] * along_y
        alone = LAYER_NORM.build(10, (1, 8, 8))
        nn.utils.vector_to_parameters(weights.float(), alone.parameters())
        loss, agreement = measured_by_hand(networks[0], alone)
        assert content["test/loss"][row][column] == pytest.approx(loss, rel=1e-4)
        assert content["test/agreement"][row][column] == pytest.approx(agreement, abs=2 / 597)


def test_batch_norm_statistics_are_the_networks_own_at_the_three_and_taken_anew_elsewhere(tmp_path: Path) -> None:
    config = small_student()
    for each in (*config.parents(), config):
        runner(tmp_path).make(each, "run")
    run = Store(tmp_path).run(config.run_id)
    surface = _open_surface(runner(tmp_path), config, "student", run, ALL)
    final, point = surface.plane.coordinates[2], (-2.0, -1.5)
    exact = surface.at(final, own_statistics=True)
    for measure in ("train/agreement", "test/agreement"):
        assert exact[measure] == run.read_json("summary.json")["metrics"][measure]

    alone = PreResNet(depth=8).build(10, (1, 8, 8))
    alone.load_state_dict(surface.plane.state(point))
    for module in alone.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0  # all from the one batch that comes
    images = surface.sets["train"].inputs
    assert isinstance(images, Tensor)
    alone.train()(images.float() / 127.5 - 1)
    teacher = PreResNet(depth=8).build(10, (1, 8, 8))
    teacher.load_state_dict(Store(tmp_path).run(config.teachers[0].run_id).weights())
    loss, agreement = measured_by_hand(teacher.eval(), alone.eval(), temperature=2.0)
    measured = surface.at(point)
    assert measured["test/loss"] == pytest.approx(loss, rel=1e-4)
    assert measured["test/agreement"] == pytest.approx(agreement, abs=2 / 597)


def test_the_loss_is_the_objectives_with_labels_as_at_the_end_of_training(root: Path) -> None:
    """A weight of the labels that rises from 0.2 to 0.8: of 21 steps, the last one begins after 20."""
    objective = ForwardCrossEntropy(temperature=4.0, alpha=0.2, alpha_final=0.8)
    config = student().model_copy(update={"objective": objective})
    runner(root).make(config, "run")
    surface = _open_surface(runner(root), config, "student", Store(root).run(config.run_id), ALL)
    measured = surface.at(surface.plane.coordinates[2])
    teacher, final = LAYER_NORM.build(10, (1, 8, 8)), LAYER_NORM.build(10, (1, 8, 8))
    teacher.load_state_dict(Store(root).run(config.teachers[0].run_id).weights())
    final.load_state_dict(Store(root).run(config.run_id).weights())
    distance, _ = measured_by_hand(teacher, final)
    test, alpha = SMALL.load(Path()).test, 0.2 + 0.6 * 20 / 21
    with torch.no_grad():
        nll = F.cross_entropy(final(test.inputs.float() / 127.5 - 1), test.labels)
    assert measured["test/loss"] == pytest.approx(alpha * float(nll) + (1 - alpha) * distance, rel=1e-5)


def test_few_images_are_drawn_from_all_of_them_and_keep_their_labels(root: Path) -> None:
    """Not the first ones, which may all be of one class."""
    run = Store(root).run(student().run_id)
    surface = _open_surface(runner(root), student(), "student", run, 20)
    chosen, test = surface.sets["test"], SMALL.load(Path()).test
    assert isinstance(chosen.inputs, Tensor) and chosen.labels is not None
    places = [int((test.inputs == image).flatten(1).all(dim=1).nonzero()[0]) for image in chosen.inputs]
    assert len(set(places)) == 20 and max(places) > 300
    assert torch.equal(chosen.labels, test.labels[places])


# -- the file ------------------------------------------------------------------------------------------------


class _Interrupting(Lines):
    """Interrupts at the n-th point that is measured."""

    def __init__(self, points: int) -> None:
        super().__init__()
        self.left = points

    def step(self, count: int = 1) -> None:
        self.left -= count
        if self.left == 0:
            raise KeyboardInterrupt


def test_interrupted_and_resumed_equals_uninterrupted_to_the_byte(root: Path) -> None:
    run = Store(root).run(student().run_id)
    expected = make_surface(runner(root), student(), "student", 4, 50).read_bytes()
    make_surface(runner(root), student(), "student", 2, 50)  # other settings replace what was there
    for points in (1, 4, 5, 7):
        with pytest.raises(KeyboardInterrupt):
            make_surface(replace(runner(root), progress=_Interrupting(points)), student(), "student", 4, 50)
        assert run.read_json("surface.json")["points"] == 2
    rows = len(run.read_json("surface_progress.json")["train/loss"])
    assert 0 < rows < 4
    assert make_surface(runner(root), student(), "student", 4, 50).read_bytes() == expected
    assert not (run.path / "surface_progress.json").exists()


def test_a_surface_that_is_there_is_left_alone_even_where_nothing_can_be_written(root: Path) -> None:
    path = make_surface(runner(root), student(), "student", 2, 20)
    written = path.stat().st_mtime_ns
    lock = path.with_name("lock")
    lock.unlink()
    lock.mkdir()  # cannot be opened for writing, by any user
    assert make_surface(runner(root), student(), "student", 2, 20) == path
    lock.rmdir()
    assert path.stat().st_mtime_ns == written


KILLER = """
    import os, random, signal, sys, time
    from pathlib import Path
    import torch
    from runs import runner
    from test_surface import student
    from repro.store import Store
    from repro.surface import make_surface
    torch.set_num_threads(1)
    root, moments = Path(sys.argv[1]), random.Random(int(sys.argv[2]))
    run = Store(root).run(student().run_id)
    make_surface(runner(root), student(), "student", 2, 10).unlink()  # imports what the children need
    attempts = killed = 0
    while not (run.path / "surface.json").exists():
        attempts += 1
        child = os.fork()
        if child == 0:
            make_surface(runner(root), student(), "student", 7, 200)
            os._exit(0)
        time.sleep(moments.uniform(0.0, 0.1 * 1.2**attempts))  # longer and longer, so that it ends
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed += os.WIFSIGNALED(status)
    print(killed)
"""


@pytest.mark.slow
def test_killed_at_random_moments_it_ends_the_same(root: Path) -> None:
    path = make_surface(runner(root), student(), "student", 7, 200)
    expected = path.read_bytes()
    path.unlink()
    seed = random.SystemRandom().randrange(10**6)
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLER), str(root), str(seed)],
        capture_output=True,
        text=True,
        timeout=600,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
        check=False,
    )
    assert done.returncode == 0, f"seed {seed}: {done.stderr[-2000:]}"
    assert int(done.stdout) >= 5, f"seed {seed}: killed only {done.stdout.strip()} times"
    assert path.read_bytes() == expected


# -- what it refuses -----------------------------------------------------------------------------------------


def test_a_student_that_starts_as_its_teacher_has_no_surface(root: Path) -> None:
    config = student(weight=1.0)
    runner(root).make(config, "run")
    with pytest.raises(BadInput, match="one: no loss surface of teacher, initial and final student: two of"):
        make_surface(runner(root), config, "one", 3, 10)
    assert not list(Store(root).run(config.run_id).path.glob("surface*"))


def test_what_is_damaged_or_gone_is_named_with_its_remedy(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "runs")
    run = Store(tmp_path / "runs").run(student().run_id)
    for name in ("surface_progress.json", "surface.json"):
        for content in ('{"run_id"', json.dumps({"run_id": run.run_id, "points": 2, "images": 10}), "[]"):
            (run.path / name).write_text(content)
            with pytest.raises(Damaged, match=f"{name}: damaged .*; remove it to measure the surface again"):
                make_surface(runner(tmp_path / "runs"), student(), "student", 2, 10)
        (run.path / name).unlink()
    (run.path / "model.safetensors").unlink()
    with pytest.raises(RunFailed, match=f"weights of its student are gone: remove {run.path} to make it again"):
        make_surface(runner(tmp_path / "runs"), student(), "student", 2, 10)


def test_a_student_that_was_made_with_other_data_is_not_measured(root: Path, tmp_path: Path) -> None:
    shutil.copytree(root, tmp_path / "runs")
    run = Store(tmp_path / "runs").run(student().run_id)
    summary = run.read_json("summary.json")
    run.write_json("summary.json", summary | {"data": {"digits": "0" * 12}})
    with pytest.raises(BadInput, match=f"run {run.run_id} was made with other digits data"):
        make_surface(runner(tmp_path / "runs"), student(), "student", 3, 11)


def test_a_student_of_several_teachers_has_no_surface(root: Path) -> None:
    config = small_student(teachers=(small_teacher(), small_teacher(seed=9)))
    with pytest.raises(BadInput, match="needs a student with one teacher, of the student's own architecture"):
        make_surface(runner(root), config, "two", 3, 10)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["init_interpolation", "preset=smoke"], "init_interpolation trial=0 weight=0.0 learning_rate=constant"),
        (["init_interpolation", "--points", "1"], "argument --points: '1' is not a number from 2 to 1000"),
        (["init_interpolation", "--points", "1001"], "argument --points: '1001' is not a number from 2 to 1000"),
        (["init_interpolation", "--images", "0"], "argument --images: '0' is not a positive number"),
    ],
)
def test_bad_input_is_one_line_and_nothing_is_written(
    arguments: list[str], problem: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["surface", *arguments, "--runs", str(tmp_path / "runs")]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"repro: {problem}")
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_the_three_networks(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = ["--runs", str(root / "studies")]
    assert main(["run", "init_interpolation", "preset=smoke", "weight=0.5", *runs]) == 0
    assert main(["surface", "init_interpolation", "preset=smoke", "weight=0.5", "--points", "2", *runs]) == 0
    out = capsys.readouterr().out
    assert "student, final" in out
    assert Path(out.splitlines()[-1].removeprefix("surface: ")).name == "surface.json"


def test_a_value_that_is_not_finite_is_null(root: Path) -> None:
    surface = _open_surface(runner(root), student(), "student", Store(root).run(student().run_id), 10)
    assert surface.at((1e30, 1e30)) == dict.fromkeys(("train/loss", "train/agreement", "test/loss", "test/agreement"))
