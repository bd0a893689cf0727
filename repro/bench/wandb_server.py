"""A stand-in W&B server on loopback, for tests and benches: it speaks what the `wandb` client needs, keeps what it is
sent, and misbehaves.

It keeps, for each run, the lines of the history stream at the offsets they were sent for, as the real one does, so a
row that is sent twice or left out shows.
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
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

from repro.bench.wandb_server_artifacts import Artifacts, StoredArtifact
from repro.bench.wandb_server_sweeps import StoredSweep, Sweeps
from repro.bench.wandb_server_views import ENTITY, SavedViews

KEY = "a" * 40
AUTHORIZATION = f"Basic {base64.b64encode(f'api:{KEY}'.encode()).decode()}"

Fault = Literal["none", "error_500", "slow", "dropped"]


@dataclass
class StoredRun:
    """What the server knows of one run."""

    project: str
    upserts: list[dict[str, Any]] = field(default_factory=list)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)  # stream file -> offset -> line
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None

    def history(self) -> list[dict[str, Any]]:
        """The rows of the history in order, with W&B's own keys (`_step` but for) taken out."""
        rows = [json.loads(line) for _, line in sorted(self.lines.get("wandb-history.jsonl", {}).items())]
        return [{k: v for k, v in row.items() if k == "_step" or not k.startswith("_")} for row in rows]

    def summary(self) -> dict[str, Any]:
        lines = sorted(self.lines.get("wandb-summary.json", {}).items())
        return dict(json.loads(lines[-1][1])) if lines else {}

    def setting(self, name: str) -> Any:
        """The last value the client gave for an argument of UpsertBucket."""
        return next((upsert[name] for upsert in reversed(self.upserts) if upsert.get(name) is not None), None)

    def config(self) -> dict[str, Any]:
        content = json.loads(self.setting("config") or "{}")
        return {key: entry["value"] for key, entry in content.items() if key != "_wandb"}


class Quiet(ThreadingHTTPServer):
    """Clients may go whenever they like."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class StandInServer(SavedViews, Sweeps, Artifacts):
    """The server and what it was told. `fault` may be changed at any time."""

    def __init__(self) -> None:
        self.forget()
        self.lock = threading.Lock()
        self._server = Quiet(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def forget(self) -> None:
        """As at the start."""
        self.runs: dict[str, StoredRun] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.sweeps: dict[str, StoredSweep] = {}
        self.agents: dict[str, str] = {}
        self.artifacts: dict[str, StoredArtifact] = {}
        self.fault: Fault = "none"
        self.slow_seconds = 3.0
        self.requests = 0
        self.refusals = 0  # so many of the next requests come too soon after another

    def environment(self, key: str | None = KEY) -> dict[str, str]:
        """Environment variables that lead a client here."""
        known = {"WANDB_BASE_URL": self.url, "WANDB_SILENT": "true", "WANDB_ENTITY": ENTITY}
        return known | ({"WANDB_API_KEY": key} if key is not None else {})

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def known(self, project: str, name: str) -> StoredRun:
        return self.runs.setdefault(name, StoredRun(project))

    # -- answers ---------------------------------------------------------------------------------------------

    def graphql(self, operation: str, variables: dict[str, Any], query: str) -> dict[str, Any]:
        """The data that answers one GraphQL operation; an empty object for those that need none."""
        answer = getattr(self, f"_{operation}", None)
        return answer(variables, query) if answer is not None else {}

    def _Viewer(self, _: dict[str, Any], __: str) -> dict[str, Any]:  # noqa: N802  (the operation's name)
        teams = {"edges": [{"node": {"name": ENTITY}}]}
        return {"viewer": {"id": "1", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": teams}}

    def _UpsertBucket(self, variables: dict[str, Any], _: str) -> dict[str, Any]:  # noqa: N802
        run = self.known(variables["project"], variables["name"])
        known = bool(run.upserts)
        run.upserts.append(variables)
        bucket = {
            "id": f"id-{variables['name']}",
            "name": variables["name"],
            "displayName": variables.get("displayName") or variables["name"],
            "description": None,
            "config": run.setting("config"),
            "sweepName": None,
            "historyLineCount": len(run.lines.get("wandb-history.jsonl", {})),
            "project": {"id": "p", "name": variables["project"], "entity": {"id": "e", "name": ENTITY}},
        }
        return {"upsertBucket": {"bucket": bucket, "inserted": not known}}

    def _RunResumeStatus(self, variables: dict[str, Any], _: str) -> dict[str, Any]:  # noqa: N802
        run = self.runs.get(variables["name"])
        if run is None or not run.upserts:
            return {"model": None}

        def tail(name: str) -> str:
            lines = [line for _, line in sorted(run.lines.get(name, {}).items())]
            return json.dumps(lines[-1:])

        bucket = {
            "id": f"id-{variables['name']}",
            "name": variables["name"],
            "displayName": run.setting("displayName"),
            "tags": run.setting("tags") or [],
            "config": run.setting("config") or "{}",
            "summaryMetrics": json.dumps(run.summary()),
            "historyTail": tail("wandb-history.jsonl"),
            "eventsTail": tail("wandb-events.jsonl"),
            "historyLineCount": len(run.lines.get("wandb-history.jsonl", {})),
            "eventsLineCount": len(run.lines.get("wandb-events.jsonl", {})),
            "logLineCount": len(run.lines.get("output.log", {})),
            "wandbConfig": json.dumps({"t": 1}),
        }
        return {"model": {"id": "p", "name": variables["project"], "entity": {"name": ENTITY}, "bucket": bucket}}

    def _CreateRunFiles(self, variables: dict[str, Any], _: str) -> dict[str, Any]:  # noqa: N802
        run = variables["run"]
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{run}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": f"id-{run}", "uploadHeaders": [], "files": files}}

    def _RunFiles(self, variables: dict[str, Any], _: str) -> dict[str, Any]:  # noqa: N802
        run = self.runs[variables["name"]]
        found = [name for name in sorted(run.files) if name in (variables["fileNames"] or run.files)]
        nodes = [
            {
                "id": name,
                "name": name,
                "url": f"{self.url}/upload/{variables['name']}/{name}",
                "directUrl": None,
                "sizeBytes": len(run.files[name]),
                "mimetype": "",
                "updatedAt": None,
                "md5": "",
            }
            for name in found
        ]
        edges = [{"node": node, "cursor": node["name"]} for node in nodes]
        page = {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}
        return {"project": {"internalId": "1", "run": {"fileCount": len(nodes), "files": page}}}

    def _Run(self, variables: dict[str, Any], _: str) -> dict[str, Any]:  # noqa: N802
        return {"project": {"run": self._node(variables["name"])}}

    def _RunHistoryKeys(self, variables: dict[str, Any], query: str) -> dict[str, Any]:  # noqa: N802
        return self._Run(variables, query)

    def _Runs(self, variables: dict[str, Any], _: str) -> dict[str, Any]:  # noqa: N802
        if not self._exists(variables["project"]):
            return {"project": None}
        nodes = [self._node(name) for name, run in sorted(self.runs.items()) if run.project == variables["project"]]
        first = int(variables.get("cursor") or 0)
        page = nodes[first : first + (variables.get("perPage") or 50)]
        edges = [{"node": node, "cursor": str(first + number + 1)} for number, node in enumerate(page)]
        info = {"endCursor": str(first + len(page)), "hasNextPage": first + len(page) < len(nodes)}
        runs = {"edges": edges, "pageInfo": info}
        return {"project": {"internalId": "1", "runCount": len(nodes), "readOnly": False, "runs": runs}}

    def _node(self, name: str) -> dict[str, Any] | None:
        run = self.runs.get(name)
        if run is None:
            return None
        keys = {key: {"typeCounts": [{"type": "number"}]} for row in run.history() for key in row}
        last_step = max((row["_step"] for row in run.history()), default=-1)
        return {
            "id": f"id-{name}",
            "projectId": "1",
            "name": name,
            "displayName": run.setting("displayName") or name,
            "tags": run.setting("tags") or [],
            "state": {None: "running", 0: "finished"}.get(run.exit_code, "failed"),
            "config": run.setting("config") or "{}",
            "group": run.setting("groupName"),
            "jobType": run.setting("jobType"),
            "readOnly": False,
            "createdAt": "2026-01-01T00:00:00",
            "heartbeatAt": "2026-01-01T00:00:00",
            "summaryMetrics": json.dumps(run.summary()),
            "systemMetrics": "{}",
            "historyLineCount": len(run.history()),
            "historyKeys": {"lastStep": last_step, "keys": keys, "sets": []},
            "user": {"name": ENTITY, "username": ENTITY},
        }

    def _RunParquetHistory(self, variables: dict[str, Any], _: str) -> dict[str, Any]:  # noqa: N802
        lines = self.runs[variables["runName"]].lines.get("wandb-history.jsonl", {})
        live = [json.loads(line) for _, line in sorted(lines.items())]
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": live}}}}

    def _HistoryPage(self, variables: dict[str, Any], _: str) -> dict[str, Any]:  # noqa: N802
        low, high = int(variables["minStep"]), int(variables["maxStep"])
        lines = self.runs[variables["run"]].lines.get("wandb-history.jsonl", {})
        rows = [line for _, line in sorted(lines.items()) if low <= json.loads(line)["_step"] < high]
        return {"project": {"run": {"history": rows[: variables["pageSize"]]}}}

    def stream(self, run: StoredRun, content: dict[str, Any]) -> None:
        """Keep the lines of one file_stream request."""
        for name, chunk in content.get("files", {}).items():
            lines = run.lines.setdefault(name, {})
            for number, line in enumerate(chunk["content"]):
                lines[chunk["offset"] + number] = line
        if content.get("complete"):
            run.exit_code = content.get("exitcode")


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
                server.requests += 1
                if self.path.endswith("/graphql"):
                    if self.headers.get("Authorization") != AUTHORIZATION:
                        return self._send({"errors": [{"message": "not logged in"}]}, 401)
                    request = json.loads(body)
                    found = re.search(r"(?:query|mutation)\s+(\w+)", request["query"])
                    variables = request.get("variables") or {}
                    try:
                        answer = server.graphql(found.group(1) if found else "", variables, request["query"])
                    except KeyError as error:  # asked for something that is not there
                        return self._send({"errors": [{"message": f"{error} not found"}]}, 404)
                    return self._send({"data": answer})
                found = re.fullmatch(r"/files/[^/]+/([^/]+)/([^/]+)/file_stream", self.path)
                if found:
                    server.stream(server.known(found[1], found[2]), json.loads(body))
            return self._send({"exitcode": None, "limits": {}})

        def do_PUT(self) -> None:
            body = self._body()
            if self._misbehaves():
                return
            found = re.fullmatch(r"/(upload|artifact)/([^/]+)/(.+)", self.path)
            if found:
                owner = server.runs if found[1] == "upload" else server.artifacts
                owner[found[2]].files[found[3]] = body
            self._send({})

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
            with contextlib.suppress(OSError):  # the client may have gone
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

    return Handler


@contextlib.contextmanager
def wandb_server() -> Iterator[StandInServer]:
    """A server while the block runs."""
    server = StandInServer()
    try:
        yield server
    finally:
        server.stop()


@contextlib.contextmanager
def wandb_server_process() -> Iterator[dict[str, str]]:
    """A server in a process of its own; the environment that leads a client there."""
    process = subprocess.Popen(
        [sys.executable, "-c", f"from {__name__} import serve; serve()"], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        yield json.loads(process.stdout.readline())
    finally:
        process.kill()
        process.wait()


def serve() -> None:
    """Say on standard output where the server is, and run until killed."""
    with wandb_server() as running:
        print(json.dumps(running.environment()), flush=True)
        threading.Event().wait()
