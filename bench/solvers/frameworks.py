"""Solvers in JAX and PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bench.solvers.problem import Problem, Solve


def diffrax_vmap(problem: Problem, method: str = "Tsit5") -> Solve:
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
            diffrax.ODETerm(lambda t, y, args: rhs(y)), getattr(diffrax, method)(), times[0], times[-1], None, start,
            saveat=diffrax.SaveAt(subs=outputs), max_steps=100_000,
            stepsize_controller=diffrax.PIDController(rtol=problem.rtol, atol=problem.atol),
        ).ys  # fmt: skip
        return final[0], losses

    solve_all = jax.jit(jax.vmap(one))

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        final, losses = solve_all(jnp.asarray(starts))
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


def torchdiffeq_batch(problem: Problem, method: str = "dopri5") -> Solve:
    """All trajectories with one step, which follows an error norm of the whole batch."""
    import torch
    import torchdiffeq

    torch.set_num_threads(1)
    rhs, loss = problem.field(torch)
    times = torch.as_tensor(problem.workload.times)

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            path = torchdiffeq.odeint(
                lambda t, y: rhs(y), torch.as_tensor(starts), times, rtol=problem.rtol, atol=problem.atol, method=method
            )  # fmt: skip
            return path[-1].numpy(), loss(path).T.numpy()

    return solve


def gradient_descent(problem: Problem) -> Solve:
    """Gradient descent by automatic differentiation, with steps of rtol / (h sigma_1^(2 - 2/h)).

    That is rtol in units of the fastest rate at a balanced minimum; recorded at the steps nearest to the times.
    """
    import torch

    torch.set_num_threads(1)
    _, loss = problem.field(torch)
    depth = len(problem.workload.widths) - 1
    rate = depth * np.linalg.norm(problem.sigma, 2) ** (2 - 2 / depth)
    times = problem.workload.times
    steps = math.ceil(times[-1] * rate / problem.rtol)
    learning_rate = times[-1] / steps
    outputs = np.rint(times / learning_rate).astype(int)

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        state = torch.as_tensor(starts).clone().requires_grad_()
        optimizer = torch.optim.SGD([state], lr=learning_rate)
        losses = np.empty((len(starts), len(times)))
        for step in range(steps + 1):
            optimizer.zero_grad()
            value = loss(state)
            losses[:, outputs == step] = value.detach().numpy()[:, None]
            if step < steps:
                value.sum().backward()
                optimizer.step()
        return state.detach().numpy(), losses

    return solve
