"""Objectives: what a projection regresses onto."""
