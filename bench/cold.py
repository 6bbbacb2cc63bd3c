"""What a first use costs, each in processes of its own: ``python -m bench.cold``."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

import numpy as np

IMPORT = """
import time, numpy
start = time.perf_counter()
import fastdln
print(time.perf_counter() - start)
"""

FIRST_CALL = """
import time, numpy
start = time.perf_counter()
import fastdln as dln
loss = dln.Quadratic.from_singular_values((4, 3, 2, 1), shape=(4, 4))
dln.flow(dln.inits.gaussian(dln.Network((4, 4, 4, 4)), scale=0.6, size=16, rng=0), loss, (0.0, 20.0))
print(time.perf_counter() - start)
"""


def seconds(script: str, cache: str) -> tuple[float, float, float]:
    """The script's seconds beyond NumPy's import, as it prints them; wall and CPU seconds of the process."""
    start, used = time.perf_counter(), os.times()
    done = subprocess.run(
        [sys.executable, "-c", script],
        env=os.environ | {"FASTDLN_CACHE_DIR": cache},
        capture_output=True,
        text=True,
        check=True,
    )
    wall, now = time.perf_counter() - start, os.times()
    cpu = now.children_user - used.children_user + now.children_system - used.children_system
    return float(done.stdout), wall, cpu


def report(what: str, runs: list[tuple[float, float, float]]) -> None:
    beyond, wall, cpu = np.median(runs, axis=0)
    print(f"{what:<46} {beyond:6.2f} s beyond NumPy's import; process: {wall:5.2f} s, CPU {cpu:5.2f} s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    cold, warm = [], []
    for _ in range(rounds):
        with tempfile.TemporaryDirectory() as cache:
            cold.append(seconds(FIRST_CALL, cache))
            warm.append(seconds(FIRST_CALL, cache))
    with tempfile.TemporaryDirectory() as cache:
        imported = [seconds(IMPORT, cache) for _ in range(rounds)]
    print(f"medians of {rounds}")
    report("import fastdln", imported)
    report("first call of flow(), nothing cached", cold)
    report("first call of flow(), kernels cached on disk", warm)


if __name__ == "__main__":
    main()
