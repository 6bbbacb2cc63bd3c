"""The length of the way, the integral of ||dW/dt||_F: one more component of the flow, which no error norm sees.

Where it is recorded, states have a further entry, ``way``: the length since the beginning of the step, with the sign of
the step.  In a slope it is the speed.  So whatever combines slopes and states, in a step and within it, combines the
length too, to the order of the method; the whole length is a sum over steps in f64, in the control.

The entry after it is for flows that were reduced with weight decay: of the weights that were left out, which only
decay, it is the norm.
"""

from __future__ import annotations

from fastdln.integrate import law
from fastdln.kernels.lockstep.control import LENGTH
from fastdln.kernels.lockstep.learning import read, write
from fastdln.kernels.machine.compile import part
from fastdln.kernels.machine.library import invoke
from fastdln.kernels.machine.memory import peek, peek_real, poke_real

length_of_step, hypotenuse, joined = part(law.length_of_step), part(law.hypotenuse), part(law.joined)


@part
def way_in(w, state):
    """Address of the entry in a state."""
    return state + w.way * w.entry


@part
def speed(w, y, k):
    """Complete the slope k at y."""
    out = way_in(w, k)
    invoke(w.quick_norm, out, k, w.layered)
    if w.records.fade > 0.0:
        for l in range(w.lanes):
            falls = w.records.fade * read(w, way_in(w, y), w.lanes + l)
            write(w, out, w.lanes + l, -falls)
            write(w, out, l, hypotenuse(read(w, out, l), falls))


@part
def chords(w, y):
    """How far the states y are from the beginning of the step, into the third of the ``sums``."""
    out = w.at.sums + 2 * w.entry
    invoke(w.distance, out, y, w.at.state, w.layered)
    if w.records.fade > 0.0:
        for l in range(w.lanes):
            faded = read(w, way_in(w, w.at.state), w.lanes + l) - read(w, way_in(w, y), w.lanes + l)
            write(w, out, l, hypotenuse(read(w, out, l), abs(faded)))


@part
def since(w, y, l, doubt):
    """The length from the beginning of the step to the state y in lane l, after `chords`."""
    return length_of_step(w.direction * read(w, way_in(w, y), l), read(w, w.at.sums + 2 * w.entry, l), doubt)


@part
def within(w, y, l):
    """The same to a state within the step, whose length is known."""
    length, most = since(w, y, l, 0.0), w.direction * read(w, way_in(w, w.at.next), l)
    return most if length > most else length


@part
def measure(w, estimated):
    """Correct the lengths at the end of a step that was tried; ``estimated``: its errors are."""
    chords(w, w.at.next)
    for l in range(w.lanes):
        doubt = 0.0
        if estimated:
            doubt = joined(estimate(w, l, 0), estimate(w, l, 1) if w.method.estimates == 2 else 0.0)
        write(w, way_in(w, w.at.next), l, w.direction * since(w, w.at.next, l, doubt))


@part
def estimate(w, l, number):
    """An error of the length that a pair estimates."""
    method, found = w.method, 0.0
    for j in range(method.error_terms):
        at = method.error_weight + number * method.error_terms + j
        speed_there = read(w, way_in(w, peek(method.slopes, peek(method.error_index, j))), l)
        found += read(w, w.at.factors + at * w.entry, l) * speed_there
    return found


@part
def go_on(w, ctl):
    """Add up the lengths of the step after which lanes go on, and begin anew: rejected lanes have none."""
    entry = way_in(w, w.at.state)
    for l in range(w.lanes):
        ctl[LENGTH, l] += w.direction * read(w, entry, l)
        write(w, entry, l, 0.0)


@part
def go_on_from(w, ctl, before):
    """The same where the state before the step is still combined: its length lies behind."""
    entry, earlier = way_in(w, w.at.state), way_in(w, before)
    for l in range(w.lanes):
        write(w, earlier, l, read(w, earlier, l) - read(w, entry, l))
    go_on(w, ctl)


@part
def begin_way(w, ctl, q, l):
    """Trajectory q begins in lane l."""
    if w.records.length >= 0:
        ctl[LENGTH, l] = peek_real(w.batch.length, q)
    if w.way >= 0:
        entry = way_in(w, w.at.state)
        write(w, entry, l, 0.0)
        write(w, entry, w.lanes + l, peek_real(w.batch.still, q))


@part
def end_way(w, ctl, q, l):
    """Trajectory q leaves lane l."""
    if w.records.length >= 0:
        poke_real(w.batch.length, q, ctl[LENGTH, l])
    if w.way >= 0:
        poke_real(w.batch.still, q, read(w, way_in(w, w.at.state), w.lanes + l))
