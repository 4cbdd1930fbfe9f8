"""RLlib algorithms: where actors and learners meet."""
