"""A method as what the loop asks for: its routines, slopes and further states, tables and numbers."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.lockstep.schedule import schedule
from fastdln.integrate.chebyshev import Stabilized
from fastdln.integrate.chebyshev.tables import tables
from fastdln.integrate.descent import Descent
from fastdln.integrate.law import DIVERGED, NONFINITE
from fastdln.integrate.methods import Method
from fastdln.integrate.output import outputs, tried
from fastdln.integrate.tableau import Tableau
from fastdln.kernels.lockstep import descent, explicit, learning, stiffness
from fastdln.kernels.lockstep.chebyshev import method as chebyshev
from fastdln.kernels.lockstep.chebyshev import table
from fastdln.kernels.lockstep.workspace import CHEBYSHEV, METHOD, OUTPUT

ARENAS = ("slopes", "scale", "defect", "shown", "mix", "second_growth_cap")  # fields that the arena tells
STABILIZED_STATES = ("previous", "previous_slope", "keep_a", "keep_b", "power", "general", "within")

Fields = dict[str, Any]  # numbers, and arrays whose addresses are told


@dataclass(frozen=True)
class MethodLayout:
    """What a thread's arena holds for a method; arrays are read only, and shared by all threads."""

    routines: dict[str, Callable[..., None]]  # see `fastdln.kernels.lockstep.loop`
    slopes: int
    states: tuple[str, ...]  # vectors beside those of every method
    factors: int  # of stages and errors
    control_rows: int
    method: Fields  # of the groups of the workspace what is the same for all threads
    output: Fields
    chebyshev: Fields
    dense: NDArray[Any]  # polynomials of the continuous output, and of the other one that is tried
    other_dense: NDArray[Any]
    terms_first: int = 0  # continuous output combines the slopes, or what is tabulated from this number on
    mixed: int = 0  # addresses that the routines tabulate themselves
    search: Callable[..., None] = learning.search
    straight: tuple[tuple[int, tuple[int, ...], int], ...] = ()  # rows of the schedule, for straight-line code


def vectors(method: Method) -> int:
    """Vectors of the size of a state that a method needs beside the four of every method."""
    if isinstance(method, Descent):
        return 1 + method.moves
    if isinstance(method, Stabilized):
        return table.SLOPES_KEPT + len(STABILIZED_STATES)
    return len(method.rows) + (len(outputs(method)) > 1)


@functools.lru_cache(maxsize=64)
def lay_out(
    method: Tableau | Stabilized, rtol: float, dtype: np.dtype[Any], adaptive: bool, leaves: bool
) -> MethodLayout:
    """Lay out a method for the loop, with ``adaptive`` or fixed steps; ``leaves``: another one goes on where it is
    stiff."""
    if isinstance(method, Stabilized):
        return _stabilized(method, rtol, dtype)
    plan, (own, *others) = schedule(method, dtype), tried(method, adaptive)
    other = others[0] if others else own
    routines: dict[str, Callable[..., None]] = {"attempt": explicit.attempt, "advance": explicit.advance}
    if others:
        routines |= {"dense": explicit.checked_dense, "within": explicit.within}
    else:
        routines |= {"dense": explicit.dense}
    if leaves:
        routines |= {"weigh": stiffness.weigh}
    return MethodLayout(
        routines=routines,
        slopes=len(method.rows),
        states=("within",) if others else (),
        factors=len(plan.weights),
        control_rows=stiffness.ROWS,
        method={
            "stages": method.stages,
            "slopes_per_step": method.stages - 1,
            "order": method.error_order,
            "together": False,
            "schedule": plan.stages,
            "index": plan.slopes,
            "weights": plan.weights,
            "n_weights": len(plan.weights),
            "joins": plan.joins,
            "estimates": plan.estimates,
            "error_terms": len(plan.error_index),
            "error_index": plan.error_index,
            "error_weight": plan.error_weight,
            "sequence": plan.sequence,
            "failure": NONFINITE,
        },
        output={
            "extra": len(method.extra),
            "terms": len(own.dense),
            "degree": own.dense.shape[1],
            "slant": own.slant.astype(dtype),
            "other_terms": len(other.dense),
            "other_slant": other.slant.astype(dtype),
            "checked": bool(others),
            "check_theta": own.theta,
            "check_most": own.most,
            "other_theta": other.theta,
            "other_most": other.most,
        },
        chebyshev=dict.fromkeys(CHEBYSHEV.names, 0),
        dense=own.dense.astype(dtype),
        other_dense=other.dense.astype(dtype) if others else np.zeros(0, dtype),
        straight=tuple(
            (int(kind), tuple(map(int, plan.slopes[first : first + terms])), int(weight))
            for kind, terms, first, weight in plan.stages[1 : method.stages]
        ),
    )


def descending(method: Descent) -> MethodLayout:
    """Lay out a descent for the loop."""
    nothing = dict.fromkeys((*METHOD.names, *OUTPUT.names), 0)
    return MethodLayout(
        routines={
            "begin": descent.begin,
            "attempt": descent.attempt,
            "dense": descent.dense,
            "advance": descent.advance,
        },
        slopes=1,
        states=("velocity",) if method.moves else (),
        factors=1,
        control_rows=descent.ROWS,
        method={name: nothing[name] for name in METHOD.names if name not in ARENAS}
        | {"slopes_per_step": 1, "estimates": 1, "failure": DIVERGED},
        output={name: nothing[name] for name in OUTPUT.names if name != "table"},
        chebyshev=dict.fromkeys((name for name in CHEBYSHEV.names if name not in ARENAS), 0),
        dense=np.zeros((0, 0)),
        other_dense=np.zeros(0),
        search=descent.search,
    )


def _stabilized(method: Stabilized, rtol: float, dtype: np.dtype[Any]) -> MethodLayout:
    plan = tables(rtol, dtype)
    unused = ("stages", "schedule", "index", "weights", "n_weights", "joins", "error_terms", "error_index")
    return MethodLayout(
        routines={
            "open": chebyshev.open_lanes,
            "attempt": chebyshev.attempt,
            "dense": chebyshev.dense,
            "within": chebyshev.within,
            "stages": chebyshev.stages,
            "advance": chebyshev.advance,
        },
        slopes=table.SLOPES_KEPT,
        states=STABILIZED_STATES,
        factors=table.OUTPUT_TERMS,
        control_rows=table.ROWS,
        method=dict.fromkeys(unused, 0)
        | {
            "slopes_per_step": 0,
            "order": method.error_order,
            "together": True,
            "estimates": 1,
            "error_weight": 0,
            "sequence": np.arange(table.VECTOR + 1, dtype=np.int64),
            "failure": NONFINITE,
        },
        output={
            "extra": 0,
            "terms": table.OUTPUT_TERMS,
            "degree": table.OUTPUT_DEGREE,
            "slant": 0,
            "other_terms": 0,
            "other_slant": 0,
            "checked": False,
            "check_theta": 0.0,
            "check_most": 0.0,
            "other_theta": 0.0,
            "other_most": 0.0,
        },
        chebyshev={
            "fourth": method.fourth,
            "longest": plan.longest,
            "rock": plan.rock,
            "recurrence": plan.recurrence,
            "rkc": plan.rkc,
            "one": np.ones(1),
        },
        dense=np.zeros((table.OUTPUT_TERMS, table.OUTPUT_DEGREE), dtype),  # the routines write them, for every step
        other_dense=np.zeros(0, dtype),
        terms_first=table.Y,
        mixed=table.VECTOR + 1,
    )
