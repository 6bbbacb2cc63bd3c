"""Aligned weights: the right singular vectors of each layer are the left ones of the layer below.

    W_i = O_i diag(w_i) O_{i-1}',    O_i with r_max orthonormal columns.

They stay aligned along the flow if they are also balanced, or if O_0 and O_h are the modes of the target: the
flow is then decoupled into r_max systems of h scalar equations (A. Saxe, J. McClelland & S. Ganguli, ICLR
2014; survey, arXiv 2511.10362, section on decoupled dynamics).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from fastdln.checked import checked
from fastdln.inits.streams import Rng, batch_size, draw, trajectories, unbatch
from fastdln.linalg import Floats, haar, reproducible, transpose
from fastdln.losses import Loss, modes_of
from fastdln.network import Network, Weights

__all__ = ["aligned", "along", "decoupled"]


@checked
@reproducible
def aligned(
    net: Network, layer_values: ArrayLike, *, size: int | None = None, rng: Rng = None, first: int = 0
) -> Weights:
    """Set the singular values of every layer, and let adjacent layers share their singular vectors.

    Parameters
    ----------
    net : Network
        The network; r is its least width.
    layer_values : array_like, scalar or shape (r,) or (h, r)
        The values w_i on the diagonals, of any sign: the same for all layers and modes, the same for all
        layers, or each by itself.
    size : int, optional
        The number of trajectories; None gives one network without a batch axis.
    rng : Generator, SeedSequence or int, optional
        Draws random orthonormal frames O_0, ..., O_h; by default they are the coordinates.
    first : int
        The index of the first trajectory.

    Returns
    -------
    tuple of h ndarrays, shape (size, d_i, d_{i-1})
        The weights.

    Examples
    --------
    >>> aligned(Network((2, 2, 3)), (0.2, 0.1))[1]
    array([[0.2, 0. ],
           [0. , 0.1],
           [0. , 0. ]])
    """
    values = _layer_values(net, layer_values)
    return unbatch(along(_frames(net.widths, net.rank, size, rng, first), values), size)


@checked
@reproducible
def decoupled(
    net: Network,
    loss: Loss,
    layer_values: ArrayLike,
    *,
    size: int | None = None,
    rng: Rng = None,
    first: int = 0,
) -> Weights:
    """Align the layers with each other and with the leading modes of the target.

    With w_i the values of one mode in the layers, a quadratic loss moves each mode by itself,
    dw_i/dt = (prod_{k != i} w_k) (sigma - prod_k w_k).

    Parameters
    ----------
    net : Network
        The network; r is its least width.
    loss : Loss
        The loss whose modes are the outer frames; with n targets, each trajectory has its own.
    layer_values : array_like, scalar or shape (r,) or (h, r)
        The values w_i on the diagonals, of any sign: the same for all layers and modes, the same for all
        layers, or each by itself.
    size : int, optional
        The number of trajectories; None gives as many as the loss has targets.
    rng : Generator, SeedSequence or int, optional
        Draws random orthonormal frames for the hidden layers; by default they are the coordinates.
    first : int
        The index of the first trajectory.

    Returns
    -------
    tuple of h ndarrays, shape (size, d_i, d_{i-1})
        The weights.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> decoupled(Network((2, 1, 2)), Quadratic([[0.0, 2.0], [1.0, 0.0]]), 0.1)
    (array([[0. , 0.1]]), array([[0.1], [0. ]]))
    """
    values = _layer_values(net, layer_values)
    if loss.shape != (net.widths[-1], net.widths[0]):
        raise ValueError(
            f"the target of the loss has shape {loss.shape}; {net} expects {(net.widths[-1], net.widths[0])}"
        )
    batch = batch_size("loss", loss.batch_shape, size)
    count = trajectories(batch, first)
    modes = modes_of(loss, "decoupled")
    U, V = (np.broadcast_to(frame[..., : net.rank], (count, frame.shape[-2], net.rank)) for frame in (modes.U, modes.V))
    hidden = _frames(net.widths[1:-1], net.rank, batch, rng, first)
    return unbatch(along([V, *hidden, U], values), batch)


@np.errstate(over="ignore", invalid="ignore")  # `unbatch` refuses what has overflowed
def along(frames: Sequence[Floats], values: Sequence[Floats] | Floats) -> list[Floats]:
    """Join frames to layers: W_i = O_i diag(w_i) O_{i-1}'.

    Parameters
    ----------
    frames : sequence of h+1 ndarrays, shape (..., d_i, r)
        The frames O_0, ..., O_h.
    values : sequence of h ndarrays, shape (..., r)
        The diagonals w_1, ..., w_h.

    Returns
    -------
    list of h ndarrays, shape (..., d_i, d_{i-1})
        The layers.
    """
    return [
        (above * w[..., None, :]) @ transpose(below)
        for below, above, w in zip(frames[:-1], frames[1:], values, strict=True)
    ]


def _frames(widths: Sequence[int], r: int, size: int | None, rng: Rng, first: int) -> list[Floats]:
    if rng is not None:
        return [haar(G) for G in draw([(d, r) for d in widths], size, rng, first)]
    return [np.tile(np.eye(d, r), (trajectories(size, first), 1, 1)) for d in widths]


def _layer_values(net: Network, layer_values: ArrayLike) -> Floats:
    values = np.asarray(layer_values, dtype=np.float64)
    h, r = net.depth, net.rank
    if values.shape not in ((), (r,), (h, r)):
        raise ValueError(
            f"layer_values has shape {values.shape}; {net} expects a scalar, (r,) = ({r},) or (h, r) = ({h}, {r})"
        )
    if not np.isfinite(values).all():
        raise ValueError(f"layer_values must be finite, not {values.tolist()}")
    return np.broadcast_to(values, (h, r))
