"""Batches of samples: which ones an update is for, and their columns in scratch, lane by lane.

In every epoch the samples of a trajectory are shuffled anew (Fisher and Yates), by draws that depend on the key, the
trajectory's number and the epoch alone: so the batch of an update can be told from its number.
"""

from __future__ import annotations

import numpy as np

from fastdln.integrate import draws
from fastdln.kernels.lockstep.control import ACTIVE, REACHED
from fastdln.kernels.lockstep.learning import write
from fastdln.kernels.machine.compile import kernel, part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import peek, poke

philox, below = part(draws.philox), part(draws.below)


@part
def shuffle(order, n, stream, epoch, key_0, key_1):
    """The order of n samples in an epoch of a trajectory, into a table."""
    for i in range(n):
        poke(order, i, i)
    block, used = 0, 4
    a = b = c = d = 0
    i = n - 1
    while i > 0:
        if used == 4:
            a, b, c, d = philox(
                block & draws.WORD, epoch & draws.WORD, stream & draws.WORD, stream >> 32, key_0, key_1
            )  # fmt: skip
            block, used = block + 1, 0
        word = a if used == 0 else b if used == 1 else c if used == 2 else d
        used += 1
        j = below(word, i + 1)
        if j < 0:
            continue
        other = peek(order, j)
        poke(order, j, peek(order, i))
        poke(order, i, other)
        i -= 1


@kernel
def shuffle_alone(order, n, stream, epoch, key_0, key_1):
    """The same for an engine that draws batches itself."""
    shuffle(order, n, stream, epoch, key_0, key_1)


@part
def draw(w, ctl, epoch_row):
    """The batches of all lanes for their next update, where the program expects inputs and labels."""
    descent, n = w.descent, w.descent.all_samples
    in_rows, out_rows = w.products.in_rows, w.products.out_rows
    size, across = (in_rows + out_rows) * w.item, descent.columns * w.entry
    for l in range(w.lanes):
        if not ctl[ACTIVE, l] > 0.0:
            continue
        per_epoch = -(-n // descent.samples)
        k = descent.first + np.int64(ctl[REACHED, l])
        epoch, order = k // per_epoch, descent.orders + 8 * n * l
        if ctl[epoch_row, l] != float(epoch):
            stream = peek(w.course.stream, peek(w.trajectory, l))
            shuffle(order, n, stream, epoch, descent.key_0, descent.key_1)
            ctl[epoch_row, l] = float(epoch)
        start = (k % per_epoch) * descent.samples
        some = min(descent.samples, n - start)
        inputs = descent.scratch + descent.inputs * w.entry + l * w.item
        labels = descent.scratch + descent.labels * w.entry + l * w.item
        for s in range(some):
            sample = descent.data + peek(order, start + s) * size
            invoke(descent.put_column, inputs + s * w.entry, sample, in_rows, across)
            invoke(descent.put_column, labels + s * w.entry, sample + in_rows * w.item, out_rows, across)
        for s in range(some, descent.samples):
            invoke(descent.put_column, inputs + s * w.entry, descent.zeros, in_rows, across)
            invoke(descent.put_column, labels + s * w.entry, descent.zeros, out_rows, across)
        write(w, descent.scratch + descent.parameter * w.entry, l, 1.0 / some)
