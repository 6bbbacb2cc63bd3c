"""The statements of the survey as checks: all hold, and a false one is found out."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from fastdln import claims
from fastdln.claims.registry import Check, Outside


def a_check(errors, violation=None):
    return Check("a", "T1", "says", "if", "on", 1e-3, errors, violation)


@pytest.mark.parametrize("name", claims.names())
def test_holds_on_further_instances(name):
    (claim,) = claims.check(name, seed=20261124)
    assert claim.holds, claim


def test_their_order_is_that_of_items_whatever_was_imported_before():
    code = "from fastdln import claims; print(*claims.names())"
    orders = {
        subprocess.run([sys.executable, "-c", first + code], capture_output=True, text=True, check=True).stdout
        for first in ("", "from fastdln.claims import tangent, exact, kinds; ")
    }
    assert orders == {" ".join(claims.names()) + "\n"}


@pytest.mark.parametrize("name", claims.names())
def test_says_what_it_is_about(name):
    (check,) = (claims.registry.registered()[key] for key in claims.select(name))
    assert check.statement.endswith(".")
    assert check.hypotheses
    assert any(character.isdigit() for character in check.instances), "how many instances"
    assert check.tolerance >= 0


@pytest.mark.parametrize(("errors", "holds"), [([0.0, 1e-4], True), ([1e-2, 0.0], False), ([0.0, np.nan], False)])
def test_verdict_is_that_of_the_worst_instance(errors, holds):
    claim = a_check(lambda rng: errors).run(seed=0)
    assert claim.holds is holds
    assert claim.count == 2
    np.testing.assert_equal(claim.worst, np.max(errors))


@pytest.mark.parametrize(("error", "holds"), [(1.0, True), (1e-4, False), (np.nan, False)])
def test_hypothesis_that_does_not_matter_is_found_out(error, holds):
    claim = a_check(lambda rng: [0.0], ("elsewhere", lambda rng: error)).run(seed=0)
    assert claim.holds is holds
    assert isinstance(claim.outside, Outside)
    assert claim.outside.instance == "elsewhere"


def test_check_without_instances_is_refused():
    with pytest.raises(RuntimeError, match="tried no instance"):
        a_check(lambda rng: []).run(seed=0)


def test_instances_depend_on_name_and_seed_alone():
    draw = a_check(lambda rng: rng.random(3) / 1e4)
    assert draw.run(1) == draw.run(1)
    assert draw.run(1).worst != draw.run(2).worst
    together = {claim.name: claim for claim in claims.check("matrix-ode", seed=3)}
    claims.check("powers-are-products", seed=3)
    assert claims.check("matrix-ode", seed=3)[0] == together["matrix-ode"]


def test_unknown_name_suggests_the_nearest():
    with pytest.raises(ValueError, match="'matrix-od'; did you mean 'matrix-ode'"):
        claims.check("matrix-od")


def test_report_is_json_that_names_every_verdict():
    verdicts = [
        a_check(lambda rng: [0.0], ("elsewhere", lambda rng: np.inf)).run(seed=5),
        a_check(lambda rng: [np.nan]).run(seed=5),
    ]
    document = json.loads(claims.report(verdicts, seed=5))
    assert document["seed"] == 5
    assert [entry["holds"] for entry in document["claims"]] == [True, False]
    assert document["claims"][0]["outside"] == {"instance": "elsewhere", "error": None}
    assert document["claims"][1]["worst"] is None
