"""The part of the stand-in W&B server that keeps runs and returns them: config, history, summary and files."""

import json
from dataclasses import dataclass, field
from typing import Any

ENTITY = "tester"


@dataclass
class StoredRun:
    """What the server knows about one run."""

    project: str
    upserts: list[dict[str, Any]] = field(default_factory=list)
    lines: dict[str, dict[int, str]] = field(default_factory=dict)  # stream file -> offset -> line
    files: dict[str, bytes] = field(default_factory=dict)
    exit_code: int | None = None
    preempted: bool = False

    def history(self) -> list[dict[str, Any]]:
        """The rows of the history in order, without W&B's own keys except `_step`."""
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


class Runs:
    """Runs by id. A project exists as soon as it has a run."""

    url: str
    runs: dict[str, StoredRun]
    deleted: set[str]
    """Ids of deleted runs: W&B refuses to create them again."""

    def known(self, project: str, name: str) -> StoredRun:
        return self.runs.setdefault(name, StoredRun(project))

    def _exists(self, project: str) -> bool:
        return any(run.project == project for run in self.runs.values())

    def _Viewer(self, _: dict[str, Any], __: str) -> dict[str, Any]:
        teams = {"edges": [{"node": {"name": ENTITY}}]}
        return {"viewer": {"id": "1", "entity": ENTITY, "username": ENTITY, "flags": "{}", "teams": teams}}

    def _GetDefaultEntity(self, _: dict[str, Any], __: str) -> dict[str, Any]:
        return {"viewer": {"id": "1", "entity": ENTITY}}

    def _UpsertBucket(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        if variables["name"] in self.deleted:
            raise FileExistsError(f"run {variables['name']} was previously created and deleted; try a new run name")
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

    def _RunResumeStatus(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
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

    def _CreateRunFiles(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        run = variables["run"]
        files = [{"name": name, "uploadUrl": f"{self.url}/upload/{run}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": f"id-{run}", "uploadHeaders": [], "files": files}}

    def _RunFiles(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
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

    def _Run(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        return {"project": {"run": self._node(variables["name"])}}

    def _RunHistoryKeys(self, variables: dict[str, Any], query: str) -> dict[str, Any]:
        return self._Run(variables, query)

    def _Runs(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
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

    def _RunParquetHistory(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        lines = self.runs[variables["runName"]].lines.get("wandb-history.jsonl", {})
        live = [json.loads(line) for _, line in sorted(lines.items())]
        return {"project": {"run": {"parquetHistory": {"parquetUrls": [], "liveData": live}}}}

    def _HistoryPage(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
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
        run.preempted |= bool(content.get("preempting"))
