"""`init`, `create-topic`, `declare-queue` and the like: what a store consists of. Imported by `main`."""

from typing import Annotated, Any, Final

import typer

from msglog.cli.application import command
from msglog.cli.asking import confirm
from msglog.cli.exits import REFUSED, CommandError
from msglog.cli.opening import holds_store, opened, writing
from msglog.cli.options import Arguments, AsJson, QueueName, StorePath, TopicName, Yes, arguments_of
from msglog.cli.output import terminal
from msglog.cli.output.text import safe
from msglog.cli.output.units import counted
from msglog.cli.rows.brokers import depth
from msglog.cli.rows.following import find_queue

PANEL: Final = "Defining"
_Config = Annotated[
    list[str] | None,
    typer.Option("--config", "-c", metavar="NAME=VALUE", help="An option, such as retention_ms; may be repeated."),
]
_Exchange = Annotated[str, typer.Argument(metavar="EXCHANGE", help="The name of an exchange.", show_default=False)]


@command("init", panel=PANEL, examples=("init ./shop",))
def init(store: StorePath, *, as_json: AsJson = False) -> None:
    """Make a new store; no other command does."""
    if holds_store(store):
        raise CommandError(f"there is a store in {store} already", REFUSED)
    with opened(store, readonly=False):
        pass
    terminal.done(f"made {safe(store)}", {"store": store}, as_json=as_json)


@command("create-topic", panel=PANEL, examples=("create-topic ./shop orders -p 3 -c retention_ms=604800000",))
def create_topic(
    store: StorePath,
    topic: TopicName,
    *,
    partitions: Annotated[int, typer.Option("--partitions", "-p", help="How many.")] = 1,
    config: _Config = None,
    as_json: AsJson = False,
) -> None:
    """Make a topic.

    Dots and dashes in the names of options, as Kafka has them, are taken as underscores.
    """
    options: dict[str, Any] = {
        name.replace(".", "_").replace("-", "_"): value for name, value in arguments_of("--config", config).items()
    }
    with writing(store) as store_:
        store_.log.create_topic(topic, partitions=partitions, **options)
    row = {"topic": topic, "partitions": partitions}
    terminal.done(f"created topic {safe(topic)}", row, as_json=as_json)


@command("delete-topic", panel=PANEL, examples=("delete-topic ./shop orders",))
def delete_topic(store: StorePath, topic: TopicName, *, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a topic with its records.

    What groups have committed in it goes, too.
    """
    with writing(store) as store_:
        found = store_.log.describe_topic(topic)
        records = sum(one.end_offset - one.start_offset for one in found.partitions)
        confirm(f"Delete topic {topic} with {counted(records, 'record')}?", yes=yes)
        store_.log.delete_topic(topic)
    terminal.done(f"deleted topic {safe(topic)}", {"topic": topic, "records": records}, as_json=as_json)


@command("declare-queue", panel=PANEL, examples=("declare-queue ./shop mail -a x-max-priority=5",))
def declare_queue(store: StorePath, queue: QueueName, *, argument: Arguments = None, as_json: AsJson = False) -> None:
    """Make a durable queue.

    If there is one, it has to be just like it.
    """
    with writing(store) as store_:
        store_.broker.declare_queue(queue, arguments=arguments_of("--argument", argument) or None)
    terminal.done(f"declared queue {safe(queue)}", {"queue": queue}, as_json=as_json)


@command("delete-queue", panel=PANEL, examples=("delete-queue ./shop mail",))
def delete_queue(store: StorePath, queue: QueueName, *, yes: Yes = False, as_json: AsJson = False) -> None:
    """Delete a queue with its messages."""
    with writing(store) as store_:
        messages = depth(find_queue(store_, queue))
        confirm(f"Delete queue {queue} with {counted(messages, 'message')}?", yes=yes)
        store_.broker.delete_queue(queue)
    terminal.done(f"deleted queue {safe(queue)}", {"queue": queue, "messages": messages}, as_json=as_json)


@command("purge", panel=PANEL, examples=("purge ./shop mail --yes",))
def purge(store: StorePath, queue: QueueName, *, yes: Yes = False, as_json: AsJson = False) -> None:
    """Remove all messages of a queue.

    They are not dead-lettered.
    """
    with writing(store) as store_:
        messages = depth(find_queue(store_, queue))
        confirm(f"Remove {counted(messages, 'message')} from queue {queue}?", yes=yes)
        count = store_.broker.purge_queue(queue)
    text = f"removed {counted(count, 'message')} from queue {safe(queue)}"
    terminal.done(text, {"queue": queue, "messages": count}, as_json=as_json)


@command("declare-exchange", panel=PANEL, examples=("declare-exchange ./shop events -t topic",))
def declare_exchange(
    store: StorePath,
    exchange: _Exchange,
    *,
    type_: Annotated[str, typer.Option("--type", "-t", help="direct, fanout, topic, headers, ...")] = "direct",
    argument: Arguments = None,
    as_json: AsJson = False,
) -> None:
    """Make a durable exchange.

    If there is one, it has to be just like it.
    """
    with writing(store) as store_:
        store_.broker.declare_exchange(exchange, type_, arguments=arguments_of("--argument", argument) or None)
    row = {"exchange": exchange, "type": type_}
    terminal.done(f"declared exchange {safe(exchange)}", row, as_json=as_json)


@command("bind", panel=PANEL, examples=("bind ./shop mail events 'order.#'",))
def bind(
    store: StorePath,
    queue: QueueName,
    exchange: _Exchange,
    routing_key: Annotated[str, typer.Argument(metavar="[ROUTING_KEY]", help="The key or the pattern.")] = "",
    *,
    argument: Arguments = None,
    as_json: AsJson = False,
) -> None:
    """Have an exchange route messages to a queue."""
    with writing(store) as store_:
        store_.broker.bind(queue, exchange, routing_key, arguments=arguments_of("--argument", argument) or None)
    row = {"queue": queue, "exchange": exchange, "routing_key": routing_key}
    terminal.done(f"bound queue {safe(queue)} to exchange {safe(exchange)}", row, as_json=as_json)
