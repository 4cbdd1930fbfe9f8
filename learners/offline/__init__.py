"""Learning from fixed data."""
