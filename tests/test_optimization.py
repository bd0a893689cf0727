"""Schedules and optimizers against closed forms, torch's own schedulers, and single steps by hand."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.optim.lr_scheduler import CosineAnnealingLR, LinearLR, LRScheduler

from repro.optimization.optimizers import SGD, Adam, AdamW, Optimizer
from repro.optimization.schedules import Constant, Cosine, Linear, Schedule

PEAK, EPOCHS, STEPS_PER_EPOCH = 0.05, 30, 7


def rates(schedule: Schedule, epochs: int = EPOCHS, steps_per_epoch: int = STEPS_PER_EPOCH) -> list[float]:
    """The learning rate of every step of a run."""
    return [
        schedule.learning_rate(PEAK, step=step, steps_per_epoch=steps_per_epoch, epochs=epochs)
        for step in range(epochs * steps_per_epoch)
    ]


def torch_rates(make: Callable[[torch.optim.Optimizer], LRScheduler], count: int) -> list[float]:
    """The learning rates of a torch scheduler that is moved `count` times."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=PEAK)
    scheduler = make(optimizer)
    found: list[float] = []
    for _ in range(count):
        found.append(float(scheduler.get_last_lr()[0]))
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize("final", [0.0, 1e-6, 0.01])
def test_cosine_is_torchs_at_every_epoch_and_constant_within_it(final: float) -> None:
    expected = torch_rates(lambda optimizer: CosineAnnealingLR(optimizer, T_max=EPOCHS, eta_min=final), EPOCHS)
    found = rates(Cosine(final=final))
    assert found[::STEPS_PER_EPOCH] == pytest.approx(expected, rel=1e-9)
    for epoch in range(EPOCHS):
        assert len(set(found[epoch * STEPS_PER_EPOCH : (epoch + 1) * STEPS_PER_EPOCH])) == 1


def test_cosine_per_step_is_torchs_moved_at_every_step() -> None:
    steps = EPOCHS * STEPS_PER_EPOCH
    expected = torch_rates(lambda optimizer: CosineAnnealingLR(optimizer, T_max=steps, eta_min=1e-6), steps)
    assert rates(Cosine(final=1e-6, per="step")) == pytest.approx(expected, rel=1e-9)


def test_linear_is_torchs_per_epoch_and_per_step() -> None:
    def linear(total: int) -> Callable[[torch.optim.Optimizer], LRScheduler]:
        return lambda optimizer: LinearLR(optimizer, start_factor=1.0, end_factor=0.2, total_iters=total)

    steps = EPOCHS * STEPS_PER_EPOCH
    by_epoch, by_step = torch_rates(linear(EPOCHS), EPOCHS), torch_rates(linear(steps), steps)
    assert rates(Linear(final=0.2 * PEAK))[::STEPS_PER_EPOCH] == pytest.approx(by_epoch, rel=1e-9)
    assert rates(Linear(final=0.2 * PEAK, per="step")) == pytest.approx(by_step, rel=1e-9)


def test_the_cosine_starts_at_the_peak_is_half_way_down_in_the_middle_and_ends_one_move_before_the_final_rate() -> None:
    schedule = Cosine(final=0.01)
    found = rates(schedule, epochs=10, steps_per_epoch=1)
    assert found[0] == PEAK
    assert found[5] == pytest.approx((PEAK + 0.01) / 2)
    assert found[9] == pytest.approx(0.01 + 0.5 * (PEAK - 0.01) * (1 + math.cos(math.pi * 0.9)))
    assert rates(schedule, epochs=1, steps_per_epoch=1) == [PEAK]


def test_constant_stays() -> None:
    assert set(rates(Constant())) == {PEAK}


def test_the_paper_s_student_schedule_by_hand() -> None:
    """5e-2 to 1e-6 by cosine over 300 epochs (Appendix A)."""
    schedule = Cosine(final=1e-6)
    for epoch, expected in ((0, 0.05), (75, 0.042677816), (150, 0.0250005), (299, 2.370738e-06)):
        found = schedule.learning_rate(0.05, step=epoch * 391, steps_per_epoch=391, epochs=300)
        assert found == pytest.approx(expected, rel=1e-6)


def test_warmup_per_epoch_climbs_in_equal_parts_and_reaches_the_peak_in_its_last_epoch() -> None:
    found = rates(Constant(warmup_epochs=4))
    by_epoch = found[::STEPS_PER_EPOCH]
    assert by_epoch[:6] == pytest.approx([PEAK / 4, PEAK / 2, PEAK * 3 / 4, PEAK, PEAK, PEAK])
    assert found[STEPS_PER_EPOCH - 1] == found[0]


def test_warmup_per_step_climbs_in_equal_parts_and_reaches_the_peak_in_its_last_step() -> None:
    found = rates(Constant(warmup_epochs=2, per="step"))
    warmup = 2 * STEPS_PER_EPOCH
    assert found[:warmup] == pytest.approx([PEAK * (step + 1) / warmup for step in range(warmup)])
    assert set(found[warmup:]) == {PEAK}


@pytest.mark.parametrize("per", ["epoch", "step"])
def test_after_the_warmup_the_decay_is_that_of_a_run_without_those_epochs(per: Any) -> None:
    warm = rates(Cosine(warmup_epochs=5, per=per, final=1e-3))
    assert warm[5 * STEPS_PER_EPOCH :] == pytest.approx(rates(Cosine(per=per, final=1e-3), epochs=EPOCHS - 5))


@pytest.mark.parametrize("per", ["epoch", "step"])
@pytest.mark.parametrize("warmup", [0, 1, 6, EPOCHS - 1])
def test_a_rate_is_positive_never_above_the_peak_and_never_rises_after_the_warmup(per: Any, warmup: int) -> None:
    for schedule in (Cosine(warmup_epochs=warmup, per=per), Linear(warmup_epochs=warmup, per=per)):
        found = rates(schedule)
        assert all(0 < rate <= PEAK * (1 + 1e-12) for rate in found)
        after = found[warmup * STEPS_PER_EPOCH :]
        assert after == sorted(after, reverse=True)


# -- optimizers --------------------------------------------------------------------------------------------------------

START = [1.0, -2.0]
GRADIENTS = [[0.5, 1.0], [-0.25, 2.0], [1.5, -0.5]]


def walk(optimizer: Optimizer) -> list[list[float]]:
    """Where a parameter is after each of the gradients."""
    parameter = torch.nn.Parameter(torch.tensor(START, dtype=torch.float64))
    built = optimizer.build([parameter])
    places = []
    for gradient in GRADIENTS:
        parameter.grad = torch.tensor(gradient, dtype=torch.float64)
        built.step()
        places.append(parameter.tolist())
    return places


def sgd_by_hand(rate: float, momentum: float, decay: float, nesterov: bool) -> list[list[float]]:
    places, place, velocity = [], list(START), [0.0, 0.0]
    for gradient in GRADIENTS:
        for i in range(2):
            slope = gradient[i] + decay * place[i]
            velocity[i] = momentum * velocity[i] + slope
            place[i] -= rate * (slope + momentum * velocity[i] if nesterov else velocity[i])
        places.append(list(place))
    return places


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize(("momentum", "decay"), [(0.9, 0.1), (0.9, 0.0), (0.0, 0.1)])
def test_sgd_steps_as_written_by_hand(nesterov: bool, momentum: float, decay: float) -> None:
    found = walk(SGD(learning_rate=0.1, momentum=momentum, nesterov=nesterov, weight_decay=decay))
    for at, expected in zip(found, sgd_by_hand(0.1, momentum, decay, nesterov), strict=True):
        assert at == pytest.approx(expected, rel=1e-12)


def test_the_first_nesterov_step_in_numbers() -> None:
    # slope = 0.5 + 0.1 * 1 = 0.6; step = 0.1 * (0.6 + 0.9 * 0.6) = 0.114
    first = walk(SGD(learning_rate=0.1, momentum=0.9, nesterov=True, weight_decay=0.1))[0]
    assert first[0] == pytest.approx(1.0 - 0.114)


def adam_by_hand(rate: float, beta1: float, beta2: float, decay: float, decoupled: bool) -> list[list[float]]:
    places, place, mean, square = [], list(START), [0.0, 0.0], [0.0, 0.0]
    for count, gradient in enumerate(GRADIENTS, start=1):
        for i in range(2):
            slope = gradient[i]
            if decoupled:
                place[i] -= rate * decay * place[i]
            else:
                slope += decay * place[i]
            mean[i] = beta1 * mean[i] + (1 - beta1) * slope
            square[i] = beta2 * square[i] + (1 - beta2) * slope**2
            unbiased = mean[i] / (1 - beta1**count), square[i] / (1 - beta2**count)
            place[i] -= rate * unbiased[0] / (math.sqrt(unbiased[1]) + 1e-8)
        places.append(list(place))
    return places


@pytest.mark.parametrize("decay", [0.0, 0.1])
@pytest.mark.parametrize("decoupled", [False, True])
def test_adam_adds_weight_decay_to_the_gradient_and_adamw_takes_it_from_the_weights(
    decay: float, decoupled: bool
) -> None:
    kind = AdamW if decoupled else Adam
    found = walk(kind(learning_rate=0.01, beta1=0.8, beta2=0.95, weight_decay=decay))
    for at, expected in zip(found, adam_by_hand(0.01, 0.8, 0.95, decay, decoupled), strict=True):
        assert at == pytest.approx(expected, rel=1e-9)


def test_adam_and_adamw_part_ways_only_with_weight_decay() -> None:
    assert walk(Adam(learning_rate=0.01)) == walk(AdamW(learning_rate=0.01))
    with_decay = Adam(learning_rate=0.01, weight_decay=0.1), AdamW(learning_rate=0.01, weight_decay=0.1)
    assert walk(with_decay[0])[0] != pytest.approx(walk(with_decay[1])[0])


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_a_changed_learning_rate_of_the_built_optimizer_is_obeyed(kind: type[Optimizer]) -> None:
    """The trainer sets it before every step."""
    parameter = torch.nn.Parameter(torch.tensor(START))
    built = kind(learning_rate=0.1).build([parameter])  # type: ignore[call-arg]
    built.param_groups[0]["lr"] = 0.0
    parameter.grad = torch.ones(2)
    built.step()
    assert parameter.tolist() == START
