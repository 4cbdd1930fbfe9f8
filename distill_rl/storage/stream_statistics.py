"""Counters of both ends of the reference stream."""

import dataclasses


@dataclasses.dataclass
class ProducerStatistics:
    """Counters of a producer; all of them only grow but `num_outstanding`.

    Attributes:
      num_sets: reference sets handed in.
      num_sent_messages: messages that Redis acknowledged.
      num_sent_bytes: bytes of them.
      num_sent_sets: reference sets in them.
      num_dropped_sets: reference sets given up, because the buffer stayed full or the producer was closed.
      num_outages: times that Redis did not answer, or had no memory or disk left.
      blocked_sec: seconds that were waited for the consumer.
      num_outstanding: messages in Redis when last looked, of all producers together.
    """

    num_sets: int = 0
    num_sent_messages: int = 0
    num_sent_bytes: int = 0
    num_sent_sets: int = 0
    num_dropped_sets: int = 0
    num_outages: int = 0
    blocked_sec: float = 0.0
    num_outstanding: int = 0


@dataclasses.dataclass
class ConsumerStatistics:
    """Counters of a consumer; all of them only grow but the last two.

    Attributes:
      num_messages: good messages that were new; what was in flight at a restore is new once more.
      num_bytes: bytes of them.
      num_sets: reference sets in them.
      num_acknowledged: messages acknowledged, because the learner has what they held.
      num_duplicates: messages that had come before.
      num_dead_letters: messages that were refused, and put aside.
      num_claimed: messages taken over from a consumer that died.
      num_outages: times that Redis did not answer.
      num_outstanding: messages in Redis when last looked, those not yet acknowledged included.
      num_dropped_sets: reference sets that the actors heard of say they gave up.
    """

    num_messages: int = 0
    num_bytes: int = 0
    num_sets: int = 0
    num_acknowledged: int = 0
    num_duplicates: int = 0
    num_dead_letters: int = 0
    num_claimed: int = 0
    num_outages: int = 0
    num_outstanding: int = 0
    num_dropped_sets: int = 0
