"""Numba's cache of one function, where a file that cannot be read or written is a miss and no failure.

A full disk, a file that was cut off, a folder that someone else owns: all this costs is time.

This rests on Numba's `FunctionCache` and its index, which it does not promise to keep.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numba.core.caching import FunctionCache

from fastdln.kernels.machine import announce

logger = logging.getLogger("fastdln")


class KernelCache(FunctionCache):
    """The compiled code of one function on disk."""

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """What was compiled before, or None."""
        found = None
        try:
            found = super().load_overload(sig, target_context)
        except Exception as error:  # whatever unpickling and linking make of damaged files
            self._warn(error)
        if found is None:
            announce.compiling(Path(self.cache_path).parent)
        return found

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep what was compiled, in place of a damaged file if there is one."""
        try:
            self._save(sig, data)
        except RuntimeError:  # there is nothing to save: LLVM was interrupted as it handed over the code
            raise
        except Exception as error:
            self._warn(error)

    def _save(self, sig: Any, data: Any) -> None:
        try:
            self._cache_file._load_index()
        except Exception:  # which cannot be read: begin a new one
            self.flush()
        super().save_overload(sig, data)

    def _warn(self, error: Exception) -> None:
        warn_once(Path(self.cache_path).parent, error)


def kernel_cache(function: Callable[..., Any], folder: Path) -> KernelCache | None:
    """The cache of a function below a folder, which Numba's configuration names; None where there can be none."""
    try:
        cache = KernelCache(function)
    except (OSError, RuntimeError) as error:  # RuntimeError: Numba finds no place
        warn_once(folder, error)
        return None
    if folder not in Path(cache.cache_path).parents:  # Numba took another place
        warn_once(folder, OSError("no folder can be made in it"))
        return None
    return cache


def warn_once(folder: Path, error: Exception) -> None:
    """Say once in a process that compiled kernels are not kept, or not found."""
    if folder not in _warned:
        _warned.add(folder)
        logger.warning(
            "kernels are compiled anew: the cache folder %s cannot be used as it should (%s: %s); if its disk is not "
            "full, remove it", folder, type(error).__name__, error,
        )  # fmt: skip


_warned: set[Path] = set()
