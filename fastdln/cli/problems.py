"""What is wrong with an environment, and what to do about it."""

from __future__ import annotations

import math
import os
import platform
import re
import shutil
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

from packaging.requirements import Requirement

from fastdln.resources import cores, installation

__all__ = ["Problem", "known_causes", "problems", "versions"]

# Variables that make slow or break, and what they do.  Numba's are read when it is imported.
_VARIABLES = {
    "NUMBA_DISABLE_JIT": ("Numba compiles nothing, and no kernel can run", True),
    "NUMBA_CPU_NAME": ("kernels are made for another processor than this one", False),
    "NUMBA_CPU_FEATURES": ("kernels use no other instructions than these", False),
    "OPENBLAS_CORETYPE": ("the BLAS of NumPy and SciPy uses kernels for another processor, which may be slow", False),
    "OPENBLAS_L2_SIZE": ("the BLAS of NumPy and SciPy cuts its blocks for another cache, which may be slow", False),
    "NPY_DISABLE_CPU_FEATURES": ("NumPy leaves out instructions that this processor has", False),
    "FASTDLN_PLAIN": ("kernels take twice as long to compile", False),
    "FASTDLN_DEBUG": ("kernels check themselves, which is slow", False),
    "FASTDLN_LANES": ("kernels do not use the vectors of this processor as they are", False),
}
_TESTED = {("Linux", "x86_64"), ("Linux", "aarch64")}
_NEEDED = ("", "scan")  # extras without which there is no command line
_LEAST_ROOM = 100 << 20  # bytes of disk for compiled kernels; those of all methods and losses take less


class Problem(NamedTuple):
    """Something that is not as it should be."""

    what: str
    cure: str
    broken: bool = False
    """Whether fastdln cannot be used as long as it is so."""


def problems() -> list[Problem]:
    """Look for whatever makes fastdln fail, or slower than it could be.

    Returns
    -------
    list of Problem
        The worst first; empty where all is well.
    """
    found = [
        *versions(),
        *_variables(os.environ),
        *_cache(),
        *_vectors(),
        *_system(),
    ]
    found += _threads(Path("/sys/fs/cgroup"), Path("/proc/self/cgroup"))
    return sorted(found, key=lambda problem: not problem.broken)


def known_causes() -> list[Problem]:
    """Look for what may keep fastdln's modules from being imported, without importing them.

    Returns
    -------
    list of Problem
        Those that break it.
    """
    return [problem for problem in (*versions(), *_variables(os.environ)) if problem.broken]


def versions() -> Iterator[Problem]:
    """Find packages that are missing, or of versions that fastdln does not allow.

    Yields
    ------
    Problem
        Broken if fastdln itself or the command line needs the package.
    """
    try:
        requirements = [Requirement(line) for line in metadata.requires("fastdln") or ()]
    except metadata.PackageNotFoundError:
        yield Problem("fastdln is not installed here, but found as a folder", installation("scan"))
        return
    missing: dict[str, list[str]] = {}
    for requirement in requirements:
        extra = _extra(requirement)
        if requirement.name == "fastdln" or not _wanted(requirement, extra):
            continue
        try:
            there = metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            missing.setdefault(extra, []).append(requirement.name)
            continue
        if not requirement.specifier.contains(there, prereleases=True):
            asked = f"{requirement.name}{requirement.specifier}"
            cure = f"python -m pip install '{asked}'"
            yield Problem(f"{requirement.name} is {there}; expected {asked}", cure, extra in _NEEDED)
    for extra, names in missing.items():
        what = f"missing: {', '.join(names)}" + (f", of the extra {extra}" if extra else "")
        yield Problem(what, installation(extra or "scan"), extra in _NEEDED)


def _extra(requirement: Requirement) -> str:
    """The extra that a requirement belongs to, or nothing."""
    named = re.search(r"extra == ['\"]([\w-]+)", str(requirement.marker))
    return named[1] if named else ""


def _wanted(requirement: Requirement, extra: str) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": extra})


def _variables(environment: Mapping[str, str]) -> Iterator[Problem]:
    for name, (effect, broken) in _VARIABLES.items():
        if environment.get(name, "") not in ("", "0"):
            yield Problem(f"{name}={environment[name]}: {effect}", f"unset {name}", broken)


def _cache() -> Iterator[Problem]:
    from fastdln.kernels.machine.compile import cache_folder

    folder = cache_folder()
    if folder is None:
        yield Problem(
            "no folder for compiled kernels can be written: every process compiles them anew, for some seconds",
            "export FASTDLN_CACHE_DIR=DIR, where DIR is a folder that you may write to",
        )
    elif (free := shutil.disk_usage(folder).free) < _LEAST_ROOM:
        yield Problem(
            f"the disk of compiled kernels, {folder}, has {free >> 20} MiB left",
            "make room, or export FASTDLN_CACHE_DIR=DIR, where DIR lies on another disk",
        )


def _vectors() -> Iterator[Problem]:
    from fastdln.kernels.machine.lanes import cpu_features, lane_count

    if platform.machine() in ("x86_64", "AMD64") and not cpu_features() >= {"avx2", "fma"}:
        yield Problem(
            f"this processor has no AVX2 or no FMA: {lane_count()} networks are advanced side by side, more slowly; "
            "results are the same",
            "use another machine for large scans; in a virtual one, pass the processor's features on (QEMU: -cpu host)",
        )


def _threads(cgroups: Path, own: Path) -> Iterator[Problem]:
    """A container, or a service, may have less time than processors."""
    quota = _quota(cgroups, own)
    if quota is not None and quota < cores():
        threads = max(1, math.floor(quota))
        yield Problem(
            f"this process gets the time of {quota:g} processors, and {cores()} threads would share it",
            f"--threads {threads} (threads={threads} in Python), or raise the limit (Docker: --cpus)",
        )


def _quota(cgroups: Path, own: Path) -> float | None:
    """Processors whose time the control groups of this process give, by version 2 or 1; None where there is no limit.

    Parameters are the folder of all groups, and the file that names the one of this process.
    """
    limits = []
    old = cgroups / "cpu" / "cpu.cfs_quota_us"
    if old.is_file() and (limit := int(old.read_text())) > 0:
        limits.append(limit / int(old.with_name("cpu.cfs_period_us").read_text()))
    group = re.search(r"^0::/(.*)$", own.read_text(), re.MULTILINE) if own.is_file() else None
    folder = cgroups / (group[1] if group else "")
    for place in (folder, *folder.parents):
        if (place / "cpu.max").is_file():
            quota, period = (place / "cpu.max").read_text().split()
            limits += [] if quota == "max" else [int(quota) / int(period)]
    return min(limits, default=None)


def _system() -> Iterator[Problem]:
    here = platform.system(), platform.machine()
    if here not in _TESTED:
        yield Problem(
            f"fastdln has not been tested on {' '.join(here)}",
            "run its tests from a clone: python -m pip install -e '.[scan]' --group test && python -m pytest",
        )
