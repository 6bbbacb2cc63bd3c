"""A trajectory leg by leg: going on, going back, more levels, and the wide network where they no longer pay."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from fastdln.engines.base import Problem, Results
from fastdln.engines.direct import direct
from fastdln.engines.reduced.krylov.levels import last_level, more
from fastdln.engines.reduced.krylov.pair import Checkpoint, Leg, Pair, arrive, leg_of
from fastdln.integrate.status import Status
from fastdln.linalg import reproducible
from fastdln.theory.reduction.krylov import Krylov

logger = logging.getLogger("fastdln")

LEG = 32  # steps tried in the first leg; every leg has twice as many as the one before
GOOD = 0.01  # part of the tolerance up to which an estimate allows to go on from there with more levels


class Approximate:
    """One trajectory that is reduced to some level.

    Parameters
    ----------
    problem : Problem
        The problem of this trajectory alone.
    krylov : Krylov
        Its subspaces at the level to begin with.
    """

    def __init__(self, problem: Problem, krylov: Krylov) -> None:
        self._problem, self._krylov = problem, krylov
        self._last_level = last_level(problem.network, problem.loss.form.gram)
        self._results = Results(problem, slice(0, 1))
        self._pair = Pair(problem, krylov)
        start, none = self._pair.start, self._results
        length = float(none.length[0]) if problem.measured else 0.0
        self._trail = [
            Checkpoint(0.0, start, start, 0.0, 0.0, 0, none.learned[0].copy(), none.counts[0].copy(), length)
        ]

    @reproducible
    def run(self) -> Results | None:
        """Integrate it; None where the subspaces turn out to be closed, and the reduction exact."""
        trail, steps, stuck = self._trail, LEG, False
        while True:
            leg = self._pair.leg(trail[-1], self._problem.options.max_steps if self._problem.options.step else steps)
            if leg.end.error <= 1:
                self._keep(leg)
                trail.append(leg.end)
                steps, stuck = 2 * steps, False
                if leg.results.status[0] != Status.MAX_STEPS or leg.end.attempts >= self._problem.options.max_steps:
                    return self._finish(leg)
                continue
            if stuck:  # more levels were not enough: the error is older
                del trail[1:]
            while trail[-1].error > GOOD:
                trail.pop()
            stuck = True
            if not self._enlarge(leg.end):
                return None if self._krylov.closed else self._directly()

    def _enlarge(self, failed: Checkpoint) -> bool:
        """Add levels after a leg whose estimate was too large; False where that does not pay, or is not needed."""
        krylov, problem = self._krylov, self._problem
        level = more(krylov.level, failed.error, self._pair.decay(failed))
        pays = level <= self._last_level
        logger.info(
            "reduced to widths %s the flow is not accurate up to t_0 + %.4g (%.1e of the tolerance): back to %.4g, %s",
            krylov.widths, failed.elapsed, failed.error, self._trail[-1].elapsed,
            f"to level {level}" if pays else f"level {level} does not pay",
        )  # fmt: skip
        if not pays:
            return False
        krylov.grow(level)
        self._results.enlargements[0] += 1
        if krylov.closed:
            return False
        self._pair = Pair(problem, krylov)
        start = self._pair.start
        self._trail[0] = replace(self._trail[0], fine=start, rough=start)
        return True

    def _directly(self) -> Results:
        """Go on from the last good checkpoint as the network is."""
        problem, begin = self._problem, self._trail[-1]
        start = self._results.final[0]
        self._lift(begin, start)
        part = leg_of(problem, begin, start, problem.network, problem.options.max_steps)
        part = replace(part, overwrite=True)
        (results,) = direct(part).run(part)
        leg = Leg(begin, part, results, arrive(problem, begin, results, part))
        self._keep(leg)
        self._results.widths[0] = problem.network.widths
        return self._over(leg)

    def _finish(self, leg: Leg) -> Results:
        self._lift(leg.end, self._results.final[0])
        self._results.widths[0] = self._krylov.widths
        return self._over(leg)

    def _over(self, leg: Leg) -> Results:
        results, end = self._results, leg.end
        results.status[0], results.reached[0] = leg.results.status[0], end.elapsed
        results.learned[0], results.counts[0] = end.learned, end.counts
        results.length[:] = end.length
        return results

    def _keep(self, leg: Leg) -> None:
        """Write what a leg recorded, of wide networks."""
        results, problem, part = self._results, self._problem, leg.part
        for j in range(leg.begin.outputs, leg.end.outputs):
            record, own = results.records[0, j], leg.results.records[0, j - leg.begin.outputs]
            for name, columns in problem.columns.items():
                found = own[part.columns[name]]
                if name == "weights" and part.network != problem.network:
                    weights = part.network.unpack(found)
                    self._lift(replace(leg.end, fine=weights, elapsed=problem.times[j]), record[columns])
                else:
                    record[columns] = found
        if problem.options.history:
            before, after = int(leg.begin.counts[1]), int(leg.end.counts[1])
            results.history[0, before:after] = leg.begin.elapsed + leg.results.history[0, : after - before]

    def _lift(self, at: Checkpoint, out: np.ndarray) -> None:
        """Write the wide weights of a checkpoint to a flat array."""
        shrink = float(self._pair.shrink(at.elapsed))
        fine = self._pair.completed(at)
        self._krylov.lift(fine, self._pair.start, shrink, self._problem.network.unpack(out))
