"""Every statement of the survey as an executable check: ``fastdln verify``.

Each module holds the statements of one or a few items of the theory, T1 to T17.
"""

from __future__ import annotations

import difflib
import importlib

from fastdln.theory.claims.registry import Claim, Outside, registered

__all__ = ["Claim", "Outside", "check", "names"]

_MODULES = ("graph",)


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
    return tuple(registered())


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
    known = names()
    if name is not None and name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ValueError(f"name must be that of a claim, not {name!r}{hint}")
    checks = registered()
    return [checks[key].run(seed) for key in (known if name is None else (name,))]
