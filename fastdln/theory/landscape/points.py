"""Critical points with any learned modes and any residual structure.

In each hidden layer |S| coordinates carry diag(sigma_S^(1/h)), and in the remaining ones *chains* may run from layer a
to layer b. The point is critical if these add nothing to the product, and if the residual sees none of them:
W_{<i} R' W_{>i} = 0 for every layer i (survey, arXiv 2511.10362, section on critical points).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import SupportsIndex

import numpy as np
from scipy.linalg import null_space

from fastdln.checked import checked
from fastdln.linalg import Floats, reproducible
from fastdln.losses import Loss
from fastdln.network import Network, Weights
from fastdln.theory.landscape.chains import Chain, ends, read_chains
from fastdln.theory.landscape.spectrum import RTOL, Spectrum, open_landscape
from fastdln.theory.learned import read_learned
from fastdln.theory.quotient import random_gauges, transform

__all__ = ["critical_point"]


@checked
@reproducible
def critical_point(
    net: Network,
    loss: Loss,
    learned: Iterable[SupportsIndex],
    chains: Sequence[tuple[int, int] | tuple[int, int, int]] = (),
    rng: np.random.Generator | np.random.SeedSequence | int | None = None,
    condition: float = 10.0,
) -> Weights:
    """Build a critical point that has learned given modes, with given chains in the residual blocks.

    The product is W = U_S diag(sigma_S) V_S'. A chain from layer a to layer b is a path through one coordinate of each
    of these layers, with the weight ||Sigma||_2^(1/h). From the input it starts in the direction v_q of an unlearned
    mode, or in one that the residual does not see; towards the output it ends likewise in u_q. It cannot run from input
    to output, where it would add to W. One from the input to layer b and one from layer a to the output cannot
    have the same mode if a <= b + 1, because the residual would connect them to a nonzero gradient; for the same reason
    those from the input to layer h-1 and from layer 1 to the output cannot have an unlearned mode with sigma > 0.

    Parameters
    ----------
    net : Network
        The network. One layer has one critical point, which has learned all modes.
    loss : Loss
        The loss, with one target; for unwhitened data the modes are those of the whitened target.
    learned : iterable of int
        The modes S, 0-based, at most r_max of them, none with sigma = 0. Of modes with equal sigma, those of
        `loss.modes` are meant.
    chains : sequence of (a, b) or (a, b, q)
        The chains, 0 <= a < b <= h; at most d_k - |S| may pass layer k. With q given, the end at the input or output
        is that of the unlearned mode q. Otherwise the ends are in the leading unlearned modes with sigma > 0 that no
        chain with a given mode has, in the order of the chains; ends for which there is none are out of sight of the
        residual, and share a mode only where there is no such direction either.
    rng : Generator, SeedSequence or int, optional
        Draws random gauges for the hidden layers; by default modes and chains run along coordinates.
    condition : float
        The largest condition number of the gauges, as in `quotient.random_gauges`.

    Returns
    -------
    tuple of h ndarrays, shape (d_i, d_{i-1})
        The weights, critical to rounding.

    Raises
    ------
    TypeError
        If the inputs of the loss do not span R^{d_0}, or an argument is of the wrong kind.
    ValueError
        If the modes cannot be learned, or a chain does not fit the widths or would make the point not critical.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> loss = Quadratic.from_singular_values((8, 1), shape=(2, 2))
    >>> critical_point(Network((2, 2, 2, 2)), loss, learned=(0,), chains=((1, 2),))
    (array([[2., 0.],
           [0., 0.]]), array([[2., 0.],
           [0., 2.]]), array([[2., 0.],
           [0., 0.]]))
    """
    white, modes = open_landscape(net, loss, "critical_point", RTOL)
    S = read_learned(learned, net, len(modes.sigma), modes.rank)
    paths = read_chains(chains, net, S, modes)
    weights = _along_coordinates(net, modes, S, paths)
    if rng is not None:
        weights = transform(weights, random_gauges(net, rng, condition))
    return white.back(weights)


def _along_coordinates(net: Network, modes: Spectrum, S: tuple[int, ...], paths: Sequence[Chain]) -> Weights:
    """Learned modes in the first coordinates of each hidden layer, chains in the following ones."""
    r, h = len(S), net.depth
    bases = [_basis(modes.V, S), *(np.eye(d) for d in net.widths[1:-1]), _basis(modes.U, S)]
    weight = modes.sigma[0] ** (1 / h) if modes.rank else 1.0
    blocks = [np.zeros(shape) for shape in net.shapes]
    for block in blocks:
        block[range(r), range(r)] = modes.sigma[list(S)] ** (1 / h)
    next_free = [r] * (h + 1)
    first, last = ends(paths, net, S, modes)
    for k, chain in enumerate(paths):
        places = []
        for layer in range(chain.start, chain.stop + 1):
            if layer == 0:
                places.append(first[k])
            elif layer == h:
                places.append(last[k])
            else:
                places.append(next_free[layer])
                next_free[layer] += 1
        for block, column, row in zip(blocks[chain.start : chain.stop], places[:-1], places[1:], strict=True):
            block[row, column] = weight
    return tuple(above @ block @ below.T for above, block, below in zip(bases[1:], blocks, bases[:-1], strict=True))


def _basis(directions: Floats, S: tuple[int, ...]) -> Floats:
    """An orthonormal basis: the directions of the learned modes, of the unlearned ones, and of no mode."""
    unlearned = [j for j in range(directions.shape[1]) if j not in S]
    return np.hstack([directions[:, [*S, *unlearned]], null_space(directions.T)])
