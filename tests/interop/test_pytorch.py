"""Weights to and from PyTorch: the same function, the same memory, the same dtype, and nothing but linear layers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import fastdln as dln

torch = pytest.importorskip("torch", reason="PyTorch is not installed (nox -s interop)")
nn = torch.nn

WIDTHS = (4, 5, 3, 2)


@pytest.fixture
def weights():
    return dln.inits.gaussian(dln.Network(WIDTHS), 0.7, rng=0)


def linear(*widths, **options):
    return nn.Sequential(*(nn.Linear(a, b, bias=False, **options) for a, b in pairwise(widths)))


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_the_module_computes_the_product(weights, dtype):
    weights = tuple(W.astype(dtype) for W in weights)
    module = dln.interop.to_torch(weights)
    x = np.random.default_rng(1).standard_normal((6, 4)).astype(dtype)
    y = module(torch.from_numpy(x))
    assert y.dtype == {np.float64: torch.float64, np.float32: torch.float32}[dtype]
    tolerance = 100 * np.finfo(dtype).eps
    np.testing.assert_allclose(y.detach().numpy(), x @ dln.product(weights).T, rtol=tolerance, atol=tolerance)
    assert all(layer.bias is None and layer.weight.requires_grad for layer in module)
    assert [(layer.in_features, layer.out_features) for layer in module] == [(4, 5), (5, 3), (3, 2)]


def test_gradients_are_those_of_the_flow(weights):
    rng = np.random.default_rng(2)
    X, Y = rng.standard_normal((4, 9)), rng.standard_normal((2, 9))
    module = dln.interop.to_torch(weights)
    (0.5 * (module(torch.from_numpy(X.T)) - torch.from_numpy(Y.T)).square().sum() / 9).backward()
    slopes = dln.rhs(weights, dln.Regression(X, Y))
    for layer, slope in zip(module, slopes, strict=True):
        np.testing.assert_allclose(-layer.weight.grad.numpy(), slope, rtol=1e-11, atol=1e-13)


def test_memory_is_shared_both_ways(weights):
    module = dln.interop.to_torch(weights)
    again = dln.interop.from_torch(module)
    for W, layer, V in zip(weights, module, again, strict=True):
        assert np.shares_memory(W, layer.weight.detach().numpy())
        assert np.shares_memory(W, V)
    with torch.no_grad():
        module[1].weight[0, 0] = 42.0
    assert weights[1][0, 0] == again[1][0, 0] == 42.0


def test_copies_share_nothing(weights):
    module = dln.interop.to_torch(weights, copy=True)
    again = dln.interop.from_torch(module, copy=True)
    for W, layer, V in zip(weights, module, again, strict=True):
        assert not np.shares_memory(W, layer.weight.detach().numpy())
        assert not np.shares_memory(V, layer.weight.detach().numpy())
        assert np.array_equal(W, V)


def test_memory_that_pytorch_cannot_share_is_copied(weights):
    frozen = tuple(W.copy() for W in weights)
    for W in frozen:
        W.flags.writeable = False
    backwards = tuple(W[::-1] for W in weights)
    for given in (frozen, backwards):
        module = dln.interop.to_torch(given)
        with torch.no_grad():
            for W, layer in zip(given, module, strict=True):
                assert np.array_equal(layer.weight.numpy(), W)
                layer.weight.zero_()
        assert all(W.any() for W in given)


def test_the_random_numbers_of_pytorch_are_not_touched(weights):
    before = torch.random.get_rng_state()
    dln.interop.to_torch(weights)
    assert torch.equal(before, torch.random.get_rng_state())


def test_a_flow_goes_on_in_pytorch():
    start = dln.inits.balanced(dln.Network((3, 4, 2)), 0.1, size=5, rng=0)
    sol = dln.flow(start, dln.Quadratic.from_singular_values((2.0, 1.0), shape=(2, 3)), (0.0, 5.0))
    module = dln.interop.to_torch(sol[3].final)
    assert np.array_equal(dln.product(dln.interop.from_torch(module)), dln.product(tuple(W[3] for W in sol.final)))


def test_one_network_at_a_time(weights):
    batch = tuple(np.stack([W, W]) for W in weights)
    with pytest.raises(ValueError, match=r"batch axes \(2,\); to_torch takes one network"):
        dln.interop.to_torch(batch)


def test_nested_modules_and_single_layers():
    module = nn.Sequential(linear(4, 5, 3), nn.Identity(), nn.Linear(3, 2, bias=False))
    found = dln.interop.from_torch(module)
    assert [W.shape for W in found] == [(5, 4), (3, 5), (2, 3)]
    assert np.shares_memory(found[2], module[2].weight.detach().numpy())
    assert len(dln.interop.from_torch(module[2])) == 1


def test_state_dicts_are_ordered_by_number():
    """Of square layers a wrong order would not be noticed."""
    module = linear(*[2] * 13, dtype=torch.float64)
    jumbled = dict(sorted(module.state_dict().items()))
    assert list(jumbled)[2] == "10.weight"
    for given in (module, module.state_dict(), jumbled):
        found = dln.interop.from_torch(given)
        assert all(np.array_equal(W, L.weight.detach()) for W, L in zip(found, module, strict=True))


def test_other_names_have_the_order_of_the_state_dict():
    state = {"in.weight": torch.ones(3, 2), "out.weight": torch.zeros(1, 3)}
    assert [W.shape for W in dln.interop.from_torch(state)] == [(3, 2), (1, 3)]


def test_a_stacked_state_is_a_batch():
    modules = [linear(3, 4, 2) for _ in range(5)]
    state, _ = torch.func.stack_module_state(modules)
    found = dln.interop.from_torch(state)
    assert [W.shape for W in found] == [(5, 4, 3), (5, 2, 4)]
    assert np.array_equal(found[1][3], modules[3][1].weight.detach().numpy())


def shared():
    layer = nn.Linear(2, 2, bias=False)
    return nn.Sequential(layer, layer)


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(2, 2, bias=False)

    def forward(self, x):
        return self.a(x).relu()


class Relu(nn.Sequential):
    def forward(self, x):
        return super().forward(x).relu()


REFUSED = {
    "bias": (lambda: nn.Sequential(nn.Linear(2, 3, bias=False), nn.Linear(3, 1)), ValueError, "layer '1' has a bias"),
    "bias, state": (lambda: nn.Sequential(nn.Linear(2, 3)).state_dict(), ValueError, "layer '0' has a bias"),
    "one layer": (lambda: nn.Linear(2, 3), ValueError, "'module' has a bias|has a bias, 'bias'"),
    "activation": (lambda: nn.Sequential(nn.Linear(2, 3, bias=False), nn.ReLU()), TypeError, "'1' is a ReLU"),
    "nested": (lambda: nn.Sequential(nn.Sequential(nn.Tanh())), TypeError, "'0.0' is a Tanh"),
    "activation, state": (
        lambda: nn.Sequential(nn.Linear(2, 2, bias=False), nn.ReLU(), nn.Linear(2, 2, bias=False)).state_dict(),
        ValueError,
        "no layer between '0.weight' and '2.weight'.*activation",
    ),
    "own forward": (Own, TypeError, "'module' is a Own"),
    "own sequence": (Relu, TypeError, "'module' is a Relu"),
    "norm": (lambda: {"0.weight": torch.ones(3, 2), "1.weight": torch.ones(3)}, ValueError, r"'1.weight' has shape"),
    "other": (lambda: {"0.scale": torch.ones(3, 2)}, ValueError, "'0.scale' is no layer"),
    "widths": (lambda: linear(2, 3) + linear(4, 1), ValueError, "'1.weight' takes 4 inputs, but '0.weight' before"),
    "shared": (shared, ValueError, "'0.weight' and '1.weight' share"),
    "bfloat16": (lambda: linear(2, 3).bfloat16(), TypeError, "'0.weight' has dtype torch.bfloat16"),
    "complex": (lambda: {"0.weight": torch.ones(2, 2) * 1j}, TypeError, "'0.weight'.* complex64"),
    "empty": (nn.Sequential, ValueError, "no layers"),
    "nothing": (lambda: None, TypeError, "must be a torch.nn.Module or a state dict"),
}


@pytest.mark.parametrize(("make", "error", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_deep_linear_network_is_refused(make, error, message):
    with pytest.raises(error, match=message):
        dln.interop.from_torch(make())
