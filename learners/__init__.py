"""Learning: projections of reference sets onto one-step policies."""
