"""Itineraries against closed forms of decoupled modes, a plain reading of the definition, and known landscapes."""

from __future__ import annotations

import dataclasses
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import brentq

import fastdln as dln
from fastdln.theory import exact
from fastdln.theory.itinerary import Itinerary, itinerary, kinds, reading, records
from fastdln.theory.itinerary.result import KINDS

TOL = 0.1
FIELDS = [f.name for f in dataclasses.fields(Itinerary) if f.name != "single"]


def decoupled(depth, sigma, layer_values, t_end, n_t=1500, record=None, rng=None, **options):
    """The flow of a square network whose modes move by themselves, and its loss."""
    r = len(sigma)
    loss = dln.Quadratic.from_singular_values(sigma, shape=(r, r), rng=rng)
    net = dln.Network((r,) * (depth + 1))
    w0 = dln.inits.decoupled(net, loss, layer_values, size=1, rng=0)
    t = np.r_[0.0, np.geomspace(t_end / 1e4, t_end, n_t - 1)]
    sol = dln.flow(w0, loss, (0.0, t_end), t_eval=t, rtol=1e-10, record=record or records(loss), **options)
    return sol[0]


class Truth:
    """Decoupled balanced modes in closed form."""

    def __init__(self, depth, sigma, layer_values, t_end):
        self.depth, self.sigma, self.start = depth, np.array(sigma), np.broadcast_to(layer_values, len(sigma))
        self.t_end = t_end

    def time(self, part):
        """When each mode has this part of its singular value."""
        s = (part * self.sigma) ** (1 / self.depth)
        return exact.mode_time(s, self.start, self.sigma, self.depth)

    def ratio(self, t, learned):
        """How far the flow is from the plateau with these learned modes, by its definition."""
        w = exact.mode(np.expand_dims(t, -1), self.start, self.sigma, self.depth) ** self.depth
        apart = (np.abs(w - learned * self.sigma) / self.sigma).max(axis=-1)
        falls = ((self.sigma - w) * self.depth * w ** (2 - 2 / self.depth) * (self.sigma - w)).sum(axis=-1)
        height = 0.5 * (self.sigma[~learned] ** 2).sum() + 0.5 * min(self.sigma[learned] ** 2, default=0.0)
        return np.maximum(apart, t * falls / height) / TOL

    def stay(self, learned):
        """Entry and exit of the plateau with these learned modes."""
        t = np.r_[0.0, np.geomspace(self.t_end / 1e5, self.t_end, 4000)]
        inside = self.ratio(t, learned) <= 1
        first, last = np.flatnonzero(inside)[[0, -1]]
        assert inside[first : last + 1].all()

        def edge(k):
            return brentq(lambda x: self.ratio(x, learned) - 1, t[k], t[k + 1], rtol=1e-12)

        return (t[0] if first == 0 else edge(first - 1)), (np.inf if last == len(t) - 1 else edge(last))


CASES = [
    (2, (27.0, 9.0, 3.0, 1.0), 1e-4, 40.0),
    (2, (5.0, 1.0), (1e-3, 1e-2), 30.0),
    (3, (4.0, 2.0, 0.5), 1e-2, 900.0),
    (4, (3.0, 1.0), 0.1, 300.0),
]


@pytest.mark.parametrize("rng", [None, 5])
@pytest.mark.parametrize(("depth", "sigma", "start", "t_end"), CASES)
def test_itinerary_of_decoupled_modes_is_the_closed_form(depth, sigma, start, t_end, rng):
    sol, truth = decoupled(depth, sigma, start, t_end, rng=rng), Truth(depth, sigma, start, t_end)
    way = itinerary(sol, sol.loss_function, tol=TOL)
    r = len(sigma)
    assert way.n_plateaus == r + 1
    assert_array_equal(way.learned, np.tril(np.ones((r + 1, r), bool), -1))
    assert_array_equal(way.counts, way.learned)
    assert_allclose(way.value, [0.5 * sum(s * s for s in sigma[k:]) for k in range(r + 1)], atol=1e-14)
    stays = np.array([truth.stay(learned) for learned in way.learned])
    assert_allclose(way.entry, stays[:, 0], rtol=2e-4)
    assert_allclose(way.exit, stays[:, 1], rtol=2e-4)
    assert_array_equal(way.order, np.argsort(truth.time(0.5)))
    assert_allclose(way.learning_times, truth.time(0.5), rtol=1e-7)
    assert_allclose(way.windows.T, [truth.time(0.1), truth.time(0.9)], rtol=2e-4)
    assert way.sequential
    assert way.kind[-1] == "global_minimum"
    assert set(way.kind[:-1]) == {"strict_saddle" if depth == 2 else "saddle"}


@pytest.mark.parametrize(("depth", "sigma", "start", "t_end"), CASES)
def test_closest_point_is_the_nearest_record(depth, sigma, start, t_end):
    sol = decoupled(depth, sigma, start, t_end, n_t=300, record=("loss", "strengths", "grad_norm", "weights"))
    way = itinerary(sol)
    W = dln.product(sol.weights)
    U, _, V = sol.loss_function.modes
    for p in range(way.n_plateaus):
        target = (U * (way.learned[p] * np.array(sigma))) @ V.T
        on = (sol.t >= way.entry[p]) & (sol.t <= way.exit[p])
        distances = np.linalg.norm(W - target, axis=(-2, -1))[on]
        assert_allclose(way.distance[p], distances.min(), rtol=1e-5, atol=1e-7)
        assert_allclose(np.linalg.norm(W[sol.t == way.closest[p]] - target), distances.min(), atol=1e-7)
        assert way.grad_norm[p] == sol.grad_norm[on].min()


def test_order_is_that_of_the_mode_times():
    """The lesser mode starts so much larger that it is learned first, by way of a strict saddle."""
    sol, truth = decoupled(2, (4.0, 2.0), (1e-7, 0.3), 20.0), Truth(2, (4.0, 2.0), (1e-7, 0.3), 20.0)
    way = itinerary(sol)
    assert truth.time(0.5)[1] < truth.time(0.5)[0]
    assert_array_equal(way.order, [1, 0])
    assert_array_equal(way.learned[-2:], [[False, True], [True, True]])
    assert_allclose(way.value[-2:], [8.0, 0.0], atol=1e-14)
    assert way.kind[-2] == "strict_saddle"
    way = itinerary(decoupled(3, (4.0, 2.0), (1e-3, 0.3), 10.0))
    assert_array_equal(way.learned[-1], [False, True])
    assert way.kind[-1] == "strict_saddle"  # also for more layers: the larger mode is unlearned


def test_learned_mode_is_exchanged_for_a_larger_one_at_a_strict_saddle():
    """A grain of the larger mode, turned into the lesser one, grows at the rate s^(h-2) (sigma_0 - sigma_1)."""
    loss = dln.Quadratic(np.diag([4.0, 2.0]))
    s = 2 ** (1 / 3)
    grain = 1e-5 * np.array([[0.0, 1.0], [0.0, 0.0]])
    w0 = (np.diag([1e-4, s]), np.diag([1e-4, s]), np.diag([1e-4, s]) + grain)
    sol = dln.flow(w0, loss, (0.0, 30.0), t_eval=np.linspace(0, 30, 600), record=records(loss))
    way = itinerary(sol)
    assert_array_equal(way.learned, [[False, True], [True, False]])
    assert_allclose(way.value, [8.0, 2.0])
    assert way.kind[0] == "strict_saddle"
    assert way.exit[0] < way.entry[1]


@pytest.mark.parametrize(("sigma", "start"), [((3.0, 2.9), 1e-2), ((4.0, 1.0), 0.7), ((4.0, 2.0), (1e-4, 0.009))])
def test_modes_that_are_learned_together_are_not_sequential(sigma, start):
    truth = Truth(2, sigma, start, 30.0)
    begin, end = truth.time(0.1), truth.time(0.9)
    assert max(np.maximum(begin, 0)) < min(end)
    assert not itinerary(decoupled(2, sigma, start, 30.0)).sequential


def test_grid_times_are_exact_for_two_layers_whatever_the_grid():
    """In the logit, in which strengths are interpolated, modes of two layers move uniformly."""
    sigma, start = (4.0, 1.0), 1e-3
    loss = dln.Quadratic.from_singular_values(sigma, shape=(2, 2))
    w0 = dln.inits.decoupled(dln.Network((2, 2, 2)), loss, start)
    t = np.linspace(0, 12, 14)
    sol = dln.flow(w0, loss, (0.0, 12.0), t_eval=t, rtol=1e-10, record=("loss", "strengths"))
    truth = Truth(2, sigma, start, 12.0)
    way = itinerary(sol)
    assert_allclose(way.learning_times, truth.time(0.5), rtol=1e-5)
    assert_allclose(way.windows.T, [truth.time(0.1), truth.time(0.9)], rtol=1e-5)
    assert np.isnan(way.grad_norm).all()


@pytest.mark.parametrize(("depth", "sigma", "start", "t_end"), CASES)
def test_loss_and_strengths_are_enough(depth, sigma, start, t_end):
    """By differences of the loss instead of the gradient the same plateaus are found, at nearly the same times."""
    options = {"layer_rates": (1.0,) * depth, "n_t": 3000}
    fine = itinerary(decoupled(depth, sigma, start, t_end, **options))
    plain = itinerary(decoupled(depth, sigma, start, t_end, record=("loss", "strengths"), **options))
    assert_array_equal(plain.learned, fine.learned)
    assert_allclose(plain.entry, fine.entry, rtol=5e-3)
    assert_allclose(plain.exit, fine.exit, rtol=5e-3)
    assert_allclose(plain.learning_times, fine.learning_times, rtol=1e-4)


@pytest.mark.parametrize(("widths", "scale", "t_end"), [((4, 6, 4), 1e-4, 30.0), ((3, 4, 4, 3), 2e-2, 600.0)])
def test_starts_near_the_origin_pass_critical_values(widths, scale, t_end):
    net, sigma = dln.Network(widths), np.array([16.0, 4.0, 1.0])
    loss = dln.Quadratic.from_singular_values(sigma, shape=(widths[-1], widths[0]), rng=1)
    values = [0.5 * (sigma[k:] ** 2).sum() for k in range(4)]
    t = np.r_[0.0, np.geomspace(t_end / 1e4, t_end, 800)]
    w0 = dln.inits.gaussian(net, scale, size=12, rng=0)
    sol = dln.flow(w0, loss, (0.0, t_end), t_eval=t, record=records(loss))
    way = itinerary(sol)
    assert (way.n_plateaus >= 2).all()
    for k in range(12):
        p = way.n_plateaus[k]
        assert np.isin(way.value[k, :p].round(9), np.round(values, 9)).all()
        assert (np.diff(way.value[k, :p]) < 0).all()
        assert (way.exit[k, : p - 1] <= way.entry[k, 1:p]).all()
        at = np.searchsorted(sol.t, way.closest[k, :p])
        assert_allclose(sol.loss[k, at], way.value[k, :p], atol=0.02 * way.value[k, 0])
        assert np.isnan(way.value[k, p:]).all()
        assert (way.kind[k, p:] == "").all()
        assert (way.counts[k, p:] == -1).all()
        assert not way.learned[k, p:].any()
    if len(widths) == 3:
        assert (way.n_plateaus == 4).all()
        assert way.sequential.all()


# ---- the definition, read plainly


def plainly(t, w, L, sigma, tol):
    """First and last record and learned modes of the plateaus of one trajectory, and of each mode the times of passing.

    Record by record, as the docstring of `itinerary` says, for distinct sigma and t from 0.
    """
    found, previous = [], None
    for i in range(len(t)):
        S = w[i] >= sigma / 2
        height = 0.5 * (sigma[~S] ** 2).sum() + 0.5 * min(sigma[S] ** 2, default=0.0)
        apart = np.abs(w[i] - S * sigma) / sigma
        hidden = max(2 * L[i] - ((sigma - w[i]) ** 2).sum(), 0)
        if i == 0:
            pace = abs(L[1] - L[0])
        elif i == len(t) - 1:
            pace = t[i] * abs((L[i] - L[i - 1]) / (t[i] - t[i - 1]))
        else:
            a, b = t[i] - t[i - 1], t[i + 1] - t[i]
            pace = t[i] * abs((b / a * (L[i] - L[i - 1]) + a / b * (L[i + 1] - L[i])) / (a + b))
        on = apart.max() <= tol and pace <= tol * height and hidden <= tol**2 * 2 * height
        if on and previous is not None and (previous == S).all():
            found[-1][1] = i
        elif on:
            found.append([i, i, S])
        previous = S if on else None
    return found


def synthetic(t, w, L, sigma):
    """Trajectories with such records, of a network with three layers."""
    r = len(sigma)
    loss = dln.Quadratic(np.diag(sigma))
    w0 = tuple(np.zeros((len(w), r, r)) for _ in range(3))
    sol = dln.flow(w0, loss, (0.0, t[-1]), t_eval=t, record=("loss", "strengths"))
    return dataclasses.replace(sol, _recorded={"loss": L, "strengths": w})


@given(st.integers(0, 2**32 - 1), st.integers(1, 4))
def test_synthetic_strengths_are_read_as_defined(seed, r):
    rng = np.random.default_rng(seed)
    n, t = 5, np.r_[0.0, np.geomspace(1e-2, 1e2, rng.integers(20, 200))]
    sigma = np.sort(rng.uniform(0.5, 5, r))[::-1] * np.arange(r, 0, -1)
    center = 10 ** rng.uniform(-1.5, 2.2, (n, 1, r))
    steep = rng.uniform(4, 60, (n, 1, r))
    with np.errstate(over="ignore", divide="ignore"):
        part = 1 / (1 + (center / t[:, None]) ** steep)
    w = part * sigma
    L = 0.5 * ((sigma - w) ** 2).sum(axis=-1) + rng.choice([0.0, 0.02], (n, 1)) * (sigma**2).sum()
    way = itinerary(synthetic(t, w, L, sigma), tol=TOL)
    for k in range(n):
        expected = plainly(t, w[k], L[k], sigma, TOL)
        assert way.n_plateaus[k] == len(expected)
        for p, (first, last, learned) in enumerate(expected):
            assert_array_equal(way.learned[k, p], learned)
            assert t[max(first - 1, 0)] <= way.entry[k, p] <= t[first]
            end = np.inf if last == len(t) - 1 else t[last + 1]
            assert t[last] <= way.exit[k, p] <= end
            assert t[first] <= way.closest[k, p] <= t[last]
        reached = center[k, 0] < t[-1]
        assert_array_equal(~np.isnan(way.learning_times[k]), reached)
        assert_array_equal(way.order[k][: reached.sum()], [j for j in np.argsort(center[k, 0]) if reached[j]])
        assert (way.order[k][reached.sum() :] == -1).all()
        step = np.diff(np.log(t[1:]))[0]
        assert_allclose(np.log(way.learning_times[k][reached]), np.log(center[k, 0][reached]), atol=step)
        # truth of the windows, where the grid can tell them apart
        begin, end = (center[k, 0] * 9 ** (x / steep[k, 0]) for x in (-1, 1))
        order = [j for j in np.argsort(begin) if reached[j]]
        gaps = [np.log(begin[j] / end[i]) for i, j in pairwise(order)]
        if all(abs(gap) > 2 * step for gap in gaps):
            assert way.sequential[k] == (len(order) > 0 and all(gap > 0 for gap in gaps))


def test_products_that_no_strength_tells_from_critical_ones_are_no_plateaus():
    """A product of rank one has the strengths of the target; and one with zero strengths is far from zero."""
    t, sigma = np.geomspace(1, 10, 5), np.array([2.0, 1.0])
    w = np.broadcast_to(sigma, (1, 5, 2)).copy()
    assert itinerary(synthetic(t, w, np.zeros((1, 5)), sigma)).n_plateaus == 1
    assert itinerary(synthetic(t, w, np.full((1, 5), 2.0), sigma)).n_plateaus == 0  # off-diagonal entries 1.4
    assert itinerary(synthetic(t, 0 * w, np.full((1, 5), 2.5), sigma)).n_plateaus == 1
    assert itinerary(synthetic(t, 0 * w, np.full((1, 5), 4.5), sigma)).n_plateaus == 0  # off-diagonal entries 1.4


def test_strength_that_begins_to_rise_twice_is_under_way_from_the_second_time():
    t, sigma = np.linspace(0, 9, 10), np.array([1.0])
    w = np.array([0, 0.2, 0.05, 0.05, 0.4, 0.6, 0.95, 0.85, 0.95, 1])[None, :, None]
    way = itinerary(synthetic(t, w, 0.5 * (1 - w[..., 0]) ** 2, sigma))
    begin, end = way.windows[0, 0]
    assert 3 < begin < 4
    assert 5 < end < 6


# ---- landscapes with something special


def test_equal_singular_values_are_learned_as_a_subspace():
    """Modes of a rotated basis, one small and one large at the start, in the plane of the equal singular values."""
    sigma, start = np.array([2.0, 2.0, 0.5]), np.array([0.1, 1e-6, 1e-7])
    loss, _net = dln.Quadratic(np.diag(sigma)), dln.Network((3, 3, 3))
    angle = 0.6
    Q = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    w0 = (Q * start) @ Q.T
    t = np.linspace(0, 60, 2000)
    sol = dln.flow((w0, w0), loss, (0.0, 60.0), t_eval=t, rtol=1e-9, record=records(loss))
    way = itinerary(sol)
    times = exact.mode_time(np.sqrt(0.5 * sigma), start, sigma, 2)
    assert_allclose(way.learning_times, times, rtol=1e-4)
    assert_array_equal(way.order, [0, 1, 2])
    assert_array_equal(way.counts[-3:], [[1, 1, 0], [2, 2, 0], [2, 2, 1]])
    assert_array_equal(way.learned[-3:], [[False] * 3, [True, True, False], [True] * 3])
    assert_allclose(way.value[-3:], [2.125, 0.125, 0], atol=1e-14)
    assert way.sequential
    assert "some of 0 1" in way.describe()
    assert (way.distance[-3:] < 0.02).all()


def test_vanishing_singular_values_are_never_learned():
    loss = dln.Quadratic.from_singular_values((3.0, 1e-14), shape=(3, 3), rng=0)
    w0 = dln.inits.gaussian(dln.Network((3, 4, 3)), 0.01, rng=0)
    sol = dln.flow(w0, loss, (0.0, 200.0), t_eval=np.linspace(0, 200, 400), record=records(loss))
    way = itinerary(sol)
    assert_array_equal(way.order, [0, -1, -1])
    assert_array_equal(way.learned[-1], [True, False, False])
    assert way.kind[-1] == "global_minimum"
    assert way.sequential


def test_bottleneck_ends_in_the_least_value_of_its_rank():
    loss = dln.Quadratic.from_singular_values((8.0, 2.0, 1.0), shape=(3, 3), rng=0)
    w0 = dln.inits.gaussian(dln.Network((3, 1, 3)), 1e-3, rng=0)
    sol = dln.flow(w0, loss, (0.0, 40.0), t_eval=np.linspace(0, 40, 400), record=records(loss))
    way = itinerary(sol)
    assert_allclose(way.value, [34.5, 2.5])
    assert_array_equal(way.kind, ["strict_saddle", "global_minimum"])
    assert way.exit[-1] == np.inf


def test_zero_target_has_no_plateaus():
    loss = dln.Quadratic(np.zeros((2, 2)))
    w0 = dln.inits.gaussian(dln.Network((2, 2, 2)), 0.1, size=3, rng=0)
    way = itinerary(dln.flow(w0, loss, (0.0, 5.0), t_eval=np.linspace(0, 5, 9), record=records(loss)))
    assert_array_equal(way.n_plateaus, 0)
    assert way.value.shape == (3, 0)
    assert_array_equal(way.order, -1)
    assert not way.sequential.any()
    assert way.describe(1) == "learned no mode"


def test_one_layer_has_no_plateau_but_the_minimum():
    loss = dln.Quadratic(np.diag([2.0, 1.0]))
    sol = dln.flow((np.zeros((2, 2)),), loss, (0.0, 30.0), t_eval=np.geomspace(1e-3, 30, 200), record=records(loss))
    way = itinerary(sol)
    assert_array_equal(way.kind, ["global_minimum"])
    assert_allclose(way.learning_times, np.log(2), rtol=1e-5)
    assert not way.sequential


def test_unwhitened_inputs_are_measured_in_whitened_ones():
    """A start that is decoupled in whitened inputs of one variance per mode: each mode learns at a rate of its own."""
    variance, sigma = np.array([4.0, 0.25]), np.array([1.0, 3.0])  # whitened: 2 and 1.5, in the other order
    X = np.sqrt(2 * variance) * np.eye(2)
    noise = np.array([[1.0, -1.0], [1.0, 1.0]])
    loss = dln.Regression(np.hstack([X, X]), np.hstack([sigma * X + noise, sigma * X - noise]))
    assert_allclose(loss.quadratic.input_gram, np.diag(variance / 1), atol=1e-12)
    w0 = (1e-4 * np.eye(2), 1e-4 * np.eye(2))
    t = np.linspace(0, 80, 1500)
    sol = dln.flow(w0, loss, (0.0, 80.0), t_eval=t, rtol=1e-9, record=records(loss))
    way = itinerary(sol)
    # each mode: ds/dt = variance s (sigma - s^2), a balanced mode whose time runs by the variance
    times = exact.mode_time(np.sqrt(sigma / 2), 1e-4, sigma, 2) / variance
    assert_allclose(way.learning_times, times, rtol=1e-4)
    assert_allclose(way.value, loss.floor + np.array([3.125, 1.125, 0]), rtol=1e-12)
    assert_array_equal(way.learned, [[False, False], [True, False], [True, True]])
    W = dln.product(sol.weights)
    at = np.searchsorted(t, way.closest[1])
    assert_allclose(way.distance[1], np.linalg.norm((W[at] - np.diag([1.0, 0])) * np.sqrt(variance)), rtol=1e-6)


# ---- batches


def batch(n=23, **options):
    loss = dln.Quadratic.from_singular_values((9.0, 3.0, 1.0), shape=(3, 4), rng=2)
    w0 = dln.inits.gaussian(dln.Network((4, 3, 3)), 1e-2, size=n, rng=0)
    t = np.linspace(0, 20, 150)
    return dln.flow(w0, loss, (0.0, 20.0), t_eval=t, record=records(loss), **options)


def assert_same_way(a, b):
    for name in FIELDS:
        x, y = getattr(a, name), getattr(b, name)
        if name not in ("n_plateaus", "learning_times", "order", "windows", "sequential"):
            axis = 0 if a.single else 1  # of plateaus, longer where another trajectory of the batch has more
            p = min(x.shape[axis], y.shape[axis])
            x, y = (np.take(z, range(p), axis=axis) for z in (x, y))
        assert_array_equal(x, y, err_msg=name)


def test_bits_do_not_depend_on_the_batch(monkeypatch):
    sol = batch()
    whole = itinerary(sol)
    for index in (slice(4, 9), [17]):
        part, chosen = itinerary(sol[index]), whole[index]
        assert_array_equal(part.n_plateaus, chosen.n_plateaus)
        assert_same_way(part, chosen)
    one = itinerary(sol[7])
    assert one.single
    assert one.value.ndim == 1
    assert_same_way(one, whole[7])
    monkeypatch.setattr(reading, "_CHUNK_BYTES", 1)
    assert_same_way(itinerary(sol), whole)


def test_many_modes_are_summed_alike_in_any_batch():
    r = 11
    loss = dln.Quadratic.from_singular_values(3.0 ** np.arange(r, 0, -1) / 3**8, shape=(r, r), rng=0)
    w0 = dln.inits.gaussian(dln.Network((r, r, r)), 1e-3, size=6, rng=0)
    sol = dln.flow(w0, loss, (0.0, 3.0), t_eval=np.linspace(0, 3, 120), record=records(loss))
    whole = itinerary(sol)
    assert whole.n_plateaus.min() >= 2
    for k in range(6):
        assert_same_way(itinerary(sol[[k]]), whole[[k]])


def test_each_trajectory_is_held_against_its_own_target():
    targets = np.stack([np.diag([9.0, 1.0]), np.diag([2.0, 2.0]), np.diag([0.0, 4.0]), np.zeros((2, 2))])
    loss = dln.Quadratic(targets)
    w0 = dln.inits.gaussian(dln.Network((2, 3, 2)), 1e-2, size=4, rng=0)
    t = np.linspace(0, 30, 300)
    sol = dln.flow(w0, loss, (0.0, 30.0), t_eval=t, record=records(loss))
    way = itinerary(sol)
    for k in range(4):
        alone = dln.flow(tuple(W[k] for W in w0), loss[k], (0.0, 30.0), t_eval=t, record=records(loss))
        assert_same_way(itinerary(sol[k]), way[k])
        assert_same_way(itinerary(alone), way[k])
    assert (way.n_plateaus[:3] >= 2).all()
    assert way.n_plateaus[3] == 0


def test_trajectories_that_end_early_end_their_plateaus():
    sol, short = batch(), batch(max_steps=60)
    ended = short.status == dln.Status.MAX_STEPS
    assert ended.any()
    whole, way = itinerary(sol), itinerary(short)
    for k in np.flatnonzero(ended):
        p = way.n_plateaus[k]
        seen = short.t[np.isfinite(short.loss[k])]
        assert 0 < p <= whole.n_plateaus[k]
        assert_array_equal(way.value[k, :p], whole.value[k, :p])
        assert_allclose(way.entry[k, :p], whole.entry[k, :p])
        assert (way.entry[k, :p] <= seen[-1]).all()
        assert np.isinf(way.exit[k, p - 1]) or way.exit[k, p - 1] <= seen[-1]
        assert (np.nan_to_num(way.learning_times[k]) <= short.t_final[k]).all()


def test_starts_that_are_not_finite_spoil_no_other():
    sol = batch(5)
    w0 = tuple(W.copy() for W in sol.start)
    w0[0][2, 0, 0] = np.nan
    bad = dln.flow(w0, sol.loss_function, (0.0, 20.0), t_eval=sol.t, record=records(sol.loss_function))
    way = itinerary(bad)
    assert way.n_plateaus[2] == 0
    assert not way.sequential[2]
    assert_array_equal(way.order[2], -1)
    others = [0, 1, 3, 4]
    assert_same_way(way[others], itinerary(sol[others]))


def test_backward_flows_have_their_plateaus_in_reverse():
    loss = dln.Quadratic(np.diag([4.0, 1.0]))
    w0 = (np.diag([1.9999, 0.99999]),) * 2
    t = np.linspace(8, 0, 400)
    sol = dln.flow(w0, loss, (8.0, 0.0), t_eval=t, rtol=1e-10, record=records(loss))
    way = itinerary(sol)
    assert_array_equal(way.learned, [[True, True], [False, True], [False, False]])  # the larger mode leaves at rate 8
    assert (way.entry[1:] < way.exit[:-1]).all()
    assert (way.exit < way.entry).all()
    assert way.entry[0] == 8
    assert way.exit[-1] == -np.inf


def test_single_precision_is_read_as_well():
    sol = batch(6)
    low = dataclasses.replace(sol, _recorded={name: x.astype(np.float32) for name, x in sol._recorded.items()})
    a, b = itinerary(low), itinerary(sol)
    assert_array_equal(a.n_plateaus, b.n_plateaus)
    assert_array_equal(a.learned, b.learned)
    assert_allclose(a.entry, b.entry, rtol=1e-3)


# ---- forms, refusals


def test_selection_text_and_dataset():
    way = itinerary(batch(4))
    assert len(way) == 4
    assert len(way[[True, False, True, False]]) == 2
    assert_array_equal(way[2].order, way.order[2])
    with pytest.raises(TypeError, match="no trajectory axis"):
        way[2][0]
    text = way.describe(2)
    assert text == str(way[2])
    assert text.startswith("learned modes 0, 1, 2, one after another\nstrict saddle of value 45.5, learned none: ent")
    assert "global minimum of value 0, learned 0 1 2" in text
    assert "4 sequential" in repr(way)
    pytest.importorskip("xarray")
    data = way.to_dataset()
    assert data["value"].dims == ("trajectory", "plateau")
    assert data["learned"].dims == ("trajectory", "plateau", "mode")
    assert data["windows"].dims == ("trajectory", "mode", "edge")
    assert way[1].to_dataset()["order"].dims == ("mode",)
    assert set(np.unique(way.kind)) <= {*KINDS, ""}


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (("strengths",), r'"loss" was not recorded.*record=\(\'loss\', \'strengths\', \'grad_norm\''),
        (("loss",), r'"strengths" was not recorded.*record='),
    ],
)
def test_missing_records_are_asked_for(record, message):
    loss = dln.Quadratic(np.eye(2))
    sol = dln.flow((np.eye(2),), loss, (0.0, 1.0), record=record)
    with pytest.raises(ValueError, match=message):
        itinerary(sol)


def test_refusals():
    sol = batch(2)
    with pytest.raises(TypeError, match=r"sol must be the Trajectories.*ndarray"):
        itinerary(np.ones(3))
    with pytest.raises(TypeError, match="loss must be a Loss"):
        itinerary(sol, np.eye(3))
    with pytest.raises(ValueError, match="not the one that was descended"):
        itinerary(sol, dln.Quadratic(np.ones((3, 4))))
    for tol in (0, 0.5, np.nan):
        with pytest.raises(ValueError, match="tol must lie between 0 and 1/2"):
            itinerary(sol, tol=tol)
    rng = np.random.default_rng(0)
    X, Y = rng.standard_normal((3, 9)), rng.standard_normal((2, 9))
    w0 = dln.inits.gaussian(dln.Network((3, 2, 2)), 0.1, rng=0)
    plain = dln.flow(w0, dln.Regression(X, Y), (0.0, 1.0), record=("loss", "strengths"))
    with pytest.raises(ValueError, match=r'"weights" was not recorded.*whitened inputs'):
        itinerary(plain)
    flat = dln.Regression(X * [[1], [1], [0]], Y)
    with pytest.raises(TypeError, match="cannot be whitened: X X' has rank 2"):
        itinerary(dln.flow(w0, flat, (0.0, 1.0), record=records(flat)))
    with pytest.raises(TypeError, match="loss must be a Loss"):
        records("loss")
    with pytest.raises(ValueError, match="nothing was recorded at any time"):
        itinerary(dln.flow(w0, dln.Quadratic(np.ones((2, 3))), (0.0, 1.0), t_eval=[], record=("loss", "strengths")))


def test_one_record_is_enough_where_it_is_at_rest():
    loss = dln.Quadratic(np.diag([2.0, 1.0]))
    w0 = (np.diag(np.sqrt([2.0, 1.0])),) * 2
    sol = dln.flow(w0, loss, (0.0, 1.0), record=records(loss))
    way = itinerary(sol)
    assert_array_equal(way.kind, ["global_minimum"])
    assert np.isnan(way.windows).all()  # nothing was under way
    assert not way.sequential
    assert itinerary(dln.flow(w0, loss, (0.0, 1.0), record=("loss", "strengths"))).n_plateaus == 0  # one loss, no slope


def test_saddles_are_told_apart_by_recorded_weights():
    """A residual chain through the inner layers makes the saddle that a flow rests at strict, small starts do not."""
    net = dln.Network((3, 4, 4, 3))
    loss = dln.Quadratic.from_singular_values((4.0, 2.0, 1.0), shape=(3, 3), rng=0)
    small = dln.inits.decoupled(net, loss, 0.02)
    # the middle layer carries a unit between nodes that neither the input nor the output reaches: a chain (1, 2)
    chained = tuple(W.copy() for W in small)
    chained[1][3, 3] = 1.0
    starts = tuple(np.stack(pair) for pair in zip(small, chained, strict=True))
    times = np.r_[0.0, np.geomspace(1.0, 400.0, 600)]
    sol = dln.flow(starts, loss, (0.0, 400.0), times, rtol=1e-9, record=("loss", "strengths", "grad_norm", "weights"))
    way = itinerary(sol.raise_for_status())
    leading = [way.learned[k, : way.n_plateaus[k]].sum(axis=-1).tolist() for k in range(2)]
    assert leading == [[0, 1, 2, 3]] * 2
    assert (way.kind[:, :3] == "saddle").all()
    found = kinds(sol, way)
    assert found[0].tolist() == ["nonstrict_saddle"] * 3 + ["global_minimum"]
    assert found[1].tolist() == ["strict_saddle"] * 3 + ["global_minimum"]
    assert kinds(sol[1], way[1]).tolist() == found[1].tolist()


def test_kinds_refuse_what_they_can_not_judge():
    sol = decoupled(3, (4.0, 1.0), 1e-2, 100.0)
    with pytest.raises(ValueError, match='"weights" were not recorded'):
        kinds(sol, itinerary(sol))
    loss = sol.loss_function
    start = tuple(W[None].repeat(2, axis=0) for W in dln.inits.decoupled(sol.network, loss, 0.1))
    other = dln.flow(start, loss, (0.0, 1.0), record=("loss", "strengths", "weights"))
    with pytest.raises(ValueError, match="other trajectories"):
        kinds(other, itinerary(sol))


def test_descents_with_rates_of_their_own_are_read_each_at_its_own_times():
    net, loss = dln.Network((3, 3, 3)), dln.Quadratic.from_singular_values((4.0, 2.0, 0.5), (3, 3), rng=0)
    w0 = dln.inits.gaussian(net, 0.003, rng=1)
    record = (*records(loss), "weights")
    rates = [0.004, 0.008, 0.016]
    sol = dln.descend(w0, loss, rates, 8000, record=record, record_every=5)
    way = itinerary(sol)
    for k, rate in enumerate(rates):
        alone = itinerary(dln.descend(w0, loss, rate, 8000, record=record, record_every=5))
        for name in ("entry", "exit", "value", "order"):
            found, expected = getattr(way[k], name), getattr(alone, name)
            assert np.array_equal(found[: len(expected)], expected, equal_nan=name != "order")
        assert (kinds(sol, way)[k][: alone.n_plateaus] != "saddle").all()
    slow = dln.flow(w0, loss, (0.0, 32.0), np.linspace(0.0, 32.0, 1601), record=record)
    assert_allclose(way[0].learning_times, slow.learning_times, rtol=0.02)
    assert (way.order == itinerary(slow).order).all()
