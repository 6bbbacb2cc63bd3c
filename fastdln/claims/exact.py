"""Two layers, and the product of balanced layers of any depth, in closed form (T13)."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from fastdln import inits
from fastdln.claims.instances import distinct_values, networks, target, trajectory, weights
from fastdln.claims.registry import claim
from fastdln.field import product, rhs
from fastdln.linalg import Floats, transpose
from fastdln.losses import Quadratic
from fastdln.network import Network, Weights
from fastdln.theory import exact


@claim(
    "two-layers-by-a-riccati-equation",
    "T13",
    statement="For lambda-balanced layers G = Z Z', Z = [W_1'; W_2], obeys dG/dt = F G + G F - G^2 - (lambda/2)(J G "
    "+ G J), whose solution is known at any time.",
    hypotheses="two layers, C = lambda I, whitened data",
    instances="12 networks of any widths, lambda = 0, and 4 square ones, lambda > 0: the equation by the layers' "
    "own; G at t = 0.1, 1, 10 against flows with rtol 1e-10",
    tolerance=1e-6,
)
def _riccati(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 12, depths=(2, 2)):
        yield from _off_riccati(inits.balanced(net, rng=rng), target(rng, net), 0.0)
    for _ in range(4):
        net, shift = Network((3, 3, 3)), rng.uniform(0.1, 1)
        yield from _off_riccati(inits.lambda_balanced(net, [shift], rng=rng), target(rng, net), shift)


@_riccati.outside("a gaussian start of a 3-3-3 network, lambda the mean eigenvalue of C")
def _(rng: np.random.Generator) -> float:
    net = Network((3, 3, 3))
    W1, W2 = weights(rng, net)
    return _off_equation((W1, W2), target(rng, net), float(np.trace(W2.T @ W2 - W1 @ W1.T) / 3))


def _off_riccati(drawn: Weights, loss: Quadratic, shift: float) -> Iterator[float]:
    yield _off_equation(drawn, loss, shift)
    t = np.array([0.0, 0.1, 1.0, 10.0])
    W1, W2 = trajectory(drawn, loss, t)
    Z = np.concatenate([transpose(W1), W2], axis=-2)
    yield float(np.abs(exact.two_layer(t, drawn, loss).gram - Z @ transpose(Z)).max())


def _off_equation(drawn: Weights, loss: Quadratic, shift: float) -> float:
    """dG/dt by the layers' own equations less the Riccati equation."""
    (W1, W2), (V1, V2) = drawn, rhs(drawn, loss)
    d_2, d_0 = loss.shape
    Z, V = np.concatenate([W1.T, W2]), np.concatenate([V1.T, V2])
    G, J = Z @ Z.T, np.diag([1.0] * d_0 + [-1.0] * d_2)
    F = np.block([[np.zeros((d_0, d_0)), loss.target.T], [loss.target, np.zeros((d_2, d_2))]])
    riccati = F @ G + G @ F - G @ G - shift / 2 * (J @ G + G @ J)
    return float(np.abs(V @ Z.T + Z @ V.T - riccati).max())


@claim(
    "two-layers-at-long-times",
    "T13",
    statement="The closed form of two layers neither overflows nor drifts: it ends in the best approximation of rank "
    "r_max.",
    hypotheses="balanced, of positive overlap with every mode to be learned",
    instances="10 networks of depth 2 at t = 2e3 and 1e9; entries of the difference",
    tolerance=1e-10,
)
def _long(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 10, depths=(2, 2)):
        loss = target(rng, net)
        drawn = inits.decoupled(net, loss, rng.uniform(0.01, 0.5, net.rank), rng=rng)
        U, sigma, V = (a[..., : net.rank] for a in loss.modes)
        yield np.abs(exact.two_layer([2e3, 1e9], drawn, loss).product - (U * sigma) @ V.T).max()


def _power(W: Floats, exponent: float) -> Floats:
    """(W W')^exponent, the identity for the exponent 0; rounding in the null space is not raised to a fraction."""
    U, s, _ = np.linalg.svd(W, full_matrices=False)
    s[s <= 1e-13 * s[0]] = 0
    return np.asarray((U * s ** (2 * exponent)) @ U.T) if exponent else np.eye(len(W))


def _velocity(drawn: Weights, loss: Quadratic) -> Floats:
    """dW/dt of the product, by the flow of the layers."""
    step = 1e-30j
    moved = [W + step * V for W, V in zip(drawn, rhs(drawn, loss), strict=True)]
    W = moved[0]
    for layer in moved[1:]:
        W = layer @ W
    return W.imag / step.imag


@claim(
    "product-of-balanced-layers",
    "T13",
    statement="dW/dt = sum_j (W W')^((h-j)/h) (Sigma - W) (W' W)^((j-1)/h), with the identity for the power 0, "
    "whatever the hidden widths.",
    hypotheses="0-balanced layers",
    instances="20 networks of depth 1 to 4; dW/dt by the layers' own equations, entries of the difference; the "
    "product at t = 0.3 and 3 for 5 of them against flows with rtol 1e-10",
    tolerance=1e-8,
)
def _end_to_end(rng: np.random.Generator) -> Iterator[float]:
    for k, net in enumerate(networks(rng, 20, depths=(1, 4))):
        drawn, loss = inits.balanced(net, rng=rng), target(rng, net)
        yield _off_product(drawn, loss)
        if k < 5:
            t = np.array([0.3, 3.0])
            path = product(trajectory(drawn, loss, t))
            yield np.abs(exact.end_to_end(t, product(drawn), loss, net.depth) - path).max()


@_end_to_end.outside("gaussian layers of a 3-4-3 network")
def _(rng: np.random.Generator) -> float:
    net = Network((3, 4, 3))
    return _off_product(weights(rng, net), target(rng, net))


def _off_product(drawn: Weights, loss: Quadratic) -> float:
    W, h = product(drawn), len(drawn)
    R = loss.target - W
    formula = sum(_power(W, (h - j) / h) @ R @ _power(W.T, (j - 1) / h) for j in range(1, h + 1))
    return float(np.abs(_velocity(drawn, loss) - formula).max())


@claim(
    "product-moves-in-its-own-modes",
    "T13",
    statement="In the singular vectors of W, entry (j, k) of Sigma - W is multiplied by sum_i s_j^(2(h-i)/h) "
    "s_k^(2(i-1)/h): singular values move like h s_j^(2-2/h) u_j' (Sigma - W) v_j.",
    hypotheses="0-balanced layers",
    instances="20 networks of depth 1 to 4; entries of U' dW/dt V, and derivatives of the singular values by "
    "differences",
    tolerance=1e-6,
)
def _entries(rng: np.random.Generator) -> Iterator[float]:
    for net in networks(rng, 20, depths=(1, 4)):
        drawn, loss, h = inits.balanced(net, rng=rng), target(rng, net), net.depth
        W, velocity = product(drawn), _velocity(drawn, loss)
        U, s, Vt = np.linalg.svd(W)
        R = U.T @ (loss.target - W) @ Vt.T
        # Below r_max singular values are rounding, which a fractional power would raise.
        roots = [np.pad(s[: net.rank], (0, d - net.rank)) ** (1 / h) for d in W.shape]
        factors = sum(roots[0][:, None] ** (2 * (h - i)) * roots[1] ** (2 * (i - 1)) for i in range(1, h + 1))
        yield np.abs(U.T @ velocity @ Vt.T - factors * R).max()
        r = net.rank
        step = 1e-6 * s[r - 1] / np.linalg.norm(velocity)
        ahead, behind = (np.linalg.svd(W + sign * step * velocity, compute_uv=False)[:r] for sign in (1, -1))
        apart = np.abs(np.subtract.outer(s[:r], s[:r]) + np.eye(r)).min()
        if apart > 1e-3:
            speed = h * s[:r] ** (2 - 2 / h) * np.diag(R)[:r]
            yield np.abs((ahead - behind) / (2 * step) - speed).max() * min(1.0, s[r - 1])


@claim(
    "product-turns-its-singular-vectors",
    "T13",
    statement="U' dU/dt = F o (B S + S B') and V' dV/dt = F o (S B + B' S) with B = U' (Sigma - W) V, S the singular "
    "values and F_jk = 1/(s_k^(2/h) - s_j^(2/h)), 0 for j = k.",
    hypotheses="0-balanced layers, square W with distinct singular values, none of them 0",
    instances="12 square networks of depth 1 to 4; derivatives of the singular vectors by differences",
    tolerance=1e-5,
)
def _vectors(rng: np.random.Generator) -> Iterator[float]:
    for h in (1, 2, 3, 4) * 3:
        net = Network((3,) * (h + 1))
        loss = target(rng, net)
        drawn = inits.decoupled(net, target(rng, net), distinct_values(rng, 3) ** (1 / h), rng=rng)
        W, velocity = product(drawn), _velocity(drawn, loss)
        U, s, Vt = np.linalg.svd(W)
        B = U.T @ (loss.target - W) @ Vt.T
        root = s ** (2 / h)
        F = 1 / (root - root[:, None] + np.eye(3)) - np.eye(3)
        step = 1e-6
        turned = [np.linalg.svd(W + sign * step * velocity) for sign in (1, -1)]
        # the signs of singular vectors are free
        ahead, behind = ((X * np.sign(np.diag(U.T @ X)), Y.T * np.sign(np.diag(U.T @ X))) for X, _, Y in turned)
        yield np.abs(U.T @ (ahead[0] - behind[0]) / (2 * step) - F * (B * s + s[:, None] * B.T)).max()
        yield np.abs(Vt @ (ahead[1] - behind[1]) / (2 * step) - F * (s[:, None] * B + B.T * s)).max()


@claim(
    "product-of-lambda-balanced-layers",
    "T13",
    statement="If C_i = lambda_i I, entry (j, k) of U' (Sigma - W) V is multiplied by sum_i (prod_{l>i} "
    "p_lj)(prod_{l<i} p_lk), p_lj the squared j-th singular value of layer l.",
    hypotheses="square lambda-balanced layers",
    instances="12 square networks of depth 2 to 4, lambda_i between -0.2 and 0.5; entries of U' dW/dt V",
    tolerance=1e-8,
)
def _lambda_entries(rng: np.random.Generator) -> Iterator[float]:
    for h in (2, 3, 4) * 4:
        net = Network((3,) * (h + 1))
        yield _off_entries(inits.lambda_balanced(net, rng.uniform(0, 0.5, h - 1), rng=rng), target(rng, net))


@_lambda_entries.outside("gaussian layers of a 3-3-3 network")
def _(rng: np.random.Generator) -> float:
    net = Network((3, 3, 3))
    return _off_entries(weights(rng, net), target(rng, net))


def _off_entries(drawn: Weights, loss: Quadratic) -> float:
    W = product(drawn)
    U, _, Vt = np.linalg.svd(W)
    p = np.array([np.linalg.svd(layer, compute_uv=False) ** 2 for layer in drawn])
    factors = sum(np.outer(p[i + 1 :].prod(axis=0), p[:i].prod(axis=0)) for i in range(len(drawn)))
    return float(np.abs(U.T @ _velocity(drawn, loss) @ Vt.T - factors * (U.T @ (loss.target - W) @ Vt.T)).max())
