"""Cluster profiles: where they are found, what they mean, and how their faults are told."""

import re
from pathlib import Path

import pytest

from repro.errors import BadInput
from repro.launch.profile import Profile, profile_folders, read_profile

SHIPPED = Path(__file__).parents[1] / "slurm" / "profiles"


@pytest.fixture(autouse=True)
def own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without profiles of their own, but with a folder for them."""
    folder = tmp_path / "mine"
    folder.mkdir()
    monkeypatch.setenv("REPRO_PROFILES", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return folder


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_profile_of_the_suite_is_valid_and_explains_itself(path: Path) -> None:
    profile = read_profile(path.stem)
    assert profile.partition
    assert profile.runs_at_once * profile.threads <= profile.cpus
    assert path.read_text().startswith("# ")


def test_the_users_own_profile_is_looked_at_first(own_folder: Path, tmp_path: Path) -> None:
    assert read_profile("cpu").partition == "cpu"
    second = tmp_path / "home" / ".config" / "repro" / "profiles"
    second.mkdir(parents=True)
    (second / "cpu.yaml").write_text("partition: from_home\n")
    assert read_profile("cpu").partition == "from_home"
    (own_folder / "cpu.yaml").write_text("partition: from_variable\n")
    assert read_profile("cpu").partition == "from_variable"
    (tmp_path / "file.yml").write_text("partition: from_file\n")
    assert read_profile(str(tmp_path / "file.yml")).partition == "from_file"
    assert profile_folders() == [own_folder, second, SHIPPED]


@pytest.mark.parametrize(
    ("time", "minutes"),
    [("00:30:00", 30), ("01:00:30", 61), ("2-03:00:00", 3060), ("14-00:00:00", 20160), ("100:00:00", 6000)],
)
def test_the_time_limit_is_read_as_slurm_reads_it(time: str, minutes: int) -> None:
    assert Profile(time=time).minutes == minutes


@pytest.mark.parametrize("time", ["12:00:00", "1:30:00", "2-03:00:00", "09:08:08"])
def test_a_time_limit_needs_no_quotes(own_folder: Path, time: str) -> None:
    """YAML 1.1 counts `12:00:00` in sixties, and 43200 is nothing that anybody has written."""
    (own_folder / "p.yaml").write_text(f"time: {time}\n")
    assert read_profile("p").time == time


def test_the_documentation_lists_every_key_with_its_default() -> None:
    page = (SHIPPED.parents[1] / "docs" / "slurm.md").read_text()
    table = [line.split("|") for line in page.partition("## Profiles")[2].splitlines() if line.startswith("| `")]
    documented: dict[str, str] = {}
    for _, keys, default, *_ in table:
        names, values = re.findall(r"`(\w+)`", keys), [value.strip(' `"') for value in default.split(",")]
        documented |= dict(zip(names, values if len(values) > 1 else values * len(names), strict=True))
    unset = ("", "any", "the cluster's")
    assert {key: "" if value in unset else value for key, value in documented.items()} == {
        key: "" if value in (None, {}, ()) else str(value) for key, value in Profile()
    }


def test_a_job_trains_on_its_gpus_and_its_runs_share_its_cpus() -> None:
    assert Profile(cpus=8).devices == ("cpu",)
    assert Profile(gpus=2).devices == ("cuda:0", "cuda:1")
    assert Profile(gpus=2, device="cpu").devices == ("cpu",)
    assert Profile(cpus=8, runs_per_job=9, runs_at_once=3).threads == 2
    assert Profile(cpus=1, runs_per_job=4, runs_at_once=4).threads == 1
    assert Profile(cpus=64, gpus=8, runs_per_job=2, runs_at_once=2, processes_per_run=4).threads == 8


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("partition: gpu\ntimes: '1:00:00'\n", 2, "unknown key 'times' (given '1:00:00'); did you mean 'time'?"),
        ("# a comment\n\ngpus: one\n", 3, "key 'gpus' is 'one': input should be a valid integer"),
        ("gpus: -1\n", 1, "key 'gpus' is -1: input should be greater than or equal to 0"),
        ("time: 60\n", 1, "key 'time': '60' is not a time limit; write it as [days-]hours:minutes:seconds"),
        ("time: 1h\n", 1, "key 'time': '1h' is not a time limit; write it as [days-]hours:minutes:seconds"),
        ("memory: 32\n", 1, "key 'memory': '32' is not a memory size; write it as 1500M or 32G"),
        ("device: gpu\n", 1, "key 'device' is 'gpu'; did you mean 'cpu'?"),
        ("cpus: 1\ndevice: cuda\n", 1, "device cuda needs gpus"),
        ("runs_at_once: 2\n", 1, "runs_at_once 2 is above runs_per_job 1"),
        ("gpu_type: a100\n", 1, "gpu_type a100 needs gpus"),
        ("gpus: 2\ngpu_type: 'a 100'\n", 2, "key 'gpu_type': 'a 100' is not a type of GPU"),
        ("gpus: 4\nprocesses_per_run: 8\n", 1, "1 runs at once with 8 processes each need 8 gpus, not 4"),
        ("gpus: 1\nprocesses_per_run: 2\n", 1, "1 runs at once with 2 processes each need 2 gpus, not 1"),
        ("cpus: 2\nprocesses_per_run: 3\n", 1, "1 runs at once with 3 processes each need 3 cpus, not 2"),
        ("time: '00:01:30'\n", 1, "warning_seconds 90 must be below time 00:01:30"),
        ("warning_seconds: 9\n", 1, "key 'warning_seconds' is 9: input should be greater than or equal to 10"),
        ("environment:\n  A: b\n  1C: d\n", 1, "key 'environment': '1C' is not the name of an environment variable"),
        ("sbatch: {array: 1-5}\n", 1, "key 'sbatch': 'array' is set by the launcher: leave it out"),
        ("sbatch: {no-requeue: true}\n", 1, "key 'sbatch': 'no-requeue' is set by the launcher: leave it out"),
        ("sbatch: {exclusive: false}\n", 1, "key 'sbatch': 'exclusive' is false: to turn an option off, leave it out"),
        ("sbatch: {mem: 5G}\n", 1, "key 'sbatch': 'mem' has a key of its own: memory"),
        ("sbatch: {gpus-per-task: 1}\n", 1, "key 'sbatch': 'gpus-per-task' has a key of its own: gpus"),
        ("sbatch: {gpus-per-socket: 1}\n", 1, "key 'sbatch': 'gpus-per-socket' has a key of its own: gpus"),
        ("sbatch: {mem-per-cpu: 2G}\n", 1, "key 'sbatch': 'mem-per-cpu' has a key of its own: memory"),
        ("sbatch: {mem-per-gpu: 2G}\n", 1, "key 'sbatch': 'mem-per-gpu' has a key of its own: memory"),
        ("sbatch: {cpus-per-gpu: 2}\n", 1, "key 'sbatch': 'cpus-per-gpu' has a key of its own: cpus"),
        (
            "sbatch: {gres: 'gpu:1'}\n",
            1,
            "key 'sbatch': 'gres: gpu:1' requests GPUs, which have keys of their own: gpus",
        ),
        ("gpus: 1\nsbatch: {gres: 'nvme:1,gpu'}\n", 2, "key 'sbatch': 'gres: nvme:1,gpu' requests GPUs"),
        ("sbatch: {wait: true}\n", 1, "key 'sbatch': 'wait' is set by the launcher: leave it out"),
        ("sbatch: {ntasks-per-gpu: 2}\n", 1, "key 'sbatch': 'ntasks-per-gpu' is set by the launcher: leave it out"),
        ("sbatch: {partition: x}\n", 1, "key 'sbatch': 'partition' has a key of its own: partition"),
        ("sbatch: {--x: 1}\n", 1, "key 'sbatch': '--x' is not an option of sbatch"),
        ("partition: a\npartition: b\n", 2, "'partition' was set already, in line 1"),
        ("- partition\n", 1, "a profile is a mapping"),
        ("partition: [\n", 2, "not valid YAML"),
    ],
)
def test_a_fault_is_told_with_file_line_and_key(own_folder: Path, text: str, line: int, problem: str) -> None:
    path = own_folder / "p.yaml"
    path.write_text(text)
    with pytest.raises(BadInput) as caught:
        read_profile("p")
    assert str(caught.value).startswith(f"{path}:{line}: {problem}")
    assert len(str(caught.value).splitlines()) == 1


def test_resources_that_the_launcher_does_not_know_of_may_be_requested() -> None:
    for resources in ("nvme:1", "shard:1", "gpumem:40G,craynetwork:0"):
        assert Profile(gpus=1, sbatch={"gres": resources}).sbatch == {"gres": resources}


def test_a_missing_profile_is_told_with_the_nearest_and_the_folders(own_folder: Path) -> None:
    with pytest.raises(BadInput, match=r"no such profile in .*did you mean 'academic_gpu'") as caught:
        read_profile("acadmic_gpu")
    assert str(own_folder) in str(caught.value)
    with pytest.raises(BadInput, match=r"none\.yaml: cannot be read \(No such file or directory\)"):
        read_profile("none.yaml")
    with pytest.raises(BadInput, match="needs --profile; there are: academic_gpu, cpu, devcluster"):
        read_profile(None)
