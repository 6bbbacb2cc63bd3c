"""The one decorator of compiled code: its flags, and a disk cache that cannot go stale.

Numba's cache does not see edits of functions imported from another file, nor of the intrinsics that emit
machine code.  So the cache lives in a folder of its own, named after a hash of every source that compiled
code is made of, and of the versions of what compiles it: an upgrade or an edit begins an empty folder.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import os
import platform
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import llvmlite
import numba
import numpy as np
from numba.core import config, sigutils
from numba.core.ccallback import CFunc
from numpy.typing import DTypeLike

from fastdln.kernels.machine import announce
from fastdln.kernels.machine.cache import kernel_cache
from fastdln.kernels.machine.interrupts import nothing_lost
from fastdln.kernels.machine.plain import usable_pipelines

logger = logging.getLogger("fastdln")

# What machine code is made of: every source below these folders is part of the cache's name.
KERNELS = Path(__file__).parents[1]
INTEGRATE = KERNELS.parent / "integrate"

# What changes the code that is made, or what it is asked for, beside its sources.
SWITCHES = ("FASTDLN_DEBUG", "FASTDLN_PLAIN")


def _cache_root() -> Path:
    """The user's folder for caches, by the convention of the operating system."""
    if chosen := os.environ.get("FASTDLN_CACHE_DIR"):
        return Path(chosen)
    if chosen := os.environ.get("NUMBA_CACHE_DIR"):
        return Path(chosen) / "fastdln"
    if sys.platform == "win32":
        return Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local")) / "fastdln" / "Cache"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "fastdln"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "fastdln"


def _stamp() -> str:
    digest = hashlib.sha256()
    for folder in (KERNELS, INTEGRATE):
        for source in sorted(folder.rglob("*.py")):
            name = source.relative_to(folder.parent).as_posix()
            digest.update(name.encode() + b"\0" + source.read_bytes() + b"\0")
    for switch in SWITCHES:
        digest.update(f"{switch}={os.environ.get(switch, '')}".encode() + b"\0")
    for version in (numba.__version__, llvmlite.__version__, platform.python_version(), platform.machine()):
        digest.update(version.encode() + b"\0")
    return digest.hexdigest()[:16]


@functools.cache
def cache_folder() -> Path | None:
    """Folder of the compiled kernels of this very source, or None where no folder can be written.

    The root is ``FASTDLN_CACHE_DIR``, else ``NUMBA_CACHE_DIR/fastdln``, else the user's cache folder.
    """
    try:
        folder = _cache_root() / f"kernels-{_stamp()}"
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (OSError, RuntimeError) as error:  # RuntimeError: no home folder
        logger.warning("kernels are compiled anew in every process: no cache folder can be written (%s)", error)
        return None
    return folder


def kernel(function: Callable[..., Any]) -> Any:
    """Compile an entry point: at its first call, without the interpreter lock, cached on disk.

    No fast-math of any kind: the order of operations decides the bits, and NaN must stay NaN.
    """
    return _compiled(function)


def emitted(function: Callable[..., Any]) -> Any:
    """Compile an entry point like `kernel`, whose body is nothing but code emitted as it is to be run."""
    pipelines = usable_pipelines(cache_folder())
    return _compiled(function, **({"pipeline_class": pipelines.EmittedCompiler} if pipelines else {}))


@functools.cache
def address_of(function: Callable[..., Any], n_args: int) -> int:
    """Compile ``void f(int64, ...)`` that compiled code calls by its address (`library.invoke`), cached on disk.

    So it is no part of what calls it, and is compiled only where it is wanted.
    """
    return _address(function, [numba.types.int64] * n_args)


@functools.cache
def routine(function: Callable[..., Any], dtype: DTypeLike) -> int:
    """Compile ``void f(workspace, memory, lanes)``, where memory points to numbers of a type, as `address_of`."""
    memory = numba.types.CPointer(numba.from_dtype(np.dtype(dtype)))
    return _address(function, [numba.types.int64, memory, numba.types.int64])


def _address(function: Callable[..., Any], arguments: list[Any]) -> int:
    made: Any = CFunc(
        function, sigutils.normalize_signature(numba.types.void(*arguments)), locals={},
        options={"error_model": "numpy"},
    )  # fmt: skip
    if not _keep(made, function):
        announce.compiling(None)
    with nothing_lost():
        made.compile()
    _callbacks.append(made)
    return int(made.address)


_callbacks: list[Any] = []  # the machine code lives as long as these


def _compiled(function: Callable[..., Any], **options: Any) -> Any:
    made = numba.njit(error_model="numpy", nogil=True, **options)(function)
    kept = _keep(made, function)
    compile_ = made.compile

    @functools.wraps(compile_)
    def compile_heard(*args: Any) -> Any:
        if not kept:
            announce.compiling(None)
        with nothing_lost():
            return compile_(*args)

    made.compile = compile_heard  # which the dispatcher calls for types that it has not seen
    return made


def _keep(made: Any, function: Callable[..., Any]) -> bool:
    """Give a function that is to be compiled its cache, if there can be one."""
    folder, usual = cache_folder(), config.CACHE_DIR
    if folder is None:
        return False
    config.CACHE_DIR = str(folder)  # read by Numba while it makes the cache
    try:
        cache = kernel_cache(function, folder)
    finally:
        config.CACHE_DIR = usual
    if cache is not None:
        made._cache = cache
    return cache is not None


def part(function: Callable[..., Any]) -> Any:
    """Compile a function that only compiled code calls: optimised, and cached, within the entry points that use it.

    A number that is written in a call counts as any other of its type, or there would be a version for each.
    """
    pipelines = usable_pipelines(cache_folder())
    return pipelines.part(function) if pipelines else numba.njit(error_model="numpy")(function)
