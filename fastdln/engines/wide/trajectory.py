"""The adaptive integration of one wide network: the loop of `fastdln.kernels.lockstep.loop`, over factors."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fastdln.engines.base import Problem, Results
from fastdln.engines.limits import goals, hides_growth, timing
from fastdln.engines.wide.certificate import Certificate
from fastdln.engines.wide.control import Control
from fastdln.engines.wide.field import Field, layers_of
from fastdln.engines.wide.growth import Growth, due
from fastdln.engines.wide.passing import Search
from fastdln.engines.wide.terms import START, Mix, Terms
from fastdln.engines.wide.watch import Watch
from fastdln.engines.wide.way import Way, Weights
from fastdln.engines.wide.workers import Workers
from fastdln.integrate import law
from fastdln.integrate.certificate import EVERY
from fastdln.integrate.law import LEAST_ORDER
from fastdln.integrate.output import tried
from fastdln.kernels.lockstep.learning import KNOWN

NOTHING: Weights = np.zeros(0)  # the sum of no slopes, which leads to the beginning of a step
State = Callable[[float, float], Weights]  # what leads to a state of a step, of the length h, at theta


class Trajectory:
    """Trajectory number k on its way; its weights lie in ``results.final``."""

    def __init__(self, problem: Problem, k: int, results: Results, workers: Workers) -> None:
        self._problem, self._results = problem, results
        self._target = k if problem.loss.batch_shape else 0
        self._tableau = tableau = problem.tableau
        rows, main = tableau.rows, tableau.stages
        self._stages = [np.array(row) for row in rows]
        estimates = tableau.errors or ((0.0,),)
        self._errors = [np.array([*row, *[0.0] * (main - len(row))]) for row in estimates]
        self._outputs_tried = tried(tableau, problem.options.step is None)
        self._errors_of_length = self._errors if tableau.error_order >= LEAST_ORDER else []
        self._inner = len(rows)  # the first slope of steps within the step
        self._probe = probe(problem)
        slopes = slope_count(problem)
        self._terms = Terms(slopes, problem.options.weight_decay)
        results.final[0] = problem.start[k]
        layers = layers_of(problem, results.final[0], problem.atol[k], slopes, workers)
        self._field = Field(problem, self._target, layers)
        self._watch = Watch(problem, k, self._field, results)
        self._way = Way(problem, k, slopes, self._terms, layers) if problem.measured else None
        self._growth = Growth(problem, self._target, self._field) if hides_growth(problem) else None
        self._control = Control(problem)
        self._goals = goals(problem)[self._target].astype(np.float64)
        certify = problem.options.certify
        self._certificate = Certificate(problem, self._target, problem.atol[k], self._field) if certify else None
        self._timing = timing(problem)
        self._ends: list[NDArray[np.floating]] = []  # strengths at the ends of the last steps, the latest first
        self._lengths: list[float] = []  # of the last steps
        self._outputs = 0
        self._next_output()

    def run(self, stopped: threading.Event) -> None:
        """Integrate it, until that is ``stopped`` from outside, and write what became of it."""
        control, results = self._control, self._results
        over = not self.begin() or self._settled()
        while not (over or stopped.is_set()):
            accepted, over = self.step()
            if not accepted and over:
                self._output_at_start()
            elif accepted and not over:
                over = self._settled()
        results.status[0] = control.status()
        results.reached[0] = control.reached
        results.counts[0] = control.counts()
        if self._way is not None:
            results.length[0] = self._way.length

    # ---- beginning
    def begin(self) -> bool:
        """The first slope and the first step; False where it is over already."""
        control = self._control
        self._slope_at(NOTHING, 0)
        self._measure(0)
        self._look_at_growth()
        strengths = self._watch.strengths()
        at_once = strengths >= self._goals
        self._results.learned[0, at_once], self._goals[at_once] = 0.0, np.inf
        self._ends = [strengths]
        control.stopped = control.stops()
        ready = self._first_step() and not control.stopped
        if not ready:
            self._output_at_start()
        return ready

    def _first_step(self) -> bool:
        """Choose the first step; False where that is not possible."""
        control, problem, terms, field = self._control, self._problem, self._terms, self._field
        down = law.DOWN if problem.start.dtype == np.float64 else law.DOWN_SINGLE
        slope = terms.sum(np.array([down]))
        size = math.sqrt(_worst([layer.size() for layer in field.layers]))
        speed = math.sqrt(self._norm(START, slope)) / down
        if not law.begins(size, speed):
            control.failed = 1.0
            return False
        if problem.options.step is not None:
            control.next_step = problem.options.step
            return True
        h = law.first_guess(size, speed, problem.duration)
        stage = terms.stage(np.array([h * problem.direction]))
        terms.note(1, stage)
        field.slope(stage, 1)
        bend = math.sqrt(self._norm(START, terms.sum(np.array([-down, down])))) / down / h
        control.next_step = law.first_step(h, speed, bend, self._tableau.error_order, problem.duration)
        return True

    def _norm(self, after: Mix, error: Mix) -> float:
        return _worst([layer.errors(after, [error])[0] for layer in self._field.layers])

    # ---- a step
    def step(self) -> tuple[bool, bool]:
        """Try one step: whether it is accepted, and whether the trajectory is over."""
        control, terms, field = self._control, self._terms, self._field
        h, last = control.begin_step(), self._tableau.stages - 1
        for s in range(1, last + 1):
            stage = self._slope_at(h * self._stages[s], s)
        self._measure(last)
        errors = [h * terms.sum(row) for row in self._errors]
        squares = np.array([layer.errors(stage, errors) for layer in field.layers])
        accepted, over = control.end_step(np.ascontiguousarray(squares.T))
        if not accepted:
            return False, over
        if self._way is not None:
            self._way.reach(h * self._stages[last], stage, [h * row for row in self._errors_of_length])
        if due(int(control.attempts)):
            self._look_at_growth()
        if self._problem.options.history:
            self._results.history[0, int(control.attempts - control.rejections) - 1] = control.reached
        self._ends = [self._watch.strengths(), *self._ends][:KNOWN]
        self._lengths = [control.step, *self._lengths][: KNOWN - 1]
        search = Search(self._ends, self._lengths, self._goals, self._timing)
        if search.theta is not None or control.next_output <= control.due_limit:
            state = self._between(h, stage)
            self._output(h, state)
            self._learn(h, search, state)
        if self._way is not None:
            self._way.go_on(h * self._stages[last], last)
        for layer in field.layers:
            layer.advance(stage, last)
        terms.note(0, START)
        return True, over

    def _look_at_growth(self) -> None:
        """Renew the longest step that hidden growth allows, where the slope was evaluated last."""
        if self._growth is not None:
            self._control.longest_step = self._growth.longest_step(self._watch.square_distance)

    def _slope_at(self, weights: Weights, l: int) -> Mix:
        """Evaluate slope number l where a sum of slopes leads; returns what that state is made of."""
        stage = self._terms.stage(weights)
        self._terms.note(l, stage)
        self._field.slope(stage, l)
        if self._way is not None:
            self._way.note(l, weights)
        return stage

    def _measure(self, l: int) -> None:
        """Note what control must know of the state where slope number l was evaluated last."""
        control, field, problem = self._control, self._field, self._problem
        if problem.options.stop_gradient is not None:
            control.gradient_norm = field.gradient_norm(l)
        if problem.options.stop_loss is not None:
            control.loss_square = self._watch.square_distance()

    def _settled(self) -> bool:
        """Whether a certificate ends it here; what is still to be recorded is the state then."""
        control, results = self._control, self._results
        accepted = int(control.attempts - control.rejections)
        if self._certificate is None or accepted % EVERY:
            return False
        settled, tight = self._certificate.check(accepted, int(np.count_nonzero(self._goals < np.inf)))
        for layer in self._field.layers:
            layer.tight = tight
        if settled:
            results.certified[0] = 1
            control.reached = self._problem.duration
            first = self._outputs
            if math.isfinite(control.next_output):
                self._record(NOTHING)
                results.records[0, first:] = results.records[0, first]
        return settled

    # ---- records
    def _output(self, h: float, state: State) -> None:
        """Record every requested time that the step reaches; ``state`` tells what leads there."""
        control = self._control
        while control.next_output <= control.due_limit:
            self._record(state(h, (control.next_output - control.time) / control.step))

    def _between(self, h: float, after: Mix) -> State:
        """What tells the states within this step: the first output that is right, or steps within the step."""
        for output in self._outputs_tried:
            for s in range(self._tableau.stages, len(output.dense)):
                self._slope_at(h * self._stages[s], s)
            state = partial(_interpolated, output.dense)
            if output.most == math.inf:
                return state
            self._slope_at(state(h, output.theta), self._inner)
            weights = np.zeros(self._inner + 1)
            weights[: len(output.slant)], weights[self._inner] = output.slant, -1.0
            if math.sqrt(self._norm(after, self._terms.sum(h * weights))) <= output.most:
                return state
        return self._step_within

    def _step_within(self, h: float, theta: float) -> Weights:
        """What leads to the state at t + theta h by a step of its own from the beginning of the step."""
        h *= theta
        last = self._tableau.stages - 1
        for s in range(1, last + 1):
            row = self._stages[s]
            weights = np.zeros(self._inner + s - 1)
            weights[0], weights[self._inner :] = row[0], row[1:]
            weights *= h
            if s < last:
                self._slope_at(weights, self._inner + s - 1)
        return weights

    def _output_at_start(self) -> None:
        """It ends now: record the start itself if it was asked for and no step was accepted."""
        if self._control.reached == 0 and self._control.next_output == 0:
            self._record(NOTHING)

    def _record(self, weights: Weights) -> None:
        """Write the next record, of the state where a sum of slopes leads."""
        field, columns, gradient = self._field, self._problem.columns, math.nan
        stage = self._terms.stage(weights)
        length = math.nan if self._way is None else self._way.at(weights, stage)
        if "gradient" in columns:
            field.slope(stage, self._probe)
            gradient = field.gradient_norm(self._probe)
        elif set(columns) - {"weights", "length"}:
            field.look(stage)
        self._watch.write(self._outputs, stage, gradient, length)
        self._outputs += 1
        self._next_output()

    def _next_output(self) -> None:
        times = self._problem.times
        self._control.next_output = times[self._outputs] if self._outputs < len(times) else math.inf

    # ---- learning times
    def _learn(self, h: float, search: Search, state: State) -> None:
        """Locate the thresholds that strengths may have passed in this step."""
        while search.theta is not None:
            self._field.look(self._terms.stage(state(h, search.theta)))
            search.add(self._watch.strengths())
        for j, theta in search.found.items():
            self._results.learned[0, j] = self._control.time + theta * self._control.step
            self._goals[j] = np.inf


def _interpolated(dense: NDArray[np.float64], h: float, theta: float) -> Weights:
    """What leads to the state at t + theta h by continuous output."""
    weights: Weights = h * (dense @ theta ** np.arange(1, dense.shape[1] + 1))
    return weights


def _worst(squares: list[float]) -> float:
    """The largest, or NaN where there is one."""
    return float(np.max(squares))


def probe(problem: Problem) -> int:
    """The number of the slope of recorded states: after those of a step, and of steps within it."""
    tableau = problem.tableau
    within = tableau.stages - 2 if len(tried(tableau, problem.options.step is None)) > 1 else 0
    return len(tableau.rows) + within


def slope_count(problem: Problem) -> int:
    """How many slopes are kept, with one of recorded states where gradients are recorded."""
    return probe(problem) + ("gradient" in problem.raw)
