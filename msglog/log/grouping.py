"""The part of `Log` that consumes: it hands over to the classes for groups, consumers and subscriptions.

Imported by `log`.
"""

import re
from collections.abc import Callable, Mapping
from typing import Literal

from msglog.log.consumer import Consumer
from msglog.log.group_admin import GroupAdmin
from msglog.log.handle import LogHandle
from msglog.log.rules.membership import AssignorName
from msglog.log.share.consumer import DEFAULT_DELIVERY_LIMIT, DEFAULT_LOCK_MS, ShareConsumer
from msglog.log.subscription import Subscription
from msglog.retry import Retry
from msglog.types import GroupDescription, Record, TopicPartition

RebalanceCallback = Callable[[Consumer, frozenset[TopicPartition]], object]

_DEFAULT_RETRY = Retry()


class Grouping(LogHandle):
    """`consumer`, `share_consumer`, `subscribe`, `groups`, `describe_group`, `reset_offsets`, `delete_group`."""

    def consumer(
        self,
        *topics: str | re.Pattern[str],
        group: str | None = None,
        start: Literal["earliest", "latest", "error"] = "earliest",
        auto_commit: bool = False,
        assignor: AssignorName = "range",
        instance_id: str | None = None,
        session_timeout_ms: int = 45_000,
        max_poll_interval_ms: int = 300_000,
        on_assign: RebalanceCallback | None = None,
        on_revoke: RebalanceCallback | None = None,
        on_lost: RebalanceCallback | None = None,
    ) -> Consumer:
        """Return a consumer of topics given by name or pattern, shared with the other members of its group.

        `start` says where to begin without a committed offset, or when it is out of range. `assignor`:
        "range", "roundrobin", "sticky" or "cooperative-sticky". `instance_id` makes a static member. Timeouts
        are milliseconds of the store's clock. Callbacks get the consumer and the partitions, inside `poll`
        and `close`. See `Consumer`. Raises `InvalidNameError`, `InvalidOptionError`, `InvalidTypeError`,
        `TopicNotFoundError`, `ClosedError`.
        """
        self._check_open()
        consumer = Consumer(
            self._core,
            topics,
            group=group,
            start=start,
            auto_commit=auto_commit,
            assignor=assignor,
            instance_id=instance_id,
            session_timeout_ms=session_timeout_ms,
            max_poll_interval_ms=max_poll_interval_ms,
            on_assign=on_assign,
            on_revoke=on_revoke,
            on_lost=on_lost,
        )
        self._store.attach_consumer(consumer)
        return consumer

    def share_consumer(
        self,
        *topics: str | re.Pattern[str],
        group: str,
        start: Literal["earliest", "latest"] = "earliest",
        lock_ms: int = DEFAULT_LOCK_MS,
        delivery_limit: int = DEFAULT_DELIVERY_LIMIT,
    ) -> ShareConsumer:
        """Return a member of a share group: workers that acknowledge the records of topics one by one.

        `start` says where the group begins in a topic that is new to it. `lock_ms`: how long a record is in this
        consumer's hand, in milliseconds of the store's clock. `delivery_limit`: how often a record is handed out. See
        `ShareConsumer`. Raises `InvalidNameError`, `InvalidOptionError`, `InvalidTypeError`, `TopicNotFoundError`,
        `GroupError` when the name is a consumer group's, `ReadOnlyError`, `ClosedError`. Durable as the store's `sync`
        says when it returns.
        """
        self._check_open()
        consumer = ShareConsumer(
            self._core, topics, group=group, start=start, lock_ms=lock_ms, delivery_limit=delivery_limit
        )
        self._store.attach_consumer(consumer)
        return consumer

    def subscribe(
        self,
        *topics: str | re.Pattern[str],
        group: str,
        callback: Callable[[Record], object],
        workers: int = 1,
        on_error: Retry = _DEFAULT_RETRY,
    ) -> Subscription:
        """Call `callback` for each record of the group's topics, on `workers` daemon threads.

        See `Subscription`. Raises as `consumer` does.
        """
        self._check_open()
        subscription = Subscription(self._core, topics, group, callback, workers, on_error)
        self._store.attach_subscription(subscription)
        return subscription

    def groups(self) -> list[str]:
        """Return the names of all groups, sorted. Raises `ClosedError`."""
        return self._group_admin().groups()

    def describe_group(self, group: str) -> GroupDescription:
        """Return a group's members, generation, offsets and lag. Raises `GroupError`, `ClosedError`."""
        return self._group_admin().describe(group)

    def reset_offsets(
        self,
        group: str,
        topic: str,
        *,
        to: Literal["earliest", "latest"] | Mapping[int, int] = "earliest",
        to_timestamp_ms: int | None = None,
    ) -> None:
        """Move the committed offsets of a group without members, for one topic.

        `to`: the start, the end, or an offset for each partition; `to_timestamp_ms`: the first record at or
        after that time. Raises `GroupError` while the group has members, `TopicNotFoundError`,
        `PartitionNotFoundError`, `OffsetOutOfRangeError`, `ReadOnlyError`, `ClosedError`. Durable as the
        store's `sync` says when it returns.
        """
        self._group_admin().reset_offsets(group, topic, to=to, to_timestamp_ms=to_timestamp_ms)

    def delete_group(self, group: str) -> None:
        """Forget a group without members, with its offsets.

        Raises `GroupError`, `ReadOnlyError`, `ClosedError`.
        """
        self._group_admin().delete(group)

    def _group_admin(self) -> GroupAdmin:
        self._check_open()
        return GroupAdmin(self._core)
