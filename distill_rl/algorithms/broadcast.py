"""Which of the learner's weights go out, and to whom."""

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from distill_rl.algorithms.fragment_gate import FragmentGate
from distill_rl.algorithms.loop_metrics import LoopMetrics
from learners.learner import LearnerReport

PublishFn = Callable[[int, Mapping[str, Any]], Any]
"""`(policy_version, weights)`: gives weights to some of those that act."""

_logger = logging.getLogger(__name__)


class Broadcast:
    """Hands the learner's weights to all that act, if they are finite and new enough.

    Args:
      publish_fns: one for each way to those that act, called in this order.
      gate: counts the lag of fragments from the version that went out last.
      metrics: shows that version, and counts the weights held back.
      interval_updates: fewest updates between two broadcasts.
    """

    def __init__(
        self,
        publish_fns: Sequence[PublishFn],
        gate: FragmentGate,
        metrics: LoopMetrics,
        interval_updates: int,
    ) -> None:
        self._publish_fns = publish_fns
        self._gate = gate
        self._metrics = metrics
        self._interval_updates = interval_updates

    def offer(self, report: LearnerReport) -> None:
        """Publishes the weights of a report, unless they are not finite, or too close to the last ones."""
        if report.num_updates == 0:
            return
        if report.weights is None:
            self._metrics.num_unpublished += 1
            _logger.warning("the weights of version %d are not finite and stay back", report.policy_version)
        elif report.policy_version >= self._metrics.policy_version + self._interval_updates:
            self._publish(report.policy_version, report.weights)

    def start(self, report: LearnerReport) -> None:
        """Publishes the weights of a report whatever went out before: at a start, or after a restore.

        Raises:
          ValueError: if they are not finite.
        """
        if report.weights is None:
            raise ValueError(f"`weights` must be finite, got version {report.policy_version} with NaN or inf")
        self._publish(report.policy_version, report.weights)

    def _publish(self, policy_version: int, weights: Mapping[str, Any]) -> None:
        self._metrics.policy_version = policy_version
        self._gate.publish(policy_version)
        for publish_fn in self._publish_fns:
            publish_fn(policy_version, weights)
