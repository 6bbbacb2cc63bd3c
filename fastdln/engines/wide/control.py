"""Step-size control of one trajectory, by the compiled code of the other engines."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem
from fastdln.engines.limits import numbers
from fastdln.integrate import law
from fastdln.kernels.lockstep import control
from fastdln.kernels.lockstep.vectors import library


def _number(row: int) -> Any:
    """A row of the control state, as an attribute."""

    def get(self: Control) -> float:
        return float(self._state[row, 0])

    def put(self: Control, value: float) -> None:
        self._state[row, 0] = value

    return property(get, put)


class Control:
    """One lane of `fastdln.kernels.lockstep.control`, in f64."""

    time = _number(control.TIME)
    step = _number(control.STEP)
    reached = _number(control.REACHED)
    next_step = _number(control.NEXT_STEP)
    next_output = _number(control.NEXT_OUTPUT)
    attempts = _number(control.ATTEMPTS)
    rejections = _number(control.REJECTIONS)
    due_limit = _number(control.DUE_LIMIT)
    gradient_norm = _number(control.GRADIENT)
    loss_square = _number(control.LOSS2)
    longest_step = _number(control.LONGEST)
    failed = _number(control.FAILED)
    stopped = _number(control.STOPPED)

    def __init__(self, problem: Problem) -> None:
        par = numbers(problem)
        self._par = np.array([par[name] for name in control.PARAMETERS])
        self._state = np.zeros((control.CONTROL_ROWS, 1))
        self._state[control.ACTIVE] = 1.0
        self._state[control.LONGEST] = np.inf
        self._signed_step, self._mask, self._flags = np.zeros(1), np.zeros(1), np.zeros(3, np.int64)
        self._end, self._fixed = problem.duration, par["fixed_step"] > 0
        self._stop_gradient, self._stop_loss2 = par["stop_gradient"], par["stop_loss2"]
        self._stages = problem.tableau.stages

    def stops(self) -> bool:
        """Whether the trajectory is to stop where it begins."""
        return bool(self.gradient_norm <= self._stop_gradient or self.loss_square <= self._stop_loss2)

    def begin_step(self) -> float:
        """Begin the next step; its signed length."""
        _call("begin_step", self._state, self._par, self._signed_step)
        return float(self._signed_step[0])

    def end_step(self, squares: NDArray[np.float64]) -> tuple[bool, bool]:
        """Judge the step by the squared error norms (estimates, layers): whether it is accepted, and is the last."""
        estimates, layers = squares.shape
        _call(
            "end_step", self._state, self._par, squares, np.ones(layers), layers, estimates, self._mask, self._flags
        )  # fmt: skip
        rejected, finished = self._flags[control.REJECTED_BITS], self._flags[control.FINISHED_BITS]
        return not rejected, bool(finished)

    def status(self) -> int:
        """What became of the trajectory, once it is over."""
        return law.verdict(self.stopped > 0, self.reached, self._end, self.next_step, self.failed > 0, self._fixed)

    def counts(self) -> tuple[int, int, int]:
        """Right-hand sides, without those that only records need, and steps accepted and rejected."""
        attempts, rejections = int(self.attempts), int(self.rejections)
        return law.slopes_taken(attempts, self._stages, self._fixed), attempts - rejections, rejections


def _call(name: str, *arguments: NDArray[Any] | int) -> None:
    """Call a kernel of the library for one lane; arrays are passed as addresses."""
    values = [x if isinstance(x, int) else x.ctypes.data for x in arguments]
    function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * len(values))
    function(library(np.float64, 1)[name])(*values)
