"""asv: what a first use costs: the import, the first call with and without cached kernels, and what is compiled.

The numbers of functions and of bytes that end up in the disk cache are free of noise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

# what is used first, by its options of `flow` and its widths
USES = {
    "tsit5": ("", (4, 4, 4, 4)),
    "dop853": ("method='dop853'", (4, 4, 4, 4)),
    "rock": ("method='rock'", (4, 4, 4, 4)),
    "auto": ("method='auto'", (4, 4, 4, 4)),
    "certify": ("certify=True", (4, 4, 4, 4)),
    "dense": ("engine='dense'", (4, 4, 4, 4)),
    "wide": ("engine='wide'", (2, 16, 16, 2)),
    "reduced": ("engine='reduced'", (2, 16, 2)),
}

FIRST_CALL = """
import fastdln as dln
widths = {widths}
loss = dln.Quadratic.from_singular_values((2.0, 1.0), shape=(widths[-1], widths[0]))
dln.flow(dln.inits.gaussian(dln.Network(widths), scale=0.6, size=16, rng=0), loss, (0.0, 1.0), {options})
"""

COUNTED = """
import json
from pathlib import Path
from numba.core import event
with event.install_recorder("numba:run_pass") as passes:
    {call}
from fastdln.kernels.machine.compile import cache_folder
print(json.dumps({{
    "functions": sum(e.is_start and "native_lowering" in e.data["name"] for _, e in passes.buffer),
    "bytes": sum(file.stat().st_size for file in Path(cache_folder()).rglob("*.nbc")),
}}))
"""


def first_call(use: str) -> str:
    """The script of a first call."""
    options, widths = USES[use]
    return FIRST_CALL.format(options=options, widths=widths)


def compiled(use: str) -> dict[str, float]:
    """What a first call compiles, where nothing is cached."""
    script = COUNTED.format(call=first_call(use).strip().replace("\n", "\n    "))
    with tempfile.TemporaryDirectory() as cache:
        environment = os.environ | {"FASTDLN_CACHE_DIR": cache}
        done = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        )
    counts: dict[str, float] = json.loads(done.stdout)
    return counts


class Compiled:
    """How many functions are lowered to machine code, and how many bytes are kept of them."""

    params = tuple(USES)
    param_names = ("use",)
    timeout = 600

    def setup_cache(self) -> dict[str, dict[str, float]]:
        return {use: compiled(use) for use in USES}

    def track_functions(self, counts: dict[str, dict[str, float]], use: str) -> float:
        return counts[use]["functions"]

    def track_bytes(self, counts: dict[str, dict[str, float]], use: str) -> float:
        return counts[use]["bytes"]

    track_functions.unit = "functions"
    track_bytes.unit = "bytes"


class FirstCall:
    """The first call in a new process, beyond NumPy's import, where nothing is cached yet."""

    params = tuple(USES)
    param_names = ("use",)
    number = 1
    repeat = 3
    warmup_time = 0
    timeout = 300

    def timeraw_first_call(self, use: str) -> tuple[str, str]:
        empty = "folder = tempfile.TemporaryDirectory()\nos.environ['FASTDLN_CACHE_DIR'] = folder.name"
        return first_call(use), f"import numpy, os, tempfile\n{empty}"


class FirstCallCached(FirstCall):
    """The same with the kernels of an earlier process on disk."""

    repeat = 9

    def setup(self, use: str) -> None:
        subprocess.run([sys.executable, "-c", first_call(use)], check=True)

    def timeraw_first_call(self, use: str) -> tuple[str, str]:
        return first_call(use), "import numpy"


class Import:
    number = 1
    repeat = 9
    warmup_time = 0

    def timeraw_import(self) -> tuple[str, str]:
        return "import fastdln", "import numpy"
