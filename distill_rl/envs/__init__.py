"""Environments as the search and the learners see them: flat observations, actions in [-1, 1]."""
