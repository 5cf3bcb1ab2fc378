"""Topics with objects in them: a view of a topic, and of who reads and appends, through codecs.

    record      records with objects; the step between them and bytes, pure
    topic       the view
    consumer    consumer, share: who reads; producer: who appends under a name

A view holds a name and codecs, and calls what the untyped classes offer. Imported by `log`.
"""

from msglog.log.typed.consumer import TypedConsumer
from msglog.log.typed.producer import TypedProducer
from msglog.log.typed.record import OnDecodeError, RecordCodec, TypedRecord
from msglog.log.typed.share import TypedShareConsumer, TypedShareRecord
from msglog.log.typed.topic import TypedTopic

__all__ = [
    "OnDecodeError",
    "RecordCodec",
    "TypedConsumer",
    "TypedProducer",
    "TypedRecord",
    "TypedShareConsumer",
    "TypedShareRecord",
    "TypedTopic",
]
