"""What the loop and its routines are told, and tell each other, as one record.

One record is one argument, whatever it holds; so they compile fast.  Its fields are grouped by concern, and every group
says who writes it, all of it at once (`write`): nothing is left unsaid, and nothing is said that no one reads.

Addresses are those of arrays in Python's hands, which keep them alive (`arena`, `chunk`).  What is counted in *entries*
takes `entry` bytes, one number in every lane; what is counted in *numbers* takes `item` bytes, or eight where a comment
says f64 or int.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdln.kernels.lockstep.control import PARAMETERS
from fastdln.kernels.lockstep.vectors import KERNELS
from fastdln.kernels.machine.memory import record


class Group:
    """Some fields of the workspace with one writer; those named in ``reals`` are f64, all others int."""

    def __init__(self, *integers: str, reals: tuple[str, ...] = ()) -> None:
        self.integers, self.reals = integers, reals
        self.names = (*integers, *reals)  # in this order, of eight bytes each

    @property
    def dtype(self) -> np.dtype[Any]:
        """The fields as those of a record."""
        return np.dtype([(name, np.int64) for name in self.integers] + [(name, np.float64) for name in self.reals])


# ---- written by the arena, for good: what lies in its memory.  The kernels exchange places of states among each other.
AT = Group(
    "state",  # weights at the beginning of the step
    "next",  # and at its end
    "stage",  # two places for stages in turn
    "output",  # the second one; after the step the state that is recorded
    "within",  # end of a step within the step, or the derivative of continuous output
    "probe",  # slope for recorded gradients
    "correction",  # of a modified flow: the Hessian times a slope
    "scratch",  # of the products; constants of the loss come first
    "step",  # one entry each: the signed step, where output is wanted, which lanes
    "theta",
    "mask",
    "tolerance",  # two entries: rtol, atol
    "factors",  # of stages and errors: weights times the step
    "output_factors",
    "sums",  # of whoever asks last: an entry for each layer and estimate, or for each observable
    "strengths",  # that are recorded
    "thresholds",  # at which modes are learned; infinite for those that are not waited for
    "seen",  # strengths in the passes of the search
    "dense",  # polynomials of the continuous output, and of the other one that is tried, for each lane
    "other_dense",
    # stabilized methods only
    "previous",  # state and slope at the beginning of the step before
    "previous_slope",
    "keep_a",  # two stages that are kept
    "keep_b",
    "power",  # vector of the power iteration, and a general one to begin with
    "general",
    "distance",  # of a power iteration, one entry
    # descents only
    "velocity",
    "rates",  # numbers of the update, and factors of the gradient in the layers, one entry each: see `updates`
)

# ---- written by the recipe: the layers, and the products as programs
LAYER = Group(
    "first",  # table (h+1,) int: entries before each layer in a padded state
    "sizes",  # table (h,) int: numbers of each layer
    "entries",  # the same in f64
)
PRODUCTS = Group(
    "bases",  # table int: addresses of state, derivative, scratch, buffer, and of what is closed in between
    "rhs",  # programs, and their rows
    "rhs_rows",
    "observe",
    "observe_rows",
    "watch",
    "watch_rows",
    "follow",
    "follow_rows",
    "growth",
    "growth_rows",
    "constants",  # numbers at the beginning of scratch, other ones for each target
    "in_rows",  # d_0, d_h
    "out_rows",
    "product_base",  # where the product W lies: number of a base, entries
    "product",
    "compared_base",  # what is compared with the target: W, or W times the root of the Gram matrix
    "compared",
    "target",  # entries of scratch
    "target_size",  # padded
    "left",
    "right",
    "projected",
    "column",  # one mode of the target, and its image
    "image",
    "rates",  # table (h, 2): learning rate and weight decay of each layer, and whether they are not 1 and 0
    "has_rates",
    "closes",  # whether the second stage of a pair is closed within the products
    # of a modified flow: bases and program of the Hessian times a slope, or no rows, and what is made of both
    "correction_bases",
    "correction",
    "correction_rows",
    "correction_factors",  # table (h, 2): those of the slope, and minus those of that product
)
GROWTH = Group(
    "every",  # attempts between looks, or 1 where hidden growth does not limit steps
    "first_rounds",  # of power iterations, at a start
    "norms",  # table of the norms, and how many
    "n_norms",
    "general",  # numbers of general vectors for all norms
    "vectors",  # entries of scratch where the vectors lie, and how many
    "n_vectors",
    "residual",  # entry of scratch
    "excess",  # by what the excess loss is known that bounds the growth: 0, BY_RESIDUAL, BY_LOSS
    reals=("excess_scale",),  # of the excess loss, to compare it with the square of the residual
)
RECORDS = Group(
    "distance",  # numbers of a record before the observable, or -1 where it is not wanted
    "gradient",
    "length",
    "strengths",
    "product",
    "weights",
    "product_size",
    "columns",  # numbers of a record
    "n_times",
    "times",  # (n_times,) f64, increasing, from the start of the span
    reals=("fade",),  # the weight decay, where weights are left out that only decay, and else 0: see `way`
)
LIMITS = Group("stop_on_loss", "stop_on_gradient", "history")

# ---- written by the method
METHOD = Group(
    "stages",  # of a step, the slope at its end included
    "slopes_per_step",  # what an attempt takes, where all take the same; else 0, and the method counts
    "order",  # of the error estimate
    "together",  # whether lanes begin together, when all are empty
    "slopes",  # table of the addresses of the slopes
    "schedule",  # rows (KIND, TERM_COUNT, INDEX, WEIGHT), and what they point into
    "index",
    "weights",
    "n_weights",
    "joins",  # whether errors and continuous output are sums over the same slopes
    "estimates",  # error estimates: 1 or 2
    "error_terms",  # slopes that take part in them
    "error_index",
    "error_weight",  # number of the first weight of theirs
    "sequence",  # table 0, 1, ...
    "scale",  # table of addresses that an error is scaled by: y, z, tolerances
    "defect",  # table of addresses of what a defect is made of
    "shown",  # layer at which stiffness is looked for
    "failure",  # status of a trajectory whose last attempt failed
)
OUTPUT = Group(
    "extra",  # further stages that continuous output needs
    "terms",  # that its polynomials multiply, and a table of their addresses
    "table",
    "degree",
    "slant",  # weights of its derivative where it is checked
    "other_terms",  # all of the other one that is tried
    "other_slant",
    "checked",  # whether it is checked
    reals=("check_theta", "check_most", "other_theta", "other_most"),  # where, and the largest norm of its defect
)
CHEBYSHEV = Group(
    "fourth",  # whether steps of ROCK4 are taken
    "longest",  # number of its highest degree
    "rock",  # tables of f64
    "recurrence",
    "rkc",
    "mix",  # table of addresses of what is combined
    "one",  # the number 1
    reals=("second_growth_cap",),  # growth_cap for RKC2, relative to the other one
)

# ---- written by the arena and, but for its method, by the problem
DESCENT = Group(
    "bases",  # table int of an update: see `fastdln.kernels.products.tiles`
    "program",  # of an update, and its rows
    "rows",
    "fused",  # whether that writes states instead of slopes
    "known",  # whether slopes are there from the look at the states, which a stop condition takes
    "kind",  # of updates, see `fastdln.kernels.products.update`
    "layer_rates",  # table (h,) f64
    "factors",  # table f64 of the schedule, and how many
    "n_factors",
    "after",  # what follows them
    "first",  # updates done before
    "samples",  # of a batch, or 0, and of the data
    "all_samples",
    "data",  # (all samples, d_0 + d_h): inputs and labels
    "zeros",  # as many numbers as a sample has
    "orders",  # table (lanes, all samples) int
    "scratch",  # of the program, and where it expects inputs, labels and the parameter: in entries
    "inputs",
    "labels",
    "parameter",
    "columns",  # of inputs and labels, with the padding
    "key_0",
    "key_1",
    "look_ahead",  # addresses of the vector kernels
    "add_gradient",
    "doubt",
    "exceed",
    "end_update",
    "put_column",
)
COURSE = Group(  # written by the chunk
    "rate",  # (n,) f64: what trajectories have of their own
    "momentum",
    "decay",
    "bound",
    "stream",  # (n,) int: their numbers in the draws of batches
    "velocity",  # (n, parameters) at the start, and at the end
    "last_velocity",
)

# ---- written by the search for learning times, in part by the arena
LEARNING = Group(
    "ends",  # table of addresses of the strengths at the ends of steps, the latest first
    "wanted",  # for each lane how many modes the next pass is for, and which
    "tables",  # of f64, one for each lane
    "passes",  # in this step, in the lanes that it is for at present
    reals=("timing",),  # how well strengths meet their thresholds at learning times, relative to them
)

# ---- written by the chunk: the trajectories, and where results go
BATCH = Group(
    "n",  # trajectories in the queue
    "queue",  # (n,) int: their numbers
    "start",  # (n, parameters)
    "constants",  # (targets, constants)
    "goals",  # (targets, modes): thresholds of the strengths
    "least",  # (targets,) f64: twice the least loss, above its floor
    "target_row",  # (n,) int: which of the targets
    "atol",  # (n,) f64
    "records",  # (n, n_times, columns)
    "final",  # (n, parameters)
    "reached",  # (n,) f64
    "status",  # (n,) int
    "counts",  # (n, 3) int
    "learned",  # (n, modes) f64
    "length",  # (n,) f64, where it is recorded: of the way before the start, then of that up to the end
    "still",  # (n,) f64: norm of the weights left out, likewise
    "certified",  # (n,) int: whether the trajectory ended by a certificate
    "history",  # (n, most_steps) f64, or nothing
    "most_steps",
    "saved",  # (n, CONTROL_ROWS + 1) f64: control of those that another method goes on with, and their next record
    "resumed",  # whether they are gone on with here
)

# ---- written by the routines, for each other
TOLD = Group(
    "renew",  # whether the slope at the end of this step is followed by a look at hidden growth
    "rejected",  # bits of lanes, in this order: see `control.end_step`
    "due",
    "finished",
    "within",  # `control.output_theta`: lanes with output within the step
    "near",  # `control.passed`: lanes with a strength near its threshold
    "ready",  # whether the state in the place of outputs is that of the first times due
    "passed",  # lanes where a mode may have passed its threshold
    "learned",  # how many modes were found to have been learned
    "rests",  # whether the state that is recorded holds up to the time reached
    "left",  # lanes with more to record in this step
    "rock",  # which methods take the step, in some lane
    "rkc",
    "stiff",  # lanes that another method is to go on with
    "settled",  # whether a certificate ends the trajectory that was checked
    "beyond",  # lanes with an entry beyond its bound
    "broken",  # whether padding is not zero any more
    reals=("tighter",),  # what a check of the certified finish scales the tolerance by
)

# ---- written by the arena: addresses of code
ROUTINES = Group(
    "execute_rhs",  # what executes the programs: the interpreter, or straight-line code
    "execute_observe",
    "value",  # 2 (L - floor) from what that leaves: the square distance from the target, or the result of a map
    "execute_growth",
    "execute_correction",
    "execute_update",
    "all_stages",  # straight-line code of all stages, or 0
    # the method, see `loop`
    "begin",  # or 0
    "open",  # or 0
    "attempt",
    "weigh",  # or 0
    "dense",
    "within",  # or 0
    "stages",  # of stabilized methods, which `attempt` and `within` share, or 0
    "advance",
    "record",
    "search",  # for learning times, or 0
    "certify",  # the certified finish, or 0, and what it is told
    "certificate",
    "padding",  # the check of the padding, or 0
)

# ---- written by the arena; these fields and the vector kernels have no group, as they are met in every line
SHAPE = Group(
    "workspace",  # address of this record
    "arena",
    "ctl",  # control of the lanes, rows of f64: see `control`
    "control_rows",
    "trajectory",  # in each lane, or -1, and its next record
    "next_record",
    "lanes",
    "item",
    "entry",
    "entries",  # of a state, padded
    "layered",  # of them those of the layers, which come first
    "way",  # number of the entry that is the length of the way within the step, or -1: see `way`
    "layers",
    "modes",
    "parameters",  # numbers of a start
    "padded",  # table of addresses of states, and how many
    "n_padded",
    "gaps",  # table of entries of a state that are padding, and how many
    "n_gaps",
)

GROUPS = {
    "at": AT, "layer": LAYER, "products": PRODUCTS, "growth": GROWTH, "records": RECORDS, "limits": LIMITS,
    "method": METHOD, "output": OUTPUT, "chebyshev": CHEBYSHEV, "descent": DESCENT,
    "course": COURSE, "learning": LEARNING, "batch": BATCH, "told": TOLD,
    "routines": ROUTINES,
}  # fmt: skip
WORKSPACE = np.dtype(
    [(name, np.float64) for name in PARAMETERS]  # in one piece, as the vector kernels read them too
    + [(name, np.int64) for name in SHAPE.names]
    + [(name, group.dtype) for name, group in GROUPS.items()]
    + [(body.__name__, np.int64) for body in KERNELS]  # addresses of the vector kernels
)
workspace_at = record("workspace", WORKSPACE)

_SIZES = {"shape": len(SHAPE.names), **{name: len(group.names) for name, group in GROUPS.items()}}
_FIRST = dict(zip(_SIZES, accumulate(_SIZES.values(), initial=len(PARAMETERS)), strict=False))


def write(workspace: NDArray[Any], name: str, values: Mapping[str, float]) -> None:
    """Write all fields of a group of a workspace, an array of one record, at once."""
    group = SHAPE if name == "shape" else GROUPS[name]
    if unlike := set(group.names) ^ set(values):
        raise ValueError(f"these fields of the group {name!r} are not told, or not known: {', '.join(sorted(unlike))}")
    first, n = _FIRST[name], len(group.integers)
    workspace.view(np.int64)[first : first + n] = [values[field] for field in group.integers]
    if group.reals:
        last = first + n + len(group.reals)
        workspace.view(np.float64)[first + n : last] = [values[field] for field in group.reals]


# where kernels write in the group `TOLD`, in bytes
VERDICT, WITHIN_BITS, NEAR_BITS, BEYOND_BITS = (
    8 * TOLD.names.index(name) for name in ("rejected", "within", "near", "beyond")
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
NEXT, CANCEL, DONE, FAILURES, BROKEN = range(5)

# counts of a trajectory
COUNT_RHS, COUNT_ACCEPTED, COUNT_REJECTED = range(3)

HANDED_OVER = -1  # no status, as it is not over: another method goes on with the trajectory
