"""Which rounds are kept, by a clock that says how fast the machine is."""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator

import pytest

from bench import rounds
from bench.rounds import FIRST_RATES, Keeper, Progress


class Machine:
    """A machine with a clock of its own, whose pace is that of the given canaries, one after the other."""

    def __init__(self, paces: Iterable[float]) -> None:
        self.now, self.made = 0.0, 0
        self.paces: Iterator[float] = iter(paces)

    def canary(self) -> float:
        """The rate of one unit of work."""
        start = self.now
        self.now += 1 / next(self.paces)
        return 1 / (self.now - start)

    def measure(self) -> int:
        """One round, which tells its number."""
        self.made += 1
        return self.made


def kept(paces: Iterable[float], wanted: int, first: float = 1.0) -> rounds.Rounds[int]:
    machine = Machine([*[first] * FIRST_RATES, *paces])
    return Keeper(machine.canary, Progress(io.StringIO())).keep(machine.measure, wanted, "rounds")


def test_all_rounds_of_a_steady_machine_are_kept() -> None:
    found = kept([1.0, 0.96, 1.0, 0.97], 3)
    assert (found.rows, found.kept, found.tried) == ([1, 2, 3], 3, 3)
    assert str(found) == "3 of 3 rounds kept"


def test_rounds_beside_a_slow_canary_are_dropped_and_made_up_for() -> None:
    # slow before the first, after the first and the third
    found = kept([0.6, 1.0, 1.0, 0.94, 1.0, 1.0], 2)
    assert (found.rows, found.kept, found.tried) == ([2, 5], 2, 5)
    assert str(found) == "2 of 5 rounds kept"


def test_after_three_times_the_rounds_what_there_is_is_reported() -> None:
    found = kept([1.0, 1.0, *[0.5] * 5], 2)
    assert (found.rows, found.kept, found.tried) == ([1], 1, 6)
    assert str(found) == "1 of 6 rounds kept, 2 wanted"


def test_where_no_round_is_good_all_are_shown_and_said_to_be_uneven() -> None:
    found = kept([0.5] * 7, 2)
    assert (found.rows, found.kept, found.tried) == ([1, 2, 3, 4, 5, 6], 0, 6)
    assert str(found) == "0 of 6 rounds kept: all are shown, at an uneven pace"


def test_rounds_are_judged_by_the_best_that_was_seen_until_the_end() -> None:
    # what looked good at first was the slow pace
    found = kept([0.5, 0.5, 0.5, 1.0, 1.0, 1.0], 2, first=0.5)
    assert (found.rows, found.kept, found.tried) == ([1, 2], 2, 2)
    found = kept([0.5, 0.5, 1.0, 1.0, 1.0], 2, first=0.5)
    assert (found.rows, found.kept, found.tried) == ([3, 4], 2, 4)


def test_the_best_is_remembered_from_one_call_to_the_next() -> None:
    machine = Machine([*[1.0] * FIRST_RATES, *[1.0] * 2, *[0.6] * 4])
    keeper = Keeper(machine.canary, Progress(io.StringIO()))
    assert keeper.keep(machine.measure, 1).kept == 1
    assert keeper.keep(machine.measure, 1).kept == 0


def test_the_time_left_is_told_after_a_round() -> None:
    machine, stream = Machine([1.0] * (FIRST_RATES + 4)), io.StringIO()

    def measure() -> None:
        machine.now += 8.0  # and the canary takes 1

    keeper = Keeper(machine.canary, Progress(stream, every=0.0), clock=lambda: machine.now)
    keeper.keep(measure, 3, "rounds")
    assert stream.getvalue().splitlines() == [
        "rounds: round 1, 0 of 3 kept",
        "rounds: round 2, 1 of 3 kept, about 18 s left",
        "rounds: round 3, 2 of 3 kept, about 9 s left",
    ]


def test_progress_is_shown_every_few_seconds_where_there_is_no_terminal() -> None:
    stream, times = io.StringIO(), iter([0.0, 0.0, 4.0, 11.0, 11.0])
    progress = Progress(stream, every=10.0, clock=lambda: next(times))
    for text in ("one", "two", "three"):
        progress.say(text)
    progress.clear()
    assert stream.getvalue() == "one\nthree\n"


def test_spread_is_half_the_distance_of_the_quartiles() -> None:
    assert rounds.middle([1.0, 2.0, 3.0, 4.0, 9.0]) == (3.0, 1.0)
    assert rounds.cell([1.0, 2.0, 3.0, 4.0, 9.0], ".1f", " %") == "3.0 ±1.0 %"


@pytest.mark.parametrize("lanes", ["2", "4", "8"])
def test_the_width_of_vectors_has_a_name(monkeypatch: pytest.MonkeyPatch, lanes: str) -> None:
    monkeypatch.setenv("FASTDLN_LANES", lanes)
    monkeypatch.setattr(rounds, "cpu_features", lambda: frozenset(["avx", "avx2"]))
    assert rounds.vectors() == f"{lanes} lanes (AVX2)"


def test_the_canary_sings() -> None:
    assert rounds.canary()() > 1e6
