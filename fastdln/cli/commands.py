"""The commands: reading of arguments, and what is said to people. All work is done elsewhere."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, NoReturn, ParamSpec

import typer
from rich.console import Console
from rich.text import Text

from fastdln import claims
from fastdln.cli import STOPPED, interruptible, tables
from fastdln.cli.drawing import Format, draw_figures, read_numbers
from fastdln.cli.info import describe
from fastdln.cli.problems import problems
from fastdln.kernels.machine.announce import heard
from fastdln.resources import installation, say
from fastdln.scan import run as running
from fastdln.scan.plan import load_plan
from fastdln.scan.prepare import estimate, prepare
from fastdln.scan.spec import SpecError
from fastdln.scan.store import Store, StoreError, open_store
from fastdln.text import plain

__all__ = ["app"]

app = typer.Typer(
    name="fastdln",
    help="Scans of the gradient flow of deep linear networks.",
    epilog="`fastdln COMMAND --help` has examples. `fastdln --install-completion` completes names in your shell.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
P = ParamSpec("P")

_LONGEST = 4000  # characters of a line of a message

out = Console()
err = Console(stderr=True, soft_wrap=True, highlight=False)

SpecFile = Annotated[Path, typer.Argument(help="The scan file (TOML).", metavar="SPEC")]
StoreFolder = Annotated[Path, typer.Argument(help="The scan's store.", metavar="STORE")]
Plot = Annotated[Path | None, typer.Option("--plot", help="Where to draw the picture (STORE's name, .png).")]
NoPlot = Annotated[bool, typer.Option("--no-plot", help="Draw no picture.")]
Threads = Annotated[int | None, typer.Option("--threads", min=1, help="Threads (one for each core).")]
AllowMixed = Annotated[
    bool, typer.Option("--allow-mixed", help="Go on with a store whose numbers are of another revision.")
]


def command(function: Callable[P, None]) -> Callable[P, None]:
    """Make a command of a function: what goes wrong becomes one message on stderr, and an exit code.

    Parameters
    ----------
    function : callable
        The function; its name, parameters and docstring are those of the command. What follows "Examples:" there is
        shown below the options, line by line.

    Returns
    -------
    callable
        The command: it exits with 2 where the input is wrong, 130 after Ctrl-C, 1 where anything else failed.
    """

    told, _, examples = inspect.cleandoc(function.__doc__ or "").partition("\n\nExamples:\n")

    @app.command(help=told, epilog=f"\b\nExamples:\n{examples}" if examples else None)
    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> None:
        try:
            with interruptible(), heard(say):
                function(*args, **kwargs)
        except SpecError as error:
            _fail(error, 2)
        except (StoreError, MemoryError, OSError) as error:
            _fail(error, 1)
        except KeyboardInterrupt:
            _fail("stopped", STOPPED)

    return guarded


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

    def say(address: str) -> None:
        _say(f"{plain(opened.layout.plan.document.name)}: {address}\nCtrl-C ends this")

    serve(store, say, port=port, browser=not no_browser)


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
        _fail(f"{_told(damaged)}. To do them again: fastdln resume {opened.path}", 1)


@command
def verify(
    only: Annotated[str | None, typer.Option("--only", help="The name of one claim.", metavar="NAME")] = None,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Chooses the random instances.")] = 0,
    json: Annotated[Path | None, typer.Option("--json", help="Where to write the verdicts.", metavar="FILE")] = None,
) -> None:
    """Check the statements of the survey on random instances; exit code 1 if one does not hold.

    What the items T1 to T20 state is in docs/theory/index.md.

    Examples:
      fastdln verify
      fastdln verify --only matrix-ode --seed 3
      fastdln verify --json verdicts.json
    """
    try:
        names = claims.select(only)
    except ValueError as error:
        raise SpecError(f"--only: {error}") from None
    verdicts: list[claims.Claim] = []
    with err.status("") as waiting:
        for name in names:
            waiting.update(f"{len(verdicts)} of {len(names)}: {name}")
            verdicts += claims.check(name, seed=seed)
    if json is not None:
        json.write_text(claims.report(verdicts, seed))
    out.print(tables.claims(verdicts) if only is None else tables.claim(verdicts[0]))
    if failing := [verdict.name for verdict in verdicts if not verdict.holds]:
        _fail(f"{len(failing)} of {len(verdicts)} claims do not hold with seed {seed}: {', '.join(failing)}", 1)
    if only is None:
        _say(f"all {len(verdicts)} claims hold with seed {seed}")


@command
def figures(
    out: Annotated[Path, typer.Option("--out", help="The folder to draw into, made where missing.", metavar="DIR")],
    which: Annotated[list[str] | None, typer.Argument(help="1 to 7, or all (the default).", metavar="WHICH")] = None,
    form: Annotated[Format, typer.Option("--format", help="Of the files.")] = "svg",
) -> None:
    """Draw the survey's figures, each computed from scratch.

    Figures 6 and 7 are our choice: their captions were not known to us. 6 holds discrete updates against the flow, 7
    has losses that are not quadratic. What each shows is in docs/figures.md.

    Examples:
      fastdln figures --out pictures
      fastdln figures 3 6 --out pictures --format pdf
    """
    try:
        numbers = read_numbers(which or ["all"])
    except ValueError as error:
        raise SpecError(f"WHICH: {error}") from None
    for number, path, seconds in draw_figures(numbers, out, form):
        _say(f"{path}: figure {number}, {tables.in_time(seconds)}")


@command
def info() -> None:
    """Tell versions, processor, caches, and what is wrong with them; exit code 1 if fastdln cannot run as it is.

    Examples:
      fastdln info
    """
    out.print(tables.pairs(describe()))
    found = problems()
    for problem in found:
        _say(f"\n{problem.what}\n  {problem.cure}")
    if not found:
        _say("\nnothing is wrong with this environment")
    if broken := sum(problem.broken for problem in found):
        _fail(f"{broken} of these must be mended before fastdln can be used", 1)


def _finish(store: Store, threads: int | None, picture: Path | None, allow_mixed: bool) -> None:
    layout = store.layout
    damaged = _damaged(store)
    if not damaged and len(store.units()) == layout.n_units:
        _say(f"{store.path} is finished: {layout.plan.n_cells} cells; there is nothing to do")
    else:
        if damaged:
            _warn(f"{_told(damaged)}; done again")
        try:
            running.run(store, damaged, threads=threads, progress=True, allow_mixed=allow_mixed)
        except KeyboardInterrupt:
            done = len(store.units())
            kept = f"{done:,} of {layout.n_units:,} units are stored"
            _fail(f"stopped; {kept}. Go on with: fastdln resume {store.path}", STOPPED)
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
    _say(f"{picture}: the picture of {store.path}")


def _say(text: str) -> None:
    out.print(_harmless(text), highlight=False, soft_wrap=True)


def _warn(reason: object) -> None:
    err.print(_harmless(f"fastdln: {reason}"))


def _fail(reason: object, code: int) -> NoReturn:
    _warn(reason)
    raise typer.Exit(code)


def _harmless(text: str) -> Text:
    """Lines in which nothing is markup, or steers the terminal: they may quote a file."""
    return Text("\n".join(plain(line, _LONGEST) for line in text.split("\n")))
