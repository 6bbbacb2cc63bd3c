"""What comes back from a flow: trajectories, observables, files and datasets."""
