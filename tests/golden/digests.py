"""What is recorded of a flow, and what of it has moved."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import fastdln as dln
from tests.golden.cases import COMPARED, EXACT, Compared

PATH = Path(__file__).with_name("digests.json")
COUNTS = ("n_rhs", "n_accepted", "n_rejected")

Entry = dict[str, Any]


def digest(*arrays: Any) -> str:
    """The same for the same bits, whatever the order of bytes of the machine; every NaN counts as one."""
    total = hashlib.sha256()
    for values in arrays:
        array = np.array(values)
        if array.dtype.kind == "f":
            array[np.isnan(array)] = np.nan
        little = array.astype(array.dtype.newbyteorder("<"))
        total.update(f"{little.dtype.str} {little.shape} ".encode())
        total.update(little.tobytes())
    return total.hexdigest()[:16]


def exactly(sol: dln.Trajectories) -> Entry:
    """Digests of all that a flow returns, part by part, and some numbers that tell what it did."""
    steps = [] if not sol.options.history else [x for k in range(len(sol)) for x in sol.history(k)]
    observables = {name: getattr(sol, name) for name in sol.options.record}
    return {
        "ended": sol.message,
        "certified": int(np.sum(sol.certified)),
        **{name: int(np.sum(getattr(sol, name))) for name in COUNTS},
        "weight": repr(float(np.ravel(sol.final[0])[0])),  # by how much its digest moves, nobody can tell
        "counts": digest(*(np.asarray(getattr(sol, name), np.int64) for name in COUNTS)),
        "ends": digest(np.asarray(sol.status, np.int64), sol.t_final, sol.certified),
        "final": digest(*sol.final),
        **{name: digest(*(kept if isinstance(kept, tuple) else (kept,))) for name, kept in observables.items()},
        **({"history": digest(*steps)} if steps else {}),
    }


def nearly(sol: dln.Trajectories) -> Entry:
    """The numbers themselves, for comparison within a tolerance."""
    return {
        "ended": sol.message,
        "widths": np.asarray(sol.integrated_widths).tolist(),
        **{name: int(np.sum(getattr(sol, name))) for name in COUNTS},
        **{name: np.asarray(getattr(sol, name)).tolist() for name in sol.options.record},
    }


def moved(recorded: Entry, computed: Entry) -> list[str]:
    """What is not as recorded, bit for bit."""
    return _unlike(recorded, computed, lambda name, old, new: bool(old == new))


def strayed(recorded: Entry, computed: Entry, compared: Compared) -> list[str]:
    """What is further from the recorded values than it may be."""
    return _unlike(recorded, computed, lambda name, old, new: _close(name, old, new, compared))


def _unlike(recorded: Entry, computed: Entry, alike: Callable[[str, Any, Any], bool]) -> list[str]:
    pairs = {name: (recorded.get(name), computed.get(name)) for name in (*recorded, *computed)}
    return [f"{name}: {old} -> {new}" for name, (old, new) in pairs.items() if not alike(name, old, new)]


def _close(name: str, old: Any, new: Any, compared: Compared) -> bool:
    if old is None or new is None or isinstance(old, str):
        return bool(old == new)
    if name == "widths":
        return bool(old == new)
    if name in COUNTS:
        return abs(new - old) <= math.ceil(compared.counts * old)
    return np.shape(old) == np.shape(new) and np.allclose(
        new, old, rtol=0.0, atol=compared.values * float(np.nanmax(np.abs(old))), equal_nan=True
    )


def read() -> dict[str, Any]:
    """The recorded entries, and the revision of the numerics that they are of."""
    recorded: dict[str, Any] = json.loads(PATH.read_text(encoding="utf-8"))
    return recorded


def write(numerics: int, exact: Mapping[str, Entry], compared: Mapping[str, Entry]) -> None:
    """Record entries, one part a line, so that a difference of two versions shows what moved."""
    parts = {
        section: ",\n".join(
            f"  {json.dumps(name)}: {{\n"
            + ",\n".join(f"   {json.dumps(part)}: {json.dumps(value)}" for part, value in entry.items())
            + "\n  }"
            for name, entry in entries.items()
        )
        for section, entries in (("exact", exact), ("compared", compared))
    }
    sections = ",\n".join(f" {json.dumps(section)}: {{\n{rows}\n }}" for section, rows in parts.items())
    PATH.write_text(f'{{\n "numerics": {numerics},\n{sections}\n}}\n', encoding="utf-8")


def compute(name: str) -> Entry:
    """The entry of a case as this code computes it."""
    return exactly(EXACT[name].run()) if name in EXACT else nearly(COMPARED[name].case.run())


def differences(name: str, recorded: Entry, computed: Entry) -> list[str]:
    """What of a case is not as recorded."""
    if name in EXACT:
        return moved(recorded, computed)
    return strayed(recorded, computed, COMPARED[name])
