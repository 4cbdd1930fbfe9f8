"""What is written to disk, atomically."""
