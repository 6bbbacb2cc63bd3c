"""The page in a headless Chromium: every control is used, the console is clean, nothing is fetched from elsewhere."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from tests.support.views import ONE, SMALL, WORDS, damage, go_on, half_done, made, serving

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
BROWSER = next((path for name in BROWSERS if (path := shutil.which(name))), None)
REQUIRED = "FASTDLN_PAGE" in os.environ  # nox -s page: a browser is expected
SHOTS = os.environ.get("FASTDLN_SHOTS")  # a folder for pictures of the page, to be looked at

if not REQUIRED:
    pytest.importorskip("bokeh", reason="the page needs Bokeh")
    pytest.importorskip("playwright", reason='needs Playwright: pip install --group page (no "playwright install")')
    if BROWSER is None:
        pytest.skip(f"needs a browser: none of {', '.join(BROWSERS)} is installed", allow_module_level=True)

from playwright.sync_api import Error, Page, TimeoutError, expect, sync_playwright  # noqa: E402

SECONDS = 40  # a busy machine is slow


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made(SMALL, tmp_path_factory.mktemp("small"), chunk=4)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    assert BROWSER is not None, f"none of {', '.join(BROWSERS)} is installed"
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=BROWSER, args=["--no-sandbox"])
        yield running
        running.close()


# Bokeh forgets what was replaced only after a while: the last of a name is the one that is shown
FIND = "const find = name => [...Bokeh.documents[0]._all_models.values()].filter(m => m.name === name).at(-1);"
VIEW = FIND + "const view = name => Bokeh.index.get_one(find(name)) ?? Bokeh.index.find_one(find(name));"


class Visit:
    """A visit to the page of a store; ends with what the console said, and what was fetched."""

    def __init__(self, browser: Any, server: Any, width: int) -> None:
        self.said: list[str] = []
        self.fetched: list[str] = []
        self.page: Page = browser.new_page(viewport={"width": width, "height": 900})
        self.page.set_default_timeout(SECONDS * 1000)
        self.page.on("console", lambda m: self.said.append(m.text) if m.type == "error" else None)
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.fetched.append(request.url))
        self.page.on("websocket", lambda socket: self.fetched.append(socket.url))
        self.address = server.address
        self.page.goto(server.address)
        self.page.wait_for_function("window.Bokeh?.documents?.[0]?.is_idle")
        self.until("map note", "'text'", "len > 0")

    def get(self, name: str, attribute: str) -> Any:
        """Read an attribute of a widget, a figure."""
        return self.page.evaluate(f"() => {{ {FIND} return find({name!r}).{attribute} }}")

    def values(self, name: str, attribute: str) -> list[float]:
        """Read an array."""
        return self.page.evaluate(f"() => {{ {FIND} return [...find({name!r}).{attribute}] }}")

    def until(self, name: str, attribute: str, condition: str, seconds: float = SECONDS) -> None:
        """Wait until something is so: of its value, or of the length of it."""
        code = f"const value = find({name!r})?.[{attribute}], len = value?.length; return {condition}"
        self.page.wait_for_function(f"() => {{ {FIND} {code} }}", timeout=seconds * 1000)

    def use(self, name: str, selector: str, act: Callable[[Any], Any]) -> None:
        """Do something with what a widget is used by; again, if that was drawn anew meanwhile."""
        code = f"([name, selector]) => {{ {VIEW} return view(name).shadow_el.querySelector(selector) }}"
        for left in (3, 2, 1, 0):
            try:
                act(self.page.evaluate_handle(code, [name, selector]).as_element())
                break
            except Error as error:
                if not left or "not attached" not in str(error):
                    raise

    def click(self, name: str, selector: str = "input") -> None:
        self.use(name, selector, lambda element: element.click())

    def choose(self, name: str, label: str) -> None:
        self.use(name, "select", lambda element: element.select_option(label=label))

    def enter(self, name: str, value: int) -> None:
        self.use(name, "input", lambda element: (element.fill(str(value)), element.press("Enter")))

    def tap(self, name: str, x: float, y: float, until: tuple[str, str, str]) -> None:
        """Click into a figure, at a place in its data, until something is so: it may still be drawn anew."""
        code = """([name, x, y]) => { VIEW
            const figure = view(name)
            figure.el.scrollIntoView({block: "center"})
            const box = figure.canvas_view.el.getBoundingClientRect()
            const place = [box.x + figure.frame.x_scale.compute(x), box.y + figure.frame.y_scale.compute(y)]
            return place.every(Number.isFinite) ? place : null
        }"""
        for patience in (2, 4, 8, SECONDS):
            place = self.page.evaluate(code.replace("VIEW", VIEW), [name, x, y])
            if place is not None:  # its axes have their ranges
                self.page.mouse.click(*place)
            try:
                self.until(*until, seconds=patience)
                break
            except TimeoutError:
                if patience == SECONDS:
                    raise

    def shot(self, name: str) -> None:
        data = self.page.screenshot(full_page=True, path=Path(SHOTS, f"{name}.png") if SHOTS else None)
        assert len(data) > 20_000

    def end(self) -> None:
        assert self.said == []
        own = (self.address, self.address.replace("http://", "ws://"), "data:", "blob:")
        assert [url for url in self.fetched if not url.startswith(own)] == []
        self.page.close()


@pytest.fixture(scope="module")
def server(store: Path) -> Iterator[Any]:
    with serving(store) as running:
        yield running


@pytest.fixture
def visit(browser: Any, server: Any) -> Iterator[Visit]:
    one = Visit(browser, server, 1400)
    yield one
    one.end()


NOTE, CELL = "map note", "cell caption"


def test_the_controls_of_the_grid(visit: Visit, store: Path):
    results = xr.open_zarr(store).load()
    expect(visit.page.get_by_role("heading", name="<b>small</b> $$x$$")).to_be_visible()
    assert visit.page.title() == "<b>small</b> $$x$$ - fastdln"

    visit.choose("quantity", "strength of a mode at the end")
    visit.until(
        NOTE, "'text'", "value.startsWith('<div class=\"note\">Median of strength of a mode at the end, mode 0')"
    )
    visit.choose("of", "mode 1 (σ = 1)")
    visit.choose("of the trajectories", "maximum")
    visit.until(NOTE, "'text'", "value.includes('Maximum of strength of a mode at the end, mode 1')")
    visit.choose("quantity", "share of max steps")
    visit.until(NOTE, "'text'", "value.includes('Share of max steps, of all finished trajectories')")
    assert not visit.get("of the trajectories", "visible")
    visit.click("log map")
    visit.until(NOTE, "'text'", "!value.includes('above 0')")
    visit.choose("max_steps", "1e+03")
    visit.choose("across", "max_steps")
    visit.until("max_steps", "'visible'", "value === false")
    visit.until("weight_decay", "'visible'", "value === true")
    visit.until(NOTE, "'text'", "!value.includes('Reading')")
    share = (results["status"] == 2).mean("trajectory").isel(weight_decay=0).transpose("scale", "max_steps")
    drawn = visit.values("map", "renderers[2].data_source.data.image[0]")
    np.testing.assert_allclose(drawn, share.values.ravel(), atol=1e-6)
    visit.choose("weight_decay", "0.1")
    visit.choose("up", "none")  # a curve
    visit.until("map", "'renderers'", "len === 3")
    height = float((results["status"] == 2).mean("trajectory")[0, 1, 1])
    visit.tap("map", 1, height, (CELL, "'text'", "value.includes('max_steps = 1000, weight_decay = 0.1')"))


def test_from_a_cell_to_a_trajectory(visit: Visit, store: Path):
    cell = "value === '<b>scale = 0.9, max_steps = 56, weight_decay = 0.1</b>'"
    visit.tap("map", 1, 2, (CELL, "'text'", cell))
    visit.until("cell note", "'text'", "value.includes('Showing 10 of 10')")
    own = xr.open_zarr(store).isel(scale=2, max_steps=0, weight_decay=1).load()
    failed = int((own["status"] == 2).sum())
    assert 0 < failed < 10

    def status(number: int) -> None:
        visit.click("statuses", f".bk-btn:nth-child({number + 1})")

    status(0)
    visit.until("cell note", "'text'", f"value.includes('Showing {failed} of {failed}')")
    status(2)
    visit.until("cell note", "'text'", "value.includes('No finished trajectory has one of these statuses')")
    status(0)
    visit.until("cell note", "'text'", f"value.includes('Showing {10 - failed} of {10 - failed}')")
    status(2)
    visit.choose("curves of", "strength of a mode")
    visit.choose("of curve", "mode 1 (σ = 1)")
    visit.until("curves", "'renderers'", "len > 0")
    visit.click("log time")
    visit.click("log values")
    visit.click("log values")
    visit.choose("curves of", "loss")
    visit.until("cell note", "'text'", "value.includes('Showing 10 of 10')")

    good, at = int(np.flatnonzero(own["status"] == 0)[-1]), 8  # a record where the curves are apart
    logarithms = np.log(own["loss"].values[:, at])
    far = int(np.nanargmax(abs(logarithms - logarithms[good])))
    visit.enter("number", far)
    visit.until("trajectory caption", "'text'", f"value.includes('<b>Trajectory {far}</b> of scale = 0.9')")
    visit.click("log time")
    x, y = float(own["t"][at]), float(own["loss"][good, at])
    visit.tap("curves", x, y, ("number", "'value'", f"value !== {far}"))
    k = visit.get("number", "value")
    assert abs(logarithms[k] - logarithms[good]) < abs(logarithms[far] - logarithms[good])
    visit.until("trajectory caption", "'text'", f"value.includes('<b>Trajectory {k}</b> of scale = 0.9')")
    assert "<table>" in visit.get("itinerary", "text")


def test_the_network_is_played(visit: Visit):
    visit.until("record", "'value'", "value > 1")
    end = visit.get("record", "end")
    assert visit.get("record", "value") == end

    def weights() -> list[float]:
        return visit.values("network figure", "renderers[0].data_source.data.weight")

    last = weights()
    visit.click("play", "button")
    visit.until("play", "'label'", "value === 'Pause'")
    visit.until("record", "'value'", f"value > 0 && value < {end}")
    assert weights() != last
    visit.until("play", "'label'", "value === 'Play'")  # it has come to the end
    assert visit.get("record", "value") == end
    assert weights() == last
    visit.click("play", "button")
    visit.until("play", "'label'", "value === 'Pause'")
    visit.click("play", "button")
    visit.until("play", "'label'", "value === 'Play'")
    visit.use("record", ".noUi-handle", lambda handle: handle.press("Home"))
    visit.until("record", "'value'", "value === 0")
    visit.until("record", "'title'", "value.startsWith('time 0, record 0 of 11')")


@pytest.mark.parametrize(("name", "width"), [("wide", 1400), ("narrow", 420)])
def test_it_fits(browser: Any, server: Any, name: str, width: int):
    visit = Visit(browser, server, width)
    visit.until("trajectory caption", "'text'", "len > 0")
    visit.page.wait_for_timeout(800)
    visit.shot(name)
    assert visit.page.evaluate("() => document.documentElement.scrollWidth") <= width
    visit.end()


def test_what_was_not_recorded_is_said(browser: Any, tmp_path: Path):
    with serving(made(WORDS, tmp_path)) as server:
        visit = Visit(browser, server, 1400)
        visit.until("itinerary", "'text'", "value.includes('There is no itinerary: an itinerary needs a loss')")
        for words in (
            "The strengths of the modes were not recorded.", "The sharpness was not recorded.",
            "Neither the weights nor the singular values of the product were recorded.",
            "The weights were not recorded, so the edges have no colours.",
        ):  # fmt: skip
            expect(visit.page.get_by_text(words)).to_be_visible()
        visit.shot("not-recorded")
        visit.end()


def test_it_keeps_up_with_a_scan(browser: Any, store: Path, tmp_path: Path):
    path = half_done(store, tmp_path / "x.zarr", units=8)
    with serving(path) as server:
        visit = Visit(browser, server, 1400)
        visit.until("heading", "'text'", "value.includes('28 of 120 trajectories; not finished')")
        visit.until(NOTE, "'text'", "value.includes('4 of 6 cells are not yet done (hatched)')")
        visit.tap("map", 1, 2, ("cell note", "'text'", "value === 'This cell is not yet done.'"))
        visit.until("trajectory caption", "'text'", "value === 'This trajectory is not yet done.'")
        visit.until("network note", "'text'", "value === 'This trajectory is not yet done.'")
        visit.shot("running")
        go_on(store, path, units=36)
        visit.until("heading", "'text'", "value.includes('120 trajectories; finished')")
        visit.until(NOTE, "'text'", "!value.includes('not yet done')")
        visit.until("cell note", "'text'", "value.includes('Showing 10 of 10')")
        visit.until("trajectory caption", "'text'", "value.includes('<b>Trajectory 0</b> of scale = 0.9')")
        visit.end()


def test_damage_is_said(browser: Any, tmp_path: Path):
    path = made(ONE, tmp_path)
    damage(path, "loss", 0)
    with serving(path) as server:
        visit = Visit(browser, server, 420)
        expect(visit.page.get_by_role("alert")).to_contain_text("loss/c.0.0 is damaged")
        visit.until(NOTE, "'text'", "value.includes('1 of 1 cells cannot be read')")
        visit.until("cell note", "'text'", "value === 'This cell cannot be read.'")
        expect(visit.page.get_by_text("This trajectory cannot be read.")).to_have_count(2)
        visit.shot("damaged")
        visit.end()
