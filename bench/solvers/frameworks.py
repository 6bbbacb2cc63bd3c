"""Solvers in JAX and PyTorch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from bench.solvers.task import Solve, Task


def diffrax_vmap(task: Task, method: str = "Tsit5") -> Solve:
    import diffrax
    import jax
    import jax.numpy as jnp

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_platforms", "cpu")
    rhs, loss = task.field(jnp)
    times = task.workload.times
    outputs = [
        diffrax.SubSaveAt(t1=True),
        diffrax.SubSaveAt(ts=jnp.asarray(times), fn=lambda t, y, args: loss(y)),
    ]

    def one(start: Any) -> tuple[Any, Any]:
        final, losses = diffrax.diffeqsolve(
            diffrax.ODETerm(lambda t, y, args: rhs(y)), getattr(diffrax, method)(), times[0], times[-1], None, start,
            saveat=diffrax.SaveAt(subs=outputs), max_steps=100_000,
            stepsize_controller=diffrax.PIDController(rtol=task.rtol, atol=task.atol),
        ).ys  # fmt: skip
        return final[0], losses

    solve_all = jax.jit(jax.vmap(one))

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        final, losses = solve_all(jnp.asarray(starts))
        return np.asarray(final), np.asarray(losses)

    return solve


def torchode_batch(task: Task) -> Solve:
    import torch
    import torchode

    torch.set_num_threads(1)
    rhs, loss = task.field(torch)
    term = torchode.ODETerm(lambda t, y: rhs(y))
    solver = torchode.AutoDiffAdjoint(
        torchode.Tsit5(term=term),
        torchode.IntegralController(atol=task.atol, rtol=task.rtol, term=term),
    )
    times = torch.as_tensor(task.workload.times)

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            y0 = torch.as_tensor(starts)
            path = solver.solve(torchode.InitialValueProblem(y0=y0, t_eval=times.repeat(len(y0), 1))).ys
            return path[:, -1].numpy(), loss(path).numpy()

    return solve


def torchdiffeq_batch(task: Task, method: str = "dopri5") -> Solve:
    """All trajectories with one step, which follows an error norm of the whole batch."""
    import torch
    import torchdiffeq

    torch.set_num_threads(1)
    rhs, loss = task.field(torch)
    times = torch.as_tensor(task.workload.times)

    def solve(starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.no_grad():
            path = torchdiffeq.odeint(
                lambda t, y: rhs(y), torch.as_tensor(starts), times, rtol=task.rtol, atol=task.atol, method=method
            )  # fmt: skip
            return path[-1].numpy(), loss(path).T.numpy()

    return solve


def gradient_descent(task: Task) -> Solve:
    """Gradient descent by automatic differentiation, with steps of rtol / (h sigma_1^(2 - 2/h)).

    That is rtol in units of the fastest rate at a balanced minimum; recorded at the steps nearest to the times.
    """
    import torch

    torch.set_num_threads(1)
    _, loss = task.field(torch)
    depth = len(task.workload.widths) - 1
    rate = depth * np.linalg.norm(task.sigma, 2) ** (2 - 2 / depth)
    times = task.workload.times
    steps = math.ceil(times[-1] * rate / task.rtol)
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
