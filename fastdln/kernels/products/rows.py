"""What a program is made of: products and maps of matrices, which are rows of what executes them.

Offsets are in entries, relative to one of a few bases.
"""

from __future__ import annotations

from typing import NamedTuple

NN, TN, NT = range(3)  # C = A B, A' B, A B'; every matrix is row-major
STATE, DERIVATIVE, SCRATCH = range(3)
DIRECTION = 4  # of a product with the Hessian beside a flow; behind the buffer of `gemm`
MASKED = "masked"  # the map whose parameter is a matrix, a weight for each entry
MEASURED = "measured"  # the map whose outputs are inner products of W with matrices: vec(W)', one row, times those
CUSTOM = "custom"  # the map that calls functions of others


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

    With ``along``, a change dZ of the outputs, both derivatives of the loss: -E to C, and -dE to ``image``.
    Z and C may be the same, dZ and ``image`` too.  ``entries`` counts those of a matrix with its padding.
    """

    sums: bool
    c: Operand  # E, -E, or one entry
    z: Operand
    y: Operand
    parameter: Operand
    m: int
    n: int
    entries: int
    along: Operand | None = None
    image: Operand | None = None


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
    strengths are the columns of U times those of W V, of which there are three programs: ``project`` after
    ``observe``, ``watch`` after ``rhs``, and ``follow`` for W v alone.
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
    def maps_into_slope(self) -> bool:
        """Whether a map, not a product, writes a slope."""
        return any(isinstance(p, Map) and p.c.base == DERIVATIVE for p in self.rhs)
