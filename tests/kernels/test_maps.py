"""The maps by themselves, in every layout: against their formulas in extended precision, and what padding leaves."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest

from fastdln.kernels.products import maps
from fastdln.kernels.products.rows import Map, Operand
from tests.support.mapped import MAPS, STEP

ROWS, COLUMNS = 5, 11
PARAMETERS = {
    "masked": np.where(np.arange(ROWS * COLUMNS) % 3, np.arange(ROWS * COLUMNS) / 20, 0.0).reshape(ROWS, COLUMNS, 1),
    "measured": 0.125,
    "power": 3.5,
    "huber": 0.7,
    "pseudo_huber": 0.7,
    "logistic": 0.125,
    "exponential": 0.125,
    "softmax": 0.125,
}
LAYOUTS = [("f8", 1), ("f8", 2), ("f8", 4), ("f8", 8), ("f4", 1), ("f4", 4), ("f4", 16)]
OF_SAMPLES = ("logistic", "exponential", "softmax")

layouts = pytest.mark.parametrize(("dtype", "lanes"), LAYOUTS)
every = pytest.mark.parametrize("name", MAPS)


def inputs(name, dtype, lanes, scale=1.5, seed=0):
    """Z, Y, dZ (rows, columns, lanes)."""
    rng = np.random.default_rng(seed)
    Z, Y, dZ = (scale * rng.standard_normal((ROWS, COLUMNS, lanes)).astype(dtype) for _ in range(3))
    if name == "softmax":
        Y = (np.arange(ROWS)[:, None, None] == rng.integers(ROWS, size=(COLUMNS, lanes))).astype(dtype)
    elif name in OF_SAMPLES:
        Y = np.sign(Y)
    return Z, Y, dZ


class Layout:
    """Matrices as programs have them: padded as a whole, or, where columns are samples, row by row."""

    def __init__(self, name, dtype, lanes):
        self.name, self.dtype, self.lanes = name, np.dtype(dtype), lanes
        unit = 1 if lanes > 1 else 64 // self.dtype.itemsize
        self.columns = -(-COLUMNS // unit) * unit if name in OF_SAMPLES else COLUMNS
        self.entries = -(-ROWS * self.columns // unit) * unit

    def pack(self, matrix, padding=0.0):
        wide = np.full((ROWS, self.columns, self.lanes), padding, self.dtype)
        wide[:, :COLUMNS] = matrix
        flat = np.full((self.entries, self.lanes), padding, self.dtype)
        flat[: ROWS * self.columns] = wide.reshape(-1, self.lanes)
        return flat

    def unpack(self, flat):
        """A matrix, and what lies in its padding."""
        wide = flat[: ROWS * self.columns].reshape(ROWS, self.columns, self.lanes)
        return wide[:, :COLUMNS], np.concatenate([wide[:, COLUMNS:].ravel(), flat[ROWS * self.columns :].ravel()])

    def run(self, key, Z, Y, dZ, padding=0.0, parameter=None, in_place=True):
        """C, and the image of dZ where there is one, as they lie in memory; padding of Z and dZ as given."""
        code = maps.compiled(self.name, 8 * self.dtype.itemsize, self.lanes, (key,))
        p = np.asarray(PARAMETERS[self.name] if parameter is None else parameter, self.dtype)
        p = self.pack(p) if p.ndim else np.full((1, self.lanes), p)  # one for each entry, or one
        parts = [self.pack(Z, padding), self.pack(Y), p, self.pack(dZ, padding)]
        rest = np.full((2 * self.entries, self.lanes), np.nan, self.dtype)
        memory = np.ascontiguousarray(np.concatenate([*parts, rest]))
        starts = np.cumsum([0, *map(len, parts)]).tolist()
        z, y, parameter, dz, behind = (Operand(0, at, self.columns) for at in starts)
        c, image = (z, dz) if in_place else (behind, behind._replace(offset=behind.offset + self.entries))
        derivatives = {"along": dz, "image": image} if key == maps.DERIVATIVES else {}
        c = behind if key == maps.VALUE else c
        row = Map(key == maps.VALUE, c, z, y, parameter, ROWS, self.columns, self.entries, **derivatives)
        assert maps.entry(row) == key
        rows, bases = maps.encode_map(row, self.lanes * self.dtype.itemsize), np.array([memory.ctypes.data], np.int64)
        call = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * 3)(code.addresses[key])
        call(bases.ctypes.data, rows.ctypes.data, 1)
        if key == maps.VALUE:
            return memory[behind.offset].copy()
        return tuple(memory[x.offset : x.offset + self.entries].copy() for x in (c, image)[: 1 + bool(derivatives)])


def exact(name, Z, Y, dZ, parameter=None):
    """E, twice the value, dE, in extended precision where there is one, the lanes one by one."""
    p = np.asarray(PARAMETERS[name] if parameter is None else parameter, Z.dtype).astype(np.longdouble)
    p = np.moveaxis(p, -1, 0) if p.ndim else p
    Z, Y, dZ = (np.moveaxis(x, -1, 0).astype(np.longdouble) for x in (Z, Y, dZ))
    E, value = MAPS[name](Z.astype(np.clongdouble) + 1j * STEP * dZ, Y, p)
    return np.moveaxis(E.real, 0, -1), 2 * value.real, np.moveaxis(E.imag / STEP, 0, -1)


def assert_close(found, expected, units, size=0.0):
    """Within so many units of rounding, of the number itself or of a size."""
    bound = units * np.finfo(found.dtype).eps * np.maximum(np.abs(expected), size)
    assert (np.abs(found - expected) <= bound).all()


@layouts
@every
def test_maps_are_their_formulas(name, dtype, lanes):
    layout, (Z, Y, dZ) = Layout(name, dtype, lanes), inputs(name, dtype, lanes)
    E, value, dE = exact(name, Z, Y, dZ)
    size = PARAMETERS[name] if name == "softmax" else 0.0  # differences of shares
    (found,) = layout.run(maps.MAP, Z, Y, dZ)
    assert_close(layout.unpack(found)[0], E, 16 if name == "power" else 6, size)
    for in_place in (True, False):
        gradient, image = layout.run(maps.DERIVATIVES, Z, Y, dZ, in_place=in_place)
        assert np.array_equal(gradient, -found)
        assert_close(layout.unpack(image)[0], -dE, 16 if name == "power" else 8, size * np.abs(dZ).max())
        assert_close(layout.run(maps.VALUE, Z, Y, dZ, in_place=in_place), value, 16)


@layouts
@every
def test_padding_reaches_nothing_and_stays_zero(name, dtype, lanes):
    layout, given = Layout(name, dtype, lanes), inputs(name, dtype, lanes)
    (found,), value = layout.run(maps.MAP, *given), layout.run(maps.VALUE, *given)
    derivatives = layout.run(maps.DERIVATIVES, *given)
    for x in (found, *derivatives):
        assert not layout.unpack(x)[1].any()
    if name in OF_SAMPLES:  # whatever the outputs are of samples that are not there
        for padding in (3.0, -50.0):
            assert np.array_equal(layout.run(maps.MAP, *given, padding)[0], found)
            assert np.array_equal(layout.run(maps.VALUE, *given, padding), value)
            for x, other in zip(layout.run(maps.DERIVATIVES, *given, padding), derivatives, strict=True):
                assert np.array_equal(x, other)


@layouts
def test_padding_stays_zero_where_the_curvature_is_infinite(dtype, lanes):
    layout, given = Layout("power", dtype, lanes), inputs("power", dtype, lanes)
    for x in layout.run(maps.DERIVATIVES, *given, parameter=1.5):
        assert not layout.unpack(x)[1].any()


@every
def test_bits_do_not_depend_on_lanes(name):
    given = inputs(name, "f8", 1)
    found = set()
    for lanes in (1, 2, 4, 8):
        layout = Layout(name, "f8", lanes)
        repeated = [np.repeat(x, lanes, axis=-1) for x in given]
        results = [*layout.run(maps.MAP, *repeated), *layout.run(maps.DERIVATIVES, *repeated)]
        found |= {b"".join(layout.unpack(x)[0][..., lane].tobytes() for x in results) for lane in range(lanes)}
    assert len(found) == 1


@pytest.mark.parametrize("lanes", [1, 4])
@pytest.mark.parametrize("p", [1.5, 2.0, 4.0])
def test_curvature_of_powers(p, lanes):
    layout, (Z, Y, dZ) = Layout("power", "f8", lanes), inputs("power", "f8", lanes)
    _, image = layout.run(maps.DERIVATIVES, Z, Y, dZ, parameter=p)
    assert_close(layout.unpack(image)[0], -exact("power", Z, Y, dZ, p)[2], 16)
    Z[0, 0], dZ[0, 0] = Y[0, 0], 2.0
    _, image = layout.run(maps.DERIVATIVES, Z, Y, dZ, parameter=p)
    assert (layout.unpack(image)[0][0, 0] == {1.5: np.inf, 2.0: 2.0, 4.0: 0.0}[p]).all()
    dZ[0, 0] = 0.0
    _, image = layout.run(maps.DERIVATIVES, Z, Y, dZ, parameter=p)
    assert (layout.unpack(image)[0][0, 0] == 0.0).all()


@pytest.mark.parametrize("lanes", [1, 4])
def test_huber_is_the_square_up_to_the_threshold(lanes):
    layout, (Z, Y, dZ) = Layout("huber", "f8", lanes), inputs("huber", "f8", lanes)
    Y[0, :4], Z[0, :4] = 0.0, np.array([0.7, -0.7, np.nextafter(0.7, 1), -np.nextafter(0.7, 1)])[:, None]
    _, image = layout.run(maps.DERIVATIVES, Z, Y, dZ)
    assert np.array_equal(layout.unpack(image)[0][0, :4], dZ[0, :4] * np.array([1.0, 1.0, 0.0, 0.0])[:, None])


@pytest.mark.parametrize("name", ["logistic", "softmax"])
@pytest.mark.parametrize("lanes", [1, 4])
def test_large_outputs_are_neither_infinite_nor_nan(name, lanes):
    layout, (Z, Y, dZ) = Layout(name, "f8", lanes), inputs(name, "f8", lanes, 1e4)
    Y = Y if name == "softmax" else np.sign(Y)
    results = (
        *layout.run(maps.MAP, Z, Y, dZ),
        layout.run(maps.VALUE, Z, Y, dZ),
        *layout.run(maps.DERIVATIVES, Z, Y, dZ),
    )
    assert all(np.isfinite(x).all() for x in results)
