"""What the tests of the page share: small scans, stores that are half done, a server in a thread."""

from __future__ import annotations

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from fastdln.scan import scan
from fastdln.scan.cell import Cell
from fastdln.scan.creation import create
from fastdln.scan.layout import Layout
from fastdln.scan.plan import Plan
from fastdln.scan.reading import read
from fastdln.scan.store import JOURNAL, open_store

SMALL: dict[str, Any] = {
    "name": "<b>small</b> $$x$$",
    "trajectories": 10,
    "seed": 2,
    "network": {"widths": [2, 3, 2]},
    "target": {"kind": "singular_values", "values": [2.0, 1.0]},
    "init": {"kind": "gaussian", "scale": [0.1, 0.3, 0.9]},
    "flow": {"t_end": 20.0, "weight_decay": [0.0, 0.1], "max_steps": [56, 1000]},
    "record": {
        "times": 12,
        "observables": [
            "loss", "strengths", "learning_times", "weights", "sharpness", "grad_norm", "itinerary",
            "layer_alignment", "singular_values",
        ],
    },
}  # fmt: skip
ONE = SMALL | {"init": {"kind": "gaussian", "scale": 0.3}, "flow": {"t_end": 20.0}}
RATES = ONE | {
    "trajectories": 3,
    "updates": {"kind": "descent", "steps": 60, "learning_rate": {"start": 0.05, "stop": 2.0, "count": 48}},
    "record": {"times": {"every": 2}, "observables": ["loss", "strengths", "sharpness"]},
}
del RATES["flow"]
WORDS = ONE | {
    "network": {"widths": [[2, 2], [2, 4, 4, 2]]},
    "loss": {"kind": ["huber", "pseudo_huber"], "delta": 0.5},
    "record": {"times": 5, "observables": ["loss"]},
}


def made(spec: dict[str, Any], folder: Path, chunk: int | None = None) -> Path:
    """Run a scan, and return its store."""
    path = folder / "x.zarr"
    scan(spec, path, chunk=chunk, threads=1)
    return path


def half_done(whole: Path, path: Path, units: int) -> Path:
    """Copy a store as it was when some units were finished, the next of them on its way."""
    shutil.copytree(whole, path)
    store = open_store(path)
    records = list(store.units().values())
    for record in records[units + 1 :]:
        for name in record["chunks"]:
            for file in _files(path, name, store.layout, record["unit"]):
                file.unlink()
    lines = (path / JOURNAL).read_bytes().splitlines(keepends=True)
    (path / JOURNAL).write_bytes(b"".join(lines[:units]) + lines[units][:20])
    return path


def go_on(whole: Path, path: Path, units: int) -> None:
    """Bring a copy to where so many units are finished."""
    for source in whole.rglob("*"):
        target = path / source.relative_to(whole)
        if source.is_file() and source.name != JOURNAL and not target.exists():
            shutil.copy(source, target)
    lines = (whole / JOURNAL).read_bytes().splitlines(keepends=True)
    (path / JOURNAL).write_bytes(b"".join(lines[:units]))


def chunk_file(path: Path, name: str, unit: int) -> Path:
    """Return the file of a unit in an array."""
    return next(_files(path, name, open_store(path).layout, unit))


def _files(path: Path, name: str, layout: Layout, unit: int) -> Iterator[Path]:
    place = ".".join(map(str, layout.place(layout.unit(unit))))
    yield from (path / name).glob(f"c.{place}*")


def million(folder: Path) -> Path:
    """Make a store of 10^6 trajectories, as if they had been computed: every thousandth fails."""
    spec = ONE | {
        "trajectories": 250_000, "init": {"kind": "gaussian", "scale": [0.1, 0.2, 0.3, 0.4]},
        "record": {"times": 4, "observables": ["loss"]},
    }  # fmt: skip
    plan = Plan(read(spec), folder)
    layout = Layout.of(plan)
    path = folder / "million.zarr"
    create(path, layout, [Cell.of(plan, i) for i in range(plan.n_cells)])
    store = open_store(path)
    rng = np.random.default_rng(0)
    with store.writer() as writer:
        for unit in writer.missing():
            k = np.arange(unit.first, unit.first + unit.size)
            results = {v.name: np.zeros((unit.size, *v.shape[1:]), v.dtype) for v in layout.variables}
            results["loss"] = rng.random((unit.size, 4)) + unit.cell
            results["status"] = np.where(k % 1000 == 7, 2, 0).astype(np.int8)
            writer.write(unit, results, {"failures": {}, "seconds": 0.0})
    return path


@contextmanager
def serving(path: Path) -> Iterator[Any]:
    """Serve a store from a thread."""
    from fastdln.view.server import Server

    ready, holder = threading.Event(), []

    def run() -> None:
        asyncio.set_event_loop(asyncio.new_event_loop())
        holder.append(Server(path))
        holder[0].run(ready.set)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        assert ready.wait(30)
        yield holder[0]
    finally:
        holder[0].stop()
        thread.join(30)
    assert not thread.is_alive()


def damage(path: Path, name: str, unit: int) -> None:
    """Change a byte in the file of a unit."""
    file = chunk_file(path, name, unit)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(bytes(data))


def records(path: Path) -> list[dict[str, Any]]:
    """Read the lines of a journal."""
    return [json.loads(line) for line in (path / JOURNAL).read_text().splitlines()]
