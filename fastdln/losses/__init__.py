"""Losses of the product W = W_h ... W_1: see `fastdln.losses.base` for what they have in common."""

from fastdln.losses.base import Loss, check_loss, modes_of, quadratic_of, sampled_of
from fastdln.losses.completion import Masked, Sensing
from fastdln.losses.custom import Custom
from fastdln.losses.form import Modes, QuadraticForm
from fastdln.losses.labels import Exponential, Logistic, SoftmaxCrossEntropy
from fastdln.losses.quadratic import Quadratic
from fastdln.losses.regression import Regression
from fastdln.losses.robust import Huber, Power, PseudoHuber

__all__ = [
    "KINDS",
    "Custom",
    "Exponential",
    "Huber",
    "Logistic",
    "Loss",
    "Masked",
    "Modes",
    "Power",
    "PseudoHuber",
    "Quadratic",
    "QuadraticForm",
    "Regression",
    "Sensing",
    "SoftmaxCrossEntropy",
    "check_loss",
    "modes_of",
    "quadratic_of",
    "sampled_of",
]

_ALL: tuple[type[Loss], ...] = (
    *(Quadratic, Regression),
    *(Power, Huber, PseudoHuber),
    *(Logistic, Exponential, SoftmaxCrossEntropy),
    *(Masked, Sensing),
)
KINDS: dict[str, type[Loss]] = {kind.__name__: kind for kind in _ALL}
"""The losses that are made by users and saved, by name."""
