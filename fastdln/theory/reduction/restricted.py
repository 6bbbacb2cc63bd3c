"""The loss of a reduced network: the whole one, on products that live in subspaces."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from fastdln.linalg import Floats, transpose
from fastdln.losses import Loss, Modes

__all__ = ["Restricted"]


class Restricted(Loss):
    """The loss of products ``left W right'`` as a function of W.

    Its modes are those of the whole loss in the coordinates of the subspaces, those of rounding among them: so
    strengths, and the times at which modes are learned, are those of the whole network.

    Parameters
    ----------
    whole : Loss
        The loss of the whole network.  Its row and column spaces lie in the subspaces, and that of ``right`` is
        invariant under its input Gram matrix.
    left : ndarray, shape (..., d_h, k_h)
        Orthonormal columns.
    right : ndarray, shape (..., d_0, k_0)
        Orthonormal columns.
    """

    def __init__(self, whole: Loss, left: Floats, right: Floats) -> None:
        outer, inner = transpose(left), transpose(right)
        gram, root = (
            None if matrix is None else inner @ matrix @ right for matrix in (whole.input_gram, whole.input_root)
        )
        super().__init__(
            target=outer @ whole.target @ right,
            cross=outer @ whole.cross @ right,
            whitened=outer @ whole.whitened @ right,
            input_gram=gram,
            input_root=root,
            floor=whole.floor,
            data_rank=None if root is None else int(np.linalg.matrix_rank(root).min()),
        )
        U, sigma, V = whole.modes
        U, V = outer @ U, inner @ V
        # what other losses compute from their arrays when it is asked for
        self.__dict__["modes"] = Modes(U, np.broadcast_to(sigma, (*U.shape[:-2], sigma.shape[-1])), V)
        self.__dict__["input_norm"] = whole.input_norm

    @property
    def n_modes(self) -> int:
        """The number of modes of the whole target."""
        return int(self.modes.sigma.shape[-1])

    def __getitem__(self, index: Any) -> NoReturn:
        """Refuse to select: targets are selected from the whole loss."""
        raise TypeError("targets are selected from the loss of the whole network, before it is reduced")
