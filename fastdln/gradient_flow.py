"""The gradient flow of a batch of networks."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln import arguments
from fastdln.engines.base import Options, Problem
from fastdln.integrate.status import Status
from fastdln.integrate.tableau import Tableau
from fastdln.integration import collect
from fastdln.losses import Loss
from fastdln.network import Network, check_weights
from fastdln.observables import LEARNING_TIMES, Context, documented, raw_records
from fastdln.resources import Report
from fastdln.results.joining import going_on, join
from fastdln.results.trajectories import Trajectories


@dataclass(frozen=True)
class Stop:
    """End a trajectory early: where the gradient or the loss has fallen to a value.

    Parameters
    ----------
    grad_norm : float, optional
        End where ||grad L||_F is at most this.
    loss : float, optional
        End where L is at most this.

    Examples
    --------
    >>> import fastdln as dln
    >>> dln.Stop(grad_norm=1e-8)
    Stop(grad_norm=1e-08, loss=None)
    """

    grad_norm: float | None = None
    loss: float | None = None

    def __post_init__(self) -> None:
        if self.grad_norm is None and self.loss is None:
            raise ValueError("Stop needs grad_norm or loss")
        if self.grad_norm is not None:
            arguments.not_negative("grad_norm", self.grad_norm)
        if self.loss is not None:
            arguments.number("loss", self.loss)


def limits_of(stop: Any) -> tuple[float | None, float | None]:
    """The gradient and the loss at which a stop condition, or None, ends a trajectory."""
    if not isinstance(stop, Stop | None):
        raise TypeError(f"stop must be a Stop, not {stop!r}")
    return (None, None) if stop is None else (stop.grad_norm, stop.loss)


@documented
def flow(
    w0: Sequence[ArrayLike],
    loss: Loss,
    span: tuple[float, float],
    t_eval: ArrayLike | None = None,
    method: str | Tableau = "tsit5",
    rtol: float = 1e-6,
    atol: float | None = None,
    max_steps: int = 100_000,
    record: Iterable[str] = ("loss",),
    stop: Stop | None = None,
    weight_decay: float = 0.0,
    layer_rates: Sequence[float] | None = None,
    step: float | None = None,
    history: bool = False,
    certify: bool = False,
    engine: str = "auto",
    threads: int | None = None,
    progress: bool | Report = False,
) -> Trajectories:
    """Integrate the gradient flow of a network, or of a batch of them, on a loss.

    Solves  dW_i/dt = -eta_i dL/dW_i - mu W_i  by an explicit or a stabilized method, each trajectory with its
    own steps (survey, arXiv 2511.10362, sections on gradient flow and on the adjacency matrix).

    Parameters
    ----------
    w0 : tuple of h arrays, shape (d_i, d_{i-1}) or (n, d_i, d_{i-1})
        Weights at the start, W_1 first.  Computed in float32 where all arrays are float32, else in float64.
    loss : Loss
        With one target, or with one for each trajectory: then one start gives n trajectories.  What needs a quadratic
        loss or modes (certificates, strengths, learning times, the reduced engine) is refused for others.
    span : (t_0, t_end)
        In the flow's own time.  ``t_end < t_0`` follows the flow backwards.
    t_eval : array_like, shape (n_t,), optional
        Times to record at, monotone from t_0 to t_end, both allowed; by default t_end alone.  They never change steps.
    method : {"tsit5", "bs3", "dp5", "dop853", "rock", "rkc2", "auto"} or Tableau
        An explicit Runge-Kutta pair, or for stiff flows a stabilized method: "rock" of order 4, "rkc2" of order 2.
        "auto" begins with tsit5 and changes to "rock" in each trajectory whose steps stability limits.
    rtol : float
        Relative tolerance: the error of a step, root mean square over the entries of a layer, each divided by
        ``atol + rtol max(|w|, |w_new|)``, is at most 1 in every layer.
    atol : float, optional
        Absolute tolerance.  By default 1e-3 rtol times the least root mean square of a nonzero layer of the
        trajectory's start (all zero: 1e-3 rtol ||Sigma||_2^(1/h)), so that small starts are followed too.
    max_steps : int
        The most steps that a trajectory may try.
    record : iterable of str
        Of the names in `fastdln.observables.OBSERVABLES`, which are attributes of `Trajectories`.
    stop : Stop, optional
        Ends each trajectory at the end of the first step where it holds.
    weight_decay : float
        mu.
    layer_rates : sequence of h floats, optional
        eta_1, ..., eta_h; by default 1.
    step : float, optional
        Take steps of this length instead of adaptive ones; not with stabilized methods.
    history : bool
        Keep the times of all accepted steps: `Trajectories.history`.
    certify : bool
        End each trajectory as soon as it provably cannot move by more than its tolerance any more.
    engine : {"auto", "lanes", "dense", "wide", "reduced"}
        Lanes: small networks side by side in vectors; dense: one per thread; wide: one on all threads, for narrow ends;
        reduced: as a narrow network with the same flow.  "auto" chooses by widths, loss, method and precision.
    threads : int, optional
        By default one for each core this process may use.  Results do not depend on it.
    progress : bool or callable
        True: a bar on standard error.  A callable gets the numbers of trajectories done and failed, and of all.

    Returns
    -------
    Trajectories
        A trajectory that fails says so in its status, and does not touch the others.

    Raises
    ------
    ValueError, TypeError
        Where an argument does not fit, before anything is computed.
    MemoryError
        Where the records would not fit into the memory that is free, before anything is computed.

    Notes
    -----
    Trajectories are bitwise the same whatever the batch, its order, the number of threads, and what is recorded when.
    With the wide engine they depend on the BLAS library.

    Steps are limited by the growth of modes that no error norm sees, so that learning times are right within 10 rtol
    (bs3, rkc2: 30 rtol): see docs/guides/accuracy.md.  How to choose a method is in docs/guides/stiff.md, an engine for
    wide networks in docs/guides/wide.md, and what "reduced" does in docs/guides/reduced.md.  What bits depend on is in
    docs/guides/reproducibility.md.

    Losses, the user's own among them, are in docs/guides/losses.md; long spans and small starts in docs/guides/long.md:
    where the modes are not the coordinates, what is below 2^-53 of a learned mode is lost to rounding.
    What ``certify`` asks for is in docs/guides/certified.md; many flows over a grid of parameters are a scan,
    docs/guides/scans.md, with a page to look into it, docs/guides/view.md.  What can be recorded, and what it costs, is
    in docs/guides/observables.md.  What gradient descent does instead is in docs/guides/descent.md, and `modified_flow`
    in docs/guides/edge.md.  Who comes from elsewhere begins with docs/guides/scipy.md or docs/guides/pytorch.md;
    docs/guides/index.md lists all guides.

    Examples
    --------
    >>> import fastdln as dln
    >>> loss = dln.Quadratic.from_singular_values((3.0, 1.0), shape=(2, 2))
    >>> w0 = dln.inits.gaussian(dln.Network((2, 4, 2)), scale=0.01, size=3, rng=0)
    >>> sol = dln.flow(w0, loss, (0.0, 20.0), record=("loss", "learning_times"))
    >>> bool(sol.success.all()), sol.learning_times.shape
    (True, (3, 2))
    """
    return from_arguments(
        w0, loss, span, t_eval, method, rtol, atol, max_steps, record, stop, weight_decay, layer_rates, step, history,
        certify, 0.0, engine, threads, progress,
    )  # fmt: skip


def from_arguments(
    w0: Sequence[ArrayLike], loss: Loss, span: tuple[float, float], t_eval: ArrayLike | None, method: str | Tableau,
    rtol: float, atol: float | None, max_steps: int, record: Iterable[str], stop: Stop | None, weight_decay: float,
    layer_rates: Sequence[float] | None, step: float | None, history: bool, certify: bool, modified: float, engine: str,
    threads: int | None, progress: bool | Report,
) -> Trajectories:  # fmt: skip
    """Integrate from arguments as they are given: those of `flow`, and the learning rate of a modified flow, or 0."""
    network, weights = check_weights(w0)
    start, single = arguments.starts(network, weights, loss)
    t_0, t_end = arguments.span(span)
    times = arguments.times(t_eval, t_0, t_end)
    integrator = arguments.method(method)
    stop_gradient, stop_loss = limits_of(stop)
    arguments.progress(progress)
    options = Options(
        method=integrator,
        rtol=arguments.positive("rtol", rtol),
        max_steps=arguments.count("max_steps", max_steps),
        record=arguments.record(record),
        stop_gradient=stop_gradient,
        stop_loss=stop_loss,
        weight_decay=arguments.not_negative("weight_decay", weight_decay),
        layer_rates=arguments.layer_rates(layer_rates, network.depth),
        step=None if step is None else arguments.step(step, abs(t_end - t_0), max_steps),
        history=arguments.boolean("history", history),
        certify=arguments.boolean("certify", certify),
        engine=arguments.engine(engine),
        modified=modified,
    )
    arguments.check_options(options, loss, t_end > t_0, start.dtype)
    tolerances = arguments.tolerances(atol, start, network, loss, options.rtol)
    arguments.tried(network, start, loss)
    return integrate(
        network, loss, start, tolerances, t_0, t_end, times, options, origin=start, t_origin=t_0, single=single,
        threads=arguments.threads(threads), progress=progress,
    )  # fmt: skip


def integrate(
    network: Network, loss: Loss, start: NDArray[Any], atol: NDArray[np.float64], t_0: float, t_end: float,
    times: NDArray[np.float64], options: Options, *, origin: NDArray[Any], t_origin: float, single: bool,
    threads: int, progress: bool | Report = False, length: NDArray[np.float64] | None = None,
) -> Trajectories:  # fmt: skip
    """Integrate from checked arguments; conserved quantities are compared with those at ``origin``, ``t_origin``.

    ``length`` is that of the way before the start.
    """
    direction = 1.0 if t_end > t_0 else -1.0
    problem = Problem(
        network=network, loss=loss, options=options, start=start, origin=origin, atol=atol, duration=abs(t_end - t_0),
        direction=direction, times=np.abs(times - t_0), raw=raw_records(options.record),
        learning=LEARNING_TIMES in options.record, layer_sizes=tuple(map(math.prod, network.shapes)), threads=threads,
        length=length,
    )  # fmt: skip
    kept = np.exp(-2 * options.weight_decay * (times - t_origin))[None]
    context = Context(network, loss, kept, origin, options.layer_rates)
    found = collect(problem, context, progress, "this flow", times)
    reached = t_0 + direction * found.reached
    reached[found.status == Status.FINISHED] = t_end  # exactly, whatever t_0 + (t_end - t_0) rounds to
    if LEARNING_TIMES in found.recorded:
        found.recorded[LEARNING_TIMES][:] = t_0 + direction * found.recorded[LEARNING_TIMES]
    steps = None if found.history is None else tuple(t_0 + direction * moments for moments in found.history)
    return Trajectories(
        network=network, loss_function=loss, options=options, span=(t_0, t_end), t=times, _recorded=found.recorded,
        _final=found.final, _t_final=reached, _status=found.status, _counts=found.counts, _atol=atol,
        _origin=origin, _certified=found.certified, _widths=found.widths, _enlargements=found.enlargements,
        _steps=steps, _length=found.length, single=single,
    )  # fmt: skip


def extend(old: Trajectories, t_end: float, t_eval: ArrayLike | None, threads: int | None) -> Trajectories:
    """Go on with those that finished; see `Trajectories.extend`."""
    t_0, t_mid = old.span
    t_end = arguments.number("t_end", t_end)
    if (t_end - t_mid) * (t_mid - t_0) <= 0:
        raise ValueError(f"t_end must lie beyond the end {t_mid} of the span from {t_0}, not at {t_end}")
    times = arguments.times(t_eval, t_mid, t_end)
    if times.size and old.t.size and times[0] == old.t[-1]:
        raise ValueError(f"t_eval must begin after the last recorded time {old.t[-1]}")
    go_on, loss = going_on(old)
    new = integrate(
        old.network, loss, old._final[go_on],
        old._atol[go_on], t_mid, t_end, times, old.options, origin=old._origin[go_on], t_origin=t_0, single=False,
        threads=arguments.threads(threads), length=None if old._length is None else old._length[go_on],
    )  # fmt: skip

    return join(old, new, go_on, t=np.concatenate([old.t, times]))
