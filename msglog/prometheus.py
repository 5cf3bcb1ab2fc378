"""Metrics of open stores for Prometheus: a collector for `prometheus_client`, with `pip install 'msglog[prometheus]'`.

What is told is what `Store.metrics` tells; counters and gauges get names by Prometheus's rules, and labels in place of
nested names. One collector serves any number of stores, each under its own value of the label `store`, so that no
series comes twice. It holds stores weakly. Imported by users only.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from threading import Lock
from typing import Any, Final, NamedTuple
from weakref import WeakValueDictionary

from msglog.checks import refused, wrong_type
from msglog.errors import MsglogError
from msglog.showing import one_line
from msglog.store import Store

try:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError("msglog.prometheus needs prometheus-client: pip install 'msglog[prometheus]'") from error

__all__ = ["MsglogCollector"]

Family = CounterMetricFamily | GaugeMetricFamily

_MS: Final = 1000


class _Series(NamedTuple):
    """One family: its name, where `Store.metrics` has it, what it says."""

    name: str
    source: str
    help: str


# What ends in `_total` is a counter: it never falls while the store, the topic or the queue is there.
_STORE: Final = (
    _Series("msglog_commits_total", "commits", "Commits that can be seen"),
    _Series("msglog_durable_commits_total", "durable_commits", "Commits that a power cut leaves"),
    _Series("msglog_checkpoints_total", "checkpoints", "Checkpoints made"),
    _Series("msglog_journal_syncs_total", "journal_syncs", "Syncs of the journal since the store was opened"),
    _Series("msglog_openings_total", "life", "Openings of the store for writing"),
    _Series("msglog_streams", "streams", "Streams: partitions, lanes of queues, and those of the store itself"),
    _Series("msglog_segments", "segments", "Segment files"),
    _Series("msglog_open_segments", "open_segments", "Segment files that are open"),
    _Series("msglog_stored_bytes", "bytes_stored", "Bytes of frames on disk"),
    _Series("msglog_journal_bytes", "journal_bytes", "Size of the journal files"),
    _Series("msglog_journal_used_bytes", "journal_used_bytes", "Bytes of the journal that wait for a checkpoint"),
    _Series("msglog_state_cost", "state_cost", "Events since the last snapshot of the state, by what replay costs"),
    _Series("msglog_failed", "failed", "1 after a failed sync: the store takes no more writes"),
    _Series("msglog_exchanges", "exchanges", "Exchanges"),
    _Series("msglog_bindings", "bindings", "Bindings"),
    _Series("msglog_policies", "policies", "Policies"),
    _Series("msglog_delayed_messages", "delayed", "Messages that wait until they are due"),
)
_RECOVERY: Final = (
    _Series("msglog_recovery_clean", "clean", "1 when the store was closed before it was opened"),
    _Series("msglog_recovery_replayed_commits", "replayed_commits", "Commits found behind the last checkpoint"),
    _Series("msglog_recovery_cut_bytes", "cut_bytes", "Bytes of frames left out in opening"),
    _Series("msglog_recovery_quarantined_files", "quarantined", "Files put into quarantine in opening"),
    _Series("msglog_recovery_removed_files", "removed", "Files removed in opening"),
)
_PARTITION: Final = (
    _Series("msglog_topic_appended_records_total", "end_offset", "Records appended to a partition: its end offset"),
    _Series("msglog_topic_start_offset", "start_offset", "First readable offset of a partition"),
    _Series("msglog_topic_records", "records", "Offsets from start to end of a partition"),
    _Series("msglog_topic_stored_bytes", "bytes_stored", "Bytes of a partition on disk"),
    _Series("msglog_topic_segments", "segments", "Segment files of a partition"),
)
_GROUP: Final = (
    _Series("msglog_group_members", "members", "Members of a consumer group"),
    _Series("msglog_group_generation", "generation", "Rebalances of a consumer group since the store was opened"),
)
_GROUP_PARTITION: Final = (
    _Series("msglog_group_offset", "offset", "Committed offset of a consumer group"),
    _Series("msglog_group_lag", "lag", "Records behind the committed offset"),
)
_SHARE_GROUP: Final = (
    _Series("msglog_share_group_members", "members", "Members of a share group"),
    _Series("msglog_share_group_unsettled", "unsettled", "Records in the hands of a share group's members"),
)
_SHARE_PARTITION: Final = (
    _Series("msglog_share_group_offset", "offset", "Offset below which a share group has settled all"),
    _Series("msglog_share_group_lag", "lag", "Records that a share group has not settled"),
)
_QUEUE: Final = (
    _Series("msglog_queue_ready", "ready", "Messages that wait to be delivered"),
    _Series("msglog_queue_unsettled", "unsettled", "Messages in consumers' hands"),
    _Series("msglog_queue_consumers", "consumers", "Consumers of a queue"),
    _Series("msglog_queue_stored_bytes", "bytes_stored", "Bytes of a queue on disk"),
    _Series("msglog_queue_published_total", "published", "Messages that came to a queue"),
    _Series("msglog_queue_delivered_total", "delivered", "Messages that were handed out for the first time"),
    _Series("msglog_queue_settled_total", "settled", "Messages that are done with, whatever way"),
)
_SECONDS: Final = _Series("msglog_recovery_seconds", "duration_ms", "How long opening took")
_WORKERS: Final = (
    _Series("msglog_subscription_workers", "workers", "Threads of subscriptions"),
    _Series("msglog_subscription_workers_alive", "workers_alive", "Threads of subscriptions that are alive"),
)

_TP: Final = ("topic", "partition")
_LABELS: Final = (
    (("store",), (*_STORE, *_RECOVERY, _SECONDS)),
    (("store", *_TP), _PARTITION),
    (("store", "group"), (*_GROUP, *_SHARE_GROUP)),
    (("store", "group", *_TP), (*_GROUP_PARTITION, *_SHARE_PARTITION)),
    (("store", "queue"), _QUEUE),
    (("store", "group", "queue"), _WORKERS),
)


class MsglogCollector(Collector):
    """Hands the metrics of open stores to a registry of `prometheus_client`.

    Arguments:
        store: an open store; `add` takes more.
        name: its value of the label `store`; None is its path.

    Register it once: `REGISTRY.register(MsglogCollector(store))`. A registry refuses a second one, which would tell of
    the same families. Stores are held weakly: one that was closed or collected is left out, and one that closes while
    it is looked at, too. Safe for any number of threads. Raises `InvalidTypeError`, `InvalidOptionError`.
    """

    def __init__(self, store: Store, *, name: str | None = None) -> None:
        self._lock = Lock()
        self._stores: WeakValueDictionary[str, Store] = WeakValueDictionary()
        self.add(store, name=name)

    def add(self, store: Store, *, name: str | None = None) -> None:
        """Tell of one more store, under the label `name`, or its path.

        Raises `InvalidOptionError` when another open store has that name: each needs its own.
        """
        if not isinstance(store, Store):
            raise wrong_type("store", store, "an open Store")
        if name is not None and not isinstance(name, str):
            raise wrong_type("name", name, "a str, or None for the path of the store")
        label = store.path if name is None else name
        with self._lock:
            known = self._stores.get(label)
            if known is not None and known is not store and not known.closed:
                raise refused("name", label, "a name that no other open store has in this collector")
            self._stores[label] = store

    def remove(self, store: Store) -> None:
        """Tell no more of a store; nothing happens when it is not known."""
        with self._lock:
            for label in [label for label, known in self._stores.items() if known is store]:
                del self._stores[label]

    def describe(self) -> list[Family]:
        """Return the families without samples: so a registry finds out who tells of them."""
        return list(_families().values())

    def collect(self) -> Iterator[Family]:
        """Return the families with what the stores tell now."""
        with self._lock:
            stores = sorted(self._stores.items())
        families = _families()
        for label, store in stores:
            try:
                metrics = store.metrics()
            except (MsglogError, OSError):  # closed, left behind by a fork, or a reader whose store is gone
                continue
            _add_store(families, label, metrics)
        yield from families.values()

    @one_line
    def __repr__(self) -> str:
        return f"<msglog.prometheus.MsglogCollector of {', '.join(map(repr, sorted(self._stores)))}>"


def _families() -> dict[str, Family]:
    return {one.name: _family(one, labels) for labels, series in _LABELS for one in series}


def _family(series: _Series, labels: tuple[str, ...]) -> Family:
    if series.name.endswith("_total"):
        return CounterMetricFamily(series.name, series.help, labels=labels)
    return GaugeMetricFamily(series.name, series.help, labels=labels)


def _add_store(families: Mapping[str, Family], store: str, metrics: Mapping[str, Any]) -> None:
    _add(families, _STORE, metrics, store)
    _add(families, _RECOVERY, metrics["recovery"], store)
    families[_SECONDS.name].add_metric((store,), metrics["recovery"][_SECONDS.source] / _MS)
    for topic, told in metrics["topics"].items():
        for partition in told["partitions"]:
            _add(families, _PARTITION, partition, store, topic, str(partition["partition"]))
    _add_groups(families, store, metrics["groups"], _GROUP, _GROUP_PARTITION)
    _add_groups(families, store, metrics["share_groups"], _SHARE_GROUP, _SHARE_PARTITION)
    for queue, told in metrics["queues"].items():
        _add(families, _QUEUE, told, store, queue)
    for labels, workers in _workers_by_target(metrics["subscriptions"]).items():
        _add(families, _WORKERS, workers, store, *labels)


def _add_groups(
    families: Mapping[str, Family],
    store: str,
    groups: Mapping[str, Mapping[str, Any]],
    of_group: Iterable[_Series],
    of_partition: Iterable[_Series],
) -> None:
    for group, told in groups.items():
        _add(families, of_group, told, store, group)
        for partition in told["partitions"]:
            _add(families, of_partition, partition, store, group, partition["topic"], str(partition["partition"]))


def _add(families: Mapping[str, Family], series: Iterable[_Series], values: Mapping[str, Any], *labels: str) -> None:
    """Add a sample to each family; what is None, as the lag of a group that has not committed, has none."""
    for one in series:
        if (value := values[one.source]) is not None:
            families[one.name].add_metric(labels, value)


def _workers_by_target(subscriptions: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], "Counter[str]"]:
    """Return the workers by group and queue: several subscriptions to one are one series."""
    found: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for one in subscriptions:
        found[one.get("group", ""), one.get("queue", "")].update(
            workers=one["workers"], workers_alive=one["workers_alive"]
        )
    return found
