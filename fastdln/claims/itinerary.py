"""What flows meet on their way: plateaus (T6), exchanges of modes (T10), times and order of learning (T13)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from scipy.integrate import quad

from fastdln.claims.instances import distinct_values, target
from fastdln.claims.registry import claim
from fastdln.gradient_flow import flow
from fastdln.inits import decoupled, gaussian
from fastdln.linalg import Floats
from fastdln.losses import Quadratic
from fastdln.network import Network
from fastdln.theory import landscape
from fastdln.theory.itinerary import Itinerary, itinerary, records


def _way(net: Network, loss: Quadratic, layer_values: Floats, t_end: float) -> Itinerary:
    """The itinerary of a decoupled flow, read at 2000 times."""
    t = np.r_[0.0, np.geomspace(t_end / 1e4, t_end, 1999)]
    start = decoupled(net, loss, layer_values)
    return itinerary(flow(start, loss, (0.0, t_end), t, rtol=1e-9, record=("loss", "strengths", "grad_norm")))


def _square(rng: np.random.Generator, depth: int, modes: int) -> tuple[Network, Quadratic, Floats]:
    net, sigma = Network((modes,) * (depth + 1)), distinct_values(rng, modes)
    return net, target(rng, net, sigma), sigma


def _half_time(start: float, sigma: float, depth: int) -> float:
    """The integral of ds / (s^(h-1) (sigma - s^h)) from the start to half of sigma."""
    half = (sigma / 2) ** (1 / depth)
    # in the logarithm of s, in which the start may be small
    return float(quad(lambda x: np.exp((2 - depth) * x) / (sigma - np.exp(depth * x)), np.log(start), np.log(half))[0])


@claim(
    "plateaus-are-at-critical-values",
    "T6",
    statement="Flows that start near the origin stay near critical products on their way: on every plateau the loss is "
    "the critical value of the learned modes, and it falls from plateau to plateau.",
    hypotheses="start near the origin; singular values far apart, so that there are plateaus",
    instances="10 flows for each of the widths 4-5-3 and 3-4-4-3, sigma = 16, 4, 1, entries of size 1e-5 and 3e-3; the "
    "loss at the record nearest to the critical product, against the critical values, relative to that of the origin",
    tolerance=1e-4,
)
def _values(rng: np.random.Generator) -> Iterator[float]:
    for widths, scale, t_end in (((4, 5, 3), 1e-5, 40.0), ((3, 4, 4, 3), 3e-3, 3000.0)):
        net = Network(widths)
        loss = target(rng, net, np.array([16.0, 4.0, 1.0]))
        by_set = {critical.learned: critical.value for critical in landscape.critical_values(net, loss)}
        t = np.geomspace(t_end / 1e4, t_end, 600)
        sol = flow(gaussian(net, scale, size=10, rng=rng), loss, (0.0, t_end), t, record=records(loss))
        way = itinerary(sol)
        for k in range(len(sol)):
            p = int(way.n_plateaus[k])
            yield 0.0 if p > 1 else 1.0
            known = [by_set[tuple(np.flatnonzero(learned).tolist())] for learned in way.learned[k, :p]]
            there = sol.loss[k, np.searchsorted(sol.t, way.closest[k, :p])]
            yield float(np.abs(there - known).max()) / by_set[()]
            yield 0.0 if (np.diff(known) < 0).all() else 1.0


@claim(
    "modes-learned-at-their-mode-time",
    "T13",
    statement="A decoupled mode reaches half of its singular value after the integral of ds / (s^(h-1) (sigma - s^h)) "
    "from its start to (sigma/2)^(1/h).",
    hypotheses="layers share the start s_0 of the mode, 0 < s_0 < (sigma/2)^(1/h); larger modes start larger, as "
    "rounding would grow to an exchange of modes at a saddle that has learned a lesser one",
    instances="12 decoupled flows of depth 1 to 4 with 3 modes in random bases, starts between 0.01 and 0.3; times "
    "read off the strengths at 2000 records, relative errors",
    tolerance=2e-3,
)
def _times(rng: np.random.Generator) -> Iterator[float]:
    for depth in (1, 2, 3, 4) * 3:
        net, loss, sigma = _square(rng, depth, 3)
        start = np.sort(rng.uniform(0.05 if depth > 2 else 0.01, 0.3 if depth > 1 else 0.2, 3))[::-1]
        expected = np.array([_half_time(s, value, depth) for s, value in zip(start, sigma, strict=True)])
        way = _way(net, loss, start, 1.5 * expected.max())
        yield float(np.abs(way.learning_times / expected - 1).max())


@_times.outside("layers 2-2-2 that share the product of their values, but not the values")
def _(rng: np.random.Generator) -> float:
    net, loss, sigma = _square(rng, 2, 2)
    expected = np.array([_half_time(0.1, value, 2) for value in sigma])
    way = _way(net, loss, np.array([[0.01, 0.01], [1.0, 1.0]]), 1.5 * expected.max())
    return float(np.abs(way.learning_times / expected - 1).max())


@claim(
    "learning-is-sequential-in-the-limit",
    "T13",
    statement="As the common start of decoupled modes tends to zero they are learned one after another: the stretches "
    "between 10 % and 90 % of different modes no longer overlap.",
    hypotheses="depth at least 2, distinct singular values, a start that is small enough for their distances",
    instances="10 decoupled flows of depth 2 and 3 with 3 modes in random bases, from 1e-30 and 1e-3; those that are "
    "not sequential",
    tolerance=0.0,
)
def _sequential(rng: np.random.Generator) -> Iterator[float]:
    for depth, start in ((2, 1e-30), (3, 1e-3)) * 5:
        net, loss, sigma = _square(rng, depth, 3)
        yield float(not _way(net, loss, np.full(3, start), 1.5 * _half_time(start, sigma[-1], depth)).sequential)


@_sequential.outside("modes that start from 0.3")
def _(rng: np.random.Generator) -> float:
    net, loss, sigma = _square(rng, 2, 3)
    return float(not _way(net, loss, np.full(3, 0.3), 5 * _half_time(0.3, sigma[-1], 2)).sequential)


@claim(
    "modes-are-exchanged-for-larger-ones",
    "T10",
    statement="A saddle that has learned other modes than the leading ones is left by an exchange of a learned mode "
    "for a larger one.",
    hypotheses="a random start near the saddle",
    instances="12 flows of the networks 3-1-3 and 3-1-1-3, which can learn one mode, from 1e-4 beside the saddle with "
    "the second or the third; those that do not end in the largest, or pass another order",
    tolerance=0.0,
)
def _exchange(rng: np.random.Generator) -> Iterator[float]:
    for widths in ((3, 1, 3), (3, 1, 1, 3)) * 3:
        net = Network(widths)
        loss = target(rng, net, np.array([4.0, 2.0, 1.0]))
        for mode in (1, 2):
            saddle = landscape.critical_point(net, loss, (mode,))
            start = tuple(W + 1e-4 * rng.standard_normal(W.shape) for W in saddle)
            t = np.linspace(0, 100, 1000)
            way = itinerary(flow(start, loss, (0.0, 100.0), t, record=records(loss)))
            learned = [np.flatnonzero(S).tolist() for S in way.learned]
            right = learned[0] == [mode] and learned[-1] == [0] and learned == sorted(learned, reverse=True)
            yield float(not right)
