"""A stand-in W&B server on loopback, for tests and benches.

It implements what the `wandb` client needs, keeps what it is sent, and misbehaves on request. For each run, it keeps
the lines of the history stream at the offsets for which they were sent, as the real one does, so a row that is sent
twice or left out is noticed.
"""

import base64
import contextlib
import gzip
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from repro.bench.wandb_server_artifacts import Artifacts, StoredArtifact
from repro.bench.wandb_server_runs import ENTITY, StoredRun
from repro.bench.wandb_server_sweeps import StoredSweep, Sweeps
from repro.bench.wandb_server_views import SavedViews

KEY = "a" * 40
AUTHORIZATION = f"Basic {base64.b64encode(f'api:{KEY}'.encode()).decode()}"

Fault = Literal["none", "error_500", "slow", "dropped"]


class Quiet(ThreadingHTTPServer):
    """A server that ignores errors from clients that disconnect."""

    # The client uploads many files at once, and if the queue is full, it retries a second later.
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class StandInServer(SavedViews, Sweeps, Artifacts):
    """The server and what it was sent. `fault` may be changed at any time."""

    def __init__(self) -> None:
        self.forget()
        self.lock = threading.Lock()
        self._server = Quiet(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def forget(self) -> None:
        """Reset to the initial state."""
        self.runs: dict[str, StoredRun] = {}
        self.deleted: set[str] = set()
        self.views: dict[str, dict[str, Any]] = {}
        self.sweeps: dict[str, StoredSweep] = {}
        self.agents: dict[str, str] = {}
        self.artifacts: dict[str, StoredArtifact] = {}
        self.fault: Fault = "none"
        self.slow_seconds = 3.0
        self.refused_files: set[str] = set()  # files it does not accept; `file_stream` means rows and summary
        self.requests = 0  # without the client's telemetry, the amount of which depends on elapsed time
        self.refusals = 0  # this many of the next requests are refused with 429, too many requests

    def environment(self) -> dict[str, str]:
        """Environment variables that make a client use this server."""
        return {"WANDB_BASE_URL": self.url, "WANDB_SILENT": "true", "WANDB_ENTITY": ENTITY, "WANDB_API_KEY": KEY}

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def graphql(self, operation: str, variables: dict[str, Any], query: str) -> dict[str, Any]:
        """The data that answers one GraphQL operation; an empty object for those that need none."""
        answer = getattr(self, f"_{operation}", None)
        return answer(variables, query) if answer is not None else {}


def _handler(server: StandInServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Quiet."""

        def do_POST(self) -> None:
            body = self._body()
            if self._misbehaves():
                return None
            with server.lock:
                server.requests += not self.path.startswith("/sdk/otel/")
                if self.path.endswith("/graphql"):
                    if self.headers.get("Authorization") != AUTHORIZATION:
                        return self._send({"errors": [{"message": "not logged in"}]}, 401)
                    request = json.loads(body)
                    found = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
                    variables = request.get("variables") or {}
                    try:
                        answer = server.graphql(found.group(1) if found else "", variables, request["query"])
                    except KeyError as error:  # the request asks for something that does not exist
                        return self._send({"errors": [{"message": f"{error} not found"}]}, 404)
                    except FileExistsError as error:
                        return self._send({"errors": [{"message": str(error)}]}, 410)
                    return self._send({"data": answer})
                found = re.fullmatch(r"/files/[^/]+/([^/]+)/([^/]+)/file_stream", self.path)
                if found and "file_stream" in server.refused_files:
                    return self._send({"error": "forbidden"}, 403)
                if found:
                    server.stream(server.known(found[1], found[2]), json.loads(body))
            return self._send({"exitcode": None, "limits": {}})

        def do_PUT(self) -> None:
            body = self._body()
            if self._misbehaves():
                return None
            found = re.fullmatch(r"/(upload|artifact)/([^/]+)/(.+)", self.path)
            if found and found[3] in server.refused_files:
                return self._send({"error": "forbidden"}, 403)
            if found:
                owner = server.runs if found[1] == "upload" else server.artifacts
                owner[found[2]].files[found[3]] = body
            return self._send({})

        def do_GET(self) -> None:
            if self._misbehaves():
                return
            server.requests += 1
            found = re.fullmatch(r"/upload/([^/]+)/(.+)", self.path)
            if found:
                self._send_bytes(server.runs[found[1]].files[found[2]], "application/octet-stream")
            else:
                self._send({})

        def _body(self) -> bytes:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            return gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body

        def _misbehaves(self) -> bool:
            if server.refusals and self.path.startswith(("/graphql", "/upload")):
                server.refusals -= 1
                self._send({"error": "too many requests"}, 429)
                return True
            if server.fault == "slow":
                time.sleep(server.slow_seconds)
            elif server.fault == "error_500":
                self._send({"error": "out of order"}, 500)
            elif server.fault == "dropped":
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.shutdown(2)
            return server.fault in ("error_500", "dropped")

        def _send(self, content: dict[str, Any], status: int = 200) -> None:
            self._send_bytes(json.dumps(content).encode(), "application/json", status)

        def _send_bytes(self, body: bytes, kind: str, status: int = 200) -> None:
            with contextlib.suppress(OSError):  # the client may have disconnected
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

    return Handler


@contextlib.contextmanager
def wandb_server() -> Iterator[StandInServer]:
    """A server that runs until the block ends."""
    server = StandInServer()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def wandb_server_process() -> Iterator[tuple[dict[str, str], int]]:
    """A server in a separate process. Yields the environment that makes a client use it, and the process's id."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve()"],
        stdout=subprocess.PIPE,
        text=True,
        process_group=0,  # Ctrl-C must reach only the process that started it
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline()), process.pid
    finally:
        process.kill()
        process.wait()


def serve() -> None:
    """Print the server's environment variables as JSON on standard output, and run until killed."""
    with wandb_server() as running:
        print(json.dumps(running.environment()), flush=True)
        threading.Event().wait()
