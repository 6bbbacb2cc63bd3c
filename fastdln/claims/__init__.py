"""Every statement of the survey as an executable check: ``fastdln verify``.

Each module holds the statements of one or a few items of the theory, T1 to T20.
What each item states is in docs/theory/index.md.
"""

from __future__ import annotations

import difflib
import importlib
import json
from collections.abc import Sequence
from dataclasses import asdict
from math import isfinite

from fastdln.claims.registry import Claim, Outside, registered

__all__ = ["Claim", "Outside", "check", "names", "report", "select"]

_MODULES = (
    "graph",
    "conservation",
    "convergence",
    "landscape",
    "minima",
    "hessian",
    "kinds",
    "saddles",
    "quotient",
    "special",
    "modes",
    "exact",
    "rates",
    "descent",
    "batches",
    "edge",
    "losses",
    "completion",
    "reduction",
    "itinerary",
    "tangent",
    "hidden",
)


def names() -> tuple[str, ...]:
    """List the names of all claims.

    Returns
    -------
    tuple of str
        The names, by item of the theory.

    Examples
    --------
    >>> "powers-are-products" in names()
    True
    """
    for module in _MODULES:
        importlib.import_module(f"{__name__}.{module}")
    # modules may have been imported before, in another order
    place = {f"{__name__}.{module}": number for number, module in enumerate(_MODULES)}
    checks, last = registered(), len(place)
    order = {name: (check.number, place.get(check.errors.__module__, last)) for name, check in checks.items()}
    return tuple(sorted(order, key=order.__getitem__))


def select(name: str | None = None) -> tuple[str, ...]:
    """Read the name of a statement.

    Parameters
    ----------
    name : str, optional
        The name; None stands for all.

    Returns
    -------
    tuple of str
        The name, or all of `names`.

    Raises
    ------
    ValueError
        If there is no such statement.

    Examples
    --------
    >>> select("matrix-ode")
    ('matrix-ode',)
    """
    known = names()
    if name is None:
        return known
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"name must be that of a claim, not {name!r}{hint}")
    return (name,)


def check(name: str | None = None, seed: int = 0) -> list[Claim]:
    """Check one statement, or all, on random instances.

    Parameters
    ----------
    name : str, optional
        The statement, one of `names`; by default all.
    seed : int
        Chooses the instances; those of a statement do not depend on which others are checked.

    Returns
    -------
    list of Claim
        The verdicts.

    Raises
    ------
    ValueError
        If there is no such statement.

    Examples
    --------
    >>> (verdict,) = check("powers-are-products", seed=1)
    >>> verdict.holds
    True
    """
    chosen = select(name)
    checks = registered()
    return [checks[key].run(seed) for key in chosen]


def report(verdicts: Sequence[Claim], seed: int) -> str:
    """Write verdicts as JSON: ``{"seed": ..., "claims": [...]}``.

    Parameters
    ----------
    verdicts : sequence of Claim
        The verdicts.
    seed : int
        What chose their instances.

    Returns
    -------
    str
        The document; an error that is not finite is written as null.

    Examples
    --------
    >>> json.loads(report(check("powers-are-products"), seed=0))["claims"][0]["holds"]
    True
    """

    def number(value: float) -> float | None:
        return value if isfinite(value) else None

    entries = []
    for verdict in verdicts:
        entry = asdict(verdict) | {"worst": number(verdict.worst), "holds": verdict.holds}
        if verdict.outside is not None:
            entry["outside"] = {"instance": verdict.outside.instance, "error": number(verdict.outside.error)}
        entries.append(entry)
    return json.dumps({"seed": seed, "claims": entries}, indent=2, allow_nan=False) + "\n"
