"""`publish`: messages for an exchange or a queue. Imported by `main`."""

from typing import Annotated, Any

import typer

from msglog.broker import Broker, Message, Properties
from msglog.cli.application import command
from msglog.cli.commands.appending import PANEL
from msglog.cli.inputs import batches_of_lines, telling_how_many, whole_input
from msglog.cli.opening import writing
from msglog.cli.options import AsJson, Headers, StorePath, arguments_of, pairs, usage
from msglog.cli.output import terminal
from msglog.cli.output.units import counted, show_count

_NUMBERS = frozenset({"delivery_mode", "priority", "timestamp"})


@command(
    "publish",
    panel=PANEL,
    examples=(
        "publish ./shop mail 'hello'",
        "publish ./shop order.created -x events --file order.json -P content_type=application/json",
        "publish ./shop mail < lines.txt",
    ),
)
def publish(
    store: StorePath,
    routing_key: Annotated[str, typer.Argument(metavar="ROUTING_KEY", help="Or the name of a queue.")],
    body: Annotated[
        str | None, typer.Argument(metavar="[BODY]", help="The body; else the lines of standard input.")
    ] = None,
    *,
    exchange: Annotated[
        str, typer.Option("--exchange", "-x", help="The exchange; the default one has the names of queues as keys.")
    ] = "",
    header: Headers = None,
    property_: Annotated[
        list[str] | None,
        typer.Option("--property", "-P", metavar="NAME=VALUE", help="A basic property; may be repeated."),
    ] = None,
    priority: Annotated[
        int | None, typer.Option("--priority", min=0, max=255, help="For queues with priorities.")
    ] = None,
    expiration_ms: Annotated[int | None, typer.Option("--expiration-ms", min=0, help="How long it may wait.")] = None,
    delay_ms: Annotated[int | None, typer.Option("--delay-ms", min=0, help="When its queues get it.")] = None,
    file: Annotated[str | None, typer.Option("--file", "-f", help="A file whose bytes are the body.")] = None,
    as_json: AsJson = False,
) -> None:
    """Publish messages to an exchange or a queue.

    A body, a file, or each line of standard input. A message that no queue gets is not stored, and the exit code is
    1. On return all is on the disk.
    """
    options: dict[str, Any] = {
        "headers": arguments_of("--header", header) or None,
        "properties": _properties(property_),
        "priority": priority,
        "expiration_ms": expiration_ms,
    }
    whole = whole_input("BODY", body, file)
    with writing(store) as opened:
        broker = opened.broker
        messages = copies = 0
        for bodies in batches_of_lines("message") if whole is None else [[whole]]:
            with telling_how_many(messages, "message"):
                copies += _publish(broker, exchange, routing_key, bodies, delay_ms, options)
            messages += len(bodies)
    if as_json:
        terminal.json_document({"messages": messages, "copies": copies})
        return
    terminal.line(
        f"published {counted(messages, 'message')}"
        + ("" if messages == copies else f", {show_count(copies)} copies in queues")
    )


def _publish(
    broker: Broker, exchange: str, key: str, bodies: list[bytes], delay_ms: int | None, options: dict[str, Any]
) -> int:
    if delay_ms is not None or len(bodies) == 1:
        return sum(broker.publish(exchange, key, body, delay_ms=delay_ms, mandatory=True, **options) for body in bodies)
    return broker.publish_many(exchange, [Message(body, routing_key=key, **options) for body in bodies], mandatory=True)


def _properties(given: list[str] | None) -> Properties | None:
    found: dict[str, Any] = {}
    for name, value in pairs("--property", given):
        if name not in Properties._fields or name == "headers":
            known = ", ".join(sorted(set(Properties._fields) - {"headers"}))
            raise usage(f"--property {name}: there is none of this name; there are {known}")
        if name in _NUMBERS and not (value.isdecimal() and value.isascii()):
            raise usage(f"--property {name} takes a number; not {value!r}")
        found[name] = int(value) if name in _NUMBERS else value
    return Properties(**found) if found else None
