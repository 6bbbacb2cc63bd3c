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
the outputs, R = E(W), or with inputs R = E(W X) X', or with measurements R = sum_k E(<A_k, W>)_k A_k; prefixes and
suffixes then meet in it always.
"""

from __future__ import annotations

import functools

from fastdln.kernels.products.planning import Outputs, Plan
from fastdln.kernels.products.rows import MASKED, MEASURED, NN, NT, TN, Known, Operand, Product, Program


def _chains(plan: Plan, m: int) -> tuple[dict[int, Operand], dict[int, Operand]]:
    """Prefixes W_i...W_1 (d_i x d_0) for i <= m and suffixes W_h...W_{i+1} (d_h x d_i) for i >= m, 0 < m < h."""
    d, h = plan.widths, len(plan.widths) - 1
    prefix, suffix = {1: plan.layer(1)}, {h - 1: plan.layer(h)}
    for i in range(2, m + 1):
        prefix[i] = plan.multiply(NN, plan.layer(i), prefix[i - 1], d[i], d[0], d[i - 1])
    for i in range(h - 2, m - 1, -1):
        suffix[i] = plan.multiply(NN, suffix[i + 1], plan.layer(i + 1), d[h], d[i], d[i + 1])
    return prefix, suffix


def _residual(plan: Plan, a: Operand, b: Operand, inner: int, cross: Operand, gram: Operand | None) -> Operand:
    """S - A B or S - A B G, A: d_h x inner, B: inner x d_0."""
    d0, dh = plan.widths[0], plan.widths[-1]
    if gram is None:
        return plan.multiply(NN, a, b, dh, d0, inner, minus_from=cross)
    if inner < dh:
        right = plan.multiply(NN, b, gram, inner, d0, d0)
        return plan.multiply(NN, a, right, dh, d0, inner, minus_from=cross)
    whole = plan.multiply(NN, a, b, dh, d0, inner)
    return plan.multiply(NN, whole, gram, dh, d0, d0, minus_from=cross)


def _meet(plan: Plan, m: int, cross: Operand, gram: Operand | None, outputs: Outputs | None) -> Known:
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


def _narrow(plan: Plan, k: int, cross: Operand, gram: Operand | None) -> Known:
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


def orders(depth: int, map: str | None = None) -> list[tuple[str, int]]:
    """All orders of a network of that depth; with a map those that form the residual."""
    families = ("meet", "narrow") if map is None else ("meet",)
    return [(family, m) for family in families for m in range(depth - 1, 0, -1)] or [("meet", 0)]


@functools.cache
def program(
    widths: tuple[int, ...],
    gram: bool = False,
    modes: int = 0,
    unit: int = 1,
    order: tuple[str, int] | None = None,
    map: str | None = None,
    samples: int = 0,
    negated: bool = False,
) -> Program:
    """Plan the products of a network.

    Parameters
    ----------
    widths : d_0..d_h
    gram : whether the loss has an input Gram matrix
    modes : how many modes there are, if their strengths are wanted
    unit : every matrix begins at, and is padded to, a multiple of this many entries
    order : force an order; by default the one of fewest flops
    map : the map of a loss that is not quadratic
    samples : of how many samples, or by how many measurements, it takes the outputs; 0 where it takes the product
    negated : whether the cross matrix, where there is one, is wanted with the other sign too, as ``minus``
    """
    d, h = widths, len(widths) - 1
    # one layer has no product to subtract: dW/dt = S - W G, with G the identity if need be
    gram = gram or (h == 1 and map is None)
    head = Plan(widths, unit, 0)
    constants: dict[str, tuple[int, int, int]] = {}

    def constant(name: str, rows: int, columns: int) -> Operand:
        at = head.new(rows, columns)
        constants[name] = (at.offset, rows, columns)
        return at

    outputs = None
    if map is None:
        cross = constant("cross", d[h], d[0])
    else:
        measured = map == MEASURED
        # each row of outputs is padded by itself where there are several, and they are passed by columns
        columns = d[0] if not samples else samples if measured else -(-samples // unit) * unit
        cross = constant("mapped", 1 if measured else d[h], columns)
        inputs = None
        if samples:
            inputs = constant("inputs", samples, d[0] * d[h]) if measured else constant("inputs", d[0], columns)
        parameter = constant("parameter", d[h], d[0]) if map == MASKED else constant("parameter", 1, 1)
        outputs = Outputs(cross, parameter, inputs, columns, measured)
    if negated and map is None:
        constant("minus", d[h], d[0])
    gram_at = constant("gram", d[0], d[0]) if gram else None
    root = constant("root", d[0], d[0]) if gram else None
    target = constant("whitened", d[h], d[0]) if gram else cross
    left = constant("left", d[h], modes) if modes else cross
    right = constant("right", d[0], modes) if modes else cross
    whole = constant("whole", d[h], modes) if modes else cross
    n_constants = head.top

    def build(choice: tuple[str, int]) -> tuple[Plan, Known]:
        plan = Plan(widths, unit, n_constants)
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
        order = min(orders(h, map), key=lambda choice: build(choice)[0].flops)  # the first of equals
    rhs, known = build(order)
    residual = known.residual

    # sums run over the padding, which must stay zero: where there is any, matrices of other shapes lie elsewhere
    first = n_constants if unit == 1 else rhs.top

    def look(m: int) -> tuple[Plan, Operand]:
        plan = Plan(widths, unit, first)
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
    # after all others, whose padding stays zero
    follow = Plan(widths, unit, max(rhs.top, observe.top))
    projected = follow.new(d[h], modes)
    column = image = follow.new(d[0], 1)
    project, watch = Plan(widths, unit, n_constants), Plan(widths, unit, n_constants)
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


def _only_products(plan: Plan) -> tuple[Product, ...]:
    return tuple(p for p in plan.products if isinstance(p, Product))
