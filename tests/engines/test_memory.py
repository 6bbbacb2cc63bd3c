"""What a flow takes of the memory, and what it says before: of NumPy's arrays, and once of all that the system sees."""

from __future__ import annotations

import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest

import fastdln as dln
from fastdln import arguments, integration
from fastdln.engines import memory as room
from fastdln.engines.base import Options
from fastdln.engines.choose import ENGINES
from tests.support.observables import NUMBERS, TIMED
from tests.support.problems import posed

MEGABYTE = 1 << 20
WITHIN = 1.3


def problem(widths, n, dtype=float, targets=False):
    net = dln.Network(widths)
    w0 = tuple(W.astype(dtype) for W in dln.inits.gaussian(net, 0.3, size=n, rng=0))
    rng = np.random.default_rng(0)
    shape = (widths[-1], widths[0])
    return w0, dln.Quadratic(rng.standard_normal((n, *shape) if targets else shape))


def estimate_and_peak(monkeypatch, widths, n, n_times, record, dtype=float, targets=False, **options):
    """Bytes that a flow says it takes, and those that NumPy held at most meanwhile."""
    said = []
    monkeypatch.setattr(integration, "require_memory", lambda n_bytes, what: said.append(n_bytes))
    options = {"record": record, "threads": 1, "max_steps": 10} | options
    dln.flow(*problem(widths, 2, dtype, targets), (0.0, 0.02), **options)  # compiles
    w0, loss = problem(widths, n, dtype, targets)
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        dln.flow(w0, loss, (0.0, 0.02), np.linspace(0.0005, 0.02, n_times), **options)
        return said[-1], tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


CHEAP = tuple(name for name in TIMED if name != "sharpness")  # in the time of a test
SMALL, MIDDLE, WIDE = (4, 4, 4, 4), (12, 40, 16), (8, 500, 500, 8)


@pytest.mark.parametrize(
    ("widths", "n", "n_times", "record", "options"),
    [
        *((SMALL, 4000, 40, (name,), {"engine": "lanes"}) for name in CHEAP),
        (SMALL, 400, 4, ("sharpness",), {"engine": "lanes"}),
        (SMALL, 400, 4, ("sharpness",), {"engine": "lanes", "dtype": np.float32}),
        (SMALL, 2000, 2, ("sharpness",), {"engine": "lanes", "targets": True}),
        (SMALL, 4000, 10, ("tangent_alignment", "loss"), {"engine": "lanes", "targets": True}),
        (SMALL, 4000, 40, ("learning_times",), {"engine": "lanes"}),
        (SMALL, 4000, 10, CHEAP, {"engine": "lanes", "dtype": np.float32}),
        (SMALL, 4000, 2, ("loss", "strengths"), {"engine": "lanes", "targets": True}),
        (SMALL, 4000, 2, ("loss",), {"engine": "lanes", "history": True, "max_steps": 100, "step": 2e-4}),
        (SMALL, 4000, 10, ("loss",), {"engine": "lanes", "method": "auto", "threads": 2}),
        (SMALL, 4000, 10, ("loss",), {"engine": "lanes", "certify": True}),
        (SMALL, 30_000, 16, ("weights",), {"engine": "lanes"}),  # several chunks
        *((MIDDLE, 400, 10, (name,), {"engine": "dense"}) for name in CHEAP),
        (MIDDLE, 800, 10, CHEAP, {"engine": "dense", "dtype": np.float32}),
        (MIDDLE, 40, 4, ("sharpness",), {"engine": "dense"}),
        ((200, 300, 200), 6, 2, ("grad_norm",), {"engine": "dense"}),
        ((200, 300, 200), 2, 2, ("loss",), {"engine": "dense", "method": "rock", "threads": 2}),
        *((WIDE, 3, 3, (name,), {"engine": "wide"}) for name in CHEAP if name != "imbalance"),
        ((8, 100, 100, 8), 2, 2, ("sharpness",), {"engine": "wide"}),
        ((2, 500, 500, 2), 1, 1, ("imbalance",), {"engine": "wide"}),
        (WIDE, 1, 1, ("loss",), {"engine": "wide"}),
        (WIDE, 4, 2, ("loss", "singular_values"), {"engine": "wide", "threads": 2, "dtype": np.float32}),
        ((600, 400, 400, 600), 1, 1, ("learning_times",), {"engine": "wide", "max_steps": 1}),
        *(((3, 100, 5), 500, 10, (name,), {"engine": "reduced"}) for name in CHEAP if name != "imbalance"),
        ((3, 40, 5), 200, 40, ("imbalance",), {"engine": "reduced"}),
        ((3, 100, 5), 3000, 1, ("loss",), {"engine": "reduced", "dtype": np.float32}),
        ((10, 100, 10), 600, 2, ("strengths",), {"engine": "reduced", "targets": True}),
        ((400, 5), 500, 2, ("singular_values",), {"engine": "reduced"}),
        ((12, 12, 12, 12), 3000, 1, ("loss",), {"engine": "reduced", "certify": True}),
        ((8, 900, 900, 8), 2, 1, ("loss",), {"engine": "reduced"}),
        ((8, 900, 900, 8), 2, 2, ("weights",), {"engine": "reduced"}),
    ],
)  # fmt: skip
def test_what_a_flow_says_it_takes_is_what_it_takes(monkeypatch, widths, n, n_times, record, options):
    said, peak = estimate_and_peak(monkeypatch, widths, n, n_times, record, **options)
    assert peak > 4 * MEGABYTE  # more than what the interpreter takes beside
    assert peak / WITHIN < said < WITHIN * peak


def test_balances_of_wide_layers_do_not_fill_the_memory(monkeypatch):
    widths, n, n_times = (10, 300, 10), 40, 6
    said, peak = estimate_and_peak(monkeypatch, widths, n, n_times, ("drift",), engine="reduced")
    balances = n * n_times * widths[1] ** 2 * 8
    assert peak / WITHIN < said < WITHIN * peak
    assert peak < 0.25 * balances


@pytest.mark.parametrize(
    ("widths", "n", "options"),
    [
        ((4, 4, 4, 4), 20, {"weight_decay": 0.3, "layer_rates": (1.0, 2.0, 0.5)}),
        ((4, 4, 4, 4), 20, {"dtype": np.float32, "rtol": 1e-4}),
        ((4, 4, 4, 4), 20, {"targets": True}),
        ((12, 40, 16), 5, {"engine": "dense"}),
        ((3, 60, 5), 9, {"engine": "reduced", "weight_decay": 0.3}),
        ((2, 130, 129, 3), 2, {"engine": "wide"}),
    ],
)
def test_blocks_do_not_change_bits(monkeypatch, widths, n, options):
    options = dict(options)
    w0, loss = problem(widths, n, options.pop("dtype", float), options.pop("targets", False))
    found = []
    for n_bytes in (1, 1 << 13, 1 << 40):  # records one by one, some trajectories, or all
        monkeypatch.setattr(room, "BLOCK_BYTES", n_bytes)
        sol = dln.flow(w0, loss, (0.0, 0.5), np.linspace(0.0, 0.5, 7), record=TIMED, max_steps=30, **options)
        found.append([*sol.weights, *sol.final, *(getattr(sol, name) for name in NUMBERS)])
    for other in found[1:]:
        assert all(np.array_equal(a, b, equal_nan=True) for a, b in zip(found[0], other, strict=True))


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="the system does not tell the peak")
def test_the_peak_that_the_system_sees():
    """Memory that is not NumPy's, of LAPACK and of the kernels, is no large part of it."""
    code = """
import numpy as np, fastdln as dln
from fastdln import integration
said = []
integration.require_memory = lambda n_bytes, what: said.append(n_bytes)

def read(name):
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) << 10 for line in lines if line.startswith(name))

def run(n):
    w0 = dln.inits.gaussian(dln.Network((5, 60, 5)), 0.3, size=n, rng=0)
    global before
    with open("/proc/self/clear_refs", "w") as file:
        file.write("5")
    before = read("VmRSS")
    dln.flow(w0, dln.Quadratic(np.eye(5)), (0.0, 0.02), np.linspace(0.0, 0.02, 16), record=("drift",), threads=1)

run(8)
run(1500)
print(said[-1], read("VmHWM") - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said, peak = map(int, done.stdout.split())
    assert peak / WITHIN < said < WITHIN * peak


@pytest.mark.parametrize(
    ("engine", "method"), [("lanes", "tsit5"), ("dense", "auto"), ("dense", "rock"), ("wide", "tsit5")]
)
def test_final_weights_may_be_written_over_the_starts(engine, method):
    w0, loss = problem((2, 30, 30, 2), 5)
    net = dln.Network((2, 30, 30, 2))
    found = []
    for overwrite in (False, True):
        start = net.pack(w0)
        asked = posed(
            net, loss, start, Options(arguments.method(method), 1e-6, 300, ("weights",)), duration=20.0,
            times=np.array([0.0, 20.0]), raw=("weights",), overwrite=overwrite,
        )  # fmt: skip
        results = list(ENGINES[engine](asked).run(asked))
        final = start if overwrite else np.concatenate([part.final for part in results])
        found.append((final, np.concatenate([part.records for part in results])))
        assert np.array_equal(start, net.pack(w0)) != overwrite
    for a, b in zip(*found, strict=True):
        assert np.array_equal(a, b, equal_nan=True)
