"""The commands that make stores of scans, go on with them and show them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from fastdln.cli import STOPPED, tables
from fastdln.cli.program import command, err, fail, out, say, warn
from fastdln.resources import installation
from fastdln.scan import run as running
from fastdln.scan.plan import load_plan
from fastdln.scan.prepare import estimate, prepare
from fastdln.scan.spec import SpecError
from fastdln.scan.store import Store, StoreError, open_store
from fastdln.text import plain

SpecFile = Annotated[Path, typer.Argument(help="The scan file (TOML).", metavar="SPEC")]
StoreFolder = Annotated[Path, typer.Argument(help="The scan's store.", metavar="STORE")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Where to draw the picture (STORE's name, .png).")]
NoPlot = Annotated[bool, typer.Option("--no-plot", help="Draw no picture.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads (one for each core).")]
AllowMixed = Annotated[
    bool, typer.Option("--allow-mixed", help="Go on with a store whose numbers are of another revision.")
]


@command
def scan(
    spec: SpecFile,
    store: Annotated[Path | None, typer.Option("--out", help="The store to make, or to go on with.")] = None,
    plot: Plot = None,
    no_plot: NoPlot = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and estimate only.")] = False,
    threads: Threads = None,
    chunk: Annotated[int | None, typer.Option("--chunk", min=1, help="Trajectories in a unit.")] = None,
    allow_mixed: AllowMixed = False,
) -> None:
    """Run a scan, or what is missing of it.

    Examples:
      fastdln scan examples/digits.toml --dry-run
      fastdln scan examples/digits.toml --out digits.zarr
      fastdln scan examples/digits.toml --out digits.zarr --plot digits.svg --threads 2
    """
    plan = load_plan(spec)
    if dry_run:
        layout, cells = prepare(plan, chunk)
        out.print(tables.plan(plan, estimate(layout, cells, threads)))
        return
    if store is None:
        raise SpecError("--out is missing: where is the store to be made? (or --dry-run)")
    picture = None if no_plot else _picture(store, plot)
    _finish(running.open_or_create(plan, store, chunk), threads, picture, allow_mixed)


@command
def resume(
    store: StoreFolder,
    plot: Plot = None,
    no_plot: NoPlot = False,
    threads: Threads = None,
    data: Annotated[Path | None, typer.Option("--data", help="Where the scan's data files are, if moved.")] = None,
    allow_mixed: AllowMixed = False,
) -> None:
    """Go on with a scan, and do again what is damaged; its scan file is in the store.

    Examples:
      fastdln resume digits.zarr
      fastdln resume digits.zarr --no-plot --data moved/here
    """
    picture = None if no_plot else _picture(store, plot)
    _finish(running.reopen(store, data), threads, picture, allow_mixed)


@command
def plot(
    store: StoreFolder,
    picture: Annotated[Path | None, typer.Option("--out", help="The picture (STORE's name, .png).")] = None,
) -> None:
    """Draw a scan: loss curves, rise of the modes, learning times.

    Examples:
      fastdln plot digits.zarr
      fastdln plot digits.zarr --out digits.pdf
    """
    _draw(open_store(store), _picture(store, picture))


@command
def view(
    store: StoreFolder,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="The port (one that is free).")] = 0,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser.")] = False,
) -> None:
    """Serve a page to look into a scan, also while it is running; on this machine alone, until Ctrl-C.

    Examples:
      fastdln view digits.zarr
      fastdln view digits.zarr --port 5006 --no-browser
    """
    opened = open_store(store)
    missing = [name for name in ("bokeh", "tornado") if find_spec(name) is None]
    if missing:
        raise SpecError(f"this needs {', '.join(missing)}: {installation('view')}")
    from fastdln.view.server import serve

    def tell(address: str) -> None:
        say(f"{plain(opened.layout.plan.document.name)}: {address}\nCtrl-C ends this")

    serve(store, tell, port=port, browser=not no_browser)


@command
def summary(store: StoreFolder) -> None:
    """Tabulate a scan, a line for each cell.

    Examples:
      fastdln summary digits.zarr
    """
    _tabulate(open_store(store))


@command
def status(
    store: StoreFolder,
    quick: Annotated[bool, typer.Option("--quick", help="Look at the sizes of files only.")] = False,
) -> None:
    """Tell how far a scan is, and whether what is stored is what was written; exit code 1 if not.

    Examples:
      fastdln status digits.zarr
      fastdln status digits.zarr --quick
    """
    opened = open_store(store)
    damaged = _damaged(opened, thorough=not quick)
    out.print(tables.progress(opened, damaged))
    if damaged:
        fail(f"{_told(damaged)}. To do them again: fastdln resume {opened.path}", 1)


def _finish(store: Store, threads: int | None, picture: Path | None, allow_mixed: bool) -> None:
    layout = store.layout
    damaged = _damaged(store)
    if not damaged and len(store.units()) == layout.n_units:
        say(f"{store.path} is finished: {layout.plan.n_cells} cells; there is nothing to do")
    else:
        if damaged:
            warn(f"{_told(damaged)}; done again")
        try:
            running.run(store, damaged, threads=threads, progress=True, allow_mixed=allow_mixed)
        except KeyboardInterrupt:
            done = len(store.units())
            kept = f"{done:,} of {layout.n_units:,} units are stored"
            fail(f"stopped; {kept}. Go on with: fastdln resume {store.path}", STOPPED)
        _tabulate(store)
    if picture is not None:
        _draw(store, picture)


def _damaged(store: Store, *, thorough: bool = True) -> dict[int, str]:
    with err.status("checking what is stored"):
        return store.damaged(thorough=thorough)


def _told(damaged: Mapping[int, str]) -> str:
    first, wrong = next(iter(damaged.items()))
    units = "unit is" if len(damaged) == 1 else "units are"
    return f"{len(damaged):,} finished {units} damaged (unit {first}: {wrong})"


@contextmanager
def _reading(store: Store) -> Iterator[None]:
    """Refuse to show what is not there, and tell what cannot be read."""

    def require_sound(*, thorough: bool) -> None:
        if damaged := _damaged(store, thorough=thorough):
            raise StoreError(f"{store.path}: {_told(damaged)}. To do them again: fastdln resume {store.path}")

    require_sound(thorough=False)
    try:
        yield
    except Exception:  # a codec may raise anything
        require_sound(thorough=True)
        if torn := store.torn():
            raise StoreError(f"{store.path}: {torn}. To write it anew: fastdln resume {store.path}") from None
        raise


def _picture(store: Path, given: Path | None) -> Path:
    """Tell where the picture goes, and refuse what cannot be drawn before hours have been spent."""
    # Here, because the commands that draw nothing should not wait for Matplotlib.
    from fastdln.scan.picture import FORMATS

    path = store.with_suffix(".png") if given is None else given
    if path.suffix.removeprefix(".") not in FORMATS:
        raise SpecError(f"the picture {path}: expected a name that ends in one of {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise SpecError(f"the picture {path}: there is no folder {path.parent}")
    return path


def _tabulate(store: Store) -> None:
    with _reading(store):
        table = tables.cells(store)
    out.print(table)


def _draw(store: Store, picture: Path) -> None:
    from fastdln.scan.picture import save_scan

    with _reading(store):
        save_scan(store.dataset(), picture)
    say(f"{picture}: the picture of {store.path}")
