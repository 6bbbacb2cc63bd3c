#!/usr/bin/env -S uv run --script
# /// script
# dependencies = ["nox>=2025.10.14"]
# ///
"""The checks that people and CI share: ``nox`` runs all but other machines and versions, measurements and mutants.

``nox -s types`` runs one of them.

In an environment that has the ``dev`` group already, ``nox --no-venv --no-install`` uses it as it is.
"""

from __future__ import annotations

import shlex
import shutil
import tarfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.10.14"
nox.options.default_venv_backend = "uv|virtualenv"

PROJECT = nox.project.load_toml("pyproject.toml")

# the scripts of `bench` in short, with their options: every regime, what it is compared with, and first calls
SHORT = (
    "rhs --rounds 3",
    "lanes --rounds 2",
    "dense 64-64-64 64-128-128-10 --threads 1 --rounds 2",
    "hessian --rounds 3",
    "scaling --rounds 3",
    "peers --rounds 3 --only 'scalar Numba loop' 'heyoka, batch' 'diffrax Tsit5, vmap' 'scipy RK45'",
    "peers --curves --widths 4-4-4-4 --rounds 2 --only 'scalar Numba loop' 'numbalsoda DOP853'",
    "stiff --starts 1 --tolerances 1e-4 1e-6 --longest 20",
    "wide --widths 512 1024 --threads 1 --rounds 3",
    "reduced --rounds 3",
    "krylov --widths 512 1024 --depths 3 --rounds 2",
    "certified --rounds 1 --longest 200",
    "learning --rounds 3",
    "losses --rounds 2",
    "descents --rounds 3 --updates 100",
    "wide_descents --rounds 2 --updates 10",
    "choice --quick",
    "cold --rounds 2",
)


# OpenBLAS kernels, and the flags of processors that can run them; the copies that NumPy and SciPy bring take Haswell's
# for Zen
KERNELS = {
    "Nehalem": "sse4_2",
    "Sandybridge": "avx",
    "Haswell": "avx2 fma",
    "Zen": "avx2 fma",
    "SkylakeX": "avx512f avx512cd avx512bw avx512dq avx512vl",
}
LANES = ("2", "4", "8")

TYPED = "examples/typed.py"

# What rests on Numba: compilation, its cache, and what kernels compute.
NUMBA = ("tests/kernels", "tests/test_golden.py")
PYTHONS = ("3.11", "3.12", "3.13", "3.14")


def install(session: nox.Session, group: str, *further: str) -> None:
    session.install("-e", ".[scan]", *nox.project.dependency_groups(PROJECT, group), *further)


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, the doctests, and every benchmark once."""
    install(session, "test")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session(python=PYTHONS[0], default=False)
def oldest(session: nox.Session) -> None:
    """Run tests of what rests on Numba, or those named, with the oldest versions that pyproject.toml allows."""
    install(session, "test", *(bound.replace(">=", "==") for bound in PROJECT["project"]["dependencies"]))
    session.run("python", "-m", "pytest", *(session.posargs or NUMBA))


@nox.session(python=PYTHONS, default=False)
def newest(session: nox.Session) -> None:
    """Run the same with the newest Numba, release candidates too, under every Python that is installed."""
    bounds = [bound for bound in PROJECT["project"]["dependencies"] if bound.startswith("numba>=")]
    install(session, "test", *(f"{bound}rc1" for bound in bounds))  # a bound that is a candidate allows candidates
    session.run("python", "-c", "import numba, platform; print('Numba', numba.__version__, platform.python_version())")
    session.run("python", "-m", "pytest", *(session.posargs or NUMBA))


@nox.session(default=False)
def machines(session: nox.Session) -> None:
    """Run the tests as on other machines, all that this one can be or those named: ``nox -s machines -- Haswell``.

    They differ in the kernel of OpenBLAS, in the vectors of NumPy's own loops (``baseline``: none from AVX2 on) and in
    the lanes of this library (``lanes=2``).
    """
    install(session, "test")
    dispatched = "from numpy._core._multiarray_umath import __cpu_dispatch__; print(*__cpu_dispatch__)"
    features = session.run("python", "-c", dispatched, silent=True).split()
    newer = [name for name in features if name.startswith(("AVX2", "FMA3", "AVX512", "X86_V3", "X86_V4"))]
    flags = set(Path("/proc/cpuinfo").read_text().split())
    blas = {name: {"OPENBLAS_CORETYPE": name} for name, needed in KERNELS.items() if flags.issuperset(needed.split())}
    lanes = {f"lanes={n}": {"FASTDLN_LANES": n} for n in LANES}
    known = blas | {"baseline": {"NPY_DISABLE_CPU_FEATURES": " ".join(newer)}} | lanes
    if unknown := set(session.posargs) - set(known):
        session.error(f"this machine can be no {', '.join(sorted(unknown))}; it can be {', '.join(known)}")
    failed = []
    for name in session.posargs or known:
        # what depends on lanes need not pass through LAPACK
        tests = ("fastdln", "tests") if name in lanes else ("fastdln", "tests", "-m", "lapack")
        try:
            session.run("python", "-m", "pytest", *tests, env=known[name])
        except nox.command.CommandFailed:
            failed.append(name)
    if failed:
        session.error(f"tests fail on {', '.join(failed)}")


@nox.session
def lint(session: nox.Session) -> None:
    """Check the code and its form with ruff, and this project's metadata against the standards."""
    install(session, "dev")
    session.run("ruff", "check", ".")
    session.run("ruff", "format", "--check", ".")
    session.run("validate-pyproject", "pyproject.toml")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, strictly on the public layer."""
    install(session, "dev")
    session.run("mypy")
    session.run("mypy", TYPED)


@nox.session(default=False)
def typed(session: nox.Session) -> None:
    """Check the types that users see, in the typed example, with mypy and pyright, which needs Node.js."""
    install(session, "dev", "pyright")
    session.run("mypy", TYPED)
    session.run("pyright")


@nox.session
def layers(session: nox.Session) -> None:
    """Check that imports point down."""
    install(session, "dev")
    session.run("lint-imports")


@nox.session(default=False)
def interop(session: nox.Session) -> None:
    """Run the tests of weights from and to PyTorch, JAX and Flax, which `tests` skips where they are not installed."""
    install(session, "test", *nox.project.dependency_groups(PROJECT, "frameworks"))
    session.run("python", "-c", "import flax, jax, torch")  # nothing is skipped here
    session.run("python", "-m", "pytest", "tests/interop", *session.posargs)


@nox.session(default=False)
def package(session: nox.Session) -> None:
    """Build wheel and sdist, check what is in them and what they say, and run the wheel by itself."""
    session.install(*nox.project.dependency_groups(PROJECT, "package"))
    built = Path(session.create_tmp()) / "dist"
    shutil.rmtree(built, ignore_errors=True)
    session.run("python", "-m", "build", "--outdir", str(built))
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    session.run("twine", "check", "--strict", str(wheel), str(sdist))
    session.run("check-wheel-contents", str(wheel))
    known = set(session.run("git", "ls-files", external=True, silent=True).splitlines())
    with tarfile.open(sdist) as archive:
        packed = {member.name.partition("/")[2] for member in archive if member.isfile()} - {"PKG-INFO"}
    if strange := packed - known:
        session.error(f"the sdist holds what git does not know: {', '.join(sorted(strange))}")
    if missing := {name for name in known if name.startswith(("fastdln/", "tests/"))} - packed:
        session.error(f"the sdist lacks {', '.join(sorted(missing))}")
    session.run("cffconvert", "--validate", "-i", "CITATION.cff")
    session.run("repo-review", ".")
    session.install("--force-reinstall", "--no-deps", str(wheel))
    session.install(f"{wheel}[scan]")
    with session.chdir(built):
        session.run("fastdln", "verify", "--only", "loss-is-monotone")


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the site into build/docs/html; a warning is an error."""
    install(session, "docs")
    session.run(
        "python", "-m", "sphinx", "-W", "--keep-going", "-j", "auto", "docs", "build/docs/html", *session.posargs
    )


@nox.session(default=False)
def page(session: nox.Session) -> None:
    """Run the tests of the page in a headless Chromium, which has to be installed."""
    session.install("-e", ".[view]", *nox.project.dependency_groups(PROJECT, "page"))
    session.run("python", "-m", "pytest", *(session.posargs or ("tests/view",)), env={"FASTDLN_PAGE": "1"})


@nox.session(default=False)
def mutants(session: nox.Session) -> None:
    """Try single bugs that the tests should notice, in some twenty minutes; arguments choose a few."""
    install(session, "test")
    session.run("python", "-m", "tests.mutants", *session.posargs)


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Measure in short, in some minutes: the shared workloads, then every script of `SHORT`."""
    install(session, "bench")
    # settings for another BLAS slow the one that comes with NumPy
    session.env.update(dict.fromkeys(("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")))
    briefly = ("--benchmark-max-time=0.3", "--benchmark-min-rounds=3", "--benchmark-columns=min,median,rounds")
    session.run("python", "-m", "pytest", "bench", "--benchmark-enable", "--benchmark-only", *briefly)
    for script in SHORT:
        name, *options = shlex.split(script)
        session.run("python", "-m", f"bench.{name}", *options)


if __name__ == "__main__":
    nox.main()
