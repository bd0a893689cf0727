"""The paper's studies at preset `paper`, compared with the paper's protocol and conditions written out once more.

Each sweep has a function from a condition's settings to the whole config as the paper describes it (Appendix A and the
figure's own text), or as the study's docstring does where the paper is silent.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pytest

from repro.config import canonical_json
from repro.launch.sweep import all_sweeps, find_sweep, sweep_studies

Content = dict[str, Any]
Settings = Mapping[str, Any]

CROP, FLIP = {"name": "random_crop", "padding": 4}, {"name": "horizontal_flip", "p": 0.5}
ROTATION, VERTICAL_FLIP = {"name": "rotation", "degrees": 20.0}, {"name": "vertical_flip", "p": 0.5}
JITTER = {"name": "color_jitter", "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.2}
MIXUP = {"name": "mixup", "alpha": 1.0}  # Beta(1, 1) is U[0, 1]
NOISE = {"name": "uniform_noise", "p": 0.2}


def images(name: str, **options: Any) -> Content:
    """A selection of a data set; all train images by default."""
    return {"dataset": {"name": name}, "half": None, "size": None, "fraction": None, "seed": 0} | options


def data(train: Content, *pools: Content, **more: Any) -> Content:
    return {"train": train, "pools": list(pools)} | more


def resnet(depth: int, norm: str = "batch") -> Content:
    return {"name": "preresnet", "depth": depth, "norm": norm, "skip_connections": True}


def sgd(learning_rate: float, weight_decay: float = 1e-4, nesterov: bool = True) -> Content:
    """The students' by default."""
    rate = {"learning_rate": learning_rate, "weight_decay": weight_decay}
    return {"name": "sgd", "momentum": 0.9, "nesterov": nesterov} | rate


def cosine(final: float) -> Content:
    return {"name": "cosine", "final": final, "per": "epoch", "warmup_epochs": 0}


def soft_labels(tau: float, alpha: float = 0.0) -> Content:
    terms = {"temperature": tau, "alpha": alpha, "alpha_final": None, "temperature_squared": True}
    return {"name": "forward_cross_entropy"} | terms


COMMON = {"data": data(images("cifar100")), "augmentation": [CROP, FLIP], "precision": "float32"}
COMMON |= {"init": {"name": "random"}}
TEACHER = COMMON | {
    "kind": "teacher",
    "epochs": 200,
    "batch_size": 256,
    "optimizer": sgd(0.1, nesterov=False),
    "schedule": cosine(0.0),
    "objective": {"name": "cross_entropy"},
}
STUDENT = COMMON | {
    "kind": "student",
    "epochs": 300,
    "batch_size": 128,
    "optimizer": sgd(5e-2),
    "schedule": cosine(1e-6),
    "objective": soft_labels(1.0),
}
GENERATOR = {
    "kind": "generator",
    "data": data(images("cifar100")),
    "augmentation": [FLIP],
    "model": {"name": "sngan", "latent_size": 128, "generator_width": 256, "discriminator_width": 128},
    "optimizer": {"name": "adam", "learning_rate": 2e-4, "beta1": 0.0, "beta2": 0.9, "weight_decay": 0.0},
    "schedule": {"name": "linear", "final": 1e-6, "per": "step", "warmup_epochs": 0},
    "epochs": 100,
    "steps_per_epoch": 1000,  # 100,000 generator steps in all
    "discriminator_steps": 5,
    "batch_size": 128,
    "ema_decay": None,
    "precision": "float32",
    "seed": 0,
}


def student(settings: Settings, teacher: Content, members: int = 1, **own: Any) -> Content:
    """A student of `members` teachers that differ only in their seeds, of their architecture if `own` has no model."""
    first = 100 * settings["trial"]
    teachers = [TEACHER | {"seed": first + member} | teacher for member in range(members)]
    return STUDENT | {"model": teacher["model"], "seed": settings["trial"], "teachers": teachers} | own


def with_gan_images(count: int) -> Content:
    """A fixed set, added to the 50,000 train images."""
    fixed = {"generator": GENERATOR, "images": count, "seed": 0, "batch_statistics": False}
    return data(images("cifar100"), **({"generated": [fixed]} if count else {}))


def self_distillation(settings: Settings) -> Content:
    return student(settings, {"model": resnet(56)}, data=with_gan_images(settings["gan_images"]))


def ensemble_distillation(settings: Settings) -> Content:
    data = with_gan_images(settings["gan_images"])
    return student(settings, {"model": resnet(56)}, settings["members"], data=data)


def lenet_mnist(settings: Settings) -> Content:
    lenet = {"model": {"name": "lenet5"}, "augmentation": []}
    teacher = lenet | {"data": data(images("mnist", size=200)), "epochs": 100, "seed": settings["trial"]}
    teacher |= {"batch_size": 64, "optimizer": sgd(0.05, nesterov=False)}  # ours: see the study
    pool = images("emnist", dataset={"name": "emnist", "transposed": False}, fraction=settings["pool"])
    pools = [pool] if settings["pool"] else []
    return student(settings, teacher, augmentation=[], data=data(images("mnist"), *pools))


POLICIES: dict[str, tuple[list[Content], float]] = {
    "baseline": ([CROP, FLIP], 1.0),
    "baseline_tau4": ([CROP, FLIP], 4.0),
    "rotation": ([CROP, FLIP, ROTATION], 1.0),
    "vertical_flip": ([CROP, FLIP, VERTICAL_FLIP], 1.0),
    "color_jitter": ([CROP, FLIP, JITTER], 1.0),
    "combined": ([CROP, FLIP, ROTATION, VERTICAL_FLIP, JITTER], 1.0),
    "mixup": ([CROP, FLIP, MIXUP], 1.0),
    "mixup_tau4": ([CROP, FLIP, MIXUP], 4.0),
    "gan": ([CROP, FLIP], 4.0),
    "ood": ([CROP, FLIP], 1.0),
    "noise": ([CROP, FLIP, NOISE], 1.0),
}
EXTRA_IMAGES: dict[str, Content] = {
    "ood": data(images("cifar100"), images("svhn", size=10_000)),
    "gan": data(
        images("cifar100"),
        streams=[  # 1 synthetic image to 4 real ones, matched at temperature 1
            {"name": "generated", "generator": GENERATOR, "share": 0.2, "temperature": 1.0, "batch_statistics": False}
        ],
    ),
}


def augmentation(settings: Settings) -> Content:
    policy = settings["policy"]
    augmentation, tau = POLICIES[policy]
    own = {
        "augmentation": augmentation,
        "objective": soft_labels(tau),
        "data": EXTRA_IMAGES.get(policy, STUDENT["data"]),
    }
    return student(settings, {"model": resnet(56)}, settings["members"], **own)


def vgg(settings: Settings) -> Content:
    augmentation, tau = POLICIES[settings["policy"]]
    network = {"name": "vgg", "depth": 16, "batch_norm": False}
    return student(settings, {"model": network}, 5, augmentation=augmentation, objective=soft_labels(tau))


def data_recycling(settings: Settings) -> Content:
    own = {"D0": {"half": "D0"}, "D1": {"half": "D1"}, "both": {}}[settings["split"]]
    teacher = {"model": resnet(settings["depth"]), "data": data(images("cifar100", half="D0"))}
    objective = soft_labels(settings["temperature"])
    return student(settings, teacher, settings["members"], data=data(images("cifar100", **own)), objective=objective)


def optimizer(settings: Settings) -> Content:
    """At 300 epochs with weight decay; the long runs have none."""
    decay = {300: 1e-4, 1000: 0.0, 5000: 0.0}[settings["epochs"]]
    adam = {"name": "adam", "learning_rate": 1e-3, "beta1": 0.9, "beta2": 0.999, "weight_decay": decay}
    chosen = {"sgd": sgd(5e-2, decay), "adam": adam}[settings["optimizer"]]
    return student(settings, {"model": resnet(20, "layer")}, optimizer=chosen, epochs=settings["epochs"])


def init_interpolation(settings: Settings) -> Content:
    """`weight` is the teacher's. The original code multiplies the rate by the random network's, but not below 1e-6."""
    init = {"name": "interpolated", "weight": settings["weight"], "endpoint": "final", "batch_norm": "kept"}
    scaled = {0.0: 0.05, 0.125: 0.04375, 0.25: 0.0375, 0.375: 0.03125, 0.5: 0.025, 0.75: 0.0125, 1.0: 1e-6}
    rate = {"constant": 0.05, "scaled": scaled[settings["weight"]]}[settings["learning_rate"]]
    optimizer = sgd(0.05) | {"learning_rate": pytest.approx(rate)}
    return student(settings, {"model": resnet(20, "layer")}, init=init, optimizer=optimizer)


def shared_init(settings: Settings) -> Content:
    init = {
        "random": {"name": "random"},
        "teachers_initial": {"name": "interpolated", "weight": 1.0, "endpoint": "initial", "batch_norm": "kept"},
    }[settings["start"]]
    return student(settings, {"model": resnet(20)}, init=init, objective=soft_labels(4.0))


def teacher_distributions(settings: Settings) -> Content:
    seed = 100 * settings["trial"] + settings["member"]
    return TEACHER | {"model": resnet(settings["depth"]), "seed": seed}


def ensemble_size(settings: Settings) -> Content:
    return student(settings, {"model": resnet(56)}, settings["members"])


def capacity(settings: Settings) -> Content:
    own = {"model": resnet(settings["student_depth"]), "objective": soft_labels(4.0)}
    return student(settings, {"model": resnet(settings["teacher_depth"])}, settings["members"], **own)


def loss_mix(settings: Settings) -> Content:
    objective = soft_labels(1.0, settings["alpha"])
    return student(settings, {"model": resnet(56)}, settings["members"], objective=objective)


def text(settings: Settings) -> Content:
    imdb = {"name": "imdb", "tokens": 100, "minimum_count": 10, "max_words": 25_000}
    shared = {
        "data": data(images("imdb", dataset=imdb)),
        "augmentation": [],
        "model": {"name": "lstm", "layers": 2, "embedding": 128, "cell": 70},
        "epochs": 100,
        "batch_size": 100,
        "optimizer": sgd(1e-2, 1e-3),
        "schedule": cosine(1e-6),
    }
    return student(settings, shared, settings["members"], **shared)


def imagenet(settings: Settings) -> Content:
    dataset = {"name": "imagenet", "classes": 1000, "image_size": 224, "resize": 256, "train_view": "random"}
    shared = {
        "data": data(images("imagenet", dataset=dataset)),
        "augmentation": [],  # random crops and flips are the data set's `train_view`
        "model": {"name": "resnet", "depth": 50},
        "epochs": 90,
        "batch_size": 1024,
        "micro_batch_size": 128,
        "schedule": cosine(0.0) | {"warmup_epochs": 5, "per": "step"},
    }
    teacher = shared | {"optimizer": sgd(0.1, nesterov=False)}
    own = shared | {"optimizer": sgd(0.1, weight_decay=0.0, nesterov=False), "objective": soft_labels(4.0)}
    return student(settings, teacher, settings["members"], **own)


PAPER: dict[str, Callable[[Settings], Content]] = {
    "augmentation": augmentation,
    "capacity_resnet20": capacity,
    "capacity_resnet56": capacity,
    "data_recycling": data_recycling,
    "data_recycling_resnet20": data_recycling,
    "data_recycling_temperature": data_recycling,
    "ensemble_distillation": ensemble_distillation,
    "ensemble_size": ensemble_size,
    "imagenet": imagenet,
    "init_interpolation": init_interpolation,
    "lenet_mnist": lenet_mnist,
    "loss_mix": loss_mix,
    "optimizer": optimizer,
    "self_distillation": self_distillation,
    "shared_init": shared_init,
    "sngan": lambda settings: GENERATOR | {"seed": settings["trial"]},
    "teacher_distributions": teacher_distributions,
    "text": text,
    "vgg": vgg,
}
NO_PROTOCOL = ("evaluate_every", "corrections")
"""Parts of a run's identity that say nothing of its training."""


def plain(content: Any) -> Any:
    """A config's content without NO_PROTOCOL, in the runs inside it too."""
    if isinstance(content, list):
        return [plain(element) for element in content]
    if not isinstance(content, dict):
        return content
    return {key: plain(value) for key, value in content.items() if key not in NO_PROTOCOL}


@pytest.mark.parametrize("sweep", PAPER)
def test_every_condition_is_as_the_paper_describes_it(sweep: str) -> None:
    for study in sweep_studies(find_sweep(sweep), {"preset": "paper"}):
        found = plain(json.loads(canonical_json(study.config()))["config"])
        assert found == PAPER[sweep](study.settings()), study.label()


def test_no_sweep_of_the_paper_is_left_out() -> None:
    sweeps = {path.stem: sweep_studies(path, {})[0] for path in all_sweeps()}
    assert {name for name, study in sweeps.items() if not study.figures.startswith("none")} == set(PAPER)
