"""Saved trajectories: one ``.npz`` file, read without trust.

A file is checked as the arguments of a flow are, every array against the widths: what comes back can be integrated
further, and nothing in a file that was forged or damaged reaches a kernel.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdln import arguments
from fastdln.engines.base import Course, Options
from fastdln.integrate.chebyshev import STABILIZED
from fastdln.integrate.descent import Descent
from fastdln.integrate.methods import Method
from fastdln.integrate.status import Status
from fastdln.integrate.tableau import Tableau
from fastdln.losses import KINDS, Custom, Loss, Regression
from fastdln.network import Network, check_layer_rates
from fastdln.observables import OBSERVABLES
from fastdln.results import archive, courses
from fastdln.results.trajectories import PER_TRAJECTORY, Trajectories

__all__ = ["load", "save"]


def save(sol: Trajectories, path: str | PathLike[str]) -> None:
    """Write trajectories to a file; see `Trajectories.save`."""
    loss = sol.loss_function
    own = isinstance(loss, Custom)
    if not own and KINDS.get(type(loss).__name__) is not type(loss):
        raise TypeError(
            f"{loss!r} cannot be saved, as {', '.join(KINDS)} can: of a reduced network save the trajectories of the "
            "whole network"
        )
    parts = loss.arrays()
    header = {
        "widths": sol.network.widths,
        "span": sol.span,
        "single": sol.single,
        "options": dataclasses.asdict(sol.options) | {"method": _written(sol.options.method)},
        "loss": {"class": type(loss).__name__} | ({} if own else {name: parts[name] for name in loss.numbers()}),
    }
    optional = {f"loss/{name}": parts[name] for name in loss.ARRAYS}
    optional |= {_place(name): values for name, values in sol._recorded.items()}
    method = sol.options.method
    if isinstance(method, Descent):
        assert sol._course is not None
        header[courses.NAME], course = courses.written(method, sol._course)
        optional |= course | {"updates": sol._updates}
        if method.samples and isinstance(loss, Regression) and loss.samples is not None:
            optional |= {_sample(name): values for name, values in loss.samples.values().items()}
    optional["length"] = sol._length
    optional["steps"] = None if sol._steps is None else np.concatenate([np.empty(0), *sol._steps])
    arrays = {"t": sol.t} | {name: getattr(sol, f"_{name}") for name in PER_TRAJECTORY}
    archive.write(path, header, arrays | {name: x for name, x in optional.items() if x is not None})


def load(path: str | PathLike[str], loss: Loss | None = None) -> Trajectories:
    """Read trajectories that `Trajectories.save` wrote.

    Parameters
    ----------
    path : path
        The ``.npz`` file.
    loss : Loss, optional
        The loss of the trajectories, where that is a `Custom` one: functions are in no file.

    Returns
    -------
    Trajectories
        As they were saved.

    Raises
    ------
    ValueError
        If the file was not written by `Trajectories.save`, was damaged or changed since, or is of a newer format: the
        message names it and says what is wrong.
    MemoryError
        If it would not fit into the memory that is free.

    Examples
    --------
    >>> import tempfile
    >>> import fastdln as dln
    >>> sol = dln.flow((np.eye(2), np.eye(2)), dln.Quadratic(np.diag([2.0, 1.0])), (0.0, 1.0))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     sol.save(f"{folder}/sol.npz")
    ...     again = dln.load(f"{folder}/sol.npz")
    >>> np.array_equal(again.final[0], sol.final[0])
    True
    """
    if loss is not None and not isinstance(loss, Custom):
        raise TypeError(f"loss must be a Custom loss, not {type(loss).__name__}: any other is in the file")
    header, arrays = archive.read(path)
    with archive.naming(path, "saved trajectories"):
        return _trajectories(header, _Arrays(arrays), loss)


class _Arrays:
    """The arrays of a file, each handed out once and only in the shape and dtype that are expected."""

    def __init__(self, arrays: dict[str, NDArray[Any]]) -> None:
        self._left = arrays

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def shape(self, name: str) -> tuple[int, ...]:
        if name not in self._left:
            raise ValueError(f"there is no array {name!r}")
        return self._left[name].shape

    def dtype(self, name: str) -> np.dtype[Any]:
        self.shape(name)
        return self._left[name].dtype

    def take(self, name: str, dtype: DTypeLike, *shape: int) -> NDArray[Any]:
        """The array, in C order and the byte order of this machine."""
        found, expected = self.shape(name), np.dtype(dtype)
        values = self._left.pop(name)
        if found != shape or values.dtype.newbyteorder("=") != expected:
            raise ValueError(
                f"the array {name!r} has shape {found} and dtype {values.dtype}; expected {shape} and {expected}"
            )
        return np.ascontiguousarray(values, expected)

    def take_numbers(self, name: str, dtype: DTypeLike, *shape: int, least: float = -np.inf) -> NDArray[Any]:
        """The array, finite and not below ``least``."""
        values = self.take(name, dtype, *shape)
        if not (np.isfinite(values) & (values >= least)).all():
            raise ValueError(f"the array {name!r} must be finite" + ("" if least == -np.inf else f", at least {least}"))
        return values

    def refuse_others(self) -> None:
        if self._left:
            raise ValueError(f"it holds arrays that do not belong to it: {', '.join(map(repr, sorted(self._left)))}")


def _trajectories(header: dict[str, Any], arrays: _Arrays, own: Custom | None) -> Trajectories:
    network = Network(_entry(header, "widths"))
    n, *_ = (*arrays.shape("status"), 0)
    single = arguments.boolean("single", _entry(header, "single"))
    if single and n != 1:
        raise ValueError(f"a single trajectory is said to be {n}")
    dtype = arrays.dtype("final").newbyteorder("=")
    if dtype not in (np.float32, np.float64):
        raise ValueError(f"the array 'final' has dtype {dtype}; expected float32 or float64")
    loss = _loss(_entry(header, "loss"), arrays, network, n, own)
    span = arguments.span(_entry(header, "span"))
    method, course = None, None
    if courses.NAME in header:
        method, course = courses.read(header[courses.NAME], arrays, loss, n, network.n_parameters, dtype)
    options = _options(_entry(header, "options"), network, method)
    arguments.check_options(options, loss, span[0] < span[1], dtype)

    times = arrays.take_numbers("t", np.float64, *arrays.shape("t"))
    updates = None
    if course is None:
        times = arguments.times(times, *span)
    else:
        updates = _updates(arrays, course, times, n)
    recorded = {
        name: arrays.take(_place(name), row.precision(dtype), n, *row.shape(network, loss, times.shape[-1]))
        for name, row in OBSERVABLES.items()
        if name in options.record
    }
    status = arrays.take_numbers("status", np.int8, n, least=0)
    if (status > max(Status)).any():
        raise ValueError(f"the array 'status' holds {status.max()}, which no status has")
    counts = arrays.take_numbers("counts", np.int64, n, 3, least=0)
    layers = network.depth + 1
    # Files of before networks were reduced do not have these two.
    widths = np.tile(network.widths, (n, 1))
    if "widths" in arrays:
        widths = arrays.take_numbers("widths", np.int64, n, layers, least=1)
    enlargements = np.zeros(n, np.int64)
    if "enlargements" in arrays:
        enlargements = arrays.take_numbers("enlargements", np.int64, n, least=0)
    sol = Trajectories(
        network=network, loss_function=loss, options=options, span=span, t=times, single=single, _recorded=recorded,
        _final=arrays.take("final", dtype, n, network.n_parameters),
        _t_final=arrays.take("t_final", np.float64, n),
        _status=status, _counts=counts,
        _atol=arrays.take_numbers("atol", np.float64, n, least=0),
        _origin=arrays.take("origin", dtype, n, network.n_parameters),
        _certified=arrays.take("certified", np.bool_, n),
        _widths=widths, _enlargements=enlargements,
        _steps=_steps(arrays, counts[:, 1]) if options.history else None, _updates=updates, _course=course,
        _length=arrays.take("length", np.float64, n) if "path_length" in options.record else None,
    )  # fmt: skip
    arrays.refuse_others()
    return sol


def _place(name: str) -> str:
    """The name in a file of what was recorded of an observable."""
    return f"recorded/{name}" if OBSERVABLES[name].timed else name


def _sample(name: str) -> str:
    """The name in a file of data that a regression keeps."""
    return f"loss/samples/{name}"


def _updates(arrays: _Arrays, course: Course, times: NDArray[np.float64], n: int) -> NDArray[np.int64]:
    """The numbers of the updates that were recorded, of which ``times`` are the times."""
    updates = arrays.take_numbers("updates", np.int64, *arrays.shape("updates"), least=0)
    if updates.ndim != 1 or (np.diff(updates) <= 0).any() or (updates > course.done).any():
        raise ValueError(f"the array 'updates' must be increasing, up to {course.done}")
    if times.shape not in ((len(updates),), (n, len(updates))):
        raise ValueError(f"the array 't' has shape {times.shape}, which does not fit {len(updates)} updates")
    return updates


def _steps(arrays: _Arrays, accepted: NDArray[np.int64]) -> tuple[NDArray[np.float64], ...]:
    """The times of the accepted steps, by trajectory."""
    total = sum(map(int, accepted))  # as Python's integers, which do not overflow
    return tuple(np.split(arrays.take("steps", np.float64, total), np.cumsum(accepted)[:-1]))[: len(accepted)]


def _entry(header: Any, name: str) -> Any:
    if not isinstance(header, dict) or name not in header:
        raise ValueError(f"its header does not tell {name}")
    return header[name]


def _loss(header: Any, arrays: _Arrays, network: Network, n: int, own: Custom | None) -> Loss:
    if isinstance(header, dict) and header.get("class") == Custom.__name__:
        if own is None:
            raise ValueError("the functions of their Custom loss are in no file: give it, load(path, loss=...)")
        own.check_product((network.widths[-1], network.widths[0]))
        return own
    kind = _kind(header, arrays)
    if own is not None:
        raise ValueError(f"their loss is in the file, {kind.__name__}: leave loss out")
    sizes = {"target": n, "d_h": network.widths[-1], "d_0": network.widths[0]}
    values = {name: _entry(header, name) for name in kind.numbers()}
    for name in kind.ARRAYS:
        found, axes = arrays.shape(f"loss/{name}"), kind.PARTS.LAYOUT[name]
        if axes[0] == "target" and len(found) < len(axes):
            axes = axes[1:]
        if len(found) == len(axes):  # how many samples there are, the file tells
            sizes = dict(zip(axes, found, strict=True)) | sizes
        expected = (sizes.get(axis, 1) for axis in axes)
        dtype = np.int64 if name == "labels" else np.float64
        values[name] = arrays.take_numbers(f"loss/{name}", dtype, *expected)
    loss = kind.of_values(**values)
    if isinstance(loss, Regression) and _sample("X") in arrays:
        m = arrays.shape(_sample("X"))[-1]
        widths = {"X": network.widths[0], "Y": network.widths[-1]}
        X, Y = (arrays.take_numbers(_sample(name), np.float64, d, m) for name, d in widths.items())
        loss = loss.with_samples(X, Y)
    loss.check_product((network.widths[-1], network.widths[0]))
    return loss


def _kind(header: Any, arrays: _Arrays) -> type[Loss]:
    """The class of the loss, which files of before there were others than two do not tell."""
    if not isinstance(header, dict) or "class" not in header:
        return KINDS["Regression" if "loss/input_gram" in arrays or "loss/input_root" in arrays else "Quadratic"]
    return KINDS[arguments.one_of("the class of the loss", header["class"], KINDS)]


def _options(header: Any, network: Network, descent: Descent | None) -> Options:
    positive = arguments.positive if descent is None else arguments.not_negative  # a descent has no tolerance
    checks: dict[str, Callable[[Any], Any]] = {
        "method": _read if descent is None else lambda name: descent,
        "rtol": lambda rtol: positive("rtol", rtol),
        "max_steps": lambda steps: arguments.count("max_steps", steps),
        "record": arguments.record,
        "stop_gradient": _or_none(lambda norm: arguments.not_negative("stop_gradient", norm)),
        "stop_loss": _or_none(lambda loss: arguments.number("stop_loss", loss)),
        "weight_decay": lambda decay: arguments.not_negative("weight_decay", decay),
        "layer_rates": _or_none(lambda rates: tuple(map(float, check_layer_rates(rates, network.depth)))),
        "step": _or_none(lambda step: arguments.positive("step", step)),
        "history": lambda history: arguments.boolean("history", history),
        "certify": lambda certify: arguments.boolean("certify", certify),
        "engine": arguments.engine,
        "modified": lambda rate: arguments.not_negative("modified", rate),
    }
    if isinstance(header, dict):  # files of before there were modified flows do not have it
        header = {"modified": 0.0} | header
    if not isinstance(header, dict) or header.keys() != checks.keys():
        raise ValueError("its header does not tell the options of a flow")
    return Options(**{name: check(header[name]) for name, check in checks.items()})


def _or_none(check: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda value: None if value is None else check(value)


def _written(method: Method) -> str | dict[str, Any]:
    """A method by its name, but an explicit one of a flow, which may be the user's, by its coefficients."""
    if not isinstance(method, Tableau):
        return method.name
    return {f.name: getattr(method, f.name) for f in dataclasses.fields(method) if f.init}


def _read(method: Any) -> Method:
    if isinstance(method, dict):
        if not all(isinstance(method.get(name, ""), str) for name in ("name", "source")):
            raise ValueError("the name of the method is no text")
        return Tableau(**method)
    return STABILIZED[arguments.one_of("method", method, STABILIZED)]
