"""The `distill-rl` command line and its reports."""
