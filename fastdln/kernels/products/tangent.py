"""Programs of an evaluation: the Hessian-vector product as the derivative of a program, and the forward products.

The Hessian times a direction is the derivative of the gradient along it.  So its program is that of the right-hand
side with every product differentiated, d(A B) = dA B + A dB, where weights have the directions as derivatives and
constants none; which order is the cheapest for both together is found by counting.  The gradient takes the place of the
right-hand side: with the cross matrix negated, the residual D - A B turns into its negative D + A B, and all that
follows is linear in it.  So it is in the map of a loss that is not quadratic, of which a row writes both derivatives.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from fastdln.kernels.products.program import orders, program
from fastdln.kernels.products.rows import DERIVATIVE, DIRECTION, SCRATCH, STATE, Map, Operand, Product, Program

MAP_FLOPS = 60  # what a map costs for an entry, roughly: an exponential, and divisions


class Place(NamedTuple):
    """A matrix: which base it lies at, the offset of its first entry, and how many entries it has."""

    base: int
    offset: int
    size: int


@dataclass(frozen=True, eq=False)
class Evaluation:
    """A program with sums of products, and the matrices that it reads and writes; offsets in entries."""

    products: tuple[Product | Map, ...]
    sizes: tuple[int, int, int]  # entries of state, derivative and scratch
    weights: tuple[Place, ...]
    directions: tuple[Place, ...]
    constants: dict[str, Place]  # of the loss
    results: tuple[Place, ...]
    map: str | None = None  # the name of the maps among the products

    @property
    def flops(self) -> int:
        """Floating-point operations for one network, those of maps roughly."""
        return sum(MAP_FLOPS * p.entries if isinstance(p, Map) else 2 * p.m * p.n * p.k for p in self.products)


def _layers(widths: tuple[int, ...], plan: Program, base: int, first: int = 0) -> tuple[Place, ...]:
    """The layers of a state that begins at an offset."""
    sizes = [below * above for below, above in pairwise(widths)]
    return tuple(Place(base, first + at, size) for at, size in zip(plan.layers, sizes, strict=False))


def _differentiate(
    rhs: Sequence[Product | Map], directions: dict[tuple[int, int], Operand], top: int, unit: int = 1
) -> tuple[list[Product | Map], int]:
    """The products of a right-hand side and their derivatives, and the entries of scratch.

    The directions are given by the place of their layer; results take the place of slopes.  Scratch is taken from
    ``top`` on.
    """
    derivatives = directions.copy()
    found: list[Product | Map] = []
    for p in rhs:
        if isinstance(p, Map):
            along = derivatives[p.z[:2]]
            if p.c == p.z:  # neither Z nor its change is needed afterwards
                found.append(p._replace(along=along, image=along))
            else:  # Z is a layer, and what is written a slope
                found.append(p._replace(c=Operand(SCRATCH, top, p.n), along=along, image=p.c))
                top += p.entries
            continue
        if p.c.base == DERIVATIVE:
            into = p.c
        else:
            found.append(p)  # no product reads a slope, but any other result
            into = derivatives.get(p.c[:2]) or Operand(SCRATCH, top, p.n)
            if into.base == SCRATCH:
                top = max(top, into.offset + -(-p.m * p.n // unit) * unit)
        a, b, d = (
            None if x is None or x[:2] not in derivatives else derivatives[x[:2]]._replace(row=x.row)
            for x in (p.a, p.b, p.d)
        )
        if a is not None:
            found.append(p._replace(c=into, a=a, d=d))
            d = into
        if b is not None:
            found.append(p._replace(c=into, b=b, d=d))
        derivatives[p.c[:2]] = into
    return found, top


def _used(products: Sequence[Product | Map], plan: Program) -> dict[str, Place]:
    """The constants that products and maps read."""
    operands = [(p.y, p.parameter) if isinstance(p, Map) else (p.a, p.b, p.d) for p in products]
    read = {(x.base, x.offset) for some in operands for x in some if x is not None}
    return {
        name: Place(SCRATCH, at, rows * columns)
        for name, (at, rows, columns) in plan.constants.items()
        if (SCRATCH, at) in read
    }


@functools.cache
def hessian(
    widths: tuple[int, ...],
    gram: bool = False,
    map: str | None = None,
    samples: int = 0,
    order: tuple[str, int] | None = None,
) -> Evaluation:
    """Plan the product of the Hessian with a direction.

    The constants are those of a flow, but for the *negated* cross matrix.

    Parameters
    ----------
    widths : d_0..d_h
    gram : whether the loss has an input Gram matrix; one layer takes one always, if need be the identity
    map : the map of a loss that is not quadratic
    samples : of how many samples it takes the outputs; 0 where it takes the product
    order : force an order; by default the one of fewest flops
    """
    if order is None:
        plans = (hessian(widths, gram, map, samples, choice) for choice in orders(len(widths) - 1, map))
        return min(plans, key=lambda plan: plan.flops)
    plan = program(widths, gram, order=order, map=map, samples=samples)
    layers = zip(plan.layers, widths[:-1], strict=False)
    directions = {(STATE, at): Operand(SCRATCH, plan.n_scratch + at, columns) for at, columns in layers}
    products, n_scratch = _differentiate(plan.rhs, directions, plan.n_scratch + plan.layers[-1])
    return Evaluation(
        products=tuple(products),
        sizes=(plan.layers[-1], plan.layers[-1], n_scratch),
        weights=_layers(widths, plan, STATE),
        directions=_layers(widths, plan, SCRATCH, plan.n_scratch),
        constants=_used(products, plan),
        results=_layers(widths, plan, DERIVATIVE),
        map=map,
    )


class Correction(NamedTuple):
    """The product of the Hessian with a direction, as a program beside those of a flow."""

    products: tuple[Product | Map, ...]
    n_scratch: int  # entries of scratch, with what lies there of the flow


def correction(plan: Program, widths: tuple[int, ...], unit: int, first: int) -> Correction:
    """Plan the product of the Hessian with a direction, which leaves the scratch of a flow as it is.

    The direction is the state at the base `DIRECTION`.

    Parameters
    ----------
    plan : the flow's, with the ``minus`` of its cross matrix, unless its loss has a map
    widths : d_0..d_h
    unit : entries to which matrices are padded
    first : entries of scratch that are the flow's
    """
    cross = plan.constants.get("cross", (None,))[0]

    def moved(x: Operand) -> Operand:
        if x.base != SCRATCH or (x.offset < plan.n_constants and x.offset != cross):
            return x
        return x._replace(
            offset=plan.constants["minus"][0] if x.offset == cross else x.offset + first - plan.n_constants
        )

    rhs: list[Product | Map] = [
        p._replace(c=moved(p.c), z=moved(p.z), y=moved(p.y), parameter=moved(p.parameter))
        if isinstance(p, Map)
        else p._replace(c=moved(p.c), a=moved(p.a), b=moved(p.b), d=None if p.d is None else moved(p.d))
        for p in plan.rhs
    ]
    layers = zip(plan.layers, widths[:-1], strict=False)
    directions = {(STATE, at): Operand(DIRECTION, at, columns) for at, columns in layers}
    products, n_scratch = _differentiate(rhs, directions, first + plan.n_scratch - plan.n_constants, unit)
    return Correction(tuple(products), n_scratch)


@functools.cache
def forward(widths: tuple[int, ...], gram: bool = False, map: str | None = None, samples: int = 0) -> Evaluation:
    """Plan what a loss compares with its target, W or W G^(1/2), or twice the value of a loss that is not quadratic.

    The constants are the target and the root, or those of the map.

    Parameters
    ----------
    widths : d_0..d_h
    gram : whether the loss has an input Gram matrix; one layer takes one always, if need be the identity
    map : the map of a loss that is not quadratic
    samples : of how many samples it takes the outputs; 0 where it takes the product
    """
    plan = program(widths, gram, map=map, samples=samples)
    constants, size = _used(plan.observe, plan), 1
    if map is None:
        size = widths[0] * widths[-1]
        constants |= {"whitened": Place(SCRATCH, plan.target, size)}
    return Evaluation(
        products=plan.observe,
        sizes=(plan.layers[-1], 0, plan.n_scratch),
        weights=_layers(widths, plan, STATE),
        directions=(),
        constants=constants,
        results=(Place(plan.compared.base, plan.compared.offset, size),),
        map=map,
    )
