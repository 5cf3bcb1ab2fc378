"""Records and messages as objects of JSON Lines: as in an export, with whose they are.

Imported by the rest of `rows` and by `output.lines`.
"""

from collections.abc import Mapping
from typing import Any

from msglog.broker.exporting import message_line
from msglog.broker.lane import Stored
from msglog.broker.rules.field_lines import pack_fields
from msglog.log.exporting import record_line
from msglog.types import Record


def argument_line(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return AMQP arguments as JSON can hold them."""
    return dict(pack_fields(dict(arguments)))


def topic_line(record: Record) -> dict[str, Any]:
    """Return a record with the name of its topic."""
    return {"topic": record.topic, **record_line(record)}


def queue_line(queue: str, stored: Stored) -> dict[str, Any]:
    """Return a message with the name of its queue."""
    return {"queue": queue, **message_line(stored)}
