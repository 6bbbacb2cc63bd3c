"""The memory of one thread of the integration loop: where everything lies, and the tables that say so."""

from __future__ import annotations

import numpy as np

from fastdln.engines.recipe import Recipe
from fastdln.kernels import control, layout
from fastdln.kernels.vectors import library

PAGE = 4096
# States follow each other at a distance of 448 bytes modulo a page: at a multiple of the page all the vectors of a
# stage combination fall into the same few sets of the first-level cache.
STAGGER = 448


class Arena:
    """One thread's memory: states, slopes, scratch, control, and the table of their addresses.

    The arrays are attributes: the kernels hold addresses only, and an array must live as long as its address does.
    """

    def __init__(self, recipe: Recipe) -> None:
        sizes, lanes, item = recipe.sizes, recipe.executor.lanes, recipe.dtype.itemsize
        method, network = recipe.schedule, recipe.problem.network
        slopes, modes = sizes["stages"] + sizes["extra"], sizes["modes"]
        stride = _stride(sizes["entries"], sizes["entry"])
        blocks = {
            "state": stride, "next": stride, "stage": stride, "stage2": stride,
            **{f"slope{s}": stride for s in range(slopes)},
            "probe": stride if sizes["record_gradient"] >= 0 else 0,
            "scratch": recipe.program.n_scratch,
            "step": 1, "theta": 1, "mask": 1, "tolerance": 2, "factors": method.most_terms,
            "sums": 2 * network.depth, "strengths": 4 * modes, "thresholds": modes,
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
        self.arena[tolerance : tolerance + lanes] = recipe.problem.rtol

        self.ctl = np.zeros((control.CONTROL_ROWS, lanes))
        self.ctl[control.NEXT_OUTPUT] = np.inf
        slope_table = np.array([places[f"slope{s}"] for s in range(slopes)], np.int64)
        layer_sizes = np.array([rows * columns for rows, columns in network.shapes], np.int64)
        self._tables = {
            "arena": self.arena, "ctl": self.ctl, "slopes": slope_table, "rhs": recipe.rhs,
            "observe": recipe.observe, "schedule": method.stages, "index": method.slopes, "weights": method.weights,
            "error_rows": method.errors, "error_index": method.error_index, "error_weights": method.error_weights,
            "dense": method.dense, "sequence": method.sequence,
            "layers": np.array(recipe.program.layers, np.int64), "sizes": layer_sizes,
            "layer_sizes": layer_sizes.astype(float), "rates": recipe.rates,
            "bases": np.array([0, 0, places["scratch"], recipe.executor.gemm], np.int64),
            "flags": np.zeros(3, np.int64), "states": np.zeros(3, np.int64),
            "traj": np.full(lanes, -1, np.int64), "output": np.zeros(lanes, np.int64),
        }  # fmt: skip

        self.workspace = np.zeros(1, layout.WORKSPACE)
        w = self.workspace[0]
        for name, value in (recipe.par | sizes | library(recipe.dtype, lanes)).items():
            w[name] = value
        for name, address in places.items():
            if f"{name}_at" in layout.ADDRESSES:
                w[f"{name}_at"] = address
        for name, table in self._tables.items():
            w[f"{name}_at"] = table.ctypes.data
        w["par_at"] = self.workspace.ctypes.data  # the parameters come first


def _stride(entries: int, entry_bytes: int) -> int:
    size = entries * entry_bytes
    if size > PAGE // 2:
        size += (STAGGER - size) % PAGE
    return -(-size // entry_bytes)


def arena_bytes(entries: int, slopes: int, scratch: int, entry_bytes: int) -> int:
    """Bytes that the loop works on: what must fit the cache."""
    return ((4 + slopes) * _stride(entries, entry_bytes) + scratch) * entry_bytes
