"""The products of a network: which ones, in which order, as data.

The right-hand side  dW_i/dt = W_{>i}' R W_{<i}'  and the loss need nothing but products of small matrices.  A
*program* is their list.  The engines encode it for what executes it (over lanes, or one network) and never
see a width again.

Two families of orders, the cheapest by flops is taken:

``("meet", m)``    prefixes W_m...W_1 up to m, suffixes W_h...W_{m+1} above; they meet in the residual
                   (m = 1: suffix order, m = h - 1: prefix order);
``("narrow", k)``  everything is propagated outward from the narrow hidden layer k, and the residual is never formed:
                   with L = W_k...W_1 and U = W_h...W_{k+1}, T1 = R L' = S L' - U (L L') and T2 = U'R = U'S - (U'U) L.

With an input Gram matrix G (unwhitened data) the residual is S - W G.  For a loss that is not quadratic it is a map of
the outputs, R = E(W), or with inputs R = E(W X) X'; prefixes and suffixes then meet in it always.
"""

from __future__ import annotations

import functools
from itertools import pairwise
from typing import NamedTuple

NN, TN, NT = range(3)  # C = A B, A' B, A B'; every matrix is row-major
STATE, DERIVATIVE, SCRATCH = range(3)


class Operand(NamedTuple):
    """A matrix: which base it lies at, the offset of its first entry, and its row length, in entries."""

    base: int
    offset: int
    row: int


class Product(NamedTuple):
    """C = op(A) op(B), or with D: D - A B in the programs of a flow, D + op(A) op(B) in those of an evaluation.

    C is m x n and the sum runs over k.
    """

    form: int
    c: Operand
    a: Operand
    b: Operand
    m: int
    n: int
    k: int
    d: Operand | None = None


class Map(NamedTuple):
    """E = map(Z; Y) for matrices m x n, or their sum of values: see `fastdln.kernels.products.maps`.

    Z and E may be the same.  ``entries`` counts those of a matrix with its padding.
    """

    sums: bool
    c: Operand  # E, or one entry
    z: Operand
    y: Operand
    parameter: Operand
    m: int
    n: int
    entries: int


class Known(NamedTuple):
    """What the right-hand side leaves in scratch.

    R lies there, or is ``cross`` - A B with the two ``parts`` A, B and their inner size.
    """

    cross: Operand
    residual: Operand | None
    parts: tuple[Operand, Operand, int] | None
    suffix: dict[int, Operand]  # i -> W_{>i}


class Program(NamedTuple):
    """What the kernels need to know of a network and its loss; offsets in entries.

    Scratch begins with the constants of the loss: the cross matrix S, and with a Gram matrix G also G, its root and the
    whitened target (else S is the target); then the bases U, V of the modes if strengths are wanted, and S V.  The
    strengths are the columns of U times those of W V, of which there are three programs: ``project`` behind
    ``observe``, ``watch`` behind ``rhs``, and ``follow`` for W v alone.
    """

    order: tuple[str, int]
    flops: int
    layers: tuple[int, ...]  # offset of each layer in a state, then the length of a state
    rhs: tuple[Product | Map, ...]
    observe: tuple[Product | Map, ...]
    project: tuple[Product, ...]
    watch: tuple[Product, ...]  # as S V - R V where the residual is formed
    follow: tuple[Product, ...]
    known: Known
    product: Operand  # W after observe
    compared: Operand  # what the target is compared with: W, or W G^(1/2)
    target: int
    left: int
    right: int
    projected: int  # W V
    column: int  # v, and W v
    image: int
    constants: dict[str, tuple[int, int, int]]  # name -> offset, rows, columns
    n_constants: int
    n_scratch: int
    map: str | None = None

    @property
    def products(self) -> tuple[Product, ...]:
        """The products of the right-hand side."""
        return tuple(p for p in self.rhs if isinstance(p, Product))

    @property
    def observed(self) -> tuple[Product, ...]:
        """The products of `observe`."""
        return tuple(p for p in self.observe if isinstance(p, Product))

    @property
    def maps_into_slope(self) -> bool:
        """Whether a map, not a product, writes a slope."""
        return any(isinstance(p, Map) and p.c.base == DERIVATIVE for p in self.rhs)


class _Plan:
    """Collects products and lays out scratch."""

    def __init__(self, widths: tuple[int, ...], unit: int, first: int) -> None:
        self.widths, self.unit, self.top = widths, unit, first
        self.products: list[Product | Map] = []
        offsets = [0]
        for below, above in pairwise(widths):
            offsets.append(offsets[-1] + -(-below * above // unit) * unit)
        self.layers = tuple(offsets)

    def layer(self, i: int) -> Operand:
        return Operand(STATE, self.layers[i - 1], self.widths[i - 1])

    def slope(self, i: int) -> Operand:
        return Operand(DERIVATIVE, self.layers[i - 1], self.widths[i - 1])

    def new(self, rows: int, columns: int) -> Operand:
        at = self.top
        self.top += -(-rows * columns // self.unit) * self.unit
        return Operand(SCRATCH, at, columns)

    def multiply(
        self,
        form: int,
        a: Operand,
        b: Operand,
        m: int,
        n: int,
        k: int,
        into: Operand | None = None,
        minus_from: Operand | None = None,
    ) -> Operand:
        c = into or self.new(m, n)
        self.products.append(Product(form, c, a, b, m, n, k, minus_from))
        return c

    @property
    def flops(self) -> int:
        return sum(2 * p.m * p.n * p.k for p in self.products if isinstance(p, Product))


class _Outputs(NamedTuple):
    """The constants of a loss that is not quadratic."""

    target: Operand
    parameter: Operand
    inputs: Operand | None
    samples: int  # with the padding

    def of(self, plan: _Plan, product: Operand) -> Operand:
        """Z of the product."""
        if self.inputs is None:
            return product
        return plan.multiply(NN, product, self.inputs, plan.widths[-1], self.samples, plan.widths[0])

    def residual(self, plan: _Plan, a: Operand, b: Operand, inner: int) -> Operand:
        """R at the product A B, A: d_h x inner, B: inner x d_0."""
        d_0, d_h, m = plan.widths[0], plan.widths[-1], self.samples
        if self.inputs is None:
            return self.map(plan, plan.multiply(NN, a, b, d_h, d_0, inner))
        if d_0 * inner + d_h * inner < (d_h * d_0 * inner) / m + d_h * d_0:
            right = plan.multiply(NN, b, self.inputs, inner, m, d_0)
            return self.back(plan, self.map(plan, plan.multiply(NN, a, right, d_h, m, inner)))
        return self.back(plan, self.map(plan, self.of(plan, plan.multiply(NN, a, b, d_h, d_0, inner))))

    def back(self, plan: _Plan, error: Operand, into: Operand | None = None) -> Operand:
        """E X'."""
        assert self.inputs is not None
        return plan.multiply(NT, error, self.inputs, plan.widths[-1], plan.widths[0], self.samples, into)

    def map(self, plan: _Plan, z: Operand, into: Operand | None = None, sums: bool = False) -> Operand:
        """E in the place of Z, or the value."""
        c, m, n = plan.new(1, 1) if sums else into or z, plan.widths[-1], self.target.row
        entries = -(-m * n // plan.unit) * plan.unit
        plan.products.append(Map(sums, c, z, self.target, self.parameter, m, n, entries))
        return c


def _chains(plan: _Plan, m: int) -> tuple[dict[int, Operand], dict[int, Operand]]:
    """Prefixes W_i...W_1 (d_i x d_0) for i <= m and suffixes W_h...W_{i+1} (d_h x d_i) for i >= m, 0 < m < h."""
    d, h = plan.widths, len(plan.widths) - 1
    prefix, suffix = {1: plan.layer(1)}, {h - 1: plan.layer(h)}
    for i in range(2, m + 1):
        prefix[i] = plan.multiply(NN, plan.layer(i), prefix[i - 1], d[i], d[0], d[i - 1])
    for i in range(h - 2, m - 1, -1):
        suffix[i] = plan.multiply(NN, suffix[i + 1], plan.layer(i + 1), d[h], d[i], d[i + 1])
    return prefix, suffix


def _residual(plan: _Plan, a: Operand, b: Operand, inner: int, cross: Operand, gram: Operand | None) -> Operand:
    """S - A B or S - A B G, A: d_h x inner, B: inner x d_0."""
    d0, dh = plan.widths[0], plan.widths[-1]
    if gram is None:
        return plan.multiply(NN, a, b, dh, d0, inner, minus_from=cross)
    if inner < dh:
        right = plan.multiply(NN, b, gram, inner, d0, d0)
        return plan.multiply(NN, a, right, dh, d0, inner, minus_from=cross)
    whole = plan.multiply(NN, a, b, dh, d0, inner)
    return plan.multiply(NN, whole, gram, dh, d0, d0, minus_from=cross)


def _meet(plan: _Plan, m: int, cross: Operand, gram: Operand | None, outputs: _Outputs | None) -> Known:
    """The right-hand side with the residual formed where prefixes and suffixes meet, at layer m."""
    d, h = plan.widths, len(plan.widths) - 1
    prefix, suffix = _chains(plan, m)
    if outputs is None:
        residual = _residual(plan, suffix[m], prefix[m], d[m], cross, gram)
    else:
        residual = outputs.residual(plan, suffix[m], prefix[m], d[m])
    # upward: right = R W_{<i}'
    right = plan.multiply(NT, residual, prefix[m], d[h], d[m], d[0], plan.slope(h) if m + 1 == h else None)
    for i in range(m + 1, h):
        plan.multiply(TN, suffix[i], right, d[i], d[i - 1], d[h], plan.slope(i))
        right = plan.multiply(NT, right, plan.layer(i), d[h], d[i], d[i - 1], plan.slope(h) if i + 1 == h else None)
    # downward: left = W_{>i}' R
    left = plan.multiply(TN, suffix[m], residual, d[m], d[0], d[h], plan.slope(1) if m == 1 else None)
    for i in range(m, 1, -1):
        plan.multiply(NT, left, prefix[i - 1], d[i], d[i - 1], d[0], plan.slope(i))
        left = plan.multiply(TN, plan.layer(i), left, d[i - 1], d[0], d[i], plan.slope(1) if i == 2 else None)
    return Known(cross, residual, None, suffix)


def _narrow(plan: _Plan, k: int, cross: Operand, gram: Operand | None) -> Known:
    """The right-hand side propagated outward from the narrow layer k."""
    d, h = plan.widths, len(plan.widths) - 1
    low, up = {k - 1: plan.layer(k)}, {k + 1: plan.layer(k + 1)}
    for i in range(k - 1, 0, -1):  # low[i] = W_k...W_{i+1}, d_k x d_i
        low[i - 1] = plan.multiply(NN, low[i], plan.layer(i), d[k], d[i - 1], d[i])
    for i in range(k + 2, h + 1):  # up[i] = W_i...W_{k+1}, d_i x d_k
        up[i] = plan.multiply(NN, plan.layer(i), up[i - 1], d[i], d[k], d[i - 1])
    lower, upper = low[0], up[h]
    weighed = lower if gram is None else plan.multiply(NN, lower, gram, d[k], d[0], d[0])
    square = plan.multiply(NT, weighed, lower, d[k], d[k], d[0])
    t1 = plan.multiply(NT, cross, lower, d[h], d[k], d[0])
    t1 = plan.multiply(NN, upper, square, d[h], d[k], d[k], plan.slope(h) if h == k + 1 else t1, t1)
    square = plan.multiply(TN, upper, upper, d[k], d[k], d[h])
    t2 = plan.multiply(TN, upper, cross, d[k], d[0], d[h])
    t2 = plan.multiply(NN, square, weighed, d[k], d[0], d[k], plan.slope(1) if k == 1 else t2, t2)
    left = t1  # W_{>i}' T1, d_i x d_k
    for i in range(h, k + 1, -1):
        plan.multiply(NT, left, up[i - 1], d[i], d[i - 1], d[k], plan.slope(i))
        left = plan.multiply(TN, plan.layer(i), left, d[i - 1], d[k], d[i], plan.slope(i - 1) if i == k + 2 else None)
    right = t2  # T2 W_{<i}', d_k x d_{i-1}
    for i in range(1, k):
        plan.multiply(TN, low[i], right, d[i], d[i - 1], d[k], plan.slope(i))
        right = plan.multiply(NT, right, plan.layer(i), d[k], d[i], d[i - 1], plan.slope(k) if i + 1 == k else None)
    return Known(cross, None, (upper, weighed, d[k]), {k: upper})


def orders(depth: int) -> list[tuple[str, int]]:
    """All orders of a network of so many layers."""
    return [(family, m) for family in ("meet", "narrow") for m in range(depth - 1, 0, -1)] or [("meet", 0)]


@functools.cache
def program(
    widths: tuple[int, ...],
    gram: bool = False,
    modes: int = 0,
    unit: int = 1,
    order: tuple[str, int] | None = None,
    map: str | None = None,
    samples: int = 0,
) -> Program:
    """Plan the products of a network.

    Parameters
    ----------
    widths : d_0..d_h
    gram : whether the loss has an input Gram matrix
    modes : how many modes there are, if their strengths are wanted
    unit : every matrix begins at, and is padded to, a multiple of so many entries
    order : force an order; by default the one of fewest flops
    map : the map of a loss that is not quadratic
    samples : of how many samples it takes the outputs; 0 where it takes the product
    """
    d, h = widths, len(widths) - 1
    # one layer has no product to subtract: dW/dt = S - W G, with G the identity if need be
    gram = gram or (h == 1 and map is None)
    head = _Plan(widths, unit, 0)
    constants: dict[str, tuple[int, int, int]] = {}

    def constant(name: str, rows: int, columns: int) -> Operand:
        at = head.new(rows, columns)
        constants[name] = (at.offset, rows, columns)
        return at

    outputs = None
    if map is None:
        cross = constant("cross", d[h], d[0])
    else:
        columns = -(-samples // unit) * unit if samples else d[0]
        cross = constant("mapped", d[h], columns)
        inputs = constant("inputs", d[0], columns) if samples else None
        outputs = _Outputs(cross, constant("parameter", 1, 1), inputs, columns)
    gram_at = constant("gram", d[0], d[0]) if gram else None
    root = constant("root", d[0], d[0]) if gram else None
    target = constant("whitened", d[h], d[0]) if gram else cross
    left = constant("left", d[h], modes) if modes else cross
    right = constant("right", d[0], modes) if modes else cross
    whole = constant("whole", d[h], modes) if modes else cross
    n_constants = head.top

    def build(choice: tuple[str, int]) -> tuple[_Plan, Known]:
        plan = _Plan(widths, unit, n_constants)
        if h == 1 and outputs is not None:
            slope = plan.slope(1)
            if outputs.inputs is None:
                return plan, Known(cross, outputs.map(plan, plan.layer(1), slope), None, {})
            error = outputs.map(plan, outputs.of(plan, plan.layer(1)))
            return plan, Known(cross, outputs.back(plan, error, slope), None, {})
        if h == 1:
            assert gram_at is not None
            plan.multiply(NN, plan.layer(1), gram_at, d[1], d[0], d[0], plan.slope(1), cross)
            return plan, Known(cross, None, None, {})
        if choice[0] == "meet":
            return plan, _meet(plan, choice[1], cross, gram_at, outputs)
        return plan, _narrow(plan, choice[1], cross, gram_at)

    if order is None:
        possible = [choice for choice in orders(h) if outputs is None or choice[0] == "meet"]
        order = min(possible, key=lambda choice: build(choice)[0].flops)  # the first of equals
    rhs, known = build(order)
    residual = known.residual

    # sums run over the padding, which must stay zero: where there is any, matrices of other shapes lie elsewhere
    behind = n_constants if unit == 1 else rhs.top

    def look(m: int) -> tuple[_Plan, Operand]:
        plan = _Plan(widths, unit, behind)
        if h == 1:
            return plan, plan.layer(1)
        prefix, suffix = _chains(plan, m)
        return plan, plan.multiply(NN, suffix[m], prefix[m], d[h], d[0], d[m])

    observe, product = min((look(m) for m in range(1, max(h, 2))), key=lambda pair: pair[0].flops)
    compared = product
    if outputs is not None:
        compared = outputs.map(observe, outputs.of(observe, product), sums=True)
    if root is not None:
        compared = observe.multiply(NN, product, root, d[h], d[0], d[0])
    # behind all others, whose padding stays zero
    follow = _Plan(widths, unit, max(rhs.top, observe.top))
    projected = follow.new(d[h], modes)
    column = image = follow.new(d[0], 1)
    project, watch = _Plan(widths, unit, n_constants), _Plan(widths, unit, n_constants)
    if modes:
        project.multiply(NN, product, right, d[h], modes, d[0], projected)
        if residual is not None and not gram:
            watch.multiply(NN, residual, right, d[h], modes, d[0], projected, whole)
        else:
            watch.products += observe.products + project.products
        for i in range(1, h + 1):
            image = follow.multiply(NN, follow.layer(i), image, d[i], 1, d[i - 1])
    return Program(
        order=order,
        flops=rhs.flops,
        layers=rhs.layers,
        rhs=tuple(rhs.products),
        observe=tuple(observe.products),
        project=_only_products(project),
        watch=_only_products(watch),
        follow=_only_products(follow),
        known=known,
        product=product,
        compared=compared,
        target=target.offset,
        left=left.offset,
        right=right.offset,
        projected=projected.offset,
        column=column.offset,
        image=image.offset,
        constants=constants,
        n_constants=n_constants,
        n_scratch=follow.top,
        map=map,
    )


def _only_products(plan: _Plan) -> tuple[Product, ...]:
    return tuple(p for p in plan.products if isinstance(p, Product))
