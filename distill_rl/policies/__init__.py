"""Generative policies: `action = f(observation, noise)`."""
