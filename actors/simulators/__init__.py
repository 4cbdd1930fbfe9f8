"""Models of an environment that a search can step."""
