"""The data that a run reads: known again by their fingerprints, and fit for it."""

from collections.abc import Mapping
from pathlib import Path

from repro.config import GeneratorConfig, RunConfig
from repro.data.dataset import Dataset, LabeledData
from repro.errors import BadInput
from repro.store import RunDirectory, Store

SEPARATOR = " and "


def fingerprint_all(config: RunConfig, directory: Path) -> dict[Dataset, str]:
    """The fingerprint of every data set of the run. Raises BadInput if one is missing or damaged."""
    return {dataset: dataset.fingerprint(directory) for dataset in config.data.datasets}


def as_recorded(fingerprints: Mapping[Dataset, str]) -> dict[str, str]:
    """Fingerprints by the data sets' names. Several data sets can have one name and differ in their options."""
    by_name: dict[str, set[str]] = {}
    for dataset, fingerprint in fingerprints.items():
        by_name.setdefault(dataset.name, set()).add(fingerprint)
    return {name: SEPARATOR.join(sorted(several)) for name, several in sorted(by_name.items())}


def check_same_data(recorded: Mapping[str, str], present: Mapping[Dataset, str], run: RunDirectory) -> None:
    """Raise BadInput if a data set is another than the one that `run` was begun with.

    `recorded`: what `as_recorded` made of the fingerprints then. `present`: the fingerprints now, of all or some of the
    data sets.
    """
    for dataset, fingerprint in present.items():
        if fingerprint not in recorded[dataset.name].split(SEPARATOR):
            raise BadInput(
                f"run {run.run_id} was made with other {dataset.name} data (fingerprint {recorded[dataset.name]}, now "
                f"{fingerprint}); use the data it was made with, or another --runs folder"
            )


def check_data_of_parents(config: RunConfig, present: Mapping[Dataset, str], store: Store) -> None:
    """Raise BadInput if a data set that a parent, which is done, shares with this run has changed since."""
    for parent in config.parents():
        run = store.run(parent.run_id)
        if run.is_done():
            shared = {dataset: present[dataset] for dataset in parent.data.datasets & config.data.datasets}
            check_same_data(run.read_json("summary.json")["data"], shared, run)


def check_test_images(config: RunConfig, datasets: Mapping[Dataset, LabeledData]) -> None:
    """Raise BadInput if the run has no images to be tested on."""
    dataset = config.data.train.dataset
    has_some = len(datasets[dataset].test) > 0 or config.data.validation is not None
    if not isinstance(config, GeneratorConfig) and not has_some:
        raise BadInput(f"data set {dataset.name} has no test images: it can be a pool, not what a run is tested on")
