"""The config of a run. A run is a function of it: same config, same id, run once."""

from repro.config.data import DataConfig, DatasetStream, GeneratedImages, GeneratedStream, NoiseStream, Selection
from repro.config.identity import as_json, canonical_json
from repro.config.schema import (
    BaseRunConfig,
    ClassifierConfig,
    GeneratorConfig,
    PrecisionName,
    RunConfig,
    StudentConfig,
    TeacherConfig,
    TrainingConfig,
    parse_config,
)

__all__ = [
    "BaseRunConfig",
    "ClassifierConfig",
    "DataConfig",
    "DatasetStream",
    "GeneratedImages",
    "GeneratedStream",
    "GeneratorConfig",
    "NoiseStream",
    "PrecisionName",
    "RunConfig",
    "Selection",
    "StudentConfig",
    "TeacherConfig",
    "TrainingConfig",
    "as_json",
    "canonical_json",
    "parse_config",
]
