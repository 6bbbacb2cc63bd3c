"""Scans of other losses than the quadratic one: what is integrated, what is refused, and that digests stay."""

from __future__ import annotations

import numpy as np
import pytest

import fastdln as dln
from fastdln.scan.cell import Cell
from fastdln.scan.plan import load_plan
from fastdln.scan.run import scan
from fastdln.scan.spec import SpecError
from tests.support.scans import write_spec

SMALL = ("[[2, 2], [2, 3, 2], [3, 2, 4, 3]]", "[[2, 2], [2, 3, 2]]")
LOSS_ALONE = ('["loss", "strengths", "learning_times"]', '["loss", "grad_norm"]')
DATA = ('kind = "singular_values"\nvalues = [2.0, 1.0]', 'kind = "data"\npath = "data.npz"')
X, LABELS = np.random.default_rng(0).standard_normal((2, 20)), np.arange(20) % 2


def with_loss(text):
    return ("[init]", f"[loss]\n{text}\n[init]")


def write_data(folder, Y):
    np.savez(folder / "data.npz", X=X, Y=Y)


def test_axes_of_losses_become_axes_of_the_store(tmp_path):
    spec = write_spec(
        tmp_path, SMALL, LOSS_ALONE, with_loss('kind = ["huber", "pseudo_huber"]\ndelta = [0.1, 0.5, 2.0]')
    )
    results = scan(spec, tmp_path / "x.zarr").load()
    assert dict(results.sizes) == {
        "widths": 2, "kind": 2, "delta": 3, "scale": 2, "trajectory": 10, "time": 4, "mode": 2
    }  # fmt: skip
    assert (results["status"] == 0).all()
    plan = load_plan(spec)
    for index in (0, 7, plan.n_cells - 1):
        cell = Cell.of(plan, index)
        loss = cell.loss(0, 10)
        kinds = {"huber": dln.Huber, "pseudo_huber": dln.PseudoHuber}
        assert type(loss) is kinds[plan.point(index).loss.__struct_config__.tag]
        place = dict(zip(("widths", "kind", "delta", "scale"), plan.position(index), strict=True))
        assert loss.arrays()["delta"] == (0.1, 0.5, 2.0)[place["delta"]]
        np.testing.assert_allclose(results["loss"].isel(place)[:, 0], dln.value(cell.start(0, 10), loss), rtol=1e-13)


@pytest.mark.parametrize(
    ("kind", "made"),
    [
        ("logistic", lambda: dln.Logistic(X, np.where(LABELS, 1.0, -1.0) * np.ones((2, 1)))),
        ("exponential", lambda: dln.Exponential(X, np.where(LABELS, 1.0, -1.0) * np.ones((2, 1)))),
        ("regression", lambda: dln.Regression(X, np.where(LABELS, 1.0, -1.0) * np.ones((2, 1)))),
        ("softmax", lambda: dln.SoftmaxCrossEntropy(X, LABELS)),
    ],
)
def test_losses_of_data_are_made_of_the_file(kind, made, tmp_path):
    write_data(tmp_path, LABELS[None] if kind == "softmax" else np.where(LABELS, 1.0, -1.0) * np.ones((2, 1)))
    spec = write_spec(tmp_path, SMALL, LOSS_ALONE, DATA, with_loss(f'kind = "{kind}"'))
    plan = load_plan(spec)
    found, expected = Cell.of(plan, 0).loss(0, 10), made()
    assert type(found) is type(expected)
    for name, value in expected.arrays().items():
        assert np.array_equal(found.arrays()[name], value)
    results = scan(spec, tmp_path / "x.zarr").load()
    assert (results["status"] == 0).all()
    assert (np.diff(results["loss"], axis=-1) <= 0).all()


REFUSALS = [
    ((with_loss('kind = "power"'),), "loss.p is missing"),
    ((with_loss('kind = "power"\np = 1.0'),), "loss.p = 1.0: expected float > 1"),
    ((with_loss('kind = "huber"\ndelta = 0.0'),), "loss.delta = 0.0"),
    ((with_loss('kind = "hubber"\ndelta = 1.0'),), 'did you mean "huber"'),
    ((with_loss('kind = "logistic"'),), 'a loss of data takes .target. kind = "data" without form'),
    ((DATA,), "target.form is missing"),
    ((DATA, with_loss('kind = "huber"\ndelta = 1.0')), "target.form is missing"),
    ((DATA, with_loss('kind = "softmax"')), "target.Y has 2 rows: expected one, of labels"),
    ((DATA, ("path =", 'form = "regression"\npath ='), with_loss('kind = "huber"\ndelta = 1.0')), "leave .loss. out"),
    ((DATA, ("path =", 'form = "whitened"\npath ='), with_loss('kind = "logistic"')), "without form"),
]


@pytest.mark.parametrize(("changes", "message"), REFUSALS)
def test_refusals(changes, message, tmp_path):
    write_data(tmp_path, np.ones((2, 20)))
    with pytest.raises(SpecError, match=message):
        scan(write_spec(tmp_path, SMALL, LOSS_ALONE, *changes), tmp_path / "x.zarr")


def test_observables_that_need_modes_are_refused(tmp_path):
    with pytest.raises(SpecError, match=r"'strengths' cannot be recorded: Huber\(.*\) has no target with modes"):
        scan(write_spec(tmp_path, SMALL, with_loss('kind = "huber"\ndelta = 1.0')), tmp_path / "x.zarr")


def test_a_margin_needs_labels(tmp_path):
    margin = (LOSS_ALONE[0], '["margin"]')
    with pytest.raises(SpecError, match=r"'margin' cannot be recorded: Quadratic\(.*\) has no labels"):
        scan(write_spec(tmp_path, SMALL, margin), tmp_path / "x.zarr")
    write_data(tmp_path, LABELS[None])
    results = scan(write_spec(tmp_path, SMALL, margin, DATA, with_loss('kind = "softmax"')), tmp_path / "y.zarr")
    assert results["margin"].dims[-2:] == ("trajectory", "time")
    assert np.isfinite(results["margin"]).all()


def test_the_alignment_of_layers_needs_two(tmp_path):
    alone = (LOSS_ALONE[0], '["layer_alignment"]')
    with pytest.raises(SpecError, match=r'"layer_alignment" is of two layers or more, but network\.widths has one'):
        scan(write_spec(tmp_path, (SMALL[0], "[2, 2]"), alone), tmp_path / "x.zarr")
    results = scan(write_spec(tmp_path, SMALL, alone), tmp_path / "y.zarr").load()
    assert results["layer_alignment"].dims[-3:] == ("trajectory", "time", "interface")
    assert np.isnan(results["layer_alignment"].isel(widths=0)).all()  # one layer beside two
    assert np.isfinite(results["layer_alignment"].isel(widths=1)).all()


def test_an_automatic_end_needs_the_quadratic_loss(tmp_path):
    spec = write_spec(tmp_path, LOSS_ALONE, SMALL, ("t_end = 5.0", 't_end = "auto"'), with_loss('kind="power"\np=3.0'))
    with pytest.raises(SpecError, match="learning times of their own for the quadratic loss, not for Power"):
        scan(spec, tmp_path / "x.zarr")


def test_the_quadratic_loss_changes_no_digest(tmp_path):
    plain = load_plan(write_spec(tmp_path))
    assert "loss" not in plain.identity["spec"]
    assert load_plan(write_spec(tmp_path, with_loss('kind = "quadratic"'))).digest == plain.digest
    assert load_plan(write_spec(tmp_path, with_loss('kind = "power"\np = 2.0'))).digest != plain.digest
