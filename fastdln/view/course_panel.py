"""One trajectory: loss, strengths, singular values of the layers, sharpness, itinerary."""

from __future__ import annotations

from typing import Any

import numpy as np
from bokeh.layouts import column
from bokeh.models import ColumnDataSource, Div, Range1d
from numpy.typing import NDArray

from fastdln.view.course import Course, Stop
from fastdln.view.crowd_panel import CrowdPanel
from fastdln.view.style import INK, STATUS_COLOURS, colours, frame, named, number, safe, words

__all__ = ["CoursePanel"]

Floats = NDArray[np.float64]

_MOST_RECORDS = 2000


class CoursePanel:
    """What was recorded of one trajectory.

    Parameters
    ----------
    crowd : CrowdPanel
        Its neighbour, whose scales it shares.
    descends : bool
        Whether it is drawn over updates.
    """

    def __init__(self, crowd: CrowdPanel, descends: bool) -> None:
        self._crowd = crowd
        self._clock_name = "updates" if descends else "time"
        self._course: Course | None = None
        self.caption: Any = words("trajectory caption")
        self.itinerary: Any = words("itinerary")
        self._holder: Any = column(Div(), sizing_mode="stretch_width", stylesheets=[_TWO])
        self._now: Any = ColumnDataSource({"t": []})
        self.root: Any = column(
            self.caption, self._holder, self.itinerary, sizing_mode="stretch_width", name="trajectory"
        )
        crowd.log_x.on_change("active", lambda attr, old, new: self._draw())

    def show(self, course: Course | None, stops: tuple[str, list[Stop]], lack: str) -> None:
        """Show a trajectory.

        Parameters
        ----------
        course : Course or None
            The trajectory; None where there is none to be shown.
        stops : pair of str and list of Stop
            What its itinerary says, and its plateaus.
        lack : str
            Why there is none.
        """
        self._course, self._stops = course, stops[1]
        self._now.data = {"t": []}
        if course is None:
            self.caption.text = lack
            self.itinerary.text = ""
        else:
            self.caption.text = _facts(course)
            self.itinerary.text = _table(*stops)
        self._draw()

    def point_at(self, t: float) -> None:
        """Mark a moment in all figures.

        Parameters
        ----------
        t : float
            A recorded time, or a number of updates.
        """
        self._now.data = {"t": [t]}

    def _draw(self) -> None:
        course = self._course
        if course is None:
            self._holder.children = [Div()]
            return
        self._every = max(1, len(course.clock) // _MOST_RECORDS)
        self._range = _range(course.clock, log=self._crowd.log_x.active)
        self._holder.children = [self._loss(course), self._strengths(course), self._layers(course), self._sharp(course)]

    # ---- the figures

    def _loss(self, course: Course) -> Any:
        if "loss" not in course.recorded:
            return _said("Loss", "The loss was not recorded.")
        made = self._frame("loss", log_y=True)
        self._plateaus(made)
        made.line(
            *self._xy(course, _positive(course.recorded["loss"])), color=STATUS_COLOURS[course.status], line_width=2
        )
        return made

    def _strengths(self, course: Course) -> Any:
        if "strengths" not in course.recorded:
            return _said("Strengths", "The strengths of the modes were not recorded.")
        made = self._frame("strength")
        self._plateaus(made)
        values = course.recorded["strengths"][:, : len(course.sigma)]
        for j, (colour, sigma) in enumerate(zip(colours(len(course.sigma)), course.sigma, strict=True)):
            if np.isfinite(sigma):
                made.hspan(y=float(sigma), line_color=colour, line_dash="dotted", line_width=1)
            self._line(made, course, values[:, j], colour, f"mode {j}", len(course.sigma))
        _legend_above(made)
        return made

    def _layers(self, course: Course) -> Any:
        layers, product = course.layer_values, course.product_values
        title = "Singular values of the layers"
        if layers is None and product is None:
            return _said(title, "Neither the weights nor the singular values of the product were recorded.")
        made = self._frame("singular value")
        shades = colours(len(layers or ()))
        for i, values in enumerate(layers or ()):
            for j, curve in enumerate(values.T):
                label = f"layer {i + 1}" if j == 0 else None
                self._line(made, course, curve, shades[i], label, len(layers or ()))
        for j, curve in enumerate([] if product is None else product.T):
            label = "product" if j == 0 else None
            self._line(made, course, curve, INK, label, 1, line_dash="dashed")
        _legend_above(made)
        if layers is None:
            return column(
                made, _said(title, "The weights were not recorded: only those of the product are known."),
                sizing_mode="stretch_width",
            )  # fmt: skip
        return made

    def _sharp(self, course: Course) -> Any:
        if "sharpness" not in course.recorded:
            return _said("Sharpness", "The sharpness was not recorded.")
        made = self._frame("sharpness")
        made.line(*self._xy(course, course.recorded["sharpness"]), color="#0072B2", line_width=2)
        if course.edge is not None:
            ends = [self._range.start, self._range.end]
            edge = {"color": "#D55E00", "line_dash": "dashed", "line_width": 1.5, "legend_label": "2(1+β)/η"}
            made.line(ends, [course.edge, course.edge], **edge)
            _legend_above(made)
        return made

    def _frame(self, label: str, *, log_y: bool = False) -> Any:
        made = frame(
            self._clock_name, label, log_x=self._crowd.log_x.active, log_y=log_y, height=270, x_range=self._range
        )
        made.name = f"course {label}"
        made.vspan(x="t", source=self._now, line_color="#d4003c", line_width=1.5)
        return made

    def _plateaus(self, made: Any) -> None:
        """Shade the stretches on plateaus."""
        assert self._course is not None
        end = float(self._course.recorded["t_final"])
        ends = [min(stop.exit, end) for stop in self._stops]
        entries = [stop.entry for stop in self._stops]
        made.vstrip(x0=entries, x1=ends, fill_color="#56B4E9", fill_alpha=0.16, line_color=None)

    def _line(
        self, made: Any, course: Course, values: Floats, colour: str, label: str | None, of: int, **options: Any
    ) -> None:
        named_ = {"legend_label": label} if label is not None and of <= _MOST_NAMED else {}
        made.line(*self._xy(course, values), color=colour, line_width=1.8, **named_, **options)

    def _xy(self, course: Course, values: Floats) -> tuple[Floats, Floats]:
        return course.clock[:: self._every], values[:: self._every]


_MOST_NAMED = 8
_TWO = """
:host { display: grid !important; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 10px 18px; }
@media (max-width: 900px) { :host { grid-template-columns: minmax(0, 1fr); } }
"""


def _legend_above(made: Any) -> None:
    """Out of the way of the curves."""
    if made.legend:
        legend = made.legend[0]
        legend.update(orientation="horizontal", ncols=4, location="left", margin=0, spacing=14)
        made.add_layout(legend, "above")


def _range(clock: Floats, *, log: bool) -> Range1d:
    """From the first record to the last, for all figures together."""
    shown = clock[clock > 0] if log else clock
    start, end = (float(shown[0]), float(shown[-1])) if shown.size else (0.1, 1.0)
    return Range1d(start, end if end > start else start + 1)


def _positive(values: Floats) -> Floats:
    return np.where(values > 0, values, np.nan)


def _said(title: str, text: str) -> Any:
    body = f'<div style="font-weight:600">{title}</div><div class="note">{text}</div>'
    return words(title, body)


def _facts(course: Course) -> str:
    own = course.recorded
    counted = "updates" if course.reader.plan.document.descends else "steps"
    chip = f'<span style="color:{STATUS_COLOURS[course.status]}">&#9632;</span> {named(course.status)}'
    facts = [
        f"<b>Trajectory {course.k:,}</b> of {safe(course.reader.plan.point(course.cell).label, 300)}: {chip}",
        f"at time {number(float(own['t_final']))} after {int(own['n_accepted']):,} {counted}",
    ]
    if "learning_times" in own:
        times = own["learning_times"][: len(course.sigma)]
        told = ", ".join("never" if np.isnan(t) else number(float(t)) for t in times)
        facts.append(f"learning times of the modes: {told}")
    words = "; ".join(facts) + "."
    return words + (f" To change that: {safe(course.advice, 300)}." if course.advice else "")


def _table(words: str, stops: list[Stop]) -> str:
    """The itinerary as a table."""
    head = f'<div style="margin:4px 0"><b>Itinerary.</b> {safe(words, 600)}</div>'
    if not stops:
        return head
    names = ("plateau", "kind", "loss", "modes learned", "entered", "left", "distance", "gradient")
    cells = "".join(f"<th>{name}</th>" for name in names)
    lines = [
        (
            str(p), stop.kind.replace("_", " "), number(stop.value), ", ".join(map(str, stop.learned)) or "none",
            number(stop.entry), number(stop.exit) if np.isfinite(stop.exit) else "not left",
            number(stop.distance), "" if np.isnan(stop.grad_norm) else number(stop.grad_norm),
        )
        for p, stop in enumerate(stops)
    ]  # fmt: skip
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in line)}</tr>" for line in lines)
    note = "The plateaus are shaded above; dotted lines are singular values of the target."
    return f'{head}<div class="scroll"><table><tr>{cells}</tr>{body}</table></div><div class="note">{note}</div>'
