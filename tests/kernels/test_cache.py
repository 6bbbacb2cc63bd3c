"""Compiled kernels: whatever happens to files of their cache costs time and no flow, and an interrupt stays one."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

# One kernel with a part and one callback are enough: what is tested is that of all.
KERNELS = """
from fastdln.kernels.machine.compile import address_of, kernel, part

@part
def double(x):
    return 2 * x

@kernel
def twice(x):
    return double(x)

def nothing(x):
    pass

def run():
    assert address_of(nothing, 1)
    assert twice(2) == 4
    assert twice(2.5) == 5.0
"""
RUN = """
import kernels
kernels.run()
print(*(sum(counts.values()) for counts in kernels.twice.stats[1:]))
"""
WARNING = "kernels are compiled anew: the cache folder "


class Cache:
    """A folder with those kernels, and their cache."""

    def __init__(self, root):
        self.folder = root / "cache"
        (root / "kernels.py").write_text(KERNELS)
        self._environment = os.environ | {"FASTDLN_CACHE_DIR": str(self.folder), "PYTHONPATH": str(root)}

    def python(self, code):
        """Run code in a fresh process; what it wrote to the standard output and error."""
        command = [sys.executable, "-W", "error", "-c", code]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split(), done.stderr

    def files(self, suffix):
        found = list(self.folder.rglob(f"*.{suffix}"))
        assert len(found) > 1
        return found


FILLED, EMPTY = ["2", "0"], ["0", "2"]  # hits and misses


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    cache = Cache(tmp_path_factory.mktemp("kernels"))
    assert cache.python(RUN) == (EMPTY, "")
    return cache


@pytest.mark.parametrize(("suffix", "keep"), [("nbi", 0.0), ("nbi", 0.5), ("nbc", 0.5)])
def test_damaged_files_are_replaced_and_said_once(cache, suffix, keep):
    for path in cache.files(suffix):
        path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    counts, said = cache.python(RUN)
    assert counts == EMPTY
    assert said.count(WARNING) == len(said.splitlines()) == 1
    assert str(cache.folder) in said
    assert cache.python(RUN) == (FILLED, "")


def test_files_that_can_neither_be_read_nor_replaced_cost_time_only(tmp_path):
    cache = Cache(tmp_path)
    cache.python(RUN)
    for path in cache.files("nbi"):
        path.unlink()
        path.mkdir()
    counts, said = cache.python(RUN)
    assert counts == EMPTY
    assert said.count(WARNING) == len(said.splitlines()) == 1


FULL = """
import builtins, errno
import fastdln.kernels.machine.compile

usual = builtins.open

def full(name, mode="r", *args, **kwargs):
    if "w" in mode:
        raise OSError(errno.ENOSPC, "No space left on device", str(name))
    return usual(name, mode, *args, **kwargs)

builtins.open = full
"""


def test_a_full_disk_costs_time_only(tmp_path):
    cache = Cache(tmp_path)
    counts, said = cache.python(FULL + RUN)
    assert counts == EMPTY
    assert said.count(WARNING) == len(said.splitlines()) == 1
    assert "No space left on device" in said
    assert cache.python(RUN) == (EMPTY, "")


def test_a_changed_index_of_numba_costs_time_only(tmp_path):
    code = "from numba.core.caching import IndexDataCacheFile; del IndexDataCacheFile._load_index\n"
    counts, said = Cache(tmp_path).python(code + RUN)
    assert counts == EMPTY
    assert said.count(WARNING) == len(said.splitlines()) == 1


LOGGED = """
import logging
logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
"""
COMPILING = "fastdln: compiling kernels for this processor, which takes about "


def test_the_first_compilation_is_logged_once(tmp_path):
    cache = Cache(tmp_path)
    counts, said = cache.python(LOGGED + RUN)
    assert counts == EMPTY
    assert said.count(COMPILING) == len(said.splitlines()) == 1
    (folder,) = cache.folder.glob("kernels-*")
    assert f"kept in {folder} and need not be compiled again" in said
    assert cache.python(LOGGED + RUN) == (FILLED, "")


def test_where_nothing_can_be_kept_that_is_said(tmp_path):
    cache = Cache(tmp_path)
    cache.folder.write_text("no folder")
    _, said = cache.python(LOGGED + RUN)
    assert said.count(COMPILING) == 1
    assert "every process does, as no cache folder can be written" in said


INTERRUPT = """
import signal
from fastdln.kernels.machine import plain
from numba.core.codegen import JITCodeLibrary

plain.KNOWN = ()  # pipelines are tried
usual, left = JITCodeLibrary._object_compiled_hook.__func__, [HERE]

def hook(cls, module, code):
    # LLVM hands over the code, and Python is asked at last what signals there are
    left[0] -= 1
    if left[0] == -1:
        signal.raise_signal(signal.SIGINT)
    usual(cls, module, code)

JITCodeLibrary._object_compiled_hook = classmethod(hook)
try:
    import kernels
    kernels.run()
except KeyboardInterrupt:
    print("interrupted")
import kernels
kernels.run()
"""


# in a module of Numba's, as pipelines are tried (two), in the callback, in the kernel for one type and another
@pytest.mark.parametrize("here", [1, 2, 3, 4, 5, 6])
def test_an_interrupt_of_compilation_is_one(tmp_path, here):
    cache = Cache(tmp_path)
    assert cache.python(INTERRUPT.replace("HERE", str(here))) == (["interrupted"], "")
