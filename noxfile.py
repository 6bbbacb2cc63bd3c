"""The checks that people and CI share: ``nox`` runs all but the measurements, ``nox -s types`` one of them.

In an environment that has the ``dev`` group already, ``nox --no-venv --no-install`` uses it as it is.
"""

from __future__ import annotations

import nox

nox.options.sessions = ["tests", "lint", "types", "layers"]

PROJECT = nox.project.load_toml("pyproject.toml")


def install(session: nox.Session, group: str) -> None:
    session.install("-e", ".[scan]", *nox.project.dependency_groups(PROJECT, group))


@nox.session
def tests(session: nox.Session) -> None:
    """Run the tests, the doctests, and every benchmark once."""
    install(session, "test")
    session.run("python", "-m", "pytest", *session.posargs)


@nox.session
def lint(session: nox.Session) -> None:
    """Check the code with ruff, and this project's metadata against the standards."""
    install(session, "dev")
    session.run("ruff", "check", ".")
    session.run("validate-pyproject", "pyproject.toml")


@nox.session
def types(session: nox.Session) -> None:
    """Check the types, strictly on the public layer."""
    install(session, "dev")
    session.run("mypy")


@nox.session
def layers(session: nox.Session) -> None:
    """Check that imports point down."""
    install(session, "dev")
    session.run("lint-imports")


@nox.session
def bench(session: nox.Session) -> None:
    """Measure in short: the shared workloads, right-hand sides, Hessians, the peers at hand, threads, first calls."""
    install(session, "bench")
    # settings for another BLAS slow the one that comes with NumPy
    session.env.update(dict.fromkeys(("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")))
    session.run("python", "-m", "pytest", "bench", "--benchmark-enable", "--benchmark-only")
    session.run("python", "-m", "bench.rhs")
    session.run("python", "-m", "bench.hessian")
    session.run("python", "-m", "bench.peers", "--rounds", "3")
    session.run("python", "-m", "bench.scaling", "--rounds", "3")
    session.run("python", "-m", "bench.cold", "--rounds", "3")
