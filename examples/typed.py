"""fastdln in typed code: what checkers of types know, by ``nox -s typed`` (mypy and pyright, both strict)."""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_type

import numpy as np
from numpy.typing import NDArray

import fastdln as dln
from fastdln.network import Weights


def train(start: Weights, loss: dln.Quadratic | dln.Regression, t_end: float) -> dln.Trajectories:
    """Flow from a batch of starts, or say which of them failed."""
    return dln.flow(start, loss, (0.0, t_end), record=("loss", "learning_times")).raise_for_status()


def last_mode(sol: dln.Trajectories) -> NDArray[np.float64]:
    """When the weakest mode of each trajectory was learned."""
    times: NDArray[np.float64] = sol.learning_times
    return times[:, -1]


def main() -> None:
    net = dln.Network((6, 5, 3))
    loss = dln.Quadratic.from_singular_values((4.0, 2.0, 1.0), shape=(3, 6), rng=0)
    start = dln.inits.gaussian(net, 0.1, size=8, rng=0)
    sol = train(start, loss, 30.0)
    print(f"the last mode is learned at {np.median(last_mode(sol)):.2f}")

    assert_type(net.widths, tuple[int, ...])
    assert_type(sol, dln.Trajectories)
    assert_type(sol[0], dln.Trajectories)
    assert_type(sol.network, dln.Network)
    assert_type(sol.final, Weights)
    assert_type(dln.theory.rates.bound(sol[0].final, loss).best, dln.theory.rates.Bound | None)


if TYPE_CHECKING:  # mistakes that a checker finds: an ignored error that is none is one
    dln.flow(dln.inits.identity(dln.Network((2, 2))), dln.Quadratic([[1.0]]), "soon")  # type: ignore[arg-type]
    dln.Network("2-3-2")  # type: ignore[arg-type]
    dln.flows()  # type: ignore[attr-defined]

if __name__ == "__main__":
    main()
