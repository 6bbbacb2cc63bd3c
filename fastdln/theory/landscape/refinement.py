"""Newton's method for critical points: from weights that are nearly critical to ones that are so up to rounding.

The fibers are dealt with first. Gauges bring the weights near normal form, in which the learned modes take
diag(sigma_S^(1/h)) in every layer and the rest is residual blocks Z_i: what is set to these values is exact at once,
and what remains is the gradient of the small problem whose weights are Z and whose target is the residual,

    F_i(Z) = Z_{>i}' (R - Z_h ... Z_1) Z_{<i}' = 0,

near a point where the Hessian may vanish.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from scipy.linalg import null_space

from fastdln.checked import checked
from fastdln.field import product, rhs
from fastdln.linalg import Floats, reproducible
from fastdln.losses import Loss, Quadratic
from fastdln.network import Network, Weights, check_weights
from fastdln.theory import hessian
from fastdln.theory.landscape.spectrum import RTOL, Spectrum, check_sizes, in_units, spectrum
from fastdln.theory.residual import relative_gradient
from fastdln.theory.whitening import whiten

__all__ = ["NEARLY", "refine"]

# Relative gradients: above the first a point is not nearly critical, below the second it is critical to rounding.
NEARLY = 0.1
_ROUNDING = 1e-11
# Residual parts up to this many times the distance to a critical point cannot be told from zero.
_UNRESOLVED = 10.0
# Gradients whose squares underflow.
_VANISHED = 1e-140
# delta / |g|
_DAMPINGS = np.array([1.0, 1e1, 1e2, 1e3, 1e4])


@checked
@reproducible
def refine(weights: Sequence[ArrayLike], loss: Loss, max_iterations: int = 100) -> Weights:
    """Move weights that are nearly critical to a critical point nearby.

    Modes whose strength is within a quarter of sigma or of zero are learned or not; gauges, chosen from the weights
    themselves, separate them from the residual blocks. There the method is Newton's, regularized (Levenberg and
    Marquardt): with the gradient g and the Hessian H the steps -H (H^2 + delta^2)^(-1) g, delta from |g| to 10^4 |g|,
    leave directions alone in which H is singular, those of the fibers among them, without a decision on rank. Where H
    vanishes at the saddle, the gradient has a zero of some higher order p, and Newton's steps are too short by the
    factor p: of all steps and their multiples by 1/8, 1/4, 1/2, 1, ..., 2h-1 the one to the least gradient is taken.

    Around a saddle with vanishing residual blocks there are others where some of them are small but not zero. So
    singular values of Z_i up to ten times the distance moved are set to zero, and the iteration starts again: what it
    finds is farther from the given weights by such a factor, but of the simplest kind that is that near.

    Parameters
    ----------
    weights : tuple of h arrays, shape (..., d_i, d_{i-1})
        Weights at which the gradient is small, such as a trajectory has on a plateau.
    loss : Loss
        The loss, with one target.
    max_iterations : int
        The largest number of steps.

    Returns
    -------
    tuple of h ndarrays, shape (..., d_i, d_{i-1})
        Critical weights, in the dtype of the given ones.

    Raises
    ------
    TypeError
        If the inputs of the loss do not span R^{d_0}, or an argument is of the wrong kind.
    ValueError
        If weights are not finite, or not nearly critical: their relative gradient, in the sense of `classify`, is above
        0.1.
    ArithmeticError
        If the iteration does not get to a critical point; the message says how far it came.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> loss = Quadratic([[2.0, 0.0], [0.0, 1.0]])
    >>> near = (np.array([[1.0, 1e-3], [0.0, 1e-3]]), np.array([[2.0, 0.0], [1e-3, 2e-3]]))
    >>> W1, W2 = refine(near, loss)
    >>> np.round(W2 @ W1, 12) + 0.0
    array([[2., 0.],
           [0., 0.]])
    """
    white = whiten(loss, "refine")
    net, layers = white.there(weights)
    given = check_weights(weights)[1]
    if max_iterations < 1:
        raise ValueError(f"max_iterations must be at least 1, not {max_iterations!r}")
    modes = spectrum(white, RTOL)
    check_sizes(in_units(layers, white.loss.target)[0])
    batch = given[0].shape[:-2]
    refined = tuple(np.empty_like(W, dtype=np.float64) for W in layers)
    for index in np.ndindex(batch):
        where = f" at index {index} of the batch" if batch else ""
        point = _refined(net, tuple(W[index] for W in layers), white.loss.target, modes, max_iterations, where)
        for W, moved in zip(refined, point, strict=True):
            W[index] = moved
    return tuple(W.astype(given[0].dtype, copy=False) for W in white.back(refined))


def _refined(net: Network, layers: Weights, Sigma: Floats, modes: Spectrum, max_iterations: int, where: str) -> Weights:
    if net.depth == 1:
        return (Sigma,)
    scaled, target, unit = in_units(layers, Sigma)
    goal = Quadratic(target)
    start = float(relative_gradient(scaled, goal))
    if not start <= NEARLY:
        raise ValueError(
            f"weights{where} are not nearly critical: their relative gradient is {start:.1e}, and refine starts from "
            f"at most {NEARLY}"
        )
    U, sigma, V = _learned(product(scaled), modes)
    bases, blocks = _normal_form(scaled, U, sigma, V)
    R = null_space(U.T).T @ target @ null_space(V.T)
    moved = _assemble(bases, _solve(blocks, R, max_iterations), sigma)
    distance = np.sqrt(sum(np.square(after - before).sum() for after, before in zip(moved, scaled, strict=True)))
    simpler = [_truncated(Z, _UNRESOLVED * distance) for Z in blocks]
    simplest = _assemble(bases, _solve(simpler, R, max_iterations), sigma)
    reached, moved = min(
        ((float(relative_gradient(point, goal)), point) for point in (simplest, moved)),
        key=lambda found: max(found[0], _ROUNDING),
    )
    if not reached <= _ROUNDING:
        raise ArithmeticError(
            f"weights{where} could not be refined in {max_iterations} iterations: the relative gradient is {start:.1e} "
            f"at the start and still {reached:.1e} at the end, with gauges of condition "
            f"{max(map(np.linalg.cond, bases)):.1e}"
        )
    return tuple(unit * W for W in moved)


def _learned(W: Floats, modes: Spectrum) -> tuple[Floats, Floats, Floats]:
    """The learned modes of a nearly critical product; of a level that is learned in part, the directions learned."""
    U, sigma, V = [np.zeros((len(W), 0))], [np.zeros(0)], [np.zeros((W.shape[1], 0))]
    for level in modes.levels:
        outputs, values, inputs = modes.U[:, level], modes.sigma[level] / modes.sigma[0], modes.V[:, level]
        share = outputs.T @ W @ inputs / values
        count = round(float(np.trace(share)))
        if not 0 < count <= len(level) or abs(np.trace(share) - count) > 0.25:
            continue
        if count < len(level):
            _, E = np.linalg.eigh(share + share.T)
            outputs, values, inputs = outputs @ E[:, -count:], values[:count], inputs @ E[:, -count:]
        U.append(outputs)
        sigma.append(values)
        V.append(inputs)
    return np.hstack(U), np.concatenate(sigma), np.hstack(V)


def _normal_form(layers: Weights, U: Floats, sigma: Floats, V: Floats) -> tuple[list[Floats], list[Floats]]:
    """Bases B_i = [W_i ... W_1 V diag(sigma^(-i/h)), null space of U' W_{>i}] and the blocks Z_i in them.

    At the input and the output the bases are orthonormal, [V, complement] and [U, complement].
    """
    h, r = len(layers), len(sigma)
    suffixes = [U.T]
    for W in reversed(layers[1:]):
        suffixes.insert(0, suffixes[0] @ W)
    bases = [np.hstack([V, null_space(V.T)])]
    carried = V
    for i, (W, above) in enumerate(zip(layers[:-1], suffixes, strict=False), start=1):
        carried = W @ carried
        null = np.linalg.svd(above)[2][r:].T
        bases.append(np.hstack([carried * sigma ** (-i / h), null]))
    bases.append(np.hstack([U, null_space(U.T)]))
    blocks = [
        np.linalg.solve(after, W @ before)[r:, r:]
        for W, before, after in zip(layers, bases[:-1], bases[1:], strict=True)
    ]
    return bases, blocks


def _assemble(bases: list[Floats], blocks: list[Floats], sigma: Floats) -> Weights:
    """B_i blockdiag(diag(sigma^(1/h)), Z_i) B_{i-1}^(-1)."""
    h, r = len(blocks), len(sigma)
    layers = []
    for Z, before, after in zip(blocks, bases[:-1], bases[1:], strict=True):
        block = np.zeros((len(after), len(before)))
        block[range(r), range(r)] = sigma ** (1 / h)
        block[r:, r:] = Z
        layers.append(after @ np.linalg.solve(before.T, block.T).T)
    return tuple(layers)


def _truncated(Z: Floats, threshold: float) -> Floats:
    """Z without its singular values up to a threshold."""
    U, values, Vt = np.linalg.svd(Z, full_matrices=False)
    return np.asarray((U * np.where(values > threshold, values, 0)) @ Vt)


def _solve(blocks: list[Floats], R: Floats, max_iterations: int) -> list[Floats]:
    """Approach Z with F(Z) = 0 near the given one, as far as the iteration goes."""
    if not min(Z.size for Z in blocks):
        return blocks  # through a layer without residual part nothing is seen
    net = Network((R.shape[1], *(len(Z) for Z in blocks)))
    loss = Quadratic(R)
    multiples = np.array([0.125, 0.25, 0.5, *range(1, 2 * net.depth)])
    z = net.pack(blocks)
    size = float(_gradient_norm(net, z, loss))
    for _ in range(max_iterations):
        if size < _VANISHED:
            break
        g = -net.pack(rhs(net.unpack(z), loss))
        values, Q = np.linalg.eigh(hessian.matrix(net.unpack(z), loss))
        damped = values / (values**2 + np.square(size * _DAMPINGS)[:, None])
        steps = -(damped * (Q.T @ g)) @ Q.T
        trials = (z + multiples[:, None, None] * steps).reshape(-1, len(z))
        sizes = _gradient_norm(net, trials, loss)
        best = int(np.argmin(sizes))
        if sizes[best] >= size:
            break
        moved = float(np.linalg.norm(trials[best] - z))
        z, size = trials[best], float(sizes[best])
        if moved <= 1e-15 * max(1.0, float(np.linalg.norm(z))):
            break
    return list(net.unpack(z))


def _gradient_norm(net: Network, z: Floats, loss: Loss) -> Floats:
    return np.asarray(np.linalg.norm(net.pack(rhs(net.unpack(z), loss)), axis=-1))
