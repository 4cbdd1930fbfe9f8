"""Noise schedules, scalings and samplers of diffusion and consistency models."""
