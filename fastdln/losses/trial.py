"""Trying functions of a user, with every check that there is, before they run without any."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Self

import numba
import numpy as np
from numba.core.errors import NumbaError
from numpy.typing import NDArray

from fastdln.checks import shown
from fastdln.kernels.machine.foreign import Further
from fastdln.kernels.machine.interrupts import nothing_lost
from fastdln.linalg import Floats

MARGIN = 64  # numbers on each side of a matrix that nobody may write to
UNTOUCHED = 0x7FF8_DEAD_BEEF_F00D  # the bits of a NaN that no calculation makes
STEPS = (1e-3, 1e-4, 1e-5, 1e-6)  # of differences, in units of 1 and of the largest entry
AGREEMENT = 1e-4  # of derivatives with differences, relative
LINES = 6  # of Numba's reasons


class Functions(NamedTuple):
    """What a user gives, as functions of Python."""

    value: Callable[..., Any]
    grad: Callable[..., Any]
    curvature: Callable[..., Any] | None

    def in_python(self) -> Self:
        """Check that they are functions; of those that Numba has compiled take the Python."""
        return type(self)(*(_python(name, function) for name, function in zip(self._fields, self, strict=True)))


def _python(name: str, function: Any) -> Any:
    if function is None and name == "curvature":
        return None
    found = getattr(function, "py_func", function)
    if not inspect.isfunction(found):
        raise TypeError(f"{name} must be a function that Numba can compile, not {shown(function)}")
    return found


class _UserError(Exception):
    """A function has raised the exception that this one comes from."""


class _Guarded:
    """A copy of an array of numbers of eight bytes, between margins."""

    def __init__(self, array: NDArray[Any]) -> None:
        self._memory = np.full(array.size + 2 * MARGIN, UNTOUCHED, np.int64)
        self._inside = self._memory[MARGIN : MARGIN + array.size]
        self.array = self._inside.view(array.dtype).reshape(array.shape)
        self.array[...] = array
        self._before = self._inside.copy()

    def opened(self) -> NDArray[Any]:
        """The array, filled with what tells whether it was written to."""
        self._inside[:] = UNTOUCHED
        return self.array

    def closed(self) -> NDArray[Any]:
        """The array, as nobody can write to it."""
        self.array.setflags(write=False)
        return self.array

    @property
    def overrun(self) -> bool:
        """Whether the margins were written to."""
        return int((self._memory != UNTOUCHED).sum()) > int((self._inside != UNTOUCHED).sum())

    @property
    def changed(self) -> bool:
        """Whether the array holds something else than before."""
        return not np.array_equal(self._inside, self._before)

    @property
    def unwritten(self) -> NDArray[np.intp]:
        """Where nothing was written."""
        return np.argwhere(self._inside.reshape(self.array.shape) == UNTOUCHED)


@functools.cache
def _checked(function: Callable[..., Any]) -> Any:
    return numba.njit(function, error_model="numpy", boundscheck=True)


def _call(functions: Functions, name: str, matrices: tuple[Floats, ...], data: Further) -> Any:
    """The value, or the matrix that is filled.

    Raises
    ------
    TypeError
        If the function cannot be compiled, or its value is no number.
    ValueError
        If it reads or writes what it may not.
    _UserError
        If it raises something else.
    """
    function, fills = getattr(functions, name), name != "value"
    read = [_Guarded(x) for x in (*matrices, *data) if isinstance(x, np.ndarray)]
    out = _Guarded(matrices[0])
    arrays = iter(read)
    arguments = [next(arrays).closed() if isinstance(x, np.ndarray) else x for x in (*matrices, *data)]
    arguments += [out.opened()] if fills else []
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        raise TypeError(f"{name} cannot be called with its {len(arguments)} arguments: {error}") from None
    try:
        with nothing_lost():
            answer = _checked(function)(*arguments)
    except NumbaError as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        raise TypeError(f"{name} cannot be compiled by Numba: {chr(10).join(lines[:LINES])}") from None
    except IndexError as error:
        raise ValueError(f"{name} reads or writes outside of an array: {error}") from None
    except Exception as error:
        raise _UserError from error
    if any(guarded.overrun for guarded in (*read, out)):
        raise ValueError(f"{name} writes outside of its arrays")
    if any(guarded.changed for guarded in read):
        raise ValueError(f"{name} changes its arguments: it may write to the last one only, and value to none")
    if not fills:
        if isinstance(answer, bool) or not isinstance(answer, float | int):
            raise TypeError(f"value must return a number, not {type(answer).__name__}")
        return float(answer)
    if len(missing := out.unwritten):
        place = ", ".join(map(str, missing[0].tolist()))
        raise ValueError(f"{name} leaves out[{place}] as it was: it must write every entry of its last argument")
    return out.array


def run_once(functions: Functions, shape: tuple[int, int], data: Further) -> None:
    """Try functions at some matrix; what they raise there may be right, and is passed over."""
    W, D = np.random.default_rng(0).standard_normal((2, *shape))
    for name, function in functions._asdict().items():
        if function is not None:
            with contextlib.suppress(_UserError):
                _call(functions, name, (W, D) if name == "curvature" else (W,), data)


def run_at(functions: Functions, W: Floats, data: Further) -> None:
    """Try functions at the product of a start, and their derivatives against differences."""
    D = np.random.default_rng(1).standard_normal(W.shape)

    def result(name: str, *matrices: Floats) -> Any:
        try:
            found = _call(functions, name, matrices, data)
        except _UserError as raised:
            error = raised.__cause__
            raise ValueError(
                f"{name} raises {type(error).__name__} at the product of a start: {error or 'without a word'}"
            ) from error
        if not np.isfinite(found).all():
            raise ValueError(f"{name} is not finite at the product of a start: {shown(found)}")
        return found

    def near(name: str) -> Callable[[Floats], Any]:
        def function(W: Floats) -> Any:
            try:
                return _call(functions, name, (W,), data)
            except _UserError:  # beside where it is defined
                return np.nan

        return function

    level, slope = result("value", W), result("grad", W)
    along, size = float((slope * D).sum()), _norm(slope) * _norm(D) / np.sqrt(D.size)
    _compare("grad", "value", along, size, abs(level), _differences(near("value"), W, D))
    if functions.curvature is not None:
        bend = result("curvature", W, D)
        _compare("curvature", "grad", bend, _norm(bend), _norm(slope), _differences(near("grad"), W, D))


def _norm(x: Any) -> float:
    return float(np.linalg.norm(np.asarray(x)))


def _differences(function: Callable[[Floats], Any], W: Floats, D: Floats) -> Iterator[tuple[float, Any]]:
    """Steps, and derivatives along D that are extrapolated from central differences."""
    for unit in sorted({1.0, float(np.abs(W).max()) or 1.0}, reverse=True):
        for step in STEPS:
            s = step * unit
            fine, coarse = ((function(W + r * D) - function(W - r * D)) / (2 * r) for r in (s / 2, s))
            yield s, (4 * fine - coarse) / 3


def _compare(
    name: str, of: str, found: Any, size: float, level: float, differences: Iterator[tuple[float, Any]]
) -> None:
    """Refuse a derivative that agrees with differences of no step."""
    best, seen = np.inf, None
    for step, expected in differences:
        if np.isfinite(expected).all():
            error, allowed = _norm(found - expected), AGREEMENT * max(size, _norm(expected))
            rounding = 64 * float(np.finfo(float).eps) * level / step
            if rounding > allowed:  # they tell nothing
                continue
            if error <= allowed:
                return
            if error < best:
                best, seen = error, expected
    if seen is not None:
        raise ValueError(
            f"{name} is not the derivative of {of} at the product of a start: along a direction it is "
            f"{shown(found)}, but differences give {shown(seen)}"
        )
