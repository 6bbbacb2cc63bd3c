"""The descent of one wide network: what `fastdln.kernels.lockstep.descent` does, by thin products.

An update takes its gradient from products with the large layers, and adds it to these in place.  What is asked of a
state comes from the same products: only with Nesterov's momentum, whose gradients lie ahead, they are taken once more.
"""

from __future__ import annotations

import math
import threading

import numpy as np

from fastdln.engines.base import Problem, Results
from fastdln.engines.limits import goals, numbers
from fastdln.engines.wide.batches import Batches
from fastdln.engines.wide.field import Field
from fastdln.engines.wide.moving import Moving, Update
from fastdln.engines.wide.terms import START
from fastdln.engines.wide.watch import Watch
from fastdln.engines.wide.workers import Workers
from fastdln.integrate import law


class Descending:
    """Trajectory number k on its way; its weights and velocity lie in ``results``."""

    def __init__(self, problem: Problem, k: int, results: Results, workers: Workers) -> None:
        method, course, network = problem.descent, problem.course, problem.network
        assert method is not None
        assert course is not None
        self._problem, self._results, self._schedule, self._first = problem, results, method.schedule, course.done
        self._rate, self._beta, self._mu, self._bound = (
            float(x[k]) for x in (course.rate, course.momentum, course.decay, course.bound)
        )
        self._moves = self._beta > 0
        self._ahead = np.array([1.0, self._beta]) if method.nesterov and self._moves else None
        results.final[0] = problem.start[k]
        target = k if problem.loss.batch_shape else 0
        rates = problem.options.layer_rates or (1.0,) * network.depth
        velocities = network.unpack(results.velocity[0]) if self._moves else (None,) * network.depth
        self._field = Field(
            problem, target,
            [Moving(W, v, rate, workers) for W, v, rate in
             zip(network.unpack(results.final[0]), velocities, rates, strict=True)],
        )  # fmt: skip
        self._batches = Batches(problem, k) if method.samples else None
        self._watch = Watch(problem, k, self._field, results)
        self._goals = goals(problem)[target].astype(np.float64)
        par = numbers(problem)
        self._stop_gradient, self._stop_loss2 = par["stop_gradient"], par["stop_loss2"]
        self._done, self._recorded = 0, 0
        self._length = (0.0 if problem.length is None else float(problem.length[k])) if problem.measured else math.nan
        self._met = self._complete = False  # what is known where the state is

    def run(self, stopped: threading.Event) -> None:
        """Descend, until that is ``stopped`` from outside, and write what became of it."""
        results, end = self._results, int(self._problem.duration)
        over, lost = self._look(), False
        while not (over or lost or stopped.is_set()) and self._done < end:
            lost = not self._update()
            if not lost:
                self._done += 1
                over = self._look()
        results.status[0] = law.STOPPED if over else law.DIVERGED if lost else law.FINISHED
        results.reached[0] = self._done
        results.counts[0] = self._done + lost, self._done + lost, 0
        results.length[:] = self._length

    def _update(self) -> bool:
        """One update; False, and nothing is changed, where an entry would leave its bound."""
        field, number = self._field, self._first + self._done
        if self._ahead is not None:
            field.meet(self._ahead)
            self._complete = False
        else:
            self._meet()
        if self._batches is not None:
            field.complete(0, self._batches.residual(number, field.product))
        elif not self._complete:
            field.complete(0)
        update = self._numbers(number)
        if not all(layer.stays(update, self._bound) for layer in field.layers):
            return False
        if self._problem.measured:
            self._length += math.hypot(*(layer.move_measured(update) for layer in field.layers))
        else:
            for layer in field.layers:
                layer.move(update)
        self._met = self._complete = False
        return True

    def _numbers(self, k: int) -> Update:
        """The numbers of update k."""
        eta = self._rate * self._schedule.factor(k)
        if not self._moves:
            return Update(1.0 - eta * self._mu, 0.0, eta)
        decayed = -(eta * self._mu)
        return Update(decayed, self._beta * (1.0 if self._ahead is None else 1.0 + decayed), eta)

    def _meet(self) -> None:
        """Have the product of the state at hand."""
        if not self._met:
            self._field.meet(START)
            self._met = True

    def _gradient_norm(self) -> float:
        """||grad L||_F of the state, of all samples."""
        self._meet()
        if not self._complete:
            self._field.complete(0)
            self._complete = True
        return self._field.gradient_norm(0)

    def _look(self) -> bool:
        """Note of the state what is asked for, and record it where that is due; whether the descent is to stop here."""
        times, columns, options = self._problem.times, self._problem.columns, self._problem.options
        due = self._recorded < len(times) and times[self._recorded] <= self._done
        waits = bool((self._goals < np.inf).any())
        gradient = math.inf
        if options.stop_gradient is not None or (due and "gradient" in columns):
            gradient = self._gradient_norm()
        if options.stop_loss is not None or waits or (due and set(columns) - {"weights", "length"}):
            self._meet()
        if waits:
            reached = self._watch.strengths() >= self._goals
            self._results.learned[0, reached], self._goals[reached] = self._done, np.inf
        if due:
            self._watch.write(self._recorded, START, gradient, self._length)
            self._recorded += 1
        low = options.stop_loss is not None and self._watch.square_distance() <= self._stop_loss2
        return low or gradient <= self._stop_gradient
