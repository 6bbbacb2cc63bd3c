"""What ``fastdln info`` finds wrong with an environment, and the line that mends it."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from fastdln.cli import problems
from fastdln.kernels.machine import compile as compiling
from fastdln.kernels.machine import lanes
from tests.support.scans import program, words

CLEAN = [name for name in os.environ if name in problems._VARIABLES]
REQUIRED = [
    "numba>=0.63",
    "zarr>=3.1.6; extra == 'scan'",
    "safetensors>=0.4.5; extra == 'interop'",
    "fastdln[scan]; extra == 'all'",
    "winthing>=1; sys_platform == 'win95'",
]
VERSIONS = {"numba": "0.68.1", "zarr": "3.1.6", "safetensors": "0.8.0"}


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, str]:
    """An environment in which nothing is wrong, to be changed: the versions that are installed in it."""
    installed = dict(VERSIONS)

    def version(name: str) -> str:
        if name not in installed:
            raise metadata.PackageNotFoundError(name)
        return installed[name]

    for name in CLEAN:
        monkeypatch.delenv(name)
    monkeypatch.setattr(metadata, "requires", lambda name: REQUIRED)
    monkeypatch.setattr(metadata, "version", version)
    monkeypatch.setattr(problems, "cores", lambda: 1)
    monkeypatch.setattr(problems, "_TESTED", {(problems.platform.system(), problems.platform.machine())})
    monkeypatch.setattr(compiling, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(lanes, "cpu_features", lambda: frozenset(("avx", "avx2", "fma")))
    return installed


def found() -> list[tuple[str, str, bool]]:
    return [tuple(problem) for problem in problems.problems()]


def test_nothing_is_wrong() -> None:
    assert found() == []


def test_versions_out_of_bounds_break_it(environment: dict[str, str]) -> None:
    environment["numba"] = "0.61.2"
    expected = ("numba is 0.61.2; expected numba>=0.63", "python -m pip install 'numba>=0.63'", True)
    assert found() == [expected]


def test_a_candidate_of_a_release_is_in_bounds(environment: dict[str, str]) -> None:
    environment["numba"] = "0.70.0rc1"
    assert found() == []


def test_missing_extras_are_named_with_their_command(environment: dict[str, str]) -> None:
    del environment["safetensors"]
    clone = "in your clone of fastdln"
    optional = ("missing: safetensors, of the extra interop", f"python -m pip install -e '.[interop]' {clone}", False)
    assert found() == [optional]
    del environment["zarr"]
    needed = ("missing: zarr, of the extra scan", f"python -m pip install -e '.[scan]' {clone}", True)
    assert found() == [needed, optional]


def test_a_clone_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    ((what, cure, broken),) = found()
    assert what.startswith("fastdln is not installed here")
    assert "pip install -e '.[scan]'" in cure
    assert not broken


@pytest.mark.parametrize("name", problems._VARIABLES)
def test_variables_that_slow_or_break(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "1")
    ((what, cure, broken),) = found()
    assert what.startswith(f"{name}=1: ")
    assert cure == f"unset {name}"
    assert broken == (name == "NUMBA_DISABLE_JIT")
    monkeypatch.setenv(name, "0")
    assert found() == []


def test_cache_folders_that_cannot_be_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems, "_LEAST_ROOM", 1 << 70)
    ((what, cure, _),) = found()
    assert "MiB left" in what
    assert "FASTDLN_CACHE_DIR" in cure
    monkeypatch.setattr(compiling, "cache_folder", lambda: None)
    ((what, cure, broken),) = found()
    assert what.startswith("no folder for compiled kernels can be written")
    assert "export FASTDLN_CACHE_DIR=DIR" in cure
    assert not broken


def test_processors_without_avx2(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems.platform, "machine", lambda: "x86_64")
    monkeypatch.setattr(problems, "_TESTED", {(problems.platform.system(), "x86_64")})
    monkeypatch.setattr(lanes, "cpu_features", lambda: frozenset(("sse4.2",)))
    ((what, _, _),) = found()
    assert "no AVX2 or no FMA: 2 networks are advanced side by side" in what


def test_other_systems_are_said_to_be_untested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(problems.platform, "system", lambda: "Plan9")
    ((what, _, _),) = found()
    assert what.startswith("fastdln has not been tested on Plan9 ")


GROUPS = {
    "none": ({}, "0::/", None),
    "no limit": ({"cpu.max": "max 100000"}, "0::/", None),
    "version 2": ({"cpu.max": "250000 100000"}, "0::/", 2.5),
    "version 1": ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/", 0.5),
    "version 1, no limit": ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/", None),
    "of the service": ({"a/b/cpu.max": "max 100000", "a/cpu.max": "300000 100000"}, "1:x:/c\n0::/a/b\n", 3.0),
    "the least": ({"cpu.max": "100000 100000", "a/cpu.max": "300000 100000"}, "0::/a", 1.0),
}


@pytest.mark.parametrize(("files", "own", "quota"), GROUPS.values(), ids=GROUPS)
def test_limits_of_control_groups(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: dict[str, str], own: str, quota: float | None
) -> None:
    for name, text in files.items():
        (tmp_path / "groups" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "groups" / name).write_text(text)
    (tmp_path / "own").write_text(own)
    assert problems._quota(tmp_path / "groups", tmp_path / "own") == quota
    monkeypatch.setattr(problems, "cores", lambda: 8)
    said = [problem.cure for problem in problems._threads(tmp_path / "groups", tmp_path / "own")]
    assert len(said) == (quota is not None)
    if quota is not None:
        assert said[0].startswith(f"--threads {max(1, int(quota))} ")
        monkeypatch.setattr(problems, "cores", lambda: 1 if quota >= 1 else 0)
        assert not list(problems._threads(tmp_path / "groups", tmp_path / "own"))


def test_info_tells_them_and_fails_where_it_is_broken(environment: dict[str, str]) -> None:
    answer = program("info")
    assert answer.code == 0
    assert "nothing is wrong with this environment" in answer.out
    del environment["safetensors"]
    answer = program("info")
    assert answer.code == 0
    assert "missing: safetensors, of the extra interop python -m pip install -e '.[interop]'" in words(answer.out)
    environment["numba"] = "0.61.2"
    answer = program("info")
    assert answer.code == 1
    assert "python -m pip install 'numba>=0.63'" in answer.out
    assert "1 of these must be mended before fastdln can be used" in answer.err


def test_what_keeps_it_from_being_imported_is_said() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "from fastdln.cli import main; main()", "info"],
        env=os.environ | {"NUMBA_DISABLE_JIT": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "fastdln: the environment is broken" in done.stderr
    assert "unset NUMBA_DISABLE_JIT" in done.stderr
    assert "Traceback" not in done.stderr
