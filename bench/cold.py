"""What a first use costs, each in processes of its own: ``python -m bench.cold``.

Wall seconds beyond NumPy's import, and the same in units of those of ``import numba`` in the same round
(`bench.rounds`), which no version of this library can avoid.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time

from bench.rounds import cell, keeper, vectors

NUMBA = """
import time, numpy
start = time.perf_counter()
import numba
print(time.perf_counter() - start)
"""

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


def measure() -> dict[str, tuple[float, float, float]]:
    """One round of all of them."""
    with tempfile.TemporaryDirectory() as cache:
        return {
            "import numba": seconds(NUMBA, cache),
            "import fastdln": seconds(IMPORT, cache),
            "first call of flow(), nothing cached": seconds(FIRST_CALL, cache),
            "first call of flow(), kernels cached on disk": seconds(FIRST_CALL, cache),
        }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    print(f"{vectors()}; medians and spreads of {rounds} rounds")
    found = keeper(time.perf_counter).keep(measure, rounds, "first uses")
    print(f"{found}\n{'':44} {'beyond NumPy':>14} {'in import numba':>16}   process: wall, CPU")
    for what in found.rows[0]:
        beyond, wall, cpu = zip(*(row[what] for row in found.rows), strict=True)
        units = cell(row[what][0] / row["import numba"][0] for row in found.rows)
        print(f"{what:<44} {cell(beyond, unit=' s'):>14} {units:>16}   {cell(wall, unit=' s')}, {cell(cpu, unit=' s')}")


if __name__ == "__main__":
    main()
