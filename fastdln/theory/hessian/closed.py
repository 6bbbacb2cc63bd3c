"""Spectra of the Hessian in closed form, at balanced minima and canonical critical points."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from fastdln.checked import checked
from fastdln.linalg import Floats
from fastdln.losses import Loss
from fastdln.network import Network
from fastdln.theory.learned import read_learned
from fastdln.theory.whitening import one_target

__all__ = ["canonical_spectrum", "minimum_spectrum"]


@checked
def minimum_spectrum(net: Network, loss: Loss) -> Floats:
    """List the eigenvalues of the Hessian at the balanced global minima.

    If the rank of the target is at most r_max they are, with the singular values sigma padded by zeros,

        sum_{i=1}^h sigma_j^(2(h-i)/h) sigma_k^(2(i-1)/h),    j <= d_h, k <= d_0    (x^0 = 1, also for x = 0),

    and zeros; the largest, h sigma_1^(2-2/h), is the least that any global minimum has. A target of larger rank has
    the spectrum of `canonical_spectrum` with the r_max leading modes learned, whichever of tied modes are.

    Parameters
    ----------
    net : Network
        The network.
    loss : Loss
        The loss, of whitened data, with one target.

    Returns
    -------
    ndarray, shape (N,)
        The eigenvalues with their multiplicities, the least first.

    Raises
    ------
    TypeError
        If the data are not whitened.
    ValueError
        If the loss has several targets, or does not fit the network.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> minimum_spectrum(Network((1, 2, 1)), Quadratic([[4.0]]))
    array([0., 0., 0., 8.])
    """
    sigma = _whitened_sigma(net, loss, "the spectrum at a balanced minimum")
    return canonical_spectrum(net, loss, range(min(net.rank, _rank(sigma))))


@checked
def canonical_spectrum(net: Network, loss: Loss, learned: Iterable[int]) -> Floats:
    """List the eigenvalues of the Hessian at the canonical critical points with given learned modes.

    A canonical critical point carries the singular value s_k = sigma_k^(1/h) of each learned mode k through all
    layers, and is zero otherwise: it is the balanced critical point. With S the learned modes and Q all others of the
    min(d_0, d_h) modes, those with sigma = 0 included,

        sum_{i=1}^h s_j^(2(h-i)) s_k^(2(i-1))    j, k in S;
        s_k^(h-2) (sigma_k +- sigma_q)           k in S, q in Q;
        s_k^(2h-2)                               k in S, with multiplicity |d_0 - d_h|;
        +- sigma_q                               q in Q, with multiplicity d_1 - |S|, if h = 2;

    all others are 0. Orthogonal gauges leave all of this unchanged (survey, arXiv 2511.10362, section on the Hessian).

    Parameters
    ----------
    net : Network
        The network. With one layer H is the identity, and its one critical point has learned all modes with sigma > 0.
    loss : Loss
        The loss, of whitened data, with one target.
    learned : iterable of int
        The learned modes, 0-based; at most r_max, all with sigma > 0.

    Returns
    -------
    ndarray, shape (N,)
        The eigenvalues with their multiplicities, the least first.

    Raises
    ------
    TypeError
        If the data are not whitened, or a mode is not an integer.
    ValueError
        If the loss has several targets or does not fit the network, or there is no critical point with these modes.

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> canonical_spectrum(Network((2, 2, 2)), Quadratic([[3.0, 0.0], [0.0, 1.0]]), [0])
    array([-1.,  0.,  0.,  0.,  1.,  2.,  4.,  6.])
    """
    sigma = _whitened_sigma(net, loss, "the spectrum at a canonical critical point")
    h = net.depth
    modes = list(read_learned(learned, net, len(sigma), _rank(sigma)))
    if h == 1:
        return np.ones(net.n_parameters)
    others = [q for q in range(len(sigma)) if q not in modes]
    s, rest = sigma[modes] ** (1 / h), sigma[others]
    both = sum(s[:, None] ** (2 * (h - i)) * s ** (2 * (i - 1)) for i in range(1, h + 1))
    exchanged = s[:, None] ** (h - 2) * (sigma[modes][:, None] + np.stack([rest, -rest])[:, None])
    ends = np.repeat(s ** (2 * h - 2), abs(net.widths[0] - net.widths[-1]))
    origin = np.repeat(np.stack([rest, -rest]), net.widths[1] - len(modes) if h == 2 else 0)
    found = np.concatenate([np.ravel(part) for part in (both, exchanged, ends, origin)])
    return np.sort(np.concatenate([found, np.zeros(net.n_parameters - len(found))]))


def _whitened_sigma(net: Network, loss: Loss, what: str) -> Floats:
    """The singular values of the target of a loss of whitened data that fits the network."""
    form = one_target(loss, what)
    loss.check_product((net.widths[-1], net.widths[0]))
    if form.input_gram is not None:
        raise TypeError(
            f"{what} is in closed form for whitened data only: use Quadratic.from_data(X, Y), or the eigenvalues of "
            "hessian.matrix"
        )
    sigma = form.modes.sigma
    return np.where(np.arange(len(sigma)) < form.target_rank, sigma, 0.0)


def _rank(sigma: Floats) -> int:
    return int(np.count_nonzero(sigma))
