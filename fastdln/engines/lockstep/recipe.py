"""What a problem comes to for the kernels: products, method, sizes and numbers, the same for all threads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastdln.engines.base import Problem
from fastdln.engines.limits import goals, growth_caps, least_losses, numbers, timing
from fastdln.engines.lockstep.hidden import hidden_growth, look_sizes
from fastdln.engines.lockstep.methods import MethodLayout, lay_out
from fastdln.integrate.output import tried
from fastdln.integrate.tableau import Tableau
from fastdln.kernels.lockstep import straight
from fastdln.kernels.lockstep.growth import Growth
from fastdln.kernels.lockstep.stages import UNROLL
from fastdln.kernels.products.program import Product, Program, program

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
    growth: NDArray[np.int64]
    buffer: int  # entries
    sizes: dict[str, int]
    par: dict[str, float]
    rates: NDArray[Any]
    constants: NDArray[Any]  # (targets, n_constants), see `program`
    goals: NDArray[Any]  # (targets, modes), thresholds of the strengths
    least: NDArray[np.float64]  # (targets,), twice the least loss above its floor, where steps are limited by it
    hidden: Growth
    code: straight.Code | None  # in place of the interpreter

    @property
    def dtype(self) -> np.dtype[Any]:
        """Working precision."""
        return self.problem.start.dtype


def recipe(problem: Problem, executor: Executor) -> Recipe:
    """Plan the products and lay out the method for a problem."""
    network, dtype = problem.network, problem.start.dtype
    plan = program(network.widths, problem.loss.input_gram is not None, problem.watched, executor.unit(dtype))
    method = lay_out(problem.options.method, problem.options.rtol, dtype, problem.options.step is None)
    entry_bytes = executor.lanes * dtype.itemsize
    observed = plan.observe + (plan.project if "strengths" in problem.raw else ())
    hidden = hidden_growth(problem, plan, executor.unit(dtype))
    programs = {
        "rhs": plan.rhs, "observe": observed, "watch": plan.watch, "follow": plan.follow, "growth": hidden.products,
    }  # fmt: skip
    rows = {name: executor.encode(products, entry_bytes) for name, products in programs.items()}
    buffer = executor.buffer(tuple(p for products in programs.values() for p in products), entry_bytes)
    rates = np.ones((network.depth, 2), dtype)
    rates[:, 0] = problem.options.layer_rates or 1.0
    rates[:, 1] = problem.options.weight_decay
    least = least_losses(problem)
    sizes = _sizes(problem, executor, plan, method) | {f"{name}_rows": len(table) for name, table in rows.items()}
    sizes |= look_sizes(problem, hidden, executor.lanes, plan, least)
    caps = growth_caps(problem)
    par = numbers(problem) | {
        "second_growth_cap": caps[1] / caps[0] if caps[0] else 1.0,
        "excess_scale": problem.loss.input_norm**2,
        **_check(problem),
        "timing": timing(problem),
    }
    constants, code = _constants(problem, plan), _straight(problem, executor, plan, observed, hidden, method)
    return Recipe(
        problem, executor, plan, method, **rows, buffer=buffer, sizes=sizes, par=par, rates=rates, constants=constants,
        goals=goals(problem), least=least, hidden=hidden, code=code,
    )  # fmt: skip


def _straight(
    problem: Problem,
    executor: Executor,
    plan: Program,
    observed: tuple[Product, ...],
    hidden: Growth,
    method: MethodLayout,
) -> straight.Code | None:
    """Straight-line code where it is worth its compilation."""
    if executor.lanes == 1 or plan.flops > STRAIGHT_FLOPS or problem.n < STRAIGHT_FROM:
        return None
    stages = None
    if method.stages and not _has_rates(problem):
        stages = straight.Stages(method.stages, _entries(problem, executor, plan))
    return straight.compiled(plan.rhs, observed, hidden.products, stages, 8 * problem.start.itemsize, executor.lanes)


def _has_rates(problem: Problem) -> bool:
    return problem.options.layer_rates is not None or problem.options.weight_decay != 0


def _entries(problem: Problem, executor: Executor, plan: Program) -> int:
    """Entries of a state, padded to what loops over it take at once."""
    block = UNROLL * executor.unit(problem.start.dtype)
    return -(-plan.layers[-1] // block) * block


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
        "order": problem.options.method.error_order,
        "layers": network.depth,
        "shown": min(range(network.depth), key=lambda i: math.prod(network.shapes[i])),
        "target_size": -(-d_h * d_0 // unit) * unit,
        "constants": plan.n_constants,
        "modes": problem.watched,
        "in_rows": d_0,
        "out_rows": d_h,
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
        "stop_on_loss": problem.options.stop_loss is not None,
        "stop_on_gradient": problem.options.stop_gradient is not None,
        "history": problem.options.history,
        "parameters": network.n_parameters,
        "n": 0,  # a chunk tells
        "n_times": len(problem.times),
        "columns": problem.n_columns,
        "most_steps": problem.options.max_steps,
    }


def _check(problem: Problem) -> dict[str, float]:
    """Where continuous output is checked, and how much is let pass."""
    method = problem.options.method
    both = tried(method, problem.options.step is None) if isinstance(method, Tableau) else ()
    if len(both) < 2:
        return dict.fromkeys(("check_theta", "check_most", "other_theta", "other_most"), 0.0)
    own, cubic = both
    return {
        "check_theta": own.theta, "check_most": own.most, "other_theta": cubic.theta, "other_most": cubic.most,
    }  # fmt: skip


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
    if problem.watched:
        U, _, V = loss.modes
        named |= {"left": U, "right": V, "whole": cross @ V}
    values = np.zeros((len(cross), plan.n_constants), problem.start.dtype)
    for name, (offset, rows, columns) in plan.constants.items():
        values[:, offset : offset + rows * columns] = named[name].reshape(-1, rows * columns)
    return values
