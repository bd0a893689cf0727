"""Quality of generated images: Fréchet inception distance and inception score, computed by torch-fidelity.

Heusel et al. 2017 (arXiv:1706.08500) and Salimans et al. 2016 (arXiv:1606.03498). Both use the Inception network of
the original definitions, whose weights are a 91 MB file to be downloaded once. The distance compares its pool features
(2048 numbers per image); the score is computed from its class logits.
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from repro.errors import BadInput

WEIGHTS_FILE = "weights-inception-2015-12-05-6726825d.pth"
WEIGHTS_URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{WEIGHTS_FILE}"
WEIGHTS_SHA256_START = "6726825d"
SPLITS = 10
"""The inception score is the mean over this many parts of the images, as published."""
BATCH = 64

Extractor = Callable[[Tensor], tuple[Tensor, Tensor]]
"""uint8 images (n, 3, height, width) -> pool features (n, d) and class logits (n, classes)."""


def inception(directory: Path, device: torch.device) -> Extractor:
    """The Inception network with the weights in `directory`.

    If torch-fidelity or the weights are missing, or the weights damaged, raises BadInput that says what to install, or
    what to download and where to put it.
    """
    path = directory / WEIGHTS_FILE
    remedy = f"download {WEIGHTS_URL} to {path}"
    if not path.is_file():
        raise BadInput(f"FID and inception score need the weights of the Inception network: {remedy}")
    # Check the file before it is opened, since the library unpickles it.
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if not digest.startswith(WEIGHTS_SHA256_START):
        raise BadInput(f"{path}: damaged (SHA-256 {digest[:8]}..., not {WEIGHTS_SHA256_START}...); {remedy}")
    try:
        from torch_fidelity.feature_extractor_inceptionv3 import FeatureExtractorInceptionV3
    except ImportError as error:
        raise BadInput("torch-fidelity is not installed: pip install -e '.[fid]' in the suite's folder") from error
    network = FeatureExtractorInceptionV3("inception-v3", ["2048", "logits_unbiased"], str(path)).to(device)
    return lambda images: network(images)


def measure_quality(real: Tensor, generated: Tensor, extract: Extractor) -> dict[str, Any]:
    """FID of `generated` against `real`, and the inception score of `generated`.

    Both are uint8 images (n, 1 or 3 channels, height, width): at least two real and `SPLITS` generated ones. Keys of
    the result: fid, inception_score, inception_score_std (over the `SPLITS` parts), samples, real_images.
    """
    real_features, _ = _extract(real, extract)
    features, logits = _extract(generated, extract)
    score, spread = inception_score(logits)
    return {
        "fid": frechet_distance(real_features, features),
        "inception_score": score,
        "inception_score_std": spread,
        "samples": len(generated),
        "real_images": len(real),
    }


def frechet_distance(real: Tensor, generated: Tensor) -> float:
    """Squared Fréchet distance of the Gaussians fitted to two sets of features (n, d), in float64."""
    from torch_fidelity.metric_fid import KEY_METRIC_FID, fid_features_to_statistics, fid_statistics_to_metric

    statistics = (fid_features_to_statistics(features.double().cpu()) for features in (real, generated))
    distance: float = fid_statistics_to_metric(*statistics, verbose=False)[KEY_METRIC_FID]
    return distance


def inception_score(logits: Tensor) -> tuple[float, float]:
    """exp(mean KL(p(y|x) || p(y))) of class logits (n, classes): mean and standard deviation over `SPLITS` parts."""
    from torch_fidelity.metric_isc import KEY_METRIC_ISC_MEAN, KEY_METRIC_ISC_STD, isc_features_to_metric

    # Generated images are in random order already, so the parts need no shuffling.
    scores = isc_features_to_metric(logits.cpu(), splits=SPLITS, shuffle=False)
    return scores[KEY_METRIC_ISC_MEAN], scores[KEY_METRIC_ISC_STD]


@torch.no_grad()
def _extract(images: Tensor, extract: Extractor) -> tuple[Tensor, Tensor]:
    """Features and logits of all images. Grey images are converted to RGB."""
    parts = [extract(batch.expand(-1, 3, -1, -1)) for batch in torch.split(images, BATCH)]
    features, logits = zip(*parts, strict=True)
    return torch.cat(features), torch.cat(logits)
