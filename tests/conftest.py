"""What all tests share: one thread per process, one W&B server, and one real Slurm for the tests marked `slurm`."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from runs import SMALL
from slurm_place import Done, Place, finish

from repro.bench.wandb_server import StandInServer, wandb_server
from repro.data.dataset import LabeledData
from slurm.devcluster import Cluster
from slurm.devcluster.cluster import INSTALL, missing_programs


def pytest_configure(config: pytest.Config) -> None:
    """Only `pytest -m gpu` sees GPUs. All other tests are about the CPU: `--device auto` takes it, and what they fork
    can train, which torch refuses once there is a thread for a GPU."""
    if "gpu" not in config.option.markexpr.replace("not gpu", ""):
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests come first, so that no process of `make.py test` begins one when the others are done."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True, scope="session")
def _one_thread() -> None:
    """So that parallel test workers do not fight for the processors."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True, scope="session")
def _forked_processes_can_train() -> None:
    """Whichever test comes first: if one that fakes a GPU (compiling does so too) precedes the first gradient, torch
    starts threads for that GPU, and then refuses gradients in processes that are forked."""
    torch.ones(1, requires_grad=True).backward()


@pytest.fixture(autouse=True, scope="session")
def _can_be_interrupted() -> None:
    """A shell without job control starts what it puts into the background with Ctrl-C ignored; so do its children."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def digits() -> LabeledData:
    """What `runs.SMALL` names."""
    return SMALL.load(Path())


@pytest.fixture(scope="session")
def _one_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    missing = missing_programs()
    if missing:
        pytest.skip(f"no Slurm here: {', '.join(missing)} not installed; {INSTALL}")
    one = Cluster(tmp_path_factory.mktemp("slurm"))
    try:
        one.start()
        yield one
    finally:
        one.stop()


@pytest.fixture
def cluster(_one_cluster: Cluster) -> Iterator[Cluster]:
    """A running one-machine Slurm without jobs, shared by all tests; whatever they kill is started again."""
    yield _one_cluster
    if not all(daemon.pid() for daemon in _one_cluster.daemons):
        _one_cluster.start()
    _one_cluster.cancel_jobs()


@pytest.fixture
def place(cluster: Cluster, tmp_path: Path) -> Place:
    """A folder to launch from, with a profile."""
    place = Place(cluster, tmp_path)
    place.write_profile()
    return place


@pytest.fixture(scope="session")
def _launched_by_two(_one_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> tuple[Place, list[Done]]:
    place = Place(_one_cluster, tmp_path_factory.mktemp("undisturbed"))
    place.write_profile()
    launchers = [place.start_launch(), place.start_launch()]
    both = [finish(launcher) for launcher in launchers]
    place.wait_for_empty_queue()
    return place, both


@pytest.fixture
def undisturbed(cluster: Cluster, _launched_by_two: tuple[Place, list[Done]]) -> Place:  # noqa: ARG001
    """The two-level sweep of `slurm_place`, launched by two launchers at once and not disturbed until all had ended."""
    return _launched_by_two[0]


@pytest.fixture
def both_launchers(_launched_by_two: tuple[Place, list[Done]]) -> list[Done]:
    """What these two launchers said."""
    return _launched_by_two[1]


@pytest.fixture(scope="session")
def one_server() -> Iterator[StandInServer]:
    """One W&B server for all tests of a process: the client keeps to the first address it was given."""
    with wandb_server() as running:
        yield running


@pytest.fixture
def server(one_server: StandInServer, monkeypatch: pytest.MonkeyPatch) -> StandInServer:
    """The W&B server, knowing nothing and behaving well."""
    one_server.forget()
    for name, value in one_server.environment().items():
        monkeypatch.setenv(name, value)
    return one_server
