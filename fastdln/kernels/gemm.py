"""Products of one network by BLAS: rows of integers, executed by calls of ``?gemm`` through its address.

The counterpart of `tiles` for states of one lane.  BLAS is column-major, so C = op(A) op(B) is asked for as
C' = op(B)' op(A)'.
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba.core import cgutils
from numba.extending import get_cython_function_address
from numpy.typing import DTypeLike, NDArray

from fastdln.kernels.emit import I8, I32, I64, VOID, Emit, const
from fastdln.kernels.program import NT, TN, Product

(M, N, K, SA, OA, LA, TA, SB, OB, LB, TB, SC, OC, SUB, SD, OD) = range(16)  # T*: whether BLAS transposes
COLUMNS = 16
GEMM_BASE = 3  # the table of bases holds the address of gemm behind state, derivative and scratch


def gemm_address(dtype: DTypeLike) -> int:
    """Address of SciPy's own dgemm or sgemm."""
    return get_cython_function_address(
        "scipy.linalg.cython_blas", "dgemm" if np.dtype(dtype) == np.float64 else "sgemm"
    )


def encode(products: tuple[Product, ...], entry_bytes: int) -> NDArray[np.int64]:
    """The rows that `interpret` executes."""
    rows = []
    for p in products:
        d = p.d or p.c
        if p.c.row != p.n or d.row != p.n:
            raise AssertionError(f"products are written to contiguous matrices, not {p}")
        row = [0] * COLUMNS
        row[M], row[N], row[K] = p.m, p.n, p.k
        row[SA], row[OA], row[LA], row[TA] = p.a.base, p.a.offset * entry_bytes, p.a.row, p.form == TN
        row[SB], row[OB], row[LB], row[TB] = p.b.base, p.b.offset * entry_bytes, p.b.row, p.form == NT
        row[SC], row[OC], row[SUB] = p.c.base, p.c.offset * entry_bytes, p.d is not None
        row[SD], row[OD] = d.base, d.offset * entry_bytes
        rows.append(row)
    return np.array(rows, np.int64).reshape(-1, COLUMNS)


def interpret(e: Emit, bases: ir.Value, rows: ir.Value, count: ir.Value) -> None:
    """Execute ``count`` rows; ``bases`` holds the addresses of state, derivative, scratch and gemm."""
    b = e.b
    table = e.pointer(bases)
    gemm = e.load_int(table, GEMM_BASE)
    n_, m_, k_, lda, ldb = (cgutils.alloca_once(b, I32) for _ in range(5))
    op_a, op_b = cgutils.alloca_once(b, I8), cgutils.alloca_once(b, I8)
    alpha, beta = cgutils.alloca_once(b, e.element), cgutils.alloca_once(b, e.element)
    plain, transposed = ir.Constant(I8, ord("N")), ir.Constant(I8, ord("T"))
    one, zero = ir.Constant(e.element, 1.0), ir.Constant(e.element, 0.0)
    with e.each(count) as index:
        row = e.pointer(b.add(rows, b.mul(index, const(8 * COLUMNS))))
        field = [e.load_int(row, i) for i in range(COLUMNS)]

        def start(base: int, offset: int) -> ir.Value:
            at = b.load(e.at(table, b.shl(field[base], const(3))), align=8, typ=I64)
            return e.pointer(b.add(at, field[offset]))

        a_at, b_at, c_at, d_at = start(SA, OA), start(SB, OB), start(SC, OC), start(SD, OD)
        for slot, number in ((n_, N), (m_, M), (k_, K), (lda, LA), (ldb, LB)):
            b.store(b.trunc(field[number], I32), slot)
        for slot, number in ((op_a, TA), (op_b, TB)):
            b.store(b.select(b.icmp_signed("!=", field[number], const(0)), transposed, plain), slot)
        subtract = b.icmp_signed("!=", field[SUB], const(0))
        b.store(b.select(subtract, ir.Constant(e.element, -1.0), one), alpha)
        b.store(b.select(subtract, one, zero), beta)
        with b.if_then(b.and_(subtract, b.icmp_unsigned("!=", c_at, d_at))):
            size = b.mul(b.mul(field[M], field[N]), const(e.entry_bytes))
            cgutils.raw_memcpy(b, c_at, d_at, size, 1)
        arguments = [op_b, op_a, n_, m_, k_, alpha, b_at, ldb, a_at, lda, beta, c_at, n_]
        kind = ir.FunctionType(VOID, [x.type for x in arguments])
        b.call(b.inttoptr(gemm, kind.as_pointer()), arguments)
