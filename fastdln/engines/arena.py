"""The memory of one thread of the integration loop: where everything lies, and the tables that say so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdln.engines.problem import Problem
from fastdln.integrate.control import gains, growth_cap
from fastdln.integrate.schedule import Schedule, schedule
from fastdln.kernels import control, layout
from fastdln.kernels.library import library
from fastdln.kernels.program import Product, Program, program
from fastdln.kernels.stages import UNROLL

PAGE = 4096
# States follow each other at a distance of 448 bytes modulo a page: at a multiple of the page all the vectors of a
# stage combination fall into the same few sets of the first-level cache.
STAGGER = 448


@dataclass(frozen=True)
class Executor:
    """How products are executed: over how many lanes, and by which code."""

    lanes: int
    encode: Callable[[tuple[Product, ...], int], NDArray[np.int64]]
    gemm: int = 0  # address of BLAS, where it is used

    def unit(self, dtype: DTypeLike) -> int:
        """Entries that loops over a state take at once, to which every matrix is padded."""
        return 1 if self.lanes > 1 else 64 // np.dtype(dtype).itemsize


@dataclass(frozen=True)
class Recipe:
    """All that the threads of one call share: program, method, sizes."""

    problem: Problem
    executor: Executor
    program: Program
    schedule: Schedule
    rhs: NDArray[np.int64]
    observe: NDArray[np.int64]
    sizes: dict[str, int]
    par: dict[str, float]
    rates: NDArray[Any]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Working precision."""
        return self.problem.start.dtype


def recipe(problem: Problem, executor: Executor) -> Recipe:
    """Plan the products and lay out the method for a problem."""
    network, loss, dtype = problem.network, problem.loss, problem.start.dtype
    modes = problem.learning or "strengths" in problem.raw
    unit = executor.unit(dtype)
    plan = program(network.widths, loss.input_gram is not None, modes, unit)
    method = schedule(problem.tableau, dtype)
    entry_bytes = executor.lanes * dtype.itemsize
    rhs, observe = executor.encode(plan.rhs, entry_bytes), executor.encode(plan.observe, entry_bytes)
    rates = np.ones((network.depth, 2), dtype)
    rates[:, 0] = problem.layer_rates or 1.0
    rates[:, 1] = problem.weight_decay
    d_0, d_h = network.widths[0], network.widths[-1]
    block = UNROLL * (1 if executor.lanes > 1 else unit)

    columns = problem.columns
    sizes = {
        "lanes": executor.lanes,
        "item": dtype.itemsize,
        "entry": entry_bytes,
        "entries": -(-plan.layers[-1] // block) * block,
        "stages": problem.tableau.stages,
        "extra": len(problem.tableau.extra),
        "degree": method.dense.shape[1],
        "estimates": len(method.errors),
        "order": problem.tableau.error_order,
        "layers": network.depth,
        "target_size": -(-d_h * d_0 // unit) * unit,
        "constants": plan.n_constants,
        "modes": min(d_0, d_h) if modes else 0,
        "out_rows": d_h,
        "rhs_rows": len(rhs),
        "observe_rows": len(observe),
        "residual": -1 if plan.residual is None else plan.residual,
        "product_base": plan.product.base,
        "product": plan.product.offset,
        "compared_base": plan.compared.base,
        "compared": plan.compared.offset,
        "target": plan.target,
        "left": plan.left,
        "projected": plan.projected,
        "product_size": d_h * d_0,
        **{
            field: columns[name].start if name in columns else -1
            for field, name in (
                ("record_distance", "square_distance"),
                ("record_gradient", "square_gradient"),
                ("record_strengths", "strengths"),
                ("record_product", "product"),
                ("record_weights", "weights"),
            )
        },
        "rates": problem.layer_rates is not None or problem.weight_decay != 0,
        "stop_on_loss": problem.stop_loss is not None,
        "stop_on_gradient": problem.stop_gradient is not None,
        "capped": 0,
        "history": problem.history,
        "parameters": network.n_parameters,
        "n": 0,  # a chunk tells
        "n_times": len(problem.times),
        "columns": problem.n_columns,
        "most_steps": problem.max_steps,
    }

    constants = gains(problem.tableau)
    par = {
        "end": problem.duration,
        "rtol": problem.rtol,
        **constants._asdict(),
        "max_attempts": problem.max_steps,
        "fixed_step": problem.step or 0.0,
        "growth_cap": 0.0,
        "stop_gradient2": -1.0 if problem.stop_gradient is None else problem.stop_gradient**2,
        "stop_loss2": -1.0 if problem.stop_loss is None else 2 * (problem.stop_loss - loss.floor),
        "direction": problem.direction,
    }
    if network.depth == 2 and problem.step is None and problem.direction > 0:
        # In two layers a mode not yet learned grows at rate ||R||_2 however small it is, and no error norm sees it
        # behind learned ones: the step is kept such that the method follows that growth.
        sizes["capped"] = layout.BY_LOSS if plan.residual is None else layout.BY_RESIDUAL
        rate = max(problem.layer_rates or (1.0,))
        if plan.residual is None and loss.input_root is not None:
            rate *= float(np.linalg.norm(loss.input_root, 2))
        par["growth_cap"] = growth_cap(problem.tableau, problem.rtol) / rate
    return Recipe(problem, executor, plan, method, rhs, observe, sizes, par, rates)


def constants(plan: Program, loss: Any, modes: bool, dtype: DTypeLike) -> tuple[NDArray[Any], NDArray[Any]]:
    """Constants of the loss as the kernels expect them, (targets, n_constants), and thresholds (targets, modes).

    A mode counts as learned at half its singular value; one whose singular value is rounding is never learned.
    """
    cross = np.atleast_3d(loss.cross) if loss.cross.ndim == 3 else loss.cross[None]
    named = {"cross": cross, "whitened": loss.whitened.reshape(cross.shape)}
    identity = np.eye(cross.shape[-1])
    named["gram"] = (identity if loss.input_gram is None else loss.input_gram)[None]
    named["root"] = (identity if loss.input_root is None else loss.input_root)[None]
    thresholds = np.zeros((len(cross), 0), dtype)
    if modes:
        U, sigma, V = (x.reshape(len(cross), *x.shape[loss.cross.ndim - 2 :]) for x in loss.modes)
        named["left"], named["right"] = U, V
        thresholds = np.where(sigma > 1e-12 * sigma[:, :1], sigma / 2, np.inf).astype(dtype)
    values = np.zeros((len(cross), plan.n_constants), dtype)
    for name, (offset, rows, columns) in plan.constants.items():
        values[:, offset : offset + rows * columns] = named[name].reshape(-1, rows * columns)
    return values, thresholds


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
