"""Trajectories by SciPy, which tests compare with."""

from __future__ import annotations

from scipy.integrate import solve_ivp

from fastdln.field import rhs


def integrate(net, weights, loss, t, rtol=1e-11, atol=None, **options):
    """The trajectory at the times t, t[0] the start: weights with the times as batch axis."""

    def field(_, flat):
        return net.pack(rhs(net.unpack(flat), loss, **options))

    solution = solve_ivp(
        field,
        (t[0], t[-1]),
        net.pack(weights),
        "DOP853",
        t_eval=t,
        rtol=rtol,
        atol=1e-2 * rtol if atol is None else atol,
    )
    assert solution.success
    return net.unpack(solution.y.T)
