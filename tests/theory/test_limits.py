"""The landscape against computed flows: where they end, where they rest, and that classification sees it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose

import fastdln as dln
from fastdln.theory import landscape

NETWORKS = [(2, 2), (3, 3, 3), (2, 1, 2), (4, 3, 2), (3, 2, 3, 2), (3, 3, 3, 3), (2, 4, 3, 3, 2)]


def target(widths, seed, values=None):
    shape = (widths[-1], widths[0])
    values = np.linspace(3, 1, min(shape)) if values is None else values
    return dln.Quadratic.from_singular_values(values, shape, rng=seed)


@pytest.mark.parametrize("widths", NETWORKS)
def test_limits_of_flows_are_global_minima(widths):
    net, loss = dln.Network(widths), target(widths, 0)
    starts = dln.inits.gaussian(net, 0.9, size=40, rng=1)
    sol = dln.flow(starts, loss, (0.0, 500.0), rtol=1e-9, stop=dln.Stop(grad_norm=1e-9)).raise_for_status()
    least = next(landscape.critical_values(net, loss)).value
    points = landscape.classify(landscape.refine(sol.final, loss), loss)
    assert {point.kind for point in points} == {"global_minimum"}
    assert {point.learned for point in points} == {tuple(range(min(net.rank, *loss.shape)))}
    assert_allclose([point.value for point in points], least, atol=1e-12)


@pytest.mark.parametrize("depth", [2, 3, 4])
def test_rests_of_sequential_flows_are_saddles_of_the_learned_modes(depth):
    """Between two learning times the flow passes a saddle: the slowest record refines to the critical point there."""
    net = dln.Network((3,) * (depth + 1))
    loss = target(net.widths, 2, (4.0, 2.0, 1.0))
    scale, t_end = {2: (1e-5, 60.0), 3: (2e-2, 2000.0), 4: (7e-2, 4000.0)}[depth]
    # balance keeps the product invertible, hence the sign of its determinant: it must be that of the target
    starts = dln.inits.balanced(net, scale, size=20, rng=3)
    good = np.linalg.det(dln.product(starts)) * np.linalg.det(loss.target) > 0
    start = tuple(W[good.argmax()] for W in starts)
    sol = dln.flow(start, loss, (0.0, t_end), np.linspace(0, t_end, 4000), rtol=1e-9,
                   record=("loss", "grad_norm", "weights", "learning_times")).raise_for_status()  # fmt: skip
    assert np.isfinite(sol.learning_times).all()
    assert (np.diff(sol.learning_times) > 0).all()
    values = {point.learned: point.value for point in landscape.critical_values(net, loss)}
    edges = [*np.searchsorted(sol.t, sol.learning_times), len(sol.t)]
    for count, (first, last) in enumerate(pairwise(edges), start=1):
        rest = first + int(np.argmin(sol.grad_norm[first:last]))
        point = landscape.classify(landscape.refine(tuple(W[rest] for W in sol.weights), loss), loss)
        assert point.is_critical
        assert point.learned == tuple(range(count))
        assert_allclose(point.value, values[point.learned], atol=1e-12)
        assert_allclose(sol.loss[rest], point.value, atol=0.05)
        if count < 3:
            # what the flow has left to learn is as small as its start: the saddle is that of the Hessian's order h
            assert point.kind == ("strict_saddle" if depth == 2 else "nonstrict_saddle")
            assert point.pivots == depth
        else:
            assert point.kind == "global_minimum"


def test_flow_stays_on_the_stable_side_of_a_strict_saddle():
    """Symmetric starts learn what the symmetry allows: diag(1, -1) is out of reach, its positive part is not."""
    loss = dln.Quadratic(np.diag([1.0, -1.0]))
    start = (np.diag([0.1, 0.1]), np.diag([0.1, 0.1]))
    sol = dln.flow(start, loss, (0.0, 200.0), rtol=1e-10)
    point = landscape.classify(landscape.refine(sol.final, loss), loss)
    assert point.kind == "strict_saddle"
    assert_allclose(point.value, 0.5, atol=1e-12)


def test_balanced_flow_cannot_change_the_sign_of_the_determinant():
    """The limit is then the minimum without the weakest mode: a saddle that attracts an open set of balanced starts."""
    net, loss = dln.Network((3, 3, 3, 3)), target((3, 3, 3, 3), 2, (4.0, 2.0, 1.0))
    starts = dln.inits.balanced(net, 0.3, size=20, rng=5)
    sign = np.sign(np.linalg.det(dln.product(starts)) * np.linalg.det(loss.target))
    assert 0 < np.count_nonzero(sign < 0) < 20
    sol = dln.flow(starts, loss, (0.0, 500.0), rtol=1e-9).raise_for_status()
    assert_allclose(sol.loss[sign > 0, -1], 0.0, atol=1e-10)
    assert_allclose(sol.loss[sign < 0, -1], 0.5, atol=1e-2)
