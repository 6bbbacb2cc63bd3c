"""Network: sizes, packing, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastdln.network import Network, check_layer_rates, check_weights
from tests.support.draws import random_weights

widths = st.lists(st.integers(1, 6), min_size=2, max_size=6).map(tuple)


def test_sizes_of_a_network():
    net = Network([64, np.int32(32), 10])
    assert net.widths == (64, 32, 10)
    assert all(type(d) is int for d in net.widths)
    assert net.depth == 2
    assert net.shapes == ((32, 64), (10, 32))
    assert net.n_parameters == 64 * 32 + 32 * 10
    assert net.n_nodes == 106
    assert net.rank == 10
    assert repr(net) == "Network((64, 32, 10))"


def test_networks_of_equal_widths_are_one_key():
    assert Network((3, 2)) == Network([3, 2])
    assert len({Network((3, 2)), Network([3, 2]), Network((2, 3))}) == 2
    with pytest.raises(AttributeError):
        Network((3, 2)).widths = (1, 1)


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        ((4,), ValueError, r"at least the input and the output width, not \(4,\)"),
        ((), ValueError, "at least"),
        ((4, 0, 2), ValueError, "width d_1 must be at least 1, not 0"),
        ((4, -3), ValueError, "width d_1 must be at least 1, not -3"),
        ((4, 2.0), TypeError, r"width d_1 must be an integer, not 2\.0"),
        ((True, 2), TypeError, "width d_0 must be an integer, not True"),
        ((np.True_, 2), TypeError, "width d_0"),
        ("44", TypeError, "sequence of integers"),
        (7, TypeError, "sequence of integers"),
    ],
)
def test_widths_that_make_no_network(bad, error, message):
    with pytest.raises(error, match=message):
        Network(bad)


@given(widths, st.sampled_from([(), (1,), (5,), (2, 3)]))
def test_pack_lays_the_layers_out_in_order_and_unpack_inverts_it(widths, batch):
    net = Network(widths)
    weights = random_weights(net, batch)
    flat = net.pack(weights)
    assert flat.flags.c_contiguous
    assert np.array_equal(flat, np.concatenate([W.reshape(*batch, -1) for W in weights], axis=-1))
    views = net.unpack(flat)
    assert all(np.array_equal(a, b) and np.shares_memory(a, flat) for a, b in zip(views, weights, strict=True))


def test_pack_broadcasts_the_batch_and_casts():
    net = Network((2, 3, 1))
    W1, W2 = random_weights(net, (4,))
    flat = net.pack((W1, W2[0]), dtype=np.float32)
    assert flat.shape == (4, 9)
    assert flat.dtype == np.float32
    assert np.array_equal(flat[3, 6:], W2[0].ravel().astype(np.float32))
    assert net.pack((W1.astype(np.float32), W2.astype(np.float32))).dtype == np.float32


def test_unpack_refuses_another_size():
    with pytest.raises(ValueError, match=r"flat has shape \(2, 8\); Network\(\(2, 3, 1\)\) expects \(\.\.\., 9\)"):
        Network((2, 3, 1)).unpack(np.zeros((2, 8)))


def test_check_weights_names_the_network_and_keeps_good_arrays():
    weights = random_weights(Network((2, 3, 1)), (4,))
    net, checked = check_weights(weights)
    assert net == Network((2, 3, 1))
    assert all(a is b for a, b in zip(checked, weights, strict=True))


@pytest.mark.parametrize(
    ("dtypes", "expected"),
    [
        ((np.float32, np.float32), np.float32),
        ((np.float32, np.float64), np.float64),
        ((np.int64, np.float32), np.float64),
        ((np.float16, np.float16), np.float64),
    ],
)
def test_check_weights_brings_layers_to_one_dtype(dtypes, expected):
    _, checked = check_weights([np.ones((2, 2), dtype) for dtype in dtypes])
    assert [W.dtype for W in checked] == [expected, expected]


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (np.ones((2, 3, 3)), TypeError, "tuple of one array per layer, W_1 first, not ndarray"),
        ((), ValueError, "weights is empty"),
        ((np.ones(3),), ValueError, r"W_1 has shape \(3,\); expected \(\.\.\., d_1, d_0\)"),
        (
            (np.ones((3, 2)), np.ones((1, 4))),
            ValueError,
            r"W_2 has shape \(1, 4\), but W_1 has 3 rows: "
            r"expected \(\.\.\., d_2, 3\)",
        ),
        ((np.ones((3, 2)), 1j * np.ones((1, 3))), TypeError, "W_2 has dtype complex128"),
        ((np.full((3, 2), None),), TypeError, "W_1 has dtype object"),
        ((np.ones((3, 2), bool),), TypeError, "W_1 has dtype bool"),
        (
            (np.ones((5, 3, 2)), np.ones((4, 1, 3))),
            ValueError,
            r"do not broadcast \(W_1: \(5,\), W_2: \(4,\)\)",
        ),
        ((np.ones((0, 2)),), ValueError, "width d_1 must be at least 1, not 0"),
    ],
)
def test_weights_that_are_refused(bad, error, message):
    with pytest.raises(error, match=message):
        check_weights(bad)


def test_weights_of_another_network_are_refused():
    weights = random_weights(Network((2, 3, 1)))
    with pytest.raises(ValueError, match=r"W_1 has shape \(3, 2\); Network\(\(2, 4, 1\)\) expects \(\.\.\., 4, 2\)"):
        check_weights(weights, Network((2, 4, 1)))
    with pytest.raises(ValueError, match=r"weights has 2 layers; Network\(\(2, 1\)\) has 1"):
        Network((2, 1)).pack(weights)


@pytest.mark.parametrize(
    ("rates", "message"),
    [
        ([1.0], r"shape \(1,\); expected one rate per layer, \(2,\)"),
        ([1.0, 0.0], "positive"),
        ([1.0, np.nan], "finite"),
    ],
)
def test_layer_rates_that_are_refused(rates, message):
    with pytest.raises(ValueError, match=message):
        check_layer_rates(rates, 2)
