"""The same problem for every solver: each of `SOLVERS` turns a problem into a function of a batch of starts.

A start is one flat state, W_1 first, each matrix row by row; what comes back is the states at the end and the
losses at the recorded times. A solver whose package is not installed raises ImportError when it is built.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import numpy as np

import fastdln as dln
from bench.workloads import Workload

Solve = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Problem:
    """A workload with what every solver needs of it: the target and explicit tolerances."""

    workload: Workload
    sigma: np.ndarray
    rtol: float
    atol: float

    @classmethod
    def of(cls, workload: Workload, rtol: float) -> Problem:
        """The problem with an atol that any solver can be given: about fastdln's default for such starts."""
        smallest = min(np.sqrt(np.mean(W**2)) for W in workload.starts(100))
        return cls(
            workload, np.ascontiguousarray(workload.loss().target), rtol, 1e-3 * rtol * float(smallest)
        )

    @property
    def network(self) -> dln.Network:
        return dln.Network(self.workload.widths)

    def field(self, xp: ModuleType) -> tuple[Callable[[Any], Any], Callable[[Any], Any]]:
        """Right-hand side and loss of states (..., entries) in NumPy, jax.numpy or torch."""
        shapes, sigma = self.network.shapes, xp.asarray(self.sigma)
        ends = np.cumsum([rows * columns for rows, columns in shapes])

        def prefixes(state: Any) -> tuple[list[Any], list[Any]]:
            weights = [
                state[..., end - rows * columns : end].reshape((*state.shape[:-1], rows, columns))
                for (rows, columns), end in zip(shapes, ends, strict=True)
            ]
            products = weights[:1]
            for W in weights[1:]:
                products.append(W @ products[-1])
            return weights, products

        def rhs(state: Any) -> Any:
            weights, products = prefixes(state)
            left = sigma - products[-1]
            slopes = []
            for i in range(len(weights) - 1, 0, -1):
                slopes.append(left @ xp.swapaxes(products[i - 1], -1, -2))
                left = xp.swapaxes(weights[i], -1, -2) @ left
            slopes.append(left)
            return xp.concatenate([s.reshape((*state.shape[:-1], -1)) for s in slopes[::-1]], axis=-1)

        def loss(state: Any) -> Any:
            return 0.5 * ((sigma - prefixes(state)[1][-1]) ** 2).sum((-1, -2))

        return rhs, loss


def fastdln(problem: Problem) -> Solve:
    workload, network, loss = problem.workload, problem.network, dln.Quadratic(problem.sigma)

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sol = workload.run(network.unpack(starts), loss, rtol=problem.rtol, atol=problem.atol)
        return network.pack(sol.final), sol.loss

    return solve


def scalar_numba(problem: Problem) -> Solve:
    from bench import scalar_loop
    from fastdln.integrate.control import gains
    from fastdln.integrate.tableaus import TSIT5

    widths, offsets = _layout(problem)
    a = np.zeros((TSIT5.stages, TSIT5.stages))
    for i, row in enumerate(TSIT5.rows):
        a[i, : len(row)] = row
    error_weights, dense = np.array(TSIT5.errors[0]), np.array(TSIT5.dense)

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return scalar_loop.solve(
            starts, problem.sigma, widths, offsets, a, error_weights, dense, TSIT5.error_order, gains(TSIT5),
            problem.workload.times, problem.rtol, problem.atol,
        )  # fmt: skip

    return solve


def scipy_loop(problem: Problem, method: str = "RK45") -> Solve:
    from scipy.integrate import solve_ivp

    rhs, loss = problem.field(np)
    times = problem.workload.times

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        paths = [
            solve_ivp(
                lambda t, y: rhs(y), (times[0], times[-1]), start, method=method, t_eval=times,
                rtol=problem.rtol, atol=problem.atol,
            ).y.T
            for start in starts
        ]  # fmt: skip
        return np.array([path[-1] for path in paths]), np.array([loss(path) for path in paths])

    return solve


def numbalsoda_dop853(problem: Problem) -> Solve:
    import numba
    import numbalsoda

    from bench import scalar_loop

    widths, offsets = _layout(problem)
    sigma, times, rtol, atol = problem.sigma, problem.workload.times, problem.rtol, problem.atol
    entries, depth, widest = int(offsets[-1]), len(widths) - 1, int(widths.max())

    @numba.cfunc(numbalsoda.lsoda_sig)
    def rhs(t, state, slope, parameters):  # type: ignore[no-untyped-def]
        scalar_loop.rhs(
            numba.carray(state, (entries,)), numba.carray(slope, (entries,)),
            np.empty((depth, widest, widest)), np.empty((2, widest, widest)), sigma, widths, offsets,
        )  # fmt: skip

    address = rhs.address

    @numba.njit
    def paths(starts, times):  # type: ignore[no-untyped-def]
        out = np.empty((len(starts), len(times), entries))
        for i in range(len(starts)):
            out[i], _ = numbalsoda.dop853(address, starts[i].copy(), times, rtol=rtol, atol=atol)
        return out

    _, loss = problem.field(np)

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        out = paths(starts, times)
        return out[:, -1], loss(out)

    return solve


def diffrax_vmap(problem: Problem) -> Solve:
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    rhs, loss = problem.field(jnp)
    times = problem.workload.times
    outputs = [
        diffrax.SubSaveAt(t1=True),
        diffrax.SubSaveAt(ts=jnp.asarray(times), fn=lambda t, y, args: loss(y)),
    ]

    def one(start: Any) -> tuple[Any, Any]:
        final, losses = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: rhs(y)), diffrax.Tsit5(), times[0], times[-1], None, start,
            saveat=diffrax.SaveAt(subs=outputs), max_steps=100_000,
            stepsize_controller=diffrax.PIDController(rtol=problem.rtol, atol=problem.atol),
        ).ys  # fmt: skip
        return final[0], losses

    batched = jax.jit(jax.vmap(one))

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        final, losses = batched(jnp.asarray(starts))
        return np.asarray(final), np.asarray(losses)

    return solve


def torchode_batch(problem: Problem) -> Solve:
    import torch
    import torchode

    torch.set_num_threads(1)
    rhs, loss = problem.field(torch)
    term = torchode.ODETerm(lambda t, y: rhs(y))
    solver = torchode.AutoDiffAdjoint(
        torchode.Tsit5(term=term),
        torchode.IntegralController(atol=problem.atol, rtol=problem.rtol, term=term),
    )
    times = torch.as_tensor(problem.workload.times)

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            y0 = torch.as_tensor(starts)
            path = solver.solve(torchode.InitialValueProblem(y0=y0, t_eval=times.repeat(len(y0), 1))).ys
            return path[:, -1].numpy(), loss(path).numpy()

    return solve


def heyoka_batch(problem: Problem) -> Solve:
    import heyoka

    lanes = 4
    entries = problem.network.n_parameters
    variables = np.array(heyoka.make_vars(*[f"w{i}" for i in range(entries)]), dtype=object)
    rhs, loss = problem.field(np)
    integrator = heyoka.taylor_adaptive_batch(
        list(zip(variables, rhs(variables), strict=True)),
        state=np.zeros((entries, lanes)), tol=problem.rtol, compact_mode=True,
    )  # fmt: skip
    grid = np.repeat(problem.workload.times[:, None], lanes, axis=1)

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        paths = np.empty((len(starts), len(grid), entries))
        for first in range(0, len(starts), lanes):
            block = starts[first : first + lanes]
            integrator.set_time([0.0] * lanes)
            integrator.state[:] = np.resize(block, (lanes, entries)).T  # the last block may be short
            path = integrator.propagate_grid(grid)[-1]
            paths[first : first + len(block)] = path.transpose(2, 0, 1)[: len(block)]
        return paths[:, -1], loss(paths)

    return solve


def _layout(problem: Problem) -> tuple[np.ndarray, np.ndarray]:
    sizes = [rows * columns for rows, columns in problem.network.shapes]
    return np.array(problem.workload.widths), np.concatenate([[0], np.cumsum(sizes)])


#: name -> (builder, share of the workload's trajectories that makes a run of about a second)
SOLVERS: dict[str, tuple[Callable[[Problem], Solve], float]] = {
    "fastdln": (fastdln, 1.0),
    "scalar Numba loop": (scalar_numba, 1 / 8),
    "scipy RK45 loop": (scipy_loop, 1 / 50),
    "numbalsoda DOP853": (numbalsoda_dop853, 1 / 8),
    "diffrax Tsit5, vmap": (diffrax_vmap, 1 / 8),
    "torchode Tsit5": (torchode_batch, 1 / 8),
    "heyoka, batch of 4": (heyoka_batch, 1 / 16),
}
