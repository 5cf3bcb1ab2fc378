"""Arguments and options that several commands share: one name and one meaning everywhere. Imported by the commands."""

import time
from typing import Annotated

import typer

from msglog.cli.exits import USAGE, CommandError
from msglog.cli.output.units import parse_time

StorePath = Annotated[str, typer.Argument(metavar="STORE", help="The directory of the store.", show_default=False)]
TopicName = Annotated[str, typer.Argument(metavar="TOPIC", help="The name of a topic.", show_default=False)]
QueueName = Annotated[str, typer.Argument(metavar="QUEUE", help="The name of a queue.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Write JSON with stable field names.")]
AsJsonLines = Annotated[bool, typer.Option("--json", help="Write JSON Lines, with bytes as in an export.")]
IsQueue = Annotated[bool, typer.Option("--queue", "-q", help="NAME is a queue, not a topic.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
PartitionNumber = Annotated[
    int | None, typer.Option("--partition", "-p", min=0, help="Only this partition.", show_default=False)
]
Headers = Annotated[
    list[str] | None,
    typer.Option("--header", "-H", metavar="NAME=VALUE", help="A header; may be repeated.", show_default=False),
]
Arguments = Annotated[
    list[str] | None,
    typer.Option(
        "--argument",
        "-a",
        metavar="NAME=VALUE",
        help="An AMQP argument; numbers, true and false are taken as such. May be repeated.",
        show_default=False,
    ),
]

TIME_HELP = "milliseconds since 1970, ISO 8601 (UTC), or a span before now: 90s, 10m, 2h, 7d"


def time_of(option: str, text: str | None) -> int | None:
    """Return a time that was given, in milliseconds."""
    if text is None:
        return None
    try:
        return parse_time(text, time.time_ns() // 1_000_000)
    except ValueError:
        raise usage(f"{option} takes {TIME_HELP}; not {text!r}") from None


def pairs(option: str, given: list[str] | None) -> list[tuple[str, str]]:
    """Return names and values of `NAME=VALUE`."""
    found = []
    for text in given or ():
        name, separator, value = text.partition("=")
        if not separator or not name:
            raise usage(f"{option} takes NAME=VALUE; not {text!r}")
        found.append((name, value))
    return found


def arguments_of(option: str, given: list[str] | None) -> dict[str, object]:
    """Return a table of AMQP arguments: whole numbers, true and false are no text."""
    return {name: _typed(value) for name, value in pairs(option, given)}


def _typed(text: str) -> object:
    if text in {"true", "false"}:
        return text == "true"
    number = text.removeprefix("-")
    return int(text) if number.isdecimal() and number.isascii() else text


def usage(message: str) -> CommandError:
    """Return the error for a command line that cannot be."""
    return CommandError(message, USAGE)
