"""What a problem comes to for the kernels, whatever the method: products, sizes, constants, for all threads."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.limits import goals, growth_caps, least_losses, numbers, timing
from fastdln.engines.lockstep.descents import Told, batches, data_bytes, told
from fastdln.engines.lockstep.executors import Executor
from fastdln.engines.lockstep.hidden import hidden_growth, look_sizes
from fastdln.engines.lockstep.mapped import Scripted, constants, scripted
from fastdln.engines.lockstep.methods import Fields, MethodLayout
from fastdln.kernels.lockstep import straight
from fastdln.kernels.lockstep.growth import Growth, general
from fastdln.kernels.lockstep.stages import UNROLL
from fastdln.kernels.lockstep.vectors import library
from fastdln.kernels.machine.assemble import Code
from fastdln.kernels.products import maps
from fastdln.kernels.products.maps import Script
from fastdln.kernels.products.program import program
from fastdln.kernels.products.rows import Map, Product, Program
from fastdln.kernels.products.tangent import Correction, correction

# Straight-line code is worth some tens of milliseconds of compilation for right-hand sides of at most STRAIGHT_FLOPS,
# where it is 1.2 to 5 times as fast as the interpreter, and for at least STRAIGHT_FROM trajectories
# (`python -m bench.lanes`).
STRAIGHT_FLOPS, STRAIGHT_FROM = 2200, 4096


@dataclass(frozen=True)
class Plan:
    """The products of a problem, and the entries that they work on: what its memory follows from."""

    problem: Problem
    executor: Executor
    program: Program
    hidden: Growth
    correction: Correction | None = None  # of a modified flow
    batches: Program | None = None  # of the updates of a descent, where these are for batches of samples

    @property
    def dtype(self) -> np.dtype[Any]:
        """Working precision."""
        return self.problem.start.dtype

    @property
    def entry(self) -> int:
        """Bytes of an entry, one number in every lane."""
        return self.executor.lanes * self.dtype.itemsize

    @property
    def unit(self) -> int:
        """Entries that loops over a state take at once."""
        return self.executor.unit(self.dtype)

    @property
    def layered(self) -> int:
        """Entries of a state that hold its layers, padded to what loops over it take at once."""
        block = UNROLL * self.unit
        return -(-self.program.layers[-1] // block) * block

    @property
    def way(self) -> int:
        """The entry of a state that is the length of the way within a step, or -1: an update is a chord."""
        return self.layered if self.problem.measured and self.problem.descent is None else -1

    @property
    def entries(self) -> int:
        """Entries of a state."""
        return self.layered + (UNROLL * self.unit if self.way >= 0 else 0)

    @property
    def programs(self) -> dict[str, tuple[Product | Map, ...]]:
        """The products by what they are for, with the maps among them."""
        plan = self.program
        awaited = self.problem.descent is not None and self.problem.learning
        observe = plan.observe + (plan.project if awaited or "strengths" in self.problem.raw else ())
        return {
            "rhs": plan.rhs, "observe": observe, "watch": plan.watch, "follow": plan.follow,
            "growth": self.hidden.products,
        }  # fmt: skip

    @property
    def buffer(self) -> int:
        """Entries of the buffer that products are copied through."""
        programs = [*self.programs.values(), () if self.batches is None else self.batches.rhs]
        programs.append(() if self.correction is None else self.correction.products)
        products = (p for program in programs for p in program if isinstance(p, Product))
        return self.executor.buffer(tuple(products), self.entry)

    @property
    def n_scratch(self) -> int:
        """Entries of scratch."""
        return self.hidden.n_scratch if self.correction is None else self.correction.n_scratch

    @property
    def has_rates(self) -> bool:
        """Whether a slope is another one than the gradient, by rates, decay or a correction; descents apply theirs
        themselves."""
        if self.problem.descent is not None:
            return False
        if self.correction is not None:
            return True
        return self.problem.options.layer_rates is not None or self.problem.options.weight_decay != 0


def plan(problem: Problem, executor: Executor) -> Plan:
    """Plan the products of a problem."""
    unit = executor.unit(problem.start.dtype)
    widths, modified = problem.network.widths, problem.options.modified > 0
    products = program(widths, **problem.loss.form._asdict(), modes=problem.watched, unit=unit, negated=modified)
    hidden = hidden_growth(problem, products, unit)
    corrected = correction(products, widths, unit, hidden.n_scratch) if modified else None
    return Plan(problem, executor, products, hidden, corrected, batches(problem, unit))


@dataclass(frozen=True)
class Recipe:
    """All that the threads of one call share: fields of the workspace, constants of the loss."""

    plan: Plan
    scripted: Scripted | None  # for a loss that is not quadratic
    corrected: Corrected
    layer: Fields
    products: Fields
    growth: Fields
    records: Fields
    limits: dict[str, bool]
    descent: Told
    timing: float
    constants: NDArray[Any]  # (targets, n_constants), see `program`
    goals: NDArray[Any]  # (targets, modes), thresholds of the strengths
    least: NDArray[np.float64]  # (targets,), twice the least loss above its floor, where steps are limited by it


def recipe(planned: Plan) -> Recipe:
    """Lay out what the kernels are told of a problem."""
    problem, network = planned.problem, planned.problem.network
    options = problem.options
    sizes = np.array([rows * columns for rows, columns in network.shapes], np.int64)
    least = least_losses(problem)
    made = None
    if problem.loss.mapped is not None:
        encode = planned.executor.encode
        execute = library(planned.dtype, planned.executor.lanes)["execute"]
        made = scripted(problem.loss.mapped, planned.programs, encode, planned.entry, planned.dtype, execute)
    return Recipe(
        plan=planned,
        scripted=made,
        corrected=(corrected := corrections(planned)),
        layer={
            "first": np.array(planned.program.layers, np.int64), "sizes": sizes, "entries": sizes.astype(np.float64),
        },
        products=_products(planned, made.scripts if made else {}) | corrected.fields,
        growth=look_sizes(planned.hidden, planned.executor.lanes, planned.program, bool(least.any()))
        | {
            "general": general(planned.hidden.n_vectors).astype(planned.dtype),
            "excess_scale": 1.0 if problem.loss.quadratic is None else problem.loss.quadratic.input_norm**2,
        },
        records=_records(problem),
        limits={
            "stop_on_loss": options.stop_loss is not None,
            "stop_on_gradient": options.stop_gradient is not None,
            "history": options.history,
        },
        descent=told(problem, planned.batches or planned.program, planned.executor, planned.entry),
        timing=timing(problem),
        constants=_constants(problem, planned.program),
        goals=goals(problem),
        least=least,
    )  # fmt: skip


def parameters(problem: Problem) -> tuple[dict[str, float], float]:
    """The numbers of step-size control with a problem's method, and the largest growth of RKC2 in units of that."""
    first, second = growth_caps(problem)
    return numbers(problem), second / first if first else 1.0


def straight_code(planned: Plan, layout: MethodLayout, updating: straight.Updating | None) -> Code | None:
    """Straight-line code, where it is worth its compilation."""
    problem, products = planned.problem, planned.program
    if planned.executor.lanes == 1 or products.flops > STRAIGHT_FLOPS or problem.n < STRAIGHT_FROM:
        return None
    stages = None
    if layout.straight and not planned.has_rates and not products.maps_into_slope and planned.way < 0:
        stages = straight.Stages(layout.straight, planned.entries)
    programs = planned.programs
    return straight.compiled(
        programs["rhs"], programs["observe"], programs["growth"], stages, 8 * planned.dtype.itemsize,
        planned.executor.lanes, products.map, updating,
    )  # fmt: skip


def shared_bytes(planned: Plan) -> int:
    """Bytes of what all threads share: constants, with a product of the targets on the way to them; data of batches."""
    loss = planned.problem.loss
    whole = 8 * loss.shape[0] * planned.problem.watched
    constants = math.prod(loss.batch_shape) * (planned.program.n_constants * planned.dtype.itemsize + whole)
    return constants + data_bytes(planned.problem)


def _products(planned: Plan, scripts: dict[str, Script]) -> Fields:
    """Programs, and where their operands lie."""
    products, problem = planned.program, planned.problem
    d_0, d_h = problem.network.widths[0], problem.network.widths[-1]
    encode = planned.executor.encode
    rows = {name: script.table for name, script in scripts.items()} | {
        name: encode(tuple(p for p in some if isinstance(p, Product)), planned.entry)
        for name, some in planned.programs.items()
        if name not in scripts
    }
    rates = np.ones((problem.network.depth, 2), planned.dtype)
    rates[:, 0] = problem.options.layer_rates or 1.0
    rates[:, 1] = problem.options.weight_decay
    return {
        **rows,
        **{f"{name}_rows": len(table) for name, table in rows.items()},
        "constants": products.n_constants,
        "in_rows": d_0,
        "out_rows": d_h,
        "product_base": products.product.base,
        "product": products.product.offset,
        "compared_base": products.compared.base,
        "compared": products.compared.offset,
        "target": products.target,
        "target_size": -(-d_h * d_0 // planned.unit) * planned.unit,
        "left": products.left,
        "right": products.right,
        "projected": products.projected,
        "column": products.column,
        "image": products.image,
        "rates": rates,
        "has_rates": planned.has_rates,
        "closes": planned.executor.lanes > 1
        and not planned.has_rates
        and not products.maps_into_slope
        and planned.way < 0,
    }


class Corrected(NamedTuple):
    """What is told of the correction of a modified flow."""

    fields: Fields
    execute: int = 0
    scripted: Scripted | None = None  # what both hold addresses of


def corrections(planned: Plan) -> Corrected:
    """What is told of the correction; nothing where there is none."""
    if planned.correction is None:
        return Corrected({"correction": 0, "correction_rows": 0, "correction_factors": 0})
    problem, executor, products = planned.problem, planned.executor, planned.correction.products
    options, mapped = problem.options, problem.loss.mapped
    factors = np.empty((problem.network.depth, 2), planned.dtype)
    factors[:, 0] = 1 + options.modified * options.weight_decay / 2
    factors[:, 1] = -options.modified / 2 * np.array(options.layer_rates or 1.0)
    execute, script = executor.execute_sums(planned.dtype, executor.lanes), None
    if mapped is None:
        rows = executor.encode_sums(tuple(p for p in products if isinstance(p, Product)), planned.entry)
    else:
        script = scripted(
            mapped, {"correction": products}, executor.encode_sums, planned.entry, planned.dtype, execute,
            (maps.DERIVATIVES,),
        )  # fmt: skip
        rows, execute = script.scripts["correction"].table, script.code.addresses["run"]
    return Corrected({"correction": rows, "correction_rows": len(rows), "correction_factors": factors}, execute, script)


def _records(problem: Problem) -> Fields:
    """Where observables lie in a record."""
    columns = problem.columns
    return {
        **{
            field: columns[name].start if name in columns else -1
            for field, name in (
                ("distance", "square_distance"),
                ("gradient", "gradient"),
                ("length", "length"),
                ("strengths", "strengths"),
                ("product", "product"),
                ("weights", "weights"),
            )
        },
        "product_size": math.prod(problem.loss.shape),
        "columns": problem.n_columns,
        "n_times": len(problem.times),
        "times": problem.times,
        "fade": problem.options.weight_decay if problem.still is not None else 0.0,
    }


def _constants(problem: Problem, products: Program) -> NDArray[Any]:
    """Constants of the loss where the program expects them, one row for each target."""
    mapped = problem.loss.mapped
    if mapped is not None:
        return constants(mapped, problem, products)
    loss = problem.quadratic
    cross = loss.cross.reshape(-1, *loss.shape)
    identity = np.eye(loss.shape[1])
    named = {
        "cross": cross,
        **({"minus": -cross} if "minus" in products.constants else {}),
        "whitened": loss.whitened,
        "gram": identity if loss.input_gram is None else loss.input_gram,
        "root": identity if loss.input_root is None else loss.input_root,
    }
    if problem.watched:
        U, _, V = loss.modes
        named |= {"left": U, "right": V, "whole": cross @ V}
    values = np.zeros((len(cross), products.n_constants), problem.start.dtype)
    for name, (offset, rows, columns) in products.constants.items():
        values[:, offset : offset + rows * columns] = named[name].reshape(-1, rows * columns)
    return values
