"""How narrow every start of a network can be made."""

from __future__ import annotations

from fastdln.checked import checked
from fastdln.losses import Loss, quadratic_of
from fastdln.network import Network

__all__ = ["widths"]


@checked
def widths(net: Network, loss: Loss) -> tuple[int, ...]:
    """Bound the widths of the reduced network by those of the network alone.

    The bounds are the least numbers with

        b_0 = min(d_0, r + b_1),   b_i = min(d_i, b_{i-1} + b_{i+1}),   b_h = min(d_h, b_{h-1} + r),

    r = min(d_0, d_h); for unwhitened data b_0 = d_0.

    Parameters
    ----------
    net : Network
        The network.
    loss : Loss
        A loss of its products.

    Returns
    -------
    tuple of int
        b_0, ..., b_h: whatever the weights and the target, `reduce` gives no wider network.

    Examples
    --------
    >>> import numpy as np
    >>> from fastdln.losses import Quadratic
    >>> widths(Network((4, 64, 4, 64, 4)), Quadratic(np.eye(4)))
    (4, 8, 4, 8, 4)
    >>> widths(Network((3, 30, 30, 2)), Quadratic(np.ones((2, 3))))
    (3, 30, 30, 2)
    """
    d = net.widths
    loss.check_product((d[-1], d[0]))
    rank = min(d[0], d[-1])
    bounds = [rank, *(0 for _ in d[1:-1]), rank]
    if quadratic_of(loss, "a reduction").input_gram is not None:
        bounds[0] = d[0]
    while True:
        around = [rank, *bounds, rank]
        larger = [max(b, min(d_i, around[i] + around[i + 2])) for i, (b, d_i) in enumerate(zip(bounds, d, strict=True))]
        if larger == bounds:
            return tuple(bounds)
        bounds = larger
