"""What a file tells of a descent beside what it tells of a flow: its method, and its course."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdln import arguments
from fastdln.checks import integer
from fastdln.engines.base import PER_TRAJECTORY, Course
from fastdln.integrate.descent import Descent
from fastdln.integrate.draws import WORD
from fastdln.integrate.schedules import After, Schedule
from fastdln.losses import Loss

__all__ = ["NAME", "read", "written"]

NAME = "descent"
COUNTS = ("done", "every", "record_from")


class Arrays(Protocol):
    """The arrays of a file, each handed out once."""

    def shape(self, name: str) -> tuple[int, ...]: ...

    def take(self, name: str, dtype: DTypeLike, *shape: int) -> NDArray[Any]: ...

    def take_numbers(self, name: str, dtype: DTypeLike, *shape: int, least: float = ...) -> NDArray[Any]: ...


def written(method: Descent, course: Course) -> tuple[dict[str, Any], dict[str, NDArray[Any]]]:
    """What goes into the header, and the arrays."""
    header = {
        "nesterov": method.nesterov,
        "samples": method.samples,
        "key": method.key,
        "after": int(method.schedule.after),
        **{name: getattr(course, name) for name in COUNTS},
    }
    arrays = {_place(name): getattr(course, name) for name in PER_TRAJECTORY}
    return header, arrays | {_place("factors"): method.schedule.factors}


def read(header: Any, arrays: Arrays, loss: Loss, n: int, parameters: int, dtype: DTypeLike) -> tuple[Descent, Course]:
    """Read what was written of the descent of n trajectories with these parameters."""
    names = {"nesterov", "samples", "key", "after", *COUNTS}
    if not isinstance(header, dict) or header.keys() != names:
        raise ValueError("its header does not tell the options of a descent")
    done, every = (arguments.count(name, header[name]) for name in COUNTS[:2])
    record_from, samples = (integer(name, header[name]) for name in ("record_from", "samples"))
    after = integer("after", header["after"])
    if record_from < 0 or after not in list(After):
        raise ValueError(f"record_from = {record_from} or after = {after} is out of range")
    if not 0 <= samples <= max(loss.n_samples, 0 if loss.sampled is not None else samples):
        raise ValueError(f"samples = {samples} is not from 0 to {loss.n_samples}")
    first, second = (integer("key", word) for word in header["key"])
    if not (0 <= first <= WORD and 0 <= second <= WORD):
        raise ValueError(f"the key {header['key']} is not two words of 32 bits")

    (length,) = arrays.shape(_place("factors")) or (0,)
    factors = arrays.take_numbers(_place("factors"), np.float64, length, least=0)
    if length == 0:
        raise ValueError("the schedule of learning rates is empty")
    schedule = Schedule(np.ones(()), factors, After(after))
    schedule.check(done)
    rate, momentum, decay, bound = (
        arrays.take_numbers(_place(name), np.float64, n, least=0) for name in ("rate", "momentum", "decay", "bound")
    )
    if (momentum >= 1).any():
        raise ValueError("the array 'descent/momentum' must be below 1")
    stream = arrays.take_numbers(_place("stream"), np.int64, n, least=0)
    columns = parameters if arrays.shape(_place("velocity")) == (n, parameters) else 0
    velocity = arrays.take(_place("velocity"), dtype, n, columns)
    course = Course(done, every, record_from, rate, momentum, decay, bound, stream, velocity)
    method = Descent(
        schedule,
        moves=columns > 0,
        nesterov=arguments.boolean("nesterov", header["nesterov"]) and columns > 0,
        decays=bool((decay > 0).any()),
        samples=samples,
        key=(first, second),
    )
    return method, course


def _place(name: str) -> str:
    return f"{NAME}/{name}"
