"""The largest Lyapunov exponents of descents: tangent vectors along their trajectories, without the gauge directions.

A change of the weights, with momentum of the pair of weights and velocity, goes on by the derivative of the update,

    v <- beta v - eta (D H(W) + mu) w,    w <- w + v,

with w + beta v for w on the right and H at W + beta v in Nesterov's method.  Orthogonal gauges commute with updates, so
changes along them neither grow nor shrink: they are taken out of the vector whenever it is normalised.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Course, Problem
from fastdln.engines.choose import choose
from fastdln.evaluation import run
from fastdln.kernels.products.tangent import hessian
from fastdln.linalg import reproducible
from fastdln.losses import Loss
from fastdln.network import Network, Weights
from fastdln.theory import compiled
from fastdln.theory.hessian.products import Point

__all__ = ["LEAST_UPDATES", "largest", "working_bytes"]

Floats = NDArray[np.float64]
Multiply = Callable[[Floats, Floats], Floats]  # the Hessians at weights (n, N), by changes (n, N)

EVERY = 16  # updates between normalisations: within so many what is neutral does not grow from rounding
ALIGNED = 4  # one in so many of the updates only turns the vector
LEAST_UPDATES = 64
PIECE_BYTES = 64 << 20  # of states, or of gauge directions, that are held together
DEPENDENT = 1e-13  # of the trace of the Gram matrix of the gauge directions: below, they count as dependent


def working_bytes(problem: Problem) -> int:
    """Bytes that `largest` takes at most at a time."""
    size = _together(problem.network, problem.n)
    return size * _bytes_each(problem.network) + 4 * PIECE_BYTES


def _bytes_each(network: Network) -> int:
    """Bytes of the gauge directions of a network, with momentum, and their Gram matrix."""
    gauges = sum(d * (d - 1) // 2 for d in network.widths[1:-1])
    return 8 * gauges * (4 * network.n_parameters + 2 * gauges)


def _together(network: Network, n: int) -> int:
    each = max(_bytes_each(network), 8 * network.n_parameters * EVERY)
    return min(n, max(1, PIECE_BYTES // each))


def largest(problem: Problem, course: Course, first: int, last: int, rows: NDArray[np.intp]) -> Floats:
    """The largest exponents per update of some descents, from update ``first`` to update ``last``.

    Parameters
    ----------
    problem : Problem
        The descents, whose origin is the state at update 0.
    course : Course
        What they have of their own at update 0.
    first, last : int
        The updates over which the tangent vectors are followed; the first quarter turns them, and does not count.
    rows : ndarray of int
        The descents, which come to the last update.

    Returns
    -------
    ndarray, shape (rows,)
        The exponents.
    """
    quiet = replace(
        problem.with_options(record=(), stop_gradient=None, stop_loss=None, max_steps=last), raw=(), learning=False
    )
    size = _together(problem.network, len(rows))
    parts = [rows[k : k + size] for k in range(0, len(rows), size)]
    return np.concatenate([np.empty(0), *(_followed(quiet, course, first, last, part) for part in parts)])


@reproducible
def _followed(problem: Problem, course: Course, first: int, last: int, rows: NDArray[np.intp]) -> Floats:
    """The exponents of descents that are held together."""
    method, network, n = problem.descent, problem.network, len(rows)
    assert method is not None
    loss = problem.loss[rows] if problem.loss.batch_shape else problem.loss
    own = course[rows]
    some = replace(problem, loss=loss, start=problem.origin[rows], origin=problem.origin[rows], atol=np.zeros(n))
    multiply = _hessians(network, loss, n)
    rates = np.repeat(problem.options.layer_rates or (1.0,) * network.depth, problem.layer_sizes)
    beta, mu = own.momentum[:, None], own.decay[:, None]
    general = np.random.default_rng(0).standard_normal((1 + method.moves, network.n_parameters))
    w, v = (np.tile(x, (n, 1)) for x in (general[0], general[-1] if method.moves else 0 * general[0]))
    aligned = first + (last - first) // ALIGNED
    sums = np.zeros(n)
    ends = [*range(first + EVERY, aligned, EVERY), aligned, *range(aligned + EVERY, last, EVERY), last]
    some, own, _ = _gone_on(some, own, first, recorded=False)
    for end in ends:
        start, velocity = some.start.astype(np.float64), own.velocity
        before = own.done
        some, own, states = _gone_on(some, own, end, recorded=True)
        for k in range(before, end):
            at = start if k == before else states[:, k - before - 1]
            if method.moves and k > before:
                velocity = at - (start if k == before + 1 else states[:, k - before - 2])
            eta = (own.rate * method.schedule.factor(k))[:, None]
            ahead = w + beta * v if method.nesterov else w
            change = multiply(at + beta * velocity if method.nesterov else at, ahead)
            change = -eta * (rates * change + mu * ahead)
            if method.moves:
                v = beta * v + change
                change = v
            w = w + change
        pair = [w, v] if method.moves else [w]
        along = [some.start, own.velocity] if method.moves else [some.start]
        pair = _without_gauges(network, [x.astype(np.float64) for x in along], pair)
        sizes = np.sqrt(sum(np.square(x).sum(axis=1) for x in pair))
        with np.errstate(divide="ignore"):
            sums += np.log(sizes) if end > aligned else 0.0
        scale = np.where(sizes > 0, sizes, 1.0)[:, None]
        w, v = pair[0] / scale, pair[-1] / scale if method.moves else v
    return sums / (last - aligned)


def _gone_on(problem: Problem, course: Course, end: int, recorded: bool) -> tuple[Problem, Course, Floats]:
    """Descents at update ``end``, and their states after all updates on the way if these are to be ``recorded``."""
    steps = end - course.done
    if steps == 0:
        return problem, course, np.empty(0)
    part = replace(
        problem, duration=float(steps), course=course, raw=("weights",) if recorded else (),
        times=np.arange(1.0, steps + 1) if recorded else np.empty(0),
    )  # fmt: skip
    final, velocity = np.empty_like(problem.start), np.empty_like(course.velocity)
    states = np.empty((problem.n, len(part.times), problem.network.n_parameters))
    for chunk in choose(part).run(part):
        final[chunk.rows], velocity[chunk.rows] = chunk.final, chunk.velocity
        if recorded:
            states[chunk.rows] = chunk.records
    return replace(problem, start=final), replace(course, done=end, velocity=velocity), states


def _hessians(network: Network, loss: Loss, n: int) -> Multiply:
    plan = hessian(network.widths, **loss.form._asdict())
    if not compiled.suits(plan):
        return lambda at, w: network.pack(Point(network.unpack(at), loss).apply(network.unpack(w)))
    constants = compiled.rows(compiled.constants(plan, loss), (n,), np.dtype(np.float64))

    def multiply(at: Floats, w: Floats) -> Floats:
        image = np.empty_like(w)
        run(plan, (*network.unpack(at), *network.unpack(w), *constants), network.unpack(image), 1)
        return image

    return multiply


def _without_gauges(network: Network, along: list[Floats], pair: list[Floats]) -> list[Floats]:
    """Changes of weights, or of weights and velocities, less what lies along the orthogonal gauges.

    Directions that depend on others take nothing away: the Gram matrix is made regular, and the rest removed twice.
    """
    columns = list(_gauges(network, along))
    if not columns:
        return pair
    directions = np.concatenate(columns, axis=1)
    gram = directions @ directions.swapaxes(1, 2)
    trace = np.trace(gram, axis1=1, axis2=2)
    regular = np.where(trace > 0, DEPENDENT * trace, 1.0)
    gram[:, range(gram.shape[1]), range(gram.shape[1])] += regular[:, None]
    whole = np.concatenate(pair, axis=1)[..., None]
    for _ in range(2):
        whole = whole - directions.swapaxes(1, 2) @ np.linalg.solve(gram, directions @ whole)
    return np.split(whole[..., 0], len(pair), axis=1)


def _gauges(network: Network, along: list[Floats]) -> Iterator[Floats]:
    """For each hidden layer the changes X W_i, -W_{i+1} X of weights and velocities, X antisymmetric of one pair."""
    n, N = along[0].shape
    for i, d in enumerate(network.widths[1:-1]):
        a, b = np.triu_indices(d, 1)
        if not len(a):
            continue
        k = np.arange(len(a))
        found = np.zeros((n, len(a), len(along) * N))
        for j, state in enumerate(along):
            below, above = network.unpack(state)[i : i + 2]
            into: Weights = network.unpack(found[:, :, j * N : (j + 1) * N])
            into[i][:, k, a, :], into[i][:, k, b, :] = below[:, b, :], -below[:, a, :]
            into[i + 1][:, k, :, b] = -above[:, :, a].transpose(2, 0, 1)
            into[i + 1][:, k, :, a] = above[:, :, b].transpose(2, 0, 1)
        yield found
