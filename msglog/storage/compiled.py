"""The hot paths of `DirectWriter`, in C where they could be compiled.

`_compiled.c` does what `append`, `append_settle` and `append_copies` do in nearly every call, in a third of the time,
and leaves the rest to them. It is optional: installing compiles it where there is a compiler and Python's headers, and
everything works without. `MSGLOG_PURE_PYTHON=1` in the environment leaves it unused. Imported by `engine`.
"""

import mmap
import os
from typing import TYPE_CHECKING

from msglog.checksum import crc32c
from msglog.compiled import is_made_of, is_wanted
from msglog.storage.frame import CRC, LIFE_OF_ONE, PACKED_KEYED, PACKED_ONE_RECORD, PACKED_PLAIN, REST_OF_ONE, STAMPS
from msglog.storage.segment import Segment
from msglog.storage.state import SHORT_EVENT_COST, SHORT_EVENT_MARK, STATE_STREAM
from msglog.storage.writers import DirectWriter, JournalWriter

if TYPE_CHECKING:
    from msglog.storage._compiled import Ways
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


def open_ways(engine: "Engine") -> None:
    """Let the engine's short ways lead to its writer, or to what is compiled in front of that."""
    ways = _ways_of(engine)
    engine.append, engine.append_settle, engine.append_copies = ways.append, ways.append_settle, ways.append_copies


def _ways_of(engine: "Engine") -> "DirectWriter | JournalWriter | Ways":
    writer = engine.writer
    if not _USABLE or type(writer) is not DirectWriter or not is_wanted():
        return writer
    if writer.compiled is None:
        writer.compiled = _compiled_ways(engine, writer)
    return writer.compiled


def _compiled_ways(engine: "Engine", writer: DirectWriter) -> "Ways":
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
