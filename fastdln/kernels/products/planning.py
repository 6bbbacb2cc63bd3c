"""Planning a program: products are collected, and scratch is laid out."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

from fastdln.kernels.products.rows import DERIVATIVE, NN, NT, SCRATCH, STATE, Map, Operand, Product


class Plan:
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


class Outputs(NamedTuple):
    """The constants of a loss that is not quadratic."""

    target: Operand
    parameter: Operand
    inputs: Operand | None  # X, or one row vec(A_k)' for each measurement
    samples: int  # with the padding
    measured: bool

    def of(self, plan: Plan, product: Operand) -> Operand:
        """Z of the product."""
        if self.inputs is None:
            return product
        if self.measured:  # the entries of a matrix follow each other: it is one row, too
            size = plan.widths[0] * plan.widths[-1]
            return plan.multiply(NT, product._replace(row=size), self.inputs, 1, self.samples, size)
        return plan.multiply(NN, product, self.inputs, plan.widths[-1], self.samples, plan.widths[0])

    def residual(self, plan: Plan, a: Operand, b: Operand, inner: int) -> Operand:
        """R at the product A B, A: d_h x inner, B: inner x d_0."""
        d_0, d_h, m = plan.widths[0], plan.widths[-1], self.samples
        if self.inputs is None:
            return self.map(plan, plan.multiply(NN, a, b, d_h, d_0, inner))
        if not self.measured and d_0 * inner + d_h * inner < (d_h * d_0 * inner) / m + d_h * d_0:
            right = plan.multiply(NN, b, self.inputs, inner, m, d_0)
            return self.back(plan, self.map(plan, plan.multiply(NN, a, right, d_h, m, inner)))
        return self.back(plan, self.map(plan, self.of(plan, plan.multiply(NN, a, b, d_h, d_0, inner))))

    def back(self, plan: Plan, error: Operand, into: Operand | None = None) -> Operand:
        """E X', or the sum over measurements of E_k A_k."""
        assert self.inputs is not None
        if self.measured:
            c = into or plan.new(plan.widths[-1], plan.widths[0])
            size = plan.widths[0] * plan.widths[-1]
            plan.multiply(NN, error, self.inputs, 1, size, self.samples, c._replace(row=size))
            return c
        return plan.multiply(NT, error, self.inputs, plan.widths[-1], plan.widths[0], self.samples, into)

    def map(self, plan: Plan, z: Operand, into: Operand | None = None, sums: bool = False) -> Operand:
        """E in the place of Z, or the value."""
        c, n = plan.new(1, 1) if sums else into or z, self.target.row
        m = 1 if self.measured else plan.widths[-1]
        entries = -(-m * n // plan.unit) * plan.unit
        plan.products.append(Map(sums, c, z, self.target, self.parameter, m, n, entries))
        return c
