"""Padding stays zero, as sums run over it: checked after every attempt with FASTDLN_DEBUG=1."""

from __future__ import annotations

import numpy as np
import pytest

import fastdln as dln
from fastdln.engines.lockstep import batch
from fastdln.engines.lockstep.arena import Arena
from fastdln.integrate.methods import METHODS

OPTIONS = ({}, {"weight_decay": 0.5}, {"layer_rates": (1.0, 2.0, 0.5)}, {"stop": dln.Stop(loss=1e-3)})


@pytest.fixture(autouse=True)
def debugging(monkeypatch):
    monkeypatch.setenv("FASTDLN_DEBUG", "1")


def flow(widths, method="tsit5", dtype=np.float64, **options):
    loss = dln.Quadratic.from_singular_values((40.0, 1.0, 0.5), shape=(widths[-1], widths[0]))
    w0 = tuple(W.astype(dtype) for W in dln.inits.gaussian(dln.Network(widths), 0.6, size=11, rng=0))
    record = ("loss", "grad_norm", "strengths", "learning_times", "weights")
    rtol = 1e-6 if dtype == np.float64 else 1e-3
    return dln.flow(w0, loss, (0.0, 4.0), np.linspace(0.0, 4.0, 9), method=method, rtol=rtol, record=record, **options)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("engine", ["lanes", "dense"])
@pytest.mark.parametrize("method", METHODS)
def test_no_attempt_writes_to_padding(method, engine, dtype):
    assert flow((3, 7, 5, 3), method, dtype, engine=engine).success.all()


@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("engine", ["lanes", "dense"])
def test_whatever_is_asked_for(engine, options):
    assert flow((3, 7, 5, 3), engine=engine, **options).success.all()


@pytest.mark.parametrize("engine", ["lanes", "dense"])
def test_an_attempt_with_written_padding_is_noticed(engine, monkeypatch):
    class Spoilt(Arena):
        def __init__(self, recipe, problem, layout):
            super().__init__(recipe, problem, layout)
            self.block("slope1", recipe.plan.entries)[-1] = 1e-9  # the last entry belongs to no layer

    monkeypatch.setattr(batch, "Arena", Spoilt)
    with pytest.raises(AssertionError, match="padding of a state or a slope"):
        flow((3, 7, 5, 3), engine=engine)


def test_nothing_is_checked_without_it(monkeypatch):
    monkeypatch.delenv("FASTDLN_DEBUG")
    made = []

    class Kept(Arena):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            made.append(int(self.workspace["routines"]["padding"][0]))

    monkeypatch.setattr(batch, "Arena", Kept)
    flow((3, 7, 5, 3), engine="lanes")
    assert made == [0] * len(made) != []
