"""What a transaction is given before it commits: the half of its public class that collects.

Checks at once what can be known before the commit, and hands the rest to the stages of both models; nothing is written.
Views of topics, queues and exchanges become names and bytes here: the stages know no others. Imported by `transaction`.
"""

import sys
from collections.abc import Iterable, Mapping
from enum import Enum
from threading import Thread
from typing import Any, Never, Protocol, TypeVar, overload

from msglog.broker import Delivery, Message, Properties
from msglog.broker.publications import check_delay
from msglog.broker.staging import BrokerStage
from msglog.broker.typed import MessageCodec, TypedDelivery, TypedExchange, TypedQueue
from msglog.broker.vhost import VirtualHost
from msglog.checks import check_flag, refused, wrong_type
from msglog.errors import TransactionError, TransactionTooLargeError
from msglog.log import Consumer, Producer, ShareRecord
from msglog.log.appending import HeadersArgument
from msglog.log.staging import LogStage
from msglog.log.typed import RecordCodec, TypedConsumer, TypedRecord, TypedShareRecord, TypedTopic
from msglog.storage.options import MAX_COMMIT_BYTES
from msglog.store import StoreCore
from msglog.transactions import scope
from msglog.types import Record, TopicPartition

K = TypeVar("K")
V = TypeVar("V")
T = TypeVar("T")
S_co = TypeVar("S_co", covariant=True)


class StandIn(Protocol[S_co]):
    """What stands for an object of threads, as those for tasks do."""

    @property
    def sync(self) -> S_co:
        """The object."""


InHand = Delivery | ShareRecord | TypedDelivery[Any] | TypedShareRecord[Any, Any]
"""What a transaction can settle."""


class State(Enum):
    """How far a transaction is."""

    NEW = "has not begun: use it as `with store.transaction() as tx:`"
    OPEN = "is open"
    ROLLED_BACK = "was rolled back"
    COMMITTED = "was committed"
    FAILED = "has failed"


_here = scope.here
_no_loop = scope.no_loop
_modules = sys.modules
# Looking a member up in its enumeration takes as long as a short call.
NEW, OPEN = State.NEW, State.OPEN


class Collecting:
    """The methods of a transaction that collect, and its end, which forgets what was collected."""

    # Slots are found faster, here and by what is compiled.
    __slots__ = (
        "__weakref__",
        "_broker",
        "_core",
        "_engine",
        "_log",
        "_over",
        "_owner",
        "_size",
        "_state",
        "_thread",
        "_waits",
    )

    def __init__(self, core: StoreCore, producer: Producer | None) -> None:
        self._state = NEW
        # Whether it is a thread that waits for its commit, not one of the tasks of a loop, which wait together.
        self._waits = False
        # The thread that entered it, unless a loop ran there.
        self._thread: Thread | None = None
        # Whether its stages have ended, too.
        self._over = False
        self._core = core
        self._engine = core.engine
        self._log = LogStage(core, None) if producer is None else LogStage.of(core, producer)
        self._broker: BrokerStage | None = None
        self._owner: scope.Owner | None = None
        self._size = 0

    # The log

    @overload
    def append(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: bytes | None = None,
        headers: HeadersArgument = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
        expected_offset: int | None = None,
        expected_key_offset: int | None = None,
        sequence: int | None = None,
    ) -> None: ...
    @overload
    def append(
        self,
        topic: TypedTopic[K, V] | StandIn[TypedTopic[K, V]],
        value: V | None,
        *,
        key: K | None = None,
        headers: HeadersArgument = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
        expected_offset: int | None = None,
        expected_key_offset: int | None = None,
        sequence: int | None = None,
    ) -> None: ...
    def append(
        self,
        topic: str | TypedTopic[Any, Any] | StandIn[TypedTopic[Any, Any]],
        value: Any,
        *,
        key: Any = None,
        headers: HeadersArgument = (),
        partition: int | None = None,
        timestamp_ms: int | None = None,
        expected_offset: int | None = None,
        expected_key_offset: int | None = None,
        sequence: int | None = None,
    ) -> None:
        """Append one record. Arguments as for `Log.append`, and with a producer as for `Producer.append`.

        `topic`: its name, or a view (`Log.topic`), whose codecs encode `value` and `key`; that raises `EncodeError`.
        `expected_offset` counts what the transaction appends before; `expected_key_offset` is about the last record of
        the key before the transaction.
        """
        self._check_open()
        if not isinstance(topic, str) and isinstance(topic := _of_threads(topic), TypedTopic):
            codec = self._codec_of(topic)
            topic, value, key = topic.name, codec.encode_value(value), codec.encode_key(key)
        self._size += self._log.append(
            topic, value, sequence, key, headers, partition, timestamp_ms, expected_offset, expected_key_offset
        )
        if self._size > MAX_COMMIT_BYTES:
            self._fail_as_too_large()

    @overload
    def append_many(
        self,
        topic: str,
        values: Iterable[bytes | None],
        *,
        key: bytes | None = None,
        keys: Iterable[bytes | None] | None = None,
        headers: Iterable[HeadersArgument | None] | None = None,
        partition: int | None = None,
        timestamps_ms: Iterable[int] | None = None,
        expected_offset: int | None = None,
        expected_key_offset: int | None = None,
        first_sequence: int | None = None,
    ) -> None: ...
    @overload
    def append_many(
        self,
        topic: TypedTopic[K, V] | StandIn[TypedTopic[K, V]],
        values: Iterable[V | None],
        *,
        key: K | None = None,
        keys: Iterable[K | None] | None = None,
        headers: Iterable[HeadersArgument | None] | None = None,
        partition: int | None = None,
        timestamps_ms: Iterable[int] | None = None,
        expected_offset: int | None = None,
        expected_key_offset: int | None = None,
        first_sequence: int | None = None,
    ) -> None: ...
    def append_many(
        self,
        topic: str | TypedTopic[Any, Any] | StandIn[TypedTopic[Any, Any]],
        values: Iterable[Any],
        *,
        key: Any = None,
        keys: Iterable[Any] | None = None,
        headers: Iterable[HeadersArgument | None] | None = None,
        partition: int | None = None,
        timestamps_ms: Iterable[int] | None = None,
        expected_offset: int | None = None,
        expected_key_offset: int | None = None,
        first_sequence: int | None = None,
    ) -> None:
        """Append many records. Arguments as for `Log.append_many` and `Producer.append_many`; see `append`."""
        self._check_open()
        if not isinstance(topic, str) and isinstance(topic := _of_threads(topic), TypedTopic):
            codec = self._codec_of(topic)
            topic, values = topic.name, codec.encode_values(values)
            key, keys = codec.encode_key(key), codec.encode_keys(keys)
        self._size += self._log.append_many(
            topic,
            values,
            first_sequence,
            key=key,
            keys=keys,
            headers=headers,
            partition=partition,
            timestamps_ms=timestamps_ms,
            expected_offset=expected_offset,
            expected_key_offset=expected_key_offset,
        )
        if self._size > MAX_COMMIT_BYTES:
            self._fail_as_too_large()

    def commit_offsets(
        self,
        consumer_or_group: Consumer
        | TypedConsumer[Any, Any]
        | StandIn[Consumer]
        | StandIn[TypedConsumer[Any, Any]]
        | str,
        upto: Record | TypedRecord[Any, Any] | Mapping[TopicPartition, int] | None = None,
    ) -> None:
        """Commit a group's offsets, for one of its consumers, or for a group without members by its name.

        `upto`: as for `Consumer.commit`; None, for a consumer only, means its positions at this call. The commit raises
        `FencedError` or `RebalanceError` when the partitions are no longer the consumer's.
        """
        self._check_open()
        if type(consumer_or_group) is str and type(upto) is dict:
            self._log.commit_offsets(consumer_or_group, upto)
            return
        given = consumer_or_group if isinstance(consumer_or_group, str) else _of_threads(consumer_or_group)
        plain = given.raw if isinstance(given, TypedConsumer) else given
        self._log.commit_offsets(plain, upto.raw if isinstance(upto, TypedRecord) else upto)

    # The broker

    @overload
    def publish(
        self,
        exchange: str,
        routing_key: str,
        body: bytes,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
        delay_ms: int | None = None,
        persistent: bool = True,
        mandatory: bool = False,
    ) -> None: ...
    @overload
    def publish(
        self,
        exchange: TypedExchange[T] | StandIn[TypedExchange[T]],
        routing_key: str,
        body: T,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
        delay_ms: int | None = None,
        persistent: bool = True,
        mandatory: bool = False,
    ) -> None: ...
    def publish(
        self,
        exchange: str | TypedExchange[Any] | StandIn[TypedExchange[Any]],
        routing_key: str,
        body: Any,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
        delay_ms: int | None = None,
        persistent: bool = True,
        mandatory: bool = False,
    ) -> None:
        """Publish a message. Arguments as for `Broker.publish`; routed at the commit, which waits for its sync.

        `exchange`: its name, or a view (`Broker.exchange`), whose codec encodes `body`; that raises `EncodeError`.
        """
        self._check_open()
        if not isinstance(exchange, str) and isinstance(exchange := _of_threads(exchange), TypedExchange):
            codec = self._codec_of(exchange)
            exchange, body, properties = exchange.name, codec.encode(body), codec.properties(properties)
        stage = self._broker
        if stage is None:
            stage = self._stage()
        self._size += stage.publish(
            exchange,
            routing_key,
            body,
            headers,
            properties,
            priority,
            expiration_ms,
            delay_ms,
            persistent,
            mandatory,
        )
        if self._size > MAX_COMMIT_BYTES:
            self._fail_as_too_large()

    @overload
    def send(
        self,
        queue: str,
        body: bytes,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
        delay_ms: int | None = None,
        persistent: bool = True,
    ) -> None: ...
    @overload
    def send(
        self,
        queue: TypedQueue[T] | StandIn[TypedQueue[T]],
        body: T,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
        delay_ms: int | None = None,
        persistent: bool = True,
    ) -> None: ...
    def send(
        self,
        queue: str | TypedQueue[Any] | StandIn[TypedQueue[Any]],
        body: Any,
        *,
        headers: Mapping[str, Any] | None = None,
        properties: Properties | None = None,
        priority: int | None = None,
        expiration_ms: int | None = None,
        delay_ms: int | None = None,
        persistent: bool = True,
    ) -> None:
        """Publish a message to one queue, by name or by a view (`Broker.queue`). Arguments as for `Broker.send`.

        `QueueNotFoundError` is raised now, or at the commit when the queue was deleted meanwhile.
        """
        self._check_open()
        if not isinstance(queue, str) and isinstance(queue := _of_threads(queue), TypedQueue):
            codec = self._codec_of(queue)
            queue, body, properties = queue.name, codec.encode(body), codec.properties(properties)
        self._size += self._stage().publish(
            "",
            queue,
            body,
            headers,
            properties,
            priority,
            expiration_ms,
            delay_ms,
            persistent,
            False,  # noqa: FBT003 by name takes twice as long
            send=True,
        )
        if self._size > MAX_COMMIT_BYTES:
            self._fail_as_too_large()

    @overload
    def publish_many(
        self,
        exchange: str,
        messages: Iterable[tuple[str, bytes] | Message],
        *,
        persistent: bool = True,
        mandatory: bool = False,
    ) -> None: ...
    @overload
    def publish_many(
        self,
        exchange: TypedExchange[T] | StandIn[TypedExchange[T]],
        messages: Iterable[tuple[str, T]],
        *,
        persistent: bool = True,
        mandatory: bool = False,
    ) -> None: ...
    def publish_many(
        self,
        exchange: str | TypedExchange[Any] | StandIn[TypedExchange[Any]],
        messages: Iterable[Any],
        *,
        persistent: bool = True,
        mandatory: bool = False,
    ) -> None:
        """Publish many messages. Arguments as for `Broker.publish_many`; `exchange` as for `publish`."""
        self._check_open()
        if not isinstance(exchange, str) and isinstance(exchange := _of_threads(exchange), TypedExchange):
            codec = self._codec_of(exchange)
            exchange, messages = exchange.name, codec.messages(messages)
        self._size += self._stage().publish_many(exchange, messages, persistent=persistent, mandatory=mandatory)
        if self._size > MAX_COMMIT_BYTES:
            self._fail_as_too_large()

    # Settling

    def ack(self, delivery: InHand) -> None:
        """Settle a delivery or a share record: the work is done with the commit.

        Raises `SettlementError` when it was settled, is part of a transaction already, or is of another store; so do
        `nack` and `reject`.
        """
        self._check_open()
        raw = delivery if type(delivery) is Delivery else _raw(delivery)
        if isinstance(raw, ShareRecord):
            self._log.settle(raw, "ack")
            return
        stage = self._broker
        if stage is None:
            stage = self._stage()
        stage.settle(raw, "ack")

    def nack(
        self,
        delivery: InHand,
        requeue: bool = True,  # noqa: FBT001, FBT002 as AMQP has it
        *,
        delay_ms: int = 0,
    ) -> None:
        """Give a delivery back, or release a share record, with the commit; without `requeue` reject it.

        `delay_ms`: as for `Delivery.nack`; a share record comes back at once.
        """
        self._check_open()
        check_flag("requeue", requeue)
        check_delay(delay_ms)
        raw = _raw(delivery)
        if isinstance(raw, ShareRecord):
            self._log.settle(raw, "release" if requeue else "reject")
        else:
            self._stage().settle(raw, "requeue" if requeue else "reject", delay_ms)

    def reject(self, delivery: InHand) -> None:
        """Dead-letter a delivery, or settle a share record without the work being done, with the commit."""
        self.nack(delivery, requeue=False)

    def _end(self, state: State) -> None:
        if self._owner is not None:
            scope.leave(self._core, self._owner)
        before = self._state
        if before is OPEN or before is NEW:
            self._state = state
        self._end_stages()

    def _end_stages(self) -> None:
        self._log.end()
        if self._broker is not None:
            self._broker.end()
        self._over = True  # last: an interrupt may strike before

    # Inside

    def _check_open(self) -> None:
        # Each call asks it, and nearly always it is a thread without a loop that does.
        if (
            self._thread is not _here.thread
            or self._state is not OPEN
            or self._engine.closed
            or getattr(_modules.get("asyncio"), "_get_running_loop", _no_loop)() is not None  # as in `scope`
        ):
            self._check_open_by_owner()

    def _check_open_by_owner(self) -> None:
        if self._state is not OPEN:
            raise TransactionError(f"the transaction {self._state.value}")
        if self._owner is None or self._owner != scope.current_owner():
            raise TransactionError("the transaction belongs to another thread or task")
        self._engine.check_open()

    @overload
    def _codec_of(self, view: TypedTopic[Any, Any]) -> RecordCodec[Any, Any]: ...
    @overload
    def _codec_of(self, view: TypedQueue[Any] | TypedExchange[Any]) -> MessageCodec[Any]: ...
    def _codec_of(self, view: TypedTopic[Any, Any] | TypedQueue[Any] | TypedExchange[Any]) -> Any:
        """Return the codec of a view. Raises `InvalidOptionError` for one of another store."""
        if view.store.core is not self._core:
            raise refused("view", view, "a view of the same store")
        return view.codec

    def _stage(self) -> BrokerStage:
        if self._broker is None:
            self._broker = BrokerStage(VirtualHost.of(self._core))
        return self._broker

    def _fail_as_too_large(self) -> Never:
        self._end(State.FAILED)
        raise TransactionTooLargeError(
            f"the transaction has {self._size} bytes, at most {MAX_COMMIT_BYTES} fit: it is rolled back",
            size=self._size,
            limit=MAX_COMMIT_BYTES,
        )


def _of_threads(given: Any) -> Any:
    """Return what something stands for, else the thing itself."""
    return getattr(given, "sync", given)


def _raw(delivery: object) -> Delivery | ShareRecord:
    if type(delivery) is Delivery:  # nearly always; a union of types is made anew each time
        return delivery
    if isinstance(delivery, TypedDelivery | TypedShareRecord):
        return delivery.raw
    if not isinstance(delivery, Delivery | ShareRecord):
        raise wrong_type("delivery", delivery, "a Delivery or a ShareRecord")
    return delivery
