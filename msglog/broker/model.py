"""The broker's definitions in memory: a pure function of a snapshot and the events after it.

    event                                                     effect
    "exchange"         name, options                          an exchange is there
    "delete-exchange"  name                                   it is gone, with its bindings
    "queue"            id, name, options                      a queue is there
    "lane"             queue id, priority, stream, cursor     it has a stream for messages of this priority
    "expiring"         queue id                               messages with an expiration of their own may be in it
    "delete-queue"     id                                     it is gone, with its bindings
    "bind", "unbind"   source, destination, kind, key, table  a binding is there, or gone
    "policy"           packed policy                          a policy is there, in place of one of the same name
    "delete-policy"    name                                   it is gone
    "retired"          cursor, end offset, time               all below was settled at that time and is history
    "bucket"           stream, first due, width               delayed messages of that span lie in the stream
    "released"         stream, due, offset                    those due before, or at that offset, were released
    "delete-bucket"    stream                                 it is gone

What is settled stands in the cursors' section. Invariants: changes only in `load` and `apply`, under the store lock;
the dict `queues` stays the same object; applying an event twice in a row does what once does, also when an interrupt
struck in the middle of the first time: so what tells that an event was applied changes last. Imported by the rest of
the broker.
"""

from collections.abc import Callable
from typing import Any, Final, cast

from msglog.broker.queue import Queue
from msglog.broker.rules.bindings import Binding, Kind
from msglog.broker.rules.exchange_options import ExchangeOptions, pack_exchange_options, unpack_exchange_options
from msglog.broker.rules.message_codec import pack_table, unpack_table
from msglog.broker.rules.policies import Policy, best_policy, effective_alternate, pack_policy, unpack_policy
from msglog.broker.rules.queue_options import pack_queue_options, unpack_queue_options
from msglog.broker.rules.topology import Topology
from msglog.cursors import CursorModel
from msglog.storage import CURSORS, Engine

PREDECLARED: Final = {
    "amq.direct": "direct",
    "amq.fanout": "fanout",
    "amq.topic": "topic",
    "amq.headers": "headers",
    "amq.match": "headers",
}


class Bucket:
    """Delayed messages of one span of time. `released`: due time and offset of the last one released."""

    __slots__ = ("first_due_ms", "released", "stream_id", "width_ms")

    def __init__(self, stream_id: int, first_due_ms: int, width_ms: int) -> None:
        self.stream_id = stream_id
        self.first_due_ms = first_due_ms
        self.width_ms = width_ms
        self.released = (-1, -1)


class BrokerModel:
    """The section "broker" of a store's state. `version` rises with every change of how messages are routed."""

    __slots__ = ("__dict__", "version")  # the version is looked at by every publication

    section = "broker"

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self.version = 0
        self.topology = Topology()
        self.exchanges: dict[str, ExchangeOptions] = {}
        self.queues: dict[str, Queue] = {}
        self.queue_ids: dict[int, Queue] = {}
        self.policies: dict[str, Policy] = {}
        self.buckets: dict[int, Bucket] = {}
        self.next_queue_id = 1
        # Auto-delete exchanges that lost their last binding: whoever made the change deletes them next.
        self.orphans: list[str] = []
        self._appliers: dict[str, Callable[..., None]] = {
            "exchange": self._add_exchange,
            "delete-exchange": self._remove_exchange,
            "queue": self._add_queue,
            "lane": self._add_lane,
            "expiring": self._note_expiring,
            "delete-queue": self._remove_queue,
            "bind": self._bind,
            "unbind": self._unbind,
            "policy": self._set_policy,
            "delete-policy": self._remove_policy,
            "retired": self._note_retired,
            "bucket": self._add_bucket,
            "released": self._note_released,
            "delete-bucket": self._remove_bucket,
        }
        self._predeclare()

    def load(self, snapshot: Any) -> None:
        """Take over a snapshot, None for a new store."""
        self.version += 1
        self.topology = Topology()
        self.exchanges.clear()
        for queue in self.queues.values():
            queue.deleted = True
        self.queues.clear()
        self.queue_ids.clear()
        self.policies.clear()
        self.buckets.clear()
        self.orphans.clear()
        self._predeclare()
        if snapshot is None:
            return
        for packed in snapshot["policies"]:
            policy = unpack_policy(packed)
            self.policies[policy.name] = policy
        for name, options in snapshot["exchanges"]:
            self._add_exchange(name, options)
        for packed in snapshot["queues"]:
            self._load_queue(*packed)
        for binding in snapshot["bindings"]:
            self._bind(*binding)
        for stream_id, first, width, released in snapshot["buckets"]:
            self._add_bucket(stream_id, first, width)
            self._note_released(stream_id, *released)
        self.next_queue_id = snapshot["next_queue_id"]

    def _load_queue(self, queue_id: int, name: str, options: Any, may_expire: bool, lanes: list[Any]) -> None:  # noqa: FBT001 as packed
        self._add_queue(queue_id, name, options)
        for priority, stream_id, cursor_id, retired in lanes:
            self._add_lane(queue_id, priority, stream_id, cursor_id)
            for end, at in retired:
                self._note_retired(cursor_id, end, at)
        if may_expire:
            self._note_expiring(queue_id)

    def apply(self, event: list[Any]) -> None:
        """Apply one event."""
        self._appliers[event[0]](*event[1:])

    def snapshot(self) -> Any:
        """Return the whole state."""
        return {
            "next_queue_id": self.next_queue_id,
            "policies": [pack_policy(policy) for policy in self.policies.values()],
            "exchanges": [
                [name, pack_exchange_options(options)]
                for name, options in self.exchanges.items()
                if name not in PREDECLARED
            ],
            "queues": [
                [
                    queue.id,
                    queue.name,
                    pack_queue_options(queue.options),
                    queue.may_expire,
                    [
                        [lane.priority, lane.stream.id, lane.cursor.id, [list(one) for one in lane.retired_at]]
                        for lane in queue.lanes
                    ],
                ]
                for queue in self.queues.values()
            ],
            "bindings": [pack_binding(binding) for binding in self.topology.bindings()],
            "buckets": [
                [bucket.stream_id, bucket.first_due_ms, bucket.width_ms, list(bucket.released)]
                for bucket in self.buckets.values()
            ],
        }

    # Exchanges and bindings

    def _predeclare(self) -> None:
        for name, kind in PREDECLARED.items():
            self.exchanges[name] = ExchangeOptions(type=kind, arguments={})
            self.topology.add_exchange(name, kind)

    def _add_exchange(self, name: str, packed: Any) -> None:
        self._forget_orphan(name)
        if name in self.exchanges:
            return
        options = unpack_exchange_options(packed)
        self.topology.add_exchange(name, options.type, auto_delete=options.auto_delete, arguments=options.arguments)
        self._set_alternate(name, options)
        self.version += 1
        self.exchanges[name] = options

    def _set_alternate(self, name: str, options: ExchangeOptions) -> None:
        policy = best_policy(self.policies.values(), name, "exchange")
        self.topology.set_alternate(name, effective_alternate(options, policy))

    def _forget_orphan(self, name: str) -> None:
        """What was deleted, or declared anew, after it lost its last binding is no orphan any more."""
        self.orphans = [orphan for orphan in self.orphans if orphan != name]

    def _remove_exchange(self, name: str) -> None:
        self._forget_orphan(name)
        if name in self.exchanges:
            self.orphans += self.topology.remove_exchange(name)
            self.version += 1
            self.exchanges.pop(name, None)

    def _bind(self, source: str, destination: str, kind: Kind, routing_key: str, table: bytes) -> None:
        self.topology.bind(Binding(source, destination, kind, routing_key, unpack_table(table)))
        self.version += 1

    def _unbind(self, source: str, destination: str, kind: Kind, routing_key: str, table: bytes) -> None:
        self.orphans += self.topology.unbind(Binding(source, destination, kind, routing_key, unpack_table(table))) or ()
        self.version += 1

    # Queues

    def _add_queue(self, queue_id: int, name: str, packed: Any) -> None:
        self.next_queue_id = max(self.next_queue_id, queue_id + 1)
        if queue_id in self.queue_ids:
            return
        queue = Queue(queue_id, name, unpack_queue_options(packed))
        self._apply_policy(queue)
        self.topology.add_queue(name)
        self.version += 1
        self.queues[name] = queue
        self.queue_ids[queue_id] = queue

    def _add_lane(self, queue_id: int, priority: int, stream_id: int, cursor_id: int) -> None:
        engine = self._engine
        cursors = cast(CursorModel, engine.models[CURSORS]).cursors
        self.queue_ids[queue_id].add_lane(
            engine.table.owned(stream_id), cursors[cursor_id], priority, engine.options.segment_bytes
        )
        self.version += 1

    def _note_expiring(self, queue_id: int) -> None:
        queue = self.queue_ids[queue_id]
        queue.may_expire = True
        queue.look_plain()

    def _remove_queue(self, queue_id: int) -> None:
        queue = self.queue_ids.get(queue_id)
        if queue is None:
            return
        queue.deleted = True
        queue.look_plain()
        queue.plain = False
        if self.queues.get(queue.name) is queue:
            self.orphans += self.topology.remove_queue(queue.name)
            self.version += 1
            self.queues.pop(queue.name, None)
        self.queue_ids.pop(queue_id, None)

    def _note_retired(self, cursor_id: int, end: int, now_ms: int) -> None:
        for queue in self.queues.values():
            for lane in queue.lanes:
                if lane.cursor.id == cursor_id and (not lane.retired_at or lane.retired_at[-1][0] < end):
                    lane.retired_at.append((end, now_ms))

    # Policies

    def _set_policy(self, packed: Any) -> None:
        policy = unpack_policy(packed)
        self.policies[policy.name] = policy
        self._apply_policies()

    def _remove_policy(self, name: str) -> None:
        self.policies.pop(name, None)
        self._apply_policies()

    def _apply_policies(self) -> None:
        for queue in self.queues.values():
            self._apply_policy(queue)
        for name, options in self.exchanges.items():
            self._set_alternate(name, options)
        self.version += 1

    def _apply_policy(self, queue: Queue) -> None:
        queue.apply_policy(best_policy(self.policies.values(), queue.name, "queue", queue.options.queue_type))

    # Delays

    def _add_bucket(self, stream_id: int, first_due_ms: int, width_ms: int) -> None:
        self._engine.table.owned(stream_id)
        self.buckets.setdefault(stream_id, Bucket(stream_id, first_due_ms, width_ms))

    def _note_released(self, stream_id: int, due_ms: int, offset: int) -> None:
        bucket = self.buckets.get(stream_id)
        if bucket is not None:
            bucket.released = max(bucket.released, (due_ms, offset))

    def _remove_bucket(self, stream_id: int) -> None:
        self.buckets.pop(stream_id, None)


def pack_binding(binding: Binding) -> list[Any]:
    """Return a binding as it stands in an event."""
    return [
        binding.source,
        binding.destination,
        binding.kind,
        binding.routing_key,
        pack_table(dict(binding.arguments)),
    ]
