"""What the figures show is what they say: their numbers against closed forms and the statements of the theory."""

from __future__ import annotations

import numpy as np
import pytest

import fastdln as dln
from fastdln.figures import escapes, modes, plateaus, portrait, separable, updates, vectors

# ---- 1: one balanced mode


@pytest.fixture(scope="module")
def scalar() -> modes.Numbers:
    return modes.numbers()


def test_the_scalar_field_is_that_of_a_network_of_equal_layers(scalar):
    layer = scalar.s[:, None, None]
    for slope, sigma in zip(scalar.slope, modes.SIGMA, strict=True):
        field = dln.rhs((layer,) * 3, dln.Quadratic([[sigma]]))[1][:, 0, 0]
        assert np.allclose(slope, field, atol=1e-12)


def test_equilibria_are_half_stable_at_0_and_stable_above(scalar):
    assert np.allclose(scalar.equilibria**3, modes.SIGMA)
    for slope, s in zip(scalar.slope, scalar.equilibria, strict=True):
        assert (slope[(scalar.s < s) & (scalar.s != 0)] > 0).all()
        assert (slope[scalar.s > s] < 0).all()


def test_layers_follow_the_closed_form(scalar):
    assert np.abs(scalar.layers - scalar.closed[:, :, None]).max() < 1e-6


def test_equal_starts_learn_in_sequence_and_unequal_ones_together(scalar):
    equal, unequal = scalar.learning_times
    assert (np.diff(equal) > 0.5).all()
    assert np.allclose(equal, dln.theory.exact.mode_time(scalar.equilibria / 2 ** (1 / 3), 0.1, modes.SIGMA, 3))
    assert np.ptp(unequal) < 1e-5
    assert np.ptp(scalar.layers[0, 0]) < 1e-12 < 0.1 < np.ptp(scalar.layers[1, 0])


def test_a_seed_chooses_the_bases_alone():
    one, same, other = (modes.numbers(seed) for seed in (1, 1, 2))
    assert np.array_equal(one.layers, same.layers)
    assert np.allclose(one.layers, other.layers, atol=1e-6)
    assert not np.array_equal(one.layers, other.layers)


# ---- 2: near the origin and away from it


@pytest.fixture(scope="module")
def starts() -> plateaus.Numbers:
    return plateaus.numbers()


def test_critical_values(starts):
    squares = np.square(plateaus.SIGMA)
    assert np.allclose(starts.critical, [squares[k:].sum() / 2 for k in range(5)], atol=1e-12)


def test_near_the_origin_the_flow_stays_at_every_critical_value_in_turn(starts):
    near = starts.itinerary[0]
    assert near.sequential
    assert near.order.tolist() == [0, 1, 2, 3]
    assert near.learned.sum(axis=-1).tolist() == [0, 1, 2, 3, 4]
    assert np.allclose(near.value, starts.critical, atol=1e-12)
    there = np.interp(near.closest, starts.t, starts.loss[0])
    assert np.allclose(there, starts.critical, rtol=0.02, atol=1e-6)
    assert (np.diff([near.entry, near.exit], axis=0) > 0.5).all()


def test_away_from_it_there_is_no_plateau(starts):
    away = starts.itinerary[1]
    assert not away.sequential
    assert away.n_plateaus == 1
    assert away.kind[0] == "global_minimum"


def test_both_end_in_a_global_minimum(starts):
    assert (starts.grad_norm < 1e-5).all()
    assert (starts.loss[:, -1] < 1e-10).all()
    for values in (starts.singular_values, starts.strengths):
        assert np.allclose(values[:, -1], plateaus.SIGMA, atol=1e-5)


# ---- 3: singular vectors of adjacent layers


@pytest.fixture(scope="module")
def layers() -> vectors.Numbers:
    return vectors.numbers()


def test_apart_they_align_and_in_pairs_they_do_not(layers):
    apart, pairs = layers.alignment[:, -1]
    assert (apart > 0.99).all()
    assert 0.77 < pairs.min() < 0.96
    assert (layers.least[0] > 0.99).all()
    assert np.median(layers.least[1]) < 0.96


def test_starts_are_delta_balanced_for_all_times_and_learn(layers):
    assert np.allclose(layers.imbalance, vectors.DELTA, rtol=1e-4)
    assert (layers.loss < 1e-10).all()


def test_the_start_shown_is_that_of_the_median(layers):
    shown = layers.alignment[:, -1].min(axis=(-2, -1))
    assert np.allclose(shown, np.sort(layers.least)[:, vectors.STARTS // 2], atol=1e-4)
    assert np.allclose(np.diagonal(layers.overlaps, axis1=-2, axis2=-1), layers.alignment[:, -1], atol=1e-4)
    assert np.allclose(np.square(layers.overlaps).sum(axis=-1), 1)
    mixed = layers.overlaps[1, :, 2, 3]  # within the pair that does not align
    assert (mixed > 0.2).any()


# ---- 4: arcs


@pytest.fixture(scope="module")
def arcs() -> escapes.Numbers:
    return escapes.numbers()


def test_every_kind_of_critical_point_is_there(arcs):
    assert arcs.kinds == ("global_minimum", "strict_saddle", *["nonstrict_saddle"] * 4)
    assert arcs.orders == (2, 2, 3, 4, 5, 4)
    assert arcs.pivots == (0, 2, 3, 4, 5, 3)
    assert np.allclose(arcs.value, [0, *[0.5] * 5], atol=1e-12)


def test_the_loss_changes_with_the_order_of_the_arc(arcs):
    assert np.allclose(arcs.fitted, arcs.orders, atol=0.05)
    change = arcs.loss - arcs.value[:, None]
    near = arcs.alpha <= 0.1
    assert (change[0] > 0).all()
    assert (np.diff(change[1:, near], axis=1) < 0).all()
    assert np.allclose(change[1:], arcs.exact[1:], rtol=1e-3, atol=1e-13)
    assert np.allclose(change[0, :4], arcs.exact[0, :4], rtol=0.05)


# ---- 5: widths 1, 1, 1


@pytest.fixture(scope="module")
def smallest() -> portrait.Numbers:
    return portrait.numbers()


def test_the_hyperbola_and_the_origin_are_critical(smallest):
    assert np.allclose(smallest.minima.prod(axis=-1), portrait.SIGMA)
    assert (smallest.gradients < 1e-12).all()
    assert np.allclose(smallest.curvatures, [-portrait.SIGMA, portrait.SIGMA])


def test_flows_keep_their_hyperbola_and_end_in_minima(smallest):
    assert np.ptp(smallest.constants, axis=1).max() < 1e-7
    assert np.allclose(smallest.flows[:, -1].prod(axis=-1), portrait.SIGMA, atol=1e-6)
    assert np.allclose(np.abs(smallest.flows[:, 0]).max(axis=-1), portrait.EXTENT)
    assert np.abs(smallest.into).max() < 1e-6


def test_the_surface_is_the_loss(smallest):
    assert np.allclose(smallest.surface, (portrait.SIGMA - smallest.disc.prod(axis=-1)) ** 2 / 2)


def test_the_plateau_lasts_with_the_logarithm_of_the_distance(smallest):
    """What is e times as near to the saddle's stable line stays 1/sigma longer."""
    passed = [np.interp(-0.25, -values, smallest.t) for values in smallest.loss]
    assert np.allclose(np.diff(passed[1:]), np.log(5) / portrait.SIGMA, rtol=0.03)
    assert (np.abs(smallest.loss[-1] - portrait.SIGMA**2 / 2) < 0.02).mean() * smallest.t[-1] > 1.5


# ---- 6: discrete updates


@pytest.fixture(scope="module")
def discrete() -> updates.Numbers:
    return updates.numbers()


def test_descent_follows_the_flow_to_first_and_the_modified_flow_to_second_order(discrete):
    assert abs(discrete.order_flow - 1) < 0.05
    assert abs(discrete.order_modified - 2) < 0.05
    assert (discrete.to_modified < 0.2 * discrete.to_flow).all()


def test_the_drift_is_what_the_gradients_add_up_to(discrete):
    assert np.abs(discrete.drift[0] - discrete.summed).max() < 1e-11
    ends = np.array([drift[-1] for drift in discrete.drift])
    assert np.allclose(ends[:-1] / ends[1:], 2, rtol=0.05)
    assert discrete.flow_drift.max() < 1e-10


def test_the_limit_of_stability_from_both_sides(discrete):
    h, sigma = updates.NETWORK.depth, max(updates.SIGMA)
    assert np.isclose(discrete.limit, 2 / (h * sigma ** (2 - 2 / h)))
    slow, just_below, just_above, fast = discrete.near
    assert slow[-1] < 1e-20
    assert just_below[-1] < 1e-8 * just_below[0]
    assert just_above[-1] > 1e3 * just_above[0]
    assert fast[-1] > 0.1
    for values, share in zip((just_below, just_above), (0.98, 1.02), strict=True):
        per_update = np.log(values[80] / values[40]) / 40
        assert np.isclose(per_update, 2 * np.log(abs(1 - 2 * share)), rtol=0.05)


def test_the_scalar_mode_doubles_its_period_until_there_is_none(discrete):
    first, second, third = discrete.doublings[:3]
    assert np.allclose([first, second, third], [1, np.sqrt(5) - 1, 1.2880318], atol=1e-6)
    spans = ((0.9, first, 1), (first, second, 2), (second, third, 4))
    for low, high, period in spans:
        within = (discrete.etas > low + 0.01) & (discrete.etas < high - 0.01)
        assert within.any()
        assert (discrete.periods[within] == period).all()
        assert (discrete.along[within] < 0).all()
    assert (discrete.periods[discrete.etas > 1.9] == 0).mean() > 0.9
    assert np.isclose(discrete.along[-1], np.log(3), atol=0.05)
    assert np.allclose(discrete.orbits[0], 1)


# ---- 7: separable data


@pytest.fixture(scope="module")
def separated() -> separable.Numbers:
    return separable.numbers()


def test_the_largest_margin(separated):
    angles = np.linspace(0, 2 * np.pi, 20001)
    tried = np.stack([np.cos(angles), np.sin(angles)], axis=-1) @ (separated.inputs * separated.labels)
    assert separated.margin > 0
    assert np.isclose(tried.min(axis=-1).max(), separated.margin, rtol=1e-4)
    assert np.isclose(np.linalg.norm(separated.best), 1)


def test_the_product_turns_to_it_as_slowly_as_1_over_ln_t(separated):
    decades = np.searchsorted(separated.t, 10.0 ** np.array([2, 4, 6, 8, 10, 11.9]))
    angle = separated.angle[:, decades]
    assert (np.diff(angle) < 0).all()
    assert (angle[:, -1] < 1).all()
    late = angle[:, -3:] * np.log(separated.t[decades[-3:]])
    assert (np.ptp(late, axis=1) < 0.1 * late[:, 0]).all()


def test_layers_tend_to_rank_one_and_align(separated):
    decades = np.searchsorted(separated.t, 10.0 ** np.array([2, 4, 6, 8, 10, 11.9]))
    for values, least in ((separated.ratio, 0.3), (separated.misalignment, 1e-3)):
        assert (np.diff(values[:, decades], axis=1) < 0).all()
        assert (values[:, decades[-1]] < least).all()


def test_weights_grow_and_balance_is_conserved(separated):
    assert (np.diff(separated.loss) < 0).all()
    assert (separated.squares[:, -1] > 10).all()
    traces = np.diff(separated.squares, axis=-1)
    assert np.ptp(traces, axis=1).max() < 1e-9
    assert separated.drift.max() < 1e-9
