"""The loss of a reduced network: the whole one, on products that live in subspaces."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NoReturn

import numpy as np

from fastdln.linalg import Floats, transpose
from fastdln.losses.base import Loss, quadratic_of
from fastdln.losses.form import Modes, QuadraticForm
from fastdln.losses.quadratic import QuadraticLoss

__all__ = ["Restricted"]


@dataclass(frozen=True, eq=False)
class _RestrictedForm(QuadraticForm):
    """A form whose modes and norm are those of another, in the coordinates of subspaces."""

    modes: Modes = field(kw_only=True)
    input_norm: float = field(kw_only=True)

    @property
    def n_modes(self) -> int:
        """The number of modes of the whole target."""
        return int(self.modes.sigma.shape[-1])


class Restricted(QuadraticLoss):
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
        form = quadratic_of(whole, "a reduced network")
        outer, inner = transpose(left), transpose(right)
        gram, root = (
            None if matrix is None else inner @ matrix @ right for matrix in (form.input_gram, form.input_root)
        )
        U, sigma, V = form.modes
        U, V = outer @ U, inner @ V
        restricted = _RestrictedForm(
            target=outer @ form.target @ right,
            cross=outer @ form.cross @ right,
            whitened=outer @ form.whitened @ right,
            input_gram=gram,
            input_root=root,
            floor=form.floor,
            data_rank=None if root is None else int(np.linalg.matrix_rank(root).min()),
            modes=Modes(U, np.broadcast_to(sigma, (*U.shape[:-2], sigma.shape[-1])), V),
            input_norm=form.input_norm,
        )
        super().__init__(restricted)

    def __getitem__(self, index: Any) -> NoReturn:
        """Refuse to select: targets are selected from the whole loss."""
        raise TypeError("targets are selected from the loss of the whole network, before it is reduced")
