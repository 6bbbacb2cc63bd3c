"""Observables of single moments against plain formulas, on the weights that were recorded beside them."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastdln as dln
from fastdln import measures
from fastdln.theory import hessian, tangent

WIDTHS = [(3, 2), (1, 1, 1), (4, 5, 3, 2), (2, 3, 2, 3, 2)]
MEASURES = (
    *("effective_rank", "stable_rank", "nuclear_norm", "weight_norm", "layer_alignment", "sharpness"),
    *("tangent_drift", "tangent_alignment"),
)
TIMES = np.array([0.0, 0.3, 1.0, 2.0])
RNG = np.random.default_rng(5)
SIGNS = dln.Logistic(RNG.standard_normal((4, 9)), RNG.choice((-1.0, 1.0), (2, 9)))
CLASSES = dln.SoftmaxCrossEntropy(RNG.standard_normal((4, 9)), np.arange(9) % 2, n_classes=3)

SIGNS_2 = dln.Logistic([[1.0, 2.0], [0.0, 1.0]], [[1.0, -1.0], [1.0, 1.0]])


def problem(widths, kind="quadratic", n=3, dtype=np.float64):
    w0 = dln.inits.gaussian(dln.Network(widths), 0.8, size=n, rng=1)
    rng, shape = np.random.default_rng(2), (widths[-1], widths[0])
    if kind == "regression":
        loss = dln.Regression(rng.standard_normal((shape[1], 12)), rng.standard_normal((shape[0], 12)))
    else:
        loss = dln.Quadratic(rng.standard_normal((n, *shape) if kind == "targets" else shape))
    return tuple(W.astype(dtype) for W in w0), loss


def dense_sharpness(weights, loss):
    return np.linalg.eigvalsh(hessian.matrix(weights, loss))[-1]


def plain(weights, start, loss):
    """The numbers of one network, each by its formula."""
    P = np.linalg.multi_dot([np.eye(weights[-1].shape[0]), *weights[::-1]])
    s = np.linalg.svd(P, compute_uv=False)
    p = s[s > 0] / s.sum()
    vectors = [np.linalg.svd(W) for W in weights]
    K, K_0 = tangent.matrix(weights), tangent.matrix(start)
    form = loss.quadratic
    root = np.eye(P.shape[1]) if form.input_root is None else form.input_root
    whitened = tangent.matrix((root, *weights)) - np.kron(np.eye(P.shape[1]), P @ P.T)  # the first layer is no layer
    R = form.residual(P).ravel(order="F")
    return {
        "effective_rank": np.exp(-(p * np.log(p)).sum()),
        "stable_rank": np.linalg.norm(P) ** 2 / np.linalg.norm(P, 2) ** 2,
        "nuclear_norm": np.linalg.norm(P, "nuc"),
        "weight_norm": np.sqrt(sum((W**2).sum() for W in weights)),
        "layer_alignment": [abs(V[2][0] @ U[0][:, 0]) for U, V in pairwise(vectors)],
        "sharpness": dense_sharpness(weights, loss),
        "tangent_drift": np.linalg.norm(K - K_0) / np.linalg.norm(K_0),
        "tangent_alignment": R @ whitened @ R / (np.linalg.norm(whitened) * R @ R),
    }


@pytest.mark.parametrize("kind", ["quadratic", "regression", "targets"])
@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_each_is_its_formula(widths, kind):
    w0, loss = problem(widths, kind)
    sol = dln.flow(w0, loss, (0.0, 2.0), TIMES, record=(*MEASURES, "weights"))
    for k in range(3):
        own = loss[k] if loss.batch_shape else loss
        for i in range(len(TIMES)):
            expected = plain([W[k, i] for W in sol.weights], [W[k] for W in w0], own)
            for name in MEASURES:
                close = {"rtol": 1e-3} if name == "sharpness" else {"rtol": 1e-9, "atol": 1e-12}
                assert_allclose(getattr(sol, name)[k, i], expected[name], **close, err_msg=name)


@pytest.mark.parametrize(("loss", "widths"), [(SIGNS, (4, 5, 2)), (CLASSES, (4, 5, 3))])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_margin_is_that_of_the_worst_sample(loss, widths, dtype):
    w0, _ = problem(widths, dtype=dtype)
    sol = dln.flow(w0, loss, (0.0, 20.0), [0.0, 5.0, 20.0], rtol=1e-5, record=("margin", "accuracy", "weights"))
    X, labels = loss.arrays()["X"], loss.labels
    assert sol.margin.dtype == dtype
    for k in range(3):
        for i in range(3):
            P = np.linalg.multi_dot([np.asarray(W[k, i], np.float64) for W in sol.weights[::-1]])
            Z = P @ X
            right = labels * Z > 0 if loss is SIGNS else Z.argmax(axis=0) == labels
            assert_allclose(sol.accuracy[k, i], right.mean(), rtol=1e-6)
            if loss is SIGNS:
                least = (labels * Z).min()
            else:
                least = min(z[c] - np.delete(z, c).max() for z, c in zip(Z.T, labels, strict=True))
            assert_allclose(sol.margin[k, i], least / np.linalg.norm(P), rtol=1e-6 if dtype == np.float32 else 1e-9)
    assert sol.margin[0, -1] > sol.margin[0, 0]


def test_margins_of_losses():
    assert np.isnan(CLASSES.accuracy(np.full((3, 4), np.nan)))
    assert CLASSES.accuracy(np.zeros((3, 4))) == 0.0  # no class is ahead
    with pytest.raises(ValueError, match=r"an accuracy needs a loss with labels, .* not Quadratic"):
        dln.Quadratic(np.eye(2)).accuracy(np.eye(2))
    assert SIGNS.margin(np.zeros((2, 4))) == 0.0
    assert dln.SoftmaxCrossEntropy([[1.0]], [0]).margin([[3.0]]) == np.inf  # there is no other class
    assert dln.SoftmaxCrossEntropy(np.eye(3), [0, 1, 2]).margin(np.diag([3.0, 2.0, 1.0]) - 1.0) == 1.0
    assert CLASSES.margin(np.zeros((5, 3, 4), np.float32)).dtype == np.float32
    with pytest.raises(ValueError, match=r"a margin needs a loss with labels, .* not Quadratic"):
        dln.Quadratic(np.eye(2)).margin(np.eye(2))


@pytest.mark.parametrize(
    ("name", "loss", "message"),
    [
        ("margin", dln.Quadratic(np.ones((2, 4))), r"'margin' cannot be recorded: Quadratic\(.*\) has no labels"),
        ("margin", dln.Huber(np.ones((2, 4)), 1.0), r"'margin' cannot be recorded: Huber\(.*\) has no labels"),
        ("tangent_alignment", SIGNS, r"'tangent_alignment' cannot be recorded: Logistic\(.*\) is not quadratic"),
        ("strengths", SIGNS, r"'strengths' cannot be recorded: Logistic\(.*\) has no target with modes"),
    ],
)
def test_what_a_loss_does_not_have_is_refused(name, loss, message):
    with pytest.raises(ValueError, match=message):
        dln.flow(problem((4, 3, 2))[0], loss, (0.0, 1.0), record=("loss", name))


def test_other_losses_have_sharpness_and_drift():
    w0, _ = problem((4, 5, 2))
    sol = dln.flow(w0, SIGNS, (0.0, 2.0), TIMES, record=("sharpness", "tangent_drift", "layer_alignment", "weights"))
    for k in range(3):
        for i in range(len(TIMES)):
            assert_allclose(sol.sharpness[k, i], dense_sharpness([W[k, i] for W in sol.weights], SIGNS), rtol=1e-3)
    assert_array_equal(sol.tangent_drift, tangent.drift(sol))


@pytest.mark.parametrize("engine", ["lanes", "dense", "wide", "reduced"])
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_bits_depend_on_no_batch_and_on_no_other_record(engine, dtype):
    w0, loss = problem((4, 9, 3, 2), "targets", n=7, dtype=dtype)
    options = {"engine": engine, "rtol": 1e-5}
    all_ = dln.flow(w0, loss, (0.0, 2.0), TIMES, record=MEASURES, threads=2, **options)
    for name in MEASURES:
        values = getattr(all_, name)
        assert values.dtype == dtype
        alone = dln.flow(w0, loss, (0.0, 2.0), TIMES[[0, 2]], record=name, **options)
        assert_array_equal(getattr(alone, name), values[:, [0, 2]])
        one = dln.flow(tuple(W[4] for W in w0), loss[4], (0.0, 2.0), TIMES, record=("loss", name), **options)
        assert_array_equal(getattr(one, name), values[4])


def test_single_precision_is_that_of_the_recorded_weights_in_double_precision():
    w0, loss = problem((4, 5, 3, 2), dtype=np.float32)
    sol = dln.flow(w0, loss, (0.0, 2.0), TIMES, rtol=1e-5, record=(*MEASURES, "weights"))
    for k in range(3):
        for i in range(len(TIMES)):
            moment, start = ([np.asarray(W, np.float64) for W in U] for U in ([W[k, i] for W in sol.weights], w0))
            expected = plain(moment, [W[k] for W in start], loss)
            for name in MEASURES:
                close = 1e-3 if name == "sharpness" else 1e-5
                assert_allclose(getattr(sol, name)[k, i], expected[name], rtol=close, atol=1e-6, err_msg=name)


def test_after_the_end_there_is_nothing():
    (W1, W2), loss = problem((2, 3, 2))
    W1[1, 0, 0] = np.nan
    stop = dln.Stop(loss=0.1)
    sol = dln.flow((W1, W2), loss, (0.0, 9.0), [0.0, 9.0], stop=stop, record=MEASURES)
    for name in MEASURES:
        values = getattr(sol, name)
        assert np.isnan(values[1]).all()
        assert np.isfinite(values[[0, 2], 0]).all()
        assert np.isnan(values[sol.t_final < 9, 1]).all()
    assert (sol.t_final < 9).sum() > 1
    sol = dln.flow((W1, W2), SIGNS_2, (0.0, 1.0), [0.0, 1.0], record="margin")
    assert np.isnan(sol.margin).tolist() == [[False] * 2, [True] * 2, [False] * 2]


def test_large_weights_do_not_overflow():
    w0, loss = problem((2, 3, 2))
    w0[0][1] *= 1e60
    w0[1][1] *= 1e40
    sol = dln.flow(w0, loss, (0.0, 1e-300), [0.0], record=MEASURES, max_steps=3)
    one = tuple(W[1] for W in w0)
    assert_allclose(sol.weight_norm[1, 0] / 1e60, np.linalg.norm(one[0] / 1e60))
    small = tuple(W / size for W, size in zip(one, (1e60, 1e40), strict=True))
    assert_allclose(
        sol.layer_alignment[1, 0], measures.layer_alignment(sol.network.pack(small)[None], sol.network, loss)[0]
    )
    H = hessian.matrix(small, dln.Quadratic(np.zeros((2, 2))))[6:, 6:]  # of the second layer: the others are far below
    assert_allclose(sol.sharpness[1, 0] / 1e120, np.linalg.eigvalsh(H)[-1], rtol=1e-3)


def test_what_vanishes_has_no_rank_direction_or_margin():
    zero, loss = (np.zeros((3, 2)), np.eye(2, 3)), dln.Quadratic(np.eye(2))
    sol = dln.flow(zero, loss, (0.0, 1.0), [0.0], record=MEASURES)
    for name in ("effective_rank", "stable_rank", "layer_alignment"):
        assert np.isnan(getattr(sol, name)).all()
    assert sol.nuclear_norm == 0
    assert_allclose(sol.sharpness, [dense_sharpness(zero, loss)], rtol=1e-3)
    assert np.isnan(dln.flow(zero, SIGNS_2, (0.0, 1.0), [0.0], record="margin").margin).all()


def test_one_layer_has_no_interface(tmp_path):
    w0, loss = problem((3, 2))
    sol = dln.flow(w0, loss, (0.0, 1.0), TIMES[:3], record=("layer_alignment", "sharpness"))
    assert sol.layer_alignment.shape == (3, 3, 0)
    assert_allclose(sol.sharpness, 1.0, rtol=1e-3)
    sol.save(tmp_path / "sol.npz")
    assert dln.load(tmp_path / "sol.npz").layer_alignment.shape == (3, 3, 0)
    assert sol.extend(2.0).layer_alignment.shape == (3, 4, 0)
    pytest.importorskip("xarray")
    assert sol.to_dataset().sizes["interface"] == 0


# ---- sharpness along a flow


def assert_sharp(sol):
    loss = sol.loss_function
    for k in range(len(sol)):
        for i in range(len(sol.t)):
            assert_allclose(sol.sharpness[k, i], dense_sharpness([W[k, i] for W in sol.weights], loss), rtol=1e-3)


def test_sharpness_from_a_saddle():
    """At the origin of two layers the Hessian has the eigenvalues +- sigma_j; the flow then leaves it."""
    loss = dln.Quadratic(np.diag([3.0, 1.0]))
    tiny = dln.inits.gaussian(dln.Network((2, 3, 2)), 1e-9, size=2, rng=0)
    sol = dln.flow(tiny, loss, (0.0, 12.0), np.linspace(0.0, 12.0, 60), record=("sharpness", "weights"))
    assert_allclose(sol.sharpness[:, 0], 3.0, rtol=1e-3)
    assert_allclose(sol.sharpness[:, -1], 6.0, rtol=1e-2)  # 2 sigma_1 at a balanced minimum
    assert_sharp(sol)
    saddle = tuple(np.zeros(W.shape[1:]) for W in tiny)
    assert dln.flow(saddle, loss, (0.0, 1.0), record="sharpness").sharpness == pytest.approx([3.0], rel=1e-3)


def test_sharpness_across_a_crossing():
    """One mode is learned, the other one, s^2, rises: the top lies across both modes, and later in the second."""
    start = np.diag([1.0, 0.02])[None]
    loss = dln.Quadratic(np.diag([1.0, 2.0]))
    sol = dln.flow((start, start), loss, (0.0, 8.0), np.linspace(0.0, 8.0, 200), record=("sharpness", "weights"))
    s = sol.weights[0][0, :, 1, 1]
    across = (3 + np.sqrt(9 - 8 * s**2 + 4 * s**4)) / 2  # of [[3 - s^2, s], [s, s^2]]
    values = np.array([across, 3 * s**2 - 2])
    assert set(values.argmax(axis=0)) == {0, 1}
    assert_allclose(sol.sharpness[0], values.max(axis=0), rtol=1e-3)
    assert_sharp(sol)
