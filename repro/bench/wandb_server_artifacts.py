"""The part of the stand-in W&B server that keeps artifacts: their files, versions, and the runs that made and used
them."""

import json
from dataclasses import dataclass, field
from typing import Any


@dataclass
class StoredArtifact:
    """One version of an artifact. `made_by` and `used_by` are ids of runs."""

    name: str
    digest: str
    made_by: str
    files: dict[str, bytes] = field(default_factory=dict)
    used_by: set[str] = field(default_factory=set)
    committed: bool = False


class Artifacts:
    """Artifacts by id. The last one with a name is its latest version."""

    url: str
    artifacts: dict[str, StoredArtifact]

    def _find(self, name: str) -> tuple[str, StoredArtifact] | None:
        wanted = name.split(":")[0].split("/")[-1]
        found = [(key, one) for key, one in self.artifacts.items() if one.name == wanted and one.committed]
        return found[-1] if found else None

    def _ArtifactType(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        found = self._find(variables["name"])
        return {"project": {"artifact": None if found is None else {"artifactType": {"name": "model"}}}}

    def _CreateArtifact(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        given = variables["input"]
        name = given["artifactCollectionName"]
        latest = self._find(name)
        if latest is not None and latest[1].digest == given["digest"]:
            key, state = latest[0], "COMMITTED"
        else:
            key, state = f"artifact{len(self.artifacts)}", "PENDING"
            self.artifacts[key] = StoredArtifact(name, given["digest"], given["runName"])
        sequence = {"latestArtifact": None if latest is None else {"id": latest[0]}}
        return {"createArtifact": {"artifact": {"id": key, "state": state, "artifactSequence": sequence}}}

    def _CreateArtifactManifest(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        file = self._file(variables["artifactID"], "wandb_manifest.json")
        return {"createArtifactManifest": {"artifactManifest": {"id": "manifest", "file": file}}}

    def _UpdateArtifactManifest(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        return {"updateArtifactManifest": {"artifactManifest": {"id": "manifest", "file": None}}, **variables}

    def _CreateArtifactFiles(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        given = variables["input"]["artifactFiles"] if "input" in variables else variables["artifactFiles"]
        edges = [{"node": self._file(one["artifactID"], one["name"])} for one in given]
        return {"createArtifactFiles": {"files": {"edges": edges}}}

    def _CommitArtifact(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        artifact = self.artifacts[variables["artifactID"]]
        artifact.committed = True
        return {"commitArtifact": {"artifact": {"id": variables["artifactID"], "digest": artifact.digest}}}

    def _file(self, artifact: str, name: str) -> dict[str, Any]:
        return {
            "id": name,
            "name": name,
            "displayName": name,
            "uploadUrl": f"{self.url}/artifact/{artifact}/{name}",
            "uploadHeaders": [],
            "storagePath": name,
            "uploadMultipartUrls": None,
            "artifact": {"id": artifact},
        }

    def _ArtifactByID(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        return {"artifact": self._fragment(variables["id"])}

    def _ArtifactMembershipByName(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        found = self._find(variables["name"])
        if found is None:
            return {"project": {"artifactCollectionMembership": None}}
        artifact = self._fragment(found[0])
        membership = {
            "__typename": "ArtifactCollectionMembership",
            "id": found[0],
            "versionIndex": 0,
            "createdAt": artifact["createdAt"],
            "aliases": artifact["aliases"],
            "artifactCollection": artifact["artifactSequence"],
            "artifact": artifact,
        }
        return {"project": {"artifactCollectionMembership": membership}}

    def _UseArtifact(self, variables: dict[str, Any], _: str) -> dict[str, Any]:
        self.artifacts[variables["artifactID"]].used_by.add(variables["runName"])
        return {"useArtifact": {"artifact": {"id": variables["artifactID"]}}}

    def _fragment(self, key: str) -> dict[str, Any]:
        artifact = self.artifacts[key]
        project = {"id": "1", "internalId": "1", "name": "does-distillation-work", "entity": {"name": "tester"}}
        collection = {"__typename": "ArtifactSequence", "name": artifact.name, "project": project}
        alias = {"__typename": "ArtifactAlias", "id": "1", "alias": "latest", "artifactCollection": collection}
        return {
            "__typename": "Artifact",
            "id": key,
            "artifactSequence": collection,
            "versionIndex": 0,
            "artifactType": {"name": "model"},
            "description": None,
            "metadata": json.dumps({}),
            "ttlDurationSeconds": -2,
            "ttlIsInherited": True,
            "tags": [],
            "historyStep": None,
            "state": "COMMITTED",
            "size": sum(map(len, artifact.files.values())),
            "digest": artifact.digest,
            "commitHash": "0",
            "fileCount": 1,
            "createdAt": "2026-01-01T00:00:00",
            "updatedAt": None,
            "aliases": [alias],
        }
