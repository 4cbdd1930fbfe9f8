"""Reports of learners that were never built."""

from learners.learner import LearnerReport


def make_report(policy_version=0, num_updates=0, weights=None, **counters):
    """Returns a report with zero for every counter that is not given."""
    names = (
        "num_replay_sets",
        "num_skipped_updates",
        "num_rollbacks",
        "num_invalid_sets",
        "num_lost_fragments",
    )
    counters = dict.fromkeys(names, 0) | counters
    return LearnerReport(policy_version, num_updates, weights, metrics=None, **counters)
