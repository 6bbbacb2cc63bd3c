"""What the files of this folder share: the rows of control that stabilized methods have beside those of `control`, and
the table of all that they combine."""

from __future__ import annotations

from fastdln.kernels.lockstep.control import CONTROL_ROWS
from fastdln.kernels.lockstep.places import slope_at
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import poke

(
    KIND,  # ROCK or RKC: the method of the step
    STAGES,  # of it; the slope at the end of the step is the last one
    DEGREE,  # number of stages of the recurrence
    ROW,  # row of the tables
    RADIUS,  # spectral radius, on the safe side
    ESTIMATE,  # the last estimate of it, and the one before
    ESTIMATE_BEFORE,
    VECTOR_NORM,  # of the vector of the power iteration
    WAIT,  # accepted steps between estimates
    SINCE,  # accepted steps since the last one
    AT_LIMIT,  # consecutive steps as long as ROCK4 may take
    PATIENCE,  # how many of them until RKC2 is tried
    TRIALS,  # steps tried with RKC2 since
    KEPT_STEP,  # step of ROCK4 before
    EARLIER,  # length of the accepted step before this one, or 0
    ERROR,  # error norm of the step
    MOVED,  # how far it leads, in the error norm
    T1, T2, D1, D2, E1, E2,  # Chebyshev polynomials j - 1 and j - 2 with their derivatives, for RKC2
    B1, B2, A1,  # b and a of the stages j - 1 and j - 2
    WHOLE,  # the step itself, in a step within it
) = range(CONTROL_ROWS, CONTROL_ROWS + 27)  # fmt: skip
ROWS = CONTROL_ROWS + 27

# the table of addresses, in an order in which what is combined together is consecutive
K1, G1, G2, Y, F, BEFORE, F_BEFORE, F_END, END, KEEP_A, KEEP_B, Y_AGAIN, VECTOR = range(13)

OUTPUT_TERMS, OUTPUT_DEGREE = KEEP_B - Y + 1, 5
SLOPES_KEPT = 6  # at the beginning, of the stages (four of ROCK4), at the end


@part
def tabulate(w):
    """Write where the states and slopes of this step are."""
    poke(w.chebyshev.mix, K1, slope_at(w, 1))
    poke(w.chebyshev.mix, Y, w.at.state)
    poke(w.chebyshev.mix, F, slope_at(w, 0))
    poke(w.chebyshev.mix, BEFORE, w.at.previous)
    poke(w.chebyshev.mix, F_BEFORE, w.at.previous_slope)
    poke(w.chebyshev.mix, F_END, slope_at(w, 5))
    poke(w.chebyshev.mix, END, w.at.next)
    poke(w.chebyshev.mix, KEEP_A, w.at.keep_a)
    poke(w.chebyshev.mix, KEEP_B, w.at.keep_b)
    poke(w.chebyshev.mix, Y_AGAIN, w.at.state)
    poke(w.chebyshev.mix, VECTOR, w.at.power)


@part
def mixed(w, out, start, first, terms):
    """out = start + sum of the factors times ``terms`` of the table from number ``first`` on."""
    invoke(w.combine, out, start, w.chebyshev.mix, w.method.sequence + 8 * first, w.at.factors, terms, w.entries)
