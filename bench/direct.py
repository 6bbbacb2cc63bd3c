"""A direct Runge-Kutta method for one network: every slope is formed, in memory that is allocated once.

Products by BLAS; stages and error sums in one pass over memory each, by the vector kernels that the dense engine uses.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np

import fastdln as dln
from fastdln.engines.wide.thin import thin
from fastdln.integrate.tableaus import TSIT5
from fastdln.kernels.lockstep.vectors import library

BLOCK = 32  # numbers that the kernels take at once


def shared(calls: list[Callable[[], object]]) -> None:
    """Make the calls, each in a thread."""
    threads = [threading.Thread(target=call) for call in calls[1:]]
    for thread in threads:
        thread.start()
    calls[0]()
    for thread in threads:
        thread.join()


def _kernel(name: str, count: int) -> Callable[..., None]:
    return ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * count)(library(np.float64, 1)[name])


class Direct:
    """Fixed steps of Tsit5, with the error norm of each."""

    def __init__(self, loss: dln.Quadratic, start: tuple[np.ndarray, ...], threads: int) -> None:
        self.sigma = loss.target
        self.network = dln.Network((start[0].shape[1], *(W.shape[0] for W in start)))
        size, count = self.network.n_parameters, TSIT5.stages
        if size % BLOCK:
            raise ValueError(f"the number of weights must be a multiple of {BLOCK}, not {size}")
        arrays = thin(count + 2, size, np.float64)  # aligned, at distances that do not fall into the same cache sets
        self.state, self.next, *self.slopes = arrays
        self.state[...] = self.network.pack(start)
        edges = [BLOCK * (size // BLOCK * i // threads) for i in range(threads + 1)]
        self.parts = list(pairwise(edges))
        self.index, self.sums = np.arange(count), np.zeros((threads, 1))
        self.tolerance = np.array([1e-6, 1e-9])
        self.combine, self.error_sum = _kernel("combine", 7), _kernel("error_sum", 8)
        self.rhs(self.state, self.slopes[0])

    def rhs(self, state: np.ndarray, out: np.ndarray) -> None:
        weights, slopes = self.network.unpack(state), self.network.unpack(out)
        products = [weights[0]]
        for W in weights[1:]:
            products.append(W @ products[-1])
        left = self.sigma - products[-1]
        for i in range(len(weights) - 1, 0, -1):
            np.matmul(left, products[i - 1].T, out=slopes[i])
            left = weights[i].T @ left
        slopes[0][...] = left

    def step(self, h: float) -> None:
        for s in range(1, TSIT5.stages):
            factors = h * np.array(TSIT5.rows[s])
            shared([partial(self._stage, part, factors) for part in self.parts])
            self.rhs(self.next, self.slopes[s])
        factors = h * np.array(TSIT5.errors[0])
        shared([partial(self._errors, i, factors) for i in range(len(self.parts))])
        self.error = float(np.sqrt(self.sums.sum() / len(self.state)))
        self.state, self.next = self.next, self.state
        self.slopes[0], self.slopes[-1] = self.slopes[-1], self.slopes[0]

    def _table(self, first: int) -> np.ndarray:
        return np.array([k[first:].ctypes.data for k in self.slopes])

    def _stage(self, part: tuple[int, int], factors: np.ndarray) -> None:
        first, last = part
        table = self._table(first)
        self.combine(
            self.next[first:].ctypes.data, self.state[first:].ctypes.data, table.ctypes.data, self.index.ctypes.data,
            factors.ctypes.data, len(factors), last - first,
        )  # fmt: skip

    def _errors(self, i: int, factors: np.ndarray) -> None:
        first, last = self.parts[i]
        table, states = self._table(0), [self.state, self.next, self.tolerance]
        places = np.array([x.ctypes.data for x in states])
        self.error_sum(
            self.sums[i].ctypes.data, places.ctypes.data, table.ctypes.data, self.index.ctypes.data,
            factors.ctypes.data, len(factors), 8 * first, 8 * last,
        )  # fmt: skip
