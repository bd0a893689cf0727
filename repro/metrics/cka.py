"""Linear centred kernel alignment (CKA) of two representations of the same examples, streamed over batches.

CKA(X, Y) = HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)) (Kornblith et al. 2019, arXiv 1905.00414), with the
unbiased estimator HSIC_1 (Song et al. 2012, JMLR 13:1393-1434) averaged over minibatches before the ratio
is taken (Nguyen, Raghu & Kornblith 2021, arXiv 2010.15327).
"""

import torch
from torch import Tensor

MINIMUM_BATCH = 4
"""HSIC_1 is an average over four distinct examples."""


class StreamingCKA:
    """CKA of two networks' features, holding no more than one batch in memory.

    Every batch must be a random draw from the data, so shuffle first: only examples within a batch are compared, and
    with a test set ordered by class these would all be of one class.
    """

    def __init__(self) -> None:
        self._hsic: Tensor | None = None

    def update(self, features_x: Tensor, features_y: Tensor) -> None:
        """Add a batch of features of the same examples: (b, ...) and (b, ...), b >= 4.

        All dimensions after the first are flattened, so every channel at every pixel is a separate feature. Batches
        are weighted by their size. Gradients are not tracked. Raises ValueError if b < 4 or if the two differ in b.
        """
        batch = len(features_x)
        if batch != len(features_y):
            raise ValueError(f"features of {batch} examples and of {len(features_y)} cannot be compared")
        if batch < MINIMUM_BATCH:
            raise ValueError(
                f"unbiased CKA needs at least {MINIMUM_BATCH} examples in every batch, got {batch}; "
                "choose a batch size that leaves no shorter last batch"
            )
        gram_x = _u_centred_gram(features_x)
        gram_y = _u_centred_gram(features_y)
        products = torch.stack([(gram_x * gram_y).sum(), gram_x.square().sum(), gram_y.square().sum()])
        # HSIC_1 divides by b (b - 3); the factor b cancels against the batch's weight.
        weighted = products / (batch - 3)
        self._hsic = weighted if self._hsic is None else self._hsic + weighted

    def value(self) -> Tensor:
        """CKA of all batches so far, at most 1, as a 0-dim float64 tensor on the features' device.

        Since HSIC is estimated without bias, the value is near 0 and may be slightly negative for unrelated features.
        It is NaN if features are the same for all examples, as CKA is then undefined. Raises ValueError before the
        first batch.
        """
        if self._hsic is None:
            raise ValueError("CKA has no value before the first batch")
        hsic_xy, hsic_xx, hsic_yy = self._hsic.unbind()
        return hsic_xy / (hsic_xx.sqrt() * hsic_yy.sqrt())


def _u_centred_gram(features: Tensor) -> Tensor:
    """The U-centred linear Gram matrix of features (b, ...): (b, b), zero diagonal, every row sums to 0.

    HSIC_1 of two kernels is the sum of products of their U-centred matrices over b (b - 3) (Székely & Rizzo
    2014, doi 10.1214/14-AOS1255, section 3), which equals Song et al.'s three-term formula without
    subtracting nearly equal large numbers.
    """
    flat = features.detach().reshape(len(features), -1).double()
    # Shifting features does not change HSIC_1. Without this step, rounding would turn constant features into noise,
    # and CKA would be computed from that noise.
    flat = flat - flat.mean(dim=0)
    gram = (flat @ flat.T).fill_diagonal_(0)
    batch = len(gram)
    row_means = gram.sum(dim=1, keepdim=True) / (batch - 2)
    grand_mean = gram.sum() / ((batch - 1) * (batch - 2))
    return (gram - row_means - row_means.T + grand_mean).fill_diagonal_(0)
