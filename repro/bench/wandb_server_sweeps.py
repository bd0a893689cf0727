"""The part of the stand-in W&B server that hands out the points of a sweep's grid to agents."""

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml


@dataclass
class StoredSweep:
    """A sweep: the `points` that are left, and those `handed_out`, by the id that the server gave each point's run."""

    config: dict[str, Any]
    points: list[dict[str, Any]]
    handed_out: dict[str, dict[str, Any]] = field(default_factory=dict)


class Sweeps:
    """Sweeps by name. An agent gets one point after the other, and is then told to exit."""

    sweeps: dict[str, StoredSweep]
    agents: dict[str, str]

    def _UpsertSweep(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        name = f"sweep{len(self.sweeps)}"
        config = yaml.safe_load(variables["config"])
        self.sweeps[name] = StoredSweep(config, _grid(config["parameters"]))
        entity = {"id": "e", "name": variables["entityName"]}
        project = {"id": "1", "name": variables["projectName"], "entity": entity}
        return {"upsertSweep": {"sweep": {"name": name, "project": project}, "configValidationWarnings": []}}

    def _SweepWithRuns(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        sweep = self.sweeps[variables["sweep"]]
        found = {"id": variables["sweep"], "name": variables["sweep"], "state": "RUNNING", "runs": {"edges": []}}
        return {"project": {"sweep": {**found, "config": yaml.safe_dump(sweep.config)}}}

    def _CreateAgent(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        agent = f"agent{len(self.agents)}"
        self.agents[agent] = variables["sweep"]
        return {"createAgent": {"agent": {"id": agent}}}

    def _Heartbeat(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        sweep = self.sweeps[self.agents[variables["id"]]]
        commands: list[dict[str, Any]] = []
        if not json.loads(variables["runState"]):
            commands = [self._next(sweep) if sweep.points else {"type": "exit"}]
        return {"agentHeartbeat": {"agent": {"id": variables["id"]}, "commands": json.dumps(commands)}}

    def _next(self, sweep: StoredSweep) -> dict[str, Any]:
        point, run_id = sweep.points.pop(0), f"point{len(sweep.handed_out)}"
        sweep.handed_out[run_id] = point
        args = {name: {"value": value} for name, value in point.items()}
        return {"type": "run", "run_id": run_id, "program": sweep.config["program"], "args": args}


def _grid(parameters: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    choices = [entry.get("values", [entry.get("value")]) for entry in parameters.values()]
    return [dict(zip(parameters, values, strict=True)) for values in itertools.product(*choices)]
