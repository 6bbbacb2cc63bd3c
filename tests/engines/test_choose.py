"""Which engine ``engine="auto"`` takes."""

from __future__ import annotations

import numpy as np
import pytest

import fastdln as dln
from bench.choice import candidates, chosen, grid
from fastdln.engines.base import Options
from fastdln.engines.choose import ENGINES, choose
from fastdln.engines.direct import DIRECT, alone, best, lanes_bytes
from fastdln.engines.lockstep.batch import Batch
from fastdln.engines.reduced import Reduced
from fastdln.engines.reduced.worth import pays
from fastdln.engines.wide import Wide
from fastdln.integrate.chebyshev import ROCK
from fastdln.integrate.tableaus import BS3, DOP853, TSIT5
from tests.support.problems import posed

F64, F32 = np.dtype(np.float64), np.dtype(np.float32)


def loss_of(widths):
    return dln.Quadratic(np.eye(widths[-1], widths[0]))


def engine(widths, method=TSIT5, dtype=F64):
    return best(dln.Network(widths), loss_of(widths), method, dtype)


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ((2, 2), "lanes"),
        ((8, 8, 8, 8), "lanes"),
        ((16, 16, 16, 16), "lanes"),
        ((10, 48, 48, 10), "lanes"),
        ((28, 28, 28, 28), "lanes"),  # vectors of 8 numbers would hold 28 of 32 columns
        ((32, 32, 32, 32), "dense"),
        ((40, 40, 40), "dense"),
        ((64, 64, 64), "dense"),
        ((64, 128, 128, 10), "dense"),
        ((256, 256, 256), "dense"),
        ((10, 128, 128, 10), "dense"),
        ((10, 1024, 1024, 10), "wide"),
        ((784, 2048, 2048, 10), "wide"),
        ((10, 512, 512, 10), "dense"),
        ((10, 512, 512, 512, 10), "wide"),  # two large layers
        ((32, 1024, 1024, 32), "dense"),
        ((1024, 1024, 1024), "dense"),  # no narrow end
    ],
)
def test_what_is_taken(widths, expected):
    assert engine(widths) == expected


def test_what_lanes_work_on_decides_by_method_and_precision():
    deep = (16,) * 5
    assert (engine(deep, BS3), engine(deep, dtype=F32), engine(deep)) == ("lanes", "lanes", "dense")
    assert (engine((16,) * 4), engine((16,) * 4, DOP853)) == ("lanes", "dense")


def test_stabilized_methods_leave_lanes_where_dense_fills_its_vectors():
    assert [engine((d,) * 4, ROCK) for d in (4, 8, 12, 16)] == ["lanes", "dense", "lanes", "dense"]


def test_stabilized_methods_have_no_wide_engine():
    assert engine((10, 1024, 1024, 10), ROCK) == "dense"


def problem(widths, method=TSIT5, dtype=F64, **options):
    """One trajectory of the network."""
    net = dln.Network(widths)
    options = Options(method, 1e-6, 10, (), **options)
    return posed(net, loss_of(widths), np.zeros((1, net.n_parameters), dtype), options)


EXACT, NEARLY = Reduced(approximate=False, decide=False), Reduced(approximate=True, decide=False)


@pytest.mark.parametrize(
    ("widths", "options", "expected"),
    [
        ((4, 24, 4), {}, EXACT),
        ((4, 24, 4), {"certify": True}, EXACT),
        ((4, 24, 4), {"dtype": F32}, EXACT),
        ((2, 300, 300, 2), {}, NEARLY),
        ((2, 300, 300, 2), {"method": ROCK}, NEARLY),
        # nothing near is certified, or reached in single precision
        ((2, 300, 300, 2), {"certify": True}, Batch),
        ((2, 300, 300, 2), {"dtype": F32}, Batch),
        ((4, 4, 4), {}, Batch),
        ((10, 1024, 1024, 10), {"dtype": F32}, Wide),
    ],
)
def test_auto_reduces_exactly_or_nearly_or_not_at_all(widths, options, expected):
    found = choose(problem(widths, **options))
    assert found == expected if isinstance(expected, Reduced) else isinstance(found, expected)


@pytest.mark.parametrize(
    ("widths", "options", "approximate"),
    [((4, 24, 4), {}, False), ((2, 300, 300, 2), {}, True), ((2, 300, 300, 2), {"certify": True}, False),
     ((2, 300, 300, 2), {"dtype": F32}, True), ((2, 90, 90, 3), {}, True), ((8, 8, 8), {}, False)],
)  # fmt: skip
def test_what_is_asked_for_is_reduced_by_decisions_on_ranks(widths, options, approximate):
    assert choose(problem(widths, engine="reduced", **options)) == Reduced(approximate, decide=True)


def test_an_engine_that_is_named_is_taken():
    assert [*ENGINES] == ["lanes", "dense", "wide", "reduced"]
    lanes, dense, wide = (choose(problem((2, 300, 300, 2), engine=name)) for name in DIRECT)
    assert lanes.executor.lanes > dense.executor.lanes == 1
    assert isinstance(wide, Wide)


def test_one_trajectory_is_not_taken_by_lanes():
    assert [alone(problem(widths)).executor.lanes for widths in ((4, 4, 4), (64, 64, 64))] == [1, 1]
    assert isinstance(alone(problem((10, 1024, 1024, 10))), Wide)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 6])
def test_beyond_a_width_lanes_are_never_taken_again(depth):
    for widths in (range(8, 200, 8), range(5, 200, 8)):
        taken = [engine((d,) * (depth + 1)) == "lanes" for d in widths]
        assert taken == sorted(taken, reverse=True)
        assert taken[0]
        assert not taken[-1]


def test_neither_batch_nor_threads_nor_the_machine_matter(monkeypatch):
    taken = []
    for name, make in list(DIRECT.items()):
        monkeypatch.setitem(DIRECT, name, lambda asked, name=name, make=make: taken.append(name) or make(asked))
    for widths in ((4, 4, 4), (64, 64, 64)):
        taken.clear()
        for lanes in ("2", "8"):
            monkeypatch.setenv("FASTDLN_LANES", lanes)
            for n, threads in ((1, 1), (1, 2), (70, 2)):
                w0 = dln.inits.gaussian(dln.Network(widths), 0.5, size=n, rng=0)
                dln.flow(w0, loss_of(widths), (0.0, 1e-3), max_steps=1, threads=threads)
        assert taken == [engine(widths)] * 6


def test_bytes_of_lanes_do_not_depend_on_the_machine(monkeypatch):
    net = dln.Network((20, 20, 20))
    found = set()
    for lanes in ("2", "4", "8"):
        monkeypatch.setenv("FASTDLN_LANES", lanes)
        found.add(lanes_bytes(net, loss_of(net.widths), TSIT5, F64))
    assert len(found) == 1


@pytest.mark.parametrize(
    ("widths", "expected"),
    [
        ((4, 24, 4), True), ((4, 16, 4), False), ((10, 40, 10), True), ((10, 24, 10), False), ((20, 64, 20), True),
        ((40, 10), True), ((30, 10), False), ((784, 10, 10), True), ((4, 64, 4, 64, 4), True),
        ((2, 300, 900, 2), False), ((10, 300, 100, 10), True), ((64, 64, 64), False),
    ],
)  # fmt: skip
def test_what_is_narrowed(widths, expected):
    assert pays(dln.Network(widths), loss_of(widths)) is expected


def test_the_grid_measures_what_is_taken():
    for widths in grid():
        net, loss = dln.Network(widths), loss_of(widths)
        assert chosen(net, loss, "tsit5", F64) in candidates(net, loss, "tsit5", F64)
