"""Cluster profiles: the resources a job requests, and how runs are packed into jobs. One YAML file each."""

import os
import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, field_validator, model_validator

from repro.component import Schema
from repro.config.errors import explain
from repro.errors import BadInput, did_you_mean
from repro.launch.yaml_file import read_mapping

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
TIME = re.compile(r"(\d+-)?\d{1,3}:\d{2}:\d{2}")
MEMORY = re.compile(r"\d+[KMGT]")
GPU_TYPE = re.compile(r"[A-Za-z0-9_.-]+")
SBATCH_OPTION = re.compile(r"[a-z][a-z0-9-]*")
OWN_OPTIONS = {
    *("array", "dependency", "error", "job-name", "kill-on-invalid-dep", "no-requeue", "nodes", "ntasks"),
    *("ntasks-per-core", "ntasks-per-gpu", "ntasks-per-node", "ntasks-per-socket", "open-mode", "output", "parsable"),
    *("quiet", "requeue", "test-only", "wait", "wrap"),
}
"""sbatch options that the launcher sets itself: a job is a single task, is identified by its name, runs the launcher's
script, and is requeued when it is evicted; sbatch returns at once, and its answer is read."""
GPUS_IN_GRES = re.compile(r"(^|,)(gres[:/])?gpu([:=,]|$)")
"""Whether a value of --gres, such as `nvme:1,gpu:a100:2`, requests GPUs."""


class Profile(Schema):
    """The resources of one job, and how runs share them. Documented in docs/slurm.md."""

    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    time: str = "24:00:00"
    """Time limit of a job, as [days-]hours:minutes:seconds. A run that takes longer resumes in the next job."""
    gpus: int = Field(default=0, ge=0)
    gpu_type: str | None = None
    """As the cluster's gres names it: `a100` for `gpu:a100`. None for any type."""
    cpus: int = Field(default=2, ge=1)
    memory: str = "8G"
    array_parallelism: int = Field(default=256, ge=1)
    """Maximum number of jobs of one array that run at the same time."""
    array_size: int = Field(default=1000, ge=1)
    """Maximum number of jobs in one array; must be below the cluster's MaxArraySize."""
    runs_per_job: int = Field(default=1, ge=1)
    runs_at_once: int = Field(default=1, ge=1)
    """How many of a job's runs train side by side on its GPUs or CPUs; the others follow."""
    processes_per_run: int = Field(default=1, ge=1)
    """How many processes train each run together (`torchrun`), each on a GPU or a share of the CPUs."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: cuda if the job has GPUs, else cpu."""
    warning_seconds: int = Field(default=90, ge=10)
    """How long before the time limit Slurm signals the job to save its runs and requeue."""
    environment: dict[str, str] = Field(default_factory=dict)
    preamble: tuple[str, ...] = ()
    """Shell lines before the job's own command: modules, proxies, ulimits."""
    scratch: str | None = None
    """A folder on the node's own disk (shell variables allowed): temporary files, and a copy of the prepared data."""
    sbatch: dict[str, str | int | bool] = Field(default_factory=dict)
    """Any other sbatch options: {"constraint": "a100", "exclude": "node[3-4]"}."""

    @field_validator("time", mode="before")  # before pydantic rejects a number such as 60 for not being a string
    @classmethod
    def _is_a_time(cls, time: object) -> object:
        if not TIME.fullmatch(str(time)):
            raise ValueError(f"'{time}' is not a time limit; write it as [days-]hours:minutes:seconds")
        return time

    @field_validator("memory", mode="before")
    @classmethod
    def _is_a_size(cls, memory: object) -> object:
        if not MEMORY.fullmatch(str(memory)):
            raise ValueError(f"'{memory}' is not a memory size; write it as 1500M or 32G")
        return memory

    @field_validator("gpu_type")
    @classmethod
    def _is_a_word(cls, gpu_type: str | None) -> str | None:
        if gpu_type is not None and not GPU_TYPE.fullmatch(gpu_type):
            raise ValueError(f"'{gpu_type}' is not a type of GPU; write it as in `sinfo -o %G`, between the colons")
        return gpu_type

    @field_validator("environment")
    @classmethod
    def _names_of_variables(cls, environment: dict[str, str]) -> dict[str, str]:
        for name in environment:
            if not VARIABLE.fullmatch(name):
                raise ValueError(f"'{name}' is not the name of an environment variable")
        return environment

    @field_validator("sbatch")
    @classmethod
    def _free_options(cls, options: dict[str, str | int | bool]) -> dict[str, str | int | bool]:
        for name in options:
            if not SBATCH_OPTION.fullmatch(name):
                raise ValueError(f"'{name}' is not an option of sbatch; write it as in --{name}, without the dashes")
            if name in OWN_OPTIONS:
                raise ValueError(f"'{name}' is set by the launcher: leave it out")
            if options[name] is False:
                raise ValueError(f"'{name}' is false: to turn an option off, leave it out")
            if name.replace("-", "_") in cls.model_fields or name in KEY_OF_OPTION:
                raise ValueError(f"'{name}' has a key of its own: {KEY_OF_OPTION.get(name, name)}")
            if name == "gres" and GPUS_IN_GRES.search(str(options[name])):
                raise ValueError(f"'gres: {options[name]}' requests GPUs, which have keys of their own: gpus, gpu_type")
        return options

    @model_validator(mode="after")
    def _packs(self) -> Self:
        if self.runs_at_once > self.runs_per_job:
            raise ValueError(f"runs_at_once {self.runs_at_once} is above runs_per_job {self.runs_per_job}")
        if self.device == "cuda" and self.gpus == 0:
            raise ValueError("device cuda needs gpus")
        if self.gpu_type is not None and self.gpus == 0:
            raise ValueError(f"gpu_type {self.gpu_type} needs gpus")
        processes = self.runs_at_once * self.processes_per_run
        have = {"gpus": self.gpus} if self.job_device == "cuda" else {"cpus": self.cpus}
        for name, count in have.items():
            if self.processes_per_run > 1 and processes > count:
                of = f"{self.runs_at_once} runs at once with {self.processes_per_run} processes each"
                raise ValueError(f"{of} need {processes} {name}, not {count}")
        if self.warning_seconds >= self.seconds:
            raise ValueError(f"warning_seconds {self.warning_seconds} must be below time {self.time}")
        return self

    @property
    def seconds(self) -> int:
        """The time limit in seconds."""
        days, _, clock = self.time.rpartition("-")
        hours, minutes, seconds = map(int, clock.split(":"))
        return ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds

    @property
    def minutes(self) -> int:
        """The time limit in whole minutes, rounded up, which is how Slurm counts."""
        return -(-self.seconds // 60)

    @property
    def job_device(self) -> str:
        """The device type of a job's runs, cpu or cuda."""
        return self.device if self.device != "auto" else ("cuda" if self.gpus else "cpu")

    @property
    def devices(self) -> tuple[str, ...]:
        """A job's devices, which are assigned to its runs in turn."""
        return tuple(f"cuda:{index}" for index in range(self.gpus)) if self.job_device == "cuda" else ("cpu",)

    @property
    def threads(self) -> int:
        """CPU threads for each process of a run: its share of the job's CPUs, at least 1."""
        return max(1, self.cpus // (self.runs_at_once * self.processes_per_run))


KEY_OF_OPTION = {
    "cpus-per-gpu": "cpus",
    "cpus-per-task": "cpus",
    "gpus-per-node": "gpus",
    "gpus-per-socket": "gpus",
    "gpus-per-task": "gpus",
    "mem": "memory",
    "mem-per-cpu": "memory",
    "mem-per-gpu": "memory",
    "signal": "warning_seconds",
}
"""sbatch options that a key of the profile takes the place of."""


def profile_folders() -> list[Path]:
    """The folders that are searched for profiles, in order: the user's own first."""
    own = os.environ.get("REPRO_PROFILES")
    return [
        *([Path(own)] if own else []),
        Path.home() / ".config" / "repro" / "profiles",
        Path(__file__).parents[2] / "slurm" / "profiles",
    ]


def read_profile(name: str | None) -> Profile:
    """Read the profile called `name`, or the file `name` if it ends in .yaml. Raises BadInput with file and line."""
    path = _find(name)
    content, lines = read_mapping(path, "a profile is a mapping with keys such as partition, time and gpus")
    try:
        return Profile.model_validate(_as_tuples(content))
    except ValidationError as error:
        problem = explain(error, content, (Profile,), noun="key")
        key = problem.key or ""
        line = lines.get(key) or lines.get(key.partition(".")[0], 1)
        raise BadInput(f"{path}:{line}: {str(problem).replace('the config: ', '')}", key) from error


def _as_tuples(content: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in content.items()}


def _find(name: str | None) -> Path:
    if name is not None and name.endswith((".yaml", ".yml")):
        return Path(name)
    known: dict[str, Path] = {}
    for folder in profile_folders():
        for path in sorted(folder.glob("*.yaml")):
            known.setdefault(path.stem, path)
    if name is None:
        raise BadInput(f"--cluster slurm needs --profile; there are: {', '.join(sorted(known))} (see docs/slurm.md)")
    if name not in known:
        folders = ", ".join(str(folder) for folder in profile_folders())
        raise BadInput(f"--profile {name}: no such profile in {folders}{did_you_mean(name, known)}")
    return known[name]
