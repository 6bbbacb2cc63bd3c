"""Numbers that the tables of the stabilized methods and the kernels that read them agree on."""

from __future__ import annotations

REACH2 = 1.54  # s stages of RKC2 reach (s^2 - 1)/REACH2
LEAST2, MOST2 = 4, 1000

# columns of the tables of ROCK4 and RKC2
REACHED_BY, RECURRENCE, STAGE, WEIGHTS, ERRORS, ROCK_COLUMNS = 1, 2, 3, 9, 13, 18
W0, W1, NODE_A, NODE_B, PLACE_A, PLACE_B, THIRD, RKC_COLUMNS = 0, 1, 2, 3, 4, 5, 6, 10
