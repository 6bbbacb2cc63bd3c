"""Descents of wide networks, whose large layers are updated in place: against dense ones, bits, memory, ends."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastdln as dln
from fastdln import integration
from fastdln.engines.wide import moving
from fastdln.engines.wide.thin import thin
from fastdln.engines.wide.workers import Workers
from tests.support.observables import ALL

rng = np.random.default_rng(8)
X, Y, LABELS = rng.standard_normal((3, 12)), rng.standard_normal((4, 12)), rng.integers(4, size=12)
LOSSES = {
    "regression": dln.Regression(X, Y),
    "softmax": dln.SoftmaxCrossEntropy(X, LABELS, 4),
    "huber": dln.Huber(rng.standard_normal((4, 3)), 0.5),
}
WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "decay": {"weight_decay": 0.1},
    "heavy ball": {"momentum": 0.8, "weight_decay": 0.05},
    "nesterov": {"momentum": 0.8, "nesterov": True, "weight_decay": 0.05},
    "layer rates": {"layer_rates": (1.0, 2.0, 0.5), "momentum": 0.5},
    "schedule": {"learning_rate": dln.schedules.cosine(0.02, 300, warmup=20), "weight_decay": 0.1},
    "batches": {"batch_size": 5, "rng": 1},
    "batches and momentum": {"batch_size": 5, "rng": 1, "momentum": 0.7, "nesterov": True},
}
STEPS = 300
# several parts, and columns that no vector divides; wide ends, with products that are left to BLAS and without
WIDTHS = {"parts": (3, 531, 517, 4), "ends": (34, 70, 75, 33), "input": (40, 37, 36, 4), "output": (3, 36, 37, 41)}


def start(widths: tuple[int, ...], size: int | None = None, dtype: Any = np.float64) -> tuple[Any, ...]:
    w0 = dln.inits.gaussian(dln.Network(widths), 0.6, size=size, rng=0)
    return tuple(W.astype(dtype) for W in w0)


def run(w0: Any, loss: Any, steps: int = STEPS, **options: Any) -> dln.Trajectories:
    given = {"record_every": 50, "record": ("weights", "loss", "grad_norm"), "threads": 1, "engine": "wide"} | options
    return dln.descend(w0, loss, given.pop("learning_rate", 0.02), steps, **given)


@pytest.mark.parametrize(("dtype", "tight"), [(np.float64, 1e-12), (np.float32, 2e-4)])
@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("way", WAYS)
def test_they_are_those_of_dense(way: str, name: str, dtype: Any, tight: float) -> None:
    if "batches" in way and name == "huber":
        pytest.skip("has no samples")
    w0 = start((3, 61, 53, 4), dtype=dtype)
    here, there = (run(w0, LOSSES[name], engine=engine, **WAYS[way]) for engine in ("wide", "dense"))
    assert here.success.all()
    for a, b in zip(
        (*here.weights, here.loss, here.grad_norm), (*there.weights, there.loss, there.grad_norm), strict=True
    ):
        assert_allclose(a, b, rtol=0, atol=tight * np.abs(b).max())


@pytest.mark.parametrize("widths", WIDTHS)
@pytest.mark.parametrize("way", ["plain", "heavy ball", "nesterov"])
def test_parts_and_wide_ends(way: str, widths: str) -> None:
    shape = WIDTHS[widths]
    loss = dln.Quadratic(np.random.default_rng(1).standard_normal((shape[-1], shape[0])))
    w0 = start(shape)
    here, there = (run(w0, loss, 60, learning_rate=0.005, engine=engine, **WAYS[way]) for engine in ("wide", "dense"))
    for a, b in zip((*here.weights, here.loss), (*there.weights, there.loss), strict=True):
        assert_allclose(a, b, rtol=0, atol=1e-12 * np.abs(b).max())


@pytest.mark.parametrize("way", ["heavy ball", "nesterov", "batches"])
@pytest.mark.parametrize("widths", [(3, 1031, 1029, 4), (3, 33, 35, 4)])
def test_bits_do_not_depend_on_threads_or_batch(widths: tuple[int, ...], way: str) -> None:
    w0 = start(widths, size=3)
    options = {"record_every": 4, "bound": 2.0} | WAYS[way]
    found = [run(w0, LOSSES["regression"], 8, **options, threads=threads) for threads in (1, 2, 3)]
    if way != "batches":  # whose draws belong to places
        found.append(run(tuple(W[2:] for W in w0), LOSSES["regression"], 8, **options, threads=2))
    arrays = [(*sol.final, *sol.weights, sol.grad_norm, sol.loss) for sol in found]
    for own in arrays[1:]:
        for a, b in zip(own, arrays[0], strict=True):
            assert_array_equal(a[-1], b[-1])


@pytest.mark.parametrize("way", ["plain", "heavy ball", "nesterov"])
@pytest.mark.parametrize(("widths", "rate"), [((3, 61, 53, 4), 0.5), ((3, 531, 517, 4), 0.2)])
def test_a_bound_is_met_to_the_entry(widths: tuple[int, ...], rate: float, way: str) -> None:
    """The largest entry of a path that grows is within a bound that is as large, and beyond any that is smaller."""
    w0, loss, options = start(widths), LOSSES["regression"], {"learning_rate": rate, "record_every": 1, **WAYS[way]}
    steps = int(run(w0, loss, 60, **options).n_accepted) - 2
    free = run(w0, loss, steps, **options)
    most = np.max([np.abs(W).max(axis=(1, 2)) for W in free.weights], axis=0)
    first = int(most.argmax())
    assert first > 1
    within = run(w0, loss, steps, bound=float(most[first]), **options)
    assert within.success
    for W, V in zip(within.weights, free.weights, strict=True):
        assert_array_equal(W, V)
    beyond = run(w0, loss, steps, bound=float(np.nextafter(most[first], 0)), **options)
    assert beyond.status == dln.Status.DIVERGED
    assert beyond.n_accepted == first
    for W, V in zip(beyond.final, free.weights, strict=True):
        assert_array_equal(W, V[first - 1])


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("moves", [False, True])
def test_entries_are_where_they_are_said_to_be(moves: bool, dtype: Any) -> None:
    """Also where nothing but the velocity moves them, and where one entry has all of an update."""
    draw = np.random.default_rng(0)
    for number in range(20):
        W, v = draw.standard_normal((2, 6, 9)).astype(dtype)
        layer = moving.Moving(W, v if moves else None, 1.0, Workers(1))
        for size in (0.0, 3.0):
            P, Q = thin(1, 6, dtype), thin(1, 9, dtype)
            P[...], Q[...] = 0.0, 0.0
            P[0, number % 6], Q[0, number % 9] = size, draw.choice((-1.0, 1.0))
            layer.keep(0, P, Q)
            update = moving.Update(*((-0.1, 0.9) if moves else (0.9, 0.0)), 0.5)
            assert layer.stays(update, 1e9)
            layer.move(update)
            assert np.abs(W).max() <= layer._most < 20.0
            assert not moves or np.abs(v).max() <= layer._fastest < 20.0


def test_most_bounds_are_known_without_a_look_at_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moving.Moving, "_try", lambda *_: pytest.fail("an update is tried"))
    assert run(start((3, 61, 53, 4)), LOSSES["regression"], momentum=0.5).success


@pytest.mark.parametrize("way", ["plain", "heavy ball", "nesterov", "batches"])
def test_they_take_no_memory_of_the_size_of_layers(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    widths, said = (3, 1031, 1029, 4), []
    loss, w0 = LOSSES["regression"], start(widths)
    monkeypatch.setattr(integration, "require_memory", lambda n_bytes, what: said.append(n_bytes))
    options = {"record": ("loss", "grad_norm"), **WAYS[way]}
    run(w0, loss, 3, **options)  # compiles
    tracemalloc.start()
    try:
        run(w0, loss, 3, bound=1.0, **options)  # which has updates tried
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    size = dln.Network(widths).n_parameters * 8
    # start and final weights; the velocities at both ends, of which that at the start is zeros that take no memory
    most = 2 + 2 * ("momentum" in WAYS[way])
    assert peak < said[-1] < 1.15 * peak
    assert said[-1] < (most + 0.3) * size


def test_they_are_chosen_for_wide_networks() -> None:
    w0, loss = start((3, 531, 517, 4)), LOSSES["regression"]
    auto, named, dense = (run(w0, loss, 3, engine=engine, momentum=0.5) for engine in ("auto", "wide", "dense"))
    assert all(np.array_equal(a, b) for a, b in zip(auto.final, named.final, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(auto.final, dense.final, strict=True))
    assert auto.options.engine == "auto"


def test_everything_is_recorded() -> None:
    w0 = start((3, 61, 53, 4))
    here, there = (run(w0, LOSSES["regression"], 100, engine=e, record=ALL) for e in ("wide", "dense"))
    for name in ALL:
        a, b = getattr(here, name), getattr(there, name)
        for x, y in zip(a, b, strict=True) if isinstance(a, tuple) else [(a, b)]:
            assert_allclose(x, y, rtol=1e-9, atol=1e-10)


def test_an_interrupted_call_ends_its_threads() -> None:
    w0 = start((3, 61, 53, 4), size=4)
    w0[0][0] = np.nan  # the first one is over at once

    def interrupt(done: int, failed: int, total: int) -> None:
        assert (done, failed, total) == (1, 1, 4)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(w0, LOSSES["regression"], 10**9, record_every=10**8, threads=2, progress=interrupt)
    assert not [t for t in threading.enumerate() if t.name.startswith("fastdln-wide")]


@pytest.mark.parametrize("samples", [[0], [3, 1, 7], list(range(12))])
@pytest.mark.parametrize("name", ["regression", "softmax", "logistic", "exponential"])
def test_the_derivative_of_some_samples(name: str, samples: list[int]) -> None:
    signs = np.sign(Y)
    make = {
        "regression": lambda k: dln.Regression(X[:, k], Y[:, k]),
        "softmax": lambda k: dln.SoftmaxCrossEntropy(X[:, k], LABELS[k], 4),
        "logistic": lambda k: dln.Logistic(X[:, k], signs[:, k]),
        "exponential": lambda k: dln.Exponential(X[:, k], signs[:, k]),
    }[name]
    W = rng.standard_normal((4, 3))
    found = make(np.arange(12)).grad_of(W, np.array(samples))
    assert_allclose(found, make(np.array(samples)).grad(W), rtol=0, atol=1e-13)


def test_a_loss_without_samples_has_no_derivative_of_some() -> None:
    with pytest.raises(ValueError, match="a mean over some samples needs a loss that holds its samples"):
        LOSSES["huber"].grad_of(np.zeros((4, 3)), np.arange(2))
