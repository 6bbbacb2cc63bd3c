"""From trajectories to what an itinerary is read off: times, strengths, the loss above its floor, and how it falls."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from fastdln.checked import checked
from fastdln.field import product
from fastdln.linalg import Floats
from fastdln.losses import Loss, modes_of, quadratic_of
from fastdln.theory.itinerary.modes import Modes
from fastdln.theory.whitening import whiten

if TYPE_CHECKING:
    from fastdln.results.trajectories import Trajectories

__all__ = ["Records", "read", "records"]

_CHUNK_BYTES = 1 << 20  # of strengths looked at together, with some ten temporaries of that size


@checked
def records(loss: Loss) -> tuple[str, ...]:
    """Name the observables that `fastdln.flow` must record for an itinerary.

    Parameters
    ----------
    loss : Loss
        The loss to be descended.

    Returns
    -------
    tuple of str
        For ``record``. An itinerary does without "grad_norm" and "learning_times", but is finer with them. For
        unwhitened inputs the critical points are those of the whitened target, whose strengths follow from "weights".

    Examples
    --------
    >>> from fastdln.losses import Quadratic
    >>> records(Quadratic([[1.0]]))
    ('loss', 'strengths', 'grad_norm', 'learning_times')
    """
    if quadratic_of(loss, "an itinerary").input_gram is None:
        return ("loss", "strengths", "grad_norm", "learning_times")
    return ("loss", "weights", "grad_norm")


@dataclass(frozen=True)
class Records:
    """What is known of some trajectories at the recorded times, all in whitened inputs."""

    t: Floats
    """Times, shape (n_t,)."""
    elapsed: Floats
    """Time since the start of the span, without sign, shape (n_t,)."""
    modes: Modes
    """The modes of the target, or of each target."""
    strengths: Floats
    """Modes first, shape (r, n, n_t); NaN after the end of a trajectory."""
    excess: Floats
    """The loss above the floor, shape (n, n_t)."""
    grad_norm: Floats | None
    """Shape (n, n_t)."""
    learning_times: Floats | None
    """From inside the steps, shape (r, n)."""
    descends: bool
    """Whether dL/dt = -||grad L||^2: of a flow that has neither weight decay nor learning rates of its own."""

    def pace(self) -> Floats:
        """|dL/d ln t| with t from the start of the span, shape (n, n_t).

        At the start itself, where log time has no unit, it is what the loss changes by until the next record.
        """
        with np.errstate(invalid="ignore", over="ignore"):
            if self.descends and self.grad_norm is not None:
                pace = self.elapsed * np.square(self.grad_norm)
            else:
                pace = self.elapsed * np.abs(_slope(self.elapsed, self.excess))
            if self.elapsed[0] == 0:
                pace[:, 0] = np.abs(self.excess[:, 1] - self.excess[:, 0]) if self.elapsed.size > 1 else np.nan
        return pace


def read(sol: Trajectories, loss: Loss | None) -> Iterator[tuple[slice, Records]]:
    """Check that an itinerary can be read off ``sol``; yield its trajectories, some at a time."""
    if not hasattr(sol, "loss_function"):
        raise TypeError(f"sol must be the Trajectories that fastdln.flow returns, not {type(sol).__name__}")
    own = sol.loss_function
    if loss is not None and loss is not own:
        records(loss)
        given, form = quadratic_of(loss, "an itinerary"), quadratic_of(own, "an itinerary")
        if given.floor != form.floor or not np.array_equal(given.cross, form.cross):
            raise ValueError("loss is not the one that was descended, whose modes the recorded strengths belong to")
    needed = records(own)
    for name in needed[:2]:
        if getattr(sol, name) is None:
            reason = "" if "weights" not in needed else " (strengths in whitened inputs follow from the weights)"
            raise ValueError(
                f'"{name}" was not recorded, and an itinerary is read off it{reason}: call flow(..., record={needed})'
            )
    if not sol.t.size:
        raise ValueError("nothing was recorded at any time: give flow the times t_eval")
    yield from _chunks(sol, own)


def _chunks(sol: Trajectories, loss: Loss) -> Iterator[tuple[slice, Records]]:
    form = quadratic_of(loss, "an itinerary")
    whitened = None if form.input_gram is None else whiten(loss, "an itinerary")
    targets = loss if whitened is None else whitened.loss
    rank = sol.network.rank
    options = sol.options
    plain = options.weight_decay == 0 and set(options.layer_rates or (1.0,)) == {1.0} and sol.steps is None
    n, r = len(sol), min(loss.shape)
    # descents with rates of their own have times of their own
    size = 1 if sol.varied else max(1, _CHUNK_BYTES // (8 * sol.t.size * r))
    for first in range(0, n, size):
        rows = slice(first, min(first + size, n))
        part = sol if sol.single else sol[rows]
        target = targets[rows] if targets.batch_shape else targets
        strengths = part.strengths if whitened is None else _strengths(part, whitened.root, targets)
        times = None if whitened is not None else part.learning_times
        excess = np.asarray(part.loss, np.float64) - form.floor
        t = part.t[0] if sol.varied else part.t
        yield rows, Records(
            t, np.abs(t - sol.span[0]), Modes.grouped(modes_of(target, "an itinerary").sigma, rank, sol.network.depth),
            np.ascontiguousarray(np.moveaxis(_batch(strengths, sol.single), -1, 0)), _batch(excess, sol.single),
            None if part.grad_norm is None else _batch(part.grad_norm, sol.single),
            None if times is None else _batch(times, sol.single).T, plain,
        )  # fmt: skip


def _batch(values: Floats, single: bool) -> Floats:
    return np.asarray(values[None] if single else values, np.float64)


def _strengths(sol: Trajectories, root: Floats | None, target: Loss) -> Floats:
    """u_j' W S^(1/2) v_j in the modes of the whitened target, from recorded weights."""
    if sol.weights is None:
        raise AssertionError("weights are asked for before")
    W = product(sol.weights)
    U, _, V = modes_of(target, "an itinerary")
    inputs = V if root is None else root @ V
    return np.stack([((U[:, j] @ W) * inputs[:, j]).sum(axis=-1) for j in range(U.shape[1])], axis=-1)


def _slope(t: Floats, values: Floats) -> Floats:
    """Derivative along the last axis, of second order between and of first at the ends of what is finite."""
    if t.size < 2:
        return np.full_like(values, np.nan)
    steps = np.diff(t)
    slopes = np.diff(values) / steps
    ends = [(0, 0)] * (values.ndim - 1)
    before = np.pad(slopes, [*ends, (1, 0)], constant_values=np.nan)
    after = np.pad(slopes, [*ends, (0, 1)], constant_values=np.nan)
    weight = np.pad(steps[1:] / (steps[1:] + steps[:-1]), 1)
    between = weight * before + (1 - weight) * after
    return np.where(np.isnan(before), after, np.where(np.isnan(after), before, between))
