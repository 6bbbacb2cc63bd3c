"""The one decorator of compiled code: its flags, and a disk cache that can not go stale.

Numba's cache does not see edits of functions imported from another file, nor of the intrinsics that emit
machine code.  So the cache lives in a folder of its own, named after a hash of every kernel source and of the
versions of what compiles them: an upgrade or an edit begins an empty folder.
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
from numba.core import config

from fastdln.kernels.pipelines import EmittedCompiler, PartCompiler

logger = logging.getLogger("fastdln")


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
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
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
    return _cached(numba.njit, function, nogil=True, error_model="numpy")


def emitted(function: Callable[..., Any]) -> Any:
    """Compile an entry point like `kernel`, whose body is nothing but code emitted as it is to be run."""
    return _cached(numba.njit, function, nogil=True, error_model="numpy", pipeline_class=EmittedCompiler)


def address_of(function: Callable[..., Any], n_args: int) -> int:
    """Compile ``void f(int64, ...)`` that compiled code calls by its address (`vectors.invoke`), cached on disk.

    So it is no part of what calls it, and is compiled only where it is wanted.
    """
    signature = numba.types.void(*[numba.types.int64] * n_args)
    made = _callbacks.get(function)
    if made is None:
        made = _callbacks[function] = _cached(numba.cfunc, function, signature, error_model="numpy")
    return int(made.address)


_callbacks: dict[Callable[..., Any], Any] = {}  # the machine code lives as long as these


def _cached(decorate: Any, function: Callable[..., Any], *args: Any, **options: Any) -> Any:
    folder = cache_folder()
    usual = config.CACHE_DIR
    config.CACHE_DIR = "" if folder is None else str(folder)  # read by Numba while it decorates
    try:
        return decorate(*args, cache=folder is not None, **options)(function)
    finally:
        config.CACHE_DIR = usual


def part(function: Callable[..., Any]) -> Any:
    """Compile a function that only compiled code calls: without wrappers and reference counts, which take longer to
    compile than the function itself.  It is optimised, and cached, within the entry points that use it."""
    return numba.njit(
        error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True, _nrt=False, pipeline_class=PartCompiler
    )(function)
