"""What the integration loop is told, as one record: sizes, addresses, and a thread's small state.

One record is one argument, whatever it holds; so the loop compiles fast.  Offsets of observables in a record of a
trajectory are -1 where they are not wanted.
"""

from __future__ import annotations

import numpy as np

from fastdln.kernels.lockstep.control import PARAMETERS
from fastdln.kernels.lockstep.vectors import KERNELS

_LIMITS = (
    "second_growth_cap",  # growth_cap for RKC2, relative to the other one
    "excess_scale",  # of the excess loss, to compare it with the square of the residual
    "check_theta",  # where continuous output is checked, and above what norm of its defect it is wrong
    "check_most",
    "other_theta",  # and the other one that is tried
    "other_most",
    "timing",  # how well strengths meet their thresholds at learning times
)
_SIZES = (
    "lanes",
    "item",  # bytes of a number
    "entry",  # bytes of one number in every lane
    "entries",  # of a state, padded
    "stages",  # of the method, the slope at the end of the step included
    "extra",  # further stages that continuous output needs
    "degree",  # of the continuous output
    "output_terms",  # of the continuous output
    "other_terms",  # of the other one that is tried
    "checked",  # whether continuous output is checked
    "estimates",  # error estimates: 1 or 2
    "error_terms",  # slopes that take part in them
    "error_weight",  # number of the first weight of theirs
    "n_weights",  # of stages and errors
    "joins",  # whether errors and continuous output are sums over the same slopes
    "closes",  # whether the second stage of a pair is closed within the products
    "order",  # of the error estimate
    "layers",
    "target_size",  # entries, padded
    "constants",
    "modes",
    "in_rows",  # d_0
    "out_rows",  # d_h
    "rhs_rows",
    "observe_rows",
    "watch_rows",
    "follow_rows",
    "residual",  # scratch offset of the residual, after a look at hidden growth
    "product_base",
    "product",
    "compared_base",
    "compared",
    "target",
    "left",
    "right",
    "projected",
    "column",
    "image",
    "record_distance",  # columns of a trajectory's record
    "record_gradient",
    "record_strengths",
    "record_product",
    "product_size",
    "record_weights",
    "rates",  # 1: learning rates or weight decay are not the plain ones
    "stop_on_loss",
    "stop_on_gradient",
    "parameters",  # numbers of a start
    "n",  # trajectories
    "n_times",
    "columns",  # numbers of a record
    "most_steps",  # of a history
    "every",  # attempts between looks at hidden growth, or 1 where it does not limit steps
    "renew",  # whether the slope at the end of this step is followed by such a look
    "first_rounds",  # of its power iterations, at a start
    "growth_rows",
    "n_norms",
    "vectors",  # scratch offset of the vectors of the power iterations
    "n_vectors",
    "excess",  # by what the excess loss is known that bounds hidden growth: 0, BY_RESIDUAL, BY_LOSS
    "history",
    "fourth",  # stabilized methods: whether steps of ROCK4 are taken
    "shown",  # and the layer at which stiffness is looked for before they take over
    "resumed",  # and whether trajectories come from another loop
    "longest",  # and number of its highest degree
    "passes",  # of the search for learning times in this step, in the lanes that it is for at present
    "certify",  # address of the check of the certified finish, or 0
    "search",  # address of the search for learning times, or 0
    "execute_rhs",  # addresses of what executes the programs: the interpreter, or straight-line code
    "execute_observe",
    "execute_growth",
    "all_stages",  # straight-line code of all stages, or 0
)
ADDRESSES = (
    "workspace_at",  # this record itself
    "arena_at",
    "state_at",  # y
    "next_at",  # z, the state at the end of the step
    "stage_at",  # two places for stages
    "stage2_at",  # the second one holds continuous output after the step
    "within_at",  # end of a step within the step
    "probe_at",  # slope for recorded gradients
    "scratch_at",
    "previous_at",  # stabilized methods: state and slope at the beginning of the step before
    "previous_slope_at",
    "keep_a_at",  # two stages that are kept
    "keep_b_at",
    "power_at",  # vector of the power iteration, and a general one to begin with
    "general_at",
    "step_at",  # small things of one or a few entries
    "theta_at",
    "mask_at",
    "tolerance_at",
    "factors_at",  # the weights times the step
    "output_factors_at",
    "sums_at",
    "strengths_at",  # that are recorded
    "thresholds_at",
    "seen_at",  # strengths in the passes of the search
    "ends_at",  # table of addresses of the strengths at the ends of steps, in turn
    "wanted_at",  # modes that the next pass is for: for each lane how many, and which
    "search_at",  # tables of the search, one for each lane
    "ctl_at",
    "par_at",
    "bases_at",  # table of addresses: state, derivative, scratch, buffer
    "flags_at",
    "states_at",  # table of addresses: y, z, tolerances
    "traj_at",  # trajectory in each lane, or -1
    "output_at",  # its next record
    "slopes_at",  # table of the addresses of the slopes
    "rhs_at",
    "observe_at",
    "watch_at",
    "follow_at",
    "growth_at",
    "norms_at",  # table of the norms of hidden growth
    "general_vectors_at",  # numbers of general vectors for all of them
    "schedule_at",  # the method: rows (kind, terms, first index, first weight), and what they point into
    "index_at",
    "weights_at",
    "error_index_at",
    "dense_at",  # polynomials of the continuous output, per lane, and the table of addresses of what they multiply
    "output_table_at",
    "slant_at",  # weights of the slopes in the derivative of continuous output where it is checked
    "other_dense_at",  # both of the other one that is tried
    "other_slant_at",
    "sequence_at",
    "defect_at",  # table of addresses of what the defect of continuous output is made of
    "rock_at",  # tables of the stabilized methods, and the table of addresses of what they combine
    "recurrence_at",
    "rkc_at",
    "mix_at",
    "unit_at",  # the number 1
    "layers_at",  # offsets of the layers in a padded state
    "sizes_at",  # entries of the layers
    "layer_sizes_at",  # the same in f64
    "rates_at",
    "start_at",  # what is to be integrated: (n, parameters)
    "constants_at",  # (targets, constants)
    "goals_at",  # (targets, modes) thresholds of the strengths
    "least_at",  # (targets,) twice the least loss, above its floor
    "target_row_at",  # (n,) which of the targets
    "atol_at",  # (n,)
    "times_at",  # (n_times,) increasing, from the start of the span
    "records_at",  # results: (n, n_times, columns)
    "final_at",  # (n, parameters)
    "reached_at",  # (n,)
    "status_at",  # (n,)
    "counts_at",  # (n, 3)
    "learned_at",  # (n, modes)
    "queue_at",  # (n,) the trajectories, for the stabilized methods
    "saved_at",  # (n, SAVED) control of those that go on with them
    "history_at",  # (n, most_steps) or nothing
    "certified_at",  # (n,) whether the trajectory ended by a certificate
    "certificate_at",  # what its check is told
)
WORKSPACE = np.dtype(
    [(name, np.float64) for name in PARAMETERS]  # in one piece, as the vector kernels read them too
    + [(name, np.float64) for name in _LIMITS]
    + [(name, np.int64) for name in _SIZES + ADDRESSES]
    + [(body.__name__, np.int64) for body in KERNELS]  # addresses of the vector kernels
)

BY_RESIDUAL, BY_LOSS = 1, 2

# columns of a row of the schedule
KIND, TERM_COUNT, INDEX, WEIGHT = range(4)
SINGLE, OPENING, CLOSING = range(3)  # y + sum; the same and the known part of the next stage; its rest

# what the search for learning times is asked: see `fastdln.kernels.lockstep.learning.search`
BEGIN, AWAIT, PREPARE, SEE = range(4)

# methods of a stabilized step
ROCK, RKC = range(2)

# shared between the threads of one call
NEXT, CANCEL, DONE, FAILURES = range(4)

# counts of a trajectory
COUNT_RHS, COUNT_ACCEPTED, COUNT_REJECTED = range(3)

# status of a trajectory
FINISHED, STOPPED_EARLY, MAX_STEPS, NONFINITE, STEP_TOO_SMALL = range(5)
STIFF = 5  # not over: to be gone on with by a stabilized method
