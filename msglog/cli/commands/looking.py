"""`info`, `topics`, `groups`, `queues`, `exchanges`, `bindings`, `policies`: what there is. Imported by `main`."""

from typing import Annotated, Final

import typer

from msglog.cli.application import command
from msglog.cli.opening import reading
from msglog.cli.options import AsJson, StorePath
from msglog.cli.output.table import Column, show_item, show_rows
from msglog.cli.rows.brokers import binding_rows, exchange_rows, policy_rows, queue_rows
from msglog.cli.rows.stores import store_row
from msglog.cli.rows.topics import group_rows, lag_rows, partition_rows, topic_rows

PANEL: Final = "Looking"
_OneTopic = Annotated[str | None, typer.Argument(metavar="[TOPIC]", help="Its partitions.", show_default=False)]
_OneGroup = Annotated[str | None, typer.Argument(metavar="[GROUP]", help="Its offsets and lag.", show_default=False)]

_INFO: Final = (
    Column("path", "store"),
    Column("format", "format", "count"),
    Column("bytes_on_disk", "on disk", "bytes"),
    Column("bytes_stored", "data", "bytes"),
    Column("files", "files", "count"),
    Column("written_now", "written now", "flag"),
    Column("writer_pid", "writer's pid"),
    Column("journal", "journal", "flag"),
    Column("commit", "last commit", "count"),
    Column("closed_cleanly", "closed cleanly", "flag"),
    Column("replayed_commits", "commits to replay", "count"),
    Column("cut_bytes", "bytes to cut", "bytes"),
    Column("failed", "a sync failed", "flag"),
    Column("quarantined", "quarantined files", "count"),
    Column("topics", "topics", "count"),
    Column("partitions", "partitions", "count"),
    Column("records", "records", "count"),
    Column("groups", "groups", "count"),
    Column("exchanges", "exchanges", "count"),
    Column("bindings", "bindings", "count"),
    Column("queues", "queues", "count"),
    Column("messages", "messages", "count"),
    Column("policies", "policies", "count"),
)
_TOLD_WHEN_WRONG: Final = frozenset({"replayed_commits", "cut_bytes", "failed", "quarantined"})
_TOPICS: Final = (
    Column("topic", "TOPIC"),
    Column("partitions", "PARTITIONS", "count"),
    Column("records", "RECORDS", "count"),
    Column("bytes", "SIZE", "bytes"),
    Column("segments", "SEGMENTS", "count"),
    Column("cleanup_policy", "CLEANUP"),
    Column("retention_ms", "RETENTION", "duration"),
    Column("retention_bytes", "AT MOST", "bytes"),
)
_PARTITIONS: Final = (
    Column("topic", "TOPIC"),
    Column("partition", "PARTITION", "count"),
    Column("start_offset", "START", "count"),
    Column("end_offset", "END", "count"),
    Column("records", "RECORDS", "count"),
    Column("bytes", "SIZE", "bytes"),
    Column("segments", "SEGMENTS", "count"),
)
_GROUPS: Final = (
    Column("group", "GROUP"),
    Column("kind", "KIND"),
    Column("partitions", "PARTITIONS", "count"),
    Column("lag", "LAG", "count"),
    Column("topics", "TOPICS", "names"),
)
_LAG: Final = (
    Column("group", "GROUP"),
    Column("topic", "TOPIC"),
    Column("partition", "PARTITION", "count"),
    Column("current_offset", "CURRENT OFFSET", "count"),
    Column("end_offset", "END OFFSET", "count"),
    Column("lag", "LAG", "count"),
)
_QUEUES: Final = (
    Column("queue", "QUEUE"),
    Column("messages", "MESSAGES", "count"),
    Column("unsettled", "UNSETTLED", "count"),
    Column("bytes", "SIZE", "bytes"),
    Column("type", "TYPE"),
    Column("policy", "POLICY"),
    Column("arguments", "ARGUMENTS", "mapping"),
)
_EXCHANGES: Final = (
    Column("exchange", "EXCHANGE"),
    Column("type", "TYPE"),
    Column("durable", "DURABLE", "flag"),
    Column("auto_delete", "AUTO DELETE", "flag"),
    Column("internal", "INTERNAL", "flag"),
    Column("arguments", "ARGUMENTS", "mapping"),
)
_BINDINGS: Final = (
    Column("source", "SOURCE"),
    Column("destination", "DESTINATION"),
    Column("destination_type", "KIND"),
    Column("routing_key", "ROUTING KEY"),
    Column("arguments", "ARGUMENTS", "mapping"),
)
_POLICIES: Final = (
    Column("policy", "POLICY"),
    Column("pattern", "PATTERN"),
    Column("apply_to", "APPLY TO"),
    Column("priority", "PRIORITY", "count"),
    Column("definition", "DEFINITION", "mapping"),
)


@command("info", panel=PANEL, examples=("info ./shop", "info ./shop --json"))
def info(store: StorePath, *, as_json: AsJson = False) -> None:
    """Tell what a store is: size, writer, recovery, counts."""
    with reading(store) as opened:
        row = store_row(opened)
    columns = [column for column in _INFO if row[column.field] or column.field not in _TOLD_WHEN_WRONG]
    show_item(row, columns, as_json=as_json)


@command("topics", panel=PANEL, examples=("topics ./shop", "topics ./shop orders"))
def topics(store: StorePath, topic: _OneTopic = None, *, as_json: AsJson = False) -> None:
    """List topics, or the partitions of one."""
    with reading(store) as opened:
        if topic is None:
            show_rows(list(topic_rows(opened.log)), _TOPICS, as_json=as_json, empty="no topics")
        else:
            rows = list(partition_rows(opened.log.describe_topic(topic)))
            show_rows(rows, _PARTITIONS, as_json=as_json, empty="no partitions")


@command("groups", panel=PANEL, examples=("groups ./shop", "groups ./shop billing"))
def groups(store: StorePath, group: _OneGroup = None, *, as_json: AsJson = False) -> None:
    """List groups with their lag, or the offsets of one.

    Consumer groups and share groups. Who is in a group is known only inside of the process that writes: it is not
    shown.
    """
    with reading(store) as opened:
        if group is None:
            show_rows(list(group_rows(opened.log)), _GROUPS, as_json=as_json, empty="no groups")
        else:
            show_rows(list(lag_rows(opened.log, group)), _LAG, as_json=as_json, empty="no offsets")


@command("queues", panel=PANEL, examples=("queues ./shop", "queues ./shop --json"))
def queues(store: StorePath, *, as_json: AsJson = False) -> None:
    """List queues: how much waits in each.

    MESSAGES are all that are not settled. UNSETTLED of them were handed out, as far as the writing process has
    noted that: it does so with the next acknowledgement. Its consumers are known only inside of it and are not
    shown.
    """
    with reading(store) as opened:
        show_rows(list(queue_rows(opened)), _QUEUES, as_json=as_json, empty="no queues")


@command("exchanges", panel=PANEL, examples=("exchanges ./shop",))
def exchanges(store: StorePath, *, as_json: AsJson = False) -> None:
    """List exchanges, but for the default one."""
    with reading(store) as opened:
        show_rows(list(exchange_rows(opened)), _EXCHANGES, as_json=as_json, empty="no exchanges")


@command("bindings", panel=PANEL, examples=("bindings ./shop",))
def bindings(store: StorePath, *, as_json: AsJson = False) -> None:
    """List bindings; those of the default exchange go without saying."""
    with reading(store) as opened:
        show_rows(list(binding_rows(opened)), _BINDINGS, as_json=as_json, empty="no bindings")


@command("policies", panel=PANEL, examples=("policies ./shop",))
def policies(store: StorePath, *, as_json: AsJson = False) -> None:
    """List policies."""
    with reading(store) as opened:
        show_rows(list(policy_rows(opened)), _POLICIES, as_json=as_json, empty="no policies")
