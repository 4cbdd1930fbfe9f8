"""Learning generative models of trajectories."""
