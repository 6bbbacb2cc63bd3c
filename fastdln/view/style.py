"""How the page looks: colours, text from files, frames of figures, the HTML around them."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.models import Div, FixedTicker, PlainText
from bokeh.plotting import figure
from bokeh.themes import Theme
from jinja2 import Template

from fastdln.integrate.status import Status
from fastdln.text import plain

__all__ = [
    "DIVERGING",
    "INK",
    "STATUS_COLOURS",
    "TEMPLATE",
    "THEME",
    "colours",
    "frame",
    "label_places",
    "named",
    "number",
    "safe",
    "words",
]

INK, MUTED, FAINT = "#1f2933", "#52606d", "#e4e7eb"

# Okabe & Ito's colours, which colour-blind people tell apart.
STATUS_COLOURS = {
    Status.FINISHED: "#0072B2",
    Status.STOPPED: "#009E73",
    Status.MAX_STEPS: "#E69F00",
    Status.NONFINITE: "#D55E00",
    Status.STEP_TOO_SMALL: "#CC79A7",
    Status.DIVERGED: "#000000",
}

_BLUE, _WHITE, _RED = (33, 102, 172), (241, 241, 241), (178, 24, 43)


def _diverging(n: int = 255) -> list[str]:
    """From blue by a light grey to red: light at zero, dark at both ends."""
    ramp = np.linspace(-1, 1, n)[:, None]
    ends = np.where(ramp < 0, _BLUE, _RED)
    mixed = np.asarray(_WHITE) + (ends - np.asarray(_WHITE)) * np.abs(ramp) ** 0.7
    return ["#{:02x}{:02x}{:02x}".format(*row) for row in mixed.round().astype(int)]


DIVERGING = _diverging()

_SEQUENCE = ("#440154", "#3b528b", "#21918c", "#5ec962", "#c9b400")  # viridis, its end darker on white


def colours(n: int) -> list[str]:
    """Return colours for what has an order, as modes.

    Parameters
    ----------
    n : int
        How many.

    Returns
    -------
    list of str
        From dark to light.
    """
    stops = np.array([[int(c[i : i + 2], 16) for i in (1, 3, 5)] for c in _SEQUENCE])
    at = np.linspace(0, len(stops) - 1, max(n, 2))
    mixed = np.stack([np.interp(at, np.arange(len(stops)), channel) for channel in stops.T], axis=1)
    return ["#{:02x}{:02x}{:02x}".format(*row) for row in mixed.round().astype(int)[:n]]


def safe(text: str, longest: int = 80) -> str:
    """Make text from a file harmless in HTML.

    Parameters
    ----------
    text : str
        Anything.
    longest : int
        The most characters of it that are kept.

    Returns
    -------
    str
        Escaped.
    """
    return html.escape(plain(text, longest))


def named(status: Status) -> str:
    """Name a status for people.

    Parameters
    ----------
    status : Status
        The status.

    Returns
    -------
    str
        As in "max steps".
    """
    return status.name.lower().replace("_", " ")


def words(name: str, text: str = "") -> Any:
    """Make room for text on the page.

    Parameters
    ----------
    name : str
        What it is called.
    text : str
        HTML, in which text from files is made `safe`.

    Returns
    -------
    bokeh.models.Div
        As wide as there is room.
    """
    return Div(text=text, name=name, sizing_mode="stretch_width", disable_math=True, stylesheets=[_WORDS])


def number(value: float) -> str:
    """Write a number briefly.

    Parameters
    ----------
    value : float
        The number.

    Returns
    -------
    str
        With four digits at most, integers with all of theirs.
    """
    return f"{value:,.0f}" if float(value).is_integer() and abs(value) < 1e9 else f"{value:.4g}"


def frame(x: str, y: str, *, log_x: bool = False, log_y: bool = False, height: int = 300, **options: Any) -> Any:
    """Make an empty figure that is as wide as there is room.

    Parameters
    ----------
    x, y : str
        What its axes show.
    log_x, log_y : bool
        Whether they are logarithmic.
    height : int
        In pixels.
    **options
        As for `bokeh.plotting.figure`.

    Returns
    -------
    bokeh.plotting.figure
        The figure.
    """
    made: Any = figure(
        height=height,
        sizing_mode="stretch_width",
        min_width=200,
        x_axis_type="log" if log_x else "linear",
        y_axis_type="log" if log_y else "linear",
        tools=options.pop("tools", "pan,box_zoom,wheel_zoom,tap,reset,save"),
        active_drag="box_zoom",
        active_scroll=None,
        **options,
    )
    made.toolbar.logo = None
    made.toolbar.autohide = True
    for axis, text in ((made.xaxis[0], x), (made.yaxis[0], y)):
        axis.axis_label = PlainText(text=text)
    return made


def label_places(axis: Any, labels: Sequence[str], *, upright: bool = False) -> None:
    """Label an axis of places 0, 1, ...; of many places some.

    Parameters
    ----------
    axis : bokeh.models.Axis
        The axis.
    labels : sequence of str
        The label of each place.
    upright : bool
        Whether labels stand above each other, and not side by side.
    """
    n, longest = len(labels), max(map(len, labels))
    most = 12 if upright else min(max(_ROOM // (longest + 1), 2), 9)
    if not upright and most < n <= 12:  # few, but long ones
        axis.major_label_orientation = 0.7
        most = n
    at = sorted({round(x) for x in np.linspace(0, n - 1, min(n, most))})
    axis.update(ticker=FixedTicker(ticks=at), major_label_overrides={i: PlainText(text=labels[i]) for i in at})


_ROOM = 40
"""Characters side by side on a narrow page."""


_WORDS = """
:host { min-width: 0; }
.bk-clearfix { display: block; max-width: 100%; font: 14px/1.5 var(--bokeh-base-font); color: #1f2933; }
.note { color: #52606d; }
table { border-collapse: collapse; }
.scroll { overflow-x: auto; }
th { font-weight: 600; }
th, td { text-align: left; padding: 2px 16px 2px 0; white-space: nowrap; }
"""

_FONT = "system-ui, -apple-system, 'Segoe UI', 'Noto Sans', 'DejaVu Sans', sans-serif"

THEME = Theme(
    json={
        "attrs": {
            "figure": {
                "background_fill_color": "#ffffff",
                "border_fill_color": "#ffffff",
                "outline_line_color": None,
                "min_border_right": 14,
            },
            "Grid": {"grid_line_color": FAINT},
            "Axis": {
                "axis_line_color": MUTED,
                "major_tick_line_color": MUTED,
                "minor_tick_line_color": None,
                "major_tick_in": 0,
                "major_tick_out": 4,
                "major_label_text_font": _FONT,
                "major_label_text_font_size": "12px",
                "major_label_text_color": INK,
                "axis_label_text_font": _FONT,
                "axis_label_text_font_size": "13px",
                "axis_label_text_font_style": "normal",
                "axis_label_text_color": INK,
            },
            "BaseColorBar": {
                "major_label_text_font": _FONT,
                "major_label_text_font_size": "12px",
                "major_label_text_color": INK,
                "bar_line_color": None,
            },
            "Legend": {
                "label_text_font": _FONT,
                "label_text_font_size": "12px",
                "label_text_color": INK,
                "border_line_color": None,
                "background_fill_alpha": 0.75,
                "spacing": 1,
                "padding": 4,
                "glyph_width": 16,
            },
        }
    }
)

TEMPLATE = Template(
    """
{% extends base %}
{% block preamble %}
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<style>
  body { --bokeh-base-font: {{ font }}; --bokeh-font-size: 13px;
         background: #f5f7fa; color: #1f2933; font: 15px/1.45 {{ font }}; }
  main { max-width: 1360px; margin: 0 auto; padding: 20px 20px 40px; }
  .sheets { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: 18px; align-items: start; }
  .sheet { background: #fff; border: 1px solid #e4e7eb; border-radius: 8px; padding: 16px 18px 18px; min-width: 0; }
  .wide { grid-column: 1 / -1; }
  h2 { font-size: 17px; font-weight: 600; margin: 0 0 10px; }
  @media (max-width: 900px) {
    main { padding: 12px 10px 30px; }
    .sheets { grid-template-columns: minmax(0, 1fr); gap: 12px; }
    .sheet { padding: 12px 12px 14px; }
  }
</style>
{% endblock %}
{% block contents %}
<main>
  {{ embed(roots.heading) }}
  <div class="sheets">
    <section class="sheet"><h2>The grid</h2>{{ embed(roots.grid) }}</section>
    <section class="sheet"><h2>One cell</h2>{{ embed(roots.cell) }}</section>
    <section class="sheet wide"><h2>One trajectory</h2>{{ embed(roots.trajectory) }}</section>
    <section class="sheet wide"><h2>The network</h2>{{ embed(roots.network) }}</section>
  </div>
</main>
{% endblock %}
""".replace("{{ font }}", _FONT)
)
