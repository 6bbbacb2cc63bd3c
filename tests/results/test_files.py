"""Files of trajectories are read without trust: whatever is wrong with one is a ValueError that names it."""

from __future__ import annotations

import copy
import io
import json
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

import fastdln as dln
from fastdln.results import archive

RECORD = ("loss", "strengths", "learning_times")


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """What a file of two small trajectories holds: its arrays, and its header."""
    w0 = dln.inits.gaussian(dln.Network((3, 3, 3)), 0.5, size=2, rng=0)
    sol = dln.flow(w0, dln.Quadratic(np.eye(3)), (0.0, 2.0), [1.0, 2.0], record=RECORD, history=True)
    path = tmp_path_factory.mktemp("saved") / "sol.npz"
    sol.save(path)
    with np.load(path) as file:
        arrays = dict(file)
    return arrays, json.loads(str(arrays.pop("header")))


def refused(path, match=None):
    with pytest.raises(ValueError, match=match) as caught:
        dln.load(path)
    assert str(caught.value).startswith(f"{path} does not hold saved trajectories: ")


def write(path, arrays, header):
    np.savez(path, header=np.array(json.dumps(header)), **arrays)


def test_what_is_taken_apart_and_put_together_is_read(saved, tmp_path):
    write(tmp_path / "x.npz", *saved)
    again = dln.load(tmp_path / "x.npz")
    assert again.extend(3.0).success.all()
    assert isinstance(again.loss_function, dln.Quadratic)


def test_no_trajectories_at_all_can_be_saved(tmp_path):
    w0 = dln.inits.gaussian(dln.Network((2, 2)), size=2, rng=0)
    sol = dln.flow(w0, dln.Quadratic(np.eye(2)), (0.0, 1.0), history=True)
    sol[[False, False]].save(tmp_path / "none.npz")
    assert len(dln.load(tmp_path / "none.npz")) == 0


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"widths": [8, 8, 8]}, "the array 'loss/target' has shape"),
        ({"widths": [3, 30000, 3]}, "the array 'final' has shape"),
        ({"widths": [3, 3, 3, 3]}, "the array 'widths' has shape|the array 'final' has shape"),
        ({"widths": "abc"}, "widths must be a sequence"),
        ({"widths": [3, -3, 3]}, "width d_1 must be at least 1"),
        ({"widths": [3, 3.0, 3]}, "width d_1 must be an integer"),
        ({"widths": None}, "widths must be a sequence"),
        ({"single": True}, "single trajectory is said to be 2"),
        ({"single": 1}, "single must be True or False"),
        ({"span": [0.0, "2"]}, r"span\[1\] must be a number"),
        ({"span": [0.0, float("nan")]}, "must be finite"),
        ({"span": [0.0, 1.5]}, "t_eval must lie within the span"),
        ({"format": "1"}, "its header is not"),
        ({"loss": {"floor": "0", "data_rank": None}}, "floor must be a number"),
        ({"loss": {"floor": 0.0, "data_rank": 4}}, "data_rank must be None or from 0 to 3"),
        ({"loss": {}}, "its header does not tell"),
        ({"loss": {"class": "Restricted"}}, "the class of the loss must be one of"),
        ({"loss": {"class": "Regression", "floor": 0.0, "data_rank": 3}}, "no array 'loss/input_gram'"),
        ({"options": {}}, "does not tell the options"),
    ],
)
def test_forged_headers_are_refused(saved, changes, match, tmp_path):
    arrays, header = saved
    write(tmp_path / "x.npz", arrays, header | changes)
    refused(tmp_path / "x.npz", match)


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("rtol", "1e-6", "rtol must be a number"),
        ("rtol", 1e-30, "rtol must be at least"),
        ("rtol", float("inf"), "rtol must be finite"),
        ("max_steps", 2**60, r"at most 2\^53"),
        ("max_steps", 1e5, "max_steps must be an integer"),
        ("record", ["loss"], "arrays that do not belong to it: 'learning_times', 'recorded/strengths'"),
        ("record", ["loss", "weights", "strengths", "learning_times"], "no array 'recorded/weights'"),
        ("record", 3, "record must be a sequence"),
        ("record", [{}], "record must be one of"),
        ("layer_rates", [1.0], "layer_rates has shape"),
        ("layer_rates", ["1", "2"], "layer_rates"),
        ("history", False, "arrays that do not belong to it: 'steps'"),
        ("certify", "no", "certify must be True or False"),
        ("certify", True, "certify=True needs history"),
        ("engine", "gpu", "engine must be one of"),
        ("method", "euler", "method must be one of"),
        ("method", {"name": "x"}, "missing"),
        ("method", {"name": [], "order": 1, "a": [[]], "b": [1.0]}, "no text"),
        ("method", {"name": "x", "order": 1, "a": [[]], "b": [1.0], "embedded_order": "1"}, "embedded_order must be"),
        ("method", {"name": "x", "order": float("inf"), "a": [[]], "b": [1.0]}, "order must be"),
        ("method", {"name": "x", "order": 1, "a": [[]], "b": [1.0]}, "no error estimate"),
        ("method", "rock", None),
        ("step", -1.0, "step must be positive"),
        ("stop_gradient", -1.0, "stop_gradient must not be negative"),
    ],
)
def test_forged_options_are_refused(saved, name, value, match, tmp_path):
    arrays, header = saved
    write(tmp_path / "x.npz", arrays, header | {"options": header["options"] | {name: value}})
    if match is None:
        assert dln.load(tmp_path / "x.npz").options.method.name == value
    else:
        refused(tmp_path / "x.npz", match)


def test_options_that_do_not_go_together_are_refused(saved, tmp_path):
    arrays, header = saved
    options = header["options"] | {"method": "rock", "engine": "wide"}
    write(tmp_path / "x.npz", arrays, header | {"options": options})
    refused(tmp_path / "x.npz", "explicit methods only")


def test_arrays_of_another_shape_or_dtype_are_refused(saved, tmp_path):
    arrays, header = saved
    path = tmp_path / "x.npz"
    for name, values in arrays.items():
        missing = {key: x for key, x in arrays.items() if key != name}
        if name not in ("widths", "enlargements"):  # which older files do not have
            write(path, missing, header)
            refused(path, "there is no array|has shape|does not belong")
        write(path, missing | {name: values.astype(np.float16)}, header)
        refused(path, "dtype")
        write(path, missing | {name: values[..., None]}, header)
        refused(path, "has shape|must have one axis")
        write(path, missing | {name: np.zeros((0, *values.shape[1:]), values.dtype)}, header)
        if name != "t":
            refused(path, "has shape")
    write(path, arrays | {"more": np.zeros(3)}, header)
    refused(path, "do not belong to it: 'more'")


@pytest.mark.parametrize(
    ("name", "place", "value"),
    [
        ("status", 0, -1),
        ("status", 1, 77),
        ("counts", (0, 1), -5),
        ("counts", (0, 1), 2**62),
        ("atol", 0, np.nan),
        ("atol", 0, -1.0),
        ("loss/target", (0, 0), np.inf),
        ("widths", (0, 1), 0),
        ("enlargements", 0, -1),
        ("t", 0, np.nan),
    ],
)
def test_forged_numbers_are_refused(saved, name, place, value, tmp_path):
    arrays, header = saved
    values = arrays[name].copy()
    values[place] = value
    write(tmp_path / "x.npz", arrays | {name: values}, header)
    refused(tmp_path / "x.npz")


def test_arrays_in_another_order_of_bytes_or_axes_are_the_same(saved, tmp_path):
    arrays, header = saved
    write(tmp_path / "x.npz", arrays, header)
    plain = dln.load(tmp_path / "x.npz").extend(3.0)
    swapped = {
        name: np.asfortranarray(x.astype(x.dtype.newbyteorder(">"))) if x.ndim else x for name, x in arrays.items()
    }
    write(tmp_path / "y.npz", swapped, header)
    other = dln.load(tmp_path / "y.npz").extend(3.0)
    assert np.array_equal(other.loss, plain.loss)
    assert np.array_equal(other.final[0], plain.final[0])


def damaged(content: bytes, kind: str) -> bytes:
    data = bytearray(content)
    central = data.find(b"PK\x01\x02")
    match kind:
        case "cut":
            return content[: len(content) // 2]
        case "checksum":
            data[central // 2] ^= 0xFF
        case "encrypted":
            data[central + 8] |= 1
            data[6] |= 1
        case "compression":
            data[central + 10] = 97
        case "local":
            data[0] ^= 0xFF
    return bytes(data)


@pytest.mark.parametrize("kind", ["cut", "checksum", "encrypted", "compression", "local"])
def test_damaged_archives_are_refused(saved, kind, tmp_path):
    write(tmp_path / "whole.npz", *saved)
    path = tmp_path / "x.npz"
    path.write_bytes(damaged((tmp_path / "whole.npz").read_bytes(), kind))
    refused(path)


def npy_header(shape, descr="<f8"):
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": descr, "fortran_order": False, "shape": shape})
    return stream.getvalue()


@pytest.mark.parametrize(
    ("member", "match"),
    [
        (b"hello", "magic string"),
        (b"", "magic|EOF"),
        (b"\x93NUMPY\x09\x00" + bytes(100), "version"),
        (npy_header((2, 10**12)) + bytes(800), "does not make the 800 bytes"),
        (npy_header((2**33, 2**33)) + bytes(800), "does not make"),
        (npy_header((-2, -50)) + bytes(800), "does not make"),
        (npy_header((2,), "|O") + bytes(16), "allow_pickle=False"),
        (npy_header((10**15,), "<U0"), "allow_pickle=False"),
        (b"\x93NUMPY\x01\x00" + (5000).to_bytes(2, "little") + b"(" * 5000, None),
        (b"\x93NUMPY\x02\x00" + (90000).to_bytes(4, "little") + b"(" * 90000, "large"),
    ],
)
@pytest.mark.filterwarnings("ignore:Reading")
def test_members_that_are_no_arrays_are_refused(saved, member, match, tmp_path):
    path = tmp_path / "x.npz"
    write(path, *saved)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("more.npy", member)
    refused(path, match)


@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"format":1' + "0" * 10_000 + "}", "[]", "{}", "", '{"format": 1}', '"' + "x" * 2_000_000]
)
def test_headers_that_are_none_are_refused(saved, text, tmp_path):
    np.savez(tmp_path / "x.npz", header=np.array(text), **saved[0])
    refused(tmp_path / "x.npz")


def test_two_members_of_one_name_are_refused(saved, tmp_path):
    path = tmp_path / "x.npz"
    write(path, *saved)
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("status", b"")
    refused(path, "two members of one name")


def bomb(path, n_bytes):
    """Zeros, which pack a thousandfold."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file, file.open("X.npy", "w", force_zip64=True) as member:
        member.write(npy_header((n_bytes // 8,)))
        for _ in range(n_bytes >> 20):
            member.write(bytes(1 << 20))


def test_what_would_not_fit_is_refused_before_it_is_unpacked(monkeypatch, tmp_path):
    path = tmp_path / "bomb.npz"
    bomb(path, 1 << 25)
    monkeypatch.setattr("fastdln.resources.free_memory", lambda: 1 << 24)
    monkeypatch.setattr(np.lib.format, "read_array", lambda *_, **__: pytest.fail("it was unpacked"))
    with (
        pytest.raises(MemoryError, match=r"bomb\.npz would take 33554432 bytes"),
        archive.opened(path, "arrays") as file,
    ):
        file.read(["X"])


def unpickled(loss):
    return pickle.loads(pickle.dumps(loss))  # noqa: S301  (what was written a moment ago)


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, unpickled])
def test_copies_of_a_loss_are_as_read_only_as_it(again):
    loss = dln.Regression(np.eye(2, 5), np.ones((2, 5)))
    sigma = loss.modes.sigma
    copied = again(loss)
    for array in (
        copied.target,
        copied.quadratic.cross,
        copied.quadratic.whitened,
        copied.quadratic.input_gram,
        copied.modes.sigma,
    ):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0.0
    assert np.array_equal(copied.modes.sigma, sigma)


def test_files_of_before_losses_had_names_are_read():
    folder = Path(__file__).parents[1] / "data"
    old = dln.load(folder / "format1_quadratic.npz")
    assert type(old.loss_function) is dln.Quadratic
    assert old.loss_function.batch_shape == (2,)
    assert old.options.certify
    assert old.extend(3.0).success.all()
    rng = np.random.default_rng(0)  # as when they were written
    sigma = rng.standard_normal((2, 2, 3))
    assert np.array_equal(old.loss_function.target, sigma)
    data = rng.standard_normal((3, 6)), rng.standard_normal((2, 6))
    old = dln.load(folder / "format1_regression.npz")
    assert type(old.loss_function) is dln.Regression
    assert old.loss_function.floor == pytest.approx(dln.Regression(*data).floor)
    assert np.allclose(old.loss_function.target, dln.Regression(*data).target)


LOSSES = [
    dln.Quadratic(np.eye(2)),
    dln.Quadratic.from_data(np.eye(2), np.eye(2)),
    dln.Regression(*np.ones((2, 2, 5))),
    dln.Power(np.eye(2), 3.0),
    dln.Huber(np.eye(2), 0.5),
    dln.Masked([[1.0, np.nan], [0.0, 2.0]]),
    dln.Masked(np.ones((3, 2, 2)), [[0.5, 0.0], [2.0, 1.0]]),
    dln.Sensing(np.arange(12.0).reshape(3, 2, 2), [1.0, -2.0, 0.5]),
    dln.PseudoHuber([np.eye(2), np.ones((2, 2)), np.zeros((2, 2))], 0.5),
    dln.Logistic(*np.ones((2, 2, 5))),
    dln.Exponential(*np.ones((2, 2, 5))),
    dln.SoftmaxCrossEntropy(np.ones((2, 5)), [0, 1, 1, 0, 0]),
    dln.SoftmaxCrossEntropy(np.ones((2, 5)), [0, 0, 0, 0, 0], n_classes=2),
]


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_loss_comes_back_as_what_it_was(loss, tmp_path):
    w0 = dln.inits.gaussian(dln.Network((2, 2)), rng=0)
    sol = dln.flow(w0, loss, (0.0, 1.0))
    sol.save(tmp_path / "x.npz")
    loaded = dln.load(tmp_path / "x.npz")
    again = loaded.loss_function
    assert type(again) is type(loss)
    for name, value in loss.arrays().items():
        assert np.array_equal(again.arrays()[name], value)
    for W, expected in zip(loaded.extend(2.0).final, sol.extend(2.0).final, strict=True):
        assert np.array_equal(W, expected)
    if isinstance(loss, dln.Quadratic):
        assert dln.flow(w0, again, (0.0, 1.0), certify=True).success


@pytest.mark.parametrize(
    ("changes", "arrays", "message"),
    [
        ({"n_classes": 3}, {}, r"shape \(2, 2\); the loss expects .* = \(..., 3, 2\)"),
        ({"n_classes": 1}, {}, "labels must be below n_classes = 1"),
        ({"n_classes": "2"}, {}, "n_classes must be an integer"),
        ({"class": "Logistic"}, {}, "no array 'loss/Y'"),
        ({}, {"loss/labels": np.zeros(4, np.int64)}, "the array 'loss/labels' has shape"),
        ({}, {"loss/labels": np.full(5, -1)}, "labels must be integers from 0"),
        ({}, {"loss/X": np.full((2, 5), np.nan)}, "the array 'loss/X' must be finite"),
        ({}, {"loss/X": np.ones((3, 5))}, "the array 'loss/X' has shape"),
    ],
)
def test_a_forged_loss_of_samples_is_refused(changes, arrays, message, tmp_path):
    w0 = dln.inits.gaussian(dln.Network((2, 2)), rng=0)
    dln.flow(w0, LOSSES[-2], (0.0, 1.0)).save(tmp_path / "x.npz")
    with np.load(tmp_path / "x.npz") as file:
        content = dict(file)
    header = json.loads(str(content.pop("header")))
    header["loss"] |= changes
    write(tmp_path / "y.npz", content | arrays, header)
    refused(tmp_path / "y.npz", message)
