"""Figures as pictures: the same bytes again, nothing too small or cut off, no window, and the command that draws."""

from __future__ import annotations

import functools
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure
from matplotlib.text import Text

from fastdln import figures
from fastdln.figures.style import FORMATS
from tests.support.scans import program, words

CHEAP = 4
figure_of = functools.cache(figures.figure)


def saved(figure: Figure, folder: Path, form: str) -> bytes:
    path = folder / f"figure.{form}"
    figures.save(figure, path)
    return path.read_bytes()


@pytest.fixture(scope="module")
def once(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """A figure in every format, as the command draws it."""
    out = tmp_path_factory.mktemp("once") / "new" / "folder"
    for form in FORMATS:
        answer = program("figures", CHEAP, "--out", out, "--format", form)
        assert answer.code == 0, answer.err
        assert not answer.err
        assert answer.out.startswith(f"{out}/figure{CHEAP}.{form}: figure {CHEAP}, ")
    return {form: (out / f"figure{CHEAP}.{form}").read_bytes() for form in FORMATS}


# ---- the same bytes


def test_drawn_again_it_has_the_same_bytes(once, tmp_path: Path):
    """Whatever the settings of the session are, and they stay as they are; also in another order of formats."""
    with mpl.rc_context({"font.size": 20, "axes.facecolor": "black", "svg.hashsalt": None}):
        figure = figures.figure(CHEAP)
        again = {form: saved(figure, tmp_path, form) for form in reversed(FORMATS)}
        assert mpl.rcParams["font.size"] == 20
    assert again == once


def test_another_process_draws_the_same_bytes(once, tmp_path: Path):
    code = f"from fastdln import figures; figures.save(figures.figure({CHEAP}), {str(tmp_path / 'x.svg')!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    assert (tmp_path / "x.svg").read_bytes() == once["svg"]


def test_threads_do_not_disturb_each_other(once, tmp_path: Path):
    folders = [tmp_path / str(k) for k in range(2)]
    for folder in folders:
        folder.mkdir()
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda folder: saved(figures.figure(CHEAP), folder, "svg"), folders))
    assert answers == [once["svg"]] * 2


def test_saving_says_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    """Nor does fontTools of Matplotlib's fonts, of which this figure takes one with an odd date."""
    saved(figure_of(2), tmp_path, "pdf")
    assert not caplog.records


def test_files_hold_no_date_and_letters_as_letters(once):
    assert b"<dc:date>" not in once["svg"]
    assert b"CreationDate" not in once["pdf"]
    assert b"/Type3" not in once["pdf"]


# ---- what is seen


@pytest.mark.parametrize("number", figures.FIGURES)
def test_nothing_is_too_small_or_cut_off(number: int):
    """At two columns' width every text has 7 points, and lies within the figure; titles do not touch."""
    figure = figure_of(number)
    assert figure.get_figwidth() == 7
    page = figure.bbox
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    assert len(texts) > 20
    assert min(text.get_fontsize() for text in texts) >= 7
    for text in texts:
        box = text.get_window_extent()
        if box.width and not text.get_clip_on():
            inside = page.x0 <= box.x0 + 1 and box.x1 <= page.x1 + 1 and page.y0 <= box.y0 + 1 and box.y1 <= page.y1 + 1
            assert inside, text
    titles = [ax.title if ax.get_title() else ax._left_title for ax in figure.axes]
    boxes = [title.get_window_extent() for title in titles]
    assert not [(k, j) for k in range(len(boxes)) for j in range(k) if boxes[k].overlaps(boxes[j])]


@pytest.mark.parametrize("number", figures.FIGURES)
def test_panels_are_lettered(number: int):
    letters = [ax.get_title(loc="left")[:3] for ax in figure_of(number).axes]
    assert letters == [f"({letter})" for letter in "abcdefgh"[: len(letters)]]


def test_pyplot_knows_of_none():
    figure_of(CHEAP)
    assert not plt.get_fignums()


@pytest.mark.parametrize("number", [6, 7])
def test_our_choice_is_said_to_be_ours(number: int):
    assert "our choice" in (figures.FIGURES[number].__doc__ or "")
    assert "Figures 6 and 7 are our choice" in words(program("figures", "--help").out)


# ---- what is refused


def test_no_such_figure():
    with pytest.raises(ValueError, match="number must be that of a figure, from 1 to 7, not 8"):
        figures.figure(8)
    with pytest.raises(TypeError, match="number must be an integer"):
        figures.figure("1")  # type: ignore[arg-type]


def test_no_such_format(tmp_path: Path):
    with pytest.raises(ValueError, match=r"path must end in one of \.png, \.svg, \.pdf, not '.*x\.gif'"):
        figures.save(Figure(), tmp_path / "x.gif")


def test_without_matplotlib_the_extra_is_named(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r"this needs matplotlib: python -m pip install -e '\.\[scan\]'"):
        figures.figure(CHEAP)


# ---- the command


def test_all_are_drawn_and_each_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for number in figures.FIGURES:
        monkeypatch.setitem(figures.FIGURES, number, Figure)
    assert program("figures", "--out", tmp_path).code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"figure{k}.svg" for k in range(1, 8)]
    answer = program("figures", "3", "1", "3", "--out", tmp_path / "two")
    assert [line.split(": ")[1][:8] for line in answer.out.splitlines()] == ["figure 1", "figure 3"]


@pytest.mark.parametrize("which", ["8", "0", "one", "[red]"])
def test_the_command_refuses_other_figures(tmp_path: Path, which: str):
    answer = program("figures", which, "--out", tmp_path / "x")
    assert answer.code == 2
    assert words(answer.err) == f"fastdln: WHICH: expected the number of a figure, 1 to 7, or all, not {which!r}"
    assert not (tmp_path / "x").exists()


def test_the_command_refuses_other_formats_and_places(tmp_path: Path):
    answer = program("figures", "1", "--out", tmp_path, "--format", "gif")
    assert answer.code == 2
    assert "'gif' is not one of 'png', 'svg', 'pdf'" in words(answer.err)
    (tmp_path / "taken").touch()
    answer = program("figures", CHEAP, "--out", tmp_path / "taken")
    assert answer.code == 1
    assert str(tmp_path / "taken") in answer.err


def test_ctrl_c_ends_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted() -> Figure:
        raise KeyboardInterrupt

    monkeypatch.setitem(figures.FIGURES, 2, interrupted)
    answer = program("figures", "2", "--out", tmp_path)
    assert answer.code == 130
    assert answer.err == "fastdln: stopped\n"
