"""The part of the stand-in W&B server that keeps workspaces and reports. It rejects what the real one would reject."""

from typing import Any

from repro.bench.wandb_server_runs import ENTITY, Runs


class SavedViews(Runs):
    """Saved views by id. An update needs the id of an existing view."""

    views: dict[str, dict[str, Any]]

    def _upsertView(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        view_id = variables.get("id")
        if view_id is not None:
            self.views[view_id]  # updating a view that does not exist is an error
        inserted = view_id is None
        view_id = view_id or f"view-{len(self.views)}"
        view = {name: variables.get(name) for name in ("name", "displayName", "description", "spec", "type")}
        project = {"id": "1", "name": variables["projectName"], "entityName": variables["entityName"]}
        self.views[view_id] = {**view, "id": view_id, "project": project, "updatedAt": "2026-01-01T00:00:00"}
        return {"upsertView": {"view": self.views[view_id], "inserted": inserted}}

    _UpsertView2 = _upsertView

    def _View(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        return {"project": self._views(variables["name"], variables["viewType"], variables.get("viewName"))}

    def _ProjectViews(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        return {"project": self._views(variables["project"], "runs", variables.get("viewName"))}

    def _views(self, project: str, kind: str, name: str | None) -> dict[str, Any] | None:
        if not self._exists(project):
            return None
        found = [
            view
            for view in self.views.values()
            if view["project"]["name"] == project and view["type"] == kind and name in (None, view["name"])
        ]
        edges = [{"node": {**view, "user": {}, "createdAt": view["updatedAt"]}, "cursor": view["id"]} for view in found]
        return {"allViews": {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}}

    def _GetProjects(self, _: dict[str, Any], __: str) -> dict[str, Any]:
        names = sorted({run.project for run in self.runs.values()})
        edges = [{"node": {**_PROJECT, "id": name, "name": name}} for name in names]
        return {
            "models": {"edges": edges, "pageInfo": {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}}
        }

    def _ProjectInternalId(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        return {"project": {"internalId": "1"} if self._exists(variables["projectName"]) else None}


_PROJECT = {
    "__typename": "Project",
    "entityName": ENTITY,
    "createdAt": "2026-01-01T00:00:00",
    "isBenchmark": False,
    "user": None,
}
