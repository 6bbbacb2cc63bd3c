"""The usual initial conditions: independent entries, orthogonal matrices, identities, points near another."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.inits.streams import Rng, batch_size, check_scale, draw, trajectories, unbatch
from fastdln.linalg import haar, reproducible, transpose
from fastdln.network import Network, Weights, check_weights

__all__ = ["gaussian", "identity", "near", "orthogonal", "uniform"]


@checked
def gaussian(net: Network, scale: float = 1.0, *, size: int | None = None, rng: Rng = None, first: int = 0) -> Weights:
    """Draw independent normal entries.

    Parameters
    ----------
    net : Network
        The network.
    scale : float
        The standard deviation of an entry of W_i is scale / sqrt(d_{i-1}).
    size : int, optional
        The number of trajectories; None gives one network without a batch axis.
    rng : Generator, SeedSequence or int, optional
        The source of randomness.
    first : int
        The index of the first trajectory.

    Returns
    -------
    tuple of h ndarrays, shape (size, d_i, d_{i-1})
        The weights.

    Examples
    --------
    >>> W1, W2 = gaussian(Network((4, 3, 2)), scale=0.1, size=5, rng=0)
    >>> W1.shape, W2.shape
    ((5, 3, 4), (5, 2, 3))
    """
    check_scale("scale", scale)
    draws = draw(net.shapes, size, rng, first)
    return unbatch((scale / np.sqrt(G.shape[-1]) * G for G in draws), size)


@checked
def uniform(net: Network, scale: float = 1.0, *, size: int | None = None, rng: Rng = None, first: int = 0) -> Weights:
    """Draw independent entries, uniform in a symmetric interval.

    Parameters
    ----------
    net : Network
        The network.
    scale : float
        The standard deviation of an entry of W_i is scale / sqrt(d_{i-1}); the bound is sqrt(3) times that.
    size : int, optional
        The number of trajectories; None gives one network without a batch axis.
    rng : Generator, SeedSequence or int, optional
        The source of randomness.
    first : int
        The index of the first trajectory.

    Returns
    -------
    tuple of h ndarrays, shape (size, d_i, d_{i-1})
        The weights.

    Examples
    --------
    >>> W1, W2 = uniform(Network((3, 3, 3)), scale=0.5, rng=0)
    >>> bool(abs(W1).max() <= 0.5)
    True
    """
    check_scale("scale", scale)
    draws = draw(net.shapes, size, rng, first, np.random.Generator.random)
    return unbatch((scale * np.sqrt(3 / u.shape[-1]) * (2 * u - 1) for u in draws), size)


@checked
@reproducible
def orthogonal(net: Network, gain: float = 1.0, *, size: int | None = None, rng: Rng = None, first: int = 0) -> Weights:
    """Draw random matrices with orthonormal columns, or orthonormal rows where the layer narrows.

    Parameters
    ----------
    net : Network
        The network.
    gain : float
        The value of every singular value of every layer.
    size : int, optional
        The number of trajectories; None gives one network without a batch axis.
    rng : Generator, SeedSequence or int, optional
        The source of randomness.
    first : int
        The index of the first trajectory.

    Returns
    -------
    tuple of h ndarrays, shape (size, d_i, d_{i-1})
        The weights, uniform (Haar measure) among such matrices.

    Examples
    --------
    >>> (W1,) = orthogonal(Network((4, 2)), gain=3, rng=0)
    >>> np.allclose(W1 @ W1.T, 9 * np.eye(2))
    True
    """
    check_scale("gain", gain)
    draws = draw(net.shapes, size, rng, first)
    return unbatch(
        (gain * (haar(G) if G.shape[-2] >= G.shape[-1] else transpose(haar(transpose(G)))) for G in draws),
        size,
    )


@checked
def identity(net: Network, scale: float = 1.0, *, size: int | None = None, rng: Rng = None, first: int = 0) -> Weights:
    """Set every layer to a multiple of the identity, cut to the shape of the layer.

    Parameters
    ----------
    net : Network
        The network.
    scale : float
        The entries on the diagonals.
    size : int, optional
        The number of trajectories, all equal; None gives one network without a batch axis.
    rng : Generator, SeedSequence or int, optional
        Not used: nothing is random here.
    first : int
        Not used.

    Returns
    -------
    tuple of h ndarrays, shape (size, d_i, d_{i-1})
        The weights.

    Examples
    --------
    >>> identity(Network((2, 3)), scale=0.1)
    (array([[0.1, 0. ],
           [0. , 0.1],
           [0. , 0. ]]),)
    """
    check_scale("scale", scale)
    count = trajectories(size, first)
    return unbatch((np.tile(scale * np.eye(*shape), (count, 1, 1)) for shape in net.shapes), size)


@checked
@np.errstate(over="ignore", invalid="ignore")  # `unbatch` refuses what has overflowed
def near(
    weights: Sequence[ArrayLike], radius: float, *, size: int | None = None, rng: Rng = None, first: int = 0
) -> Weights:
    """Move away from given weights by a given distance, in a random direction.

    Parameters
    ----------
    weights : tuple of h arrays, shape (d_i, d_{i-1}) or (n, d_i, d_{i-1})
        Where to start from: one network, or one for each trajectory.
    radius : float
        The distance, in the Frobenius norm over all layers together; the direction is uniform on that sphere.
    size : int, optional
        The number of trajectories; None gives as many as `weights` holds.
    rng : Generator, SeedSequence or int, optional
        The source of randomness.
    first : int
        The index of the first trajectory.

    Returns
    -------
    tuple of h ndarrays, shape (size, d_i, d_{i-1})
        The weights.

    Examples
    --------
    >>> (W,) = near((np.eye(3),), radius=0.1, rng=0)
    >>> round(float(np.linalg.norm(W - np.eye(3))), 12)
    0.1
    """
    check_scale("radius", radius)
    net, centre = check_weights(weights)
    batch = batch_size("weights", centre[0].shape[:-2], size)
    (direction,) = draw([(net.n_parameters,)], batch, rng, first)
    direction /= np.linalg.norm(direction, axis=-1, keepdims=True)
    return unbatch(net.unpack(net.pack(centre, np.float64) + radius * direction), batch)
