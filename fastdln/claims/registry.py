"""A statement as an executable check: what it says, when it holds, what is computed, and how far off it was.

A check is a generator of errors: one number for each instance it tries, so scaled that `tolerance` is what rounding
and integration explain. The statement holds if every error is at most that. Where a hypothesis matters, the check also
has an instance *outside* of it: there the same error must exceed the tolerance.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from math import isnan

import numpy as np

__all__ = ["Check", "Claim", "Outside", "claim", "registered"]

Errors = Callable[[np.random.Generator], Iterable[float]]
Violation = Callable[[np.random.Generator], float]


@dataclass(frozen=True)
class Outside:
    """An instance outside of the hypotheses, where the statement fails.

    Parameters
    ----------
    instance : str
        What it is.
    error : float
        The error there: above the tolerance of the claim where the statement indeed fails.
    """

    instance: str
    error: float


@dataclass(frozen=True)
class Claim:
    """The verdict on one statement.

    Parameters
    ----------
    name : str
        Its name.
    item : str
        The item of the theory that it belongs to, T1 to T20: a section of docs/theory.
    statement : str
        The statement in words.
    hypotheses : str
        When it holds.
    instances : str
        What was computed, on which random instances.
    count : int
        The number of instances.
    worst : float
        The largest error, NaN if any is.
    tolerance : float
        What it is compared with.
    outside : Outside, optional
        An instance outside of the hypotheses.
    """

    name: str
    item: str
    statement: str
    hypotheses: str
    instances: str
    count: int
    worst: float
    tolerance: float
    outside: Outside | None

    @property
    def holds(self) -> bool:
        """Whether every error is within the tolerance, and that of the instance outside the hypotheses is not."""
        return self.worst <= self.tolerance and (self.outside is None or self.outside.error > self.tolerance)


@dataclass(frozen=True)
class Check:
    """A statement with the function that checks it."""

    name: str
    item: str
    statement: str
    hypotheses: str
    instances: str
    tolerance: float
    errors: Errors
    violation: tuple[str, Violation] | None = None

    @property
    def number(self) -> int:
        """That of its item."""
        return int(self.item.removeprefix("T"))

    def outside(self, instance: str) -> Callable[[Violation], Check]:
        """Register the error of an instance outside of the hypotheses; decorates its function."""

        def register(function: Violation) -> Check:
            _REGISTRY[self.name] = replace(self, violation=(instance, function))
            return _REGISTRY[self.name]

        return register

    def run(self, seed: int) -> Claim:
        """Check the statement on the instances of a seed, whatever other checks run."""
        key = zlib.crc32(self.name.encode())

        def generator(stream: int) -> np.random.Generator:
            return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(key, stream)))

        errors = [float(error) for error in self.errors(generator(0))]
        if not errors:
            raise RuntimeError(f"the check of {self.name!r} tried no instance")
        worst = float("nan") if any(map(isnan, errors)) else max(errors)
        outside = None
        if self.violation is not None:
            instance, function = self.violation
            outside = Outside(instance, float(function(generator(1))))
        return Claim(
            self.name, self.item, self.statement, self.hypotheses, self.instances, len(errors), worst,
            self.tolerance, outside,
        )  # fmt: skip


_REGISTRY: dict[str, Check] = {}


def claim(
    name: str, item: str, *, statement: str, hypotheses: str, instances: str, tolerance: float
) -> Callable[[Errors], Check]:
    """Register a statement; decorates the generator of its errors."""

    def register(function: Errors) -> Check:
        if name in _REGISTRY:
            raise ValueError(f"there are two claims named {name!r}")
        _REGISTRY[name] = Check(name, item, statement, hypotheses, instances, tolerance, function)
        return _REGISTRY[name]

    return register


def registered() -> dict[str, Check]:
    """All checks by name that are known by now; `fastdln.claims.names` knows their order."""
    return dict(_REGISTRY)
