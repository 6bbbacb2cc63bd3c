"""Measurements: asv and pytest-benchmark over shared workloads, and scripts that print each figure."""
