"""What a problem comes to for the kernels: products, method, sizes and numbers, the same for all threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdln.engines.methods import MethodLayout, gains, lay_out
from fastdln.engines.problem import Problem
from fastdln.integrate.control import growth_cap
from fastdln.kernels import layout, straight
from fastdln.kernels.program import Product, Program, program
from fastdln.kernels.stages import UNROLL

# Part of the tolerance at which stabilized methods follow hidden growth: errors of many steps add up on plateaus.
HIDDEN = 0.3
# Part of the tolerance to which the times are located at which modes are learned.
TIMING = 0.01

# Straight-line code is worth some tens of milliseconds of compilation for right-hand sides of so few flops, where it is
# 1.2 to 5 times as fast as the interpreter, and for so many trajectories (`python -m bench.lanes`).
STRAIGHT_FLOPS, STRAIGHT_FROM = 2200, 4096


@dataclass(frozen=True)
class Executor:
    """How products are executed: over how many lanes, and by which code."""

    lanes: int
    encode: Callable[[tuple[Product, ...], int], NDArray[np.int64]]
    buffer: Callable[[tuple[Product, ...], int], int] = lambda products, entry_bytes: 0  # entries of its buffer

    def unit(self, dtype: DTypeLike) -> int:
        """Entries that loops over a state take at once, to which every matrix is padded."""
        return 1 if self.lanes > 1 else 64 // np.dtype(dtype).itemsize


@dataclass(frozen=True)
class Recipe:
    """All that the threads of one call share: program, method, sizes, constants of the loss."""

    problem: Problem
    executor: Executor
    program: Program
    method: MethodLayout
    rhs: NDArray[np.int64]
    observe: NDArray[np.int64]
    watch: NDArray[np.int64]
    follow: NDArray[np.int64]
    buffer: int  # entries
    sizes: dict[str, int]
    par: dict[str, float]
    rates: NDArray[Any]
    constants: NDArray[Any]  # (targets, n_constants), see `program`
    goals: NDArray[Any]  # (targets, modes), thresholds of the strengths
    code: straight.Code | None  # in place of the interpreter

    @property
    def dtype(self) -> np.dtype[Any]:
        """Working precision."""
        return self.problem.start.dtype


def recipe(problem: Problem, executor: Executor) -> Recipe:
    """Plan the products and lay out the method for a problem."""
    network, dtype = problem.network, problem.start.dtype
    plan = program(network.widths, problem.loss.input_gram is not None, watched(problem), executor.unit(dtype))
    method = lay_out(problem.method, problem.rtol, dtype)
    entry_bytes = executor.lanes * dtype.itemsize
    observed = plan.observe + (plan.project if "strengths" in problem.raw else ())
    programs = {"rhs": plan.rhs, "observe": observed, "watch": plan.watch, "follow": plan.follow}
    rows = {name: executor.encode(products, entry_bytes) for name, products in programs.items()}
    buffer = executor.buffer(tuple(p for products in programs.values() for p in products), entry_bytes)
    rates = np.ones((network.depth, 2), dtype)
    rates[:, 0] = problem.layer_rates or 1.0
    rates[:, 1] = problem.weight_decay
    sizes = _sizes(problem, executor, plan, method) | {f"{name}_rows": len(table) for name, table in rows.items()}
    par = numbers(problem, _growth_cap(problem, plan, problem.method.order)) | {
        "second_growth_cap": _growth_cap(problem, plan, 2),
        "growth_limit": growth_cap(problem.method.order, HIDDEN * problem.rtol),
        "second_growth_limit": growth_cap(2, HIDDEN * problem.rtol),
        "timing": timing(problem),
    }
    constants, code = _constants(problem, plan), _straight(problem, executor, plan, observed, method)
    return Recipe(
        problem, executor, plan, method, **rows, buffer=buffer, sizes=sizes, par=par, rates=rates, constants=constants,
        goals=goals(problem), code=code,
    )  # fmt: skip


def _straight(
    problem: Problem, executor: Executor, plan: Program, observed: tuple[Product, ...], method: MethodLayout
) -> straight.Code | None:
    """Straight-line code where it is worth its compilation."""
    if executor.lanes == 1 or plan.flops > STRAIGHT_FLOPS or problem.n < STRAIGHT_FROM:
        return None
    stages = None
    if method.stages and not _has_rates(problem):
        stages = straight.Stages(method.stages, _entries(problem, executor, plan))
    return straight.compiled(plan.rhs, observed, stages, 8 * problem.start.itemsize, executor.lanes)


def _has_rates(problem: Problem) -> bool:
    return problem.layer_rates is not None or problem.weight_decay != 0


def _entries(problem: Problem, executor: Executor, plan: Program) -> int:
    """Entries of a state, padded to what loops over it take at once."""
    block = UNROLL * executor.unit(problem.start.dtype)
    return -(-plan.layers[-1] // block) * block


def watched(problem: Problem) -> int:
    """How many modes are watched."""
    return problem.loss.n_modes if problem.learning or "strengths" in problem.raw else 0


def _sizes(problem: Problem, executor: Executor, plan: Program, method: MethodLayout) -> dict[str, int]:
    """The integers of a workspace."""
    network, columns = problem.network, problem.columns
    d_0, d_h = network.widths[0], network.widths[-1]
    unit = executor.unit(problem.start.dtype)
    return {
        "lanes": executor.lanes,
        "item": problem.start.itemsize,
        "entry": executor.lanes * problem.start.itemsize,
        "entries": _entries(problem, executor, plan),
        **method.sizes,
        "order": problem.method.error_order,
        "layers": network.depth,
        "shown": min(range(network.depth), key=lambda i: math.prod(network.shapes[i])),
        "target_size": -(-d_h * d_0 // unit) * unit,
        "constants": plan.n_constants,
        "modes": watched(problem),
        "in_rows": d_0,
        "out_rows": d_h,
        "residual": -1 if plan.residual is None else plan.residual,
        "product_base": plan.product.base,
        "product": plan.product.offset,
        "compared_base": plan.compared.base,
        "compared": plan.compared.offset,
        "target": plan.target,
        "left": plan.left,
        "right": plan.right,
        "projected": plan.projected,
        "column": plan.column,
        "image": plan.image,
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
        "rates": _has_rates(problem),
        "closes": executor.lanes > 1 and not _has_rates(problem),
        "stop_on_loss": problem.stop_loss is not None,
        "stop_on_gradient": problem.stop_gradient is not None,
        "capped": _capped(problem, plan),
        "history": problem.history,
        "parameters": network.n_parameters,
        "n": 0,  # a chunk tells
        "n_times": len(problem.times),
        "columns": problem.n_columns,
        "most_steps": problem.max_steps,
    }


def numbers(problem: Problem, cap: float) -> dict[str, float]:
    """The parameters of step-size control; ``cap``: the largest step times ||R||_F, or 0."""
    stop_gradient, stop_loss = problem.stop_gradient, problem.stop_loss
    return {
        "end": problem.duration,
        "rtol": problem.rtol,
        **gains(problem.method)._asdict(),
        "max_attempts": problem.max_steps,
        "fixed_step": problem.step or 0.0,
        "growth_cap": cap,
        "stop_gradient2": -1.0 if stop_gradient is None else stop_gradient**2,
        "stop_loss2": -1.0 if stop_loss is None else 2 * (stop_loss - problem.loss.floor),
        "direction": problem.direction,
    }


def hides_growth(problem: Problem) -> bool:
    """Whether steps are limited by the growth of hidden modes.

    In two layers a mode not yet learned grows at a rate of up to ||R||_2 however small it is, and no error norm sees
    it behind learned ones: the step is kept such that the method follows that growth.
    """
    return problem.network.depth == 2 and problem.step is None and problem.direction > 0


def _capped(problem: Problem, plan: Program) -> int:
    """What tells the growth that limits the steps, or 0."""
    if not hides_growth(problem):
        return 0
    return layout.BY_LOSS if plan.residual is None else layout.BY_RESIDUAL


def _growth_cap(problem: Problem, plan: Program, order: int) -> float:
    """The largest step times ||R||_F, or times the root of twice the excess loss where R is not formed."""
    capped = _capped(problem, plan)
    rate = max(problem.layer_rates or (1.0,))
    if capped == layout.BY_LOSS:
        rate *= problem.loss.input_norm
    return growth_cap(order, problem.rtol) / rate if capped else 0.0


def _constants(problem: Problem, plan: Program) -> NDArray[Any]:
    """Constants of the loss where the program expects them, one row for each target."""
    loss = problem.loss
    cross = loss.cross.reshape(-1, *loss.shape)
    identity = np.eye(loss.shape[1])
    named = {
        "cross": cross,
        "whitened": loss.whitened,
        "gram": identity if loss.input_gram is None else loss.input_gram,
        "root": identity if loss.input_root is None else loss.input_root,
    }
    if watched(problem):
        U, _, V = loss.modes
        named |= {"left": U, "right": V, "whole": cross @ V}
    values = np.zeros((len(cross), plan.n_constants), problem.start.dtype)
    for name, (offset, rows, columns) in plan.constants.items():
        values[:, offset : offset + rows * columns] = named[name].reshape(-1, rows * columns)
    return values


def timing(problem: Problem) -> float:
    """How well a strength must meet its threshold at the time that is found, in units of the threshold."""
    return max(TIMING * problem.rtol, 16 * float(np.finfo(problem.start.dtype).eps))


def goals(problem: Problem) -> NDArray[Any]:
    """Strengths at which modes are learned, one row for each target; infinite where a mode is not waited for.

    A mode counts as learned at half its singular value; one whose singular value is rounding is never learned.
    """
    loss, dtype = problem.loss, problem.start.dtype
    if not watched(problem):
        return np.zeros((math.prod(loss.batch_shape), 0), dtype)
    sigma = loss.modes.sigma.reshape(-1, loss.n_modes)
    learnable = sigma > 1e-12 * sigma[:, :1] if problem.learning else np.zeros(sigma.shape, bool)
    return np.where(learnable, sigma / 2, np.inf).astype(dtype)
