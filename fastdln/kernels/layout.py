"""What the integration loop is told, as arrays of integers: the names of their places, and nothing else.

Offsets of observables in a record are -1 where they are not wanted.
"""

from __future__ import annotations

# sizes: m[...]
(
    ENTRIES,  # of a state, padded
    STAGES,  # of the method, the slope at the end of the step included
    EXTRA,  # further stages that continuous output needs
    DEGREE,  # of the continuous output
    ESTIMATES,  # error estimates: 1 or 2
    ORDER,  # of the error estimate
    LAYERS,
    TARGET_SIZE,  # entries, padded
    CONSTANTS,
    MODES,
    OUT_ROWS,  # d_h
    RHS_ROWS,
    OBSERVE_ROWS,
    RESIDUAL,  # scratch offset of the residual behind the right-hand side, or -1
    PRODUCT_BASE,
    PRODUCT,
    COMPARED_BASE,
    COMPARED,
    TARGET,
    LEFT,
    PROJECTED,
    RECORD_LOSS,
    RECORD_GRADIENT,
    RECORD_STRENGTHS,
    RECORD_PRODUCT,
    PRODUCT_SIZE,
    RECORD_WEIGHTS,
    RATES,  # 1: learning rates or weight decay are not the plain ones
    LEARNING,  # 1: learning times are wanted
    STOP_ON_LOSS,
    STOP_ON_GRADIENT,
    CAPPED,  # how steps are limited: not, by the residual, by the loss where the residual is not formed
    HISTORY,
) = range(33)
SIZES = 33

# addresses: at[...]
(
    ARENA,
    STATE_AT,  # y
    NEXT_AT,  # z, the state at the end of the step
    STAGE_AT,  # two places for stages
    STAGE2_AT,
    PROBE_AT,  # slope for recorded gradients
    SCRATCH_AT,
    STEP_AT,  # small things of one or a few entries
    THETA_AT,
    MASK_AT,
    TOLERANCE_AT,
    FACTORS_AT,
    SUMS_AT,
    STRENGTHS_AT,
    THRESHOLDS_AT,
    CTL_AT,
    PAR_AT,
    SLOPES_AT,
    BASES_AT,
    FLAGS_AT,
    STATES_AT,
    RHS_AT,
    OBSERVE_AT,
    INDEX_AT,  # the method: indices and weights of stages, errors, continuous output
    WEIGHTS_AT,
    ERROR_INDEX_AT,
    ERROR_WEIGHTS_AT,
    DENSE_AT,
    SEQUENCE_AT,
    LAYER_SIZES_AT,
    RATES_AT,
) = range(31)
ADDRESSES = 31

BY_RESIDUAL, BY_LOSS = 1, 2

# of a row of the schedule
KIND, TERMS_, INDEX, WEIGHT = range(4)
SINGLE, OPENING, CLOSING = range(3)  # y + sum; the same and the known part of the next stage; its rest

# shared between the threads of one call
NEXT, CANCEL, DONE, FAILURES = range(4)

# counts of a trajectory
COUNT_RHS, COUNT_ACCEPTED, COUNT_REJECTED = range(3)

# status of a trajectory
FINISHED, STOPPED_EARLY, MAX_STEPS, NONFINITE, STEP_TOO_SMALL = range(5)
