"""Checks of the data that a run reads: their fingerprints, and whether they suit the run."""

from collections.abc import Mapping
from pathlib import Path

from repro.config import GeneratorConfig, RunConfig
from repro.data.dataset import Dataset, LabeledData
from repro.errors import BadInput
from repro.store import RunDirectory, Store

SEPARATOR = " and "


def fingerprint_all(config: RunConfig, directory: Path) -> dict[Dataset, str]:
    """The fingerprint of every data set of the run. Raises BadInput if one is missing or damaged."""
    return {dataset: dataset.fingerprint_checked(directory) for dataset in config.data.datasets}


def as_recorded(fingerprints: Mapping[Dataset, str]) -> dict[str, str]:
    """Fingerprints by data set name. Data sets that differ in their options can share a name."""
    by_name: dict[str, set[str]] = {}
    for dataset, fingerprint in fingerprints.items():
        by_name.setdefault(dataset.name, set()).add(fingerprint)
    return {name: SEPARATOR.join(sorted(several)) for name, several in sorted(by_name.items())}


def check_same_data(recorded: Mapping[str, str], present: Mapping[Dataset, str], run: RunDirectory) -> None:
    """Raise BadInput if a data set differs from the one that `run` was started with.

    `recorded`: the fingerprints at that time, as returned by `as_recorded`. `present`: the current fingerprints of all
    or some of the data sets.
    """
    for dataset, fingerprint in present.items():
        if fingerprint not in recorded[dataset.name].split(SEPARATOR):
            raise BadInput(
                f"run {run.run_id} was made with other {dataset.name} data (fingerprint {recorded[dataset.name]}, now "
                f"{fingerprint}); use the data it was made with, or another --runs folder"
            )


def check_data_of_done(run: RunDirectory, config: RunConfig, directory: Path) -> None:
    """Raise BadInput if the data of a finished run are missing, damaged, or not those it was made with."""
    check_same_data(run.read_json("summary.json")["data"], fingerprint_all(config, directory), run)


def check_data_of_parents(config: RunConfig, present: Mapping[Dataset, str], store: Store) -> None:
    """Raise BadInput if a data set that this run shares with a finished parent has changed since that was made."""
    for parent in config.parents():
        run = store.run(parent.run_id)
        if run.is_done():
            shared = {dataset: present[dataset] for dataset in parent.data.datasets & config.data.datasets}
            check_same_data(run.read_json("summary.json")["data"], shared, run)


def check_test_images(config: RunConfig, datasets: Mapping[Dataset, LabeledData]) -> None:
    """Raise BadInput if the run needs test images and has none."""
    dataset = config.data.train.dataset
    has_some = len(datasets[dataset].test) > 0 or config.data.validation is not None
    if not isinstance(config, GeneratorConfig) and not has_some:
        raise BadInput(
            f"data set {dataset.name} has no test images: it can only be a pool, unless data.validation is set"
        )
