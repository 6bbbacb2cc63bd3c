"""The length of the way: against closed forms, SciPy with one component more, and sums of norms of updates."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy.integrate import solve_ivp

import fastdln as dln
from fastdln import theory as th
from fastdln.engines.reduced.krylov.pair import Pair
from fastdln.field import rhs
from fastdln.integrate.law import hypotenuse, joined, length_of_step
from fastdln.linalg import frobenius

METHODS = ("bs3", "dp5", "tsit5", "dop853", "rock", "rkc2", "auto")
ENGINES = ("lanes", "dense", "wide")
EVERY = [(m, e) for m in METHODS for e in ENGINES if e != "wide" or m not in ("rock", "rkc2", "auto")]
every = pytest.mark.parametrize(("method", "engine"), [pytest.param(*x, id="-".join(x)) for x in EVERY])
engines = pytest.mark.parametrize("engine", ENGINES)
RTOL = 1e-7
ALLOWED = {"rkc2": 100 * RTOL}  # errors of its weights are no smaller
LENGTH = ("path_length",)


def quadratic(widths, sigma=(3.0, 2.0, 0.7, 0.3)):
    return dln.Quadratic.from_singular_values(sigma[: min(widths[0], widths[-1])], shape=(widths[-1], widths[0]), rng=5)


def gaussian(widths, scale=0.4, n=None, rng=2):
    return dln.inits.gaussian(dln.Network(widths), scale, size=n, rng=rng)


def by_scipy(weights, loss, t, **options):
    """The lengths at the times t of one trajectory, a component of the flow."""
    net = dln.Network((weights[0].shape[1], *(W.shape[0] for W in weights)))

    def field(_, y):
        slope = net.pack(rhs(net.unpack(y[:-1]), loss, **options))
        return np.append(slope, np.linalg.norm(slope))

    start = np.append(net.pack(weights), 0.0)
    found = solve_ivp(field, (t[0], t[-1]), start, "DOP853", t_eval=t, rtol=1e-12, atol=1e-14)
    assert found.success
    return found.y[-1]


def chords(sol):
    """How far each record is from the one before."""
    squares = [np.square(np.diff(W.astype(np.float64), axis=-3)).sum(axis=(-2, -1)) for W in sol.weights]
    return np.sqrt(sum(squares))


def assert_same_trajectories(a, b):
    for name in ("_final", "_t_final", "_status", "_counts"):
        assert_array_equal(getattr(a, name), getattr(b, name))


# ---- flows


@every
def test_one_layer_goes_straight(method, engine):
    """The flow of one entry is sigma - (sigma - s) e^-t, from either side."""
    t = np.linspace(0.0, 3.0, 7)
    start = (np.array([[[0.5]], [[5.0]]]),)
    sol = dln.flow(start, dln.Quadratic([[2.0]]), (0, 3), t, method, RTOL, record=LENGTH, engine=engine)
    expected = np.abs(2.0 - start[0][:, :, 0]) * -np.expm1(-t)
    assert_allclose(sol.path_length, expected, rtol=ALLOWED.get(method, 10 * RTOL))


@every
def test_a_balanced_mode_goes_straight(method, engine):
    """All layers of a mode have the same singular value s: the length is h^(1/2) |s(t) - s(0)|."""
    net, sigma = dln.Network((2, 3, 3, 2)), (3.0, 1.0)
    loss = dln.Quadratic.from_singular_values(sigma, shape=(2, 2), rng=1)
    start = dln.inits.decoupled(net, loss, (0.3, 0.0), rng=1)
    t = np.linspace(0.0, 1.0, 5)
    sol = dln.flow(start, loss, (0, 1), t, method, RTOL, record=LENGTH, engine=engine)
    expected = np.sqrt(3) * (th.exact.mode(t, 0.3, sigma[0], 3) - 0.3)
    assert_allclose(sol.path_length, expected, rtol=ALLOWED.get(method, 10 * RTOL), atol=1e-15)


GENERAL, RATES = (3, 5, 4, 3), {"weight_decay": 0.2, "layer_rates": (1.0, 2.0, 0.5)}


@functools.cache
def expected_of_general(t):
    return by_scipy(gaussian(GENERAL), quadratic(GENERAL), t, **RATES)


@every
def test_lengths_of_general_networks(method, engine):
    """With rates, decay and modes that are learned one after another, by records within steps and at their ends."""
    t, loss, start, options = np.linspace(0.0, 4.0, 9), quadratic(GENERAL), gaussian(GENERAL), RATES
    sol = dln.flow(start, loss, (0, 4), t, method, RTOL, record=LENGTH, engine=engine, **options)
    assert_allclose(sol.path_length, expected_of_general(tuple(t)), rtol=10 * RTOL, atol=1e-15)
    quiet = dln.flow(start, loss, (0, 4), method=method, rtol=RTOL, engine=engine, **options)
    assert_same_trajectories(sol, quiet)


@pytest.mark.parametrize("widths", [(2, 2), (2, 30, 2), (4, 3, 3, 3, 4), (1, 40, 40, 1)], ids=str)
@engines
def test_lengths_without_decay(widths, engine):
    loss, start, t = quadratic(widths), gaussian(widths, 0.7), np.linspace(0.0, 1.0, 4)
    sol = dln.flow(start, loss, (0, 1), t, rtol=1e-9, record=LENGTH, engine=engine)
    assert_allclose(sol.path_length, by_scipy(start, loss, t), rtol=1e-8, atol=1e-15)


STIFF, REST = dln.Quadratic(np.diag([20.0, 1.0, 0.2])), (0.0, 10.0, 40.0, 200.0)


@functools.cache
def expected_at_rest(hidden, times):
    return by_scipy(gaussian((3, hidden, 3), 0.1), STIFF, times)


@pytest.mark.parametrize("method", ["tsit5", "dp5", "rock", "auto"])
@pytest.mark.parametrize("engine", ["lanes", "dense"])
def test_a_network_at_rest_goes_no_further(method, engine):
    """Where stability limits the steps, slopes tell rounding: it must not add up, as the length would for ever."""
    sol = dln.flow(gaussian((3, 6, 3), 0.1), STIFF, (0, 200), REST, method, 1e-6, record=LENGTH, engine=engine)
    assert_allclose(sol.path_length, expected_at_rest(6, REST), rtol=1e-5, atol=1e-15)


def test_wide_networks_at_rest_go_no_further():
    sol = dln.flow(gaussian((3, 12, 3), 0.1), STIFF, (0, 40), REST[:3], record=LENGTH, engine="wide")
    assert_allclose(sol.path_length, expected_at_rest(12, REST[:3]), rtol=1e-5, atol=1e-15)


@engines
def test_the_way_back_is_as_long(engine):
    loss, start = quadratic((2, 4, 2)), gaussian((2, 4, 2))
    there = dln.flow(start, loss, (0, 1), [0, 0.3, 1], rtol=1e-10, record=LENGTH)
    back = dln.flow(there.final, loss, (1, 0), [1, 0.3, 0], rtol=1e-10, record=LENGTH, engine=engine)
    assert_allclose(back.path_length, there.path_length[-1] - there.path_length[::-1], rtol=1e-8, atol=1e-15)


@pytest.mark.parametrize("method", ["tsit5", "dop853", "rock", "rkc2"])
@pytest.mark.parametrize("engine", ["lanes", "dense"])
def test_records_are_as_if_there_were_no_others(method, engine):
    """Nor do they depend on the batch, and steps do not depend on them."""
    widths = (3, 4, 3)
    loss, start = quadratic(widths), gaussian(widths, n=11)
    many = np.linspace(0.0, 2.0, 21)
    few = many[[0, 7, 20]]
    a = dln.flow(start, loss, (0, 2), few, method, record=(*LENGTH, "learning_times"), engine=engine)
    b = dln.flow(start, loss, (0, 2), many, method, record=("loss", "grad_norm", *LENGTH), engine=engine, threads=1)
    assert_array_equal(a.path_length, b.path_length[:, [0, 7, 20]])
    assert_same_trajectories(a, b)
    own = tuple(W[4] for W in start)
    assert_array_equal(dln.flow(own, loss, (0, 2), few, method, record=LENGTH, engine=engine).path_length,
                       a.path_length[4])  # fmt: skip
    assert_same_trajectories(a, dln.flow(start, loss, (0, 2), method=method, engine=engine))
    assert_array_equal(
        a.learning_times,
        dln.flow(start, loss, (0, 2), method=method, engine=engine, record=("learning_times",)).learning_times,
    )


def test_straight_line_code_and_the_interpreter_take_the_same_steps():
    """Small networks in batches of thousands have code of their own, which does not know lengths."""
    loss, start = quadratic((2, 2, 2)), gaussian((2, 2, 2), n=5000)
    sol = dln.flow(start, loss, (0, 1), record=LENGTH)
    assert_same_trajectories(sol, dln.flow(start, loss, (0, 1)))
    assert_array_equal(
        sol[:3].path_length, dln.flow(tuple(W[:3] for W in start), loss, (0, 1), record=LENGTH).path_length
    )


@settings(max_examples=15)
@given(st.integers(0, 2**31), st.sampled_from(METHODS), st.floats(-2.0, 0.5), st.floats(-1.0, 1.3))
def test_no_way_is_shorter_than_its_chords(seed, method, scale, t_end):
    rng = np.random.default_rng(seed)
    widths = tuple(int(d) for d in rng.integers(1, 5, rng.integers(2, 5)))
    loss, start = quadratic(widths), gaussian(widths, 10**scale, n=3, rng=seed)
    times = np.sort(rng.uniform(0.0, 10**t_end, 6))
    sol = dln.flow(start, loss, (0, 10**t_end), times, method, 1e-5, record=(*LENGTH, "weights"))
    size = dln.flow(start, loss, (0, 10**t_end), times, method, 1e-5, record=("weight_norm",)).weight_norm.max()
    assert (np.diff(sol.path_length, axis=1) >= chords(sol) - 1e-4 * size).all()
    assert (sol.path_length[:, 0] >= 0).all()


@engines
def test_small_starts_have_lengths_of_their_size(engine):
    """Squares of these speeds underflow."""
    loss = quadratic((2, 3, 2))
    lengths = []
    for scale in (1e-30, 1e-250):
        start = tuple(scale * W for W in gaussian((2, 3, 2)))
        sol = dln.flow(start, loss, (0, 1), record=LENGTH, rtol=1e-8, engine=engine)
        lengths.append(sol.path_length / scale)
    assert_allclose(lengths[0], lengths[1], rtol=1e-7)


def test_single_precision():
    loss = quadratic((3, 4, 3))
    start = gaussian((3, 4, 3), n=3)
    t = np.linspace(0.0, 2.0, 5)
    exact = dln.flow(start, loss, (0, 2), t, rtol=1e-9, record=LENGTH).path_length
    for engine in ENGINES:
        sol = dln.flow(tuple(W.astype(np.float32) for W in start), loss, (0, 2), t, rtol=1e-6, record=LENGTH,
                       engine=engine)  # fmt: skip
        assert sol.path_length.dtype == np.float32
        assert_allclose(sol.path_length, exact, rtol=2e-5)


LOSSES = [
    dln.Power(np.eye(3)[:2], p=3.0),
    dln.Logistic(
        np.random.default_rng(1).standard_normal((3, 7)), np.where(np.arange(14).reshape(2, 7) % 3, 1.0, -1.0)
    ),
]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: type(loss).__name__)
@pytest.mark.parametrize("modified", [0.0, 0.1])
def test_modified_flows_and_other_losses(loss, modified):
    start, fine = gaussian((3, 4, 2)), np.linspace(0.0, 1.0, 1001)
    options = {"t_eval": fine, "rtol": 1e-9, "record": (*LENGTH, "weights"), "weight_decay": 0.1}
    if modified:
        sol = dln.modified_flow(start, loss, modified, (0, 1), **options)
    else:
        sol = dln.flow(start, loss, (0, 1), **options)
    assert_allclose(sol.path_length[-1], chords(sol).sum(), rtol=3e-7)  # the sum of chords is short by the step squared


@engines
def test_what_ends_early_ends_its_length(engine):
    loss, start = quadratic((2, 3, 2)), gaussian((2, 3, 2), n=3)
    times = np.linspace(0.0, 60.0, 13)
    stopped = dln.flow(start, loss, (0, 60), times, record=(*LENGTH, "loss"), stop=dln.Stop(loss=1e-3), engine=engine)
    assert np.isnan(stopped.path_length).any()
    assert_array_equal(np.isnan(stopped.path_length), np.isnan(stopped.loss))
    certified = dln.flow(start, loss, (0, 60), times, record=LENGTH, certify=True, engine=engine)
    assert certified.certified.all()
    assert_array_equal(certified.path_length[:, -1], certified.path_length[:, -2])
    assert_allclose(certified.path_length, dln.flow(start, loss, (0, 60), times, record=LENGTH).path_length, rtol=1e-4)


@pytest.mark.parametrize("method", ["tsit5", "auto"])
@engines
def test_a_flow_that_goes_on_goes_on_with_its_length(tmp_path, method, engine):
    if engine == "wide" and method == "auto":
        pytest.skip("the wide engine has explicit methods only")
    loss, start = quadratic((2, 4, 2)), gaussian((2, 4, 2), n=3)
    first = dln.flow(start, loss, (0, 1), [0.5], method, record=LENGTH, engine=engine)  # its end is not recorded
    first.save(tmp_path / "first.npz")
    whole = first.extend(2.0, [1.5, 2.0])
    assert_array_equal(dln.load(tmp_path / "first.npz").extend(2.0, [1.5, 2.0]).path_length, whole.path_length)
    half = dln.flow(start, loss, (0, 1), method=method, record=LENGTH, engine=engine)
    rest = dln.flow(half.final, loss, (1, 2), [1.5, 2.0], method, atol=None, record=LENGTH, engine=engine)
    assert_allclose(whole.path_length[:, 1:], half.path_length + rest.path_length, rtol=1e-5)
    assert_array_equal(whole[1].path_length, whole.path_length[1])
    assert_array_equal(first[[2]].extend(2.0, [1.5, 2.0]).path_length[0], whole.path_length[2])


def test_files_hold_lengths_where_they_are_recorded(tmp_path):
    loss, start = quadratic((2, 2)), gaussian((2, 2))
    for record, names in (((), set()), (LENGTH, {"length", "recorded/path_length"})):
        dln.flow(start, loss, (0, 1), record=record).save(tmp_path / "sol.npz")
        with np.load(tmp_path / "sol.npz") as file:
            assert {name for name in file.files if "length" in name} == names


# ---- flows of narrow networks in place of wide ones


@pytest.mark.parametrize("decay", [0.0, 0.5])
@pytest.mark.parametrize("method", ["tsit5", "rock"])
def test_reduced_networks_go_as_far(decay, method):
    """With decay, what is left out moves too."""
    widths, t = (2, 20, 20, 3), np.linspace(0.0, 2.0, 5)
    loss, start = quadratic(widths), dln.inits.orthogonal(dln.Network(widths), 0.7, size=3, rng=1)
    options = {"weight_decay": decay, "record": (*LENGTH, "loss"), "rtol": 1e-8, "t_eval": t}
    sol = dln.flow(start, loss, (0, 2), engine="reduced", method=method, **options)
    assert (sol.integrated_widths[:, 1] < 20).all()
    assert_allclose(sol.path_length, dln.flow(start, loss, (0, 2), engine="dense", **options).path_length, rtol=1e-7)
    there = dln.flow(start, loss, (0, 1), engine="reduced", **options | {"t_eval": t[:3]})
    assert_allclose(there.extend(2.0).path_length[:, -1], sol.path_length[:, -1], rtol=1e-7)


@pytest.mark.parametrize("decay", [0.0, 0.4])
def test_approximate_reductions_go_back_with_their_length(monkeypatch, decay):
    """Legs that are not accurate enough are taken again at a higher level, and their lengths with them."""
    widths, t = (2, 140, 140, 2), np.linspace(0.0, 1.0, 5)
    loss, start = quadratic(widths), gaussian(widths, 0.9)
    options = {"weight_decay": decay, "record": LENGTH, "rtol": 1e-7, "t_eval": t}
    exact = dln.flow(start, loss, (0, 1), engine="wide", **options).path_length
    plain = dln.flow(start, loss, (0, 1), engine="reduced", **options)
    leg, failed = Pair.leg, []

    def doubted(self, begin, steps):
        found = leg(self, begin, steps)
        if len(failed) < 2 and begin.elapsed > 0:
            failed.append(begin)
            return dataclasses.replace(found, end=dataclasses.replace(found.end, error=50.0))
        return found

    monkeypatch.setattr(Pair, "leg", doubted)
    monkeypatch.setattr("fastdln.engines.reduced.krylov.trajectory.LEG", 4)
    again = dln.flow(start, loss, (0, 1), engine="reduced", **options)
    assert failed
    assert again.enlargements > 0
    for sol in (plain, again):
        assert sol.integrated_widths[1] < 140
        assert_allclose(sol.path_length, exact, rtol=1e-6, atol=1e-15)


# ---- descents

UPDATES = {
    "plain": {}, "decay": {"weight_decay": 0.1}, "heavy": {"momentum": 0.8},
    "nesterov": {"momentum": 0.8, "nesterov": True, "weight_decay": 0.1, "layer_rates": (1.0, 0.5)},
}  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("update", UPDATES)
@engines
def test_the_length_of_a_descent_is_a_sum_of_norms(update, engine, dtype):
    start = tuple(W.astype(dtype) for W in gaussian((2, 40, 2), n=3))
    every_one = dln.descend(start, quadratic((2, 40, 2)), 0.05, 30, record=(*LENGTH, "weights"), engine=engine,
                            **UPDATES[update])  # fmt: skip
    expected = np.pad(np.cumsum(chords(every_one), axis=1), ((0, 0), (1, 0)))
    digits = 20 * np.finfo(dtype).eps
    assert_allclose(every_one.path_length, expected, rtol=digits, atol=1e-15)
    some = dln.descend(start, quadratic((2, 40, 2)), 0.05, 30, record=LENGTH, record_every=7, engine=engine,
                       **UPDATES[update])  # fmt: skip
    assert_array_equal(some.path_length, every_one.path_length[:, some.steps])
    first = dln.descend(start, quadratic((2, 40, 2)), 0.05, 17, record=LENGTH, record_every=7, engine=engine,
                        **UPDATES[update])  # fmt: skip
    assert_array_equal(first.extend(13).path_length[:, [0, 1, 2, -2, -1]], some.path_length[:, [0, 1, 2, -2, -1]])
    assert_same_trajectories(some, dln.descend(start, quadratic((2, 40, 2)), 0.05, 30, engine=engine,
                                               **UPDATES[update]))  # fmt: skip


def test_descents_go_on_from_files_to_the_same_bits(tmp_path):
    start = tuple(W.astype(np.float32) for W in gaussian((2, 3, 2), n=3))
    loss = quadratic((2, 3, 2))
    half = dln.descend(start, loss, 0.01, 500, record=LENGTH, record_every=500)
    half.save(tmp_path / "half.npz")
    whole = dln.descend(start, loss, 0.01, 1000, record=LENGTH, record_every=500)
    assert_array_equal(dln.load(tmp_path / "half.npz").extend(500).path_length, whole.path_length)
    thrice = dln.descend(start, loss, 0.01, 250, record=LENGTH, record_every=500).extend(250).extend(500)
    assert_array_equal(thrice.path_length[:, [0, 2, 3]], whole.path_length)


@engines
def test_a_descent_that_diverges_has_the_length_before(engine):
    start = gaussian((2, 3, 2), n=2)
    sol = dln.descend(start, quadratic((2, 3, 2)), [0.05, 3.0], 20, record=(*LENGTH, "loss"), engine=engine)
    assert sol.status[1] == dln.Status.DIVERGED
    assert_array_equal(np.isnan(sol.path_length), np.isnan(sol.loss))
    last = sol.n_accepted[1] - 1
    moved = [
        dln.descend(
            tuple(W[1] for W in start), quadratic((2, 3, 2)), 3.0, int(last), record=("weights",), engine=engine
        )
    ]
    assert_allclose(sol.path_length[1, last], chords(moved[0]).sum(), rtol=1e-12)
    assert_allclose(sol._length[1], sol.path_length[1, last], rtol=0)


# ---- what steps of flows are measured by


def test_the_length_of_a_step():
    assert length_of_step(1.2, 1.0, 0.01) == 1.2
    assert length_of_step(1.2, 1.0, 0.05) == 1.0  # within the error
    assert length_of_step(0.9, 1.0, 0.0) == 1.0
    assert length_of_step(-0.9, 1.0, 0.0) == 1.0
    assert length_of_step(2.5, 1.0, 0.0) == 2.0
    assert length_of_step(2.5, 1.0, 0.2) == 2.0
    assert length_of_step(0.0, 0.0, 0.0) == 0.0
    assert np.isnan(length_of_step(np.nan, 1.0, 0.0))


def test_joined_errors_and_hypotenuses():
    assert joined(-3.0, 0.0) == 3.0
    assert joined(0.0, 0.0) == 0.0
    assert joined(1.0, 10.0) == pytest.approx(1.0 / np.sqrt(2.0))
    assert hypotenuse(3e200, 4e200) == pytest.approx(5e200)
    assert hypotenuse(4e-200, 3e-200) == pytest.approx(5e-200)
    assert hypotenuse(0.0, 0.0) == 0.0
    assert np.isnan(hypotenuse(np.nan, 1.0))


def test_large_layers_tell_how_far_an_update_leads():
    """Rows are copied some at a time, on threads."""
    start = gaussian((3, 1100, 1100, 3), 0.5)
    sol = dln.descend(start, quadratic((3, 1100, 1100, 3)), 0.02, 2, record=LENGTH, engine="wide")
    quiet = dln.descend(start, quadratic((3, 1100, 1100, 3)), 0.02, 1, engine="wide")
    moved = np.sqrt(sum(frobenius(a - b) ** 2 for a, b in zip(quiet.final, start, strict=True)))
    assert_allclose(sol.path_length[1], moved, rtol=1e-13)
