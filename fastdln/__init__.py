"""fastdln: the gradient flow of deep linear networks, for very many small networks or for wide ones.

Every public name is loaded when it is first used (SPEC 1): importing the package compiles nothing and
imports neither Numba nor SciPy.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.2.0"

_SUBMODULES = {
    "figures": "figures",
    "inits": "inits",
    "interop": "interop",
    "theory": "theory",
    "schedules": "integrate.schedules",
}
_NAMES = {
    "Network": "network",
    **dict.fromkeys(("Quadratic", "Regression", "Power", "Huber", "PseudoHuber"), "losses"),
    **dict.fromkeys(("Logistic", "Exponential", "SoftmaxCrossEntropy"), "losses"),
    **dict.fromkeys(("Masked", "Sensing", "Custom"), "losses"),
    "product": "field",
    "value": "field",
    "rhs": "field",
    "gradient_norm": "field",
    "flow": "gradient_flow",
    "Stop": "gradient_flow",
    "descend": "descent",
    "modified_flow": "modified",
    **dict.fromkeys(("compare", "Comparison"), "comparison"),
    "Status": "integrate.status",
    "Trajectories": "results.trajectories",
    "FlowError": "results.trajectories",
    "load": "results.files",
    "Tableau": "integrate.tableau",
}

__all__ = ["__version__", *_SUBMODULES, *_NAMES]


def __getattr__(name: str) -> Any:
    if name in _SUBMODULES:
        return importlib.import_module(f"{__name__}.{_SUBMODULES[name]}")
    if name in _NAMES:
        value = getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)
        globals()[name] = value
        return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
