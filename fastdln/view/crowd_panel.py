"""One cell: how its trajectories ended, and the curves of some of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from bokeh.layouts import column, row
from bokeh.models import Checkbox, CheckboxButtonGroup, ColumnDataSource, HoverTool, Select, Spinner

from fastdln.integrate.status import Status
from fastdln.view.crowd import MOST_CURVES, Crowd, crowd
from fastdln.view.desk import Desk
from fastdln.view.quantities import curves
from fastdln.view.reading import Reader
from fastdln.view.style import STATUS_COLOURS, frame, named, safe, words

__all__ = ["CrowdPanel", "is_geometric"]


class CrowdPanel:
    """The trajectories of a cell.

    Parameters
    ----------
    reader : Reader
        The store.
    desk : Desk
        What reads.
    chosen : callable
        Hears which trajectory was clicked on.
    """

    def __init__(self, reader: Reader, desk: Desk, chosen: Callable[[int], None]) -> None:
        self._reader, self._desk, self._chosen = reader, desk, chosen
        self._curves = curves(reader)
        self._cell = 0
        self._shown: tuple[int, ...] = ()
        self.caption: Any = words("cell caption")
        self.statuses: Any = CheckboxButtonGroup(
            labels=[named(status) for status in Status], active=list(range(len(Status))), name="statuses",
            sizing_mode="stretch_width", stylesheets=[_BUTTONS],
        )  # fmt: skip
        options = [(name, quantity.label) for name, quantity in self._curves.items()]
        self.curve: Any = Select(title="curves of", options=options, width=190, name="curves of")
        self.curve.value = options[0][0] if options else ""
        self.choice: Any = Select(title="of", options=[], width=160, name="of curve")
        self.number: Any = Spinner(
            title="trajectory", low=0, high=reader.n_trajectories - 1, step=1, value=0, width=120, name="number"
        )
        self.log_y: Any = Checkbox(label="logarithmic values", active=self.curve.value == "loss", name="log values")
        times = reader.fixed("t")[0]
        self.log_x: Any = Checkbox(label="logarithmic time", active=is_geometric(times), name="log time")
        self.note: Any = words("cell note")
        self._source: Any = ColumnDataSource({"xs": [], "ys": [], "colour": [], "k": [], "status": []})
        self._holder: Any = column(sizing_mode="stretch_width", visible=False)
        self._source.selected.on_change("indices", self._tapped)
        self.statuses.on_change("active", lambda attr, old, new: self.read())
        self.curve.on_change("value", lambda attr, old, new: self._other_curve())
        self.choice.on_change("value", lambda attr, old, new: self.read())
        self.number.on_change("value", lambda attr, old, new: self._numbered())
        for box in (self.log_x, self.log_y):
            box.on_change("active", lambda attr, old, new: self._frame())
        self._fit_choices()
        chooser = row(self.curve, self.choice, self.number, sizing_mode="stretch_width", styles={"flex-wrap": "wrap"})
        boxes = row(self.log_y, self.log_x, sizing_mode="stretch_width", styles={"flex-wrap": "wrap"})
        self.root: Any = column(
            self.caption, self.statuses, chooser, boxes, self._holder, self.note,
            sizing_mode="stretch_width", name="cell",
        )  # fmt: skip
        self._frame()

    def look_at(self, cell: int) -> None:
        """Turn to a cell.

        Parameters
        ----------
        cell : int
            Its number.
        """
        self._cell = cell
        point = self._reader.plan.point(cell)
        self.caption.text = f"<b>{safe(point.label, 300)}</b>"
        self.read()

    def again(self) -> None:
        """Read once more, if more of the cell is finished."""
        if self._editions() != self._shown:
            self.read()

    def read(self) -> None:
        """Read what is to be shown."""
        wanted = [Status(i) for i in self.statuses.active]
        quantity = self._curves.get(self.curve.value)
        choice = int(self.choice.value) if quantity is not None and quantity.choices else 0
        self._shown = self._editions()
        self._desk.ask(
            "cell",
            lambda: crowd(self._reader, self._cell, wanted, quantity, choice),
            self._show,
            lambda: self._clear("This cell cannot be read."),
        )

    def _editions(self) -> tuple[int, ...]:
        return (self._cell, *(self._reader.editions.get(i, 0) for i in self._reader.layout.covering(self._cell)))

    def _show(self, found: Crowd) -> None:
        ys = found.curves
        if self.log_y.active:
            ys = np.where(ys > 0, ys, np.nan)
        states = [Status(int(s)) for s in found.status]
        drawn = len(ys) > 0
        self._holder.visible = drawn
        self._source.selected.indices = []
        self._source.data = {
            "xs": [found.clock] * len(ys), "ys": list(ys),
            "colour": [STATUS_COLOURS[s] for s in states] if drawn else [],
            "k": found.trajectories if drawn else [], "status": [named(s) for s in states] if drawn else [],
        }  # fmt: skip
        self.note.text = self._words(found)

    def _clear(self, words_: str) -> None:
        """Show nothing, and say why."""
        self._source.data = {name: [] for name in self._source.data}
        self._holder.visible = False
        self.note.text = words_

    def _words(self, found: Crowd) -> str:
        chips = " &ensp; ".join(
            f'<span style="white-space:nowrap"><span style="color:{STATUS_COLOURS[s]}">&#9632;</span> '
            f"{n:,} {named(s)}</span>"
            for s, n in found.counts.items()
        )
        if not found.n_done:
            return "This cell is not yet done."
        parts = []
        if found.n_done < found.n:
            parts.append(f"{found.n_done:,} of {found.n:,} trajectories are done.")
        if not self._curves:
            parts.append("There are no curves: no observable that is a number, or a few, was recorded over time.")
        elif not found.n_matching:
            parts.append("No finished trajectory has one of these statuses.")
        else:
            parts.append(f"Showing {len(found.trajectories):,} of {found.n_matching:,}.")
            if found.every > 1:
                parts.append(f"One record in {found.every:,} is drawn.")
            parts.append("Click on a curve, or give a number, to see one trajectory.")
        return f'<div>{chips}</div><div class="note">{" ".join(parts)}</div>'

    def _frame(self) -> None:
        if not self._curves:
            self._holder.children = [words("curves")]
            for widget in (self.curve, self.log_y):
                widget.visible = False
            return
        clock = "updates" if self._reader.plan.document.descends else "time"
        title = self._curves[self.curve.value].label if self._curves else ""
        made = frame(clock, title, log_x=self.log_x.active, log_y=self.log_y.active, height=380)
        drawn = made.multi_line(
            "xs", "ys", source=self._source, color="colour", line_width=1.2, line_alpha=_alpha(self._reader),
            nonselection_line_alpha=0.15, selection_line_width=3, selection_line_alpha=1, hover_line_width=3,
            hover_line_color="colour", hover_line_alpha=1,
        )  # fmt: skip
        tips = [("trajectory", "@k"), ("status", "@status")]
        made.add_tools(HoverTool(renderers=[drawn], tooltips=tips, line_policy="nearest"))
        made.name = "curves"
        self._holder.children = [made]
        if self._shown:
            self.read()

    def _other_curve(self) -> None:
        self._fit_choices()
        self.log_y.active = self.curve.value == "loss"
        self._frame()

    def _fit_choices(self) -> None:
        quantity = self._curves.get(self.curve.value)
        choices = quantity.choices if quantity is not None else ()
        self.choice.update(options=[(str(i), text) for i, text in enumerate(choices)], visible=len(choices) > 1)
        if not (self.choice.value and int(self.choice.value) < len(choices)):
            self.choice.value = "0"

    def _tapped(self, attr: str, old: Any, new: list[int]) -> None:
        if new:
            self.number.value = int(self._source.data["k"][new[0]])

    def _numbered(self) -> None:
        if self.number.value is not None:
            self._chosen(min(max(int(self.number.value), 0), self._reader.n_trajectories - 1))


_BUTTONS = """
.bk-btn-group { flex-wrap: wrap; }
.bk-btn { flex: 1 0 auto; color: #52606d; background: #fff; }
.bk-btn.bk-active { color: #1f2933; background: #dbe9f6; border-color: #7aa7d3; box-shadow: none; }
"""


def _alpha(reader: Reader) -> float:
    return 0.7 if min(reader.n_trajectories, MOST_CURVES) <= 50 else 0.35


def is_geometric(t: np.ndarray[Any, np.dtype[np.float64]]) -> bool:
    """Tell whether times were recorded at equal ratios.

    Parameters
    ----------
    t : ndarray
        The times.

    Returns
    -------
    bool
        Then they are looked at so.
    """
    known = t[np.isfinite(t)]
    return bool(known.size > 2 and known[0] > 0 and np.ptp(np.diff(np.log(known), 2)) < 1e-6)
