"""Step-size control over lanes against the formulas, one lane at a time in plain Python."""

from __future__ import annotations

import math

import numpy as np
import pytest

from fastdln.integrate.control import gains
from fastdln.integrate.tableaus import EXPLICIT, TSIT5
from fastdln.kernels.lockstep import control
from tests.support.kernels import call

LANES = 8
PAR = dict.fromkeys(control.PARAMETERS, 0.0) | gains(TSIT5)._asdict() | {
    "end": 10.0, "rtol": 1e-6, "max_attempts": 100.0, "stop_gradient": -1.0, "stop_loss2": -1.0, "direction": 1.0,
}  # fmt: skip


def lanes_of_control(seed=0):
    """Lanes in the middle of a step each."""
    rng = np.random.default_rng(seed)
    ctl = np.zeros((control.CONTROL_ROWS, LANES))
    ctl[control.ACTIVE] = 1.0
    ctl[control.TIME] = rng.uniform(0, 5, LANES)
    ctl[control.STEP] = rng.uniform(0.01, 1, LANES)
    ctl[control.REACHED] = ctl[control.TIME]
    ctl[control.OLD_ERROR] = rng.uniform(-5, 0, LANES)
    ctl[control.REJECTED] = rng.integers(0, 2, LANES)
    ctl[control.NEXT_OUTPUT] = ctl[control.LONGEST] = np.inf
    return ctl


def end_step(ctl, sums, sizes, **changes):
    """Run the kernel; ``sums`` (estimates, layers, lanes).  Returns control, mask, flags."""
    ctl = ctl.copy()
    par = np.array(list((PAR | changes).values()))
    sums, sizes = np.ascontiguousarray(sums, float), np.asarray(sizes, float)
    mask, flags = np.zeros(LANES), np.zeros(3, np.int64)
    call("end_step", "f8", LANES, ctl, par, sums, sizes, sums.shape[1], sums.shape[0], mask, flags)
    return ctl, mask, flags


def bits(flags, number):
    return np.array([(flags[number] >> l) & 1 for l in range(LANES)], bool)


@pytest.mark.parametrize("estimates", [1, 2])
@pytest.mark.parametrize("method", EXPLICIT.values(), ids=EXPLICIT)
def test_the_next_step_follows_the_proportional_integral_law(method, estimates):
    rng = np.random.default_rng(1)
    ctl, sizes = lanes_of_control(), np.array([4.0, 6.0, 2.0])
    sums = 10 ** rng.uniform(-6, 2, (estimates, 3, LANES))
    k = gains(method)
    after, mask, flags = end_step(ctl, sums, sizes, **k._asdict())
    for l in range(LANES):
        squares = sums[0, :, l] / sizes
        if estimates == 2:
            squares = squares**2 / (squares + 0.01 * sums[1, :, l] / sizes)
        error = math.sqrt(squares.max())
        accepted = error <= 1
        factor = 0.9 * error**-k.alpha
        if accepted:
            factor *= 2 ** (k.beta * ctl[control.OLD_ERROR, l])
            factor = min(factor, 1.0 if ctl[control.REJECTED, l] else 10.0)
        factor = max(factor, 0.2)
        h, t = ctl[control.STEP, l], ctl[control.TIME, l]
        assert after[control.NEXT_STEP, l] == pytest.approx(h * factor, rel=1e-7)
        assert after[control.REACHED, l] == (t + h if accepted else t)
        assert bool(mask[l]) == bits(flags, control.REJECTED_BITS)[l] == (not accepted)
        assert after[control.REJECTED, l] == after[control.REJECTIONS, l] == (not accepted)
        assert after[control.ATTEMPTS, l] == 1
        if accepted:
            assert after[control.OLD_ERROR, l] == pytest.approx(math.log2(error), abs=1e-7)


@pytest.mark.parametrize("method", EXPLICIT.values(), ids=EXPLICIT)
def test_no_step_is_longer_right_after_a_rejected_one(method):
    """However small its error is: a longer one was refused a moment ago.  The one after it may grow again."""
    ctl, sizes = lanes_of_control(), np.ones(1)
    ctl[control.REJECTED] = 1.0
    for error in (1.0, 1e-2, 1e-8, 0.0):
        after, *_ = end_step(ctl, np.full((1, 1, LANES), error**2), sizes, **gains(method)._asdict())
        assert (after[control.NEXT_STEP] <= ctl[control.STEP]).all()
        assert not after[control.REJECTED].any()
    assert (end_step(after, np.full((1, 1, LANES), 1e-12), sizes)[0][control.NEXT_STEP] > ctl[control.STEP]).all()


@pytest.mark.parametrize("special", [np.nan, np.inf, 1e301])
@pytest.mark.parametrize("place", [(0, 0), (0, 1), (1, 0)])
def test_an_error_that_is_not_finite_is_rejected_and_touches_its_lane_only(special, place):
    ctl, sums = lanes_of_control(), np.full((2, 2, LANES), 0.5)
    usual, *_ = end_step(ctl, sums, (1, 1))
    sums[(*place, 3)] = special
    after, mask, _ = end_step(ctl, sums, (1, 1))
    assert after[control.FAILED].tolist() == mask.tolist() == [0, 0, 0, 1, 0, 0, 0, 0]
    assert after[control.NEXT_STEP, 3] == pytest.approx(0.1 * ctl[control.STEP, 3])
    others = np.arange(LANES) != 3
    assert after[:, others].tobytes() == usual[:, others].tobytes()


def test_what_ends_a_trajectory():
    ctl, small = lanes_of_control(), np.full((1, 1, LANES), 1e-4)
    ctl[control.LAST, 0] = 1.0
    ctl[control.ATTEMPTS, 1] = 99
    ctl[control.STEP, 2] = 1e-17
    ctl[control.ACTIVE, 3] = 0.0
    ctl[control.GRADIENT] = ctl[control.LOSS2] = 1.0
    ctl[control.GRADIENT, 4] = 1e-9
    ctl[control.LOSS2, 5] = 1e-9
    after, _, flags = end_step(ctl, small, (1,), stop_gradient=1e-8, stop_loss2=1e-8)
    assert bits(flags, control.FINISHED_BITS).tolist() == [True, True, True, False, True, True, False, False]
    assert after[control.REACHED, 0] == 10.0
    assert after[control.STOPPED].tolist() == [0, 0, 0, 0, 1, 1, 0, 0]


def test_only_accepted_steps_are_remembered():
    """Neither the error of a rejected step nor what holds at its end is that of any state that was reached."""
    ctl, sums = lanes_of_control(), np.full((1, 1, LANES), 0.25)
    ctl[control.GRADIENT] = ctl[control.LOSS2] = 1e-9
    sums[0, 0, :4] = 4.0, 1e300, np.nan, np.inf
    after, _, flags = end_step(ctl, sums, (1,), stop_gradient=1e-8, stop_loss2=1e-8)
    rejected = np.arange(LANES) < 4
    assert np.array_equal(after[control.OLD_ERROR, rejected], ctl[control.OLD_ERROR, rejected])
    assert after[control.OLD_ERROR, ~rejected] == pytest.approx(-1.0, abs=1e-7)
    assert np.array_equal(after[control.STOPPED] > 0, ~rejected)
    assert np.array_equal(bits(flags, control.FINISHED_BITS), ~rejected)
    assert np.array_equal(after[control.REACHED, rejected], ctl[control.TIME, rejected])
    assert (after[control.DUE_LIMIT, rejected] == -1.0).all()


def test_output_is_due_where_an_accepted_step_passes_it():
    ctl = lanes_of_control()
    ctl[control.NEXT_OUTPUT] = ctl[control.TIME] + 0.25 * ctl[control.STEP]
    ctl[control.NEXT_OUTPUT, 1] += ctl[control.STEP, 1]
    sums = np.full((1, 1, LANES), 0.25)
    sums[0, 0, 2] = 2.0
    after, _, flags = end_step(ctl, sums, (1,))
    assert bits(flags, control.DUE_BITS).tolist() == [True, False, False, True, True, True, True, True]
    theta, within = np.zeros(LANES), np.zeros(1, np.int64)
    call("output_theta", "f8", LANES, after, theta, within)
    inside = np.arange(LANES) != 1  # an output within a rejected step is not due, but asked for before that is known
    assert theta == pytest.approx(np.where(inside, 0.25, 0.0))
    assert bits(within, 0).tolist() == inside.tolist()


def test_an_output_that_rounding_may_bring_into_the_step_counts_as_within():
    ctl = lanes_of_control()
    end = ctl[control.TIME] + ctl[control.STEP]
    ctl[control.NEXT_OUTPUT] = np.nextafter(end, np.inf)
    ctl[control.NEXT_OUTPUT, 1] = end[1] + 0.01 * ctl[control.STEP, 1]
    ctl[control.STEP, 2] = 0.0  # an idle lane
    theta, within = np.zeros(LANES), np.zeros(1, np.int64)
    call("output_theta", "f8", LANES, ctl, theta, within)
    assert bits(within, 0).tolist() == [True, False, False, True, True, True, True, True]
    assert np.isfinite(theta).all()


def test_a_step_does_not_outrun_growth_that_no_error_shows():
    ctl, step = lanes_of_control(), np.zeros(LANES)
    ctl[control.REACHED], ctl[control.NEXT_STEP] = 0.0, 0.5
    ctl[control.LONGEST] = [np.inf, 1.0, 0.5, 0.25, 1e-3, np.inf, 0.1, 0.2]
    call("begin_step", "f8", LANES, ctl, np.array(list(PAR.values())), step)
    assert step.tolist() == [0.5, 0.5, 0.5, 0.25, 1e-3, 0.5, 0.1, 0.2]


def test_steps_end_with_the_span():
    ctl = lanes_of_control()
    ctl[control.REACHED] = 9.0
    ctl[control.NEXT_STEP] = [0.5, 0.99, 1.0, 1.5, 1e9, 0.99999999, 0.1, 0.2]
    ctl[control.ACTIVE, 7] = 0.0
    par, step = np.array(list((PAR | {"direction": -1.0}).values())), np.zeros(LANES)
    call("begin_step", "f8", LANES, ctl, par, step)
    assert step.tolist() == [-0.5, -0.99, -1.0, -1.0, -1.0, -1.0, -0.1, 0.0]
    assert ctl[control.LAST, :7].tolist() == [0, 0, 1, 1, 1, 1, 0]
    assert (ctl[control.TIME] == 9.0).all()


def test_passed_thresholds():
    values, thresholds, flags = np.zeros((3, LANES)), np.ones((3, LANES)), np.zeros(3, np.int64)
    values[1, 2], values[2, 5], values[0, 6] = 1.0, 2.0, np.nan
    thresholds[2, 5], thresholds[0, 7] = 1.5, np.nan
    call("passed", "f8", LANES, flags, values, thresholds, 3)
    assert flags[0] == (1 << 2) | (1 << 5)
