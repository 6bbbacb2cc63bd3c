"""What a report of a problem should hold."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from llvmlite import binding

import fastdln
from fastdln import arguments
from fastdln.kernels.machine.compile import cache_folder
from fastdln.kernels.machine.lanes import lane_count
from fastdln.revision import NUMERICS

__all__ = ["describe"]

_PACKAGES = ("numpy", "scipy", "numba", "llvmlite", "xarray", "zarr", "msgspec", "matplotlib")
_VECTORS = ("sse4.2", "avx", "avx2", "fma", "avx512f", "neon", "sve")


def describe() -> dict[str, str]:
    """Describe versions, processor, threads and caches.

    Returns
    -------
    dict of str to str
        The descriptions, by name.
    """
    features = binding.get_host_cpu_features()
    return {
        "fastdln": f"{fastdln.__version__}, numerics revision {NUMERICS}",
        "Python": platform.python_version(),
        **{name: _version(name) for name in _PACKAGES},
        "system": platform.platform(),
        "processor": f"{binding.get_host_cpu_name()}, {platform.machine()}",
        "vectors": " ".join(name for name in _VECTORS if features.get(name)) or "none known",
        "lanes": f"{lane_count('float64')} of float64, {lane_count('float32')} of float32",
        "threads": str(arguments.threads(None)),
        "kernel cache": str(cache_folder() or "none: no folder can be written, so each process compiles"),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"
