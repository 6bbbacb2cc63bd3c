"""The modified flow against its field in plain NumPy, with Hessians from differences of gradients."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastdln as dln
from tests.support import descents
from tests.support.descents import Slope, gradients

rng = np.random.default_rng(3)
ETA = 0.1
X, Y = rng.standard_normal((4, 9)), rng.standard_normal((3, 9))
SIGNS, LABELS, SIGMA = np.sign(Y), rng.integers(0, 3, 9), rng.standard_normal((3, 4))
LOSSES = {
    "quadratic": (dln.Quadratic(SIGMA), descents.quadratic(SIGMA)),
    "regression": (dln.Regression(X, Y), descents.regression(X, Y)),
    "pseudo_huber": (dln.PseudoHuber(SIGMA, 0.5), descents.pseudo_huber(SIGMA, 0.5)),
    "logistic": (dln.Logistic(X, SIGNS), descents.logistic(X, SIGNS)),
    "softmax": (dln.SoftmaxCrossEntropy(X, LABELS, 3), descents.softmax(X, LABELS, 3)),
}
engines = pytest.mark.parametrize("engine", ["lanes", "dense"])


def starts(widths: tuple[int, ...], size: int = 9) -> Any:
    return dln.inits.gaussian(dln.Network(widths), 0.7, size=size, rng=1)


def field(W: list[Any], slope: Slope, eta: float, rates: Any, mu: float) -> list[Any]:
    """F - (eta/2) F' F for F = -(D grad L + mu W)."""

    def F(at: list[Any]) -> list[Any]:
        return [-(c * g + mu * w) for c, g, w in zip(rates, gradients(at, slope), at, strict=True)]

    here, small = F(W), np.longdouble(1e-6)
    ahead, behind = (F([w + s * f for w, f in zip(W, here, strict=True)]) for s in (small, -small))
    return [f - eta / 2 * (a - b) / (2 * small) for f, a, b in zip(here, ahead, behind, strict=True)]


def followed(W: Any, slope: Slope, t_end: float, steps: int, rates: Any, mu: float) -> list[Any]:
    """The modified flow by the classical Runge-Kutta method."""
    W, dt = [descents.long(w) for w in W], np.longdouble(t_end) / steps

    def at(k: list[Any], part: float) -> list[Any]:
        moved = [w + part * dt * x for w, x in zip(W, k, strict=True)]
        return field(moved, slope, ETA, rates, mu)

    for _ in range(steps):
        k1 = field(W, slope, ETA, rates, mu)
        k2 = at(k1, 0.5)
        k3 = at(k2, 0.5)
        k4 = at(k3, 1.0)
        W = [w + dt / 6 * (a + 2 * b + 2 * c + d) for w, a, b, c, d in zip(W, k1, k2, k3, k4, strict=True)]
    return W


@engines
@pytest.mark.parametrize("given", [False, True], ids=["plain", "rates_and_decay"])
@pytest.mark.parametrize(
    ("name", "widths"),
    [
        ("quadratic", (4, 5, 2, 3)),
        ("quadratic", (4, 3)),
        ("regression", (4, 5, 3)),
        ("pseudo_huber", (4, 3, 5, 3)),
        ("pseudo_huber", (4, 3)),
        ("logistic", (4, 5, 3)),
        ("softmax", (4, 5, 5, 3)),
    ],
)
def test_the_field_is_that_of_the_modified_equation(
    name: str, widths: tuple[int, ...], given: bool, engine: str
) -> None:
    loss, slope = LOSSES[name]
    w0, depth = starts(widths), len(widths) - 1
    rates, mu = (tuple(np.linspace(0.5, 1.5, depth)), 0.3) if given else ((1.0,) * depth, 0.0)
    how: dict[str, Any] = {"layer_rates": rates, "weight_decay": mu} if given else {}
    sol = dln.modified_flow(w0, loss, ETA, (0.0, 0.1), method="dop853", rtol=1e-11, engine=engine, **how)
    assert sol.success.all()
    for k in (0, 8):
        expected = followed([W[k] for W in w0], slope, 0.1, 20, rates, mu)
        for W, E in zip(sol.final, expected, strict=True):
            np.testing.assert_allclose(W[k], E.astype(float), rtol=0, atol=1e-8)


@pytest.mark.parametrize("method", ["bs3", "dp5", "tsit5", "rock", "rkc2", "auto"])
def test_every_method_follows_it(method: str) -> None:
    loss, _ = LOSSES["quadratic"]
    w0 = starts((4, 5, 3))
    sol, exact = (
        dln.modified_flow(w0, loss, ETA, (0.0, 2.0), method=m, rtol=rtol)
        for m, rtol in ((method, 1e-5), ("dop853", 1e-11))
    )
    for W, E in zip(sol.final, exact.final, strict=True):
        np.testing.assert_allclose(W, E, rtol=0, atol=2e-3)
        assert np.abs(W - E).max() < np.abs(E).max() * 2e-3


@engines
def test_what_is_recorded_is_of_the_loss_itself(engine: str) -> None:
    loss = dln.Quadratic.from_singular_values((2.0, 1.0), shape=(3, 4), rng=0)
    w0, t = starts((4, 5, 3)), np.linspace(0, 4, 9)
    names = ("loss", "grad_norm", "strengths", "learning_times", "weights")
    sol = dln.modified_flow(w0, loss, ETA, (0.0, 4.0), t_eval=t, record=names, engine=engine)
    P = dln.product(sol.weights)
    np.testing.assert_allclose(sol.loss, dln.value(sol.weights, loss), rtol=1e-9)
    np.testing.assert_allclose(sol.grad_norm, dln.gradient_norm(sol.weights, loss), rtol=1e-9)
    U, sigma, V = loss.modes
    np.testing.assert_allclose(sol.strengths, np.einsum("ij,ntik,kj->ntj", U, P, V), rtol=1e-9, atol=1e-12)
    found = np.argwhere(np.isfinite(sol.learning_times) & (sol.learning_times > 0))
    assert len(found) > 8
    for k, j in found[:4]:
        at = [sol.learning_times[k, j]]
        one = dln.modified_flow(
            tuple(W[k] for W in w0), loss, ETA, (0.0, 4.0), t_eval=at, record="strengths", engine=engine
        )
        assert one.strengths[0, j] == pytest.approx(sigma[j] / 2, rel=1e-5)


def test_bits_are_those_of_the_trajectory_alone(tmp_path: Path) -> None:
    loss, w0 = LOSSES["softmax"][0], starts((4, 5, 3))
    whole = dln.modified_flow(w0, loss, ETA, (0.0, 2.0))
    one = dln.modified_flow(tuple(W[4] for W in w0), loss, ETA, (0.0, 2.0), record=("grad_norm",), t_eval=[0.1, 1.5])
    assert all(np.array_equal(a, b[4]) for a, b in zip(one.final, whole.final, strict=True))
    whole.save(tmp_path / "sol.npz")
    again = dln.load(tmp_path / "sol.npz")
    assert again.options.modified == ETA
    for a, b in zip(again.extend(3.0).final, whole.extend(3.0).final, strict=True):
        assert np.array_equal(a, b)


def test_it_ends_at_minima_like_the_flow_and_goes_backwards() -> None:
    loss, w0 = LOSSES["quadratic"][0], starts((4, 5, 3))
    sol = dln.modified_flow(w0, loss, ETA, (0.0, 300.0), stop=dln.Stop(grad_norm=1e-4))
    assert (sol.status == dln.Status.STOPPED).all()
    assert dln.gradient_norm(sol.final, loss).max() <= 1e-4
    ahead = dln.modified_flow(w0, loss, ETA, (0.0, 0.5), rtol=1e-10)
    back = dln.modified_flow(ahead.final, loss, ETA, (0.5, 0.0), rtol=1e-10)
    for W, E in zip(back.final, w0, strict=True):
        np.testing.assert_allclose(W, E, atol=1e-6)


def test_single_precision_and_many_targets() -> None:
    targets = dln.Quadratic(rng.standard_normal((9, 3, 4)))
    w0 = starts((4, 5, 3))
    many = dln.modified_flow(w0, targets, ETA, (0.0, 1.0))
    one = dln.modified_flow(tuple(W[2] for W in w0), targets[2], ETA, (0.0, 1.0))
    small = dln.modified_flow(tuple(W.astype(np.float32) for W in w0), targets, ETA, (0.0, 1.0), rtol=1e-4)
    for W, E, S in zip(many.final, one.final, small.final, strict=True):
        assert np.array_equal(W[2], E)
        assert S.dtype == np.float32
        np.testing.assert_allclose(S, W, atol=1e-3)


def test_what_has_no_modified_flow_is_refused() -> None:
    loss, w0 = LOSSES["quadratic"][0], starts((4, 5, 3))
    for engine in ("wide", "reduced"):
        with pytest.raises(ValueError, match=f"engine='{engine}' has no products with the Hessian"):
            dln.modified_flow(w0, loss, ETA, (0.0, 1.0), engine=engine)
    own = dln.Custom(lambda W: 0.0, lambda W, out: out.fill(0.0), (3, 4))
    with pytest.raises(ValueError, match="needs a curvature that is compiled"):
        dln.modified_flow(w0, own, ETA, (0.0, 1.0))
    for rate in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="learning_rate"):
            dln.modified_flow(w0, loss, rate, (0.0, 1.0))
