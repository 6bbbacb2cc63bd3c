"""Without our pipelines kernels compute the same bits: where that is asked for, and where Numba has changed."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numba
import pytest

import fastdln as dln
from fastdln.kernels.machine import pipelines, plain
from fastdln.kernels.machine.compile import cache_folder
from fastdln.theory import hessian
from tests.golden import digests
from tests.golden.cases import COMPARED, EXACT, dyadic

# Lanes and dense, every kind of method, learning times, certificates, layer rates, straight-line code, single
# precision, wide and reduced.
CASES = (
    "5-7-3-6 lanes", "8-8-8-8-8 dense", "dop853 lanes", "fixed steps dense", "auto lanes", "rkc2 dense",
    "stiff auto dense", "certified lanes", "regression rock", "rates decay rock", "single precision lanes",
    "many lanes", "wide", "krylov",
)  # fmt: skip

RUN = "import json; from tests.kernels import test_plain; print(json.dumps(test_plain.computed()))"

WARNING = "kernels take about twice as long to compile"

# What pipelines rely on and Numba itself can do without here.
BREAK = {
    "class": "import numba.core.codegen; del numba.core.codegen.JITCodeLibrary",
    "option": "from numba.core.cpu import CPUTargetOptions; del CPUTargetOptions.__mro__[1]._nrt",
    "pass": "from llvmlite.binding.newpassmanagers import NewPassManager; del NewPassManager.add_sroa_pass",
}

FUNCTIONS = """
from fastdln.kernels.machine.compile import emitted, kernel, part

@part
def half(x):
    return x / 2

@kernel
def entry(x):
    return half(x) + half(3)

@emitted
def doubled(x):
    return x + x

assert (entry(1.0), doubled(1.5)) == (2.0, 3.0)
"""


def computed():
    """Digests of all that flows return, and of products with Hessians; whether our pipelines were used."""
    cases = EXACT | {name: compared.case for name, compared in COMPARED.items()}
    net = dln.Network((3, 5, 4))
    weights, direction = (tuple(dyadic((6, *shape), 50 + at, -1) for shape in net.shapes) for at in (0, 10))
    products = hessian.apply(weights, dln.Quadratic(dyadic((4, 3), 100, 0)), direction)
    return {
        "pipelines": plain.usable_pipelines(cache_folder()) is not None,
        "hessian": {"products": digests.digest(*products)},
        **{name: digests.exactly(cases[name].run()) for name in CASES},
    }


def python(code, **environment):
    """What code wrote in a fresh process."""
    command, environment = [sys.executable, "-W", "error", "-c", code], os.environ | environment
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True)


@pytest.mark.skipif(os.environ.get("FASTDLN_PLAIN") == "1", reason="FASTDLN_PLAIN=1 is set")
@pytest.mark.timeout(900)
def test_bits_are_the_same_with_our_pipelines_and_without():
    done = python(RUN, FASTDLN_PLAIN="1")
    assert done.stderr == ""
    plainly, ours = json.loads(done.stdout), computed()
    assert (plainly.pop("pipelines"), ours.pop("pipelines")) == (False, True)
    assert {name: digests.moved(entry, plainly[name]) for name, entry in ours.items()} == {name: [] for name in plainly}


@pytest.mark.parametrize("what", BREAK)
def test_where_numba_has_changed_functions_are_compiled_plainly_and_it_is_said_once(what, tmp_path):
    (tmp_path / "functions.py").write_text(FUNCTIONS)
    unknown = "from fastdln.kernels.machine import plain; plain.KNOWN = ()"
    code = f"import sys; sys.path.append({str(tmp_path)!r}); {BREAK[what]}; {unknown}; import functions"
    for _ in range(2):  # a failure is not taken for a success afterwards
        said = python(code, FASTDLN_PLAIN="", FASTDLN_CACHE_DIR=str(tmp_path)).stderr
        assert said.startswith(WARNING)
        assert len(said.splitlines()) == 1
    assert python(code, FASTDLN_PLAIN="1", FASTDLN_CACHE_DIR=str(tmp_path)).stderr == ""


def test_plain_code_is_kept_apart(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTDLN_CACHE_DIR", str(tmp_path))
    folders = set()
    for value in ("", "1"):
        monkeypatch.setenv("FASTDLN_PLAIN", value)
        folders.add(cache_folder.__wrapped__())
    assert len(folders) == 2


def test_pipelines_are_tried_once_per_cache_folder(tmp_path, monkeypatch):
    tried = []
    monkeypatch.setattr(plain, "KNOWN", ())
    monkeypatch.delenv("FASTDLN_PLAIN", raising=False)
    monkeypatch.setattr(plain, "_try", tried.append)
    choose = plain.usable_pipelines.__wrapped__
    for folder, times in ((tmp_path, 1), (tmp_path, 1), (None, 2), (None, 3), (tmp_path / "missing", 4)):
        assert choose(folder) is pipelines
        assert len(tried) == times


def test_pipelines_are_not_tried_with_known_releases(tmp_path, monkeypatch):
    monkeypatch.delenv("FASTDLN_PLAIN", raising=False)
    monkeypatch.setattr(plain, "_try", lambda _: pytest.fail("they were tried"))
    monkeypatch.setattr(numba, "__version__", f"{plain.KNOWN[0]}.1")
    assert plain.usable_pipelines.__wrapped__(tmp_path) is pipelines
    monkeypatch.setattr(numba, "__version__", "0.6.1")
    with pytest.raises(pytest.fail.Exception):
        plain.usable_pipelines.__wrapped__(tmp_path)


PART = pipelines.part


@pytest.mark.parametrize("other", [lambda half: PART(lambda x: x), numba.njit], ids=["values", "versions"])
def test_pipelines_that_compile_something_else_are_not_used(other, monkeypatch, caplog):
    monkeypatch.delenv("FASTDLN_PLAIN", raising=False)
    monkeypatch.setattr(plain, "KNOWN", ())
    assert plain.usable_pipelines.__wrapped__(None) is pipelines
    monkeypatch.setattr(pipelines, "part", other)
    assert plain.usable_pipelines.__wrapped__(None) is None
    assert f"{WARNING}, as" in caplog.text
