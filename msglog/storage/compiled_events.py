"""Packing the events of a commit in C, where that was compiled; see `msglog.compiled`. Imported by `compiled`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from msglog.compiled import is_made_of, is_wanted
from msglog.storage.commit import Commit
from msglog.storage.frame import KIND_PLAIN, KIND_UNEVEN, Body
from msglog.storage.state import CURSORS, SETTLE, SHORT_EVENT_MARK, STATE_STREAM
from msglog.storage.writers import DirectWriter, JournalWriter

if TYPE_CHECKING:
    from msglog.storage.engine import Engine

try:
    from msglog.storage import _compiled_events
except ImportError:
    _compiled_events = None  # type: ignore[assignment]

SOURCE = Path(__file__).with_name("_compiled_events.c")


def is_compiled() -> bool:
    """Return whether it was compiled, and is not left over from another version of its source."""
    return _compiled_events is not None and is_made_of(_compiled_events, SOURCE)


_USABLE = is_compiled()


def pack_compiled(engine: "Engine") -> None:
    """Have the engine's writer make its batches of events by what is compiled."""
    writer: Any = engine.writer
    if _USABLE and is_wanted() and type(writer) in (DirectWriter, JournalWriter) and "bodies_of" not in vars(writer):
        known = (CURSORS, SETTLE, SHORT_EVENT_MARK, KIND_PLAIN, KIND_UNEVEN)
        made = _compiled_events.Events(writer.bodies_of, engine, STATE_STREAM, Commit, Body, *known)
        writer.bodies_of = made.bodies_of
