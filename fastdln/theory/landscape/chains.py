"""The chains of a critical point: which ones fit, and which directions of the input and output they have."""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Sequence
from itertools import product
from typing import NamedTuple

from fastdln.network import Network
from fastdln.theory.landscape.spectrum import Spectrum

__all__ = ["Chain", "ends", "read_chains"]


_EXPOSED = (
    "a chain from the input to layer h-1, or from layer 1 to the output, must have its end in a direction that the "
    "residual does not see"
)


class Chain(NamedTuple):
    """A path through one coordinate of each layer from `start` to `stop`."""

    start: int
    stop: int
    mode: int | None
    """The unlearned mode of its end at the input or output, where it was given."""

    def __str__(self) -> str:
        return str(tuple(part for part in self if part is not None))


def read_chains(
    chains: Sequence[Sequence[int]], net: Network, S: tuple[int, ...], modes: Spectrum
) -> tuple[Chain, ...]:
    """Validate chains: their layers, their modes, the widths, and that the residual connects no two of them."""
    paths = tuple(_read(chain, net, S, modes) for chain in chains)
    for layer, width in enumerate(net.widths):
        passing = [path for path in paths if path.start <= layer <= path.stop]
        if len(passing) > width - len(S):
            raise ValueError(
                f"chain {passing[width - len(S)]} does not fit: layer {layer} has width {width}, of which "
                f"{len(S)} carry learned modes and {width - len(S)} may be passed by chains"
            )
    for end in (0, net.depth):
        given = Counter(path.mode for path in paths if path.mode is not None and end in path[:2])
        for path in paths:
            if path.mode is not None and end in path[:2] and given[path.mode] > 1:
                raise ValueError(f"chain {path} does not fit: another one has the same end in mode {path.mode}")
    seen_below, seen_above = (
        [path for path in paths if path.mode is not None and path.mode < modes.rank and end in path[:2]]
        for end in (0, net.depth)
    )
    for path in (*seen_below, *seen_above):
        if _exposed(path, net):
            raise ValueError(
                f"chain {path} makes the point not critical: {_EXPOSED}, but mode {path.mode} has sigma > 0"
            )
    for below, above in product(seen_below, seen_above):
        if below.mode == above.mode and not _apart(below, above):
            raise ValueError(
                f"chains {below} and {above} make the point not critical: the residual connects the output to the "
                f"input in mode {below.mode}, so the second must begin above layer {below.stop + 1}"
            )
    return paths


def ends(
    paths: Sequence[Chain], net: Network, S: tuple[int, ...], modes: Spectrum
) -> tuple[dict[int, int], dict[int, int]]:
    """Choose the directions of chains at the input and at the output.

    Returns
    -------
    input, output : dict
        By the index of a chain, the coordinate of its end: learned modes first, then the unlearned ones, then the
        directions of no mode.
    """
    order = [*S, *(j for j in range(len(modes.sigma)) if j not in S)]
    place = {mode: position for position, mode in enumerate(order)}
    named = {path.mode for path in paths}
    visible = [place[j] for j in order[len(S) :] if j < modes.rank and j not in named]
    sides: list[dict[int, int]] = []
    hidden: list[list[int]] = []
    free: list[list[int]] = []
    for end, width in ((0, net.widths[0]), (net.depth, net.widths[-1])):
        given = {k: place[path.mode] for k, path in enumerate(paths) if end in path[:2] and path.mode is not None}
        sides.append(given)
        unseen = [place[j] for j in range(modes.rank, len(modes.sigma))] + list(range(len(order), width))
        hidden.append([position for position in unseen if position not in given.values()])
        free.append([k for k, path in enumerate(paths) if end in path[:2] and path.mode is None])
    plan = _plan(paths, free, len(visible), [len(side) for side in hidden], net)
    remaining = iter(visible)
    for k in free[0]:
        if k in plan.unseen:
            sides[0][k] = hidden[0].pop(0)
        else:
            sides[0][k] = next(remaining)
    for k in free[1]:
        if k in plan.unseen:
            sides[1][k] = hidden[1].pop(0)
        elif k in plan.partner:
            sides[1][k] = sides[0][plan.partner[k]]
        else:
            sides[1][k] = next(remaining)
    return sides[0], sides[1]


class _Plan(NamedTuple):
    unseen: frozenset[int]
    """The chains whose end the residual does not see."""
    partner: dict[int, int]
    """For chains to the output that share a mode, the chain from the input that has it too."""


def _plan(paths: Sequence[Chain], free: list[list[int]], n_modes: int, n_unseen: list[int], net: Network) -> _Plan:
    """Let as few ends as possible share a mode, and put as few as possible out of sight.

    A chain from the input is the harder to pair the further it runs, one to the output the earlier it begins: the
    hardest go out of sight, and the easiest are paired in order.
    """
    inputs = sorted(free[0], key=lambda k: -paths[k].stop)
    outputs = sorted(free[1], key=lambda k: paths[k].start)
    least = [sum(_exposed(paths[k], net) for k in side) for side in (inputs, outputs)]
    for needed, there, side in zip(least, n_unseen, (inputs, outputs), strict=True):
        if needed > there:
            raise ValueError(
                f"chain {paths[side[there]]} does not fit: {_EXPOSED}, and only {there} such directions are left"
            )
    splits = product(
        range(least[0], min(n_unseen[0], len(inputs)) + 1), range(least[1], min(n_unseen[1], len(outputs)) + 1)
    )
    for x, y in sorted(splits, key=lambda split: (_shared(len(inputs), len(outputs), split, n_modes), sum(split))):
        pairs = _shared(len(inputs), len(outputs), (x, y), n_modes)
        if pairs > min(len(inputs) - x, len(outputs) - y):
            continue
        below, above = inputs[len(inputs) - pairs :][::-1], outputs[len(outputs) - pairs :]
        if all(_apart(paths[k], paths[l]) for k, l in zip(below, above, strict=True)):
            return _Plan(frozenset([*inputs[:x], *outputs[:y]]), dict(zip(above, below, strict=True)))
    hardest = " and ".join(f"chain {paths[side[0]]}" for side in (inputs, outputs) if side)
    raise ValueError(
        f"the ends of {hardest} at the input and output do not fit: {n_modes} unlearned modes with sigma > 0 are not "
        f"named by chains, and {n_unseen[0]} inputs and {n_unseen[1]} outputs are out of the sight of the residual; a "
        f"mode can only be shared by a chain from the input to layer b and one to the output from above layer b + 1"
    )


def _shared(n_inputs: int, n_outputs: int, split: tuple[int, int], n_modes: int) -> int:
    """How many modes must be shared when the ends of ``split`` are out of sight."""
    return max(0, n_inputs - split[0] + n_outputs - split[1] - n_modes)


def _apart(below: Chain, above: Chain) -> bool:
    """Whether the residual may connect the two: no layer lies between the input of one and the output of the other."""
    return above.start > below.stop + 1


def _exposed(path: Chain, net: Network) -> bool:
    """Whether the residual must not see the end: the last layer starts where the chain stops, or the first stops there.

    Every direction of the output is a chain that starts there, and every direction of the input one that stops there.
    """
    return path.stop == net.depth - 1 if path.start == 0 else path.start == 1


def _read(chain: Sequence[int], net: Network, S: tuple[int, ...], modes: Spectrum) -> Chain:
    try:
        a, b, *rest = map(operator.index, chain)
        (mode,) = rest or (None,)
    except (TypeError, ValueError):
        raise ValueError(f"chains must hold pairs (a, b) or triples (a, b, mode) of integers, not {chain!r}") from None
    path = Chain(a, b, mode)
    h = net.depth
    if not 0 <= a < b <= h:
        raise ValueError(f"chain {path} must run from a layer a to a layer b with 0 <= a < b <= {h}")
    if (a, b) == (0, h):
        raise ValueError(f"chain {path} runs from the input to the output and would add to the product")
    if mode is not None:
        if a > 0 and b < h:
            raise ValueError(f"chain {path} names mode {mode}, but has no end at the input or output")
        if not 0 <= mode < len(modes.sigma) or mode in S:
            raise ValueError(f"chain {path} names mode {mode}; expected one of 0 to {len(modes.sigma) - 1} not in {S}")
    return path
