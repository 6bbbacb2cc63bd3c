"""The loss on lines and in planes against the loss at each point."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastdln.field import value
from fastdln.losses import Huber, Quadratic
from fastdln.network import Network
from fastdln.theory import hessian, landscape
from fastdln.theory.landscape import slices
from tests.support.draws import mapped_losses, random_losses

WIDTHS = [(3, 2), (2, 1, 2), (4, 2, 5, 3), (90, 100, 90)]


def scaled_weights(net, batch=(), seed=0):
    rng = np.random.default_rng(seed)
    return tuple(rng.standard_normal((*batch, *shape)) / np.sqrt(shape[1]) for shape in net.shapes)


def points(weights, directions, grids):
    """Every point of a slice of one network, as a batch."""
    mesh = np.meshgrid(*grids, indexing="ij")
    moves = [tuple(x[..., None, None] * V for V in direction) for x, direction in zip(mesh, directions, strict=True)]
    return tuple(sum(parts, W) for W, *parts in zip(weights, *moves, strict=True))


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("axes", [1, 2])
def test_a_slice_holds_the_loss_at_every_point(widths, axes):
    net = Network(widths)
    weights, directions = scaled_weights(net), [scaled_weights(net, seed=2 + j) for j in range(axes)]
    grids = [np.linspace(-1, 2, 13), np.geomspace(0.1, 1, 6)][:axes]
    for loss in (*random_losses(net), *mapped_losses(net).values()):
        expected = value(points(weights, directions, grids), loss)
        assert_allclose(landscape.slice(weights, directions, loss, grids), expected, rtol=1e-12)


@pytest.mark.parametrize("widths", [(3, 4, 2), (90, 100, 90)])
@pytest.mark.parametrize("kind", [Quadratic, Huber])
def test_batches_of_weights_directions_and_targets_broadcast(kind, widths):
    net = Network(widths)
    rng = np.random.default_rng(0)
    weights, direction = scaled_weights(net, (4, 1)), scaled_weights(net, (3,), seed=1)
    targets = rng.standard_normal((3, widths[-1], widths[0]))
    loss = Quadratic(targets) if kind is Quadratic else kind(targets, 0.7)
    grid = np.linspace(-1, 1, 5)
    found = landscape.slice(weights, [direction], loss, [grid])
    assert found.shape == (4, 3, 5)
    for i, j in np.ndindex(4, 3):
        one, along = tuple(W[i, 0] for W in weights), tuple(V[j] for V in direction)
        assert_allclose(found[i, j], value(points(one, [along], [grid]), loss[j]), rtol=1e-13)
    assert landscape.slice(scaled_weights(net, (0,)), [scaled_weights(net)], loss[0], [grid]).shape == (0, 5)


@pytest.mark.parametrize("kind", [0, "huber", "softmax"])
@pytest.mark.parametrize("widths", [(3, 4, 2), (110, 120, 100)])
def test_values_do_not_depend_on_how_points_are_cut_up(widths, kind, monkeypatch):
    net = Network(widths)
    weights, directions = scaled_weights(net, (3,)), [scaled_weights(net, seed=s) for s in (1, 2)]
    grids = [np.linspace(-1, 1, 7), np.linspace(0, 1, 5)]
    loss = random_losses(net)[0] if kind == 0 else mapped_losses(net)[kind]
    whole = landscape.slice(weights, directions, loss, grids)
    for chunk in (1, 17, 40):
        monkeypatch.setattr(slices, "CHUNK", chunk)
        assert np.array_equal(landscape.slice(weights, directions, loss, grids), whole)


def test_curvature_in_the_origin_of_a_line_is_that_of_the_hessian():
    net = Network((3, 4, 2, 3))
    weights, direction = scaled_weights(net), scaled_weights(net, seed=1)
    x = np.cos(np.pi * np.arange(7) / 6)
    for loss in random_losses(net):
        coefficients = np.polynomial.polynomial.polyfit(x, landscape.slice(weights, [direction], loss, [x]), 6)
        V = net.pack(direction)
        assert_allclose(2 * coefficients[2], V @ hessian.matrix(weights, loss) @ V, rtol=1e-11)


def test_single_precision_and_overflow():
    net = Network((3, 4, 2))
    single = tuple(W.astype(np.float32) for W in scaled_weights(net))
    loss = random_losses(net)[0]
    found = landscape.slice(single, [single], loss, [[0.0, 1.0]])
    assert found.dtype == np.float32
    assert_allclose(found[0], value(single, loss), rtol=1e-6)
    assert np.isinf(landscape.slice(scaled_weights(net), [scaled_weights(net)], loss, [[0.0, 1e200]])[1])


REFUSED = [
    (lambda w, L: landscape.slice(w, [w, w, w], L, [[0], [0], [0]]), ValueError, "one or two directions"),
    (lambda w, L: landscape.slice(w, [w], L, [[0], [0]]), ValueError, "one array for each direction"),
    (lambda w, L: landscape.slice(w, [w], L, [[np.nan]]), ValueError, r"grids\[0\] must be a sequence of finite"),
    (lambda w, L: landscape.slice(w, [w], L, [[]]), ValueError, r"grids\[0\] must be a sequence of finite"),
    (lambda w, L: landscape.slice(w, w[:1], L, [[0]]), TypeError, r"directions\[0\] must have the shapes"),
    (lambda w, L: landscape.slice(w, [w[::-1]], L, [[0]]), ValueError, r"directions\[0\] must have the shapes"),
    (lambda w, L: landscape.slice(w, [w], Quadratic(np.eye(3)), [[0]]), ValueError, "the product of the weights"),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_bad_arguments_are_refused_by_name(call, error, message):
    net = Network((3, 4, 2))
    with pytest.raises(error, match=message):
        call(scaled_weights(net), random_losses(net)[0])
