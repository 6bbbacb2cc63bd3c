"""Weights to and from JAX: Flax's transposed kernels, the order of layers, and 64 bits."""

from __future__ import annotations

import numpy as np
import pytest

import fastdln as dln
from fastdln.resources import optional

WHY = "JAX and Flax are not installed (nox -s interop)"


@pytest.fixture
def weights():
    return dln.inits.gaussian(dln.Network((4, 5, 3, 2)), 0.7, rng=0)


@pytest.fixture
def jax():
    """JAX with 64 bits, as fastdln's weights need; afterwards as it was."""
    module = pytest.importorskip("jax", reason=WHY)
    before = module.config.jax_enable_x64
    module.config.update("jax_enable_x64", True)
    yield module
    module.config.update("jax_enable_x64", before)


def assert_equal(found, weights):
    assert len(found) == len(weights)
    for V, W in zip(found, weights, strict=True):
        assert V.dtype == W.dtype
        assert np.array_equal(V, W)


# ---- trees of any arrays


def test_lists_are_matrices_as_they_are(weights):
    found = dln.interop.from_jax(list(weights))
    assert_equal(found, weights)
    assert all(np.shares_memory(V, W) for V, W in zip(found, weights, strict=True))
    copied = dln.interop.from_jax(list(weights), copy=True)
    assert_equal(copied, weights)
    assert not any(np.shares_memory(V, W) for V, W in zip(copied, weights, strict=True))


def test_kernels_are_transposed(weights):
    tree = {"params": {f"Dense_{i}": {"kernel": W.T} for i, W in enumerate(weights)}}
    assert_equal(dln.interop.from_jax(tree), weights)
    assert_equal(dln.interop.from_jax({"layers": {i: {"weight": W} for i, W in enumerate(weights)}}), weights)


def test_layers_are_ordered_by_number():
    """JAX sorts the keys of a tree as text; of square layers a wrong order would not be noticed."""
    square = tuple(np.full((2, 2), float(i)) for i in range(12))
    tree = {f"Dense_{i}": {"kernel": W} for i, W in enumerate(square)}
    assert_equal(dln.interop.from_jax(dict(sorted(tree.items()))), square)


def test_kernels_of_a_batch():
    tree = {"Dense_0": {"kernel": np.zeros((7, 4, 3))}, "Dense_1": {"kernel": np.ones((7, 3, 2))}}
    found = dln.interop.from_jax(tree)
    assert [W.shape for W in found] == [(7, 3, 4), (7, 2, 3)]


REFUSED = {
    "bias": ({"Dense_0": {"kernel": np.eye(2), "bias": np.zeros(2)}}, ValueError, "'Dense_0' has a bias"),
    "Haiku's": ({"linear": {"w": np.eye(2), "b": np.zeros(2)}}, ValueError, "'linear' has a bias|'linear/w' is no"),
    "norm": ({"LayerNorm_0": {"scale": np.ones(2)}}, ValueError, "'LayerNorm_0/scale' is no layer"),
    "vector": ([np.eye(2), np.ones(2)], ValueError, "layer '1' has shape"),
    "order": ({"a": {"kernel": np.eye(2)}, "b": {"kernel": np.eye(2)}}, ValueError, "do not tell the order"),
    "widths": ([np.ones((3, 2)), np.ones((2, 4))], ValueError, "'1' takes 4 inputs, but '0' before it has 3 outputs"),
    "kernels": (
        {"Dense_0": {"kernel": np.ones((3, 2))}, "Dense_1": {"kernel": np.ones((3, 2))}},
        ValueError,
        "'Dense_1/kernel' takes 3 inputs, but 'Dense_0/kernel' before it has 2",
    ),
    "text": (["ab"], TypeError, "layer '0' has dtype"),
    "empty": ({}, ValueError, "no layers"),
}


@pytest.mark.parametrize(("tree", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_deep_linear_network_is_refused(tree, error, message):
    with pytest.raises(error, match=message):
        dln.interop.from_jax(tree)


def test_a_missing_package_is_named_with_its_command():
    with pytest.raises(ImportError, match="this needs no_such_module: python -m pip install no_such_module"):
        optional("no_such_module")


# ---- with JAX


def test_there_and_back(jax, weights):
    arrays = dln.interop.to_jax(weights)
    assert all(isinstance(W, jax.Array) and W.dtype == np.float64 for W in arrays)
    assert_equal(dln.interop.from_jax(arrays), weights)
    assert_equal(dln.interop.from_jax(dln.interop.to_jax(weights, flax="Dense")), weights)
    single = tuple(W.astype(np.float32) for W in weights)
    assert_equal(dln.interop.from_jax(dln.interop.to_jax(single)), single)


def test_float64_is_never_rounded(jax, weights):
    jax.config.update("jax_enable_x64", False)
    with pytest.raises(ValueError, match=r"would round to float32: call jax.config.update\('jax_enable_x64', True\)"):
        dln.interop.to_jax(weights)
    assert dln.interop.to_jax(tuple(W.astype(np.float32) for W in weights))[0].dtype == np.float32


def test_memory_is_shared_where_jax_can(jax):
    memory = np.zeros(24 + 8)
    offset = -memory.ctypes.data % 64 // 8
    W = memory[offset : offset + 24].reshape(4, 6)
    (shared,) = dln.interop.to_jax((W,))
    (apart,) = dln.interop.to_jax((W,), copy=True)
    (back,) = dln.interop.from_jax([shared])
    assert np.shares_memory(W, back)
    assert not back.flags.writeable
    W[0, 0] = 1.0
    assert apart[0, 0] == 0.0


@pytest.mark.parametrize("view", [lambda W: W[::-1], lambda W: W.T, lambda W: np.broadcast_to(W[:1], (3, 2))])
def test_memory_that_jax_cannot_share_is_copied(jax, view):
    given = view(np.arange(6.0).reshape(3, 2))
    frozen = given.copy()
    frozen.flags.writeable = False
    for W in (given, frozen):
        assert np.array_equal(dln.interop.to_jax((W,))[0], given)


@pytest.mark.parametrize("kind", ["compact", "sequence"])
def test_flax_computes_the_product(jax, weights, kind):
    linen = pytest.importorskip("flax.linen", reason=WHY)

    class Compact(linen.Module):
        @linen.compact
        def __call__(self, x):
            for W in weights:
                x = linen.Dense(len(W), use_bias=False, param_dtype=np.float64)(x)
            return x

    layers = [linen.Dense(len(W), use_bias=False, param_dtype=np.float64) for W in weights]
    module, name = (Compact(), "Dense") if kind == "compact" else (linen.Sequential(layers), "layers")
    x = np.random.default_rng(1).standard_normal((6, 4))
    tree = dln.interop.to_jax(weights, flax=name)
    np.testing.assert_allclose(module.apply(tree, x), x @ dln.product(weights).T, rtol=1e-12, atol=1e-14)
    fresh = module.init(jax.random.key(0), x)
    product = dln.product(dln.interop.from_jax(fresh))
    np.testing.assert_allclose(module.apply(fresh, x), x @ product.T, rtol=1e-12, atol=1e-14)


def test_the_state_of_an_nnx_module(jax):
    nnx = pytest.importorskip("flax.nnx", reason=WHY)
    rngs = nnx.Rngs(0)
    module = nnx.Sequential(nnx.Linear(4, 3, use_bias=False, rngs=rngs), nnx.Linear(3, 2, use_bias=False, rngs=rngs))
    x = np.random.default_rng(1).standard_normal((6, 4)).astype(np.float32)
    found = dln.interop.from_jax(nnx.to_pure_dict(nnx.state(module)))
    np.testing.assert_allclose(module(x), x @ dln.product(found).T, rtol=1e-5, atol=1e-6)
