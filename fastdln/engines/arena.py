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
    m: NDArray[np.int64]
    par: NDArray[np.float64]
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

    m = np.full(layout.SIZES, -1, np.int64)
    m[layout.ENTRIES] = -(-plan.layers[-1] // block) * block
    m[layout.STAGES], m[layout.EXTRA] = problem.tableau.stages, len(problem.tableau.extra)
    m[layout.DEGREE], m[layout.ESTIMATES] = method.dense.shape[1], len(method.errors)
    m[layout.ORDER], m[layout.LAYERS] = problem.tableau.error_order, network.depth
    m[layout.TARGET_SIZE] = -(-d_h * d_0 // unit) * unit
    m[layout.CONSTANTS], m[layout.MODES] = plan.n_constants, min(d_0, d_h) if modes else 0
    m[layout.OUT_ROWS], m[layout.RHS_ROWS], m[layout.OBSERVE_ROWS] = d_h, len(rhs), len(observe)
    m[layout.RESIDUAL] = -1 if plan.residual is None else plan.residual
    m[layout.PRODUCT_BASE], m[layout.PRODUCT] = plan.product.base, plan.product.offset
    m[layout.COMPARED_BASE], m[layout.COMPARED] = plan.compared.base, plan.compared.offset
    m[layout.TARGET], m[layout.LEFT], m[layout.PROJECTED] = plan.target, plan.left, plan.projected
    m[layout.PRODUCT_SIZE] = d_h * d_0
    for place, name in (
        (layout.RECORD_LOSS, "square_distance"),
        (layout.RECORD_GRADIENT, "square_gradient"),
        (layout.RECORD_STRENGTHS, "strengths"),
        (layout.RECORD_PRODUCT, "product"),
        (layout.RECORD_WEIGHTS, "weights"),
    ):
        if name in problem.raw:
            m[place] = problem.columns[name].start
    m[layout.RATES] = problem.layer_rates is not None or problem.weight_decay != 0
    m[layout.LEARNING], m[layout.HISTORY] = problem.learning, problem.history
    m[layout.STOP_ON_LOSS] = problem.stop_loss is not None
    m[layout.STOP_ON_GRADIENT] = problem.stop_gradient is not None

    par = np.zeros(control.PARAMETERS)
    constants = gains(problem.tableau)
    par[control.END], par[control.RTOL], par[control.DIRECTION] = problem.duration, problem.rtol, problem.direction
    par[control.SAFETY], par[control.LEAST_FACTOR], par[control.MOST_FACTOR] = constants[:3]
    par[control.ALPHA], par[control.BETA] = constants[3:]
    par[control.MAX_ATTEMPTS], par[control.FIXED_STEP] = problem.max_steps, problem.step or 0.0
    par[control.STOP_GRADIENT2] = -1.0 if problem.stop_gradient is None else problem.stop_gradient**2
    par[control.STOP_LOSS2] = -1.0 if problem.stop_loss is None else 2 * (problem.stop_loss - loss.floor)
    m[layout.CAPPED] = 0
    if network.depth == 2 and problem.step is None and problem.direction > 0:
        # In two layers a mode not yet learned grows at rate ||R||_2 however small it is, and no error norm sees it
        # behind learned ones: the step is kept such that the method follows that growth.
        m[layout.CAPPED] = layout.BY_LOSS if plan.residual is None else layout.BY_RESIDUAL
        rate = max(problem.layer_rates or (1.0,))
        if plan.residual is None and loss.input_root is not None:
            rate *= float(np.linalg.norm(loss.input_root, 2))
        par[control.GROWTH_CAP] = growth_cap(problem.tableau, problem.rtol) / rate
    return Recipe(problem, executor, plan, method, rhs, observe, m, par, rates)


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
        m, lanes, item = recipe.m, recipe.executor.lanes, recipe.dtype.itemsize
        entry = lanes * item
        slopes = int(m[layout.STAGES] + m[layout.EXTRA])
        stride = _stride(int(m[layout.ENTRIES]), entry)
        layers, modes = int(m[layout.LAYERS]), int(m[layout.MODES])
        blocks = {
            "state": stride, "next": stride, "stage": stride, "stage2": stride,
            **{f"slope{s}": stride for s in range(slopes)},
            "probe": stride if m[layout.RECORD_GRADIENT] >= 0 else 0,
            "scratch": recipe.program.n_scratch,
            "step": 1, "theta": 1, "mask": 1, "tolerance": 2, "factors": recipe.schedule.most_terms,
            "sums": 2 * max(layers, 1), "strengths": 2 * modes, "thresholds": modes,
        }  # fmt: skip
        size = sum(blocks.values()) * lanes
        self._memory = np.zeros(size + 2 * PAGE // item, recipe.dtype)
        first = (-self._memory.ctypes.data % PAGE) // item
        self.arena = self._memory[first : first + size]
        at, starts = self.arena.ctypes.data, {}
        for name, entries in blocks.items():
            starts[name] = at
            at += entries * entry

        self.ctl = np.zeros((control.CONTROL_ROWS, lanes))
        self.ctl[control.NEXT_OUTPUT] = np.inf
        self.slopes = np.array([starts[f"slope{s}"] for s in range(slopes)], np.int64)
        self.bases = np.array([0, 0, starts["scratch"], recipe.executor.gemm], np.int64)
        self.flags, self.states = np.zeros(3, np.int64), np.zeros(3, np.int64)
        self.trajectory, self.output = np.full(lanes, -1, np.int64), np.zeros(lanes, np.int64)
        self.layer_sizes = np.array([rows * columns for rows, columns in recipe.problem.network.shapes], float)
        tolerance = (starts["tolerance"] - self.arena.ctypes.data) // item
        self.arena[tolerance : tolerance + lanes] = recipe.par[control.RTOL]

        self.at = np.zeros(layout.ADDRESSES, np.int64)
        method = recipe.schedule
        for place, address in (
            (layout.ARENA, self.arena.ctypes.data), (layout.STATE_AT, starts["state"]),
            (layout.NEXT_AT, starts["next"]), (layout.STAGE_AT, starts["stage"]),
            (layout.STAGE2_AT, starts["stage2"]), (layout.PROBE_AT, starts["probe"]),
            (layout.SCRATCH_AT, starts["scratch"]), (layout.STEP_AT, starts["step"]),
            (layout.THETA_AT, starts["theta"]), (layout.MASK_AT, starts["mask"]),
            (layout.TOLERANCE_AT, starts["tolerance"]), (layout.FACTORS_AT, starts["factors"]),
            (layout.SUMS_AT, starts["sums"]), (layout.STRENGTHS_AT, starts["strengths"]),
            (layout.THRESHOLDS_AT, starts["thresholds"]), (layout.CTL_AT, self.ctl.ctypes.data),
            (layout.PAR_AT, recipe.par.ctypes.data), (layout.SLOPES_AT, self.slopes.ctypes.data),
            (layout.BASES_AT, self.bases.ctypes.data), (layout.FLAGS_AT, self.flags.ctypes.data),
            (layout.STATES_AT, self.states.ctypes.data), (layout.RHS_AT, recipe.rhs.ctypes.data),
            (layout.OBSERVE_AT, recipe.observe.ctypes.data), (layout.INDEX_AT, method.index.ctypes.data),
            (layout.WEIGHTS_AT, method.weights.ctypes.data), (layout.ERROR_INDEX_AT, method.error_index.ctypes.data),
            (layout.ERROR_WEIGHTS_AT, method.error_weights.ctypes.data), (layout.DENSE_AT, method.dense.ctypes.data),
            (layout.SEQUENCE_AT, method.sequence.ctypes.data),
            (layout.LAYER_SIZES_AT, self.layer_sizes.ctypes.data), (layout.RATES_AT, recipe.rates.ctypes.data),
        ):  # fmt: skip
            self.at[place] = address


def _stride(entries: int, entry_bytes: int) -> int:
    size = entries * entry_bytes
    if size > PAGE // 2:
        size += (STAGGER - size) % PAGE
    return -(-size // entry_bytes)


def arena_bytes(entries: int, slopes: int, scratch: int, entry_bytes: int) -> int:
    """Bytes that the loop works on: what must fit the cache."""
    return ((4 + slopes) * _stride(entries, entry_bytes) + scratch) * entry_bytes
