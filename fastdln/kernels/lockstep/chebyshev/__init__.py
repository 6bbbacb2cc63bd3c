"""Stabilized methods, each lane with its own: ROCK4 or RKC2, number of stages, and step.

Lanes go through the recurrence together; one whose stages are done waits with factors zero for the one with the most.
"""
