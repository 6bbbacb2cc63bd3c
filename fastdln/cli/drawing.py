"""Drawing the survey's figures into files, one after another."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from fastdln import figures

__all__ = ["Format", "draw_figures", "read_numbers"]

Format = Literal["png", "svg", "pdf"]


def read_numbers(which: Sequence[str]) -> list[int]:
    """Read which figures are meant.

    Parameters
    ----------
    which : sequence of str
        Numbers, or "all".

    Returns
    -------
    list of int
        The numbers, in their order, each once.

    Raises
    ------
    ValueError
        If there is no such figure.

    Examples
    --------
    >>> read_numbers(["3", "1"]), read_numbers(["all"])
    ([1, 3], [1, 2, 3, 4, 5, 6, 7])
    """
    known = {str(number): [number] for number in figures.FIGURES} | {"all": list(figures.FIGURES)}
    for name in which:
        if name not in known:
            raise ValueError(f"expected the number of a figure, 1 to {len(figures.FIGURES)}, or all, not {name!r}")
    return sorted({number for name in which for number in known[name]})


def draw_figures(numbers: Sequence[int], folder: Path, form: Format) -> Iterator[tuple[int, Path, float]]:
    """Draw figures into a folder, as figure1.svg and so on.

    Parameters
    ----------
    numbers : sequence of int
        Their numbers.
    folder : Path
        Where to; it is made where it is missing.
    form : {"png", "svg", "pdf"}
        The format of the files.

    Yields
    ------
    tuple of int, Path and float
        The number, the file and the seconds that it took, once it is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for number in numbers:
        begin = time.perf_counter()
        path = folder / f"figure{number}.{form}"
        figures.save(figures.figure(number), path)
        yield number, path, time.perf_counter() - begin
