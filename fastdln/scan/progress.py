"""How far a scan is: trajectories per second, time left, failures so far; on stderr."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import rich.progress
from rich.console import Console
from rich.text import Text

from fastdln.scan.layout import Layout, Unit
from fastdln.text import plain

__all__ = ["Progress"]


class _Speed(rich.progress.ProgressColumn):
    """Trajectories per second."""

    def render(self, task: rich.progress.Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f} trajectories/s", style="progress.data.speed")


class Progress:
    """A progress bar over the trajectories of a scan.

    Parameters
    ----------
    layout : Layout
        The units of the scan.
    finished : dict of int to dict
        The records of the units that are finished already.
    shown : bool
        False keeps it silent.
    """

    def __init__(self, layout: Layout, finished: dict[int, dict[str, Any]], *, shown: bool) -> None:
        self._done = sum(layout.unit(index).trajectories for index in finished)
        self._failed = sum(sum(record["failures"].values()) for record in finished.values())
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description}", markup=False),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            _Speed(),
            rich.progress.TextColumn("{task.fields[failures]} failed"),
            rich.progress.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
            console=Console(stderr=True),
            disable=not shown,
        )
        document = layout.plan.document
        self._task = self._bar.add_task(
            plain(document.name),
            total=document.trajectories * layout.plan.n_cells,
            completed=self._done,
            failures=self._failed,
        )

    def within(self, done: int, failed: int, size: int) -> None:
        """Show how far the present unit is; `fastdln.flow` calls it.

        Parameters
        ----------
        done : int
            Trajectories of the unit that have been integrated.
        failed : int
            Those of them that failed.
        size : int
            All trajectories of the unit.
        """
        self._bar.update(self._task, completed=self._done + done, failures=self._failed + failed)

    def done(self, unit: Unit, failed: int) -> None:
        """Count a unit that has been integrated.

        Parameters
        ----------
        unit : Unit
            The unit.
        failed : int
            Its trajectories that failed.
        """
        self._done += unit.trajectories
        self._failed += failed
        self.within(0, 0, unit.trajectories)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
