"""C10 to C12: is low fidelity a failure of optimization?"""

from analysis.claims.evidence import Evidence, difference
from analysis.claims.verdict import Test
from analysis.statistics.sample import Sample, mean

CKA = ("cka_stage1", "cka_stage2", "cka_stage3")


def c10(evidence: Evidence) -> list[Test]:
    """Adam is worse than SGD, and training 17 times longer gains less than 5 points (both in train agreement)."""
    short, adam, long = (
        evidence.sample("optimizer", "train_agreement", optimizer=optimizer, epochs=epochs)
        for optimizer, epochs in (("sgd", 300), ("adam", 300), ("sgd", 5000))
    )
    return [
        Test("train agreement, adam minus sgd (300 epochs)", adam - short, high=0.0),
        Test("train agreement, 5,000 minus 300 epochs (sgd)", long - short, high=0.05),
    ]


def c11(evidence: Evidence) -> list[Test]:
    """Agreement jumps (by more than 10 points, half the paper's jump) between lambda 0.25 and 0.375, but not before.
    Lambda is the teacher's weight in the student's initialization; the learning rate is the same for every lambda."""
    return _jump(evidence, "constant")


def c11_scaled(evidence: Evidence) -> list[Test]:
    """C11 with the learning rate scaled by 1 - lambda, as in the original code. Not the paper's claim, but a way
    to tell the effect of the initialization from that of smaller steps."""
    return _jump(evidence, "scaled")


def _jump(evidence: Evidence, learning_rate: str) -> list[Test]:
    random, before, after = (
        evidence.sample("init_interpolation", "train_agreement", weight=weight, learning_rate=learning_rate)
        for weight in (0.0, 0.25, 0.375)
    )
    return [
        Test("train agreement, lambda 0.375 minus 0.25", after - before, low=0.10),
        Test("train agreement, lambda 0.25 minus 0", before - random, high=0.10),
    ]


def c12(evidence: Evidence) -> list[Test]:
    """Sharing the initial weights raises CKA slightly (by less than 0.05) and does not change fidelity (by less than
    half a point of agreement and 0.03 nats of KL)."""

    def change(quantity: str) -> Sample:
        return difference(evidence, "shared_init", quantity, {"start": "teachers_initial"}, {"start": "random"})

    similarity = mean([change(stage) for stage in CKA])
    agreement, kl = change("student_agreement"), change("student_kl")
    return [
        Test("CKA (mean of the three stages), shared minus random start", similarity, low=0.0, high=0.05),
        Test("test agreement, shared minus random start", agreement, low=-0.005, high=0.005),
        Test("test KL, shared minus random start", kl, low=-0.03, high=0.03),
    ]
