"""What losses that are not quadratic cost beside the quadratic one: ``python -m bench.losses [--rounds 9]``.

A right-hand side of 8-8-8-8 networks in each loss, those of data with 64 samples or measurements; in units of the
time that its products, counted in flops, would take at the rate of the quadratic loss.  Not counted are the flops of
the maps themselves, some thirty for each exponential, and the functions of a user.  Then Hessian-vector
products of a thousand such networks, compiled, and how many times as long NumPy takes.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

import fastdln as dln
from bench.rounds import cell, keeper, vectors
from fastdln.kernels.products.program import program
from fastdln.losses import Loss
from fastdln.theory import hessian
from fastdln.theory.hessian.products import Point

WIDTHS, SAMPLES, NETWORKS, STEP, T_END = (8, 8, 8, 8), 64, 200, 0.01, 0.5
PRODUCTS = 1000


def _value(W, sigma):
    """The quadratic loss, as a user would write it."""
    total = 0.0
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            total += 0.5 * (W[i, j] - sigma[i, j]) ** 2
    return total


def _grad(W, sigma, out):
    for i in range(W.shape[0]):
        for j in range(W.shape[1]):
            out[i, j] = W[i, j] - sigma[i, j]


def losses() -> dict[str, Loss]:
    """All of them, for one target or one data set."""
    rng = np.random.default_rng(0)
    sigma, X = rng.standard_normal((WIDTHS[-1], WIDTHS[0])), rng.standard_normal((WIDTHS[0], SAMPLES))
    Y, labels = rng.choice((-1.0, 1.0), (WIDTHS[-1], SAMPLES)), rng.integers(WIDTHS[-1], size=SAMPLES)
    return {
        "quadratic": dln.Quadratic(sigma),
        "power 4": dln.Power(sigma, 4.0),
        "huber": dln.Huber(sigma, 0.7),
        "pseudo-huber": dln.PseudoHuber(sigma, 0.7),
        "logistic": dln.Logistic(X, Y),
        "exponential": dln.Exponential(X, Y),
        "masked": dln.Masked(sigma, rng.random(sigma.shape) < 0.5),
        "sensing": dln.Sensing(rng.standard_normal((SAMPLES, *sigma.shape)), rng.standard_normal(SAMPLES)),
        "custom": dln.Custom(_value, _grad, (WIDTHS[-1], WIDTHS[0]), data=(sigma,)),
        "softmax": dln.SoftmaxCrossEntropy(X, labels, n_classes=WIDTHS[-1]),
    }


def products(rounds: int) -> None:
    """Hessian-vector products, compiled and by NumPy."""
    net = dln.Network(WIDTHS)
    weights, directions = (dln.inits.gaussian(net, 0.8, size=PRODUCTS, rng=seed) for seed in (1, 2))

    def seconds(loss: Loss, compiled: bool) -> float:
        began, times = time.process_time(), 20 if compiled else 1
        for _ in range(times):
            if compiled:
                hessian.apply(weights, loss, directions)
            else:
                Point(weights, loss).apply(directions)
        return (time.process_time() - began) / times

    found = {name: loss for name, loss in losses().items() if name != "custom"}  # which has no curvature
    for loss in found.values():
        seconds(loss, True)  # compiles
    sides = {(name, compiled): loss for name, loss in found.items() for compiled in (True, False)}
    kept = keeper().keep(lambda: {side: seconds(loss, side[1]) for side, loss in sides.items()}, rounds, "products")
    print(f"\nHessian-vector products: {kept}")
    for name in found:
        times = [1e9 * row[name, True] / PRODUCTS for row in kept.rows]
        ratio = [row[name, False] / row[name, True] for row in kept.rows]
        print(f"{name:14s} {cell(times, '.0f'):>12s} ns  {cell(ratio)} times as long by NumPy")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9)
    options = parser.parse_args()
    starts = dln.inits.gaussian(dln.Network(WIDTHS), 0.8, size=NETWORKS, rng=1)
    print(f"{vectors()}; CPU ns for a right-hand side; in units of its flops at the rate of the quadratic loss")
    for engine in ("lanes", "dense"):

        def seconds(loss: Loss, engine: str = engine) -> float:
            began = time.process_time()
            sol = dln.flow(starts, loss, (0.0, T_END), step=STEP, engine=engine, threads=1)
            return (time.process_time() - began) / int(sol.n_rhs.sum())

        found = losses()
        for loss in found.values():
            seconds(loss)  # compiles
        rounds = keeper().keep(lambda: {n: seconds(x) for n, x in found.items()}, options.rounds, engine)  # noqa: B023
        print(f"\n{engine}: {rounds}")
        flops = {name: program(WIDTHS, **loss.form._asdict()).flops for name, loss in found.items()}
        for name in found:
            relative = [row[name] / row["quadratic"] * flops["quadratic"] / flops[name] for row in rounds.rows]
            times = [1e9 * row[name] for row in rounds.rows]
            print(f"{name:14s} {flops[name]:6d} flops  {cell(times, '.0f'):>12s} ns  {cell(relative)}")
    products(options.rounds)


if __name__ == "__main__":
    main()
