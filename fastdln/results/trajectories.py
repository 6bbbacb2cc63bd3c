"""What comes back from a flow: observables, final weights, what became of each trajectory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from os import PathLike
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdln.checks import count, positive
from fastdln.engines.base import Course, Options
from fastdln.integrate.status import ADVICE, Status
from fastdln.losses import Loss
from fastdln.network import Network, Weights
from fastdln.observables import OBSERVABLES, documented
from fastdln.results.dataset import dataset
from fastdln.results.frame import frame
from fastdln.results.periods import SERIES, TIMES_LONGEST, least_periods


class FlowError(RuntimeError):
    """Some trajectories failed; the message counts them by kind, names the first and says what to change."""


class Recorded(property):
    """The attribute of `Trajectories` that is the observable of its name; None where that was not recorded."""

    def __init__(self) -> None:
        super().__init__(self._read)

    def __set_name__(self, owner: type, name: str) -> None:
        self._name = name
        self.__doc__ = OBSERVABLES[name].doc

    def _read(self, sol: Trajectories) -> Any:
        values = sol._each(sol._recorded.get(self._name))
        return sol.network.unpack(values) if values is not None and OBSERVABLES[self._name].by_layer else values


@documented
@dataclass(frozen=True, eq=False, repr=False)
class Trajectories:
    """The trajectories of a flow, or of a descent.

    An observable that was not recorded is None; one that was is NaN after the end of its trajectory.  For a single
    network the arrays have no trajectory axis.

    Attributes
    ----------
    network : Network
        The network.
    loss_function : Loss
        The loss that was descended.
    options : Options
        How it was integrated.
    span : (float, float)
        Start and end; in a descent as numbers of updates.
    t : ndarray, shape (n_t,)
        Times of the records; of a descent with rates or momenta per trajectory of shape (n, n_t).
    steps : ndarray, shape (n_t,)
        Updates done at the records; None in a flow.
    single : bool
        Whether this is one network without a trajectory axis.
    start, final : tuple of ndarrays, shape (n, d_i, d_{i-1})
        The weights at the start of the span, and at ``t_final``.
    t_final : ndarray, shape (n,)
        Where each trajectory ended.
    status : ndarray, shape (n,)
        Values of `Status`.
    certified : ndarray, shape (n,)
        Whether the trajectory was at its end, within its tolerance, before that of the span: `flow` with ``certify``.
    n_rhs, n_accepted, n_rejected : ndarray, shape (n,)
        Right-hand sides evaluated by the integrator, without those that only records and learning times need; steps
        accepted and rejected.
    integrated_widths : ndarray, shape (n, h+1)
        Widths of the network that was integrated at last: narrower ones where the trajectory was reduced.
    enlargements : ndarray, shape (n,)
        How often a network that was reduced approximately was made wider, as it was not accurate enough.

    Examples
    --------
    >>> import fastdln as dln
    >>> loss = dln.Quadratic.from_singular_values((2.0, 1.0), shape=(2, 2))
    >>> sol = dln.flow(dln.inits.gaussian(dln.Network((2, 3, 2)), 0.1, size=4, rng=0), loss, (0.0, 30.0))
    >>> sol
    <Trajectories: 4 of Network((2, 3, 2)), t = 0 to 30, 1 times; recorded loss; 4 finished>
    >>> sol[0].loss.shape
    (1,)
    """

    network: Network
    loss_function: Loss
    options: Options
    span: tuple[float, float]
    t: NDArray[np.float64]
    single: bool
    _recorded: dict[str, NDArray[Any]]
    _final: NDArray[Any]
    _t_final: NDArray[np.float64]
    _status: NDArray[np.int8]
    _counts: NDArray[np.int64]
    _atol: NDArray[np.float64]
    _origin: NDArray[Any]
    _certified: NDArray[np.bool_]
    _widths: NDArray[np.int64]
    _enlargements: NDArray[np.int64]
    _steps: tuple[NDArray[np.float64], ...] | None
    _updates: NDArray[np.int64] | None = None
    _course: Course | None = None
    _length: NDArray[np.float64] | None = None  # of the way up to the end, where that is recorded

    # ---- what was recorded
    def _each(self, values: NDArray[Any] | None) -> Any:
        """Values of the trajectories, without their axis for a single network."""
        return values[0] if self.single and values is not None else values

    loss = Recorded()
    grad_norm = Recorded()
    strengths = Recorded()
    singular_values = Recorded()
    effective_rank = Recorded()
    stable_rank = Recorded()
    nuclear_norm = Recorded()
    margin = Recorded()
    accuracy = Recorded()
    weight_norm = Recorded()
    path_length = Recorded()
    layer_alignment = Recorded()
    sharpness = Recorded()
    tangent_drift = Recorded()
    tangent_alignment = Recorded()
    imbalance = Recorded()
    drift = Recorded()
    learning_times = Recorded()
    lyapunov = Recorded()
    weights = Recorded()

    @property
    def steps(self) -> NDArray[np.int64] | None:
        """Updates done at the records, shape (n_t,); None in a flow."""
        return self._updates

    @property
    def varied(self) -> bool:
        """Whether trajectories have times of their own."""
        return self.t.ndim == 2

    @property
    def final(self) -> Weights:
        """Weights at ``t_final``, each of shape (n, d_i, d_{i-1})."""
        return self.network.unpack(self._each(self._final))

    @property
    def start(self) -> Weights:
        """The weights at the start of the span, each of shape (n, d_i, d_{i-1})."""
        return self.network.unpack(self._each(self._origin))

    @property
    def t_final(self) -> Any:
        """Where each trajectory ended, shape (n,)."""
        return self._each(self._t_final)

    @property
    def status(self) -> Any:
        """What became of each trajectory, values of `Status`, shape (n,)."""
        return Status(int(self._status[0])) if self.single else self._status

    @property
    def success(self) -> Any:
        """Whether it finished or was stopped, shape (n,)."""
        return self._each(self._status <= Status.STOPPED)

    @property
    def certified(self) -> Any:
        """Whether a certificate ended it, shape (n,)."""
        return self._each(self._certified)

    @property
    def n_rhs(self) -> Any:
        """Right-hand sides that the integrator evaluated, shape (n,)."""
        return self._each(self._counts[:, 0])

    @property
    def n_accepted(self) -> Any:
        """Steps accepted, shape (n,)."""
        return self._each(self._counts[:, 1])

    @property
    def n_rejected(self) -> Any:
        """Steps rejected, shape (n,)."""
        return self._each(self._counts[:, 2])

    @property
    def integrated_widths(self) -> Any:
        """Widths of the network that was integrated at last, shape (n, h+1)."""
        return self._each(self._widths)

    @property
    def enlargements(self) -> Any:
        """How often the reduced network was made wider on the way, shape (n,)."""
        return self._each(self._enlargements)

    @property
    def message(self) -> str:
        """How many trajectories ended in which way."""
        kinds = ((kind, int(np.count_nonzero(self._status == kind))) for kind in Status)
        return ", ".join(f"{count} {kind.name.lower().replace('_', ' ')}" for kind, count in kinds if count)

    def history(self, k: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Times and lengths of the accepted steps of a trajectory.

        Parameters
        ----------
        k : int
            The trajectory.

        Returns
        -------
        t, step : ndarray, shape (n_accepted,)
            The end of each step, and its signed length.

        Raises
        ------
        ValueError
            If the flow was computed without ``history=True``.
        """
        if self._steps is None:
            raise ValueError("no history was kept: call flow(..., history=True)")
        times = self._steps[range(len(self))[k]]
        return times, np.diff(times, prepend=self.span[0])

    def period(self, tol: float = 1e-8, longest: int = 64) -> Any:
        """Find the least period of each trajectory of a descent over its last records.

        It is the least p with ||W_(k+p) - W_k|| at most ``tol`` times the largest ||W_k||, over the last 4 ``longest``
        records; without recorded weights that of the strengths or, without these, of the singular values.

        Parameters
        ----------
        tol : float
            Relative tolerance, above 0.
        longest : int
            The longest period to look for.

        Returns
        -------
        ndarray of int, shape (n,)
            The periods: 1 at rest, 0 where there is none up to ``longest``, or the trajectory did not come to the end.

        Raises
        ------
        ValueError
            If this is a flow, or the last 4 ``longest`` updates were not recorded, each of them.

        Examples
        --------
        >>> import fastdln as dln
        >>> loss, start = dln.Quadratic([[1.0]]), ([[0.7]], [[0.7]])
        >>> sol = dln.descend(start, loss, [0.9, 1.1, 1.25], 2000, record=("weights",), record_from=1744)
        >>> sol.period()
        array([1, 2, 4])
        """
        relative, most = positive("tol", tol), count("longest", longest)
        if self._updates is None:
            raise ValueError("a flow has no period: it is for descents")
        names = [name for name in SERIES if name in self._recorded]
        if not names:
            raise ValueError(f"period() needs one of {', '.join(SERIES)}: call descend(..., record=('weights',))")
        wanted = TIMES_LONGEST * most
        tail = self._updates[-wanted:]
        if len(tail) < wanted or (np.diff(tail) != 1).any():
            raise ValueError(
                f"period() with longest = {most} needs a record of each of the last {wanted} updates: take "
                "record_every=1 and an earlier record_from, or a smaller longest"
            )
        return self._each(least_periods(self._recorded[names[0]], relative, most))

    def raise_for_status(self) -> Trajectories:
        """Return these trajectories if none failed.

        Returns
        -------
        Trajectories
            Itself.

        Raises
        ------
        FlowError
            Counting the failures by kind, with the first of each and what to change.
        """
        parts = []
        for kind, advice in ADVICE.items():
            failed = np.flatnonzero(self._status == kind)
            if failed.size:
                first = ", ".join(map(str, failed[:5])) + (", ..." if failed.size > 5 else "")
                parts.append(f"{failed.size} {kind.name} (trajectories {first}): {advice}")
        if parts:
            failures = np.count_nonzero(self._status > Status.STOPPED)
            raise FlowError(f"{failures} of {len(self)} failed; " + "; ".join(parts))
        return self

    # ---- selecting, joining, going on
    def __len__(self) -> int:
        return len(self._status)

    def __iter__(self) -> Iterator[Trajectories]:
        return (self[k] for k in range(len(self)))

    def __getitem__(self, index: Any) -> Trajectories:
        """Select trajectories; an integer gives a single one, without its axis."""
        if self.single:
            raise TypeError("a single trajectory has no trajectory axis to select from")
        single = isinstance(index, int | np.integer)
        rows = np.atleast_1d(np.arange(len(self))[index])
        targets = self.loss_function
        return dataclasses.replace(
            self,
            loss_function=targets[index if single else rows] if targets.batch_shape else targets,
            _recorded={name: values[rows] for name, values in self._recorded.items()},
            _steps=None if self._steps is None else tuple(self._steps[k] for k in rows),
            t=self.t[index if single else rows] if self.varied else self.t,
            _course=None if self._course is None else self._course[rows],
            _length=None if self._length is None else self._length[rows],
            single=single,
            **{f"_{name}": getattr(self, f"_{name}")[rows] for name in PER_TRAJECTORY},
        )

    def extend(self, t_end: float, t_eval: ArrayLike | None = None, threads: int | None = None) -> Trajectories:
        """Go on to a later end of the span, in the way the flow or the descent was computed.

        Parameters
        ----------
        t_end : float
            The new end, beyond the present one.  Of a descent: how many more updates to take; they are recorded as
            those before, and are those of one run.
        t_eval : array_like, optional
            Further times to record at; by default the new end.  Not for a descent.
        threads : int, optional
            As in `flow`.

        Returns
        -------
        Trajectories
            Old and new records joined.  Trajectories that were stopped or failed stay as they are, and those that are
            certified keep their state.

        Raises
        ------
        ValueError
            If ``t_end`` or ``t_eval`` does not lie beyond the present end.
        """
        if self._course is not None:
            from fastdln import descent

            if t_eval is not None:
                raise ValueError("t_eval is for flows: a descent is recorded as it was before")
            return descent.extend(self, t_end, threads)
        from fastdln.gradient_flow import extend

        return extend(self, t_end, t_eval, threads)

    # ---- files and other forms
    def save(self, path: str | PathLike[str]) -> None:
        """Write everything to one ``.npz`` file, without pickle; `fastdln.load` reads it.

        Of a `Custom` loss nothing is written: it is given to `fastdln.load` again.

        Parameters
        ----------
        path : path
            The file; an existing one is replaced.

        Raises
        ------
        TypeError
            If the loss is that of a reduced network, whose modes no file holds.
        """
        from fastdln.results.files import save

        save(self, path)

    def to_dataset(self) -> Any:
        """The trajectories as an `xarray.Dataset` with named dimensions and attributes.

        Returns
        -------
        xarray.Dataset
            Dimensions trajectory, time, mode, interface (of two layers) and, for weights, layer0 to layerh.

        Raises
        ------
        ImportError
            If xarray is missing, with the command that installs it.
        """
        return dataset(self, {status.name: status.value for status in Status})

    def to_dataframe(self, per: str = "time") -> Any:
        """The trajectories as a `pandas.DataFrame`.

        Weights are left out: `to_dataset` has them, with an axis for each side of a layer.

        Parameters
        ----------
        per : {"time", "trajectory"}
            What a row is: a recorded time of a trajectory, or a trajectory.

        Returns
        -------
        pandas.DataFrame
            Per time: what was recorded over time, as ``loss``, ``strength_0``, ``strength_1``, ..., by trajectory and
            time; of a descent by trajectory and update, with the time as the column ``t``.  Per trajectory: the name of
            the status, ``t_final``, the counts, ``learning_time_0``, ..., by trajectory.  A single trajectory has no
            level ``trajectory`` in the index of its times.

        Raises
        ------
        ImportError
            If pandas is missing, with the command that installs it.
        MemoryError
            If it would not fit into the memory that is free.

        Examples
        --------
        >>> import fastdln as dln
        >>> loss = dln.Quadratic.from_singular_values((2.0, 1.0), shape=(2, 2))
        >>> start = dln.inits.gaussian(dln.Network((2, 3, 2)), 0.1, size=4, rng=0)
        >>> sol = dln.flow(start, loss, (0.0, 30.0), [0.0, 10.0, 30.0], record=("loss", "strengths", "learning_times"))
        >>> frame = sol.to_dataframe()
        >>> list(frame), frame.index.names, frame.shape
        (['loss', 'strength_0', 'strength_1'], FrozenList(['trajectory', 'time']), (12, 3))
        >>> frame.loc[(3, 10.0), "loss"] == sol.loss[3, 1]
        np.True_
        >>> outcomes = sol.to_dataframe(per="trajectory")
        >>> list(frame.join(outcomes[["status", "learning_time_0"]], on="trajectory"))
        ['loss', 'strength_0', 'strength_1', 'status', 'learning_time_0']
        """
        return frame(self, per)

    def __repr__(self) -> str:
        count = "one" if self.single else len(self)
        what, times = ("t =", len(self.t)) if self._updates is None else ("updates", len(self._updates))
        span = f"{what} {self.span[0]:g} to {self.span[1]:g}, {times} times"
        recorded = ", ".join(self.options.record) or "nothing"
        return f"<Trajectories: {count} of {self.network}, {span}; recorded {recorded}; {self.message}>"


# the fields, but for their underscore, with one row for each trajectory
PER_TRAJECTORY = (
    "final", "t_final", "status", "counts", "atol", "origin", "certified", "widths", "enlargements",
)  # fmt: skip
