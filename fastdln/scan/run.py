"""Running a scan: whatever units are missing, one after another, each by one call on all cores.

What a unit computes depends on the scan file alone: every trajectory draws from a stream of its own, and
`flow` and `descend` give it the same bits in any batch. So a scan may be stopped anywhere, and gone on with by any
number of threads.
"""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import xarray as xr
from numpy.typing import NDArray

from fastdln.integrate.status import Status
from fastdln.kernels.machine.announce import heard
from fastdln.resources import say
from fastdln.results import dataset
from fastdln.results.trajectories import Trajectories
from fastdln.scan.cell import Cell
from fastdln.scan.creation import create
from fastdln.scan.derived import arrays
from fastdln.scan.disk import check_room
from fastdln.scan.layout import Layout
from fastdln.scan.plan import Plan, load_plan
from fastdln.scan.prepare import prepare
from fastdln.scan.progress import Progress
from fastdln.scan.reading import read
from fastdln.scan.spec import SpecError
from fastdln.scan.store import Store, open_store

__all__ = ["open_or_create", "reopen", "run", "scan"]


def scan(
    spec: str | Path | Mapping[str, Any],
    out: str | Path,
    *,
    chunk: int | None = None,
    threads: int | None = None,
    progress: bool = False,
    allow_mixed: bool = False,
) -> xr.Dataset:
    """Run a scan, or what is missing of it.

    Parameters
    ----------
    spec : str, Path or mapping
        The path of a scan file, or its contents as a mapping; `fastdln.scan.spec` describes them.
    out : str or Path
        The folder of the store: made, or gone on with if it holds the same scan.
    chunk : int, optional
        Trajectories in a unit of work; results do not depend on it.
    threads : int, optional
        Threads, by default one for each core.
    progress : bool
        Show how far the scan is, on stderr.
    allow_mixed : bool
        Go on with a store that was begun by another numerics revision, that is, by a version whose numbers are not
        the same bits; the attribute ``mixed_revisions`` of the results then tells both.

    Returns
    -------
    xarray.Dataset
        The results, read from the store when needed.

    Raises
    ------
    SpecError
        If the scan cannot be run; nothing has been written then.
    StoreError
        If the store cannot be used.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> spec = {
    ...     "trajectories": 5,
    ...     "network": {"widths": [2, 3, 2]},
    ...     "target": {"kind": "singular_values", "values": [2.0, 1.0]},
    ...     "init": {"kind": "gaussian", "scale": [0.01, 0.1, 1.0]},
    ...     "flow": {"t_end": "auto"},
    ...     "record": {"times": 10},
    ... }
    >>> with TemporaryDirectory() as folder:
    ...     results = scan(spec, Path(folder, "x.zarr")).load()
    >>> dict(results["loss"].sizes)
    {'scale': 3, 'trajectory': 5, 'time': 10}
    """
    plan = Plan(read(spec), Path()) if isinstance(spec, Mapping) else load_plan(Path(spec))
    with heard(say) if progress else contextlib.nullcontext():
        store = open_or_create(plan, Path(out), chunk)
        run(store, store.damaged(), threads=threads, progress=progress, allow_mixed=allow_mixed)
    return store.dataset()


def reopen(path: Path, data: Path | None = None) -> Store:
    """Open the store of a scan to go on with it.

    Parameters
    ----------
    path : Path
        The folder of the store.
    data : Path, optional
        The folder of the scan's data files.

    Returns
    -------
    Store
        The store.

    Raises
    ------
    SpecError
        If data files are not there, or not the same any more.
    """
    store = open_store(path)
    if data is not None:
        store = store.with_folder(data)
    try:
        store.check_same(store.layout.plan)
    except SpecError as error:
        raise SpecError(
            f"{error}\nIf the data files were moved, tell their folder by --data (data= in Python)"
        ) from None
    return store


def open_or_create(plan: Plan, path: Path, chunk: int | None = None) -> Store:
    """Open the store of a scan, or make it.

    Parameters
    ----------
    plan : Plan
        The scan.
    path : Path
        The folder of the store.
    chunk : int, optional
        Trajectories in a unit.

    Returns
    -------
    Store
        The store.
    """
    if not path.exists():
        layout, cells = prepare(plan, chunk)
        if not path.parent.is_dir():
            raise SpecError(f"{path} cannot be made: there is no folder {path.parent}")
        check_room(path.parent, layout.n_bytes)
        create(path, layout, cells)
    store = open_store(path)
    store.check_same(plan)
    made, asked = (layout.chunk * layout.cells for layout in (store.layout, Layout.of(plan, chunk)))
    if chunk is not None and asked != made:
        raise SpecError(f"chunk = {chunk}: {path} was made with units of {made} trajectories, which cannot be changed")
    # The data have just been found to be the same there; they need not lie any more where the store saw them.
    return store.with_folder(plan.folder)


def run(
    store: Store,
    damaged: Collection[int] = (),
    *,
    threads: int | None = None,
    progress: bool = False,
    allow_mixed: bool = False,
) -> None:
    """Do the units that a store lacks.

    Parameters
    ----------
    store : Store
        The store.
    damaged : collection of int
        Units to do again, as `Store.damaged` finds them.
    threads : int, optional
        Threads, by default one for each core.
    progress : bool
        Show how far the scan is, on stderr.
    allow_mixed : bool
        As for `scan`.
    """
    layout = store.layout
    if not damaged and len(store.units()) == layout.n_units:
        return
    with (
        store.writer(allow_mixed=allow_mixed) as writer,
        ThreadPoolExecutor(max_workers=1) as background,
        Progress(layout, writer.sound(damaged), shown=progress) as shown,
    ):
        written: Future[None] | None = None
        for unit in writer.missing(damaged):
            began = time.perf_counter()
            cell, *others = (Cell.of(layout.plan, index) for index in unit.cells)
            sol = cell.integrate(unit.first, unit.size, others=others, threads=threads, progress=shown.within)
            failures = Counter(Status(code).name for code in sol.status[~sol.success].tolist())
            record = {"failures": failures, "seconds": round(time.perf_counter() - began, 3)}
            # While a unit is brought to the disk the next one is integrated, but no more than one.
            if written is not None:
                written.result()
            written = background.submit(writer.write, unit, results(sol, layout), record)
            shown.done(unit, failures.total())
        if written is not None:
            written.result()


def results(sol: Trajectories, layout: Layout) -> dict[str, NDArray[Any]]:
    """Name what a unit has computed as the arrays of the store do.

    Parameters
    ----------
    sol : Trajectories
        The trajectories of the unit.
    layout : Layout
        The arrays of the store.

    Returns
    -------
    dict of str to ndarray, shape (trajectories, ...)
        The results.
    """
    named = dataset.arrays(sol) | arrays(layout.plan.document.record.observables, sol)
    return {v.name: named[v.name] for v in layout.variables}
