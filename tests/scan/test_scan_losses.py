"""Scans of other losses than the quadratic one: what is integrated, what is refused, and that digests stay."""

from __future__ import annotations

import numpy as np
import pytest

import fastdln as dln
from fastdln.scan.cell import Cell
from fastdln.scan.plan import load_plan
from fastdln.scan.run import scan
from fastdln.scan.spec import SpecError
from tests.support.scans import assert_same_bits, meanwhile, write_spec

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


# ---- completion and sensing

RANDOM = ('kind = "singular_values"\nvalues = [2.0, 1.0]', 'kind = "random"\nper = "cell"')
ONE = ("[[2, 2], [2, 3, 2], [3, 2, 4, 3]]", "[3, 5, 4]")


def test_a_completion_sees_so_many_entries_of_the_target(tmp_path):
    spec = write_spec(tmp_path, ONE, LOSS_ALONE, RANDOM, with_loss('kind = "masked"\nobserved = [1, 0.5, 7, 12]'))
    results = scan(spec, tmp_path / "x.zarr").load()
    assert results["loss"].dims == ("observed", "scale", "trajectory", "time")
    plan, masks = load_plan(spec), []
    for index in range(plan.n_cells):
        loss, again = (Cell.of(plan, index).loss(first, 3) for first in (0, 5))
        position = plan.position(index)
        mask, sigma = loss.arrays()["mask"], loss.arrays()["sigma"]
        assert np.array_equal(mask, again.arrays()["mask"])
        assert set(np.unique(mask)) <= {0.0, 1.0}
        assert mask.sum() == (1, 6, 7, 12)[position[0]]
        assert ((sigma != 0) == (mask == 1)).all()
        masks.append(mask)
        w0 = Cell.of(plan, index).start(0, 10)
        np.testing.assert_allclose(results["loss"][position][:, 0], dln.value(w0, loss), rtol=1e-13)
    assert not np.array_equal(masks[2], masks[3])  # of two cells with as many


def test_a_mask_and_measurements_from_files(tmp_path):
    rng = np.random.default_rng(1)
    mask, A, y = rng.random((4, 3)), rng.standard_normal((5, 4, 3)), rng.standard_normal(5)
    np.save(tmp_path / "mask.npy", mask > 0.5)
    np.savetxt(tmp_path / "mask.csv", mask, delimiter=",")
    np.savez(tmp_path / "a.npz", A=A)
    np.savez(tmp_path / "both.npz", A=A, y=y)
    target = ('kind = "singular_values"', 'kind = "singular_values"\nrng = 0')
    sigma = dln.Quadratic.from_singular_values((2.0, 1.0), (4, 3), rng=0).target
    for text, name, expected in [
        ('kind = "masked"\npath = "mask.npy"', "mask.npy", dln.Masked(sigma, mask > 0.5)),
        ('kind = "masked"\npath = "mask.csv"', "mask.csv", dln.Masked(sigma, mask)),
        ('kind = "sensing"\npath = "a.npz"', "a.npz", dln.Sensing(A, np.tensordot(A, sigma))),
        ('kind = "sensing"\npath = "both.npz"', "both.npz", dln.Sensing(A, y)),
    ]:
        plan = load_plan(write_spec(tmp_path, ONE, LOSS_ALONE, target, with_loss(text)))
        assert list(plan.identity["files"]) == [name]
        found = Cell.of(plan, 0).loss(0, 2)
        assert type(found) is type(expected)
        for key, value in expected.arrays().items():
            np.testing.assert_allclose(found.arrays()[key], value, rtol=1e-13)


def test_a_mask_that_was_changed_meanwhile_is_refused(tmp_path):
    np.save(tmp_path / "mask.npy", np.ones((4, 3)))
    plan = load_plan(write_spec(tmp_path, ONE, LOSS_ALONE, with_loss('kind = "masked"\npath = "mask.npy"')))
    before = plan.digest
    np.save(tmp_path / "mask.npy", np.eye(4, 3))
    with pytest.raises(SpecError, match=r'loss: the file "mask.npy" in .* has changed since the scan was begun'):
        Cell.of(plan, 0).loss(0, 1)
    assert load_plan(tmp_path / "spec.toml").digest != before


def test_measurements_are_gaussian_ones_of_the_target(tmp_path):
    spec = write_spec(
        tmp_path, ONE, LOSS_ALONE, (RANDOM[0], RANDOM[1] + "\nrank = [1, 2]"),
        with_loss('kind = "sensing"\nmeasurements = {start = 4, stop = 400, count = 3, spacing = "log"}'),
    )  # fmt: skip
    results = scan(spec, tmp_path / "x.zarr").load()
    assert results["measurements"].values.tolist() == [4, 40, 400]
    assert results["measurements"].dtype.kind == "i"
    plan = load_plan(spec)
    for index in range(plan.n_cells):
        loss = Cell.of(plan, index).loss(0, 10)
        rank, count, _ = plan.position(index)
        A, y = loss.arrays()["A"], loss.arrays()["y"]
        assert len(A) == (4, 40, 400)[count]
        if len(A) == 400:
            assert abs(A.mean()) < 0.05
            assert abs(A.std() - 1) < 0.05
            target, *_ = np.linalg.lstsq(A.reshape(400, -1), y, rcond=None)
            assert np.linalg.matrix_rank(target.reshape(4, 3), tol=1e-9) == rank + 1
            np.testing.assert_allclose(A.reshape(400, -1) @ target, y, atol=1e-9)
    assert (results["status"] == 0).all()


def test_targets_of_low_rank(tmp_path):
    spec = write_spec(
        tmp_path,
        ("[[2, 2], [2, 3, 2], [3, 2, 4, 3]]", "[30, 20]"),
        (RANDOM[0], 'kind = "random"\nrank = 2\nscale = 3.0'),
    )
    cell = Cell.of(load_plan(spec), 0)
    targets = cell.loss(0, 200).target
    assert (np.linalg.matrix_rank(targets) == 2).all()
    assert abs(targets.std() * np.sqrt(30) / 3.0 - 1) < 0.1
    assert np.array_equal(cell.loss(7, 5).target, targets[7:12])
    full = (RANDOM[0], 'kind = "random"\nscale = 3.0')
    plain = load_plan(write_spec(tmp_path, full))
    assert "rank" not in plain.identity["spec"]["target"]


@pytest.mark.parametrize("kind", ['"masked"\nobserved = 0.6', '"sensing"\nmeasurements = 6'])
def test_a_scan_that_was_interrupted_goes_on_to_the_same_bits(kind, tmp_path, monkeypatch):
    spec = write_spec(tmp_path, ONE, LOSS_ALONE, RANDOM, with_loss(f"kind = {kind}"))
    whole = scan(spec, tmp_path / "whole.zarr", chunk=4).load()

    def interrupt() -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        meanwhile(patch, interrupt, 2)
        with pytest.raises(KeyboardInterrupt):
            scan(spec, tmp_path / "x.zarr", chunk=4)
    assert_same_bits(scan(spec, tmp_path / "x.zarr", chunk=4).load(), whole)
    assert_same_bits(scan(spec, tmp_path / "y.zarr", chunk=7, threads=2).load(), whole)


BOTH = 'kind = "masked"\nobserved = 2\npath = "mask.npy"'
REFUSED = [
    ('kind = "masked"', "of the keys observed and path a masked loss has one"),
    (BOTH, "of the keys observed and path a masked loss has one"),
    ('kind = "masked"\nobserved = 0', r"loss.observed = 0: expected int >= 1"),
    ('kind = "masked"\nobserved = 1.5', r"loss.observed = 1.5: expected float < 1"),
    ('kind = "masked"\nobserved = 13', "loss.observed = 13: the target has 12 entries"),
    ('kind = "masked"\nobserved = [3, 13]', r"loss.observed = 13: the target has 12 entries \(cell 2: observed = 13"),
    ('kind = "masked"\npath = "mask.npy"', r"mask has shape \(2, 3\); sigma has \(4, 3\)"),
    ('kind = "masked"\npath = "none.npy"', 'loss: there is no file "none.npy"'),
    ('kind = "masked"\npath = "../mask.npy"', r"lies outside .* allow_outside = true in \[loss\]"),
    ('kind = "masked"\npath = "a.npz"', '"a.npz" is neither a .npy nor a .csv file'),
    ('kind = "sensing"', "of the keys measurements and path a sensing loss has one"),
    ('kind = "sensing"\nmeasurements = 0.5', "loss.measurements = 0.5: expected int"),
    ('kind = "sensing"\nobserved = 3', "loss.observed: unknown key"),
    ('kind = "sensing"\npath = "a.npz"', r"A has shape \(5, 3, 4\) .* expected numbers, \(m, 4, 3\)"),
    ('kind = "sensing"\npath = "y.npz"', "y.npz has no array A, but y"),
    ('kind = "sensing"\npath = "mask.npy"', "expected a .npz file with the arrays A and y"),
]


@pytest.mark.parametrize(("text", "message"), REFUSED)
def test_refusals_of_completion_and_sensing(text, message, tmp_path):
    np.save(tmp_path / "mask.npy", np.ones((2, 3)))
    np.savez(tmp_path / "a.npz", A=np.ones((5, 3, 4)))
    np.savez(tmp_path / "y.npz", y=np.ones(5))
    with pytest.raises(SpecError, match=message):
        scan(write_spec(tmp_path, ONE, LOSS_ALONE, with_loss(text)), tmp_path / "x.zarr")


def test_targets_that_cannot_be_measured_or_made(tmp_path):
    each = (RANDOM[0], 'kind = "random"')
    with pytest.raises(SpecError, match=r'measures one target: target[.]per = "cell" draws one'):
        scan(
            write_spec(tmp_path, ONE, LOSS_ALONE, each, with_loss('kind = "sensing"\nmeasurements = 4')), tmp_path / "x"
        )
    with pytest.raises(SpecError, match=r"target.rank = 4: the target has min\(d_0, d_h\) = 3"):
        scan(write_spec(tmp_path, ONE, LOSS_ALONE, (RANDOM[0], RANDOM[1] + "\nrank = 4")), tmp_path / "x")
