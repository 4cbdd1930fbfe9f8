"""Proximal policy optimisation of consistency policies."""
