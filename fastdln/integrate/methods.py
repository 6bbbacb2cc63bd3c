"""The methods of a flow by name, and what is asked of all kinds."""

from __future__ import annotations

import functools

from fastdln.integrate import chebyshev, control
from fastdln.integrate.chebyshev import STABILIZED, Stabilized
from fastdln.integrate.control import Gains
from fastdln.integrate.descent import Descent
from fastdln.integrate.tableau import Tableau
from fastdln.integrate.tableaus import EXPLICIT

Method = Tableau | Stabilized | Descent

METHODS: dict[str, Tableau | Stabilized] = {**EXPLICIT, **STABILIZED}


def gains(method: Method) -> Gains:
    """The constants of the step-size control; a descent has none."""
    if isinstance(method, Descent):
        return Gains(0.0, 0.0, 0.0, 0.0, 0.0)
    return chebyshev.GAINS if isinstance(method, Stabilized) else control.gains(method)


@functools.lru_cache(maxsize=64)
def growth_limits(method: Tableau | Stabilized, rtol: float) -> tuple[float, float]:
    """Largest steps times the rate of growth that no error norm sees; the second for the steps of RKC2."""
    if isinstance(method, Stabilized):
        return chebyshev.growth_limits(method, rtol)
    return control.followed(control.stability_polynomial(method), method.order, rtol), 0.0
