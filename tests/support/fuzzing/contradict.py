"""Changes to a store's state that leave its types as they are: it contradicts itself, or the rest of the store.

A number becomes another one that occurs beside it, or its neighbour; a name another name; an entry of a list is lost,
comes twice, or in another place. So cursors settle more than they delivered, bindings lead to what is not there,
offsets belong to topics unknown. Snapshots and single events of the state stream are changed, with checksums that
match.
"""

import random
import struct
from collections.abc import Iterator
from typing import Any

import msgpack

from msglog.storage.frame import HEADER, FrameError, decode, encode_body
from msglog.storage.segment import FILE_HEADER_SIZE
from msglog.storage.state import pack_event, unpack_event
from support.fuzzing.forms import SEGMENT, frames_of, repair_snapshot
from support.fuzzing.mutate import pack

_SNAPSHOT = "state-"
_EVENTS = "segments/0-state."
_FAR = (0, -1, 1 << 20, 1 << 31, 1 << 40, (1 << 63) - 1)


def contradict_files(files: dict[str, bytes], chance: random.Random) -> None:
    """Change the snapshot or an event of the state, one to three times."""
    names = [name for name in files if name.startswith((_SNAPSHOT, _EVENTS))]
    for _ in range(chance.choice((1, 1, 2, 3)) if names else 0):
        name = chance.choice(names)
        used = files[name].rstrip(b"\0")
        change = _in_snapshot if name.startswith(_SNAPSHOT) else _in_events
        files[name] = change(used, chance).ljust(len(files[name]), b"\0")


def _in_snapshot(data: bytes, chance: random.Random) -> bytes:
    try:
        value = msgpack.unpackb(data[4:], strict_map_key=False)
    except (ValueError, TypeError, msgpack.UnpackException):
        return data
    return repair_snapshot(data[:4] + pack(contradict(value, chance)))


def _in_events(data: bytes, chance: random.Random) -> bytes:
    frames = list(frames_of(data, FILE_HEADER_SIZE))
    if not frames:
        return data
    start, end = chance.choice(frames)
    header = list(HEADER.unpack_from(data, start))
    try:
        values = list(decode(data[start + 4 : end], "").values)
        at = chance.randrange(len(values))
        section, event = unpack_event(values[at])
        values[at] = pack_event(section, contradict(event, chance))
    except (FrameError, ValueError, TypeError, LookupError, OverflowError, struct.error, msgpack.UnpackException):
        return data  # it was changed before, and is none any more
    body = encode_body(values, header[6])
    header[1], header[2] = body.kind, len(body.data)
    return SEGMENT.repair(data[:start] + HEADER.pack(*header) + body.data + data[end:])


def contradict(value: Any, chance: random.Random) -> Any:
    """Return a value of msgpack with another number, name or order somewhere in it."""
    leaves = list(_leaves(value))
    lists = [path for path, one in leaves if isinstance(one, list) and one]
    plain = [(path, one) for path, one in leaves if type(one) in (int, str)]
    if lists and (not plain or chance.random() < 0.25):
        path = chance.choice(lists)
        return _replaced(value, path, lambda one: _other_order(one, chance))
    if not plain:
        return value
    path, old = chance.choice(plain)
    others = [one for _, one in plain if type(one) is type(old) and one != old]
    if type(old) is int:
        others = [*others, old + 1, old - 1, chance.choice(_FAR)]
    new = chance.choice(others or [old])
    return _replaced(value, path, lambda _: new)


def _leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[tuple[Any, ...], Any]]:
    """Yield each piece of a value with the way to it."""
    yield path, value
    pieces = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, piece in pieces:
        yield from _leaves(piece, (*path, key))


def _replaced(value: Any, path: tuple[Any, ...], change: Any) -> Any:
    if not path:
        return change(value)
    copy = value.copy()
    copy[path[0]] = _replaced(value[path[0]], path[1:], change)
    return copy


def _other_order(items: list[Any], chance: random.Random) -> list[Any]:
    changed, at = list(items), chance.randrange(len(items))
    match chance.randrange(3):
        case 0:
            del changed[at]
        case 1:
            changed.insert(at, changed[at])
        case _:
            chance.shuffle(changed)
    return changed
