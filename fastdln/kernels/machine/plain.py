"""Whether parts and emitted kernels are compiled by our own pipelines, or plainly, as Numba compiles any function.

`pipelines` rests on classes of Numba's that any release may change.
Where they cannot be used, or with ``FASTDLN_PLAIN=1``, what they would compile is compiled plainly: it computes the
same bits and takes about twice as long to compile.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
from pathlib import Path
from types import ModuleType

import numba

from fastdln.kernels.machine.interrupts import nothing_lost

logger = logging.getLogger("fastdln")

# Releases of Numba with which the tests have run; with any other one pipelines are tried before they are used.
KNOWN = ("0.63", "0.64", "0.65", "0.66", "0.68")
TRIED = "pipelines-work"  # a file of this name in the folder of compiled kernels: they were tried before


@functools.cache
def usable_pipelines(folder: Path | None) -> ModuleType | None:
    """The module `pipelines`, or None where functions are to be compiled plainly.

    Trying it takes Numba seconds in a process that needs no compiler otherwise, so it is not done with releases that
    are known, and success is noted in the folder.
    """
    if os.environ.get("FASTDLN_PLAIN") == "1":
        return None
    try:
        pipelines = importlib.import_module("fastdln.kernels.machine.pipelines")
        known = numba.__version__.startswith(tuple(f"{release}." for release in KNOWN))
        tried = known or (folder is not None and (folder / TRIED).exists())
        if not tried:
            with nothing_lost():
                _try(pipelines)
    except Exception as error:  # whatever another release of Numba makes of our classes
        logger.warning(
            "kernels take about twice as long to compile, as fastdln's own pipelines cannot be used with Numba %s "
            "(%s: %s)", numba.__version__, type(error).__name__, error,
        )  # fmt: skip
        return None
    if folder is not None and not tried:
        with contextlib.suppress(OSError):  # it will be tried again
            (folder / TRIED).touch()
    return pipelines


def _try(pipelines: ModuleType) -> None:
    """Compile and call a part, an entry point that uses it, and an emitted one."""

    @pipelines.part
    def half(x):
        return x / 2

    @numba.njit(error_model="numpy")
    def with_part(x):
        return half(x) + half(3) + half(5)

    @numba.njit(error_model="numpy", pipeline_class=pipelines.EmittedCompiler)
    def doubled(x):
        return x + x

    if (found := (with_part(1.0), doubled(1.5))) != (4.5, 3.0):
        raise RuntimeError(f"9/2 and 3 come out as {found}")
    if len(half.signatures) != 2:
        raise RuntimeError("parts are compiled for every number that is written in a call")
