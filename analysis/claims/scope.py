"""C13 to C17: how far the findings reach."""

from analysis.claims.evidence import Evidence, mean_difference, mean_over
from analysis.claims.verdict import Test
from analysis.statistics.rank_correlation import rank_correlation
from analysis.statistics.sample import Sample


def c13(evidence: Evidence) -> list[Test]:
    """Bigger ensembles are easier to match; student accuracy saturates near m = 4: beyond it, each further
    member gains less than half of what one gained up to there."""
    agreement = {m: evidence.sample("ensemble_size", "student_agreement", members=m) for m in (1, 12)}
    accuracy = {m: evidence.sample("ensemble_size", "student_accuracy", members=m) for m in (1, 4, 12)}
    early, late = (1 / 3) * (accuracy[4] - accuracy[1]), (1 / 8) * (accuracy[12] - accuracy[4])
    return [
        Test("test agreement, m = 12 minus m = 1", agreement[12] - agreement[1], low=0.0),
        Test("student accuracy, m = 4 minus m = 1", accuracy[4] - accuracy[1], low=0.0),
        Test(
            "student accuracy gain per member, m = 4 to 12, minus half of that for m = 1 to 4",
            late - 0.5 * early,
            high=0.0,
        ),
    ]


def c14(evidence: Evidence) -> list[Test]:
    """Doubling the student's depth adds only 2 to 3 points of agreement (more than 0, less than 5)."""
    tests = []
    for sweep, shallow, deep in (("capacity_resnet20", 20, 56), ("capacity_resnet56", 56, 110)):
        one, other = {"student_depth": deep}, {"student_depth": shallow}
        gain, sizes = mean_difference(evidence, sweep, "student_agreement", one, other)
        tests.append(
            Test(f"test agreement, student of depth {deep} minus {shallow} ({sizes})", gain, low=0.0, high=0.05)
        )
    return tests


def c15(evidence: Evidence) -> list[Test]:
    """The same holds for VGG, IMDB and ImageNet: students stay below 95 % agreement, on IMDB and ImageNet even though
    their accuracy is within 2 points of the teacher's. Augmentation (VGG) or a bigger ensemble raises fidelity."""
    vgg = {p: evidence.sample("vgg", "student_agreement", policy=p) for p in ("baseline", "mixup")}
    tests = [
        Test("VGG: test agreement, baseline", vgg["baseline"], high=0.95),
        Test("VGG: test agreement, mixup minus baseline", vgg["mixup"] - vgg["baseline"], low=0.0),
    ]
    for sweep, name in (("text", "IMDB"), ("imagenet", "ImageNet")):
        agreement = {m: evidence.sample(sweep, "student_agreement", members=m) for m in (1, 5)}
        gap = evidence.sample(sweep, "student_accuracy", members=1) - evidence.sample(
            sweep, "teacher_accuracy", members=1
        )
        tests += [
            Test(f"{name}: test agreement (m = 1)", agreement[1], high=0.95),
            Test(f"{name}: student's minus teacher's test accuracy (m = 1)", gap, low=-0.02),
            Test(f"{name}: test agreement, m = 5 minus m = 1", agreement[5] - agreement[1], low=0.0),
        ]
    return tests


def c16(evidence: Evidence) -> list[Test]:
    """Training on true labels besides the teacher's does not improve fidelity (by half a point or more, at any
    alpha)."""
    tests = []
    for alpha in (0.1, 0.3, 0.5, 0.7):
        gain, sizes = mean_difference(evidence, "loss_mix", "student_agreement", {"alpha": alpha}, {"alpha": 0.0})
        tests.append(Test(f"test agreement, alpha = {alpha} minus 0 ({sizes})", gain, high=0.005))
    return tests


def c17(evidence: Evidence) -> list[Test]:
    """With ensembles, more faithful students are better calibrated: over the augmentation policies of a trial, the rank
    correlation (Spearman) of agreement and ECE is negative."""
    correlation, sizes = mean_over({m: _correlation(evidence, m) for m in (3, 5)})
    return [Test(f"rank correlation of test agreement and ECE over policies ({sizes})", correlation, high=0.0)]


def _correlation(evidence: Evidence, members: int) -> Sample:
    """Spearman's correlation over the policies that were run, in every trial that has all of them."""
    pairs = [
        (
            evidence.sample("augmentation", "student_agreement", policy=policy, members=members),
            evidence.sample("augmentation", "student_ece", policy=policy, members=members),
        )
        for policy in evidence.choices("augmentation", "policy")
    ]
    return rank_correlation([pair for pair in pairs if len(pair[0])])
