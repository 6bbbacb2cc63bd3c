"""What every test shares: how much hypothesis searches, no window, and which tests pass through BLAS or LAPACK."""

from __future__ import annotations

import os

import pytest
import scipy.linalg  # noqa: F401  loads SciPy's own copy of OpenBLAS
from hypothesis import HealthCheck, settings
from numpy._core._multiarray_umath import __cpu_dispatch__, __cpu_features__
from threadpoolctl import threadpool_info

from fastdln.kernels.machine.lanes import lane_count

# The first example of a property compiles kernels: no deadline, and slowness is no failure.
settings.register_profile("default", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

os.environ.setdefault("MPLBACKEND", "Agg")

# A test counts as one that passes through BLAS or LAPACK, whose rounding differs from machine to machine, unless its
# module is one of these, which call neither.
FREE = {
    *("test_control", "test_docstrings", "test_documents", "test_elementary", "test_law", "test_network"),
    *("test_gallery", "test_help", "test_packaging", "test_problems", "test_site"),
    *("test_scan_spec", "test_stages", "test_theory_pages", "test_tiles"),
}
# Of these only targets, starts and references do, or they take long for what they do.
PREPARED = {
    *("test_arguments", "test_cache", "test_certified", "test_choose", "test_cli", "test_cli_interrupts"),
    *("test_completion", "test_custom", "test_descend", "test_evaluation", "test_exact_networks", "test_examples"),
    *("test_failures", "test_figure_files", "test_files", "test_flow", "test_guides", "test_hessian_mapped"),
    *("test_hidden_growth",),
    *("test_invariance", "test_itinerary", "test_learning_times", "test_long_times", "test_mapped", "test_maps"),
    *("test_memory", "test_observables", "test_padding", "test_picture", "test_plain", "test_program", "test_pytorch"),
    *("test_records", "test_scan_creation", "test_scan_damage", "test_scan_formats", "test_scan_losses"),
    *("test_scan_moved", "test_scan_run", "test_scan_store", "test_skinny", "test_slices", "test_small_starts"),
    *("test_stabilized", "test_step_sequences", "test_stiff", "test_tableaus", "test_trajectories", "test_trees"),
    *("test_twins", "test_view_browser", "test_view_reading", "test_view_server"),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.stem not in FREE:
            item.add_marker("lapack")
        if item.path.stem in PREPARED:
            item.add_marker("prepared")


def pytest_report_header() -> str:
    kernels = ", ".join(f"{blas['internal_api']} for {blas.get('architecture')}" for blas in threadpool_info())
    features = " ".join(name for name in __cpu_dispatch__ if __cpu_features__[name]) or "its baseline alone"
    return f"machine: {kernels}; NumPy with {features}; {lane_count()} lanes"
