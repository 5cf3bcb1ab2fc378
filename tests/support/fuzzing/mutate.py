"""Changes to bytes that know nothing of what they mean, and to values of msgpack that only know their types."""

import random
from typing import Any

import msgpack

LARGEST = 1 << 16
"""An input never grows beyond this, or beyond what it was."""

_EDGES = (0, 1, 2, 63, 64, 127, 128, 255, 256, 1 << 15, 1 << 16, (1 << 31) - 1, 1 << 31, (1 << 32) - 1, (1 << 63) - 1)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 7, 1 << 31, (1 << 32) - 1, 1 << 40, (1 << 63) - 1, (1 << 64) - 1, -(1 << 63)),
    *(0.5, float("nan"), float("inf"), "", "a", "\udcff", b"", b"\0", b"\xff" * 9, [], {}, [[]], {"a": 1}, [0, 0]),
    *(msgpack.ExtType(1, b""), msgpack.ExtType(2, b"1e9"), msgpack.ExtType(5, b"x"), msgpack.Timestamp(0, 0)),
)


def mutate_bytes(data: bytes, chance: random.Random) -> bytes:
    """Return the bytes with one to four changes."""
    found = bytearray(data)
    for _ in range(chance.choice((1, 1, 1, 2, 4))):
        at = chance.randrange(len(found) + 1)
        match chance.randrange(8):
            case 0 if at < len(found):
                found[at] ^= 1 << chance.randrange(8)
            case 1 if at < len(found):
                found[at] = chance.choice((0, 1, 0x7F, 0x80, 0xC1, 0xFF, chance.randrange(256)))
            case 2:
                del found[at : at + chance.choice((1, 2, 4, 8, 64))]
            case 3:
                found[at:at] = chance.randbytes(chance.choice((1, 2, 4, 8)))
            case 4:
                piece = found[at : at + chance.choice((1, 4, 8, 24, 72))]
                found[at:at] = piece * chance.choice((1, 1, 2, 9))
            case 5:
                del found[at:]
            case _:
                size = chance.choice((1, 2, 4, 8))
                edge = (chance.choice(_EDGES) + chance.choice((0, 0, 1, -1))) % (1 << 8 * size)
                if at + size <= len(found):
                    found[at : at + size] = edge.to_bytes(size, chance.choice(("little", "big")))
    return bytes(found[: max(len(data), LARGEST)])


def mutate_value(value: Any, chance: random.Random) -> Any:
    """Return a value of msgpack with one piece of it changed, somewhere inside."""
    if isinstance(value, dict) and value and chance.random() < 0.9:
        changed = dict(value)
        key = chance.choice(list(changed))
        match chance.randrange(10):
            case 0:
                del changed[key]
            case 1:
                changed[chance.choice((0, 1, "", "x", None, (1 << 64) - 1))] = changed[key]
            case _:
                changed[key] = mutate_value(changed[key], chance)
        return changed
    if isinstance(value, list) and value and chance.random() < 0.9:
        items = list(value)
        at = chance.randrange(len(items))
        match chance.randrange(10):
            case 0:
                del items[at]
            case 1:
                items.insert(at, items[at])
            case 2:
                other = chance.randrange(len(items))
                items[at], items[other] = items[other], items[at]
            case _:
                items[at] = mutate_value(items[at], chance)
        return items
    if type(value) is int and chance.random() < 0.5:
        return max(-(1 << 63), min((1 << 64) - 1, value + chance.choice((-64, -8, -1, 1, 8, 64, 1 << 20, 1 << 32))))
    if type(value) is bytes and value and chance.random() < 0.7:
        return mutate_packed(value, chance) if chance.random() < 0.5 else mutate_bytes(value, chance)
    return chance.choice(_VALUES)


def mutate_packed(data: bytes, chance: random.Random) -> bytes:
    """Return packed msgpack with a value in it changed; other bytes are changed as such."""
    try:
        value = msgpack.unpackb(data, strict_map_key=False)
        return pack(mutate_value(value, chance))
    except (ValueError, TypeError, OverflowError, msgpack.UnpackException):
        return mutate_bytes(data, chance)


def pack(value: Any) -> bytes:
    """Return packed msgpack; text may be what UTF-8 cannot hold."""
    packed: bytes = msgpack.packb(value, unicode_errors="surrogatepass")
    return packed
