"""The grid: a heat map over two of its axes, or a curve over one, and what chooses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from bokeh.events import Tap
from bokeh.layouts import column, row
from bokeh.models import (
    Checkbox,
    ColorBar,
    ColumnDataSource,
    CustomJSHover,
    HoverTool,
    LinearColorMapper,
    LogColorMapper,
    Select,
    Slider,
)
from bokeh.palettes import Viridis256

from fastdln.scan.plan import Axis, label
from fastdln.text import plain
from fastdln.view.desk import Desk
from fastdln.view.maps import NONE, Map, Plane, first_plane
from fastdln.view.quantities import STATISTICS, quantities
from fastdln.view.reading import Reader
from fastdln.view.style import frame, label_places, number, words

__all__ = ["MapPanel"]

_SLICE = 0.15
"""Seconds of reading between two pictures."""
_MOST_OPTIONS = 40
"""Of an axis with more places than these one is chosen by a slider."""
_NO_VALUE, _CLEAR, _MARK, _DOTS = "#c3c9d0", "rgba(0,0,0,0)", "#d4003c", "#0072B2"
_MOST_JOINED = 400
"""Of a curve of more places only the dots are drawn."""
_TOOLS = "tap,save,reset,pan,box_zoom"


class MapPanel:
    """The grid of a scan.

    Parameters
    ----------
    reader : Reader
        The store.
    desk : Desk
        What reads.
    chosen : callable
        Hears which cell was clicked on.
    """

    def __init__(self, reader: Reader, desk: Desk, chosen: Callable[[int], None]) -> None:
        self._reader, self._desk, self._chosen = reader, desk, chosen
        self._axes = reader.plan.axes
        self._labels = [_briefly(axis) for axis in self._axes]
        self._quantities = quantities(reader)
        plane = first_plane(reader)
        names = [(str(i), plain(axis.name)) for i, axis in enumerate(self._axes)]
        self.across = self._select("across", [*names, (str(NONE), "none")], str(plane.across))
        self.up = self._select("up", [*names, (str(NONE), "none")], str(plane.up))
        self.quantity = self._select("quantity", [(k, q.label) for k, q in self._quantities.items()], width=250)
        self.choice = self._select("of", [])
        self.statistic = self._select("of the trajectories", list(STATISTICS))
        self.log: Any = Checkbox(label="logarithmic scale", active=self._starts_log(), name="log map")
        self.places = [self._place(i) for i in range(len(self._axes))]
        self.note: Any = words("map note")
        self._source: Any = ColumnDataSource({"image": [], "blank": [], "x": [], "y": [], "dw": [], "dh": []})
        self._profile: Any = ColumnDataSource({"x": [], "y": [], "label": []})
        self._mark: Any = ColumnDataSource({"x": [], "y": []})
        self.cell: int = 0
        self._map: Map | None = None
        self._holder: Any = column(sizing_mode="stretch_width")
        self._fit_choices()
        for widget in (self.across, self.up, self.choice, self.statistic, *self.places):
            widget.on_change(self._event(widget), lambda attr, old, new: self.restart())
        self.quantity.on_change("value", lambda attr, old, new: self._other_quantity())
        self.log.on_change("active", lambda attr, old, new: self._frame())
        first = row(self.quantity, self.choice, self.statistic, sizing_mode="stretch_width", styles=_WRAP)
        second = row(self.across, self.up, *self.places, sizing_mode="stretch_width", styles=_WRAP)
        self.root: Any = column(
            first, second, self.log, self._holder, self.note, sizing_mode="stretch_width", name="grid"
        )

    # ---- what is asked for

    @property
    def plane(self) -> Plane:
        """What is looked at."""
        across, up = int(self.across.value), int(self.up.value)
        return Plane(across, NONE if up == across else up, tuple(int(place.value) for place in self.places))

    def restart(self) -> None:
        """Look at another plane, or another quantity."""
        plane, quantity = self.plane, self._quantities[self.quantity.value]
        for i, place in enumerate(self.places):
            place.visible = i not in (plane.across, plane.up) and self._axes[i].size > 1
        self.statistic.visible = not quantity.share
        choice = int(self.choice.value) if quantity.choices else 0
        self._map = Map(self._reader, plane, quantity, choice, self.statistic.value)
        self._frame()
        self.go_on()

    def again(self) -> None:
        """Look whether more of the plane is finished."""
        if self._map is not None:
            self._map.again()
            self.go_on()

    def go_on(self) -> None:
        """Read on, and draw now and then."""
        current = self._map
        assert current is not None

        def show(complete: bool) -> None:
            for error in list(current.damaged.values())[:1]:
                self._desk.fail(error)
            self._draw(current, complete)
            if not complete:
                self.go_on()

        self._desk.ask("map", lambda: current.advance(_SLICE), show)

    def mark(self, cell: int) -> None:
        """Show which cell is looked at.

        Parameters
        ----------
        cell : int
            Its number.
        """
        self.cell = cell
        plane, position = self.plane, self._reader.plan.position(cell)
        x, y = (0 if axis == NONE else position[axis] for axis in (plane.across, plane.up))
        there = all(i in (plane.across, plane.up) or place == position[i] for i, place in enumerate(plane.place))
        height = y if plane.up != NONE or not self._is_profile else self._height(x)
        self._mark.data = {"x": [x], "y": [height]} if there and np.isfinite(height) else {"x": [], "y": []}

    # ---- drawing

    @property
    def _is_profile(self) -> bool:
        return self.plane.up == NONE

    def _height(self, x: int) -> float:
        values = self._map.values if self._map is not None else np.full((1, 1), np.nan)
        return float(values[0, x]) if x < values.shape[1] else float("nan")

    def _frame(self) -> None:
        """Make the figure anew: its axes are of one kind for life."""
        made = self._curve_frame() if self._is_profile else self._map_frame()
        across = self.plane.across
        label_places(made.xaxis[0], self._labels[across] if across != NONE else ["the only cell"])
        made.name = "map"
        made.on_event(Tap, self._tapped)
        self._holder.children = [made]
        if self._map is not None:
            self._draw(self._map, False)

    def _axis_name(self, axis: int) -> str:
        return plain(self._axes[axis].name) if axis != NONE else ""

    def _curve_frame(self) -> Any:
        name, title = self._axis_name(self.plane.across), self._title()
        n = len(self._labels[self.plane.across]) if name else 1
        ends = (-0.5, n - 0.5)
        made = frame(name, title, log_y=self.log.active, height=380, tools=_TOOLS, x_range=ends)
        made.scatter("x", "y", source=self._mark, size=16, color=None, line_color=_MARK, line_width=2.5)
        if 1 < n <= _MOST_JOINED:
            made.line("x", "y", source=self._profile, color=_DOTS, width=1.5)
        dots = made.scatter("x", "y", source=self._profile, size=8 if n <= 60 else 3, color=_DOTS)
        dots.nonselection_glyph = None
        tips = [(name or "cell", "@label"), (title, "@y{0.000e+0}")]
        made.add_tools(HoverTool(renderers=[dots], tooltips=tips))
        return made

    def _map_frame(self) -> Any:
        plane, title = self.plane, self._title()
        x_name, y_name = self._axis_name(plane.across), self._axis_name(plane.up)
        x_labels, y_labels = self._labels[plane.across], self._labels[plane.up]
        right, top = len(x_labels) - 0.5, len(y_labels) - 0.5
        made = frame(
            x_name, y_name, height=min(max(150 + 44 * len(y_labels), 280), 460), tools=_TOOLS,
            x_range=(-0.5, right), y_range=(-0.5, top),
        )  # fmt: skip
        made.grid.visible = False
        made.quad(
            left=-0.5, right=right, bottom=-0.5, top=top, line_color=None, fill_color="#fafbfc",
            hatch_pattern="right_diagonal_line", hatch_color="#d5dae0", hatch_scale=10, nonselection_fill_alpha=1,
            nonselection_hatch_alpha=1,
        )  # fmt: skip
        place = {"x": "x", "y": "y", "dw": "dw", "dh": "dh", "source": self._source}
        grey = LinearColorMapper(palette=[_NO_VALUE], nan_color=_CLEAR)
        made.image(image="blank", color_mapper=grey, **place)
        kind = LogColorMapper if self.log.active else LinearColorMapper
        self._mapper: Any = kind(palette=Viridis256, low=0.1, high=1, nan_color=_CLEAR)
        drawn = made.image(image="image", color_mapper=self._mapper, **place)
        self._bar: Any = ColorBar(color_mapper=self._mapper, width=12, padding=6)
        made.add_layout(self._bar, "right")
        for colour, width in (("#ffffff", 5), (_MARK, 2.5)):
            made.rect("x", "y", source=self._mark, width=1, height=1, fill_alpha=0, line_color=colour, line_width=width)
        tips = [(x_name, "$x{custom}"), (y_name, "$y{custom}"), (title, "@image{0.000e+0}")]
        names = {"$x": _names(x_labels), "$y": _names(y_labels)}
        made.add_tools(HoverTool(renderers=[drawn], tooltips=tips, formatters=names))
        label_places(made.yaxis[0], y_labels, upright=True)
        return made

    def _draw(self, current: Map, complete: bool) -> None:
        n_up, n_across = current.values.shape
        values = np.where(current.values > 0, current.values, np.nan) if self.log.active else current.values
        if self._is_profile:
            labels = self._labels[self.plane.across] if self.plane.across != NONE else [""]
            self._holder.visible = bool(np.isfinite(values).any())
            self._profile.data = {"x": np.arange(n_across), "y": values[0], "label": labels}
        else:
            blank = np.where((current.done > 0) & np.isnan(values), 1.0, np.nan)
            known = values[np.isfinite(values)]
            self._holder.visible = True
            self._bar.visible = bool(known.size)
            if known.size:
                low, high = float(known.min()), float(known.max())
                self._mapper.update(low=low, high=high if high > low else low + (abs(low) or 1.0) * 1e-3)
            self._source.data = {
                "image": [values.astype(np.float32)], "blank": [blank.astype(np.float32)],
                "x": [-0.5], "y": [-0.5], "dw": [n_across], "dh": [n_up],
            }  # fmt: skip
        self.mark(self.cell)
        self.note.text = self._words(current, values, complete)

    def _words(self, current: Map, values: Any, complete: bool) -> str:
        """What the picture shows, and what it does not."""
        n_cells, parts = current.cells.size, []
        if current.quantity.share:
            what = "of all finished trajectories"
        else:
            what = "over the trajectories that succeeded"
        if current.counted and current.counted < self._reader.n_trajectories:
            what += f", of the first {current.counted:,} of each cell's {self._reader.n_trajectories:,}"
        parts.append(f"{self._title().capitalize()}, {what}.")
        if n_cells == 1 and np.isfinite(values).all():
            parts.append(f"It is <b>{number(float(values[0, 0]))}</b>.")
        if not complete and current.read < n_cells:
            parts.append(f"Reading: {current.read:,} of {n_cells:,} cells.")
        if left := int(np.count_nonzero(current.done == 0)):
            hatched = " (hatched)" if not self._is_profile else ""
            parts.append(f"{left:,} of {n_cells:,} cells are not yet done{hatched}.")
        if partly := int(np.count_nonzero((current.done > 0) & (current.done < 1))):
            parts.append(f"{partly:,} are partly done.")
        where = "grey" if not self._is_profile else "left out"
        missing = np.isnan(current.values)
        if damaged := len(current.damaged):
            parts.append(f"{damaged:,} of {n_cells:,} cells cannot be read ({where}).")
        if blank := int(np.count_nonzero((current.done > 0) & missing)) - damaged:
            parts.append(f"{blank:,} have no number, as none succeeded, or it never came about ({where}).")
        if below := int(np.count_nonzero(np.isnan(values) & ~missing)):
            parts.append(f"{below:,} have none above 0 ({where}).")
        if n_cells > 1:
            parts.append("Click on a cell to see its trajectories.")
        return f'<div class="note">{" ".join(parts)}</div>'

    def _title(self) -> str:
        quantity = self._quantities[self.quantity.value]
        which = f", {quantity.choices[int(self.choice.value)]}" if quantity.choices else ""
        head = quantity.label if quantity.share else f"{self.statistic.value} of {quantity.label}"
        return f"{head}{which}"

    # ---- widgets

    def _select(self, title: str, options: list[Any], value: str | None = None, width: int = 170) -> Any:
        first = options[0] if options else ""
        value = value if value is not None else first[0] if isinstance(first, tuple) else first
        return Select(title=title, options=options, value=value, width=width, name=title)

    def _place(self, i: int) -> Any:
        axis, labels, title = self._axes[i], self._labels[i], plain(self._axes[i].name)
        if axis.size <= _MOST_OPTIONS:
            return self._select(title, [(str(k), text) for k, text in enumerate(labels)], "0")
        slider = Slider(start=0, end=axis.size - 1, value=0, step=1, width=170, name=title, show_value=False)

        def tell(attr: str, old: Any, new: Any) -> None:
            slider.title = f"{title}: {labels[int(slider.value)]}"

        tell("value", 0, 0)
        slider.on_change("value", tell)
        return slider

    def _event(self, widget: Any) -> str:
        """Of a slider what counts is where it is let go."""
        return "value_throttled" if isinstance(widget, Slider) else "value"

    def _fit_choices(self) -> None:
        choices = self._quantities[self.quantity.value].choices
        self.choice.update(options=[(str(i), text) for i, text in enumerate(choices)], visible=len(choices) > 1)
        if not (self.choice.value and int(self.choice.value) < len(choices)):
            self.choice.value = "0"

    def _other_quantity(self) -> None:
        self._fit_choices()
        self.restart()

    def _starts_log(self) -> bool:
        return next(iter(self._quantities)) == "end:loss"

    def _tapped(self, event: Any) -> None:
        if event.x is None or self._map is None:
            return
        n_up, n_across = self._map.cells.shape
        x, y = round(event.x), 0 if self._is_profile else round(event.y)
        if 0 <= x < n_across and 0 <= y < n_up:
            self._chosen(int(self._map.cells[y, x]))


_WRAP = {"flex-wrap": "wrap", "row-gap": "6px"}


def _briefly(axis: Axis) -> list[str]:
    """The values on an axis; numbers with three digits, if that tells them apart."""
    labels = [plain(label(axis.keys[0], value)) for value in axis.values[0]]
    if not all(isinstance(value, int | float) for value in axis.values[0]):
        return labels
    short = [f"{value:.3g}" for value in axis.values[0]]
    return short if len(set(short)) == len(short) else labels


def _names(labels: list[str]) -> CustomJSHover:
    """What stands beside the pointer: the value on an axis, not the place."""
    return CustomJSHover(args={"labels": labels}, code="return labels[Math.round(value)] ?? ''")
