"""The adjacency matrix: its blocks, its powers, and the matrix ODE against the layers' own equations."""

from __future__ import annotations

from functools import reduce

import numpy as np
import pytest
import scipy.sparse
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from fastdln.field import product, rhs
from fastdln.losses import Quadratic, Regression
from fastdln.network import Network
from fastdln.theory import adjacency
from tests.support.draws import random_weights

networks = st.lists(st.integers(1, 5), min_size=2, max_size=6).map(lambda widths: Network(tuple(widths)))


def block(A, net, i, j):
    ends = np.cumsum([0, *net.widths])
    return A[..., ends[i] : ends[i + 1], ends[j] : ends[j + 1]]


@given(networks)
def test_every_block_of_every_power_is_a_product_of_layers(net):
    weights = random_weights(net)
    A = adjacency.matrix(weights)
    for k in range(net.depth + 3):
        power = np.linalg.matrix_power(A, k)
        assert_allclose(adjacency.power(weights, k), power, rtol=1e-12, atol=1e-12)
        for i in range(net.depth + 1):
            for j in range(net.depth + 1):
                chain = reduce(lambda below, W: W @ below, weights[j:i], np.eye(net.widths[j]))
                expected = chain if i - j == k else np.zeros((net.widths[i], net.widths[j]))
                assert_allclose(block(power, net, i, j), expected, rtol=1e-12, atol=1e-12)
    assert_allclose(block(adjacency.power(weights, net.depth), net, net.depth, 0), product(weights))
    assert not adjacency.power(weights, net.depth + 1).any()


@given(networks, st.data())
def test_one_block_of_a_power_and_the_embedding_of_a_product(net, data):
    weights = random_weights(net, (2,))
    i = data.draw(st.integers(0, net.depth))
    k = data.draw(st.integers(0, i))
    assert_allclose(adjacency.block(weights, i, k), block(adjacency.power(weights, k), net, i, i - k), atol=1e-13)
    E = adjacency.embedding(product(weights), net)
    assert_allclose(E, adjacency.power(weights, net.depth), atol=1e-13)
    loss = Quadratic(np.random.default_rng(0).standard_normal((net.widths[-1], net.widths[0])))
    distance = adjacency.embedding(loss.target, net) - adjacency.power(weights, net.depth)
    assert_allclose(0.5 * np.square(distance).sum(axis=(-2, -1)), loss.value(product(weights)))
    one = product(weights)[0]
    sparse = adjacency.embedding(one, net, sparse=True)
    assert isinstance(sparse, scipy.sparse.csr_array)
    assert np.array_equal(sparse.toarray(), E[0])
    assert adjacency.embedding(one.astype(np.float32), net).dtype == np.float32


@given(networks)
def test_weights_inverts_matrix(net):
    weights = random_weights(net)
    A = adjacency.matrix(weights)
    sparse = adjacency.matrix(weights, sparse=True)
    assert isinstance(sparse, scipy.sparse.csr_array)
    assert sparse.nnz == net.n_parameters
    assert np.array_equal(sparse.toarray(), A)
    for source in (A, sparse, scipy.sparse.coo_matrix(A)):
        for W, read in zip(weights, adjacency.weights(source, net), strict=True):
            assert np.array_equal(W, read)
            assert not np.shares_memory(read, A)


@given(networks)
def test_the_matrix_ode_is_the_flow_of_the_layers(net):
    rng = np.random.default_rng(1)
    weights = random_weights(net)
    d_0, d_h = net.widths[0], net.widths[-1]
    quadratic = Quadratic(rng.standard_normal((d_h, d_0)))
    regression = Regression(rng.standard_normal((d_0, 4)), rng.standard_normal((d_h, 4)))
    A = adjacency.matrix(weights)
    for loss in (quadratic, regression):
        field = adjacency.flow_field(A, net, loss)
        # adjacency.weights would refuse anything outside the blocks, hence also checks that there is nothing.
        for V, expected in zip(adjacency.weights(field, net), rhs(weights, loss), strict=True):
            assert_allclose(V, expected, rtol=1e-10, atol=1e-10)
    T, E = A.T, np.zeros_like(A)
    block(E, net, net.depth, 0)[...] = quadratic.target
    expected = sum(
        np.linalg.matrix_power(T, net.depth - 1 - k)
        @ (E - np.linalg.matrix_power(A, net.depth))
        @ np.linalg.matrix_power(T, k)
        for k in range(net.depth)
    )
    assert_allclose(adjacency.flow_field(A, net, quadratic), expected, rtol=1e-10, atol=1e-10)


def test_a_batch_is_many_networks():
    net = Network((2, 3, 1))
    weights = random_weights(net, (4,))
    A = adjacency.matrix(weights)
    assert A.shape == (4, 6, 6)
    targets = Quadratic(np.random.default_rng(2).standard_normal((4, 1, 2)))
    field = adjacency.flow_field(A, net, targets)
    for k in range(4):
        one = tuple(W[k] for W in weights)
        assert np.array_equal(A[k], adjacency.matrix(one))
        assert_allclose(field[k], adjacency.flow_field(A[k], net, targets[k]))
        assert np.array_equal(adjacency.power(weights, 0)[k], np.eye(6))
    assert adjacency.flow_field(A[0], net, targets).shape == (4, 6, 6)
    for W, read in zip(weights, adjacency.weights(A, net), strict=True):
        assert np.array_equal(W, read)


@pytest.mark.parametrize("entry", [(0, 0), (0, 5), (5, 0), (4, 3), (1, 2)])
@pytest.mark.parametrize("value", [0.5, np.nan])
def test_matrices_of_no_network_are_refused(entry, value):
    net = Network((2, 3, 1))
    A = adjacency.matrix(random_weights(net))
    A[entry] = value
    message = rf"A is not the adjacency matrix of Network.*: its entry \({entry[0]}, {entry[1]}\) is {value}"
    with pytest.raises(ValueError, match=message):
        adjacency.weights(A, net)
    with pytest.raises(ValueError, match=message):
        adjacency.flow_field(A, net, Quadratic(np.ones((1, 2))))


def test_refusals():
    net = Network((2, 3, 1))
    with pytest.raises(ValueError, match=r"A has shape \(5, 5\); Network\(\(2, 3, 1\)\) expects \(\.\.\., 6, 6\)"):
        adjacency.weights(np.zeros((5, 5)), net)
    with pytest.raises(ValueError, match="k must be at least 0, not -1"):
        adjacency.power(random_weights(net), -1)
    with pytest.raises(ValueError, match=r"batch axes \(4,\)"):
        adjacency.matrix(random_weights(net, (4,)), sparse=True)
    for i, k in [(3, 1), (1, 2), (-1, 0), (1, -1)]:
        with pytest.raises(ValueError, match=f"expected 0 <= k <= i <= h = 2, not i = {i} and k = {k}"):
            adjacency.block(random_weights(net), i, k)
    with pytest.raises(ValueError, match=r"product has shape \(2, 2\); Network.* expects \(\.\.\., 1, 2\)"):
        adjacency.embedding(np.ones((2, 2)), net)
    with pytest.raises(ValueError, match=r"a sparse E holds one product; product has the batch axes \(4,\)"):
        adjacency.embedding(np.ones((4, 1, 2)), net, sparse=True)
    with pytest.raises(TypeError, match="product has dtype complex128"):
        adjacency.embedding(np.ones((1, 2)) * 1j, net)
