"""The page: its parts put together, and kept up with a scan that is still running."""

from __future__ import annotations

from concurrent.futures import Executor
from typing import Any

from bokeh.document import Document

from fastdln.scan.errors import StoreError
from fastdln.text import plain
from fastdln.view.course import Course, Stop, course
from fastdln.view.course_panel import CoursePanel
from fastdln.view.crowd_panel import CrowdPanel
from fastdln.view.desk import Desk
from fastdln.view.graph import Graph, graph
from fastdln.view.graph_panel import GraphPanel
from fastdln.view.map_panel import MapPanel
from fastdln.view.reading import Reader
from fastdln.view.style import TEMPLATE, THEME, safe, words

__all__ = ["Page", "build"]

_REFRESH = 1500
"""Milliseconds from look to look whether more is done."""

_Seen = tuple[Course | None, tuple[str, list[Stop]], Graph | None]


_NOTHING: _Seen = (None, ("", []), None)


class Page:
    """The page of one visitor.

    Parameters
    ----------
    document : Document
        The page as Bokeh knows it.
    reader : Reader
        The store.
    worker : Executor
        What reads it.
    """

    def __init__(self, document: Document, reader: Reader, worker: Executor) -> None:
        self._document, self._reader = document, reader
        self.title = reader.plan.document.name
        self.desk = Desk(document, worker, self._fail)
        descends = reader.plan.document.descends
        self.heading: Any = words("heading")
        self.map = MapPanel(reader, self.desk, self._cell_chosen)
        self.crowd = CrowdPanel(reader, self.desk, self._trajectory_chosen)
        self.course = CoursePanel(self.crowd, descends)
        self.graph = GraphPanel(document, self.course.point_at, "update" if descends else "time")
        self._cell, self._k = 0, 0
        self._version = reader.version
        self._followed = False
        self._wrong = ""

    def open(self) -> None:
        """Show the first cell, and keep up with the scan until it is finished."""
        document = self._document
        document.title = f"{plain(self.title)} - fastdln"
        document.template, document.theme = TEMPLATE, THEME
        for root in (self.heading, self.map.root, self.crowd.root, self.course.root, self.graph.root):
            document.add_root(root)
        self._head()
        self.map.restart()
        self._cell_chosen(0)
        self._looking: Any = document.add_periodic_callback(self._look, _REFRESH)
        document.on_session_destroyed(lambda context: self.desk.close())

    def _cell_chosen(self, cell: int) -> None:
        self._cell = cell
        self.map.mark(cell)
        self.crowd.look_at(cell)
        self._trajectory_chosen(self._k)

    def _trajectory_chosen(self, k: int) -> None:
        self._k = k
        self.desk.ask("trajectory", self._read, self._show, lambda: self._lack("This trajectory cannot be read."))

    def _read(self) -> _Seen:
        found = course(self._reader, self._cell, self._k)
        if found is None:
            return _NOTHING
        return found, found.itinerary(), graph(found.network.widths, found.weights)

    def _show(self, seen: _Seen, lack: str = "This trajectory is not yet done.") -> None:
        found, stops, drawn = seen
        self._followed = found is not None
        self.course.show(found, stops, lack)
        self.graph.show(found, drawn, lack)

    def _lack(self, reason: str) -> None:
        self._show(_NOTHING, reason)

    # ---- while the scan is running

    def _look(self) -> None:
        self.desk.ask("journal", self._reader.refresh, lambda more: self._keep_up())

    def _keep_up(self) -> None:
        self._head()
        if self._reader.version == self._version:
            return
        self._version = self._reader.version
        self.map.again()
        self.crowd.again()
        if not self._followed:
            self._trajectory_chosen(self._k)

    def _head(self) -> None:
        reader = self._reader
        total = reader.n_trajectories * reader.plan.n_cells
        grid = " × ".join(f"{axis.size:,} {safe(axis.name)}" for axis in reader.plan.axes) or "one cell"
        done = f"{total:,} trajectories" if reader.finished else f"{reader.n_done:,} of {total:,} trajectories"
        if reader.finished:
            state = "finished"
        elif reader.units:
            state = f"not finished; the last unit {_ago(reader.seconds_since)}"
        else:
            state = "nothing is done yet"
        wrong = f'<div role="alert" style="{_ALERT}">{safe(self._wrong, 1000)}</div>' if self._wrong else ""
        text = (
            f'<h1 style="font-size:22px;font-weight:600;margin:0 0 2px">{safe(self.title)}</h1>'
            f'<div style="color:#52606d;margin:0 0 14px">{grid}; {done}; {state}</div>{wrong}'
        )
        if text != self.heading.text:
            self.heading.text = text

    def _fail(self, error: StoreError) -> None:
        self._wrong = str(error)
        self._head()


_ALERT = "background:#fde8e8;border:1px solid #d4003c;border-radius:6px;padding:8px 12px;margin:0 0 14px"


def build(document: Document, reader: Reader, worker: Executor) -> Page:
    """Make the page of a visitor.

    Parameters
    ----------
    document : Document
        The empty page.
    reader : Reader
        The store.
    worker : Executor
        What reads it: one thread.

    Returns
    -------
    Page
        The page, open.
    """
    page = Page(document, reader, worker)
    page.open()
    return page


def _ago(seconds: float) -> str:
    """In steps, so that the page does not change with every look."""
    if seconds < 10:
        return "a moment ago"
    if seconds < 120:
        return f"{10 * int(seconds // 10)} s ago"
    return f"{int(seconds // 60):,} min ago"
