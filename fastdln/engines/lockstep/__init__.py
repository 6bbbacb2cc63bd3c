"""Many trajectories in lockstep: lanes and dense, which share the loop and differ in their products."""
