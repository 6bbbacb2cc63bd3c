"""What goes wrong stays where it is: bad trajectories, interrupts, memory, arguments, cache folders, imports."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import fastdln as dln
from fastdln import resources
from fastdln.kernels.machine import compile as compiler
from fastdln.kernels.machine.compile import cache_folder
from fastdln.kernels.machine.plain import TRIED
from fastdln.threads import run_in_threads
from tests.support.observables import ALL, NUMBERS

engines = pytest.mark.parametrize("engine", ["lanes", "dense"])
NET = dln.Network((2, 3, 2))
LOSS = dln.Quadratic(np.diag([2.0, 1.0]))
NOT_OK = (dln.Status.NONFINITE, dln.Status.STEP_TOO_SMALL)


def starts(n=6, scale=0.5, dtype=np.float64):
    return tuple(W.astype(dtype) for W in dln.inits.gaussian(NET, scale, size=n, rng=0))


def contents(sol, rows):
    return [np.array(x)[..., rows, :].tobytes() for x in (sol.loss, sol.drift, sol.learning_times)] + [
        W[rows].tobytes() for W in (*sol.final, *sol.weights, sol.n_rhs, sol.status, sol.t_final)
    ]


# ---- bad trajectories


@engines
@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("method", ["tsit5", "dop853", "rock"])
@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        (np.nan, [dln.Status.NONFINITE]),
        (-np.inf, [dln.Status.NONFINITE]),
        (1e200, [dln.Status.NONFINITE]),
        (1e60, [dln.Status.MAX_STEPS, dln.Status.NONFINITE]),
        (1e8, [dln.Status.MAX_STEPS, dln.Status.NONFINITE]),
    ],
)
def test_a_bad_start_fails_alone(bad, expected, method, dtype, engine):
    options = {"record": ALL, "rtol": 1e-5, "max_steps": 600, "engine": engine, "method": method}
    w0 = starts(dtype=dtype)
    usual = dln.flow(w0, LOSS, (0.0, 5.0), [0.0, 1.0, 5.0], **options)
    with np.errstate(over="ignore"):
        w0[0][2, 1, 0] = bad
    sol = dln.flow(w0, LOSS, (0.0, 5.0), [0.0, 1.0, 5.0], **options)
    assert sol.status[2] in expected
    assert sol.n_accepted[2] + sol.n_rejected[2] <= 600
    if np.isfinite(w0[0][2]).all():
        assert all(np.isfinite(W[2]).all() for W in sol.final)
    late = sol.t > sol.t_final[2]
    assert all(np.isnan(getattr(sol, name)[2, late]).all() for name in NUMBERS)
    assert all(np.isnan(W[2, late]).all() for W in sol.weights)
    others = np.arange(6) != 2
    assert sol.success.tolist() == others.tolist()
    assert contents(sol, others) == contents(usual, others)


@pytest.mark.parametrize("step", [None, 1e-3])
@engines
def test_the_start_itself_is_recorded_even_if_nothing_follows(engine, step):
    w0 = starts()
    w0[1][4, 0, 0] = np.inf
    sol = dln.flow(w0, LOSS, (0.0, 1.0), [0.0, 0.5], step=step, record=("weights", "loss"), engine=engine)
    assert sol.status[4] == dln.Status.NONFINITE
    assert sol.t_final[4] == 0.0
    assert all(np.array_equal(W[4, 0], V[4]) for W, V in zip(sol.weights, w0, strict=True))
    assert np.isnan(sol.loss[4, 1])


@engines
@pytest.mark.parametrize("method", ["bs3", "tsit5", "dop853", "rock"])
def test_a_backward_flow_that_blows_up_ends_there(method, engine):
    """Two scalar layers s, s with s^2 = w_0 > sigma come from infinity in the time ln(w_0/(w_0 - sigma))/(2 sigma)."""
    s, sigma = 1.5, 1.0
    blow_up = -np.log(s**2 / (s**2 - sigma)) / (2 * sigma)
    layer = np.array([[[s]], [[0.5]]])  # the second one goes backwards to the saddle
    times = [-0.1, -0.29, -0.3, -1.0]
    sol = dln.flow(
        (layer, layer), dln.Quadratic([[sigma]]), (0.0, -1.0), times, method=method, record=ALL, engine=engine
    )  # fmt: skip
    assert sol.status.tolist() == [sol.status[0], dln.Status.FINISHED]
    assert sol.status[0] in NOT_OK
    assert sol.t_final[0] == pytest.approx(blow_up, rel=1e-4)
    assert all(np.isfinite(W).all() for W in sol.final)
    assert np.isnan(sol.loss[0]).tolist() == [False, False, True, True]


@engines
def test_fixed_steps_that_overflow(engine):
    sol = dln.flow(
        starts(scale=3.0), LOSS, (0.0, 400.0), [0.0, 400.0], step=4.0, record=("loss", "drift"), engine=engine
    )
    assert (sol.status == dln.Status.NONFINITE).all()
    assert all(np.isfinite(W).all() for W in sol.final)
    assert np.isnan(sol.loss[:, 1]).all()


@engines
def test_a_stiff_trajectory_gives_up_at_max_steps_and_says_how_to_go_on(engine):
    loss = dln.Quadratic(np.diag([1e6, 1.0]))
    sol = dln.flow(starts(), loss, (0.0, 100.0), max_steps=300, engine=engine)
    assert (sol.status == dln.Status.MAX_STEPS).all()
    assert (sol.t_final < 100).all()
    with pytest.raises(dln.FlowError, match=r"6 of 6 failed; 6 MAX_STEPS \(trajectories 0, 1, 2, 3, 4, \.\.\.\)"):
        sol.raise_for_status()


def test_no_tolerance_can_be_met_below_rounding():
    """Where rtol leaves no room the steps shrink until the status says so: no hang."""
    sol = dln.flow(starts(), LOSS, (0.0, 5.0), rtol=1e-15, atol=0.0, method="bs3", max_steps=2000)
    assert set(sol.status) <= {dln.Status.MAX_STEPS, dln.Status.STEP_TOO_SMALL}


# ---- interrupts

LONG_CALL = """
import sys, time
import numpy as np, fastdln as dln
w0 = dln.inits.gaussian(dln.Network((4, 4, 4)), 0.5, size=4, rng=0)
loss = dln.Quadratic(np.diag([1e6, 3.0, 2.0, 1.0]))
options = {"engine": sys.argv[1], "record": (), "threads": 2}
dln.flow(w0, loss, (0.0, 1e-9), **options)  # compiles
print("ready", flush=True)
try:
    dln.flow(w0, loss, (0.0, 1e6), max_steps=10**12, **options)
except KeyboardInterrupt:
    sol = dln.flow(w0, loss, (0.0, 1e-9), **options)  # and the next call works
    sys.exit(17 if sol.success.all() else 1)
"""


@engines
def test_an_interrupt_is_answered_within_a_second(engine):
    call = subprocess.Popen([sys.executable, "-c", LONG_CALL, engine], stdout=subprocess.PIPE)
    try:
        assert call.stdout.readline() == b"ready\n"
        time.sleep(0.4)
        call.send_signal(signal.SIGINT)
        asked = time.monotonic()
        assert call.wait(30) == 17
        assert time.monotonic() - asked < 3  # one, and what a busy machine adds
    finally:
        call.kill()
        call.wait()
        call.stdout.close()


@pytest.mark.parametrize("engine", ["lanes", "dense", "stabilized", "reduced", "wide"])
def test_what_an_interrupt_leaves_running(engine):
    """No engine thread is alive when an exception reaches the caller, and nothing is written to afterwards.

    Interrupts come from handlers of SIGINT and SIGALRM, in one network, one vector, one thread, and many.
    """
    count = 7
    script = Path(__file__).parents[1] / "support/interruptions.py"
    call = subprocess.run(
        [sys.executable, str(script), engine, str(count)], capture_output=True, text=True, check=False, timeout=250
    )
    assert call.returncode == 0, call.stderr
    report = json.loads(call.stdout)
    assert len(report) == 8
    for case, seen in report.items():
        assert seen.pop("arrays") > 0, case
        assert seen == {"interrupts": count, "threads": 0, "tasks": 0, "broken": 0}, case


@pytest.mark.parametrize("interrupts", [1, 5])
def test_threads_are_outlasted(interrupts):
    """However often the waiting thread is interrupted, and while it waits for the others to end, too."""
    left, ended, told = [interrupts], [], threading.Event()

    def task():
        told.wait(30)
        ended.append(threading.current_thread())

    def meanwhile():
        raise KeyboardInterrupt

    def stop():
        left[0] -= 1
        if left[0] > 0:
            raise KeyboardInterrupt
        told.set()

    with pytest.raises(KeyboardInterrupt):
        run_in_threads([task] * 3, stop, meanwhile)
    assert len(ended) == 3
    assert not any(thread.is_alive() for thread in ended)


def test_a_task_that_fails_ends_the_others():
    told, ended, together = threading.Event(), [], threading.Barrier(3)

    def fail():
        together.wait(30)
        raise ZeroDivisionError

    def task():
        together.wait(30)
        told.wait(30)
        ended.append(1)

    with pytest.raises(ZeroDivisionError):
        run_in_threads([task, fail, task], told.set, lambda: None)
    assert ended == [1, 1]


# ---- memory


def test_records_that_do_not_fit_are_refused_with_the_estimate(monkeypatch):
    w0 = starts(n=1000)
    with pytest.raises(MemoryError, match=r"would take \d+ bytes \(\d+\.\d GiB\)") as refusal:
        dln.flow(w0, LOSS, (0.0, 1.0), np.linspace(0, 1, 10**7), record=("loss", "weights"))
    estimate = int(re.search(r"take (\d+) bytes", str(refusal.value))[1])
    least = 1000 * 10**7 * (1 + NET.n_parameters) * 8
    assert least <= estimate <= 2 * least
    with pytest.raises(MemoryError, match="would take"):
        dln.flow(w0, LOSS, (0.0, 1.0), history=True, max_steps=10**12)
    monkeypatch.setattr(resources, "free_memory", lambda: 20_000)
    with pytest.raises(MemoryError, match=r"20000 bytes .* are free: record less"):
        dln.flow(w0, LOSS, (0.0, 1.0))


# ---- arguments

TIMES = r"t_eval must be finite and strictly monotone from the start 0\.0 of the span towards its end 1\.0"
OUTSIDE = r"t_eval must lie within the span \(0\.0, 1\.0\), not reach from"
BAD_ARGUMENTS = [
    ("w0", None, TypeError, "weights must be a tuple of one array per layer, W_1 first, not NoneType"),
    ("w0", np.eye(2), TypeError, "weights must be a tuple of one array per layer, W_1 first, not ndarray"),
    ("w0", (), ValueError, "weights is empty"),
    ("w0", (np.ones((3, 2)), np.ones((2, 4))), ValueError, r"W_2 has shape \(2, 4\), but W_1 has 3 rows"),
    ("w0", (np.ones((2, 2), complex),), TypeError, "W_1 has dtype complex128; expected real numbers"),
    ("w0", (np.ones((1, 4, 2, 2)),), ValueError, r"w0 must have at most one batch axis, .* \(1, 4\)"),
    ("w0", (np.ones((0, 2, 2)),), ValueError, "w0 must hold at least one network"),
    ("w0", (np.ones((3, 2)), np.ones((3, 3))), ValueError, r"shape \(3, 2\); the loss expects .* \(\.\.\., 2, 2\)"),
    ("loss", np.eye(2), TypeError, "loss must be a Loss such as Quadratic or Regression, not ndarray"),
    ("loss", dln.Quadratic(np.ones((4, 2, 2))), ValueError, r"batch \(6,\) .* does not broadcast with the \(4,\)"),
    ("span", 1.0, ValueError, r"span must be two times \(t_0, t_end\), not 1\.0"),
    ("span", (0, 1, 2), ValueError, r"span must be two times \(t_0, t_end\), not \(0, 1, 2\)"),
    ("span", (2, 2), ValueError, r"span must not be empty: t_0 = t_end = 2\.0"),
    ("span", (0, np.inf), ValueError, r"span\[1\] must be finite, not inf"),
    ("span", ("a", 1), TypeError, r"span\[0\] must be a number, not 'a'"),
    ("span", (-1e308, 1e308), ValueError, "span must have a length that is a number"),
    ("t_eval", "abc", TypeError, "t_eval must be a sequence of numbers, not 'abc'"),
    ("t_eval", [[0.5]], ValueError, r"t_eval must have one axis, not the shape \(1, 1\)"),
    ("t_eval", [0.5, 0.4], ValueError, TIMES),
    ("t_eval", [0.5, 0.5], ValueError, TIMES),
    ("t_eval", [np.nan], ValueError, TIMES),
    ("t_eval", [-0.1, 0.5], ValueError, OUTSIDE),
    ("t_eval", [0.5, 1.1], ValueError, OUTSIDE),
    ("method", "tsit", ValueError, r"method must be one of .* not 'tsit'; did you mean 'tsit5'\?"),
    ("method", 5, TypeError, "method must be one of 'bs3', 'dp5', 'tsit5', 'dop853', 'rock', 'rkc2', 'auto', not 5"),
    ("rtol", 0, ValueError, "rtol must be positive, not 0"),
    ("rtol", np.nan, ValueError, "rtol must be finite, not nan"),
    ("rtol", "a", TypeError, "rtol must be a number, not 'a'"),
    ("rtol", 1e-17, ValueError, r"rtol must be at least 8\.9e-16 in float64, not 1e-17"),
    ("atol", -1, ValueError, "atol must not be negative, not -1"),
    ("atol", np.ones(6), TypeError, "atol must be a number"),
    ("max_steps", 0, ValueError, "max_steps must be at least 1, not 0"),
    ("max_steps", 1e5, TypeError, r"max_steps must be an integer, not 100000\.0"),
    ("max_steps", 2**70, ValueError, r"max_steps must be at most 2\^53"),
    ("record", "los", ValueError, r"record must be one of .* not 'los'; did you mean 'loss'\?"),
    ("record", ("loss", "strength"), ValueError, r"not 'strength'; did you mean 'strengths'\?"),
    ("record", None, TypeError, "record must be a sequence of names of observables, not None"),
    ("stop", 1e-8, TypeError, "stop must be a Stop, not 1e-08"),
    ("weight_decay", -0.1, ValueError, r"weight_decay must not be negative, not -0\.1"),
    ("weight_decay", np.inf, ValueError, "weight_decay must be finite, not inf"),
    ("layer_rates", (1,), ValueError, r"layer_rates has shape \(1,\); expected one rate per layer, \(2,\)"),
    ("layer_rates", (1, 0), ValueError, "layer_rates must be positive and finite"),
    ("layer_rates", "ab", TypeError, "layer_rates must be a sequence of numbers, not 'ab'"),
    ("step", -1, ValueError, "step must be positive, not -1"),
    ("step", 1e-9, ValueError, "step = 1e-09 takes 1000000000 steps over the span, more than max_steps = 100000"),
    (
        "engine",
        "lane",
        ValueError,
        r"engine must be one of 'auto', 'lanes', 'dense', 'wide', 'reduced', not 'lane'; did you mean 'lanes'\?",
    ),
    ("threads", 0, ValueError, "threads must be at least 1, not 0"),
    ("threads", 1.5, TypeError, r"threads must be an integer, not 1\.5"),
    ("progress", "yes", TypeError, "progress must be True, False or a function, not 'yes'"),
]


@pytest.mark.parametrize(("name", "value", "error", "message"), BAD_ARGUMENTS)
def test_an_argument_that_does_not_fit_is_named(name, value, error, message):
    arguments = {"w0": starts(), "loss": LOSS, "span": (0.0, 1.0)}
    with pytest.raises(error, match=message):
        dln.flow(**(arguments | {name: value}))


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "Stop needs grad_norm or loss"),
        ({"grad_norm": -1}, ValueError, "grad_norm must not be negative, not -1"),
        ({"grad_norm": "a"}, TypeError, "grad_norm must be a number, not 'a'"),
        ({"loss": np.nan}, ValueError, "loss must be finite, not nan"),
    ],
)
def test_a_stop_condition_that_does_not_fit_is_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        dln.Stop(**arguments)


def test_single_precision_asks_for_a_tolerance_it_can_meet():
    with pytest.raises(ValueError, match=r"rtol must be at least 4\.8e-07 in float32, not 1e-07"):
        dln.flow(starts(dtype=np.float32), LOSS, (0.0, 1.0), rtol=1e-7)


# ---- the process around


def python(code, **environment):
    """Run code in a fresh interpreter; returns what it wrote."""
    command, environment = [sys.executable, "-W", "error", "-c", code], os.environ | environment
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


def test_import_loads_no_compiler_and_compiles_nothing(tmp_path):
    code = """
import sys, threading
import fastdln
heavy = {"numba", "scipy", "llvmlite", "xarray", "zarr", "matplotlib"} & set(sys.modules)
assert not heavy, heavy
assert threading.active_count() == 1
fastdln.flow, fastdln.Trajectories, fastdln.theory, fastdln.inits
"""
    done = python(code, FASTDLN_CACHE_DIR=str(tmp_path))
    assert (done.stdout, done.stderr) == ("", "")
    assert {path.name for path in tmp_path.rglob("*") if path.is_file()} <= {TRIED}  # and no kernel


def test_every_public_name_is_there():
    assert set(dln.__all__) <= set(dir(dln))
    assert all(getattr(dln, name) is not None for name in dln.__all__)
    with pytest.raises(AttributeError, match="module 'fastdln' has no attribute 'flwo'"):
        dln.flwo  # noqa: B018


def test_a_cache_folder_that_cannot_be_written_does_not_stop_a_flow(tmp_path):
    (tmp_path / "file").write_text("in the way")
    code = """
import numpy as np, fastdln as dln
sol = dln.flow((np.eye(2), np.eye(2)), dln.Quadratic(2 * np.eye(2)), (0.0, 1.0))
assert sol.success
"""
    done = python(code, FASTDLN_CACHE_DIR=str(tmp_path / "file"))
    assert done.stdout == ""
    assert done.stderr.startswith("kernels are compiled anew in every process: no cache folder can be written")
    assert (tmp_path / "file").read_text() == "in the way"


@pytest.mark.parametrize("variable", ["FASTDLN_CACHE_DIR", "NUMBA_CACHE_DIR"])
def test_a_missing_cache_folder_is_made(variable, tmp_path, monkeypatch):
    monkeypatch.delenv("FASTDLN_CACHE_DIR", raising=False)
    monkeypatch.setenv(variable, str(tmp_path / "not" / "yet"))
    folder = cache_folder.__wrapped__()
    assert folder.is_dir()
    assert folder.is_relative_to(tmp_path / "not" / "yet")


def test_edits_and_upgrades_begin_a_new_cache_folder(tmp_path, monkeypatch):
    for name, folder in (("KERNELS", compiler.KERNELS), ("INTEGRATE", compiler.INTEGRATE)):
        shutil.copytree(folder, tmp_path / folder.name, ignore=shutil.ignore_patterns("__pycache__"))
        monkeypatch.setattr(compiler, name, tmp_path / folder.name)
    monkeypatch.setenv("FASTDLN_CACHE_DIR", str(tmp_path / "cache"))
    folders = [cache_folder.__wrapped__(), cache_folder.__wrapped__()]
    assert folders[0] == folders[1]
    sources = sorted(source for source in tmp_path.rglob("*.py"))
    assert {len(source.relative_to(tmp_path).parts) for source in sources} >= {2, 3}  # rooms within rooms count
    for source in sources:
        with source.open("a") as file:
            file.write("# edited\n")
        folders.append(cache_folder.__wrapped__())
    (tmp_path / "kernels/lockstep/loop.py").rename(tmp_path / "kernels/products/loop.py")
    folders.append(cache_folder.__wrapped__())
    monkeypatch.setattr(compiler.numba, "__version__", "999.0")
    folders.append(cache_folder.__wrapped__())
    for switch in compiler.SWITCHES:
        monkeypatch.setenv(switch, "1")
        folders.append(cache_folder.__wrapped__())
    assert len(set(folders)) == len(sources) + 3 + len(compiler.SWITCHES)


def test_no_place_for_a_cache_is_said_once(monkeypatch, caplog):
    monkeypatch.setenv("FASTDLN_CACHE_DIR", os.devnull + "/below")
    assert cache_folder.__wrapped__() is None
    assert "no cache folder can be written" in caplog.text


def test_a_call_prints_nothing(capfd):
    dln.flow(starts(), LOSS, (0.0, 1.0), record=ALL)
    assert capfd.readouterr() == ("", "")
