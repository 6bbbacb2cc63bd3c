"""The flow that gradient descent follows more closely than the gradient flow: that of the modified equation."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from numpy.typing import ArrayLike

from fastdln import arguments
from fastdln.gradient_flow import Stop, from_arguments
from fastdln.integrate.tableau import Tableau
from fastdln.losses import Loss
from fastdln.observables import documented
from fastdln.resources import Report
from fastdln.results.trajectories import Trajectories


@documented
def modified_flow(
    w0: Sequence[ArrayLike],
    loss: Loss,
    learning_rate: float,
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
    engine: str = "auto",
    threads: int | None = None,
    progress: bool | Report = False,
) -> Trajectories:
    """Integrate the flow of L + eta/4 ||grad L||^2, which gradient descent follows to order eta^2.

    Gradient descent with the learning rate eta is at time t = eta k within O(eta) of the gradient flow, and within
    O(eta^2) of  W' = -grad L - (eta/2) H grad L,  H the Hessian of L: the modified equation (survey, arXiv 2511.10362,
    section on discrete updates).

    Parameters
    ----------
    w0 : tuple of h arrays, shape (d_i, d_{i-1}) or (n, d_i, d_{i-1})
        Weights at the start, W_1 first.
    loss : Loss
        With a curvature that is compiled: any but `Custom`.
    learning_rate : float
        eta, above 0, for all trajectories.
    span : (t_0, t_end)
        In the flow's own time.
    t_eval : array_like, shape (n_t,), optional
        As in `flow`.
    method : {"tsit5", "bs3", "dp5", "dop853", "rock", "rkc2", "auto"} or Tableau
        As in `flow`.
    rtol, atol : float
        As in `flow`.
    max_steps : int
        As in `flow`.
    record : iterable of str
        Of the names in `fastdln.observables.OBSERVABLES`, which are attributes of `Trajectories`.  Loss and gradient
        are those of L.
    stop : Stop, optional
        As in `flow`, for L and its gradient.
    weight_decay : float
        mu, as in `fastdln.descend`.
    layer_rates : sequence of h floats, optional
        eta_1, ..., eta_h: then this is the flow, with those rates, of L + eta/4 sum_i eta_i ||dL/dW_i||^2.
    step : float, optional
        As in `flow`.
    history : bool
        As in `flow`.
    engine : {"auto", "lanes", "dense"}
        As in `flow`.
    threads : int, optional
        As in `flow`.
    progress : bool or callable
        As in `flow`.

    Returns
    -------
    Trajectories
        As of `flow`; ``options.modified`` is the learning rate.

    Raises
    ------
    ValueError, TypeError
        Where an argument does not fit, before anything is computed.
    MemoryError
        Where the records would not fit into the memory that is free, before anything is computed.

    Notes
    -----
    With the field F = -(D grad L + mu W), D the layers' rates, the flow is that of F - (eta/2) F' F, F' the derivative
    of F.  Momentum has another modified equation, and this function does not take it.

    The modified flow is good as long as eta times the largest eigenvalue of H is below 2; beyond, descent oscillates
    and no flow does.

    Examples
    --------
    >>> import fastdln as dln
    >>> loss = dln.Quadratic([[1.0]])
    >>> sol = dln.modified_flow(([[0.5]], [[0.5]]), loss, 0.2, (0.0, 2.0))
    >>> near = dln.descend(([[0.5]], [[0.5]]), loss, 0.2, 10)
    >>> bool(abs(sol.final[0] - near.final[0]) < 2e-3)
    True
    """
    return from_arguments(
        w0, loss, span, t_eval, method, rtol, atol, max_steps, record, stop, weight_decay, layer_rates, step, history,
        False, arguments.positive("learning_rate", learning_rate), engine, threads, progress,
    )  # fmt: skip
