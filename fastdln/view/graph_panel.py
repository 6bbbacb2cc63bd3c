"""The network as its graph, its edges coloured by weight, played over time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from bokeh.document import Document
from bokeh.layouts import column, row
from bokeh.models import Button, ColorBar, ColumnDataSource, HoverTool, LinearColorMapper, Slider
from bokeh.plotting import figure

from fastdln.view.course import Course
from fastdln.view.graph import Graph
from fastdln.view.style import DIVERGING, INK, number, words

__all__ = ["GraphPanel"]

_PACE = 90
"""Milliseconds from record to record; of very many records some are left out."""
_MOST_PLAYED = 200
_CAPTION = 46
"""Pixels below the graph, for the names of the layers."""


class GraphPanel:
    """The network of a trajectory.

    Parameters
    ----------
    document : Document
        The page.
    moved : callable
        Hears at which time, or update, the network is shown.
    clock : str
        What time is called: "time" or "update".
    """

    def __init__(self, document: Document, moved: Callable[[float], None], clock: str) -> None:
        self._document, self._moved, self._clock_name = document, moved, clock
        self._course: Course | None = None
        self._graph: Graph | None = None
        self._playing: Any = None
        self.play: Any = Button(label="Play", width=80, name="play", button_type="primary")
        self.slider: Any = Slider(
            start=0,
            end=1,
            value=0,
            step=1,
            title="record",
            sizing_mode="stretch_width",
            name="record",
            show_value=False,
        )
        self.note: Any = words("network note")
        self._edges: Any = ColumnDataSource({name: [] for name in ("x0", "y0", "x1", "y1", "weight", "width", "which")})
        self._nodes: Any = ColumnDataSource({"x": [], "y": []})
        self._layers: Any = ColumnDataSource({"x": [], "y": [], "text": []})
        self._mapper: Any = LinearColorMapper(palette=DIVERGING, low=-1, high=1, nan_color="#9aa5b1")
        self._figure = self._frame()
        self._controls: Any = row(self.play, self.slider, sizing_mode="stretch_width", visible=False)
        self.play.on_click(self._toggle)
        self.slider.on_change("value", lambda attr, old, new: self._show_record())
        self.root: Any = column(self._controls, self._figure, self.note, sizing_mode="stretch_width", name="network")

    def show(self, course: Course | None, drawn: Graph | None, lack: str) -> None:
        """Show the network of a trajectory.

        Parameters
        ----------
        course : Course or None
            The trajectory; None where there is none to be shown.
        drawn : Graph or None
            Its graph.
        lack : str
            Why there is none.
        """
        self.stop()
        self._course, self._graph = course, drawn
        self._figure.visible = drawn is not None
        self._controls.visible = drawn is not None and drawn.weights is not None
        if course is None or drawn is None:
            self.note.text = lack
            return
        begin, end = drawn.ends()
        layer, rows, columns = drawn.edges.T
        n = len(drawn.edges)
        self._bar.visible = drawn.weights is not None
        self._mapper.update(low=-drawn.largest, high=drawn.largest)
        self._edges.data = {
            "x0": begin[:, 0], "y0": begin[:, 1], "x1": end[:, 0], "y1": end[:, 1],
            "weight": np.full(n, np.nan), "width": np.full(n, 1.0),
            "which": [f"W{i}[{j}, {k}]" for i, j, k in zip(layer, rows, columns, strict=True)],
        }  # fmt: skip
        self._nodes.data = {"x": drawn.nodes[:, 0], "y": drawn.nodes[:, 1]}
        depth = len(drawn.widths) - 1
        names = ["inputs", *(f"layer {i}" for i in range(1, depth)), "outputs"]
        self._layers.data = {
            "x": list(range(depth + 1)), "y": [-1.08] * (depth + 1),
            "text": [f"{names[i]}\nd{_lowered(i)} = {d}" for i, d in enumerate(drawn.widths)],
        }  # fmt: skip
        self._figure.x_range.update(start=-0.35, end=depth + 0.35)
        height = min(max(180 + 28 * max(drawn.widths), 250), 480)
        part = _CAPTION / (height - _CAPTION)
        self._figure.update(height=height)
        self._figure.y_range.update(start=-1.08 - part * 2.13 / (1 - part))
        if drawn.weights is None:
            self.note.text = (
                f"The weights were not recorded, so the edges have no colours.{_left_out(drawn)} To have them: "
                "<code>observables = [..., &quot;weights&quot;]</code> in the scan file."
            )
            return
        known = np.flatnonzero(np.isfinite(drawn.weights).all(axis=1))
        self._last = int(known[-1]) if known.size else 0
        self.slider.update(end=max(self._last, 1), disabled=self._last == 0, value=self._last)
        self._show_record()

    def stop(self) -> None:
        """Stop playing."""
        if self._playing is not None:
            self._document.remove_periodic_callback(self._playing)
            self._playing = None
        self.play.label = "Play"

    # ---- time

    def _toggle(self) -> None:
        if self._playing is not None:
            self.stop()
            return
        if self.slider.value >= self._last:
            self.slider.value = 0
        self.play.label = "Pause"
        self._playing = self._document.add_periodic_callback(self._advance, _PACE)

    def _advance(self) -> None:
        stride = max(1, self._last // _MOST_PLAYED)
        self.slider.value = min(self.slider.value + stride, self._last)
        if self.slider.value >= self._last:
            self.stop()

    def _show_record(self) -> None:
        drawn, course = self._graph, self._course
        if drawn is None or course is None or drawn.weights is None:
            return
        k = min(int(self.slider.value), len(drawn.weights) - 1)
        weights = drawn.weights[k]
        part = np.abs(np.nan_to_num(weights)) / drawn.largest
        every = slice(None)
        self._edges.patch({"weight": [(every, weights)], "width": [(every, 0.4 + 3.6 * part)]})
        t = float(course.clock[k])
        self.slider.title = f"{self._clock_name} {number(t)}, record {k} of {len(drawn.weights) - 1}"
        self.note.text = (
            f'<span class="note">Colour and width of an edge show its weight, on one scale for all times.'
            f"{_left_out(drawn)}</span>"
        )
        self._moved(t)

    # ---- the figure

    def _frame(self) -> Any:
        made: Any = figure(
            height=420, sizing_mode="stretch_width", min_width=200, tools="save", y_range=(-1.3, 1.05),
            x_range=(-0.35, 2.35), toolbar_location="above", name="network figure", visible=False,
        )  # fmt: skip
        made.toolbar.logo, made.toolbar.autohide = None, True
        made.axis.visible = made.grid.visible = False
        drawn = made.segment(
            "x0", "y0", "x1", "y1", source=self._edges, line_width="width", line_cap="round",
            line_color={"field": "weight", "transform": self._mapper},
        )  # fmt: skip
        made.scatter("x", "y", source=self._nodes, size=9, fill_color="#ffffff", line_color=INK, line_width=1.3)
        made.text(
            "x", "y", "text", source=self._layers, text_align="center", text_baseline="top", text_font_size="12px",
            text_color=INK, text_font={"value": "system-ui, sans-serif"},
        )  # fmt: skip
        made.add_tools(HoverTool(renderers=[drawn], tooltips=[("weight", "@which = @weight{0.000e+0}")]))
        self._bar: Any = ColorBar(color_mapper=self._mapper, width=12, padding=6)
        made.add_layout(self._bar, "right")
        return made


def _lowered(i: int) -> str:
    return str(i).translate(str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉"))


def _left_out(drawn: Graph) -> str:
    shown = len(drawn.edges)
    if shown == drawn.n_edges:
        return ""
    which = "first" if drawn.weights is None else "largest"
    return f" Of {drawn.n_edges:,} edges the {shown:,} {which} are drawn."
