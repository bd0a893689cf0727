"""`--wandb auto`: online only where a key is known and a W&B server answers, within a bounded time."""

import contextlib
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlparse

import pytest

from repro.bench.wandb_faults import Fault, errors_500, no_key, nothing, unreachable
from repro.bench.wandb_server import KEY, StandInServer
from repro.tracking import offline
from repro.tracking.description import destination
from repro.tracking.mirror import mirrored
from repro.tracking.offline import why_offline


@contextlib.contextmanager
def logged_in(server: StandInServer, folder: Path) -> Iterator[Mapping[str, str]]:
    """What `wandb login --host` leaves behind for a server that is not W&B's own."""
    (folder / "netrc").write_text(f"machine {urlparse(server.url).netloc}\n  login user\n  password {KEY}\n")
    (folder / "settings").write_text(f"[default]\nbase_url = {server.url}\n")
    places = {"NETRC": str(folder / "netrc"), "WANDB_CONFIG_DIR": str(folder)}
    yield {"WANDB_API_KEY": "", "WANDB_BASE_URL": "", **places}


@contextlib.contextmanager
def key_beside_address(server: StandInServer, folder: Path) -> Iterator[Mapping[str, str]]:
    """In a `wandb/settings` of the current folder, beside a value that is no template."""
    (folder / "wandb").mkdir()
    values = {"base_url": server.url, "api_key": KEY, "entity": "50%"}
    lines = [f"{name} = {value}\n" for name, value in values.items()]
    (folder / "wandb" / "settings").write_text("[default]\n" + "".join(lines))
    with contextlib.chdir(folder):
        yield {"WANDB_API_KEY": "", "WANDB_BASE_URL": "", "HOME": str(folder)}


@contextlib.contextmanager
def token(_server: StandInServer, folder: Path) -> Iterator[Mapping[str, str]]:
    """Of a machine, in place of a person's key; and settings that the client ignores, because they are none."""
    (folder / "settings").write_text("no settings")
    places = {"WANDB_IDENTITY_TOKEN_FILE": str(folder / "token"), "WANDB_CONFIG_DIR": str(folder)}
    yield {"WANDB_API_KEY": "", "HOME": str(folder), **places}


@contextlib.contextmanager
def key_of_another(_server: StandInServer, folder: Path) -> Iterator[Mapping[str, str]]:
    (folder / ".netrc").write_text(f"machine api.wandb.ai\n  login user\n  password {KEY}\n")
    yield {"WANDB_API_KEY": "", "HOME": str(folder)}


@contextlib.contextmanager
def damaged_keys(_server: StandInServer, folder: Path) -> Iterator[Mapping[str, str]]:
    (folder / ".netrc").write_text("no keys")
    yield {"WANDB_API_KEY": "", "HOME": str(folder)}


@contextlib.contextmanager
def no_address(_server: StandInServer, _runs: Path) -> Iterator[Mapping[str, str]]:
    yield {"WANDB_BASE_URL": "example"}


@contextlib.contextmanager
def no_port(_server: StandInServer, _runs: Path) -> Iterator[Mapping[str, str]]:
    yield {"WANDB_BASE_URL": "http://127.0.0.1:80a"}


@contextlib.contextmanager
def no_web_server(_server: StandInServer, _runs: Path) -> Iterator[Mapping[str, str]]:
    with serving(lambda connection: connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")) as url:
        yield {"WANDB_BASE_URL": url}


@contextlib.contextmanager
def no_page(_server: StandInServer, _runs: Path) -> Iterator[Mapping[str, str]]:
    """The server has nothing at its bare address, where nobody has anything to look for."""
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"
    with serving(lambda connection: connection.sendall(answer)) as url:
        yield {"WANDB_BASE_URL": url}


@contextlib.contextmanager
def endless(_server: StandInServer, _runs: Path) -> Iterator[Mapping[str, str]]:
    def answer(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n")
        while True:
            time.sleep(1.0)
            connection.sendall(b"Name: value\r\n")

    with serving(answer) as url:
        yield {"WANDB_BASE_URL": url}


@contextlib.contextmanager
def serving(answer: Callable[[socket.socket], None]) -> Iterator[str]:
    """The address of a server that gives this answer whatever it is asked."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with contextlib.suppress(OSError):  # the client has gone
                self.request.recv(10_000)
                answer(self.request)

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


@pytest.mark.parametrize(
    "fault",
    [
        *(nothing, logged_in, key_beside_address, token, no_page, no_key, key_of_another, damaged_keys),
        *(unreachable, errors_500, no_address, no_port, no_web_server),
        pytest.param(endless, marks=pytest.mark.slow),
    ],
)
def test_auto_is_online_only_where_w_and_b_can_be_used(
    fault: Fault, server: StandInServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usable = fault in (nothing, logged_in, key_beside_address, token, no_page)
    if usable:  # however busy the machine is
        monkeypatch.setattr(offline, "PROBE_SECONDS", 60.0)
    with fault(server, tmp_path) as changes:
        for key, value in changes.items():
            monkeypatch.setenv(key, value)
        start = time.monotonic()
        reason = why_offline()
        assert (reason is None) == usable
        assert ("no API key" in str(reason)) == (fault in (no_key, key_of_another, damaged_keys))
        assert time.monotonic() - start < 60, "an endless answer of a line a second was read for 100 s"
        said: list[str] = []
        with mirrored("auto", tmp_path, {}, said.append):
            pass
    assert len(said) == (0 if usable else 1)
    assert all("\n" not in line for line in said)


def test_runs_go_to_the_entity_of_the_environment_or_else_to_the_one_that_is_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever sends them or looks for them: the client by itself would look for them elsewhere."""
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_ENTITY", "")
    assert destination(tmp_path).entity is None
    (tmp_path / "settings").write_text("[default]\nentity = team\n")
    assert destination(tmp_path).entity == "team"
    monkeypatch.setenv("WANDB_ENTITY", "another")
    assert destination(tmp_path).entity == "another"
