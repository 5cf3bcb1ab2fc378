"""The hot paths of the writers, in C where they could be compiled.

`_compiled_direct.c` does what `append`, `append_settle` and `append_copies` of `DirectWriter` do in nearly every
call, in a third of the time; `_compiled_journal.c` likewise `append` of `JournalWriter`, and showing what that
appended; and `_compiled_hands.c` the loops over the frames of commits by hand, with a journal or without, and
`_compiled_events.c` the packing of their events. They leave the rest to the methods that stand in Python. All of them
are used, or none: installing compiles them where there is a compiler and Python's headers, and everything works
without. `MSGLOG_PURE_PYTHON=1` in the environment leaves them unused. Imported by `engine`.
"""

import mmap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from msglog.checksum import crc32c
from msglog.compiled import is_made_of, is_wanted
from msglog.storage.commit import Commit
from msglog.storage.frame import (
    CRC,
    KIND_PLAIN,
    KIND_UNEVEN,
    LIFE_OF_ONE,
    PACKED_KEYED,
    PACKED_ONE_RECORD,
    PACKED_PLAIN,
    REST_OF_ONE,
    STAMPS,
    Body,
)
from msglog.storage.journal import ENTRY_MAGIC
from msglog.storage.journal import VERSION as ENTRY_VERSION
from msglog.storage.segment import Segment
from msglog.storage.state import CURSORS, SETTLE, SHORT_EVENT_COST, SHORT_EVENT_MARK, STATE_STREAM
from msglog.storage.stream import Stream
from msglog.storage.writers import DirectWriter, JournalWriter

if TYPE_CHECKING:
    from msglog.storage._compiled_direct import DirectWays
    from msglog.storage._compiled_hands import Hands
    from msglog.storage._compiled_journal import JournalWays
    from msglog.storage.engine import Engine

try:
    from msglog.storage import _compiled_direct, _compiled_events, _compiled_hands, _compiled_journal
except ImportError:
    _compiled_direct = _compiled_events = _compiled_hands = _compiled_journal = None  # type: ignore[assignment]

FOLDER = Path(__file__).parent


def is_compiled() -> bool:
    """Return whether the compiled hot paths are there, and not left over from another version of their sources."""
    return _compiled_direct is not None and all(
        is_made_of(module, FOLDER / f"{module.__name__.rpartition('.')[2]}.c")
        for module in (_compiled_direct, _compiled_events, _compiled_hands, _compiled_journal)
    )


_USABLE = is_compiled()


# What `Hands` has in the place of these methods.
_BY_HAND = {
    DirectWriter: ("place_by_hand", "store_frames"),
    JournalWriter: ("place_by_hand", "pack_frames", "assign_frames", "show_frames"),
}


def open_ways(engine: "Engine") -> None:
    """Let the engine's short ways lead to its writer, or to what is compiled in front of that."""
    writer = engine.writer
    engine.append, engine.append_unwaited = writer.append, writer.append_unwaited
    engine.append_settle, engine.append_copies = writer.append_settle, writer.append_copies
    usable = _USABLE and is_wanted()
    if isinstance(writer, JournalWriter):
        writer.show_singles = None
        if usable and type(writer) is JournalWriter:
            journaled = writer.compiled = writer.compiled or _journal_ways(engine, writer)
            engine.append, engine.append_unwaited = journaled.append, journaled.append_unwaited
            writer.show_singles = journaled.show_singles
    elif usable and type(writer) is DirectWriter:
        direct = writer.compiled = writer.compiled or _direct_ways(engine, writer)
        engine.append = engine.append_unwaited = direct.append
        engine.append_settle, engine.append_copies = direct.append_settle, direct.append_copies
    if usable:
        _take_in_hand(engine)
        pack_events(engine)


def _take_in_hand(engine: "Engine") -> None:
    """Have the loops of the engine's writer done by what is compiled."""
    writer = engine.writer
    names = _BY_HAND.get(type(writer), ())
    if names and not vars(writer).keys() & set(names):
        hands = _hands_of(writer, engine)
        for name in names:
            setattr(writer, name, getattr(hands, name))


def pack_events(engine: "Engine") -> None:
    """Have the engine's writer make its batches of events by what is compiled."""
    writer: Any = engine.writer
    if type(writer) in (DirectWriter, JournalWriter) and "bodies_of" not in vars(writer):
        known = (CURSORS, SETTLE, SHORT_EVENT_MARK, KIND_PLAIN, KIND_UNEVEN)
        made = _compiled_events.Events(writer.bodies_of, engine, STATE_STREAM, Commit, Body, *known)
        writer.bodies_of = made.bodies_of


_KNOWN = (Stream, Segment, mmap.mmap, crc32c)


def _hands_of(writer: DirectWriter | JournalWriter, engine: "Engine") -> "Hands":
    journaled = isinstance(writer, JournalWriter)
    return _compiled_hands.Hands(writer, engine, _KNOWN, Body, ENTRY_MAGIC, ENTRY_VERSION, journaled)


def _direct_ways(engine: "Engine", writer: DirectWriter) -> "DirectWays":
    state = engine.streams[STATE_STREAM]
    return _compiled_direct.DirectWays(
        writer, engine, _KNOWN, _headers(engine), state, SHORT_EVENT_MARK, SHORT_EVENT_COST
    )


def _journal_ways(engine: "Engine", writer: JournalWriter) -> "JournalWays":
    return _compiled_journal.JournalWays(engine, _KNOWN, _headers(engine), writer.lent())


def _headers(engine: "Engine") -> tuple[bytes, bytes]:
    """Return what the headers of all frames of one record have in common, without a key and with one."""
    life = LIFE_OF_ONE.pack(engine.life, 1)
    plain, keyed = (
        bytes(CRC.size) + REST_OF_ONE.pack(kind, 0, PACKED_ONE_RECORD, 0, bytes(STAMPS.size), 0, life, 0)
        for kind in (PACKED_PLAIN, PACKED_KEYED)
    )
    return plain, keyed
