"""The public class of the log, put together from its parts.

Exported by `msglog`; imported by the layers above.
"""

from typing import Any, TypeVar, overload

from msglog.checks import wrong_type
from msglog.codecs import BYTES, Codec
from msglog.log.appending import Appending
from msglog.log.cleaning import Cleaning
from msglog.log.exporting import Exporting
from msglog.log.grouping import Grouping
from msglog.log.producer import Producer
from msglog.log.typed import OnDecodeError, RecordCodec, TypedTopic

K = TypeVar("K")
V = TypeVar("V")


class Log(Appending, Exporting, Cleaning, Grouping):
    """Topics of append-only partitions, in the shape of Kafka's, in one directory or in memory.

    Arguments:
        path_or_store: the path of a store, `":memory:"`, or an open `Store`. A log made from a path owns its
            store and closes it; one made from a store does not.
        store_options: what `Store` takes, with a path only.

    Raises what `Store` raises. Safe for any number of threads; a context manager. The objects it makes say
    themselves how many threads may use them.
    """

    def producer(self, name: str) -> Producer:
        """Become the holder of a producer's name and fence the one before, durably.

        `name`: any str of 1 to 255 printable characters. What the name has written stays known. Raises
        `InvalidNameError`, `ReadOnlyError`, `ClosedError`, `DiskFullError`.
        """
        self._check_writable()
        return Producer(self._core, name)

    @overload
    def topic(self, name: str, *, on_decode_error: OnDecodeError = "raise") -> TypedTopic[bytes, bytes]: ...
    @overload
    def topic(self, name: str, *, key: Codec[K], on_decode_error: OnDecodeError = "raise") -> TypedTopic[K, bytes]: ...
    @overload
    def topic(
        self, name: str, *, value: Codec[V], on_decode_error: OnDecodeError = "raise"
    ) -> TypedTopic[bytes, V]: ...
    @overload
    def topic(
        self, name: str, *, key: Codec[K], value: Codec[V], on_decode_error: OnDecodeError = "raise"
    ) -> TypedTopic[K, V]: ...
    def topic(
        self,
        name: str,
        *,
        key: Codec[Any] = BYTES,
        value: Codec[Any] = BYTES,
        on_decode_error: OnDecodeError = "raise",
    ) -> TypedTopic[Any, Any]:
        """Return a view of a topic with objects as keys and values. The topic need not exist yet.

        Arguments:
            name: the name of the topic.
            key: the codec of the keys.
            value: the codec of the values.
            on_decode_error: what becomes of a record whose bytes do not decode. "raise": a `DecodeError` that carries
                it; whoever reads on gets the next one. "skip": it is logged and left out. A callable is called with the
                `DecodeError`, and when it returns, the record is left out; what it raises goes on. A record of a share
                group that is left out is rejected, unless the callable has settled it.

        Raises `InvalidTypeError`, `ClosedError`. Cheap: every part of a program may make its own.
        """
        return self.view(name, RecordCodec(key, value, on_decode_error))

    def view(self, name: str, codec: RecordCodec[K, V]) -> TypedTopic[K, V]:
        """Return a view of a topic through codecs that were checked; not public. Raises as `topic` does."""
        self._check_open()
        if not isinstance(name, str):
            raise wrong_type("name", name, "the name of a topic")
        return TypedTopic(self, name, codec)
