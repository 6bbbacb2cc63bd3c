"""What comes back from a flow: selecting, saving, going on, telling what failed."""

from __future__ import annotations

import io
import json
import pickle

import numpy as np
import pytest

import fastdln as dln
from fastdln.results.archive import FORMAT
from fastdln.results.trajectories import Options
from tests.support.observables import ALL

NET = dln.Network((2, 3, 2))
HEUN = dln.Tableau("heun", order=2, a=[[], [1]], b=[0.5, 0.5], errors=[[-0.5, 0.5]], source="Heun 1900")
FIELDS = ("final", "t_final", "status", "success", "n_rhs", "n_accepted", "n_rejected", *ALL)


def starts(n=5):
    return dln.inits.gaussian(NET, 0.5, size=n, rng=0)


def losses(kind):
    rng = np.random.default_rng(1)
    if kind == "regression":
        return dln.Regression(rng.standard_normal((2, 7)), rng.standard_normal((2, 7)))
    return dln.Quadratic(rng.standard_normal((5, 2, 2) if kind == "targets" else (2, 2)))


def solve(kind="quadratic", w0=None, **options):
    options = {"record": ALL, "history": True} | options
    return dln.flow(starts() if w0 is None else w0, losses(kind), (0.0, 3.0), [0.0, 1.0, 3.0], **options)


@pytest.fixture(scope="module")
def sol():
    return solve()


@pytest.fixture(scope="module")
def mixed():
    """Trajectories that finished, stopped and failed."""
    w0 = starts()
    w0[0][1, 0, 0], w0[0][3] = np.nan, 0.0
    w0[1][3] = 0.0
    return solve(w0=w0, stop=dln.Stop(grad_norm=1e-14))


def arrays(sol):
    """Every array of a result, by name."""
    values = {name: getattr(sol, name) for name in FIELDS}
    flat = {f"{name}{i}": x for name, v in values.items() for i, x in enumerate(v if isinstance(v, tuple) else (v,))}
    return {name: None if x is None else np.asarray(x) for name, x in flat.items()}


def assert_same(a, b, rows=None):
    """All arrays of ``a`` equal those of ``b``, of the rows ``rows`` if they are given."""
    a, b = arrays(a), arrays(b)
    assert a.keys() == b.keys()
    for name, x in a.items():
        y = b[name] if rows is None or b[name] is None else b[name][rows]
        assert (x is None and y is None) or np.array_equal(x, y, equal_nan=x.dtype.kind == "f"), name


# ---- selecting


@pytest.mark.parametrize("kind", ["quadratic", "targets"])
@pytest.mark.parametrize(
    "rows", [slice(1, 4), slice(None, None, -2), [4, 0, 0], np.array([True, False, True, False, False])], ids=str
)
def test_selecting_several(kind, rows):
    whole = solve(kind)
    some = whole[rows]
    numbers = np.arange(5)[rows]
    assert len(some) == len(numbers)
    assert_same(some, whole, numbers)
    for k, number in enumerate(numbers):
        assert np.array_equal(some.history(k), whole.history(number))
        if kind == "targets":
            assert np.array_equal(some.loss_function.target[k], whole.loss_function.target[number])
    assert_same(some[0], whole[int(numbers[0])])


@pytest.mark.parametrize("kind", ["quadratic", "targets"])
@pytest.mark.parametrize("k", [0, 3, -1])
def test_selecting_one(kind, k):
    whole = solve(kind)
    one = whole[k]
    assert one.single
    assert one.status is dln.Status.FINISHED
    assert_same(one, whole, k)
    assert np.array_equal(one.history(), whole.history(k))
    assert one.loss_function.batch_shape == ()
    alone = dln.flow(one.network.unpack(one._origin[0]), one.loss_function, (0.0, 3.0), [0.0, 1.0, 3.0], record=ALL)
    assert_same(alone, one)


def test_iteration_gives_single_trajectories(sol):
    members = list(sol)
    assert len(members) == len(sol) == 5
    for k, member in enumerate(members):
        assert_same(member, sol, k)


def test_there_is_nothing_to_select_from_a_single_one(sol):
    with pytest.raises(TypeError, match="a single trajectory has no trajectory axis to select from"):
        sol[0][0]
    with pytest.raises(IndexError):
        sol[5]
    with pytest.raises(IndexError):
        sol.history(5)


# ---- files


@pytest.mark.parametrize("kind", ["quadratic", "regression", "targets"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"method": HEUN, "rtol": 1e-4, "record": ("loss",), "history": False},
        {"method": "dop853", "weight_decay": 0.1, "layer_rates": (1.0, 0.5), "stop": dln.Stop(loss=1e-3)},
    ],
    ids=["plain", "heun", "options"],
)
def test_what_is_saved_comes_back(kind, options, tmp_path):
    whole = solve(kind, **options)
    for number, before in enumerate((whole, whole[2])):
        path = tmp_path / f"{number}"  # a name without a suffix is kept as it is
        before.save(path)
        after = dln.load(path)
        assert_same(after, before)
        assert (after.network, after.span, after.options) == (before.network, before.span, before.options)
        assert after.single == before.single
        assert isinstance(after.options, Options)
        assert np.array_equal(after.t, before.t)
        assert repr(after) == repr(before)
        if options.get("history", True):
            assert all(np.array_equal(after.history(k), before.history(k)) for k in range(len(before)))
        if (before._status == dln.Status.FINISHED).any():
            assert_same(after.extend(4.0), before.extend(4.0))  # loss, method and tolerances are all there


def test_float32_stays_float32(tmp_path):
    small = tuple(W.astype(np.float32) for W in starts())
    before = solve(w0=small, rtol=1e-4)
    before.save(tmp_path / "small.npz")
    after = dln.load(tmp_path / "small.npz")
    assert after.loss.dtype == after.final[0].dtype == np.float32
    assert_same(after, before)


def test_saving_replaces_a_file(sol, tmp_path):
    path = tmp_path / "sol.npz"
    sol.save(path)
    sol[1].save(str(path))
    assert_same(dln.load(str(path)), sol[1])


class Evil:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was executed",))


def test_nothing_is_unpickled(sol, tmp_path):
    path = tmp_path / "evil"
    path.write_bytes(pickle.dumps(Evil()))
    with pytest.raises(ValueError, match="evil does not hold saved trajectories"):
        dln.load(path)
    sol.save(path)
    with np.load(path) as file:
        content = dict(file)
    content["t"] = np.array([Evil()], dtype=object)
    path.write_bytes(npz(**content))
    with pytest.raises(ValueError, match="allow_pickle=False"):
        dln.load(path)


def npz(**content):
    stream = io.BytesIO()
    np.savez(stream, **content)
    return stream.getvalue()


def npy():
    stream = io.BytesIO()
    np.save(stream, np.arange(3))
    return stream.getvalue()


@pytest.mark.parametrize("content", [npz(x=np.arange(3)), npy(), b"just text", b"", pickle.dumps("x")])
def test_other_files_are_refused(content, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="file does not hold saved trajectories"):
        dln.load(path)


def test_a_torn_file_is_refused(sol, tmp_path):
    path = tmp_path / "torn"
    sol.save(path)
    whole = path.read_bytes()
    for part in (0.1, 0.5, 0.999):
        path.write_bytes(whole[: int(part * len(whole))])
        with pytest.raises(ValueError, match="torn does not hold saved trajectories"):
            dln.load(path)
    with pytest.raises(FileNotFoundError):
        dln.load(tmp_path / "nowhere")


def test_a_newer_format_is_refused(sol, tmp_path):
    path = tmp_path / "newer"
    sol.save(path)
    with np.load(path) as file:
        content = dict(file)
    header = json.loads(str(content["header"]))
    content["header"] = np.array(json.dumps(header | {"format": FORMAT + 1}))
    path.write_bytes(npz(**content))
    with pytest.raises(ValueError, match=f"has format {FORMAT + 1}; this version reads formats up to {FORMAT}"):
        dln.load(path)


# ---- other forms


def test_dataset_has_named_dimensions(sol):
    pytest.importorskip("xarray")
    ds = sol.to_dataset()
    assert dict(ds.sizes) == {
        "trajectory": 5,
        "time": 3,
        "mode": 2,
        "interface": 1,
        "layer0": 2,
        "layer1": 3,
        "layer2": 2,
    }
    assert ds["loss"].dims == ("trajectory", "time")
    assert ds["strengths"].dims == ("trajectory", "time", "mode")
    assert ds["learning_times"].dims == ("trajectory", "mode")
    assert ds["W1"].dims == ("trajectory", "time", "layer1", "layer0")
    assert ds["final_W2"].dims == ("trajectory", "layer2", "layer1")
    assert np.array_equal(ds["time"], sol.t)
    for name in ("loss", "strengths", "status", "n_rhs"):
        assert np.array_equal(ds[name], getattr(sol, name)), name
    assert np.array_equal(ds["W2"], sol.weights[1])
    assert ds["status"].attrs["flag_meanings"].split() == [status.name for status in dln.Status]
    assert ds["learning_times"].attrs["units"] == "time of the gradient flow"
    assert (ds.attrs["widths"], ds.attrs["method"]) == ([2, 3, 2], "tsit5")
    single = sol[0].to_dataset()
    assert single["loss"].dims == ("time",)
    assert float(single["loss"][-1]) == sol.loss[0, -1]
    assert "weights" not in dln.flow(starts(), losses("quadratic"), (0.0, 1.0)).to_dataset()


def test_a_dataset_can_be_written(sol, tmp_path):
    xarray = pytest.importorskip("xarray")
    sol.to_dataset().to_zarr(tmp_path / "sol.zarr", consolidated=False)
    with xarray.open_zarr(tmp_path / "sol.zarr", consolidated=False) as ds:
        assert np.array_equal(ds["loss"], sol.loss)


def test_a_data_frame_has_a_row_per_trajectory_and_time(sol):
    pytest.importorskip("pandas")
    frame = sol.to_dataframe()
    assert frame.index.names == ["trajectory", "time"]
    assert frame.index.tolist() == [(k, t) for k in range(5) for t in sol.t]
    assert np.array_equal(frame["loss"], sol.loss.ravel())
    for k in range(2):
        assert np.array_equal(frame[f"strength_{k}"].unstack(), sol.strengths[..., k])
        assert np.array_equal(frame[f"singular_value_{k}"].unstack(), sol.singular_values[..., k])
    assert np.array_equal(frame["layer_alignment_0"].unstack(), sol.layer_alignment[..., 0])
    assert not {"learning_time_0", "weights", "status"} & set(frame)
    alone = sol[2].to_dataframe()
    assert alone.index.name == "time"
    assert alone.equals(frame.loc[2])
    assert frame.loc[(slice(None), 1.0), "loss"].tolist() == sol.loss[:, 1].tolist()


def test_a_data_frame_per_trajectory_tells_outcomes(mixed):
    pytest.importorskip("pandas")
    frame = mixed.to_dataframe(per="trajectory")
    assert frame.index.name == "trajectory"
    assert frame["status"].tolist() == ["FINISHED", "NONFINITE", "FINISHED", "STOPPED", "FINISHED"]
    assert (frame["status"] == "FINISHED").sum() == 3
    for name in ("t_final", "n_rhs", "n_accepted", "n_rejected", "certified"):
        assert np.array_equal(frame[name], getattr(mixed, name))
    for k in range(2):
        assert np.array_equal(frame[f"learning_time_{k}"], mixed.learning_times[:, k], equal_nan=True)
    assert "loss" not in frame
    assert mixed[3].to_dataframe(per="trajectory")["status"].tolist() == ["STOPPED"]
    with pytest.raises(ValueError, match=r"one of 'time', 'trajectory', not 'times'; did you mean 'time'\?"):
        mixed.to_dataframe(per="times")


@pytest.mark.parametrize("rate", [0.1, [0.1, 0.2]])
def test_a_data_frame_of_a_descent_counts_updates(rate):
    pytest.importorskip("pandas")
    sol = dln.descend(starts(2), losses("quadratic"), rate, 20, record_every=10)
    frame = sol.to_dataframe()
    assert frame.index.tolist() == [(k, u) for k in range(2) for u in (0, 10, 20)]
    expected = np.broadcast_to(sol.t, (2, 3))
    assert np.array_equal(frame["t"].unstack(), expected)
    assert expected[1, 2] == np.broadcast_to(rate, 2)[1] * 20


def test_a_data_frame_keeps_float32():
    pytest.importorskip("pandas")
    single = tuple(W.astype(np.float32) for W in starts())
    assert solve(w0=single).to_dataframe()["loss"].dtype == np.float32


def test_repr_is_short_and_says_what_happened(sol, mixed):
    assert repr(sol[:2]) == (
        "<Trajectories: 2 of Network((2, 3, 2)), t = 0 to 3, 3 times; recorded " + ", ".join(ALL) + "; 2 finished>"
    )
    assert repr(sol[1]).startswith("<Trajectories: one of Network((2, 3, 2)), ")
    assert repr(mixed).endswith("3 finished, 1 stopped, 1 nonfinite>")
    assert "recorded nothing" in repr(solve(record=()))


def test_messages_and_failures(sol, mixed):
    assert sol.raise_for_status() is sol
    assert sol.message == "5 finished"
    assert mixed.message == "3 finished, 1 stopped, 1 nonfinite"
    assert mixed.success.tolist() == [True, False, True, True, True]
    expected = r"^1 of 5 failed; 1 NONFINITE \(trajectories 1\): start from smaller, finite weights"
    with pytest.raises(dln.FlowError, match=expected):
        mixed.raise_for_status()
    many = solve(w0=tuple(np.nan * W for W in starts(n=7)))
    with pytest.raises(dln.FlowError, match=r"7 of 7 failed; 7 NONFINITE \(trajectories 0, 1, 2, 3, 4, \.\.\.\): "):
        many.raise_for_status()


# ---- going on


def test_extend_goes_on_with_those_that_finished(mixed):
    further = mixed.extend(5.0, [4.0, 5.0])
    assert further.t.tolist() == [0.0, 1.0, 3.0, 4.0, 5.0]
    assert further.span == (0.0, 5.0)
    assert np.array_equal(further.status, mixed.status)
    stays = [1, 3]
    assert np.array_equal(further.t_final[stays], mixed.t_final[stays], equal_nan=True)
    assert (further.t_final[[0, 2, 4]] == 5.0).all()
    assert np.isnan(further.loss[stays, 3:]).all()
    assert np.isfinite(further.loss[[0, 2, 4], 3:]).all()
    assert np.array_equal(further.n_accepted[stays], mixed.n_accepted[stays])
    assert (further.n_accepted[[0, 2, 4]] > mixed.n_accepted[[0, 2, 4]]).all()
    assert all(len(further.history(k)[0]) == further.n_accepted[k] for k in range(5))
    for a, b in zip(further.final, mixed.final, strict=True):
        assert np.array_equal(a[stays], b[stays], equal_nan=True)


@pytest.mark.parametrize("kind", ["quadratic", "regression", "targets"])
def test_extend_keeps_target_options_and_the_balance_of_the_start(kind):
    options = {"weight_decay": 0.1, "layer_rates": (1.0, 0.5), "rtol": 1e-9}
    both = solve(kind, **options).extend(6.0, [4.5, 6.0])
    whole = dln.flow(starts(), losses(kind), (0.0, 6.0), [0.0, 1.0, 3.0, 4.5, 6.0], record=ALL, **options)
    assert np.abs(both.loss - whole.loss).max() < 1e-7
    assert both.drift.max() < 1e-7
    assert both.options == solve(kind, **options).options
    one = solve(kind, **options)[3].extend(6.0, [4.5, 6.0])
    assert_same(one, both[3])


def test_extend_backwards():
    small = tuple(0.3 * W for W in starts())
    sol = dln.flow(small, losses("quadratic"), (1.0, 0.8), [1.0, 0.8], record="loss").extend(0.7)
    whole = dln.flow(small, losses("quadratic"), (1.0, 0.7), [1.0, 0.8, 0.7], record="loss")
    assert sol.t.tolist() == [1.0, 0.8, 0.7]
    assert np.abs(sol.loss - whole.loss).max() < 1e-5


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((2.0,), ValueError, r"t_end must lie beyond the end 3\.0 of the span from 0\.0, not at 2\.0"),
        ((3.0,), ValueError, "t_end must lie beyond the end"),
        ((np.inf,), ValueError, "t_end must be finite, not inf"),
        (("late",), TypeError, "t_end must be a number, not 'late'"),
        ((5.0, [2.0, 4.0]), ValueError, r"t_eval must lie within the span \(3\.0, 5\.0\)"),
        ((5.0, [3.0, 4.0]), ValueError, r"t_eval must begin after the last recorded time 3\.0"),
    ],
)
def test_extend_refuses(sol, arguments, error, message):
    with pytest.raises(error, match=message):
        sol.extend(*arguments)


def test_there_must_be_something_to_go_on_with():
    sol = solve(max_steps=2)
    with pytest.raises(ValueError, match="no trajectory can go on: 5 max steps"):
        sol.extend(5.0)
