"""Weights of finished runs as W&B artifacts, linked from teacher to student. Sent only on request."""

import wandb

from repro.errors import RunFailed
from repro.store import RunDirectory

WEIGHTS = "model.safetensors"


def artifact_name(run_id: str) -> str:
    return f"model-{run_id}"


def send_model(run: wandb.Run, record: RunDirectory) -> None:
    """Log the record's weights as an artifact of `run`, with the artifacts of its teachers or generator as inputs.

    Sending the same weights again creates no new version. Raises RunFailed if the record has no weights, or if W&B
    lacks a parent's weights or rejects these.
    """
    weights = record.path / WEIGHTS
    if not weights.exists():
        raise RunFailed(f"there is no {weights}")
    for parent in record.config().parents():
        name = f"{run.entity}/{run.project}/{artifact_name(parent.run_id)}:latest"
        try:
            run.use_artifact(name)
        except (wandb.errors.CommError, ValueError) as error:
            raise RunFailed(f"W&B lacks the weights of its {parent.kind} {parent.run_id}") from error
    artifact = wandb.Artifact(artifact_name(record.run_id), type="model", metadata={"run": record.run_id})
    artifact.add_file(str(weights))
    try:
        run.log_artifact(artifact).wait()
    except ValueError as error:
        raise RunFailed(f"W&B does not take its weights: {error}") from error
    run.summary["model_artifact"] = artifact_name(record.run_id)
