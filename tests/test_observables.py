"""The table of observables: every row is whole, and all that speaks of observables reads it."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastdln as dln
from fastdln import arguments
from fastdln.field import TIME_UNITS
from fastdln.observables import NEEDS, OBSERVABLES, OUTCOMES, RAW, Context, Observable, raw_records
from fastdln.results.derive import derive
from fastdln.results.trajectories import Recorded, Trajectories
from fastdln.scan import SpecError, spec
from fastdln.scan.derived import DERIVED
from fastdln.scan.layout import Layout, Variable
from fastdln.scan.plan import load_plan
from fastdln.scan.reading import read
from tests.support.observables import ALL
from tests.support.scans import write_spec

every = pytest.mark.parametrize("row", OBSERVABLES.values(), ids=list(OBSERVABLES))

WIDTHS = (4, 5, 3, 2)
N, N_TIMES, MODES = 6, 7, 2
TIMES = np.linspace(0.0, 3.0, N_TIMES)
LAYERS = {f"layer{i}": d for i, d in enumerate(WIDTHS)}
SIZES = {"trajectory": N, "time": N_TIMES, "mode": MODES, "interface": len(WIDTHS) - 2, **LAYERS}

# Stores that exist have these names, and what reads them knows these meanings: they must not change.
STORED = {
    "loss": (("trajectory", "time"), "1", "loss"),
    "grad_norm": (("trajectory", "time"), "1", "Frobenius norm of the gradient of the loss"),
    "strengths": (("trajectory", "time", "mode"), "1", "strength u_j' W v_j of each mode of the target"),
    "singular_values": (("trajectory", "time", "mode"), "1", "singular values of the product"),
    "tangent_drift": (("trajectory", "time"), "1", "relative change of the tangent operator"),
    "tangent_alignment": (("trajectory", "time"), "1", "alignment of the tangent operator with the residual"),
    "imbalance": (("trajectory", "time"), "1", "largest spectral norm of the balance matrices"),
    "drift": (("trajectory", "time"), "1", "largest change of a balance matrix, Frobenius norm"),
    "learning_times": (("trajectory", "mode"), "time", "first time a strength reaches sigma/2"),
    "W3": (("trajectory", "time", "layer3", "layer2"), "1", "weights of layer 3"),
    "t_final": (("trajectory",), "time", "time reached"),
    "status": (("trajectory",), "", "outcome of the integration"),
    "n_rhs": (("trajectory",), "1", "evaluations of the right-hand side"),
    "n_accepted": (("trajectory",), "1", "accepted steps"),
    "n_rejected": (("trajectory",), "1", "rejected steps"),
}


RNG = np.random.default_rng(0)
LABELLED = dln.Logistic(RNG.standard_normal((4, 9)), RNG.choice((-1.0, 1.0), (2, 9)))


def solve(loss: dln.Loss | None = None, **options: Any) -> Trajectories:
    options = {"span": (0.0, 3.0), "t_eval": TIMES} | options
    network = dln.Network(WIDTHS)
    loss = loss or dln.Quadratic.from_singular_values((2.0, 1.0), shape=(2, 4))
    return dln.flow(dln.inits.gaussian(network, 0.5, size=N, rng=0), loss, **options)


def loss_with(row: Observable) -> dln.Loss | None:
    """A loss for the observable; None for the quadratic one."""
    return LABELLED if "labels" in row.needs else None


def descended(dtype: type = np.float64, **options: Any) -> Trajectories:
    """A descent on the quadratic loss."""
    start = dln.inits.gaussian(dln.Network(WIDTHS), 0.5, size=N, rng=0)
    loss = dln.Quadratic.from_singular_values((2.0, 1.0), shape=(2, 4))
    return dln.descend(tuple(W.astype(dtype) for W in start), loss, 0.05, 70, record_every=10, **options)


def kind(row: Observable) -> str:
    """What the observable is recorded of."""
    return "descent" if row.descends else "labels" if "labels" in row.needs else "modes"


@pytest.fixture(scope="module")
def sols() -> dict[str, Trajectories]:
    """All that is recorded of flows of losses with labels, of others, and of descents."""
    labelled = [name for name, row in OBSERVABLES.items() if not set(row.needs) - {"labels"} and not row.descends]
    return {
        "labels": solve(LABELLED, record=labelled),
        "modes": solve(record=ALL),
        "descent": descended(record=[name for name, row in OBSERVABLES.items() if row.descends]),
    }


def pieces(sol: Trajectories, row: Observable) -> dict[str, Any]:
    """What was recorded of an observable, by the names of its arrays."""
    values = getattr(sol, row.name)
    layers = values if row.by_layer else (values,)
    return dict(zip(row.meanings(sol.network, np.dtype(np.float64)), layers, strict=True))


def variables(folder: Path) -> dict[str, Variable]:
    """The arrays of a store of everything."""
    changes = (
        ("[[2, 2], [2, 3, 2], [3, 2, 4, 3]]", str(list(WIDTHS))),
        ("trajectories = 10", f"trajectories = {N}"),
        ("times = 4", f"times = {N_TIMES}"),
        ('["loss", "strengths", "learning_times"]', str([*OBSERVABLES, *DERIVED]).replace("'", '"')),
    )
    return {v.name: v for v in Layout.of(load_plan(write_spec(folder, *changes))).variables}


# ---- the table


@every
def test_a_row_is_whole(row: Observable) -> None:
    assert row.raw in {*RAW, None}
    assert (row.raw is None) == (not row.timed)  # an event, which the engines find
    assert set(row.needs) <= set(NEEDS)
    assert row.long_name
    assert not row.long_name.endswith(".")
    assert not row.note.endswith(".")


def test_names_are_of_one_thing_each() -> None:
    names = [*OBSERVABLES, *OUTCOMES, *DERIVED]
    arrays = [name for item in DERIVED.values() for name in item.meanings]
    assert len(set(names)) == len(names)
    assert not set(arrays) & {*OBSERVABLES, *OUTCOMES}
    texts = [row.long_name for row in OBSERVABLES.values()]
    assert len(set(texts)) == len(texts)


def test_engines_write_what_is_needed_and_no_more() -> None:
    assert raw_records(ALL) == tuple(RAW)
    assert raw_records(("drift", "learning_times", "loss")) == ("square_distance", "weights")
    assert raw_records(("learning_times",)) == ()


class Modeless(dln.Quadratic):
    """A loss without modes."""

    @cached_property
    def modes(self) -> Any:
        raise AttributeError("no modes")

    @property
    def n_modes(self) -> int:
        raise AttributeError("no modes")


@every
def test_only_what_says_so_needs_modes(row: Observable) -> None:
    network, loss = dln.Network(WIDTHS), loss_with(row) or Modeless(np.ones((2, 4)))
    if row.descends:
        assert row.shape(network, loss, N_TIMES) == ()
        return
    if "modes" in row.needs:
        with pytest.raises(AttributeError, match="no modes"):
            row.shape(network, loss, N_TIMES)
        return
    assert row.raw is not None
    origin = np.random.default_rng(0).standard_normal((N, network.n_parameters))
    records = np.ones((N, N_TIMES, RAW[row.raw](network, loss)))
    out = np.full((N, *row.shape(network, loss, N_TIMES)), np.nan)
    context = Context(network, loss, np.ones((1, len(TIMES))), origin, None)
    derive(records, {row.raw: slice(None)}, context, slice(0, N), {row.name: out})
    assert np.isfinite(out).all()


# ---- Trajectories


def test_every_row_has_its_line_in_trajectories_and_every_line_its_row() -> None:
    lines = {name for name, item in vars(Trajectories).items() if isinstance(item, Recorded)}
    assert not set(OBSERVABLES) - lines, "rows without a line in Trajectories"
    assert not lines - set(OBSERVABLES), "lines without a row in OBSERVABLES"


def test_a_line_without_a_row_is_named() -> None:
    with pytest.raises((KeyError, RuntimeError)) as raised:  # RuntimeError: Python 3.11
        type("Sol", (), {"entropy": Recorded()})
    assert "'entropy'" in str(raised.value)


@every
def test_what_is_recorded_has_the_shape_and_dtype_of_its_row(sols: dict[str, Trajectories], row: Observable) -> None:
    sol = sols[kind(row)]
    assert getattr(solve(loss_with(row), record=()), row.name) is None
    assert sol._recorded[row.name].shape == (N, *row.shape(sol.network, sol.loss_function, N_TIMES))
    weights = np.dtype(np.float32)
    start = tuple(W.astype(weights) for W in sol.start)
    if row.descends:
        small = descended(np.float32, record=row.name)
    else:
        small = dln.flow(start, sol.loss_function, (0.0, 1.0), rtol=1e-4, record=row.name)
    assert small._recorded[row.name].dtype == (np.float32 if row.timed else np.float64)
    for name, meaning in row.meanings(sol.network, weights).items():
        assert pieces(small, row)[name].dtype == meaning.dtype
        assert pieces(sol, row)[name].shape == tuple(SIZES[dim] for dim in meaning.dims)


@pytest.mark.parametrize("name", OUTCOMES)
def test_outcomes_are_attributes(sols: dict[str, Trajectories], name: str) -> None:
    sol = sols["modes"]
    assert getattr(sol, name).shape == (N,)
    assert getattr(sol, name).dtype == OUTCOMES[name].dtype


def test_an_event_is_kept_and_functions_of_time_are_joined() -> None:
    half = solve(record=ALL, span=(0.0, 1.0), t_eval=[0.5, 1.0])
    whole = half.extend(3.0, [2.0, 3.0])
    for name in ALL:
        row, before, after = OBSERVABLES[name], half._recorded[name], whole._recorded[name]
        if row.timed:
            assert np.array_equal(after[:, :2], before), name
            assert after.shape[1] == 4
        else:
            assert np.array_equal(after[np.isfinite(before)], before[np.isfinite(before)]), name


# ---- datasets and stores


@every
@pytest.mark.parametrize("single", [False, True])
def test_a_row_is_in_the_dataset(sols: dict[str, Trajectories], row: Observable, single: bool) -> None:
    pytest.importorskip("xarray")
    sol = sols[kind(row)]
    shown = sol[2] if single else sol
    dataset = shown.to_dataset()
    for name, meaning in row.meanings(sol.network, np.dtype(np.float64)).items():
        assert dataset[name].dims == meaning.dims[single:]
        assert dataset[name].attrs["long_name"] == meaning.long_name
        assert dataset[name].attrs["units"] == {"time": TIME_UNITS, "1": "1"}[row.units]
        assert np.array_equal(dataset[name], pieces(shown, row)[name], equal_nan=True)


def test_a_dataset_tells_outcomes_and_nothing_that_was_not_recorded() -> None:
    pytest.importorskip("xarray")
    dataset = solve(record=("drift",)).to_dataset()
    final = [f"final_W{i}" for i in (1, 2, 3)]
    assert set(dataset.variables) == {"time", "drift", *OUTCOMES, *final}
    assert all(dataset[name].attrs["long_name"] == OUTCOMES[name].long_name for name in OUTCOMES)


@every
def test_a_row_is_in_the_layout_of_a_store(row: Observable, tmp_path: Path) -> None:
    stored = variables(tmp_path)
    for name, meaning in row.meanings(dln.Network(WIDTHS), np.dtype(np.float64)).items():
        variable = stored[name]
        assert (variable.dims, variable.dtype, variable.units, variable.long_name) == meaning
        assert variable.shape == tuple(SIZES[dim] for dim in meaning.dims)


def test_names_and_meanings_in_stores_stay(tmp_path: Path) -> None:
    stored = variables(tmp_path)
    assert {name: (stored[name].dims, stored[name].units, stored[name].long_name) for name in STORED} == STORED
    assert all(stored[name].dtype == np.float64 for name in STORED if name not in OUTCOMES)


# ---- names that are read, and where they are told


def test_a_record_may_name_every_row_and_no_other() -> None:
    assert arguments.record(OBSERVABLES) == tuple(OBSERVABLES)
    with pytest.raises(ValueError, match=f"record must be one of {', '.join(map(repr, OBSERVABLES))}, not 'drifts'"):
        arguments.record(("drifts",))


def test_a_scan_may_ask_for_every_row_and_no_other() -> None:
    def asked(name: str) -> tuple[str, ...]:
        document = {
            "trajectories": 1,
            "network": {"widths": [1, 1]},
            "target": {"kind": "identity"},
            "init": {"kind": "gaussian", "scale": 0.1},
            "flow": {"t_end": 1.0},
            "record": {"times": 2, "observables": [name]},
        }
        return read(document).record.observables

    for name in (*OBSERVABLES, *DERIVED):
        assert asked(name) == (name,)
    with pytest.raises(SpecError, match=f'did you mean "drift".* {", ".join((*OBSERVABLES, *DERIVED))}$'):
        asked("drifts")


@every
def test_a_row_is_told(row: Observable) -> None:
    assert f'"{row.name}"' in (dln.flow.__doc__ or "")
    _, attributes = (Trajectories.__doc__ or "").split("Attributes\n----------")
    assert f"\n{row.name} : " in attributes
    assert row.long_name[1:] in (vars(Trajectories)[row.name].__doc__ or "")


@pytest.mark.parametrize("name", DERIVED)
def test_what_scans_derive_is_told(name: str) -> None:
    assert f"``{name}``" in (spec.__doc__ or "")
