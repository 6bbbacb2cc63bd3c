"""How lanes advance: the loop over a queue of trajectories, its steps, control and records."""
