"""Single realistic bugs, each with the tests that should notice it: ``python -m tests.mutants``, ``nox -s mutants``.

Every mutant is tried in a copy of the tree, one after the other; what survives is a gap in the tests.  This takes some
twenty minutes, as a mutant of the kernels compiles them anew; names, or parts of them after ``-k``, choose a few.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
COPIED = ("fastdln", "tests", "pyproject.toml")
LONGEST = 600.0  # seconds for the tests of a mutant; one that hangs is noticed, too


class Mutant(NamedTuple):
    """A bug: in a file, ``old``, which is there once, becomes ``new``.

    The file is the one below ``fastdln`` whose path ends so, and so are its tests below ``tests``.
    """

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


LAW = "test_step_sequences.py::test_steps_are_those_of_the_law"
STABILIZED_LAW = "test_step_sequences.py::test_steps_of_stabilized_methods_are_those_of_the_elementary_law"
BALL = "test_certified.py::test_large_tolerances_are_weighed_by_the_ball_that_they_allow"
DECISION = "test_certified.py::test_the_decision_at_the_start_is_that_of_singular_values"
TWIN = "test_twins.py::test_every_loss_and_every_update_against_a_twin"
WATCHED = "test_twins.py::test_every_entry_is_watched"
FIRST = "test_twins.py::test_divergence_is_told_at_its_first_update"
BATCHES = "test_twins.py::test_batches_are_those_of_the_streams"
LIMITS = "theory/test_descent.py::test_linear_updates_are_stable_below_the_limit_and_not_above"

MUTANTS = (
    # ---- the control of steps
    Mutant(
        "pi-alpha", "integrate/control.py", "alpha=1 / k - 0.75 * beta", "alpha=1 / k + 0.75 * beta",
        ("test_step_sequences.py::test_the_constants_are_those_of_dopri5", f"{LAW}[tsit5-dense]"),
    ),
    Mutant(
        "control-grows-after-rejection", "lockstep/control.py", "REJECTED) > 0.0, 1.0,", "REJECTED) > 0.0, 10.0,",
        ("test_control.py::test_no_step_is_longer_right_after_a_rejected_one", f"{LAW}[bs3-dense]"),
    ),
    Mutant(
        "control-remembers-rejected-error", "lockstep/control.py", "e.where(good, log_error,",
        "e.where(active, log_error,", ("test_control.py::test_only_accepted_steps_are_remembered", f"{LAW}[bs3-dense]"),
    ),
    Mutant(
        "control-last-layer-only", "lockstep/control.py", "e.maximum(joined.value, e.b.load(worst_slot))",
        "joined.value", ("test_control.py::test_the_next_step_follows_the_proportional_integral_law[tsit5-1]",),
    ),
    Mutant(
        "control-second-estimate", "lockstep/control.py", "other2 * 0.01", "other2 * 0.1",
        ("test_control.py::test_the_next_step_follows_the_proportional_integral_law[dop853-2]", f"{LAW}[dop853-dense]"),
    ),
    Mutant(
        "control-sliver-at-the-end", "lockstep/control.py", "h * 1.0000001 >= left", "h >= left",
        ("test_control.py::test_steps_end_with_the_span",),
    ),
    Mutant(
        "control-stops-at-rejected-step", "lockstep/control.py", "stopped = good & (", "stopped = active & (",
        ("test_control.py::test_only_accepted_steps_are_remembered",),
    ),
    Mutant(
        "control-never-gives-up", "lockstep/control.py", "~(next_step > reached * SMALLEST)", "~(next_step > 0.0)",
        ("test_control.py::test_what_ends_a_trajectory",),
    ),
    Mutant(
        "first-step-hides-nan", "lockstep/slopes.py", "not mean <= worst", "mean > worst",
        ("test_failures.py::test_a_bad_start_fails_alone",),
    ),
    Mutant(
        "tolerance-of-the-first-start", "lockstep/queue.py", "peek_real(batch.atol, q)", "peek_real(batch.atol, 0)",
        ("test_flow.py::test_the_absolute_tolerance_follows_each_start[lanes]",),
    ),
    Mutant(
        "target-of-the-lane", "lockstep/queue.py", "peek(batch.target_row, q)", "peek(batch.target_row, l)",
        ("test_learning_times.py::test_each_trajectory_has_the_modes_of_its_own_target[dense]",),
    ),
    Mutant(
        "rejected-lanes-lose-their-slope", "lockstep/explicit.py",
        "        invoke(w.blend, last_slope, first_slope, at.mask, w.entries)\n", "", (f"{LAW}[bs3-lanes]",),
    ),
    Mutant(
        "error-scale-of-the-start", "lockstep/stages.py", "for p in (y, z)))", "for p in (y, y)))",
        ("test_stages.py::test_error_sum", "test_stages.py::test_error_sums_of_two_estimates"),
    ),
    Mutant(
        "decay-grows", "lockstep/stages.py", "e.b.fsub(e.zero(e.stream_type), shrink)", "shrink",
        ("test_stages.py::test_rescale_changes_one_layer_only",),
    ),
    Mutant(
        "products-transposed-gram", "products/program.py", "right = plan.multiply(NN, b, gram, inner, d0, d0)",
        "right = b", ("test_evaluation.py", "test_program.py"),
    ),
    # ---- hidden growth
    Mutant(
        "growth-does-not-limit", "lockstep/control.py", "e.where(longest < h, longest, h)", "h",
        ("test_control.py::test_a_step_does_not_outrun_growth_that_no_error_shows",),
    ),
    Mutant(
        "growth-without-layers-between", "lockstep/growth.py", "if pair[0] - pair[1] > 1}", "if pair[0] - pair[1] > 2}",
        ("test_hidden_growth.py::test_the_products_are_those_of_the_power_iterations",),
    ),
    Mutant(
        "growth-of-rejected-lanes", "lockstep/growth.py", 'fcmp_ordered("==", e.load(mask)',
        'fcmp_ordered("!=", e.load(mask)',
        ("test_hidden_growth.py::test_one_look",),
    ),
    Mutant(
        "growth-in-bottlenecks", "lockstep/growth.py", "square * (excess / largest), square)", "square, square)",
        ("test_hidden_growth.py::test_one_look", "test_hidden_growth.py::test_bottlenecks_are_spared"),
    ),
    Mutant(
        "growth-one-round-at-a-start", "lockstep/growth.py", "FIRST_ROUNDS, FIRST_ROUNDS_ALONE = 2, 6",
        "FIRST_ROUNDS, FIRST_ROUNDS_ALONE = 1, 6",
        ("test_hidden_growth.py::test_vectors_that_are_nearly_at_right_angles_to_what_grows",),
    ),
    Mutant(
        "growth-looks-at-any-attempt", "lockstep/loop.py", "        if phase == 0:\n", "        if phase >= 0:\n",
        ("test_hidden_growth.py::test_the_rate_is_that_of_the_trajectory_alone",),
    ),
    Mutant(
        "growth-followed-too-far", "integrate/control.py", "FOLLOWED.get(order, 5) * rtol",
        "100 * FOLLOWED.get(order, 5) * rtol",
        ("test_hidden_growth.py::test_growth_is_followed_up_to_the_limit[tsit5-1e-06]",),
    ),
    Mutant(
        "growth-wide-never-renewed", "engines/wide/growth.py", "return attempts % EVERY == 0", "return False",
        ("test_hidden_growth.py::test_the_longest_step_is_renewed[wide]",),
    ),
    Mutant(
        "growth-never-renewed", "lockstep/loop.py", "phase == w.growth.every - 1", "phase == w.growth.every",
        ("test_hidden_growth.py::test_the_longest_step_is_renewed[lanes]",),
    ),
    # ---- records within steps
    Mutant(
        "records-unchecked", "lockstep/explicit.py", "left & doubtful(w, arena)\n", "left & doubtful(w, arena) * 0\n",
        ("test_records.py::test_records_are_as_right_as_the_ends_of_their_steps[dop853-1e-06]",),
    ),
    Mutant(
        "records-unchecked-rock", "chebyshev/method.py",
        "doubtful_at(w, arena, ctl, CHECKED[0]) | doubtful_at(w, arena, ctl, CHECKED[1])", "0",
        ("test_records.py::test_records_are_as_right_as_the_ends_of_their_steps[rock-0.001]",),
    ),
    Mutant(
        "records-by-few-stages", "chebyshev/method.py",
        "            highest = int(ctl[DEGREE, l])", "            highest = 1",
        ("test_records.py::test_records_are_as_right_as_the_ends_of_their_steps[rock-0.001]",),
    ),
    Mutant(
        "records-move-the-state", "lockstep/explicit.py",
        "at.next, at.within, at.output = at.within, at.output, at.next", "at.within, at.output = at.output, at.next",
        ("test_records.py::test_what_is_recorded_leaves_no_trace[dop853-dense]",),
    ),
    # ---- the length of the way
    Mutant(
        "way-without-the-sign-of-the-step", "lockstep/way.py",
        "ctl[LENGTH, l] += w.direction * read(w, entry, l)", "ctl[LENGTH, l] += read(w, entry, l)",
        ("test_path_length.py::test_the_way_back_is_as_long[lanes]",),
    ),
    Mutant(
        "way-behind-is-forgotten", "lockstep/way.py", "read(w, earlier, l) - read(w, entry, l)",
        "read(w, earlier, l)", ("test_path_length.py::test_lengths_of_general_networks[rock-lanes]",),
    ),
    Mutant(
        "way-without-what-fades", "lockstep/way.py",
        "            write(w, out, l, hypotenuse(read(w, out, l), falls))\n", "",
        ("test_path_length.py::test_reduced_networks_go_as_far[tsit5-0.5]",),
    ),
    Mutant(
        "way-of-the-first-trajectory", "lockstep/way.py", "peek_real(w.batch.length, q)",
        "peek_real(w.batch.length, 0)",
        ("test_path_length.py::test_a_flow_that_goes_on_goes_on_with_its_length[lanes-tsit5]",),
    ),
    Mutant(
        "way-within-unbounded", "lockstep/way.py", "return most if length > most else length", "return most",
        ("test_path_length.py::test_lengths_of_general_networks[tsit5-lanes]",),
    ),
    Mutant(
        "way-counts-rounding", "integrate/law.py", "length - chord <= DOUBTS * doubt", "length - chord < 0.0",
        ("test_path_length.py::test_a_network_at_rest_goes_no_further[lanes-tsit5]",),
    ),
    Mutant(
        "way-counts-padding", "lockstep/way.py", "invoke(w.quick_norm, out, k, w.layered)",
        "invoke(w.quick_norm, out, k, w.entries)", ("test_path_length.py::test_one_layer_goes_straight[rkc2-lanes]",),
    ),
    Mutant(
        "way-of-a-lost-update", "lockstep/descent.py", "        if ctl[DUE_LIMIT, l] >= 0.0:\n            ctl[LENGTH",
        "        if True:\n            ctl[LENGTH",
        ("test_path_length.py::test_a_descent_that_diverges_has_the_length_before[lanes]",),
    ),
    Mutant(
        "way-wide-first-speed", "wide/way.py", "self._speeds[last], self._falls[last]",
        "self._speeds[0], self._falls[last]",
        ("test_path_length.py::test_lengths_of_general_networks[tsit5-wide]",),
    ),
    Mutant(
        "way-of-legs-twice", "krylov/pair.py", "length=float(results.length[0]) if",
        "length=begin.length + float(results.length[0]) if",
        ("test_path_length.py::test_approximate_reductions_go_back_with_their_length[0.0]",),
    ),
    Mutant(
        "way-of-the-old-part", "results/joining.py", "length = joined(length, new._length)", "length = length.copy()",
        ("test_path_length.py::test_descents_go_on_from_files_to_the_same_bits",),
    ),
    # ---- interrupts
    Mutant(
        "threads-are-left-behind", "threads.py", "        outlast(team.settle)\n", "        team.stop()\n",
        ("test_failures.py::test_what_an_interrupt_leaves_running[lanes]",),
    ),
    # ---- learning times
    Mutant(
        "learning-first-guess", "lockstep/learning.py", "last == MOST or (last > KNOWN and doubt <= tolerance)",
        "last > KNOWN", ("test_learning_times.py::test_at_its_learning_time_a_strength_is_at_its_threshold",),
    ),
    Mutant(
        "learning-ends-of-steps-only", "lockstep/control.py", "NEAR = 0.75", "NEAR = 1.0",
        ("test_learning_times.py::"
         "test_a_strength_that_is_above_its_threshold_within_a_step_only[tsit5-0.0001-0.001-dense]",),
    ),
    Mutant(
        "learning-threshold", "engines/limits.py", "sigma / 2, np.inf)", "sigma / 1.999, np.inf)",
        ("test_learning_times.py::test_two_layers_from_any_scale",),
    ),
    # ---- the certified finish
    Mutant(
        "certificate-first-order", "integrate/certificate.py", "shift * (norm + delta) + size * delta",
        "shift * norm + size * delta",
        ("test_certified.py::test_a_singular_value_is_lowered_by_all_that_moving_the_layers_can_take",
         f"{BALL}[dense]"),
    ),
    Mutant(
        "certificate-without-atol", "kernels/lockstep/certificate.py", "peek_real(atol, 0) + w.rtol * norms(w, state)",
        "w.rtol * norms(w, state)", (f"{BALL}[dense]",),
    ),
    Mutant(
        "certificate-largest-layer", "kernels/lockstep/certificate.py", "size if size < least",
        "size if size > least or least > 1e9", (f"{BALL}[dense]",),
    ),
    Mutant(
        "certificate-equal-rates", "kernels/lockstep/certificate.py", "constant(w, tolerance), w.fastest)",
        "constant(w, tolerance), 1.0)", (f"{DECISION}[(3, 3, 3, 3)-rates1]",),
    ),
    Mutant(
        "certificate-before-the-last-mode", "kernels/lockstep/certificate.py", "if unlearned > 0:", "if unlearned > 1:",
        ("test_certified.py::test_modes_below_the_tolerance_are_waited_for_where_learning_times_are_recorded",),
    ),
    Mutant(
        "certificate-believes-elimination", "kernels/lockstep/certificate.py",
        "shift - 4.0 * UNIT * (rows + columns + 8) * trace", "shift",
        ("test_certified.py::test_a_bound_of_a_singular_value_that_is_zero_is_zero",),
    ),
    Mutant(
        "certificate-wide-believes-elimination", "engines/wide/certificate.py",
        "slack = 4.0 * UNIT", "slack = 0.0 * UNIT",
        ("test_certified.py::test_a_bound_of_a_singular_value_that_is_zero_is_zero",),
    ),
    Mutant(
        "certificate-wide-first-order", "integrate/certificate.py", "shift * (norm + delta) + size * delta",
        "shift * norm + size * delta", (f"{BALL}[wide]",),
    ),
    Mutant(
        "certificate-wide-without-atol", "engines/wide/certificate.py", "self._atol + self._rtol *", "self._rtol *",
        (f"{BALL}[wide]",),
    ),
    # ---- stabilized methods
    Mutant(
        "radius-without-margin", "chebyshev/radius.py", "MARGIN = 1.1", "MARGIN = 1.0",
        ("test_stabilized.py::test_stages_are_enough_for_a_tenth_more_than_the_largest_eigenvalue",),
    ),
    Mutant(
        "radius-falls-at-once", "chebyshev/radius.py",
        "least = 0.9 * radius if now < before else 0.0", "least = 0.0",
        ("test_stabilized.py::test_the_radius_rises_at_once_and_falls_by_a_tenth",),
    ),
    Mutant(
        "radius-seldom-estimated", "chebyshev/radius.py", "MOST_WAIT else MOST_WAIT) if steady else 1.0",
        "MOST_WAIT else MOST_WAIT)", ("test_stabilized.py::test_a_steady_radius_is_estimated_more_and_more_rarely",),
    ),
    Mutant(
        "rkc2-one-stage-less", "chebyshev/choice.py", "stages = 1.0 + math.floor(math.sqrt(1.0 + REACH2 * z))",
        "stages = math.floor(math.sqrt(1.0 + REACH2 * z))",
        ("test_stabilized.py::test_stages_are_as_few_as_are_stable",),
    ),
    Mutant(
        "rock4-degree-below", "chebyshev/choice.py", "row * ROCK_COLUMNS + REACHED_BY) < z",
        "row * ROCK_COLUMNS + REACHED_BY) < 0.8 * z",
        ("test_stabilized.py::test_stages_are_as_few_as_are_stable",),
    ),
    Mutant(
        "rkc2-whole-tolerance", "chebyshev/error.py", "SHARE2 = 0.2", "SHARE2 = 1.0",
        (f"{STABILIZED_LAW}[rkc2-dense]",),
    ),
    Mutant(
        "rkc2-passes-after-rock4", "chebyshev/error.py", " and ctl[MOVED, l] <= SHARE2", "",
        ("test_stabilized.py::test_a_large_error_of_rkc2_passes_only_where_the_step_leads_nowhere",),
    ),
    Mutant(
        "rkc2-order-of-its-errors", "chebyshev/error.py", "e * e * cube_root(e * e) if", "e * e if",
        (f"{STABILIZED_LAW}[rkc2-dense]",),
    ),
    Mutant(
        "rkc2-damping", "chebyshev/rkc2.py", "DAMPING = 2 / 13", "DAMPING = 2 / 130",
        ("test_stabilized.py::test_rkc2_is_stable_over_its_interval",),
    ),
    Mutant(
        "rock4-reach", "chebyshev/rock4.py", "0.353 * self.stages**2 - 3", "0.36 * self.stages**2 - 3",
        ("test_stabilized.py::test_rock4_is_stable_over_its_interval",),
    ),
    # ---- the approximate reduction
    Mutant(
        "krylov-checkpoints", "engines/reduced/krylov/trajectory.py", "GOOD = 0.01", "GOOD = 1",
        ("test_krylov.py::"
         "test_it_goes_on_with_more_levels_only_from_where_the_error_was_a_hundredth_of_the_tolerance",),
    ),
    Mutant(
        "krylov-too-few-levels", "theory/reduction/defect.py", "return max(1, depth - 2)", "return 1",
        ("test_krylov.py::test_the_defect_is_that_of_the_wide_network[None-(1, 25, 30, 35, 30, 2)]",),
    ),
    Mutant(
        "krylov-growth-of-pairs", "theory/reduction/defect.py", "np.prod(norms[i + 1 : j]) if j > i + 1 else 1.0",
        "1.0", ("test_krylov.py::test_growth_bounds_the_curvature_where_nothing_moves",),
    ),
    Mutant(
        "krylov-bound-forgets", "theory/reduction/defect.py", "bound * grown + d", "bound + d",
        ("test_krylov.py::test_bound_follows_its_equation",),
    ),
    Mutant(
        "krylov-bound-begins-anew", "krylov/pair.py", "begin.bound, beside.times,", "0.0, beside.times,",
        ("test_krylov.py::test_the_rough_network_takes_its_error_from_leg_to_leg",),
    ),
    Mutant(
        "krylov-rough-begins-anew", "engines/reduced/krylov/pair.py", "replace(end, rough=rough, bound",
        "replace(end, rough=end.fine, bound",
        ("test_krylov.py::test_the_rough_network_takes_its_error_from_leg_to_leg",),
    ),
    Mutant(
        "krylov-nothing-unseen", "engines/reduced/krylov/pair.py", "errors.append(bound / min(allowed))", "pass",
        ("test_krylov.py::test_what_may_grow_where_neither_network_looks_counts",),
    ),
    # ---- starts
    Mutant(
        "streams-overlap", "inits/streams.py", "counter[3] = k", "counter[0] = k",
        ("test_inits.py::test_the_stream_is_philox_with_the_trajectory_in_the_high_word",),
    ),
    Mutant(
        "streams-begin-anew", "inits/streams.py", "enumerate(rows, start=first)", "enumerate(rows)",
        ("test_inits.py::test_trajectories_depend_on_their_index_alone",),
    ),
    Mutant(
        "balanced-scale", "inits/balancing.py", "root = scale * D[..., : net.rank] ** (1 / net.depth)",
        "root = (scale * D[..., : net.rank]) ** (1 / net.depth)",
        ("test_inits.py::test_balanced_weights_are_balanced_and_multiply_to_a_gaussian_product",),
    ),
    Mutant(
        "delta-balanced-scale", "inits/balancing.py", "np.sqrt(delta / largest)", "(delta / largest)",
        ("test_inits.py::test_delta_balanced_weights_have_the_largest_imbalance_asked_for",),
    ),
    Mutant(
        "haar-signs", "linalg.py", "Q * np.copysign(1.0, np.diagonal(R, axis1=-2, axis2=-1))[..., None, :]", "Q",
        ("test_linalg.py::test_haar_columns_are_orthonormal_and_have_the_second_moments_of_the_haar_measure",),
    ),
    # ---- scans
    Mutant(
        "target-from-the-stream-of-starts", "scan/loss.py", "spawn_key=(self.point.index, 1)",
        "spawn_key=(self.point.index,)",
        ("test_scan_run.py::test_random_targets_know_nothing_of_the_starts",
         "test_scan_run.py::test_a_random_target_of_a_cell_is_no_sample_of_its_starts"),
    ),
    Mutant(
        "cells-share-their-masks", "scan/loss.py", "spawn_key=(self.point.index, 2)", "spawn_key=(2,)",
        ("test_scan_losses.py::test_a_completion_sees_so_many_entries_of_the_target",),
    ),
    Mutant(
        "range-without-its-end", "scan/reading.py", "[given.start, *map(round, between), given.stop]",
        "[given.start, *map(round, between)]",
        ("test_scan_spec.py::test_a_range_of_integers_where_these_are_expected",),
    ),
    Mutant(
        "cells-share-their-starts", "scan/cell.py", "SeedSequence(self.seed, spawn_key=(self.point.index,))",
        "SeedSequence(self.seed)", ("test_scan_run.py::test_random_targets_know_nothing_of_the_starts",),
    ),
    Mutant(
        "seed-of-the-scan-ignored", "scan/cell.py", "SeedSequence(self.seed, spawn_key=(self.point.index,))",
        "SeedSequence(0, spawn_key=(self.point.index,))",
        ("test_scan_run.py::test_the_seed_changes_every_start_and_target",),
    ),
    Mutant(
        "automatic-end-of-large-starts", "scan/cell.py", "min(scale, 0.1 * s)", "max(scale, 0.1 * s)",
        ("test_scan_run.py::test_automatic_end",),
    ),
    Mutant(
        "journal-skips-damage", "scan/journal.py", "if number < len(lines):", "if number < 0:",
        ("test_scan_store.py::test_damaged_journal_is_refused",),
    ),
    Mutant(
        "journal-keeps-torn-line", "scan/journal.py", "os.ftruncate(self._file, length)", "pass",
        ("test_scan_store.py::test_nothing_of_a_torn_line_stays",),
    ),
    Mutant(
        "journal-before-the-data", "scan/disk.py", "dst_dir_fd=folder)\n        os.fsync(descriptor)",
        "dst_dir_fd=folder)",
        ("test_scan_store.py::test_data_are_on_the_disk_before_their_line",),
    ),
    Mutant(
        "journal-line-not-on-the-disk", "scan/journal.py", "        os.fsync(self._file)\n", "",
        ("test_scan_store.py::test_data_are_on_the_disk_before_their_line",),
    ),
    Mutant(
        "empty-chunks-left-out", "scan/chunks.py", '"array.write_empty_chunks": True',
        '"array.write_empty_chunks": False',
        ("test_scan_store.py::test_every_unit_is_on_the_disk_even_if_nothing_was_learned",),
    ),
    # ---- losses, field, observables, going on
    Mutant(
        "drift-since-the-extension", "gradient_flow.py", "origin=old._origin[go_on]", "origin=old._final[go_on]",
        ("test_flow.py::test_the_drift_of_an_extended_flow_is_that_since_its_first_start[dense]",),
    ),
    Mutant(
        "extension-learns-again", "results/joining.py",
        "np.where(np.isnan(before), later, before) if name == LEARNING_TIMES else later", "later",
        ("test_flow.py::test_going_on_is_as_good_as_one_call[dense]",),
    ),
    Mutant(
        "tolerance-of-zero-layers", "arguments.py", "return np.where(usable, size, np.inf)", "return size",
        ("test_flow.py::test_the_absolute_tolerance_follows_each_start[dense]",),
    ),
    Mutant(
        "cache-ignores-edits", "machine/compile.py", "source.read_bytes()", 'b""',
        ("test_failures.py::test_edits_and_upgrades_begin_a_new_cache_folder",),
    ),
    Mutant(
        "regression-floor", "losses/regression.py", "floor=0.5 * float(", "floor=float(",
        ("test_quadratic.py::test_regression_is_the_mean_squared_error_of_the_data",),
    ),
    Mutant(
        "logistic-map-without-labels", "products/maps.py", "return share * y * p, value", "return share * p, value",
        ("test_mapped.py::test_flows_are_those_of_an_independent_integrator",),
    ),
    Mutant(
        "softmax-of-padding", "products/maps.py", "factor = weight / shares", "factor = 1.0 / shares",
        ("test_maps.py::test_padding_reaches_nothing_and_stays_zero",),
    ),
    Mutant(
        "softmax-curvature-without-mean", "products/maps.py", "(row.load(row.along, o) - mean)",
        "row.load(row.along, o)",
        ("test_maps.py::test_maps_are_their_formulas", "test_hessian_mapped.py"),
    ),
    Mutant(
        "logistic-curvature-of-padding", "products/maps.py", "bend * (y * y) * p", "bend * p",
        ("test_maps.py::test_padding_reaches_nothing_and_stays_zero",),
    ),
    Mutant(
        "power-curvature-at-zero", "products/maps.py", "where((change < 0.0) | (change > 0.0), bend, 1.0)", "bend",
        ("test_maps.py::test_curvature_of_powers",),
    ),
    Mutant(
        "square-without-curvature-at-zero", "products/maps.py",
        "where((p < 2.0) | (p > 2.0), power(size, p - 2.0), 1.0)", "power(size, p - 2.0)",
        ("test_maps.py::test_curvature_of_powers",),
    ),
    Mutant(
        "huber-curvature-at-the-threshold", "products/maps.py", "where(size <= p, 1.0", "where(size < p, 1.0",
        ("test_maps.py::test_huber_is_the_square_up_to_the_threshold",),
    ),
    Mutant(
        "gradient-of-a-map-upside-down", "products/maps.py", "row.store(slope * -1.0, row.out, o)",
        "row.store(slope, row.out, o)", ("test_maps.py::test_maps_are_their_formulas", "test_hessian_mapped.py"),
    ),
    Mutant(
        "map-of-one-layer-into-its-weights", "products/tangent.py", "c=Operand(SCRATCH, top, p.n), along=along",
        "c=p.z, along=along", ("test_evaluation.py::test_layers_may_lie_anywhere",),
    ),
    Mutant(
        "bound-without-curvature", "hessian/bound.py", "total + curved * (", "total + (",
        ("test_hessian_mapped.py::test_matrix_spectrum_inertia_and_bound_agree",),
    ),
    Mutant(
        "slice-of-the-first-target", "landscape/slices.py", "loss[target[networks]]", "loss[target[networks] * 0]",
        ("test_slices.py::test_batches_of_weights_directions_and_targets_broadcast",),
    ),
    Mutant(
        "square-with-its-weight-twice", "products/maps.py", "return slope, slope * error * 0.5, p",
        "return slope * p, slope * error * 0.5, p",
        ("test_mapped.py::test_flows_are_those_of_an_independent_integrator",),
    ),
    Mutant(
        "square-value-twice", "products/maps.py", "return slope, slope * error * 0.5, p",
        "return slope, slope * error, p", ("test_mapped.py::test_flows_are_those_of_an_independent_integrator",),
    ),
    Mutant(
        "unseen-entries-multiplied", "losses/completion.py", "        target[~seen] = 0.0", "        pass",
        ("test_completion.py::test_what_is_not_seen_counts_for_nothing",),
    ),
    Mutant(
        "custom-forgets-the-sign", "products/maps.py", "give(e.b.fneg(", "give((",
        ("test_custom.py::test_flows_are_those_of_an_independent_integrator",),
    ),
    Mutant(
        "custom-of-one-lane", "products/maps.py", "with e.each(const(e.lanes)) as lane:",
        "with e.each(const(1)) as lane:",
        ("test_custom.py::test_flows_are_those_of_an_independent_integrator",),
    ),
    Mutant(
        "custom-shares-matrices", "lockstep/mapped.py", "record[maps.FILLED] = source, source + 8 * self.size",
        "record[maps.FILLED] = source, source",
        ("test_custom.py::test_a_gradient_may_read_all_of_a_product_at_any_time",),
    ),
    Mutant(
        "custom-tried-without-bounds", "losses/trial.py", ', boundscheck=True', '',
        ("test_custom.py::test_what_is_refused_when_it_is_made",),
    ),
    Mutant(
        "custom-margins-not-looked-at", "losses/trial.py", "if any(guarded.overrun for guarded in (*read, out)):",
        "if False:", ("test_custom.py::test_what_is_refused_when_it_is_made",),
    ),
    Mutant(
        "custom-gradient-not-compared", "losses/trial.py", "    if seen is not None:\n", "    if False:\n",
        ("test_custom.py::test_what_is_refused_before_a_flow",),
    ),
    Mutant(
        "custom-exceptions-lost", "machine/foreign.py", "            filled[:] = np.nan",
        "            filled[0, 0] = 0.0",
        ("test_custom.py::test_an_exception_on_the_way_ends_its_trajectory_alone",),
    ),
    Mutant(
        "wide-residual-of-the-wrong-sign", "wide/field.py", "lambda product: -own.grad(product)",
        "lambda product: own.grad(product)", ("test_mapped.py::test_the_wide_engine_takes_all_losses",),
    ),
    Mutant(
        "wide-descent-ahead-without-decay", "wide/descent.py", "1.0 + decayed", "1.0",
        ("test_wide_descents.py::test_they_are_those_of_dense",),
    ),
    Mutant(
        "wide-descent-bound-not-looked-at", "wide/moving.py", "self._next_most = self._try(update)",
        "self._next_most = bound", ("test_wide_descents.py::test_a_bound_is_met_to_the_entry",),
    ),
    Mutant(
        "wide-descent-reach-without-velocity", "wide/moving.py", "change += abs(update.moved) * self._fastest",
        "change += 0.0", ("test_wide_descents.py::test_entries_are_where_they_are_said_to_be",),
    ),
    Mutant(
        "wide-descent-velocity-not-ahead", "wide/moving.py", "more *= moved", "more *= 0",
        ("test_wide_descents.py::test_they_are_those_of_dense",),
    ),
    Mutant(
        "wide-descent-gradient-of-a-batch-kept", "wide/descent.py", "        if self._batches is not None:\n",
        "        if self._batches is not None and not self._complete:\n",
        ("test_wide_descents.py::test_they_are_those_of_dense",),
    ),
    Mutant(
        "wide-descent-one-epoch", "wide/batches.py", "if epoch != self._epoch:", "if self._epoch < 0:",
        ("test_twins.py::test_batches_are_those_of_the_streams",),
    ),
    Mutant(
        "wide-descent-factor-of-the-velocity", "products/thin_update.py", "e.fma(moved, part", "e.fma(own, part",
        ("test_thin_update.py::test_updates",),
    ),
    Mutant(
        "maps-close-states", "lockstep/recipe.py", "        and not products.maps_into_slope\n        and planned",
        "        and planned",
        ("test_mapped.py::test_flows_are_those_of_an_independent_integrator",),
    ),
    Mutant(
        "exponential-in-one-factor", "machine/elementary.py", "half = fma(n, 0.5, ROUNDER)",
        "half = fma(n, 1.0, ROUNDER)", ("test_elementary.py::test_special_values",),
    ),
    Mutant(
        "losses-after-pickling", "losses/form.py", "        _protect(state)", "        pass",
        ("test_others.py::test_copies_are_as_read_only", "test_files.py::test_copies_of_a_loss_are_as_read_only_as_it"),
    ),
    Mutant(
        "signs-of-modes", "losses/form.py", "np.where(largest < 0, -1.0, 1.0)", "np.ones_like(largest)",
        ("test_quadratic.py::test_modes_decompose_the_target_with_fixed_signs",),
    ),
    Mutant(
        "whitened-by-too-much", "losses/quadratic.py", "(Y @ Qt.T) @ P.T if boolean", "(Y @ Qt.T / S) @ P.T if boolean",
        ("test_quadratic.py::test_whitened_target_is_that_of_whitened_data",),
    ),
    Mutant(
        "balance-ignores-rates", "field.py", "@ above / eta_above -", "@ above -",
        ("test_field.py::test_balance_is_conserved_to_first_order",),
    ),
    Mutant(
        "drift-decays-once", "gradient_flow.py", "np.exp(-2 * options.weight_decay", "np.exp(-options.weight_decay",
        ("test_flow.py::test_decay_and_rates",),
    ),
    Mutant(
        "measure-entropy", "fastdln/measures.py", "p * np.log(p), p)", "p, p)",
        ("test_measures.py::test_each_is_its_formula",),
    ),
    Mutant(
        "measure-stable-rank", "fastdln/measures.py", "np.square(values / values[..., :1])", "values / values[..., :1]",
        ("test_measures.py::test_each_is_its_formula",),
    ),
    Mutant(
        "measure-layers-reversed", "fastdln/measures.py", "zip(right[1:], left[:-1]", "zip(left[1:], right[:-1]",
        ("test_measures.py::test_each_is_its_formula",),
    ),
    Mutant(
        "measure-direction-of-zero", "fastdln/measures.py", "s[:, :1] > 0", "s[:, :1] >= 0",
        ("test_measures.py::test_what_vanishes_has_no_rank_direction_or_margin",),
    ),
    Mutant(
        "measure-loose-sharpness", "fastdln/measures.py", "SHARPNESS_TOLERANCE = 1e-3", "SHARPNESS_TOLERANCE = 0.3",
        ("test_measures.py::test_each_is_its_formula",),
    ),
    Mutant(
        "measure-start-of-another", "observables.py", "context.origin[:, None].as", "context.origin[:1, None].as",
        ("test_measures.py::test_each_is_its_formula",),
    ),
    Mutant(
        "measure-target-of-another", "results/derive.py", "context.loss[place] if", "context.loss if",
        ("test_memory.py::test_blocks_do_not_change_bits",),
    ),
    Mutant(
        "measure-margin-of-the-label", "losses/labels.py", "where=self._marks() == 1", "where=self._marks() == 2",
        ("test_measures.py::test_margins_of_losses",),
    ),
    Mutant(
        "measure-mean-margin", "losses/base.py", ".min(axis=-1).astype", ".mean(axis=-1).astype",
        ("test_measures.py::test_the_margin_is_that_of_the_worst_sample",),
    ),
    Mutant(
        "measure-square-overflows", "hessian/leading.py", "np.frexp(np.abs(rest).max(axis=(1, 2)))[1] - 1", "0 * size",
        ("test_measures.py::test_large_weights_do_not_overflow",),
    ),
    # ---- theory
    Mutant(
        "path-first-order", "theory/rates/certificates.py", "shift * (n + delta) + size * delta",
        "shift * n + size * delta", ("test_rates.py::test_the_ball_of_a_path_lowers_singular_values_by_every_product",),
    ),
    Mutant(
        "rate-of-balanced-layers", "theory/rates/bounds.py", "margin ** (2 - 2 / h)", "margin ** (1 - 1 / h)",
        ("test_rates.py::test_bounds_are_reached_where_they_are_sharp",
         "test_rates.py::test_losses_stay_below_every_bound"),
    ),
    Mutant(
        "rate-of-imbalance", "theory/rates/bounds.py", "values[-d_2]", "values[-1]",
        ("test_rates.py::test_losses_stay_below_every_bound",),
    ),
    Mutant(
        "fading-constant", "theory/exact/modes.py", "np.pi / h / np.sin(2 * np.pi / h)",
        "np.pi / h / np.sin(np.pi / h)", ("test_exact.py::test_negative_modes_of_odd_depth_fade",),
    ),
    Mutant(
        "decaying-modes", "theory/exact/modes.py", "(s**-p - s0**-p) / p", "(s**-p - s0**-p) / (p + 1)",
        ("test_exact.py::test_mode_time_is_the_integral_of_the_reciprocal_velocity",),
    ),
    Mutant(
        "families-of-critical-points", "theory/landscape/values.py", "if behind is not None and counts[behind] == 1",
        "if behind is not None",
        ("test_landscape.py::test_critical_values_are_those_of_all_sets_of_modes",),
    ),
    Mutant(
        "pivots-of-long-chains", "theory/landscape/classification.py", "reached = reached @ joined", "pass",
        ("test_classification.py::test_ranks_pivots_and_tightened_pairs_agree_with_the_residual_blocks",),
    ),
    Mutant(
        "alignment-of-the-kernel", "theory/tangent/measures.py", "(norm(grams(arrays, form.input_root)) * _square(R))",
        "(norm(grams(arrays, None)) * _square(R))",
        ("test_tangent.py::test_alignment_is_its_definition_and_the_rate_of_the_loss",),
    ),
    Mutant(
        "under-way-after-it-was-learned", "theory/itinerary/learning.py", "(part < _BEGUN) & (index < at[..., None])",
        "part < _BEGUN", ("test_itinerary.py::test_synthetic_strengths_are_read_as_defined",),
    ),
    Mutant(
        "bound-of-the-layers-below", "theory/invariants/boundedness.py", "sum(decline[i:], zero)",
        "sum(decline[:i], zero)", ("test_invariants.py::test_a_layer_that_is_large_alone_stays_below_its_norm_bound",),
    ),
    Mutant(
        "spectrum-of-exchanges", "theory/hessian/closed.py", "exchanged = s[:, None] ** (h - 2)",
        "exchanged = s[:, None] ** (h - 1)",
        ("test_hessian.py::test_spectrum_at_canonical_points_is_the_closed_form",),
    ),
    Mutant(
        "exponent-of-tied-modes", "theory/rates/local.py", "- learned * int(tied[r_max:].sum())", "",
        ("test_rates.py::test_the_exponent_at_balanced_minima_is_the_least_positive_entry_of_the_closed_list",
         "test_rates.py::test_where_the_hessian_does_not_tell"),
    ),
    # ---- gradient descent
    Mutant(
        "descent-decay-forgotten", "lockstep/descent.py", "= 1.0 - eta * ctl[MU, l], -", "= 1.0, -",
        (f"{TWIN}[quadratic-decay-lanes-float64]",),
    ),
    Mutant(
        "descent-cycle-ends", "lockstep/descent.py", "descent.after == REPEATS", "descent.after != REPEATS",
        ("test_twins.py::test_schedules[cycle-lanes]", "test_twins.py::test_schedules[steps-lanes]"),
    ),
    Mutant(
        "descent-schedule-begins-anew", "lockstep/descent.py", "k = descent.first + np.int64(ctl[REACHED, l])",
        "k = np.int64(ctl[REACHED, l])", ("test_descend.py::test_going_on_is_one_run[False-lanes-plain]",),
    ),
    Mutant(
        "descent-velocity-begins-anew", "lockstep/descent.py",
        "            if w.descent.kind >= HEAVY_BALL:\n                put_velocity(w, l, q)\n", "",
        ("test_descend.py::test_going_on_is_one_run[False-lanes-heavy ball]",),
    ),
    Mutant(
        "descent-velocity-of-another", "lockstep/descent.py",
        "w.course.last_velocity + peek(w.trajectory, l) * w.parameters * w.item", "w.course.last_velocity",
        ("test_descend.py::test_going_on_is_one_run[False-lanes-heavy ball]",),
    ),
    Mutant(
        "descent-one-layer-rate", "lockstep/descent.py", "peek_real(descent.layer_rates, i)",
        "peek_real(descent.layer_rates, 0)", (f"{TWIN}[quadratic-layer rates-lanes-float64]",),
    ),
    Mutant(
        "descent-starts-do-not-stop", "lockstep/descent.py", "            w.told.finished |= 1 << l\n", "",
        ("test_descend.py::test_a_start_where_the_stop_holds_takes_no_update",),
    ),
    Mutant(
        "descent-squares-rule-out-too-much", "lockstep/descent.py", "min(0.25 * bound * bound",
        "min(4.0 * bound * bound",
        (f"{WATCHED}[float64--6.0-5.0-lanes]",),
    ),
    Mutant(
        "descent-keeps-what-diverged", "lockstep/descent.py", "if rejected != 0:", "if rejected < 0:",
        (f"{FIRST}[None-plain-lanes]",),
    ),
    Mutant(
        "descent-learns-before-the-update", "lockstep/descent.py", "* w.modes + j, ctl[REACHED, l])",
        "* w.modes + j, ctl[REACHED, l] - 1.0)",
        ("test_descend.py::test_learning_times_are_those_of_the_first_update",),
    ),
    Mutant(
        "descent-looks-ahead-in-place", "lockstep/descent.py", "        state = at.stage\n", "",
        (f"{FIRST}[None-nesterov alone-lanes]", f"{FIRST}[None-nesterov alone-dense]"),
    ),
    Mutant(
        "updates-nan-is-within", "lockstep/updates.py", 'e.b.fcmp_unordered(">", e.call("fabs"',
        'e.b.fcmp_ordered(">", e.call("fabs"', (f"{WATCHED}[float64-nan-5.0-dense]",),
    ),
    Mutant(
        "updates-squares-of-nan", "lockstep/updates.py", 'e.b.fcmp_unordered(">=", squares',
        'e.b.fcmp_ordered(">=", squares',
        (f"{WATCHED}[float64-nan-5.0-lanes]",),
    ),
    Mutant(
        "updates-stopped-go-on", "lockstep/updates.py", '(reached >= par_("end")) | stopped)',
        '(reached >= par_("end")))', ("test_descend.py::test_stops_at_the_first_update_where_it_holds[None-lanes]",),
    ),
    Mutant(
        "updates-diverged-count-their-last", "lockstep/updates.py", "reached = e.where(good, attempts",
        "reached = e.where(active, attempts",
        (f"{FIRST}[None-plain-lanes]",),
    ),
    Mutant(
        "samples-favoured", "lockstep/samples.py", "below(word, i + 1)", "below(word, i)",
        (f"{BATCHES}[regression-4-lanes]",),
    ),
    Mutant(
        "samples-of-a-short-batch", "lockstep/samples.py", "l, 1.0 / some)", "l, 1.0 / descent.samples)",
        (f"{BATCHES}[softmax-4-lanes]",),
    ),
    Mutant(
        "samples-never-shuffled-again", "lockstep/samples.py", "epoch, order = k // per_epoch,",
        "epoch, order = 0 * per_epoch,", (f"{BATCHES}[regression-4-lanes]",),
    ),
    Mutant(
        "samples-by-place-in-the-rest", "lockstep/samples.py", "peek(w.course.stream, peek(w.trajectory, l))",
        "peek(w.trajectory, l)", ("test_descend.py::test_going_on_is_one_run[False-lanes-batches]",),
    ),
    Mutant(
        "samples-begin-anew", "lockstep/samples.py", "k = descent.first + np.int64", "k = np.int64",
        ("test_descend.py::test_going_on_is_one_run[False-lanes-batches]",),
    ),
    Mutant(
        "update-momentum-counts-twice", "products/update.py", "if rates.kind == HEAVY_BALL:", "if rates.moves:",
        (f"{TWIN}[quadratic-nesterov-lanes-float64]",),
    ),
    Mutant(
        "update-without-momentum-adds-zero", "products/update.py", "e.b.select(moves, e.fma(momentum, v, rest), rest)",
        "e.fma(momentum, v, rest)", ("test_descend.py::test_zeros_keep_their_signs_beside_momentum",),
    ),
    Mutant(
        "update-velocity-without-decay", "products/update.py", "e.b.fmul(rates.decayed, w))", "e.zero(w.type))",
        (f"{TWIN}[quadratic-heavy ball-lanes-float64]",),
    ),
    Mutant(
        "descents-first-rate-for-all", "lockstep/descents.py", "bool((layer_rates == layer_rates[0]).all())", "True",
        (f"{TWIN}[quadratic-layer rates-lanes-float64]",),
    ),
    Mutant(
        "descents-slope-of-the-state", "lockstep/descents.py", " and kind != NESTEROV", "",
        ("test_descend.py::test_what_is_stopped_on_changes_no_update[nesterov-dense]",),
    ),
    Mutant(
        "descents-slope-of-all-samples", "lockstep/descents.py", " and not method.samples\n", "\n",
        ("test_descend.py::test_what_is_stopped_on_changes_no_update[batches-dense]",),
    ),
    Mutant(
        "descents-decay-is-plain", "lockstep/descents.py", "return DECAY if method.decays else PLAIN", "return PLAIN",
        (f"{TWIN}[quadratic-decay-lanes-float64]",),
    ),
    Mutant(
        "schedule-least-twice", "integrate/schedules.py", "low + (1.0 - low) * fall", "low + fall",
        ("test_twins.py::test_schedules[cosine-lanes]",),
    ),
    Mutant(
        "schedule-time-of-one-cycle", "integrate/schedules.py", "updates // n * parts[-1] + parts", "parts",
        ("test_twins.py::test_schedules[cycle-lanes]",),
    ),
    Mutant(
        "schedule-ends-too-early", "integrate/schedules.py", "updates > len(self.factors)",
        "updates > len(self.factors) + 1",
        ("test_descend.py::test_what_does_not_fit_is_refused",),
    ),
    Mutant(
        "schedule-steps-once", "integrate/schedules.py", "np.multiply.accumulate(factors, out=factors)", "pass",
        ("test_twins.py::test_schedules[steps-lanes]",),
    ),
    Mutant(
        "times-without-momentum", "integrate/descent.py", " / (1.0 - momentum)", "",
        ("test_twins.py::test_rates_momenta_and_decays_of_each_trajectory[lanes]",),
    ),
    Mutant(
        "limit-of-nesterov", "theory/descent/limits.py", "(1 + beta) / (1 + 2 * beta) if", "(1 + beta) / (1 + beta) if",
        (f"{LIMITS}[0.0-0.8-True-None]",),
    ),
    Mutant(
        "limit-without-decay", "theory/descent/limits.py", "float(largest) + decay", "float(largest)",
        (f"{LIMITS}[0.2-0.0-False-None]",),
    ),
    Mutant(
        "limit-with-squares-of-rates", "theory/descent/limits.py", "np.sqrt(rates)", "rates",
        (f"{LIMITS}[0.0-0.0-False-layer_rates1]",),
    ),
    Mutant(
        "map-of-another-depth", "descent/scalar.py", "coefficients[h - 1] += m", "coefficients[1] += m",
        ("theory/test_descent.py::test_cycles_are_cycles",),
    ),
    Mutant(
        "cycles-of-divisors", "descent/scalar.py", "range(1, p) if p % d == 0", "range(2, p) if p % d == 0",
        ("theory/test_descent.py::test_which_cycles_of_two_layers_are_stable",),
    ),
    Mutant(
        "cycles-that-are-missed", "descent/scalar.py", "one_way = possible & ((d_least > 1) | (d_most < 1))",
        "one_way = possible",
        ("theory/test_descent.py::test_all_periodic_points_of_two_layers_at_the_end_of_the_bounded_range",),
    ),
    Mutant(
        "cascade-of-multiplier-one", "descent/scalar.py", "float(f.orbit(x, p)[1]) + 1",
        "float(f.orbit(x, p)[1]) + 0.9",
        ("theory/test_descent.py::test_doublings_of_two_layers",),
    ),
    Mutant(
        "sharpness-of-one-vector", "hessian/leading.py", "EXTRA = 1 ", "EXTRA = 0 ",
        ("test_leading.py::test_none_of_many_is_missed",),
    ),
    Mutant(
        "sharpness-found-too-early", "hessian/leading.py", "SHARE = 0.01", "SHARE = 1e4",
        ("test_leading.py::test_against_dense_spectra",),
    ),
    Mutant(
        "sharpness-vectors-of-the-least", "hessian/leading.py", "mix[row].T @ known", "y[row][:, :k].T @ known",
        ("test_leading.py::test_vectors_are_eigenvectors",),
    ),
    Mutant(
        "sharpness-of-infinite-hessians", "hessian/leading.py", "open_ &= np.isfinite(rest).all(axis=(1, 2))", "pass",
        ("test_leading.py::test_what_is_not_finite_is_nan_and_touches_no_other",),
    ),
    Mutant(
        "sharpness-restarts-from-the-least", "hessian/leading.py", "y[i, :, : -size - 1 : -1].T @ known[own]",
        "y[i, :, :size].T @ known[own]", ("test_leading.py::test_restarts",),
    ),
    # ---- past the edge of stability
    Mutant(
        "past-gauges-stay", "fastdln/exponents.py", "    if not columns:\n", "    if columns:\n",
        ("test_exponents.py::test_at_a_minimum_the_exponent_is_that_of_the_slowest_change_across_the_gauges",),
    ),
    Mutant(
        "past-gauges-turned", "fastdln/exponents.py", "= -above[:, :, a].transpose", "= above[:, :, a].transpose",
        ("test_exponents.py::test_on_a_cycle_of_a_network_it_is_that_of_the_multipliers_across_the_gauges",),
    ),
    Mutant(
        "past-look-ahead", "fastdln/exponents.py", "ahead = w + beta * v if method.nesterov else w", "ahead = w",
        ("test_exponents.py::test_at_a_minimum_the_exponent_is_that_of_the_slowest_change_across_the_gauges",),
    ),
    Mutant(
        "past-rates-of-layers", "fastdln/exponents.py", "(rates * change + mu * ahead)", "(change + mu * ahead)",
        ("test_exponents.py::test_at_a_minimum_the_exponent_is_that_of_the_slowest_change_across_the_gauges",),
    ),
    Mutant(
        "past-schedule", "integrate/schedules.py", "self.factors[k % n if", "self.factors[0 if",
        ("test_exponents.py::test_a_schedule_is_followed",),
    ),
    Mutant(
        "past-state-of-update", "fastdln/exponents.py", "states[:, k - before - 1]", "start",
        ("test_exponents.py::test_the_last_chaos_of_two_layers_has_the_exponent_log_three",),
    ),
    Mutant(
        "past-from-another-update", "fastdln/descent.py", "replace(course, done=0, velocity",
        "replace(course, velocity",
        ("test_exponents.py::test_going_on_gives_the_exponent_of_one_run",),
    ),
    Mutant(
        "past-exponent-of-before", "results/joining.py", "if name == LEARNING_TIMES else later", "",
        ("test_exponents.py::test_going_on_gives_the_exponent_of_one_run",),
    ),
    Mutant(
        "past-period-of-one-return", "results/periods.py", ".max(axis=1) <= most[left]", ".min(axis=1) <= most[left]",
        ("test_periods.py",),
    ),
    Mutant(
        "past-absolute-tolerance", "results/periods.py", "np.linalg.norm(x, axis=2).max(axis=1)",
        "np.ones(len(x))",
        ("test_periods.py::test_the_tolerance_is_relative_to_the_largest_and_holds_for_all_records",),
    ),
    Mutant(
        "past-correction-turned", "lockstep/recipe.py", "factors[:, 1] = -options.modified",
        "factors[:, 1] = options.modified",
        ("test_modified.py::test_the_field_is_that_of_the_modified_equation", "test_comparison.py"),
    ),
    Mutant(
        "past-decay-in-correction", "lockstep/recipe.py", "1 + options.modified * options.weight_decay / 2", "1",
        ("test_modified.py::test_the_field_is_that_of_the_modified_equation",),
    ),
    Mutant(
        "past-scratch-of-the-flow", "lockstep/recipe.py", "correction(products, widths, unit, hidden.n_scratch)",
        "correction(products, widths, unit, products.n_constants)",
        ("test_modified.py::test_what_is_recorded_is_of_the_loss_itself",),
    ),
    Mutant(
        "past-sums-of-dense", "products/gemm.py", "0 if p.d is None else ADDED if sums else SUBTRACTED",
        "0 if p.d is None else SUBTRACTED", ("test_modified.py::test_the_field_is_that_of_the_modified_equation",),
    ),
    Mutant(
        "past-times-of-updates", "fastdln/comparison.py", "np.rint(", "np.floor(",
        ("test_comparison.py::test_distances_are_those_of_single_runs_at_multiples_of_the_rate",),
    ),
    Mutant(
        "past-diverged-counts", "fastdln/comparison.py", "np.where(came[..., None], network.pack(sol.final), np.nan)",
        "network.pack(sol.final)", ("test_comparison.py::test_what_has_diverged_is_at_no_distance",),
    ),
    Mutant(
        "past-exponent-across", "descent/exponents.py", "across += np.log(np.abs(1 - rate * bend))",
        "across += np.log(np.abs(1 + rate * bend))", ("test_mode_exponents.py",),
    ),
    Mutant(
        "past-exponent-along", "descent/exponents.py", "((h - 1) * bend - h", "(h * bend - h",
        ("test_mode_exponents.py",),
    ),
)  # fmt: skip


class BrokenError(Exception):
    """A mutant, or the tree without one, of which the tests tell nothing."""


def mutated(mutant: Mutant, folder: Path) -> str:
    """The text of the file with the bug."""
    text = source_of(folder / "fastdln", mutant.file).read_text()
    if (count := text.count(mutant.old)) != 1:
        raise BrokenError(f"{mutant.name}: {mutant.old!r} occurs {count} times in {mutant.file}; expected once")
    changed = text.replace(mutant.old, mutant.new)
    try:
        compile(changed, mutant.file, "exec")
    except SyntaxError as error:
        raise BrokenError(f"{mutant.name}: {mutant.file} is no Python with the mutant: {error}") from None
    return changed


def source_of(folder: Path, tail: str) -> Path:
    """The file of a folder, or the one below it whose path ends so."""
    if (folder / tail).is_file():
        return folder / tail
    files = [path for path in folder.rglob(Path(tail).name) if path.as_posix().endswith(f"/{tail}")]
    if len(files) != 1:
        raise BrokenError(f"{len(files)} files below {folder.name} end with {tail}; expected one")
    return files[0]


def misfit(mutant: Mutant, folder: Path) -> str:
    """Why a mutant cannot be made, or nothing."""
    try:
        mutated(mutant, folder)
    except BrokenError as error:
        return str(error)
    return ""


def environment(tree: Path) -> dict[str, str]:
    """What commands are run with, so that a tree is what they import, and no other one is changed."""
    return os.environ | {
        "PYTHONPATH": str(tree),
        "PYTHONDONTWRITEBYTECODE": "1",  # what Python knows of a file it tells by size and time
        "FASTDLN_CACHE_DIR": str(tree.parent / "cache"),
        "HYPOTHESIS_PROFILE": "ci",
    }


def check_import(tree: Path) -> None:
    """Refuse to go on where another copy of the package would be tested."""
    command = [sys.executable, "-c", "import fastdln; print(fastdln.__file__)"]
    found = subprocess.run(command, cwd=tree, env=environment(tree), capture_output=True, text=True, check=True).stdout
    if not Path(found.strip()).is_relative_to(tree):
        raise BrokenError(f"the tests would import {found.strip()} and not what is in {tree}")


def failure(tests: Sequence[str], tree: Path) -> str:
    """What pytest says of tests that fail in a tree; nothing where they pass."""
    parted = (test.partition("::") for test in tests)
    chosen = [f"{source_of(tree / 'tests', file)}{mark}{name}" for file, mark, name in parted]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *chosen]
    try:
        done = subprocess.run(
            command, cwd=tree, env=environment(tree), capture_output=True, text=True, timeout=LONGEST, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no end within {LONGEST:g} s"
    if done.returncode not in (0, 1) or "numba.core.errors" in done.stdout:
        raise BrokenError(f"pytest ended with {done.returncode}:\n{done.stdout[-3000:]}{done.stderr[-1000:]}")
    return done.stdout[-3000:] if done.returncode else ""


def survives(mutant: Mutant, tree: Path) -> bool:
    """Whether its tests pass with the bug; the file is as before afterwards, its time too."""
    path, changed = source_of(tree / "fastdln", mutant.file), mutated(mutant, tree)
    before, times = path.read_text(), path.stat()
    path.write_text(changed)
    try:
        return not failure(mutant.tests, tree)
    finally:
        path.write_text(before)
        os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def chosen(names: Sequence[str], parts: Sequence[str]) -> list[Mutant]:
    """The mutants of these names, and those with one of these parts in their names; all where none is given."""
    known = {mutant.name for mutant in MUTANTS}
    if unknown := [name for name in names if name not in known]:
        raise BrokenError(f"no mutant has the name {', '.join(unknown)}; --list tells them")
    if not names and not parts:
        return list(MUTANTS)
    found = [m for m in MUTANTS if m.name in names or any(part in m.name for part in parts)]
    if not found:
        raise BrokenError(f"no mutant has {' or '.join(parts)} in its name; --list tells them")
    return found


def try_all(mutants: Sequence[Mutant]) -> list[str]:
    """Try mutants in a copy of the tree; returns the names of those that survive, or tell nothing."""
    if misplaced := [complaint for mutant in mutants if (complaint := misfit(mutant, ROOT))]:
        raise BrokenError("\n".join(misplaced))
    left = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / "tree"
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy2(ROOT / name, tree / name)
        check_import(tree)
        print(f"{'without any':40}", end="", flush=True)
        began = time.perf_counter()
        if said := failure(list(dict.fromkeys(test for mutant in mutants for test in mutant.tests)), tree):
            raise BrokenError(f"the tests of these mutants do not pass without them:\n{said}")
        print(f"passes      {time.perf_counter() - began:4.0f} s", flush=True)
        for number, mutant in enumerate(mutants, start=1):
            print(f"{number:3}/{len(mutants):<3} {mutant.name:32} ", end="", flush=True)
            began = time.perf_counter()
            try:
                verdict = "SURVIVED" if survives(mutant, tree) else "killed"
            except BrokenError as error:
                verdict = f"BROKEN: {error}"
            if verdict != "killed":
                left.append(mutant.name)
            print(f"{verdict:11} {time.perf_counter() - began:4.0f} s", flush=True)
    return left


def main() -> int:
    """Try the mutants that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="mutants to try; all by default")
    parser.add_argument("-k", action="append", default=[], metavar="PART", help="those with this part in their names")
    parser.add_argument("--list", action="store_true", help="print the names only")
    asked = parser.parse_args()
    try:
        mutants = chosen(asked.names, asked.k)
        if asked.list:
            print(*(mutant.name for mutant in mutants), sep="\n")
            return 0
        left = try_all(mutants)
    except BrokenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{len(mutants) - len(left)} of {len(mutants)} mutants killed" + "".join(f"\n  not: {x}" for x in left))
    return 1 if left else 0


if __name__ == "__main__":
    sys.exit(main())
