"""Every study: its runs at smoke size end to end, and how many trainings the whole paper needs."""

from pathlib import Path

import pytest
import yaml
from runs import runner

from repro.config import GeneratorConfig, StudentConfig, parse_config
from repro.data.prepared import PreparedFile
from repro.experiments.study import studies
from repro.launch.catalogue import catalogue
from repro.launch.local import run_here
from repro.launch.plan import count_work, images_to_train, parents_first
from repro.launch.request import Request
from repro.launch.sweep import all_sweeps, read_sweep, sweep_studies

OWN_SMOKE_TESTS = "methods"
"""Sweeps that begin so: `test_methods_study.py` runs their methods."""
SWEEPS = {path.stem: path for path in all_sweeps()}

# Distinct runs of each sweep at preset `paper`, and the images or texts that pass through them.
WORK = {
    "augmentation": "115 distinct runs (15 teachers, 99 students, 1 generator), 1.76e+09 images to train",
    "capacity_resnet20": "33 distinct runs (15 teachers, 18 students), 4.2e+08 images to train",
    "capacity_resnet56": "33 distinct runs (15 teachers, 18 students), 4.2e+08 images to train",
    "data_recycling": "42 distinct runs (15 teachers, 27 students), 3.45e+08 images to train",
    "data_recycling_resnet20": "123 distinct runs (15 teachers, 108 students), 1.16e+09 images to train",
    "data_recycling_temperature": "45 distinct runs (9 teachers, 36 students), 4.05e+08 images to train",
    "digits": "12 distinct runs (3 teachers, 9 students), 2.91e+06 images to train",
    "ensemble_size": "72 distinct runs (36 teachers, 36 students), 9e+08 images to train",
    "ensemble_distillation": "46 distinct runs (15 teachers, 30 students, 1 generator), 8.89e+08 images to train",
    "generations": "24 distinct runs (6 teachers, 18 students), 1.59e+06 images to train",
    "imagenet": "8 distinct runs (5 teachers, 3 students), 9.22e+08 images to train",
    "init_interpolation": "42 distinct runs (3 teachers, 39 students), 6.15e+08 images to train",
    "lenet_mnist": "15 distinct runs (3 teachers, 12 students), 1.32e+09 images to train",
    "loss_mix": "60 distinct runs (15 teachers, 45 students), 8.25e+08 images to train",
    "methods_cifar100": "138 distinct runs (12 teachers, 126 students), 1.73e+09 images to train",
    "methods_digits": "138 distinct runs (12 teachers, 126 students), 1.04e+07 images to train",
    "methods_mnist": "138 distinct runs (12 teachers, 126 students), 1.8e+09 images to train",
    "methods_online": "36 distinct runs (6 teachers, 30 students), 2.11e+08 images to train",
    "methods_several_teachers": "66 distinct runs (30 teachers, 36 students), 1.93e+08 images to train",
    "methods_tries": "65 distinct runs (1 teacher, 64 students), 5.48e+06 images to train",
    "optimizer": "21 distinct runs (3 teachers, 18 students), 1.92e+09 images to train",
    "self_distillation": "19 distinct runs (3 teachers, 15 students, 1 generator), 4.32e+08 images to train",
    "shared_init": "30 distinct runs (10 teachers, 20 students), 4e+08 images to train",
    "sngan": "1 distinct run (1 generator), 6.4e+07 images to train",
    "teacher_distributions": "10 distinct runs (10 teachers), 1e+08 images to train",
    "text": "24 distinct runs (15 teachers, 9 students), 6e+07 texts to train",
    "text_transformer": "12 distinct runs (3 teachers, 9 students), 2.32e+07 texts to train",
    "transfer": "45 distinct runs (6 teachers, 39 students), 2.88e+07 images to train",
    "vgg": "33 distinct runs (15 teachers, 18 students), 4.2e+08 images to train",
}


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_needs_this_many_trainings(name: str) -> None:
    assert count_work(parents_first(read_sweep(SWEEPS[name], {"preset": "paper"}))) == WORK[name]


def test_studies_share_runs_wherever_their_configs_are_equal() -> None:
    requests = [request for name, path in SWEEPS.items() if name != "digits" for request in read_sweep(path, {})]
    plan = parents_first(requests)
    assert count_work(plan) == (
        "1252 distinct runs (186 teachers, 1065 students, 1 generator), 1.56e+10 examples to train"
    )
    apart = sum(len(parents_first(read_sweep(path, {}))) for name, path in SWEEPS.items() if name != "digits")
    assert len(plan) < apart


@pytest.mark.parametrize("name", SWEEPS)
def test_a_sweep_file_is_a_point_by_point_list_of_its_study(name: str) -> None:
    content = yaml.safe_load(SWEEPS[name].read_text())
    assert (SWEEPS[name].parents[1] / content["program"]).is_file()
    points = sweep_studies(SWEEPS[name], {})
    ids = [study.config().run_id for study in points]
    # A learning rate scaled by 1 - lambda is the constant one at lambda = 0: those conditions share their runs.
    same = sum(getattr(study, "learning_rate", "") == "scaled" and study.weight == 0.0 for study in points)  # type: ignore[attr-defined]
    assert len(set(ids)) == len(points) - same
    assert {study.preset for study in points} == {"short" if name == "digits" else "paper"}


def test_trials_have_disjoint_teachers() -> None:
    for path in SWEEPS.values():
        teachers: dict[str, int] = {}
        for study in sweep_studies(path, {}):
            config = study.config()
            for teacher in config.teachers if isinstance(config, StudentConfig) else ():
                assert teachers.setdefault(teacher.run_id, study.trial) == study.trial


def test_all_studies_and_trials_share_one_generator() -> None:
    sweeps = ("sngan", "self_distillation", "ensemble_distillation", "augmentation")
    plan = parents_first([request for name in sweeps for request in read_sweep(SWEEPS[name], {})])
    (generator,) = (request for request in plan if isinstance(request.config, GeneratorConfig))
    assert generator.label == "sngan trial=0 (paper)"
    assert generator.config.data.train.size is None  # it sees all train images, as in the paper


@pytest.mark.slow
def test_presets_short_cost_about_a_hundredth_and_smoke_reads_no_file() -> None:
    for name, path in SWEEPS.items():
        work = {
            preset: sum(images_to_train(r.config) or 0 for r in parents_first(read_sweep(path, {"preset": preset})))
            for preset in ("paper", "short")
        }
        # Small networks, and images.
        small = ("digits", "generations", "lenet_mnist", "methods_digits", "methods_tries", "transfer")
        if name not in small:
            assert work["short"] <= 0.015 * work["paper"], name
        for request in parents_first(read_sweep(path, {"preset": "smoke"})):
            assert not any(isinstance(dataset, PreparedFile) for dataset in request.config.data.datasets)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One folder for all studies: what they share is trained once."""
    return tmp_path_factory.mktemp("runs")


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in SWEEPS if not name.startswith(OWN_SMOKE_TESTS)])
def test_the_most_telling_conditions_run_end_to_end_at_smoke(name: str, root: Path) -> None:
    requests = read_sweep(SWEEPS[name], {"preset": "smoke", "trial": [0]})
    # The first and the last point of the grid, in between every third, up to six in all, and one with a generator.
    chosen = [requests[0], *requests[2:-1:3][:4], requests[-1], *[r for r in requests if r.config.data.generators][:1]]
    plan = parents_first(chosen)
    run_here(plan, work := runner(root))
    for request in plan:
        run = work.store.run(request.config.run_id)
        metrics = run.read_json("summary.json")["metrics"]
        if isinstance(request.config, GeneratorConfig):
            assert (run.path / "samples.png").read_bytes().startswith(b"\x89PNG")
            assert metrics["train/discriminator_loss"] >= 0.0
        else:
            assert 0.0 <= metrics["test/accuracy"] <= 1.0
        if isinstance(request.config, StudentConfig):
            assert metrics["test/kl"] >= 0.0 and 0.0 <= metrics["test/agreement"] <= 1.0
        assert run.config() == parse_config(request.config.model_dump(mode="json"))


def test_every_study_has_a_sweep_and_says_what_the_paper_found() -> None:
    swept = {yaml.safe_load(path.read_text())["program"] for path in SWEEPS.values()}
    for name, study in studies().items():
        assert f"repro/experiments/{name}.py" in swept
        text = study.__doc__ or ""
        assert "Question:" in text and "Conditions:" in text
        of_our_own = ("digits", "generations", "methods", "teacher_distributions", "text_transformer", "transfer")
        assert name in of_our_own or "The paper found" in text


def test_poisoned_labels_leave_a_study_without_labels_unchanged() -> None:
    """Only loss_mix with alpha > 0 and controls ask for labels; every other student is not even handed them."""
    for path in SWEEPS.values():
        for study in sweep_studies(path, {}):
            config = study.config()
            if isinstance(config, StudentConfig) and not config.objective.is_control:
                assert config.objective.needs_labels == (getattr(study, "alpha", 0.0) > 0.0)


def test_a_request_keeps_its_label() -> None:
    request = read_sweep(SWEEPS["digits"], {"trial": [1], "images": [300]})[0]
    assert isinstance(request, Request)
    assert request.label == "digits trial=1 images=300 (short)"


@pytest.mark.slow
def test_the_page_of_studies_is_up_to_date() -> None:
    page = Path(__file__).parents[1] / "docs" / "studies.md"
    assert page.read_text() == catalogue(), "make it anew: python -m repro.launch.catalogue > docs/studies.md"
