"""The program with all its commands; those of stores are in a module of their own. All work is done elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from fastdln import claims
from fastdln.cli import stores, tables
from fastdln.cli.drawing import Format, draw_figures, read_numbers
from fastdln.cli.info import describe
from fastdln.cli.problems import problems
from fastdln.cli.program import app, command, err, fail, out, say
from fastdln.scan.spec import SpecError

__all__ = ["app", "stores"]  # whose commands come first


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
        fail(f"{len(failing)} of {len(verdicts)} claims do not hold with seed {seed}: {', '.join(failing)}", 1)
    if only is None:
        say(f"all {len(verdicts)} claims hold with seed {seed}")


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
        say(f"{path}: figure {number}, {tables.in_time(seconds)}")


@command
def info() -> None:
    """Tell versions, processor, caches, and what is wrong with them; exit code 1 if fastdln cannot run as it is.

    Examples:
      fastdln info
    """
    out.print(tables.pairs(describe()))
    found = problems()
    for problem in found:
        say(f"\n{problem.what}\n  {problem.cure}")
    if not found:
        say("\nnothing is wrong with this environment")
    if broken := sum(problem.broken for problem in found):
        fail(f"{broken} of these must be mended before fastdln can be used", 1)
