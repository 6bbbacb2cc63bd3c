"""Losses of the product W = W_h ... W_1: see `fastdln.losses.base` for what they have in common."""

from fastdln.losses.base import Loss, check_loss, modes_of, quadratic_of
from fastdln.losses.form import Modes, QuadraticForm
from fastdln.losses.quadratic import Quadratic
from fastdln.losses.regression import Regression

__all__ = [
    "KINDS",
    "Loss",
    "Modes",
    "Quadratic",
    "QuadraticForm",
    "Regression",
    "check_loss",
    "modes_of",
    "quadratic_of",
]

KINDS: dict[str, type[Loss]] = {kind.__name__: kind for kind in (Quadratic, Regression)}
"""The losses that are made by users and saved, by name."""
