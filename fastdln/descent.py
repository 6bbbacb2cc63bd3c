"""`descend`: gradient descent on a network, or on a batch of them, from checked arguments to trajectories."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln import arguments
from fastdln.checks import integer, of_each, seed, shown
from fastdln.engines.base import Course, Options, Problem
from fastdln.exponents import LEAST_UPDATES, largest, working_bytes
from fastdln.gradient_flow import Stop, limits_of
from fastdln.integrate.descent import NO_KEY, Descent, updates_recorded
from fastdln.integrate.schedules import After, Schedule, rates
from fastdln.integrate.status import Status
from fastdln.integration import collect
from fastdln.losses import Loss, sampled_of
from fastdln.network import Network, check_weights
from fastdln.observables import LEARNING_TIMES, LYAPUNOV, Context, documented, raw_records
from fastdln.resources import Report, require_memory
from fastdln.results.joining import going_on, join
from fastdln.results.trajectories import Trajectories

Floats = NDArray[np.float64]

FAR = 1e12  # of the largest entry of a start, or of what its weights may be at a minimum: beyond lies divergence


@documented
def descend(
    w0: Sequence[ArrayLike],
    loss: Loss,
    learning_rate: float | ArrayLike | Schedule,
    steps: int,
    momentum: float | ArrayLike = 0.0,
    nesterov: bool = False,
    weight_decay: float | ArrayLike = 0.0,
    layer_rates: Sequence[float] | None = None,
    batch_size: int | None = None,
    rng: np.random.Generator | np.random.SeedSequence | int | None = None,
    first: int = 0,
    record_every: int = 1,
    record_from: int = 0,
    record: Iterable[str] = ("loss",),
    stop: Stop | None = None,
    bound: float | None = None,
    engine: str = "auto",
    threads: int | None = None,
    progress: bool | Report = False,
) -> Trajectories:
    """Take steps of gradient descent on a loss.

    Each update is  v <- beta v - eta (dL/dW + mu W),  W <- W + v,  from v = 0.

    Parameters
    ----------
    w0 : tuple of h arrays, shape (d_i, d_{i-1}) or (n, d_i, d_{i-1})
        Weights at the start, W_1 first.  Computed in float32 where all arrays are float32, else in float64.
    loss : Loss
        With one target, or with one for each trajectory.
    learning_rate : float, array_like of shape (n,), or Schedule
        eta, or one for each trajectory: one start and n rates give n trajectories.  `fastdln.schedules` has schedules.
    steps : int
        The number of updates.
    momentum : float or array_like, shape (n,)
        beta, from 0 to below 1.
    nesterov : bool
        Take the gradient, that of weight decay too, at W + beta v.
    weight_decay : float or array_like, shape (n,)
        mu.
    layer_rates : sequence of h floats, optional
        Factors of the gradients of the layers, as in `flow`; they do not multiply mu.
    batch_size : int, optional
        Take the mean over this many samples instead of all.  In every epoch the samples are shuffled anew, and its last
        batch may be a short one.  For losses of data that hold their samples.
    rng : Generator, SeedSequence, int or None
        What the batches are drawn from; trajectory k has draws of its own, whatever else runs.
    first : int
        The index of the first trajectory, as for initial conditions.
    record_every, record_from : int
        Record at the updates record_from, record_from + record_every, ..., and the last; 0 is the start.
    record : iterable of str
        Of the names in `fastdln.observables.OBSERVABLES`, which are attributes of `Trajectories`.  They are those of
        all samples.
    stop : Stop, optional
        Ends each trajectory at the first update after which it holds, or at its start.
    bound : float, optional
        A trajectory has diverged where an entry of its weights is larger, or not finite.  By default 1e12 times the
        largest of: 1, the entries of its start, ||target||_2^(1/h).
    engine : {"auto", "lanes", "dense", "wide"}
        As in `flow`.  Wide adds updates to large layers in place, and takes no memory of their size but for a velocity.
    threads : int, optional
        By default one for each core this process may use.  Results do not depend on it.
    progress : bool or callable
        True: a bar on standard error.  A callable gets the numbers of trajectories done and failed, and of all.

    Returns
    -------
    Trajectories
        With `Trajectories.steps`, the updates done at the records, and their times ``t``, the sums of eta/(1 - beta),
        of shape (n, n_t) where rates or momenta are per trajectory.  A trajectory that diverges has the status
        DIVERGED, ``n_accepted`` is the number of that update, and ``final`` and ``t_final`` belong to the state before
        it.  A learning time is that of the first update after which a strength is at least sigma/2.

    Raises
    ------
    ValueError, TypeError
        Where an argument does not fit, before anything is computed.
    MemoryError
        Where the records would not fit into the memory that is free, before anything is computed.

    Notes
    -----
    Trajectories are bitwise the same whatever the batch, its order, the number of threads, and what is recorded when.
    With the wide engine they depend on the BLAS library.

    How to use it, and when to flow instead, is in docs/guides/descent.md; the edge of stability, periods and exponents
    are in docs/guides/edge.md.  An exponent, "lyapunov", takes that part of the descent once more, with a product with
    the Hessian for every update.

    Descent does not conserve the balance matrices: ``drift`` is how far it has led away from
    prod_k (1 - eta_k mu/(1 - beta))^2 times those of the start.

    Examples
    --------
    >>> import fastdln as dln
    >>> loss = dln.Quadratic.from_singular_values((3.0, 1.0), shape=(2, 2))
    >>> w0 = dln.inits.gaussian(dln.Network((2, 4, 2)), scale=0.1, rng=0)
    >>> sol = dln.descend(w0, loss, [0.01, 0.1, 1.0], steps=500, record_every=100)
    >>> sol.message, sol.loss.shape
    ('2 finished, 1 diverged', (3, 6))
    """
    network, weights = check_weights(w0)
    start, single = arguments.starts(network, weights, loss)
    arguments.tried(network, start, loss)
    schedule = rates(learning_rate)
    steps = arguments.count("steps", steps)
    schedule.check(steps)
    beta, mu = _not_negative("momentum", momentum), _not_negative("weight_decay", weight_decay)
    if (beta >= 1).any():
        raise ValueError(f"momentum must be from 0 to below 1, not {shown(momentum)}")
    every, begin = arguments.count("record_every", record_every), integer("record_from", record_from)
    if not 0 <= begin <= steps:
        raise ValueError(f"record_from must be from 0 to steps = {steps}, not {record_from!r}")
    stop_gradient, stop_loss = limits_of(stop)
    arguments.progress(progress)
    start, single = _start_of_each(
        start, single, {"learning_rate": schedule.peak, "momentum": beta, "weight_decay": mu}
    )
    n = len(start)
    method = Descent(
        schedule=schedule,
        moves=bool((beta > 0).any()),
        nesterov=arguments.boolean("nesterov", nesterov) and bool((beta > 0).any()),
        decays=bool((mu > 0).any()),
        samples=0 if batch_size is None else _batch_size(batch_size, loss),
        key=_key(rng) if batch_size is not None else NO_KEY,
    )
    options = Options(
        method=method,
        rtol=0.0,
        max_steps=steps,
        record=arguments.record(record),
        stop_gradient=stop_gradient,
        stop_loss=stop_loss,
        layer_rates=arguments.layer_rates(layer_rates, network.depth),
        step=1.0,
        engine=arguments.engine(engine),
    )
    arguments.check_options(options, loss, True, start.dtype)
    course = Course(
        done=0,
        every=every,
        record_from=begin,
        rate=_to_each(schedule.peak, n),
        momentum=_to_each(beta, n),
        decay=_to_each(mu, n),
        bound=_bounds(bound, start, network, loss),
        stream=_first(first) + np.arange(n),
        velocity=np.zeros((n, network.n_parameters if method.moves else 0), start.dtype),
    )
    return _run(
        network, loss, start, options, course, steps, start, varied=schedule.peak.ndim + beta.ndim > 0, single=single,
        threads=arguments.threads(threads), progress=progress,
    )  # fmt: skip


def _not_negative(name: str, given: Any) -> Floats:
    """A number that is not negative, or one for each trajectory."""
    array = of_each(name, given)
    if not (np.isfinite(array) & (array >= 0)).all():
        raise ValueError(f"{name} must be finite and not negative, not {shown(given)}")
    return array


def _to_each(values: Floats, n: int) -> Floats:
    return np.ascontiguousarray(np.broadcast_to(values, n))


def _start_of_each(start: NDArray[Any], single: bool, given: dict[str, Floats]) -> tuple[NDArray[Any], bool]:
    """Starts for as many trajectories as there are starts, targets or numbers of each argument."""
    n: tuple[int, ...] = () if single else (len(start),)
    for name, values in given.items():
        try:
            n = np.broadcast_shapes(n, values.shape)
        except ValueError:
            raise ValueError(f"{name} has shape {values.shape}; expected a number, or one for each of {n[0]}") from None
    if not n:
        return start, True
    return np.ascontiguousarray(np.broadcast_to(start, (*n, start.shape[1]))), False


def _batch_size(batch_size: Any, loss: Loss) -> int:
    size = integer("batch_size", batch_size)
    sampled_of(loss, "batch_size")
    if not 1 <= size <= loss.n_samples:
        raise ValueError(f"batch_size must be from 1 to the number of samples {loss.n_samples}, not {batch_size!r}")
    return size


def _first(first: Any) -> int:
    index = integer("first", first)
    if not 0 <= index < 1 << 62:
        raise ValueError(f"first must be from 0 to below 2^62, not {first!r}")
    return index


def _key(rng: Any) -> tuple[int, int]:
    """The key of the draws of batches."""
    source = seed("rng", rng)
    drawn = source.integers(1 << 32, size=2) if isinstance(source, np.random.Generator) else source.generate_state(2)
    first, second = map(int, drawn)
    return first, second


def _bounds(bound: Any, start: NDArray[Any], network: Network, loss: Loss) -> Floats:
    """The largest entry that a trajectory may have; never so large that an infinite one is within."""
    most = float(np.finfo(start.dtype).max)
    if bound is not None:
        return np.full(len(start), min(arguments.positive("bound", bound), most))
    largest = np.maximum(np.maximum(start.max(axis=1), -start.min(axis=1)).astype(np.float64), 1.0)
    if loss.modes is not None:
        # rounded, as the last bits of a norm are those of a library
        norm = np.float32(loss.modes.sigma[..., 0]).astype(np.float64) ** (1 / network.depth)
        largest = np.maximum(largest, np.float32(norm))
    with np.errstate(over="ignore"):
        return np.asarray(np.minimum(FAR * largest, most))


def _records(course: Course, last: int) -> NDArray[np.int64]:
    """The updates from those done to the last at which to record."""
    updates = updates_recorded(course.record_from, course.every, last)
    return updates[updates > course.done] if course.done else updates


def _kept(method: Descent, course: Course, updates: NDArray[np.int64]) -> Floats:
    """What weight decay leaves of a balance matrix: prod_k (1 - eta_k mu/(1 - beta))^2."""
    if not method.decays:
        return np.ones((1, len(updates)))
    factors, n = method.schedule.factors, len(method.schedule.factors)
    strength = course.rate * course.decay / (1.0 - course.momentum)
    kept = np.empty((len(strength), len(updates)))
    for row, x in zip(kept, strength, strict=True):
        one = np.square(1.0 - x * factors)
        parts = np.cumprod(np.append(1.0, one))
        if method.schedule.after == After.FIRST:
            row[:] = parts[-1] ** (updates // n) * parts[updates % n]
        else:
            row[:] = parts[np.minimum(updates, n)] * one[-1] ** np.maximum(updates - n, 0)
    return kept


def _times(method: Descent, course: Course, updates: NDArray[np.int64], varied: bool) -> Floats:
    if varied:
        return method.times(updates, course.rate[:, None], course.momentum[:, None])
    return method.times(updates, course.rate[0], course.momentum[0])


def _run(
    network: Network, loss: Loss, start: NDArray[Any], options: Options, course: Course, steps: int,
    origin: NDArray[Any], *, varied: bool, single: bool, threads: int, progress: bool | Report = False,
    length: Floats | None = None,
) -> Trajectories:  # fmt: skip
    """Descend from checked arguments; conserved quantities are compared with those at ``origin``.

    ``length`` is that of the way before the start.
    """
    method = options.method
    assert isinstance(method, Descent)
    last = course.done + steps
    updates = _records(course, last)
    problem = Problem(
        network=network, loss=loss, options=options, start=start, origin=origin, atol=np.zeros(len(start)),
        duration=float(steps), direction=1.0, times=(updates - course.done).astype(np.float64),
        raw=raw_records(options.record), learning=LEARNING_TIMES in options.record,
        layer_sizes=tuple(map(math.prod, network.shapes)), threads=threads, course=course,
        length=length,
    )  # fmt: skip
    first = course.record_from
    if LYAPUNOV in options.record:
        if last - first < LEAST_UPDATES:
            raise ValueError(
                f"{LYAPUNOV!r} needs at least {LEAST_UPDATES} updates from record_from = {first} on, not {last - first}"
            )
        require_memory(working_bytes(problem), "the exponents of this descent")
    context = Context(network, loss, _kept(method, course, updates), origin, options.layer_rates)
    t = _times(method, course, updates, varied)
    found = collect(problem, context, progress, "this descent", t)

    def time_of(counted: Floats) -> Floats:
        """Times of updates that are counted from the start of this run, (n, ...), NaN where there is none."""
        there = np.isfinite(counted)
        done = np.where(there, counted, 0.0).astype(np.int64) + course.done
        own = (-1, *(1,) * (counted.ndim - 1))
        times = method.times(done, course.rate.reshape(own), course.momentum.reshape(own))
        return np.where(there, times, np.nan)

    if LEARNING_TIMES in found.recorded:
        found.recorded[LEARNING_TIMES][:] = time_of(found.recorded[LEARNING_TIMES])
    if LYAPUNOV in found.recorded:
        came = np.flatnonzero(found.status == Status.FINISHED)
        found.recorded[LYAPUNOV][:] = np.nan
        from_start = replace(course, done=0, velocity=np.zeros_like(course.velocity))
        found.recorded[LYAPUNOV][came] = largest(problem, from_start, first, last, came)
    arrived = replace(course, done=last, velocity=found.velocity)
    return Trajectories(
        network=network, loss_function=loss, options=options, span=(float(course.done), float(last)),
        t=t, single=single, _recorded=found.recorded, _final=found.final,
        _t_final=time_of(found.reached), _status=found.status, _counts=found.counts, _atol=problem.atol, _origin=origin,
        _certified=found.certified, _widths=found.widths, _enlargements=found.enlargements, _steps=None,
        _updates=updates, _course=arrived, _length=found.length,
    )  # fmt: skip


def extend(old: Trajectories, steps: float, threads: int | None) -> Trajectories:
    """Go on with those that finished; see `Trajectories.extend`."""
    steps = arguments.count("steps", steps)
    course, method, updates = old._course, old.options.method, old._updates
    assert course is not None
    assert updates is not None
    assert isinstance(method, Descent)
    method.schedule.check(course.done + steps)
    go_on, loss = going_on(old)
    if method.samples:
        sampled_of(loss, "extend")
    new = _run(
        old.network, loss, old._final[go_on], old.options,
        course[go_on], steps, old._origin[go_on], varied=False, single=False, threads=arguments.threads(threads),
        length=None if old._length is None else old._length[go_on],
    )  # fmt: skip
    assert new._course is not None
    assert new._updates is not None
    velocity = course.velocity.copy()
    velocity[go_on] = new._course.velocity
    arrived = replace(course, done=new._course.done, velocity=velocity)
    further = _times(method, course, new._updates, varied=old.varied)
    t = np.concatenate([old.t, further], axis=-1)
    return join(old, new, go_on, t=t, _updates=np.concatenate([updates, new._updates]), _course=arrived)
