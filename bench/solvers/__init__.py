"""The same task for every solver: each of `SOLVERS` turns a task into a function of a batch of starts.

A start is one flat state, W_1 first, each matrix row by row; what comes back is the states at the end and the
losses at the recorded times. A solver whose package is not installed raises ImportError when it is built.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from bench.solvers import compiled, frameworks, python
from bench.solvers.python import scipy_loop
from bench.solvers.task import Solve, Task

__all__ = ["SOLVERS", "Solve", "Solver", "Task", "scipy_loop", "solver"]

TOLERANCES = (1e-4, 1e-6, 1e-8, 1e-10, 1e-12)


@dataclass(frozen=True)
class Solver:
    """How a solver is made, and how much it is given to do."""

    build: Callable[[Task], Solve]
    share: float  # of the workload's trajectories, for a run of about a second
    loop: bool = True  # one trajectory, or ``lanes`` of them, after another: so few of them tell as much as many
    lanes: int = 1
    most_parameters: int = 10**8  # of a network: beyond this it would take minutes
    tolerances: tuple[float, ...] = TOLERANCES


SOLVERS: dict[str, Solver] = {
    "scalar Numba loop": Solver(compiled.scalar_loop, 1 / 8, most_parameters=100_000),
    "numbalsoda DOP853": Solver(compiled.numbalsoda_dop853, 1 / 8, most_parameters=100_000),
    "numbalsoda LSODA": Solver(compiled.numbalsoda_lsoda, 1 / 16, most_parameters=200),
    "heyoka, batch": Solver(compiled.heyoka_batch, 1 / 16, lanes=8, most_parameters=200),
    "heyoka, ensemble": Solver(compiled.heyoka_ensemble, 1 / 16, lanes=8, most_parameters=200),
    "scipy RK45": Solver(python.scipy_loop, 1 / 50),
    "scipy DOP853": Solver(functools.partial(python.scipy_loop, method="DOP853"), 1 / 50),
    "scipy LSODA": Solver(functools.partial(python.scipy_loop, method="LSODA"), 1 / 50, most_parameters=200),
    "scipy BDF": Solver(functools.partial(python.scipy_loop, method="BDF"), 1 / 100, most_parameters=200),
    "NumPy Tsit5, batched": Solver(python.batched, 1 / 8, loop=False),
    "diffrax Tsit5, vmap": Solver(frameworks.diffrax_vmap, 1 / 8, loop=False),
    "diffrax Dopri8, vmap": Solver(functools.partial(frameworks.diffrax_vmap, method="Dopri8"), 1 / 8, loop=False),
    "torchode Tsit5": Solver(frameworks.torchode_batch, 1 / 8, loop=False),
    "torchdiffeq dopri5": Solver(frameworks.torchdiffeq_batch, 1 / 8, loop=False),
    "torchdiffeq dopri8": Solver(functools.partial(frameworks.torchdiffeq_batch, method="dopri8"), 1 / 8, loop=False),
    # its tolerance is the learning rate, in units of the fastest rate at the minimum
    "PyTorch gradient descent": Solver(frameworks.gradient_descent, 1 / 8, loop=False, tolerances=(1.0, 0.1)),
}


def solver(name: str) -> Solver:
    """The solver of a name: one of `SOLVERS`, or fastdln with a method, as ``fastdln dop853`` (`compiled.fastdln`)."""
    if name in SOLVERS:
        return SOLVERS[name]
    own, _, method = name.partition(" ")
    if own != "fastdln":
        raise KeyError(f"no solver {name!r}: there are {', '.join(SOLVERS)}, and fastdln METHOD")
    return Solver(functools.partial(compiled.fastdln, method=method or "tsit5"), 1.0, loop=False)
