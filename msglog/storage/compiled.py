"""The hot paths of the writers, in C where they could be compiled.

`_compiled.c` does what `append`, `append_settle` and `append_copies` of `DirectWriter` do in nearly every call, in a
third of the time; likewise `append` of `JournalWriter`, and showing what that appended; and the loops over the frames
of commits by hand, with a journal or without. It leaves the rest to the methods that stand in Python. It is optional:
installing compiles it where there is a compiler and Python's headers, and everything works without.
`MSGLOG_PURE_PYTHON=1` in the environment leaves it unused. Imported by `engine`.
"""

import mmap
import os
from typing import TYPE_CHECKING

from msglog.checksum import crc32c
from msglog.compiled import is_made_of, is_wanted
from msglog.storage.compiled_events import pack_compiled
from msglog.storage.frame import (
    CRC,
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
from msglog.storage.state import SHORT_EVENT_COST, SHORT_EVENT_MARK, STATE_STREAM
from msglog.storage.stream import Stream
from msglog.storage.writers import DirectWriter, JournalWriter

if TYPE_CHECKING:
    from msglog.storage._compiled import Hands, Ways
    from msglog.storage.engine import Engine

try:
    from msglog.storage import _compiled
except ImportError:
    _compiled = None  # type: ignore[assignment]

SOURCE = os.path.join(os.path.dirname(__file__), "_compiled.c")


def is_compiled() -> bool:
    """Return whether the compiled hot paths are there, and not left over from another version of their source."""
    return _compiled is not None and is_made_of(_compiled, SOURCE)


_USABLE = is_compiled()


# What `Hands` has in the place of these methods.
_BY_HAND = {
    DirectWriter: ("place_by_hand", "store_frames"),
    JournalWriter: ("place_by_hand", "pack_frames", "assign_frames", "show_frames"),
}


def open_ways(engine: "Engine") -> None:
    """Let the engine's short ways lead to its writer, or to what is compiled in front of that."""
    writer = engine.writer
    ways: DirectWriter | JournalWriter | Ways = writer
    engine.append, engine.append_unwaited = writer.append, writer.append_unwaited
    usable = _USABLE and is_wanted()
    if isinstance(writer, JournalWriter):
        writer.show_singles = None
        if usable and type(writer) is JournalWriter:
            made = _ways_of(engine, writer)
            engine.append, engine.append_unwaited = made.append_journaled, made.append_unwaited
            writer.show_singles = made.show_singles
    elif usable and type(writer) is DirectWriter:
        ways = _ways_of(engine, writer)
        engine.append = engine.append_unwaited = ways.append
    engine.append_settle, engine.append_copies = ways.append_settle, ways.append_copies
    if usable:
        _take_in_hand(engine)
    pack_compiled(engine)


def _take_in_hand(engine: "Engine") -> None:
    """Have the loops of the engine's writer done by what is compiled."""
    writer = engine.writer
    names = _BY_HAND.get(type(writer), ())
    if names and not vars(writer).keys() & set(names):
        hands = _hands_of(writer, engine)
        for name in names:
            setattr(writer, name, getattr(hands, name))


def _hands_of(writer: DirectWriter | JournalWriter, engine: "Engine") -> "Hands":
    known = (Stream, Segment, Body, mmap.mmap, crc32c, ENTRY_MAGIC, ENTRY_VERSION)
    return _compiled.Hands(writer, engine, *known, isinstance(writer, JournalWriter))


def _ways_of(engine: "Engine", writer: "DirectWriter | JournalWriter") -> "Ways":
    if writer.compiled is None:
        made = _compiled_ways(engine, writer)
        if isinstance(writer, JournalWriter):
            writer.lend_to(made)
        writer.compiled = made
    return writer.compiled


def _compiled_ways(engine: "Engine", writer: DirectWriter | JournalWriter) -> "Ways":
    life = LIFE_OF_ONE.pack(engine.life, 1)
    plain, keyed = (
        bytes(CRC.size) + REST_OF_ONE.pack(kind, 0, PACKED_ONE_RECORD, 0, bytes(STAMPS.size), 0, life, 0)
        for kind in (PACKED_PLAIN, PACKED_KEYED)
    )
    return _compiled.Ways(
        writer,
        engine,
        engine.streams[STATE_STREAM],
        Segment,
        mmap.mmap,
        crc32c,
        plain,
        keyed,
        SHORT_EVENT_MARK,
        SHORT_EVENT_COST,
    )
