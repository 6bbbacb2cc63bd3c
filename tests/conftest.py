"""What every test shares: how much hypothesis searches, and no window."""

from __future__ import annotations

import os

from hypothesis import HealthCheck, settings

# The first example of a property compiles kernels: no deadline, and slowness is no failure.
settings.register_profile(
    "default", deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("ci", settings.get_profile("default"), derandomize=True, print_blob=True)
settings.register_profile("thorough", settings.get_profile("default"), max_examples=500)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "default"))

os.environ.setdefault("MPLBACKEND", "Agg")
