"""Where records go that were given up: a topic, since topics have no exchange for them. Imported by `sources`.

A dead letter has the record's key, value, headers and timestamp, and headers of its own that tell where it comes from
and why it is here.
"""

from typing import Final

from msglog.checks import refused
from msglog.log.rules.names import check_topic_name
from msglog.store import Store
from msglog.transactions.transaction import Transaction
from msglog.types import Headers, Record

SUFFIX: Final = ".dead-letters"
_MOST_REASON_BYTES: Final = 1000


class DeadLetters:
    """The dead letters of one source. `topic`: where they go, None for `<topic of the record>.dead-letters`.

    Raises `InvalidNameError`.
    """

    def __init__(self, store: Store, topic: str | None) -> None:
        self._store = store
        self._topic = None if topic is None else check_topic_name(topic)

    def topic_for(self, record: Record) -> str:
        """Return the topic for a record's dead letter, which is made if it is not there.

        Raises `InvalidOptionError` for the topic that the record comes from, where it would never end.
        """
        topic = record.topic + SUFFIX if self._topic is None else self._topic
        if topic == record.topic:
            raise refused("dead_letter", topic, "another topic than those that are read")
        if topic not in self._store.log.topics():
            self._store.log.create_topic(topic, exist_ok=True)
        return topic

    @staticmethod
    def add(tx: Transaction, topic: str, record: Record, attempts: int, error: Exception) -> None:
        """Make a record's dead letter part of a transaction."""
        reason = f"{type(error).__name__}: {error}".encode(errors="replace")[:_MOST_REASON_BYTES]
        told: Headers = (
            ("dead-letter-topic", record.topic.encode()),
            ("dead-letter-partition", b"%d" % record.partition),
            ("dead-letter-offset", b"%d" % record.offset),
            ("dead-letter-attempts", b"%d" % attempts),
            ("dead-letter-reason", reason),
        )
        tx.append(
            topic,
            record.value,
            key=record.key,
            headers=(*record.headers, *told),
            timestamp_ms=record.timestamp_ms,
        )
