"""The part of `Channel` that takes messages and settles them.

Deliveries are offered in whichever thread brings them about; here they only come out of the inbox. Imported by
`channel`.
"""

from collections.abc import Callable, Mapping
from time import monotonic
from typing import Any, Final

from msglog.broker.channel.base import ChannelBase
from msglog.broker.channel.consumers import ChannelConsumer, ReplyConsumer
from msglog.broker.channel.events import ChannelEvent, GetOk
from msglog.broker.channel.inbox import with_delivery_count
from msglog.broker.queue import Queue
from msglog.broker.replies import REPLY_TO
from msglog.broker.rules.field_table import check_headers, field_type
from msglog.broker.rules.message_codec import unpack_meta
from msglog.broker.rules.names import described
from msglog.broker.subscriber import Subscriber, Taken
from msglog.checks import check_flag, check_integer, check_timeout, wrong_type
from msglog.errors import NotAllowedError, NotSupportedError, PreconditionFailedError
from msglog.waiting import deadline_after

_MOST_PREFETCH: Final = (1 << 16) - 1
_PRIORITY: Final = "x-priority"


class Consuming(ChannelBase):
    """`basic_qos`, `basic_consume`, `basic_cancel`, `basic_get`, `poll`, and what settles."""

    # Consumers

    def basic_qos(self, prefetch_size: int = 0, prefetch_count: int = 0, global_qos: bool = False) -> None:  # noqa: FBT001, FBT002 as AMQP has it
        """Limit how many deliveries may be unsettled.

        `prefetch_count`: 0 to 65535, 0 is no limit: of each consumer that starts after this, or with `global_qos` of
        all consumers of the channel together. `basic_get` and `no_ack` consumers know no limit. Raises
        `NotSupportedError` unless `prefetch_size` is 0, `InvalidOptionError`, `InvalidTypeError`.
        """
        with self._use:
            if check_integer("prefetch_size", prefetch_size, 0):
                raise NotSupportedError(f"prefetch_size!=0 ({prefetch_size})")
            count = check_integer("prefetch_count", prefetch_count, 0, _MOST_PREFETCH)
            session, vhost = self._session, self._vhost
            with vhost.lock:
                if not check_flag("global_qos", global_qos):
                    session.prefetch = count
                    return
                session.limit = count
                session.rejoin(session.consumers.values())
                vhost.attend()

    def basic_consume(
        self,
        queue: str,
        consumer_tag: str = "",
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        no_local: bool = False,
        arguments: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a consumer: messages are handed out to it from now on, and come out of `poll`. Return its tag.

        Arguments:
            queue: its name; "" is the one declared last on this channel. "amq.rabbitmq.reply-to" takes the answers to
                messages that this channel publishes with that `reply_to`; it must be `no_ack`.
            consumer_tag: one that the connection does not use yet on this channel; "" has one made up.
            no_ack: messages count as settled when they are handed out.
            exclusive: there may be no other consumer of the queue meanwhile.
            no_local: taken and ignored, as RabbitMQ does.
            arguments: `x-priority`, an int: of several consumers with room the highest is served first.

        It is served ahead of `poll` up to its prefetch; without one (or `no_ack`) until 1000 messages or 8 MiB lie
        ready to be polled. Raises `QueueNotFoundError`, `ResourceLockedError`, `AccessRefusedError` when an exclusive
        consumer is in the way, `NotAllowedError` for a tag in use, `PreconditionFailedError`, `InvalidTypeError`.
        """
        with self._use:
            session = self._session
            name = session.queue_name(_check_name("queue", queue))
            tag = _check_name("consumer_tag", consumer_tag) or session.new_consumer_tag()
            check_flag("no_ack", no_ack)
            check_flag("exclusive", exclusive)
            check_flag("no_local", no_local)
            reply = session.reply_consumer
            if tag in session.consumers or (reply is not None and reply.tag == tag):
                raise NotAllowedError(f"attempt to reuse consumer tag '{tag}'")
            if name == REPLY_TO:
                return self._consume_replies(tag, no_ack=no_ack)
            return self._consume(name, tag, no_ack=no_ack, exclusive=exclusive, arguments=arguments)

    def _consume(
        self, name: str, tag: str, *, no_ack: bool, exclusive: bool, arguments: Mapping[str, Any] | None
    ) -> str:
        session, vhost = self._session, self._vhost
        with vhost.lock:
            session.check_open()
            queue = vhost.queue(name, session.connection)
            priority = _priority(queue, arguments)
            vhost.check_may_consume(queue, exclusive=exclusive)
            consumer = ChannelConsumer(
                session, queue, tag, prefetch=session.prefetch, no_ack=no_ack, exclusive=exclusive, priority=priority
            )
            session.consumers[tag] = consumer
            vhost.add_subscriber(consumer)
            vhost.touch(queue)
            queue.join_line(consumer)
            vhost.news[queue] = None
            vhost.attend()
        return tag

    def _consume_replies(self, tag: str, *, no_ack: bool) -> str:
        session, vhost = self._session, self._vhost
        if session.reply_consumer is not None:
            raise PreconditionFailedError("reply consumer already set")
        if not no_ack:
            raise PreconditionFailedError("reply consumer cannot acknowledge")
        with vhost.lock:
            session.check_open()
            session.reply_consumer = ReplyConsumer(tag, vhost.replies.open(session.take_reply))
        return tag

    def basic_cancel(self, consumer_tag: str) -> None:
        """End a consumer; an unknown tag is no error.

        What it was handed stays with the channel: it can still be polled and settled.
        """
        with self._use:
            session, vhost = self._session, self._vhost
            reply = session.reply_consumer
            with vhost.lock:
                if reply is not None and reply.tag == consumer_tag:
                    session.close_replies()
                consumer = session.consumers.get(_check_name("consumer_tag", consumer_tag))
                if consumer is not None:
                    consumer.queue.leave_line(consumer)
                    vhost.cancel(consumer)
                    session.consumers.pop(consumer_tag, None)
                    vhost.attend()

    @property
    def consumer_tags(self) -> list[str]:
        """The tags of the consumers, oldest first."""
        reply = self._session.reply_consumer
        return [*self._session.consumers, *([] if reply is None else [reply.tag])]

    # Taking

    def basic_get(self, queue: str, *, no_ack: bool = False) -> GetOk | None:
        """Take the next message of a queue, None when there is none. Never waits for one.

        An exclusive consumer does not keep others from it. Raises `QueueNotFoundError`, `ResourceLockedError`,
        `CorruptionError`, `InvalidTypeError`.
        """
        before = self._session.last_tag
        try:
            with self._use:
                return self._get_next(queue, no_ack=no_ack)
        except BaseException:
            self._session.return_got(before)
            raise

    def _get_next(self, queue: str, *, no_ack: bool) -> GetOk | None:
        check_flag("no_ack", no_ack)
        session, vhost = self._session, self._vhost
        name = session.queue_name(_check_name("queue", queue))
        with vhost.lock:
            session.check_open()
            found = vhost.queue(name, session.connection)
            event = self._get(found, no_ack=no_ack)
            commit = vhost.engine.commit_number if vhost.journaled and found.has_unseen() else 0
        if event is None and commit:
            vhost.wait_and_attend(commit)
            with vhost.lock:
                event = self._get(vhost.queue(name, session.connection), no_ack=no_ack)
        return event

    def _get(self, queue: Queue, *, no_ack: bool) -> GetOk | None:
        session, vhost = self._session, self._vhost
        vhost.touch(queue)
        if queue.line or vhost.has_abandoned:
            vhost.news[queue] = None
            vhost.attend()
        getter = Subscriber(queue, no_ack=True, registered=False) if no_ack else session.getter(queue)
        taken = vhost.take(queue, getter)
        if taken is not None:
            session.last_tag += 1
            if not no_ack:
                session.unsettled[session.last_tag] = (getter, taken)
        if vhost.news:
            vhost.attend()
        return None if taken is None else _get_ok(session.last_tag, taken, queue)

    def poll(self, timeout: float | None = 0.0, max_events: int | None = None) -> list[ChannelEvent]:
        """Return what has happened on the channel, in order; [] when nothing does within `timeout`.

        `timeout`: seconds of real time to wait for the first event, None for ever. `max_events`: at most so many, None
        for all there are. With `sync="commit"` it makes the sync that messages or confirms wait for itself. `stop` and
        `wake` end the wait. On a channel that was closed it returns what came before, then raises `ClosedError`. Raises
        `CorruptionError` when the next message of a queue cannot be read.
        """
        session = self._session
        if timeout != 0:
            timeout = check_timeout(timeout)
        if max_events is not None:
            check_integer("max_events", max_events, 1)
        inbox = session.inbox
        if session.closed:
            session.fall_silent()
            if not inbox.entries:
                session.refuse()
        handed: list[Any] = []  # this call's own: a signal handler that polls, or another thread, has another one
        try:
            with self._guard:
                inbox.looks()
                if inbox.entries:
                    return self._take(max_events, handed)
                deadline = deadline_after(timeout) if timeout else None
                return self._wait(deadline, max_events, handed, waits=timeout != 0)
        except BaseException:
            if handed and not session.closed:
                inbox.put_back(handed)
                session.interrupted()  # for what lies in the inbox is to be counted after that
            raise

    def _wait(self, deadline: float | None, most: int | None, handed: list[Any], *, waits: bool) -> list[ChannelEvent]:
        session = self._session
        inbox = session.inbox
        inbox.waiting = waits
        try:
            while True:
                inbox.looks()
                self._look()
                if inbox.entries:
                    return self._take(most, handed)
                session.check_open()
                self._vhost.engine.check_open()
                seconds = None if deadline is None else deadline - monotonic()
                if inbox.interrupted or self.stopped or not waits or (seconds is not None and seconds <= 0):
                    inbox.interrupted = False
                    return []
                inbox.waiter.wait(seconds)
        finally:
            inbox.waiting = False

    def _take(self, most: int | None, handed: list[Any]) -> list[ChannelEvent]:
        session = self._session
        inbox = session.inbox
        events = inbox.take(most, handed)
        if inbox.held_up:
            self._serve_held_up()
        if inbox.on_event is not None and (inbox.entries or self._has_to_look()):
            inbox.announce()
        return events

    def _serve_held_up(self) -> None:
        """Let consumers that got no more for what lay in the inbox have more, once there is room."""
        session, vhost = self._session, self._vhost
        inbox = session.inbox
        if session.closed or inbox.is_far_ahead():
            return
        with vhost.lock:
            inbox.held_up = False
            session.rejoin(session.consumers.values())
            vhost.attend()

    def _has_to_look(self) -> bool:
        """Whether there is something for `_look` to bring about, of which the listener has been told already."""
        session = self._session
        confirms = session.confirms
        waits = confirms is not None and confirms.is_waiting()
        return not session.closed and (waits or any(one.look for one in tuple(session.consumers.values())))

    def _look(self) -> None:
        """Bring about what nobody else will: syncs that are waited for, and a look at queues that have grown."""
        session, vhost = self._session, self._vhost
        if session.closed:
            return
        if session.inbox.held_up:
            self._serve_held_up()
        confirms = session.confirms
        if confirms is not None and confirms.is_waiting():
            self._sync(confirms.awaited())
        looking = [consumer for consumer in tuple(session.consumers.values()) if consumer.look]
        if not looking and not vhost.has_abandoned:
            return
        if vhost.journaled and any(consumer.queue.has_unseen() for consumer in looking):
            vhost.engine.wait(vhost.engine.commit_number)
        with vhost.lock:
            for consumer in looking:
                consumer.look = False
                vhost.news[consumer.queue] = None
            vhost.attend()
            for consumer in looking:
                if consumer.look and consumer.queue.line.front is consumer:
                    consumer.queue.head()  # raises what kept the message from being handed out

    stopped: bool
    _sync: Callable[[int], None]


def _check_name(option: str, name: object) -> str:
    if not isinstance(name, str):
        raise wrong_type(option, name, "a str")
    return name


def _priority(queue: Queue, arguments: Mapping[str, Any] | None) -> int:
    """Return the priority of a consumer. Raises `PreconditionFailedError` when it is no int."""
    table = {} if arguments is None else check_headers(arguments, "arguments")
    priority = table.get(_PRIORITY, 0)
    if isinstance(priority, bool) or not isinstance(priority, int):
        kind = field_type(priority)
        raise PreconditionFailedError(
            f"invalid arg '{_PRIORITY}' for {described('queue', queue.name)}: \"expected integer, got {kind}\""
        )
    return priority


def _get_ok(tag: int, taken: Taken, queue: Queue) -> GetOk:
    _, stored, redelivered, count = taken
    exchange, routing_key, properties, _, _ = unpack_meta(stored.meta)
    if count and queue.options.queue_type == "quorum":
        properties = with_delivery_count(properties, count)
    return GetOk(tag, redelivered, exchange, routing_key, properties, stored.body, queue.ready(), count)
