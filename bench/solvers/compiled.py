"""Compiled solvers: fastdln, a scalar Numba loop, numbalsoda, heyoka."""

from __future__ import annotations

import ast
from typing import Any

import numpy as np

import fastdln as dln
from bench.solvers.task import Solve, Task


def _value(text: str) -> Any:
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def fastdln(task: Task, method: str = "tsit5") -> Solve:
    """fastdln; behind the method may stand options of ``flow``: ``tsit5,engine=wide`` or ``dop853,certify=True``."""
    workload, network, loss = task.workload, task.network, dln.Quadratic(task.sigma)
    method, *rest = method.split(",")
    options = {name: _value(value) for name, value in (option.split("=") for option in rest)}

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sol = workload.run(
            network.unpack(starts), loss, rtol=task.rtol, atol=task.atol, method=method, **options
        )  # fmt: skip
        return network.pack(sol.final), sol.loss

    return solve


def scalar_loop(task: Task) -> Solve:
    from bench import scalar_loop
    from fastdln.integrate.control import gains
    from fastdln.integrate.tableaus import TSIT5

    widths, offsets = task.layout
    a = np.zeros((TSIT5.stages, TSIT5.stages))
    for i, row in enumerate(TSIT5.rows):
        a[i, : len(row)] = row
    error_weights, dense = np.array(TSIT5.errors[0]), np.array(TSIT5.dense)

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return scalar_loop.solve(
            starts, task.sigma, widths, offsets, a, error_weights, dense, TSIT5.error_order, gains(TSIT5),
            task.workload.times, task.rtol, task.atol,
        )  # fmt: skip

    return solve


def _numbalsoda(task: Task, integrate: Any) -> Solve:
    import numba
    import numbalsoda

    from bench import scalar_loop

    widths, offsets = task.layout
    sigma, times, rtol, atol = task.sigma, task.workload.times, task.rtol, task.atol
    entries, depth, widest = int(offsets[-1]), len(widths) - 1, int(widths.max())

    @numba.cfunc(numbalsoda.lsoda_sig)
    def rhs(t, state, slope, parameters):  # type: ignore[no-untyped-def]
        scalar_loop.rhs(
            numba.carray(state, (entries,)), numba.carray(slope, (entries,)),
            np.empty((depth, widest, widest)), np.empty((2, widest, widest)), sigma, widths, offsets,
        )  # fmt: skip

    address, nothing = rhs.address, np.zeros(1)

    @numba.njit
    def paths(starts, times):  # type: ignore[no-untyped-def]
        out = np.empty((len(starts), len(times), entries))
        for i in range(len(starts)):
            out[i], _ = integrate(address, starts[i].copy(), times, nothing, rtol, atol, 1_000_000)
        return out

    _, loss = task.field(np)

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out = paths(starts, times)
        return out[:, -1], loss(out)

    return solve


def numbalsoda_dop853(task: Task) -> Solve:
    import numbalsoda

    return _numbalsoda(task, numbalsoda.dop853)


def numbalsoda_lsoda(task: Task) -> Solve:
    import numbalsoda

    return _numbalsoda(task, numbalsoda.lsoda)


def _heyoka(task: Task) -> Any:
    """Taylor's method on as many trajectories as a vector of the machine holds."""
    import heyoka

    entries = task.network.n_parameters
    variables = np.array(heyoka.make_vars(*[f"w{i}" for i in range(entries)]), dtype=object)
    rhs, _ = task.field(np)
    return heyoka.taylor_adaptive_batch(
        list(zip(variables, rhs(variables), strict=True)),
        state=np.zeros((entries, heyoka.recommended_simd_size())), tol=task.rtol, compact_mode=True,
    )  # fmt: skip


def _blocks(starts: np.ndarray, lanes: int) -> np.ndarray:
    """The starts in blocks (lanes, entries); the last one is filled up."""
    return np.resize(starts, (-(-len(starts) // lanes), lanes, starts.shape[1]))


def _joined(task: Task, paths: list[np.ndarray], n: int) -> tuple[np.ndarray, np.ndarray]:
    """States at the end and losses of n trajectories, from paths (times, entries, lanes) of blocks."""
    whole = np.concatenate([path.transpose(2, 0, 1) for path in paths])[:n]
    return whole[:, -1], task.field(np)[1](np.ascontiguousarray(whole))


def heyoka_batch(task: Task) -> Solve:
    integrator = _heyoka(task)
    lanes = integrator.batch_size
    grid = np.repeat(task.workload.times[:, None], lanes, axis=1)

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        paths = []
        for block in _blocks(starts, lanes):
            integrator.set_time([0.0] * lanes)
            integrator.state[:] = block.T
            paths.append(integrator.propagate_grid(grid)[-1])
        return _joined(task, paths, len(starts))

    return solve


def heyoka_ensemble(task: Task) -> Solve:
    import heyoka

    integrator = _heyoka(task)
    lanes = integrator.batch_size

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        blocks = _blocks(starts, lanes)

        def begin(own: Any, i: int) -> Any:
            own.set_time([0.0] * lanes)
            own.state[:] = blocks[i].T
            return own

        found = heyoka.ensemble_propagate_grid_batch(integrator, task.workload.times, len(blocks), begin)
        return _joined(task, [one[-1] for one in found], len(starts))

    return solve
