"""Records and messages as lines, one each. Imported by `dump`, `tail` and `peek`.

    partition:offset  time  key  value  headers
    time  exchange:routing key  body  properties and headers

On a terminal what is not payload is dimmed. Everything is one line and safe, whatever bytes there are.
"""

from typing import TYPE_CHECKING, Any, Final

from msglog.broker.lane import Stored
from msglog.broker.rules.message_codec import unpack_meta
from msglog.cli.output import terminal
from msglog.cli.output.text import safe, show_bytes, show_mapping, show_value
from msglog.cli.output.units import show_time
from msglog.cli.rows.lines import queue_line, topic_line
from msglog.types import Record

if TYPE_CHECKING:
    from rich.console import Console

Part = tuple[str, str]
_DIM: Final = "dim"
_KEY: Final = "cyan"
_PAYLOAD: Final = "default"
_USUAL_MODE: Final = 2
_NO_KEY: Final = "-"


class LinePrinter:
    """Writes records and messages to standard output, each at once if `live`."""

    def __init__(self, *, as_json: bool, live: bool = False) -> None:
        self._as_json = as_json
        self._live = live
        self._console: Console | None = terminal.console() if terminal.on_terminal() and not as_json else None

    def record(self, record: Record) -> None:
        """Write a record."""
        if self._as_json:
            self._write(topic_line(record))
        else:
            self._print(_record_parts(record))

    def message(self, queue: str, stored: Stored) -> None:
        """Write a message."""
        if self._as_json:
            self._write(queue_line(queue, stored))
        else:
            self._print(_message_parts(stored))

    def _write(self, item: dict[str, Any]) -> None:
        terminal.json_line(item)
        if self._live:
            terminal.flush()

    def _print(self, parts: list[Part]) -> None:
        parts = [part for part in parts if part[0] or part[1] != _DIM]  # an empty key or value keeps its place
        if self._console is None:
            terminal.line("  ".join(text for text, _ in parts))
            if self._live:
                terminal.flush()
            return
        from rich.text import Text  # noqa: PLC0415 only terminals need it

        self._console.print(Text("  ").join(Text(text, style) for text, style in parts), soft_wrap=True)


def _record_parts(record: Record) -> list[Part]:
    return [
        (f"{record.partition}:{record.offset}", _DIM),
        (show_time(record.timestamp_ms), _DIM),
        (_NO_KEY if record.key is None else show_bytes(record.key), _KEY),
        (show_bytes(record.value), _PAYLOAD),
        (show_mapping((name, value) for name, value in record.headers), _DIM),
    ]


def _message_parts(stored: Stored) -> list[Part]:
    meta = unpack_meta(stored.meta)
    properties = {
        name: value
        for name, value in meta.properties._asdict().items()
        if value is not None and name != "headers" and (name, value) != ("delivery_mode", _USUAL_MODE)
    }
    return [
        (show_time(stored.timestamp_ms), _DIM),
        (f"{safe(meta.exchange)}:{safe(meta.routing_key)}" if meta.exchange else safe(meta.routing_key), _KEY),
        (show_bytes(stored.body), _PAYLOAD),
        (" ".join(f"{name}={show_value(value)}" for name, value in properties.items()), _DIM),
        (show_mapping((meta.properties.headers or {}).items()), _DIM),
    ]
