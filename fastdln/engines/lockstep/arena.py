"""The memory of one thread of the integration loop: where everything lies, and the tables that say so."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.lockstep.finish import finish
from fastdln.engines.lockstep.hidden import hidden_growth
from fastdln.engines.lockstep.methods import vectors
from fastdln.engines.lockstep.recipe import Executor, Recipe
from fastdln.kernels.lockstep import control, learning
from fastdln.kernels.lockstep import workspace as layout
from fastdln.kernels.lockstep.growth import general
from fastdln.kernels.lockstep.vectors import library
from fastdln.kernels.machine.compile import address_of
from fastdln.kernels.products.program import program

PAGE = 4096
# States follow each other at a distance of 448 bytes modulo a page: at a multiple of the page all the vectors of a
# stage combination fall into the same few sets of the first-level cache.
STAGGER = 448


class Arena:
    """One thread's memory: states, slopes, scratch, control, and the table of their addresses.

    The arrays are attributes: the kernels hold addresses only, and an array must live as long as its address does.

    Attributes
    ----------
    chunk : object
        What is integrated at present, and where results go.
    """

    chunk: object = None

    def __init__(self, recipe: Recipe) -> None:
        sizes, lanes, item = recipe.sizes, recipe.executor.lanes, recipe.dtype.itemsize
        method, network = recipe.method, recipe.problem.network
        slopes, modes, unit = method.slopes, sizes["modes"], recipe.executor.unit(recipe.dtype)
        stride = _stride(sizes["entries"], sizes["entry"])
        blocks = {
            "state": stride, "next": stride, "stage": stride, "stage2": stride,
            **{f"slope{s}": stride for s in range(slopes)},
            **dict.fromkeys(method.states, stride),
            "probe": stride if sizes["record_gradient"] >= 0 else 0,
            "scratch": recipe.hidden.n_scratch,
            "buffer": recipe.buffer,
            "step": 1, "theta": 1, "mask": 1, "tolerance": 2, "factors": method.factors,
            "output_factors": max(method.sizes["output_terms"], method.sizes.get("other_terms", 0)),
            "dense": method.dense.size,
            "other_dense": 0 if method.other_dense is None else method.other_dense.size,
            "sums": 2 * network.depth, "strengths": modes, "thresholds": modes, "seen": learning.PASSES * modes,
            **{f"ends{i}": -(-modes // unit) * unit for i in range(learning.KNOWN)},
        }  # fmt: skip
        count = sum(blocks.values()) * lanes
        self._memory = np.zeros(count + PAGE // item, recipe.dtype)
        first = (-self._memory.ctypes.data % PAGE) // item
        self.arena = self._memory[first : first + count]
        places, at = {}, self.arena.ctypes.data
        for name, entries in blocks.items():
            places[name] = at
            at += entries * sizes["entry"]
        tolerance = (places["tolerance"] - self.arena.ctypes.data) // item
        for name, dense in (("dense", method.dense), ("other_dense", method.other_dense)):
            if dense is not None:
                at = (places[name] - self.arena.ctypes.data) // item
                self.arena[at : at + dense.size * lanes] = np.repeat(dense.ravel(), lanes)
        self.arena[tolerance : tolerance + lanes] = recipe.problem.options.rtol

        self.ctl = np.zeros((method.control_rows, lanes))
        self.ctl[control.NEXT_OUTPUT] = np.inf
        slope_table = np.array([places[f"slope{s}"] for s in range(slopes)], np.int64)
        layer_sizes = np.array([rows * columns for rows, columns in network.shapes], np.int64)
        self._tables = {
            "arena": self.arena, "ctl": self.ctl, "slopes": slope_table, "rhs": recipe.rhs,
            "observe": recipe.observe, "watch": recipe.watch, "follow": recipe.follow, "growth": recipe.growth,
            "norms": _norms(recipe, places["scratch"]),
            "general_vectors": general(recipe.hidden.n_vectors).astype(recipe.dtype),
            **method.tables, "mix": np.zeros(method.mixed, np.int64),
            "layers": np.array(recipe.program.layers, np.int64), "sizes": layer_sizes,
            "layer_sizes": layer_sizes.astype(float), "rates": recipe.rates,
            "bases": np.array([0, 0, places["scratch"], places["buffer"], 0, 0], np.int64),
            "flags": np.zeros(3, np.int64), "states": np.zeros(3, np.int64), "defect": np.zeros(3, np.int64),
            "traj": np.full(lanes, -1, np.int64), "output": np.zeros(lanes, np.int64),
            "ends": np.array([places[f"ends{i}"] for i in range(learning.KNOWN)], np.int64),
            "wanted": np.zeros((lanes, 1 + modes), np.int64), "search": np.zeros((lanes, learning.TABLE)),
        }  # fmt: skip

        if "general" in places:
            self._fill_general(places["general"], recipe)
        self.workspace = np.zeros(1, layout.WORKSPACE)
        w = self.workspace[0]
        for name, value in (recipe.par | sizes | library(recipe.dtype, lanes)).items():
            w[name] = value
        w["execute_rhs"] = w["execute_observe"] = w["execute_growth"] = w["execute"]
        if recipe.code is not None:
            for name, address in recipe.code.addresses.items():
                w[name] = address
        for name, address in places.items():
            if f"{name}_at" in layout.ADDRESSES:
                w[f"{name}_at"] = address
        for name, table in self._tables.items():
            w[f"{name}_at"] = table.ctypes.data
        w["output_table_at"] = self._tables[method.output_table].ctypes.data + 8 * method.output_first
        self._finish = finish(recipe)
        if self._finish:
            w["certify"], w["certificate_at"] = self._finish.routine, self._finish.task.ctypes.data
        if recipe.problem.learning:
            w["search"] = address_of(learning.search, learning.ARGUMENTS)
        w["workspace_at"] = w["par_at"] = self.workspace.ctypes.data  # the parameters come first

    def _fill_general(self, address: int, recipe: Recipe) -> None:
        """A vector that no symmetry of a start contains, zero in the padding: the same for every trajectory."""
        first = (address - self.arena.ctypes.data) // recipe.dtype.itemsize
        entries, lanes = recipe.sizes["entries"], recipe.executor.lanes
        state = self.arena[first : first + entries * lanes].reshape(entries, lanes)
        rng = np.random.default_rng(0)
        for offset, (rows, columns) in zip(recipe.program.layers, recipe.problem.network.shapes, strict=False):
            state[offset : offset + rows * columns] = rng.standard_normal((rows * columns, 1))


def _norms(recipe: Recipe, scratch: int) -> NDArray[np.int64]:
    """The table of the norms of hidden growth, for scratch at an address."""
    hidden, entry, item = recipe.hidden, recipe.sizes["entry"], recipe.dtype.itemsize
    rows = [
        (scratch + v * entry, scratch + image * entry, size, (v - hidden.vectors) * item, first, last)
        for v, image, size, first, last in hidden.norms
    ]
    return np.array(rows, np.int64).reshape(-1, 6)


def _stride(entries: int, entry_bytes: int) -> int:
    size = entries * entry_bytes
    if size > PAGE // 2:
        size += (STAGGER - size) % PAGE
    return -(-size // entry_bytes)


def arena_bytes(entries: int, slopes: int, scratch: int, entry_bytes: int) -> int:
    """Bytes that the loop works on: what must fit the cache."""
    return ((4 + slopes) * _stride(entries, entry_bytes) + scratch) * entry_bytes


def working_bytes(problem: Problem, executor: Executor, threads: int) -> int:
    """Bytes of the memory of some threads, and of the constants of the loss that they share."""
    dtype = problem.start.dtype
    plan = program(problem.network.widths, problem.loss.input_gram is not None, problem.watched, executor.unit(dtype))
    entry_bytes = executor.lanes * dtype.itemsize
    states = vectors(problem.options.method) + ("square_gradient" in problem.raw)
    scratch = hidden_growth(problem, plan, executor.unit(dtype)).n_scratch + executor.buffer(plan.rhs, entry_bytes)
    whole = 8 * problem.loss.shape[0] * problem.watched  # a product with the targets on the way to the constants
    constants = math.prod(problem.loss.batch_shape) * (plan.n_constants * dtype.itemsize + whole)
    return threads * arena_bytes(plan.layers[-1], states, scratch, entry_bytes) + constants
