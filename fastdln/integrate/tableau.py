"""An explicit Runge-Kutta method as data."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Real
from typing import Any

from fastdln.integrate.interpolate import Rows, hermite

TERMS = 9  # slopes that compiled sums take at once, and so those of an error estimate at most


def _floats(name: str, values: Any) -> tuple[float, ...]:
    try:
        row = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        raise TypeError(f"{name} must be a sequence of numbers, not {values!r}") from None
    if not all(map(math.isfinite, row)):
        raise ValueError(f"{name} must be finite, not {row}")
    return row


def _check_order(name: str, value: Any) -> None:
    if not isinstance(value, Real) or value % 1 != 0 or value < 1:
        raise ValueError(f"{name} must be a positive integer, not {value!r}")


@dataclass(frozen=True)
class Tableau:
    """An explicit Runge-Kutta method: its coefficients, error estimates and continuous output.

    Parameters
    ----------
    name : str
        What messages and files call it.
    order : int
        Order of the solution that is carried on.
    a : sequence of s rows
        Row i holds the i weights of stage i; row 0 is empty.
    b : sequence of s floats
        Weights of the step.  The slope at the end of the step is always evaluated and is the first of the next step;
        a last row of ``a`` that equals ``b`` (first same as last) is recognised and costs nothing.
    errors : sequence of 0, 1 or 2 rows, optional
        Each row holds the weights of an error estimate, b minus embedded weights, over the s stages and, after them
        if there is one more, the slope at the end of the step.  Without an estimate the method takes fixed steps
        only.  Two estimates e, f are joined as e^2/sqrt(e^2 + 0.01 f^2), as in DOP853.  They may weigh nine slopes, the
        one at the end of the step, which always takes part, among them.
    embedded_order : int, optional
        Order of the embedded solution; ``order - 1`` by default.
    dense : sequence of rows, optional
        Row j holds the coefficients of theta, theta^2, ... of slope j (stages, the slope at the end, extra stages).
        By default the cubic Hermite interpolant.
    extra : sequence of rows, optional
        Stages that only continuous output needs, with weights over all slopes before them.
    source : str, optional
        Where the coefficients come from.

    Raises
    ------
    TypeError, ValueError
        Where the rows do not fit each other or the weights do not sum to one.

    Examples
    --------
    >>> import fastdln as dln
    >>> heun = dln.Tableau("heun", order=2, a=[[], [1]], b=[1 / 2, 1 / 2], errors=[[-1 / 2, 1 / 2]])
    >>> heun.stages
    3
    """

    name: str
    order: int
    a: Rows
    b: tuple[float, ...]
    errors: Rows = ()
    embedded_order: int | None = None
    dense: Rows | None = None
    extra: Rows = ()
    source: str = ""
    rows: Rows = field(init=False, repr=False)  # of all slopes: stages, end of the step, extra

    def __post_init__(self) -> None:
        def put(name: str, value: object) -> None:
            object.__setattr__(self, name, value)  # the dataclass is frozen

        for name in ("a", "errors", "extra"):
            put(name, tuple(_floats(f"{name}[{i}]", row) for i, row in enumerate(getattr(self, name))))
        put("b", _floats("b", self.b))
        _check_order("order", self.order)
        if self.embedded_order is None:
            put("embedded_order", max(self.order - 1, 1))
        _check_order("embedded_order", self.embedded_order)
        for i, row in enumerate(self.a):
            if len(row) != i:
                raise ValueError(f"a[{i}] must have {i} weights (an explicit method), not {len(row)}")
        if len(self.b) != len(self.a) or not self.a:
            raise ValueError(f"b must have one weight for each of the {len(self.a)} rows of a, not {len(self.b)}")
        if abs(sum(self.b) - 1) > 1e-12:
            raise ValueError(f"b must sum to 1, not {sum(self.b)!r}")
        first_same_as_last = len(self.a) > 1 and self.a[-1] == self.b[:-1] and self.b[-1] == 0
        main = self.a if first_same_as_last else (*self.a, self.b)
        put("b", main[-1])
        put("rows", (*main, *self.extra))
        for i, row in enumerate(self.errors):
            if len(row) not in (len(main) - 1, len(main)):
                raise ValueError(f"errors[{i}] must have {len(main) - 1} or {len(main)} weights, not {len(row)}")
            if abs(sum(row)) > 1e-12:
                raise ValueError(f"errors[{i}] must sum to 0, not {sum(row)!r}")
        if len(self.errors) > 2:
            raise ValueError(f"errors must have at most 2 rows, not {len(self.errors)}")
        # An entry's error is scaled and squared where it is summed, so that all its terms must meet in one pass.
        weighed = {len(main) - 1} | {j for row in self.errors for j, weight in enumerate(row) if weight != 0}
        if len(weighed) > TERMS:
            raise ValueError(
                f"errors must have weights other than 0 for at most {TERMS} slopes, the one at the end of the step "
                f"counted always, not for {len(weighed)}"
            )
        for i, row in enumerate(self.extra):
            if len(row) != len(main) + i:
                raise ValueError(f"extra[{i}] must have {len(main) + i} weights, not {len(row)}")
        if self.dense is None:
            put("dense", hermite(self.b))
        put("dense", tuple(_floats(f"dense[{i}]", row) for i, row in enumerate(self.dense or ())))
        if len(self.dense or ()) != len(self.rows) or len({len(row) for row in self.dense or ()}) != 1:
            raise ValueError(f"dense must have {len(self.rows)} rows of one length, one for each slope")
        for i, row in enumerate(self.dense or ()):
            weight = self.b[i] if i < len(self.b) else 0.0
            if abs(sum(row) - weight) > 1e-9:
                raise ValueError(f"dense[{i}] must sum to the weight {weight!r} of its slope, not {sum(row)!r}")

    @property
    def explicit(self) -> bool:
        """Whether its stages are few and fixed, so that stability limits its steps."""
        return True

    @property
    def adaptive(self) -> bool:
        """Whether it estimates its errors, and so may choose its steps."""
        return bool(self.errors)

    @property
    def stages(self) -> int:
        """Number of slopes of a step, the one at its end included."""
        return len(self.b) + 1

    @property
    def error_order(self) -> int:
        """Order of the error estimate: the local error falls as the power one more of the step."""
        return min(self.order, self.embedded_order or self.order)
