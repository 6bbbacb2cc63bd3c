"""What the kernels are told of a descent: the program of an update, the schedule, the samples."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastdln.engines.base import Problem
from fastdln.engines.lockstep.executors import Executor
from fastdln.engines.lockstep.mapped import Scripted, scripted
from fastdln.integrate.descent import Descent
from fastdln.kernels.lockstep import updates, vectors
from fastdln.kernels.lockstep.straight import Updating
from fastdln.kernels.lockstep.workspace import DESCENT
from fastdln.kernels.products.program import program
from fastdln.kernels.products.rows import Program
from fastdln.kernels.products.update import DECAY, HEAVY_BALL, NESTEROV, PLAIN
from fastdln.losses import sampled_of

Fields = dict[str, Any]
ARENAS = ("bases", "orders", "scratch")  # fields that the arena tells


def batches(problem: Problem, unit: int) -> Program | None:
    """The program of an update for a batch of samples; None where updates are for all of them."""
    if problem.descent is None or not problem.descent.samples:
        return None
    name = sampled_of(problem.loss, "batch_size").name
    return program(problem.network.widths, map=name, samples=problem.descent.samples, unit=unit)


def data_bytes(problem: Problem) -> int:
    """Bytes of the samples that batches are made of."""
    if problem.descent is None or not problem.descent.samples:
        return 0
    return problem.loss.n_samples * sum(problem.loss.shape) * problem.start.itemsize


def kind_of(method: Descent) -> int:
    """The kind of its updates."""
    if method.moves:
        return NESTEROV if method.nesterov else HEAVY_BALL
    return DECAY if method.decays else PLAIN


class Told(NamedTuple):
    """The group `DESCENT` of the workspace, but for what each thread has of its own, and what executes an update."""

    fields: Fields
    execute: int = 0
    straight: Updating | None = None  # what straight-line code of it is made of
    scripted: Scripted | None = None  # what ``fields`` and ``execute`` hold addresses of


def told(problem: Problem, planned: Program, executor: Executor, entry: int) -> Told:
    """What is told of updates by a program; nothing for a flow."""
    fields: Fields = dict.fromkeys((name for name in DESCENT.names if name not in ARENAS), 0)
    method, course, dtype = problem.descent, problem.course, problem.start.dtype
    if method is None or course is None:
        return Told(fields)
    layer_rates = np.array(problem.options.layer_rates or (1.0,) * problem.network.depth)
    kind = kind_of(method)
    known = problem.options.stop_gradient is not None and kind != NESTEROV and not method.samples
    alike = bool((layer_rates == layer_rates[0]).all())
    fused = executor.lanes > 1 and alike and not known and not planned.maps_into_slope
    kernels = updates.library(dtype, executor.lanes)
    execute = (
        updates.executor(dtype, executor.lanes, kind) if fused else vectors.library(dtype, executor.lanes)["execute"]
    )
    script = None
    mapped = sampled_of(problem.loss, "batch_size") if method.samples else problem.loss.mapped
    if mapped is None:
        rows = executor.encode(planned.products, entry)
    else:
        script = scripted(mapped, {"update": planned.rhs}, executor.encode, entry, dtype, execute)
        rows, execute = script.scripts["update"].table, script.code.addresses["run"]
    schedule = method.schedule
    fields |= {
        "program": rows,
        "rows": len(rows),
        "fused": fused,
        "known": known,
        "kind": kind,
        "layer_rates": layer_rates,
        "factors": schedule.factors,
        "n_factors": len(schedule.factors),
        "after": schedule.after,
        "first": course.done,
        **{
            name: kernels[name]
            for name in ("look_ahead", "add_gradient", "doubt", "exceed", "end_update", "put_column")
        },
    }
    if method.samples:
        data = sampled_of(problem.loss, "batch_size")
        assert data.inputs is not None
        fields |= {
            "samples": method.samples,
            "all_samples": data.inputs.shape[1],
            "data": np.concatenate([data.inputs, data.target]).T.astype(dtype, order="C"),
            "zeros": np.zeros(sum(problem.loss.shape), dtype),
            "inputs": planned.constants["inputs"][0],
            "labels": planned.constants["mapped"][0],
            "parameter": planned.constants["parameter"][0],
            "columns": planned.constants["inputs"][2],
            "key_0": method.key[0],
            "key_1": method.key[1],
        }
    return Told(fields, execute, Updating(planned.rhs, kind if fused else None, planned.map), script)
