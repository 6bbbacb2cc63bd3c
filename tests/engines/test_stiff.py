"""Stiff flows by the stabilized methods: right-hand sides, errors, records, and when ``"auto"`` turns to them."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy.integrate import solve_ivp

import fastdln as dln

WIDTHS = (8, 8, 8, 8)
NET = dln.Network(WIDTHS)
LOSS = dln.Quadratic.from_singular_values(np.linspace(100.0, 1.0, 8), shape=(8, 8), rng=0)
W0 = dln.inits.gaussian(NET, 0.6, size=5, rng=0)
engines = pytest.mark.parametrize("engine", ["lanes", "dense"])


def distance(weights, others):
    squares = [np.square(a - b).sum(axis=(-2, -1)) for a, b in zip(weights, others, strict=True)]
    return np.sqrt(sum(squares))


@pytest.fixture(scope="module")
def reference():
    return dln.flow(W0, LOSS, (0.0, 20.0), np.geomspace(0.01, 20, 30), "dop853", 1e-12, max_steps=10**6, record=RECORD)


RECORD = ("loss", "weights", "learning_times")


@engines
@pytest.mark.parametrize(("rtol", "gain"), [(1e-4, 10), (1e-6, 7), (1e-7, 5)])
def test_a_stiff_flow_takes_a_fraction_of_the_right_hand_sides(rtol, gain, engine, reference):
    sol = dln.flow(W0, LOSS, (0.0, 20.0), [], "rock", rtol, engine=engine)
    explicit = dln.flow(W0, LOSS, (0.0, 20.0), [], rtol=rtol)
    assert sol.success.all()
    assert gain * sol.n_rhs.mean() < explicit.n_rhs.mean()
    size = distance(reference.final, [0 * W for W in reference.final])
    assert (distance(sol.final, reference.final) < 10 * rtol * size).all()


def test_steps_grow_in_the_tail():
    """Ten times the time, all of it at rest, costs less than the first part: rounding does not keep steps short."""
    for method in ("rock", "rkc2"):
        short, long = (dln.flow(W0, LOSS, (0.0, t), [], method, 1e-5, history=True) for t in (100.0, 1000.0))
        late = long.n_rhs - short.n_rhs
        assert (late < 0.7 * short.n_rhs).all()
        assert (np.array([long.history(k)[1].max() for k in range(5)]) > 10).all()


def test_the_jacobian_is_counted_against_lsoda():
    """SciPy's LSODA evaluates the 192 columns of the Jacobian as right-hand sides; t = 200."""
    start, calls = tuple(W[1] for W in W0), 0

    def field(_, y):
        nonlocal calls
        calls += 1
        return NET.pack(dln.rhs(NET.unpack(y), LOSS))

    sol = dln.flow(start, LOSS, (0.0, 200.0), [], "rock", 1e-5)
    y0 = NET.pack(start)
    atol = 1e-8 * min(np.sqrt(np.square(W).mean()) for W in start)
    assert solve_ivp(field, (0, 200), y0, "LSODA", rtol=1e-5, atol=atol).success
    assert sol.n_rhs < calls


@engines
def test_records_are_as_good_as_the_steps(engine, reference):
    for rtol in (1e-4, 1e-6):
        sol = dln.flow(W0, LOSS, (0.0, 20.0), reference.t, "rock", rtol, record=RECORD, engine=engine)
        size = max(np.abs(W).max() for W in reference.weights)
        for W, V in zip(sol.weights, reference.weights, strict=True):
            assert_allclose(W, V, rtol=0, atol=50 * rtol * size)
        assert_allclose(sol.learning_times, reference.learning_times, rtol=10 * rtol)


@pytest.mark.parametrize("method", ["rock", "auto"])
@pytest.mark.parametrize(("widths", "scale", "t_end"), [((5, 6, 5), 1e-6, 300.0), ((5, 5, 6, 5), 0.1, 300.0)], ids=str)
def test_growth_behind_learned_modes_is_followed(widths, scale, t_end, method):
    """Steps of any length would be stable on a plateau, and their error hidden: modes would be learned too late."""
    loss = dln.Quadratic.from_singular_values((30.0, 3.0, 1.0, 0.4), shape=(5, 5), rng=1)
    w0 = dln.inits.gaussian(dln.Network(widths), scale, size=4, rng=2)
    options = {"record": "learning_times", "max_steps": 10**6}
    fine = dln.flow(w0, loss, (0.0, t_end), [], "tsit5", 1e-10, **options)
    for rtol in (1e-4, 1e-6):
        sol = dln.flow(w0, loss, (0.0, t_end), [], method, rtol, **options)
        assert sol.n_rhs.sum() < fine.n_rhs.sum() / 5
        assert_allclose(sol.learning_times, fine.learning_times, rtol=20 * rtol)


@engines
@pytest.mark.parametrize("method", ["rock", "rkc2"])
def test_right_hand_sides_are_counted(method, engine, monkeypatch):
    """Few stages where the flow is not stiff: the counts follow from steps and the least numbers of stages."""
    w0 = tuple(0.5 * W[0] for W in W0)
    sol = dln.flow(w0, dln.Quadratic(0.1 * np.eye(8)), (0.0, 1.0), method=method, engine=engine)
    steps = int(sol.n_accepted + sol.n_rejected)
    least = {"rock": 5, "rkc2": 4}[method]
    estimates = sol.n_rhs - 2 - least * steps
    assert 4 <= estimates <= 20 + steps


def test_regression_decay_and_rates_in_a_stiff_flow():
    rng = np.random.default_rng(1)
    X = rng.standard_normal((6, 40)) * np.geomspace(10, 0.3, 6)[:, None]
    loss = dln.Regression(X, rng.standard_normal((5, 40)) * 5)
    w0 = dln.inits.gaussian(dln.Network((6, 7, 5)), 0.5, size=3, rng=0)
    options = {"weight_decay": 0.05, "layer_rates": (0.5, 2.0)}
    fine = dln.flow(w0, loss, (0.0, 30.0), method="dop853", rtol=1e-11, **options)
    sol = dln.flow(w0, loss, (0.0, 30.0), method="rock", rtol=1e-6, **options)
    assert sol.n_rhs.sum() < fine.n_rhs.sum() / 5
    for W, V in zip(sol.final, fine.final, strict=True):
        assert_allclose(W, V, rtol=0, atol=2e-5)


def test_single_precision():
    """Rounding lets no step of ROCK4 be longer than an explicit one, but those of RKC2."""
    w0 = tuple(W.astype(np.float32) for W in W0)
    sol = dln.flow(w0, LOSS, (0.0, 20.0), [], "rock", 1e-3)
    fine = dln.flow(W0, LOSS, (0.0, 20.0), [], "rock", 1e-9)
    assert sol.success.all()
    assert max(np.abs(W - V).max() for W, V in zip(sol.final, fine.final, strict=True)) < 5e-2
    assert sol.n_rhs.mean() < 10_000


def test_extend_goes_on_and_files_keep_the_method(tmp_path):
    sol = dln.flow(W0, LOSS, (0.0, 2.0), method="rock", rtol=1e-6)
    sol.save(tmp_path / "flow.npz")
    again = dln.load(tmp_path / "flow.npz")
    assert again.options == sol.options
    whole = dln.flow(W0, LOSS, (0.0, 5.0), method="rock", rtol=1e-6)
    for W, V in zip(again.extend(5.0).final, whole.final, strict=True):
        assert_allclose(W, V, rtol=0, atol=1e-4)


# ---- "auto"


@engines
def test_auto_turns_where_stability_limits_the_steps(engine, reference):
    for rtol in (1e-4, 1e-6, 1e-8):
        sol, rock, explicit = (
            dln.flow(W0, LOSS, (0.0, 20.0), reference.t, method, rtol, record=RECORD, engine=engine, history=True)
            for method in ("auto", "rock", "tsit5")
        )
        assert sol.success.all()
        assert sol.n_rhs.mean() < 1.15 * rock.n_rhs.mean()
        size = distance(reference.final, [0 * W for W in reference.final])
        assert (distance(sol.final, reference.final) < 10 * rtol * size).all()
        for W, V in zip(sol.weights, reference.weights, strict=True):
            assert_allclose(W, V, rtol=0, atol=50 * rtol * max(np.abs(V).max(), 1))
        assert_allclose(sol.learning_times, reference.learning_times, rtol=10 * rtol)
        for k in range(5):
            steps, before = sol.history(k)[0], explicit.history(k)[0]
            assert len(steps) == sol.n_accepted[k]
            assert steps[-1] == 20.0
            same = int((steps[: len(before)] == before[: len(steps)]).argmin())
            assert same > 40  # it began with the very steps of the explicit method
            assert (sol.n_rejected >= 0).all()


@engines
@pytest.mark.parametrize("widths", [(4, 4, 4, 4), (3, 5, 2)], ids=str)
def test_auto_is_the_explicit_method_where_nothing_is_stiff(widths, engine):
    """To the bit, with the same counts: collecting evidence takes no right-hand side."""
    loss = dln.Quadratic.from_singular_values((4.0, 2.0), shape=(widths[-1], widths[0]), rng=0)
    w0 = dln.inits.gaussian(dln.Network(widths), 0.5, size=6, rng=0)
    options = {"record": RECORD, "engine": engine, "rtol": 1e-8}
    auto, explicit = (
        dln.flow(w0, loss, (0.0, 6.0), [1.0, 6.0], method, **options) for method in ("auto", "tsit5")
    )  # fmt: skip
    assert np.array_equal(auto.n_rhs, explicit.n_rhs)
    for a, b in zip((*auto.final, auto.loss), (*explicit.final, explicit.loss), strict=True):
        assert np.array_equal(a, b)
    assert np.array_equal(auto.learning_times, explicit.learning_times, equal_nan=True)


def test_auto_counts_all_its_steps_against_max_steps():
    sol = dln.flow(W0, LOSS, (0.0, 20.0), np.linspace(0, 20, 9), "auto", 1e-6, max_steps=300)
    assert (sol.status == dln.Status.MAX_STEPS).all()
    assert (sol.n_accepted + sol.n_rejected == 300).all()
    assert np.array_equal(np.isnan(sol.loss), sol.t > sol.t_final[:, None])


@pytest.mark.parametrize("method", ["rock", "auto"])
def test_a_stop_condition_ends_a_stiff_trajectory(method):
    stop = dln.Stop(loss=1e-3)
    sol = dln.flow(W0, LOSS, (0.0, 500.0), method=method, stop=stop, history=True)
    free = dln.flow(W0, LOSS, (0.0, 500.0), method=method, history=True)
    assert (sol.status == dln.Status.STOPPED).all()
    assert (dln.value(sol.final, LOSS) <= 1e-3).all()
    for k in range(5):
        steps = sol.history(k)[0]
        assert np.array_equal(steps, free.history(k)[0][: len(steps)])


def test_fixed_steps_are_refused():
    with pytest.raises(ValueError, match=r"method 'rock' chooses its own steps: give an explicit method with step="):
        dln.flow(W0, LOSS, (0.0, 1.0), method="rock", step=0.1)


def test_the_wide_engine_is_refused():
    with pytest.raises(ValueError, match="the engine 'wide' has explicit methods only, not 'auto': leave engine out"):
        dln.flow(W0, LOSS, (0.0, 1.0), method="auto", engine="wide")
