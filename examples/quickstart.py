"""The flow of a small deep linear network: when each mode is learned, and when theory says so.

A decoupled start keeps its modes apart for all times, so that each follows a scalar equation with a closed
solution; from random starts of the same size the modes are learned in the same order.
"""

from __future__ import annotations

import numpy as np

import fastdln as dln
from fastdln import theory as th

SIGMA = np.array([4.0, 2.0, 1.0])
START = 0.1


def main() -> None:
    net = dln.Network((6, 5, 5, 3))
    loss = dln.Quadratic.from_singular_values(SIGMA, shape=(3, 6), rng=0)
    record = ("loss", "learning_times")

    decoupled = dln.flow(dln.inits.decoupled(net, loss, layer_values=START), loss, (0.0, 60.0), record=record)
    gaussian = dln.flow(
        dln.inits.gaussian(net, scale=START, size=100, rng=0), loss, (0.0, 60.0), record=record
    ).raise_for_status()
    exact = [th.exact.mode_time((s / 2) ** (1 / net.depth), START, s, net.depth) for s in SIGMA]

    print("mode  sigma  learned at  closed form  100 gaussian starts, median")
    columns = (SIGMA, decoupled.learning_times, exact, np.median(gaussian.learning_times, axis=0))
    for mode, (sigma, learned, expected, median) in enumerate(zip(*columns, strict=True)):
        print(f"{mode:>4}  {sigma:>5g}  {learned:>10.6f}  {expected:>11.6f}  {median:>10.2f}")
    print(f"loss at the end, decoupled start: {decoupled.loss[-1]:.1e}")


if __name__ == "__main__":
    main()
