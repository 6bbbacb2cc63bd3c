"""The survey, one module a chapter."""

from __future__ import annotations

import importlib
from types import ModuleType

_CHAPTERS = (
    "adjacency",
    "descent",
    "exact",
    "hessian",
    "invariants",
    "itinerary",
    "landscape",
    "quotient",
    "rates",
    "reduction",
    "saddles",
    "tangent",
)

__all__ = ["claims", *_CHAPTERS]


def __getattr__(name: str) -> ModuleType:
    if name == "claims":  # the statements of all chapters, which lie above the flow that some of them are checked on
        return importlib.import_module("fastdln.claims")
    if name in _CHAPTERS:
        return importlib.import_module(f"{__name__}.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
