"""Files of weights: what is written is read, PyTorch reads it too, and nothing in a file is trusted."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

import fastdln as dln
from fastdln.interop import load_npz, load_safetensors, save_npz, save_safetensors

FORMATS = {"npz": (save_npz, load_npz), "safetensors": (save_safetensors, load_safetensors)}


@pytest.fixture(params=FORMATS)
def file(request, tmp_path):
    """Save, load, and the path of a file; the functions skip where their package is missing."""
    if request.param == "safetensors":
        pytest.importorskip("safetensors", reason="safetensors is not installed")
    return *FORMATS[request.param], tmp_path / f"net.{request.param}"


def write(path, **arrays):
    if path.suffix == ".npz":
        np.savez(path, **arrays)
    else:
        from safetensors.numpy import save_file

        save_file(arrays, path)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("batch", [None, 5])
def test_what_is_written_is_read(file, dtype, batch):
    save, load, path = file
    weights = dln.inits.gaussian(dln.Network((4, *[3] * 11, 2)), 0.7, size=batch, rng=0)
    weights = tuple(W.astype(dtype) for W in weights)
    save(weights, path)
    again = load(path)
    assert len(again) == 12
    for V, W in zip(again, weights, strict=True):
        assert V.dtype == dtype
        assert V.tobytes() == W.tobytes()


def test_memory_in_another_order(file):
    save, load, path = file
    weights = (np.arange(6.0).reshape(2, 3).T, np.arange(12.0).reshape(4, 3)[::-1])
    save(weights, path)
    assert all(np.array_equal(V, W) for V, W in zip(load(path), weights, strict=True))


def test_kernels_in_files_are_transposed(file):
    _, load, path = file
    write(path, **{"params/Dense_0/kernel": np.ones((4, 3)), "params/Dense_1/kernel": np.ones((3, 2))})
    assert [W.shape for W in load(path)] == [(3, 4), (2, 3)]


REFUSED = {
    "bias": ({"0.weight": np.eye(2), "0.bias": np.zeros(2)}, "layer '0' has a bias"),
    "order": ({"a.weight": np.eye(2), "b.weight": np.eye(2)}, "do not tell the order"),
    "gap": ({"0.weight": np.eye(2), "2.weight": np.eye(2)}, "no layer between '0.weight' and '2.weight'"),
    "widths": ({"W_1": np.ones((3, 2)), "W_2": np.ones((2, 2))}, "'W_2' takes 2 inputs, but 'W_1' before it has 3"),
    "vector": ({"0.weight": np.ones(2)}, "expected a matrix"),
    "truth": ({"0.weight": np.ones((2, 2), bool)}, "'0.weight' has dtype"),
}


@pytest.mark.parametrize(("arrays", "message"), REFUSED.values(), ids=REFUSED)
def test_what_is_no_deep_linear_network_is_refused(file, arrays, message):
    _, load, path = file
    write(path, **arrays)
    with pytest.raises(ValueError, match=f"{path.name} does not hold the weights .*: .*{message}"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"x" * 100, pickle.dumps([1])], ids=["empty", "noise", "pickle"])
def test_damaged_files_are_refused(file, content):
    _, load, path = file
    path.write_bytes(content)
    with pytest.raises(ValueError, match=f"{path.name} does not hold the weights"):
        load(path)


def test_no_file(file):
    _, load, path = file
    with pytest.raises(FileNotFoundError):
        load(path)


def test_pytorch_reads_it(tmp_path):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed (nox -s interop)")
    from safetensors.torch import load_file

    weights = dln.inits.gaussian(dln.Network((4, 3, 2)), 0.7, rng=0)
    save_safetensors(weights, tmp_path / "net.safetensors")
    module = torch.nn.Sequential(torch.nn.Linear(4, 3, bias=False), torch.nn.Linear(3, 2, bias=False)).double()
    module.load_state_dict(load_file(tmp_path / "net.safetensors"))
    assert all(np.array_equal(layer.weight.detach(), W) for layer, W in zip(module, weights, strict=True))
