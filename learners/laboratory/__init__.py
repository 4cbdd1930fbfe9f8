"""Experiments on the projection alone, with targets whose densities are known."""
