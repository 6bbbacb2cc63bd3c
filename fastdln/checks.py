"""Checks of single values: each returns the value to work with, or says which argument is wrong, and how."""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "boolean",
    "count",
    "integer",
    "not_negative",
    "number",
    "of_each",
    "one_of",
    "positive",
    "real",
    "reals",
    "seed",
    "sequence",
    "shown",
    "unmasked",
]

_LONGEST = 200  # characters of a value in a message


def shown(value: Any) -> str:
    """Write a value for a message, shortened where it is long."""
    if isinstance(value, int) and value.bit_length() > 4 * _LONGEST:  # Python refuses to write very long ones
        return f"an integer of {value.bit_length()} bits"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def real(name: str, value: Any) -> float:
    """A float of any value; text and truth values are none, although Python makes numbers of both."""
    if isinstance(value, str | bytes | bool | np.bool_):
        raise TypeError(f"{name} must be a number, not {shown(value)}")
    try:
        return float(unmasked(name, value))
    except OverflowError:
        raise ValueError(f"{name} must be a number that a float can hold, not {shown(value)}") from None
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a number, not {shown(value)}") from None


def number(name: str, value: Any) -> float:
    """A finite real number."""
    number = real(name, value)
    if not math.isfinite(number):
        raise ValueError(f"{name} must be finite, not {shown(value)}")
    return number


def positive(name: str, value: Any) -> float:
    """A finite number above 0."""
    checked = number(name, value)
    if checked <= 0:
        raise ValueError(f"{name} must be positive, not {shown(value)}")
    return checked


def not_negative(name: str, value: Any) -> float:
    """A finite number from 0 on."""
    checked = number(name, value)
    if checked < 0:
        raise ValueError(f"{name} must not be negative, not {shown(value)}")
    return checked


def integer(name: str, value: Any) -> int:
    """An integer; no truth value, although Python counts with both."""
    if isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be an integer, not {value!r}")
    try:
        return operator.index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, not {shown(value)} ({type(value).__name__})") from None


def count(name: str, value: Any) -> int:
    """An integer from 1 on that a float holds exactly, as kernels count in f64."""
    checked = integer(name, value)
    if checked < 1:
        raise ValueError(f"{name} must be at least 1, not {shown(value)}")
    if checked > 2**53:
        raise ValueError(f"{name} must be at most 2^53, not {shown(value)}")
    return checked


def boolean(name: str, value: Any) -> bool:
    """True or False; whatever else Python takes for either ("no" is true) is refused."""
    if not isinstance(value, bool | np.bool_):
        raise TypeError(f"{name} must be True or False, not {shown(value)}")
    return bool(value)


def one_of(name: str, value: Any, known: Iterable[str]) -> str:
    """One of some words."""
    known = tuple(known)
    if not isinstance(value, str):
        raise TypeError(f"{name} must be one of {', '.join(map(repr, known))}, not {shown(value)}")
    if value not in known:
        near = difflib.get_close_matches(value, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}, not {shown(value)}{hint}")
    return value


def reals(name: str, values: Any) -> NDArray[Any]:
    """An array of real numbers, as it is: complex ones, text, truth values and objects are refused."""
    try:
        array = np.asarray(unmasked(name, values))
    except ValueError as error:  # rows of different lengths
        raise ValueError(f"{name} must be an array of numbers: {error}") from None
    if array.size and array.dtype.kind not in "fiu":
        if array.dtype == object and all(type(x) is int for x in array.flat):
            raise ValueError(f"{name} holds integers that no float can hold")
        raise TypeError(f"{name} has dtype {array.dtype}; expected real numbers")
    return array


def of_each(name: str, given: Any) -> NDArray[np.float64]:
    """A number, or one for each trajectory, as a new array in float64 of shape () or (n,)."""
    array = np.array(reals(name, given), np.float64)
    if array.ndim > 1 or 0 in array.shape:
        raise ValueError(f"{name} must be a number or an array (n,), not one of shape {array.shape}")
    return array


def sequence(name: str, values: Any) -> NDArray[np.float64]:
    """A sequence of real numbers as a new array in float64; what it holds may not be finite."""
    try:
        return reals(name, values).astype(np.float64)
    except TypeError:
        raise TypeError(f"{name} must be a sequence of numbers, not {shown(values)}") from None


def unmasked(name: str, values: Any) -> Any:
    """Values none of which is masked: NumPy drops masks, and computes with what lies under them."""
    if isinstance(values, np.ma.MaskedArray) and (masked := int(np.ma.getmaskarray(values).sum())):
        raise ValueError(f"{name} has {masked} masked entries; expected none")
    return values


def seed(name: str, rng: Any) -> np.random.Generator | np.random.SeedSequence:
    """What random numbers come from: a Generator or SeedSequence as it is, an integer from 0 on, or None."""
    if isinstance(rng, np.random.Generator | np.random.SeedSequence):
        return rng
    if rng is not None and (isinstance(rng, bool | np.bool_) or not isinstance(rng, int | np.integer)):
        raise TypeError(f"{name} must be a Generator, SeedSequence, int or None, not {type(rng).__name__}")
    if rng is not None and rng < 0:
        raise ValueError(f"{name} must be at least 0, not {shown(rng)}")
    return np.random.SeedSequence(None if rng is None else int(rng))
