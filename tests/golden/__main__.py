"""Compare flows with their recorded digests, or record what moved on purpose: ``python -m tests.golden``.

``--rewrite "what moved"`` records the digests anew, raises the numerics revision by one and says there what moved.
``--add`` records new cases and forgets removed ones; it leaves all others as they are, and the revision.
"""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

from tests.golden import digests
from tests.golden.cases import COMPARED, EXACT

REVISION = Path(__file__).parents[2] / "fastdln" / "revision.py"
WIDTH = 120


def raised(source: str, what: str) -> str:
    """The text of the module of the revision, one higher, with what moved as the last part of its docstring."""
    match = re.search(r"^NUMERICS = (\d+)$", source, re.MULTILINE)
    body = source.rstrip()
    if match is None or not body.endswith('"""'):
        raise ValueError("there is no line NUMERICS = ..., or no docstring at the end, to be raised")
    said = textwrap.fill(" ".join(what.split()), WIDTH, initial_indent="    ", subsequent_indent="    ")
    number = int(match[1]) + 1
    return f'{source[: match.start(1)]}{number}{body[match.end(1) : -3]}{number}\n{said}\n"""\n'


def main(arguments: Sequence[str] | None = None) -> int:
    """Return 0 where nothing has moved or what has is recorded now, else 1."""
    parser = argparse.ArgumentParser(prog="python -m tests.golden", description=__doc__.splitlines()[0])
    change = parser.add_mutually_exclusive_group()
    change.add_argument("--rewrite", metavar="WHAT", help="record what moved, and raise the numerics revision")
    change.add_argument("--add", action="store_true", help="record new cases and forget removed ones")
    options = parser.parse_args(arguments)
    if options.rewrite is not None and not options.rewrite.strip():
        parser.error("--rewrite needs a text that says what moved")

    recorded = digests.read()
    old = recorded["exact"] | recorded["compared"]
    new = {name: digests.compute(name) for name in (*EXACT, *COMPARED)}
    differing = {name: digests.differences(name, old[name], new[name]) for name in new if name in old}
    differing = {name: lines for name, lines in differing.items() if lines}
    for name, lines in differing.items():
        print(name, *lines, sep="\n    ")
    unknown = sorted(set(new) ^ set(old))
    print(f"{len(differing)} of {len(new)} cases moved; recorded or there alone: {', '.join(unknown) or 'none'}")
    if options.add:
        if not unknown:
            parser.error("every case is recorded")
        differing = {}
    elif options.rewrite is None:
        return int(bool(differing or unknown))
    elif not differing:
        parser.error("nothing moved, and the revision says that something has")

    numerics = recorded["numerics"]
    if differing:
        source = REVISION.read_text(encoding="utf-8")
        REVISION.write_text(raised(source, options.rewrite), encoding="utf-8")
        numerics += 1
    # values within their tolerance stay, or they would drift
    kept = {name: old[name] if name in old and name not in differing else entry for name, entry in new.items()}
    digests.write(numerics, {name: kept[name] for name in EXACT}, {name: kept[name] for name in COMPARED})
    return 0


if __name__ == "__main__":
    sys.exit(main())
