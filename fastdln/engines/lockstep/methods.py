"""A method as what the loop that runs it asks for: slopes, further states, tables, numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.lockstep.schedule import schedule
from fastdln.integrate import stabilized
from fastdln.integrate.methods import Method
from fastdln.integrate.output import outputs, tried
from fastdln.integrate.stabilized import Stabilized
from fastdln.kernels.lockstep.stabilized import OUTPUT_DEGREE, OUTPUT_TERMS, VECTOR, Y
from fastdln.kernels.lockstep.stabilized import ROWS as STABILIZED_ROWS
from fastdln.kernels.lockstep.stiffness import ROWS

STABILIZED_SLOPES = 6
STABILIZED_STATES = ("previous", "previous_slope", "keep_a", "keep_b", "power", "general", "within")


@dataclass(frozen=True)
class MethodLayout:
    """What an arena holds for a method; the tables are read only, and shared by all threads."""

    slopes: int
    sizes: dict[str, int]
    tables: dict[str, NDArray[Any]]
    dense: NDArray[Any]  # polynomials of the continuous output
    factors: int  # of stages and errors
    control_rows: int
    other_dense: NDArray[Any] | None = None  # those of the output that is tried next
    stages: tuple[tuple[int, tuple[int, ...], int], ...] = ()  # rows of the schedule, for straight-line code
    states: tuple[str, ...] = ()  # vectors beside those of every method
    mixed: int = 0  # addresses that a loop tabulates itself
    output_table: str = "slopes"  # addresses of what the polynomials multiply
    output_first: int = 0


def vectors(method: Method) -> int:
    """Vectors of the size of a state that a method needs beside the four of every method."""
    if isinstance(method, Stabilized):
        return STABILIZED_SLOPES + len(STABILIZED_STATES)
    return len(method.rows) + (len(outputs(method)) > 1)


def lay_out(method: Method, rtol: float, dtype: np.dtype[Any], adaptive: bool) -> MethodLayout:
    """Lay out a method for the loop that runs it, with ``adaptive`` or fixed steps."""
    if isinstance(method, Stabilized):
        return _stabilized(method, rtol, dtype)
    plan, (own, *others) = schedule(method, dtype), tried(method, adaptive)
    other = others[0] if others else own
    return MethodLayout(
        slopes=len(method.rows),
        sizes={
            "stages": method.stages,
            "extra": len(method.extra),
            "degree": own.dense.shape[1],
            "output_terms": len(own.dense),
            "other_terms": len(other.dense),
            "checked": bool(others),
            "estimates": plan.estimates,
            "error_terms": len(plan.error_index),
            "error_weight": plan.error_weight,
            "n_weights": len(plan.weights),
            "joins": plan.joins,
        },
        tables={
            "schedule": plan.stages,
            "index": plan.slopes,
            "weights": plan.weights,
            "error_index": plan.error_index,
            "sequence": plan.sequence,
            "slant": own.slant.astype(dtype),
            "other_slant": other.slant.astype(dtype),
        },
        dense=own.dense.astype(dtype),
        other_dense=other.dense.astype(dtype) if others else None,
        factors=len(plan.weights),
        control_rows=ROWS,
        states=("within",) if others else (),
        stages=tuple(
            (int(kind), tuple(map(int, plan.slopes[first : first + terms])), int(weight))
            for kind, terms, first, weight in plan.stages[1 : method.stages]
        ),
    )


def _stabilized(method: Stabilized, rtol: float, dtype: np.dtype[Any]) -> MethodLayout:
    plan = stabilized.tables(rtol, dtype)
    return MethodLayout(
        slopes=STABILIZED_SLOPES,
        sizes={
            "stages": STABILIZED_SLOPES,
            "degree": OUTPUT_DEGREE,
            "output_terms": OUTPUT_TERMS,
            "fourth": method.fourth,
            "longest": plan.longest,
        },
        tables={
            "rock": plan.rock,
            "recurrence": plan.recurrence,
            "rkc": plan.rkc,
            "sequence": np.arange(VECTOR + 1, dtype=np.int64),
            "unit": np.ones(1),
        },
        dense=np.zeros((OUTPUT_TERMS, OUTPUT_DEGREE), dtype),  # the loop writes them, for every step
        factors=OUTPUT_TERMS,
        states=STABILIZED_STATES,
        control_rows=STABILIZED_ROWS,
        mixed=VECTOR + 1,
        output_table="mix",
        output_first=Y,
    )
