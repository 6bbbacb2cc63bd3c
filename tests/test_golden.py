"""Flows are bit for bit what is recorded in `tests.golden`; some that BLAS takes part in, within a tolerance."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

import fastdln as dln
from fastdln.losses import Loss
from fastdln.revision import NUMERICS
from tests.golden import __main__ as command
from tests.golden import digests
from tests.golden.cases import COMPARED, EXACT, Case, dyadic

RECORDED = digests.read()


@pytest.mark.parametrize("name", EXACT)
def test_bits_are_those_recorded(name):
    assert not digests.moved(RECORDED["exact"][name], digests.compute(name))


@pytest.mark.parametrize("name", COMPARED)
def test_values_are_near_those_recorded(name):
    assert not digests.strayed(RECORDED["compared"][name], digests.compute(name), COMPARED[name])


def test_every_case_is_recorded_and_no_other():
    assert list(RECORDED["exact"]) == list(EXACT)
    assert list(RECORDED["compared"]) == list(COMPARED)


def test_the_record_is_of_this_revision():
    """So digests are not rewritten without raising it."""
    assert RECORDED["numerics"] == NUMERICS


def test_cases_are_what_they_are_named_for():
    """By what is recorded: methods change, steps run out, trajectories are certified, networks narrower or not."""
    rows = RECORDED["exact"]
    for engine in ("lanes", "dense"):
        explicit, auto = rows[f"stiff tsit5 {engine}"]["n_rhs"], rows[f"stiff auto {engine}"]["n_rhs"]
        assert auto < explicit / 2
        assert rows[f"few steps {engine}"]["ended"] == "3 max steps"
        assert rows[f"certified {engine}"]["certified"] == 3
        assert rows[f"not a number {engine}"]["ended"].endswith("1 nonfinite")
    assert rows["overflow lanes"]["ended"] == "3 nonfinite"
    for name, compared in COMPARED.items():
        narrow = np.array(RECORDED["compared"][name]["widths"])[:, 1:-1]
        assert (narrow.max() < max(compared.case.widths) / 2) == (name in ("reduced", "krylov"))


# ---- starts and targets


def test_numbers_are_dyadic():
    values = dyadic((1000,), 7, -3)
    assert (np.ldexp(values, 10) % 1 == 0).all()
    assert values.min() == -1 / 8
    assert 0.1 < values.max() < 1 / 8
    # as SplitMix64 begins from the state 0
    assert np.array_equal(dyadic((3,), 0, 7), [0xE2 - 128, 0x6E - 128, 0x06 - 128])


MODES = sorted({(case.widths, case.loss.__name__, case.n) for case in EXACT.values() if "strengths" in case.record})


@pytest.mark.parametrize(("widths", "name", "n"), MODES, ids=str)
def test_modes_are_exact(widths, name, n):
    """The decompositions of what is diagonal are permutations: nothing is left to the rounding of LAPACK."""
    loss: Loss = next(case.loss for case in EXACT.values() if case.loss.__name__ == name)(widths, n)
    U, sigma, V = loss.modes
    diagonals = np.abs(np.diagonal(loss.target, axis1=-2, axis2=-1))
    assert np.array_equal(sigma, diagonals)
    for vectors in (U, V):
        assert np.array_equal(np.abs(vectors), np.broadcast_to(np.eye(*vectors.shape[-2:]), vectors.shape))
    assert np.array_equal(U * sigma[..., None, :] @ np.swapaxes(V, -1, -2), loss.target)


# ---- digests


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_bit_moves_the_digest(dtype):
    values = np.array([[1.0, 0.0], [np.nan, -2.5]], dtype)
    first = digests.digest(values)
    for i in np.ndindex(values.shape):
        other = values.copy()
        other[i] = np.nextafter(other[i], dtype(np.inf)) if np.isfinite(other[i]) else 0.0
        assert digests.digest(other) != first
    assert digests.digest(np.array([[1.0, -0.0], [np.nan, -2.5]], dtype)) != first
    assert digests.digest(values.ravel()) != first
    assert digests.digest(values[:1], values[1:]) != first


def test_all_nans_are_one_and_so_are_all_orders_of_bytes():
    values = np.array([np.nan, 1.5])
    negative = np.array([-np.nan, 1.5])
    assert negative.tobytes() != values.tobytes()
    assert digests.digest(values) == digests.digest(negative) == digests.digest(values.astype(">f8"))


def test_one_bit_of_a_result_moves_its_entry():
    """Of everything that a flow returns."""
    case = Case((2, 3, 2), "lanes", options={"history": True})
    entry = digests.exactly(case.run())

    def parts(change):
        sol = case.run()
        change(sol)
        return [line.split(":")[0] for line in digests.moved(entry, digests.exactly(sol))]

    def next_up(array, index):
        array[index] = np.nextafter(array[index], np.inf)

    assert not parts(lambda sol: None)
    assert parts(lambda sol: next_up(sol.final[1], (1, 0, 0))) == ["final"]
    assert parts(lambda sol: next_up(sol.final[0], (0, 0, 0))) == ["weight", "final"]
    assert parts(lambda sol: next_up(sol.loss, (1, 2))) == ["loss"]
    assert parts(lambda sol: next_up(sol.strengths, (0, 1, 1))) == ["strengths"]
    assert parts(lambda sol: next_up(sol.learning_times, (2, 1))) == ["learning_times"]
    assert parts(lambda sol: next_up(sol.weights[1], (2, 1, 0, 0))) == ["weights"]
    assert parts(lambda sol: next_up(sol.t_final, 2)) == ["ends"]
    assert parts(lambda sol: next_up(sol.history(1)[0], 3)) == ["history"]
    assert parts(lambda sol: sol.status.__setitem__(1, dln.Status.STOPPED)) == ["ended", "ends"]
    assert parts(lambda sol: sol.certified.__setitem__(1, True)) == ["certified", "ends"]
    assert parts(lambda sol: sol.n_rejected.__setitem__(1, 99)) == ["n_rejected", "counts"]


def test_values_may_be_off_by_their_tolerance_alone():
    compared = COMPARED["reduced"]
    entry = digests.nearly(compared.case.run())
    largest = np.abs(entry["loss"]).max()

    def parts(**changes):
        return [line.split(":")[0] for line in digests.strayed(entry, entry | changes, compared)]

    assert not parts(loss=(np.array(entry["loss"]) + 0.9 * compared.values * largest).tolist())
    assert parts(loss=(np.array(entry["loss"]) + 1.1 * compared.values * largest).tolist()) == ["loss"]
    assert parts(n_rhs=entry["n_rhs"] + 1 + int(compared.counts * entry["n_rhs"] + 1)) == ["n_rhs"]
    assert parts(ended="3 stopped", widths=[[3, 8, 4]] * 3) == ["ended", "widths"]
    assert parts(learning_times=entry["learning_times"][:2]) == ["learning_times"]


# ---- the command


@pytest.fixture
def copies(tmp_path, monkeypatch):
    """A record of two cases, and the module of the revision, where the command may write."""
    names = ("2-3-2 lanes", "few steps dense")
    monkeypatch.setattr(command, "EXACT", {name: EXACT[name] for name in names})
    monkeypatch.setattr(command, "COMPARED", {})
    monkeypatch.setattr(command, "REVISION", shutil.copy(command.REVISION, tmp_path / "revision.py"))
    monkeypatch.setattr(digests, "PATH", tmp_path / "digests.json")
    entries = {name: dict(RECORDED["exact"][name]) for name in names}
    return entries, lambda: digests.write(NUMERICS, entries, {})


def revision():
    """What the copied module says."""
    space: dict[str, int] = {}
    source = command.REVISION.read_text()
    exec(source, space)
    return space["NUMERICS"], source


def test_what_moved_is_recorded_with_a_new_revision(copies, capsys):
    entries, write = copies
    entries["2-3-2 lanes"]["loss"] = "0" * 16
    write()
    before = revision()[1]
    assert command.main([]) == 1
    assert "loss: 0000000000000000 ->" in capsys.readouterr().out
    assert revision()[1] == before
    what = "The error norm of " + "every layer " * 20 + "is another."
    assert command.main(["--rewrite", what]) == 0
    number, after = revision()
    assert number == NUMERICS + 1 == digests.read()["numerics"]
    assert digests.read()["exact"] == {name: RECORDED["exact"][name] for name in entries}
    assert after.startswith(before.replace(f"NUMERICS = {NUMERICS}", f"NUMERICS = {number}").rstrip()[:-3])
    _, said = after.rstrip()[:-3].rstrip().rsplit(f"\n{number}\n", 1)
    assert " ".join(said.split()) == what
    lines = said.splitlines()
    assert len(lines) > 1
    assert all(len(line) <= 120 and line.startswith("    ") for line in lines)
    assert command.main([]) == 0


def test_the_revision_is_not_raised_where_nothing_moved(copies, capsys):
    _, write = copies
    write()
    before = revision(), digests.read()
    for arguments in (["--rewrite", "Nothing."], ["--rewrite", " "], ["--add"]):
        with pytest.raises(SystemExit):
            command.main(arguments)
    assert "nothing moved" in capsys.readouterr().err
    assert (revision(), digests.read()) == before
    assert command.main([]) == 0


def test_new_cases_are_added_and_leave_the_others(copies):
    entries, write = copies
    entries["gone"] = entries.pop("few steps dense")
    entries["2-3-2 lanes"]["loss"] = "0" * 16
    write()
    assert command.main([]) == 1
    assert command.main(["--add"]) == 0
    recorded = digests.read()
    assert recorded["numerics"] == NUMERICS == revision()[0]
    assert list(recorded["exact"]) == ["2-3-2 lanes", "few steps dense"]
    assert recorded["exact"]["2-3-2 lanes"]["loss"] == "0" * 16
    assert recorded["exact"]["few steps dense"] == RECORDED["exact"]["few steps dense"]
