"""What the trajectories of a cell descend: the loss with its target, from the scan file, data files and its seed."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln import inits
from fastdln.linalg import reproducible
from fastdln.losses import (
    Exponential,
    Huber,
    Logistic,
    Loss,
    Masked,
    Power,
    PseudoHuber,
    Quadratic,
    Regression,
    Sensing,
    SoftmaxCrossEntropy,
)
from fastdln.network import Network, Weights
from fastdln.resources import require_memory
from fastdln.scan import data, kinds
from fastdln.scan.plan import GridPoint
from fastdln.scan.spec import SpecError

__all__ = ["Landscape"]

Files = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Landscape:
    """The loss of one point of the grid.

    Parameters
    ----------
    network : Network
        The network.
    point : GridPoint
        What the scan file says there.
    seed : int
        The seed of the scan.
    folder : Path
        The folder of the scan file.
    files : tuple of pairs of str
        The SHA-256 of each data file of the scan, by its name.
    """

    network: Network
    point: GridPoint
    seed: int
    folder: Path
    files: Files

    def loss(self, first: int, size: int) -> Loss:
        """Return the loss of the trajectories first, ..., first + size - 1.

        Parameters
        ----------
        first : int
            The index of the first trajectory.
        size : int
            Their number.

        Returns
        -------
        Loss
            One target, or `size` of them.
        """
        target, loss = self.point.target, self.point.loss
        if isinstance(loss, kinds.Sampled):
            return _sampled(target, loss, self.network.widths[-1], self.folder, self.files)
        whole = self._whole(target, first, size)
        if isinstance(loss, kinds.Squared):
            return whole
        if not isinstance(whole, Quadratic):
            raise SpecError('target.form = "regression" says what the loss is: leave [loss] out, or the form')
        match loss:
            case kinds.Masked():
                return Masked(whole.target, self._mask(loss))
            case kinds.Sensing():
                return self._sensing(loss, whole)
            case kinds.Power():
                return Power(whole.target, loss.p)
            case kinds.Huber():
                return Huber(whole.target, loss.delta)
            case kinds.PseudoHuber():
                return PseudoHuber(whole.target, loss.delta)
            case _:
                raise AssertionError(f"no loss of the kind {type(loss).__name__}")

    def _whole(self, target: kinds.Strict, first: int, size: int) -> Loss:
        """The quadratic loss with the target, or that of the data as they are."""
        shape = (self.network.widths[-1], self.network.widths[0])
        match target:
            case kinds.SingularValues():
                return Quadratic.from_singular_values(target.values, shape, rng=target.rng)
            case kinds.Identity():
                return Quadratic(target.scale * np.eye(*shape))
            case kinds.Data():
                return _data_loss(target, self.folder, self.files)
            case kinds.Random():
                # A target with entries of deviation scale/sqrt(d_0) is a Gaussian network of one layer.
                teacher = Network((shape[1], shape[0]))
                stream = np.random.SeedSequence(self.seed, spawn_key=(self.point.index, 1))
                several = {} if target.per == "cell" else {"size": size, "first": first}
                if target.rank is None:
                    return Quadratic(*inits.gaussian(teacher, target.scale, rng=stream, **several))
                if target.rank > min(shape):
                    raise SpecError(f"target.rank = {target.rank}: the target has min(d_0, d_h) = {min(shape)}")
                teacher = Network((shape[1], target.rank, shape[0]))
                return _product(target.scale, inits.gaussian(teacher, 1.0, rng=stream, **several))
            case _:
                raise AssertionError(f"no target of the kind {type(target).__name__}")

    def _mask(self, loss: kinds.Masked) -> NDArray[Any]:
        """Which entries of the target are seen."""
        if (loss.path is None) == (loss.observed is None):
            raise SpecError("loss: of the keys observed and path a masked loss has one")
        if loss.observed is None:
            return _mask_of(loss, self.folder, self.files)
        shape = (self.network.widths[-1], self.network.widths[0])
        size, share = shape[0] * shape[1], loss.observed
        count = share if isinstance(share, int) else max(1, round(share * size))
        if count > size:
            raise SpecError(f"loss.observed = {count}: the target has {size} entries")
        mask = np.zeros(size, bool)
        mask[self._drawn().permutation(size)[:count]] = True
        return mask.reshape(shape)

    def _sensing(self, loss: kinds.Sensing, whole: Quadratic) -> Sensing:
        """The loss of measurements of the target."""
        if (loss.path is None) == (loss.measurements is None):
            raise SpecError("loss: of the keys measurements and path a sensing loss has one")
        if loss.measurements is None:
            A, y = _measurements_of(loss, self.folder, self.files)
        else:
            shape = (loss.measurements, *whole.shape)
            require_memory(16 * math.prod(shape), f"{loss.measurements} measurements", "take fewer")
            A, y = self._drawn().standard_normal(shape), None
        if y is not None:
            return Sensing(A, y)
        if whole.batch_shape:
            raise SpecError('loss.kind = "sensing" measures one target: target.per = "cell" draws one')
        return _measured(A, whole.target)

    def _drawn(self) -> np.random.Generator:
        """What the loss of the cell is drawn from."""
        return np.random.Generator(np.random.Philox(np.random.SeedSequence(self.seed, spawn_key=(self.point.index, 2))))


@lru_cache(maxsize=4)
def _data_loss(target: kinds.Data, folder: Path, files: Files) -> Loss:
    if target.form is None:
        raise SpecError('target.form is missing: expected "whitened", "correlation" or "regression"')
    X, Y = _data(target, folder, files)
    if target.form == "regression":
        return Regression(X, Y)
    return Quadratic.from_data(X, Y, whiten=target.form == "whitened")


@lru_cache(maxsize=4)
def _sampled(target: kinds.Strict, loss: kinds.Sampled, n_outputs: int, folder: Path, files: Files) -> Loss:
    if not isinstance(target, kinds.Data) or target.form is not None:
        raise SpecError('a loss of data takes [target] kind = "data" without form')
    X, Y = _data(target, folder, files)
    match loss:
        case kinds.MeanSquare():
            return Regression(X, Y)
        case kinds.Logistic():
            return Logistic(X, Y)
        case kinds.Exponential():
            return Exponential(X, Y)
        case _:
            if len(Y) != 1:
                raise SpecError(f"target.Y has {len(Y)} rows: expected one, of labels")
            return SoftmaxCrossEntropy(X, Y[0], n_classes=n_outputs)


def _data(target: kinds.Data, folder: Path, files: Files) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    # A name may come to mean another file from one scan to the next, and while one runs: what is kept is kept by its
    # fingerprint, and what is read must have it.
    X, Y = data.load(target, folder)
    data.check_unchanged(target, folder, files)
    return X, Y


@lru_cache(maxsize=4)
def _mask_of(loss: kinds.Masked, folder: Path, files: Files) -> NDArray[Any]:
    mask = data.load_mask(loss, folder)
    data.check_unchanged(loss, folder, files)
    return mask


@lru_cache(maxsize=4)
def _measurements_of(loss: kinds.Sensing, folder: Path, files: Files) -> tuple[NDArray[Any], NDArray[Any] | None]:
    measurements = data.load_measurements(loss, folder)
    data.check_unchanged(loss, folder, files)
    return measurements


@reproducible
def _product(scale: float, weights: Weights) -> Quadratic:
    """A target of low rank."""
    return Quadratic(scale * (weights[1] @ weights[0]))


@reproducible
def _measured(A: NDArray[Any], target: NDArray[np.float64]) -> Sensing:
    """What matrices measure of a target, if they fit to it."""
    if A.ndim != 3 or A.shape[1:] != target.shape or A.dtype.kind not in "fiu":
        d_h, d_0 = target.shape
        raise SpecError(f"loss.path: A has shape {A.shape} and dtype {A.dtype}; expected numbers, (m, {d_h}, {d_0})")
    return Sensing(A, A.reshape(len(A), -1) @ target.ravel())
