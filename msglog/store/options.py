"""The options of a store: their types, limits and defaults, and what of them was given explicitly.

Explicit matters because a path that is already open in this process is shared: an option left out takes what
is there, one that is given must agree. Imported by `store` and by the faces that open stores.
"""

import functools
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Concatenate, Final, Literal, ParamSpec, TypedDict, TypeVar

from msglog.checks import check_choice, check_flag, check_integer, refused, wrong_type
from msglog.clock import Clock
from msglog.storage.options import MAX_COMMIT_BYTES, Options

MEMORY: Final = ":memory:"
"""The path of a private store that lives in memory and vanishes when it is closed."""

_MAX_INT32: Final = (1 << 31) - 1
_HOUR_MS: Final = 3_600_000
Progress = Callable[[int, int], object]
"""Hears of bytes done and bytes in all."""

P = ParamSpec("P")
S = TypeVar("S")


class StoreOptions(TypedDict, total=False):
    """The keyword arguments of `Store`, for the classes that pass them on."""

    sync: Literal["commit", "interval", "none"]
    sync_interval_ms: int
    readonly: bool
    clock: Clock | None
    segment_bytes: int
    max_record_bytes: int


def check_options(
    *, sync: str, sync_interval_ms: int, readonly: bool, segment_bytes: int, max_record_bytes: int
) -> Options:
    """Return the engine's options. Raises `InvalidOptionError` or `InvalidTypeError`."""
    check_choice("sync", sync, ("commit", "interval", "none"))
    return Options(
        sync=sync,  # type: ignore[arg-type]  # checked to be one of the three
        sync_interval_ms=check_integer("sync_interval_ms", sync_interval_ms, 1, _HOUR_MS),
        segment_bytes=check_integer("segment_bytes", segment_bytes, 1024, _MAX_INT32),
        # A record larger than a commit could never be written.
        max_record_bytes=check_integer("max_record_bytes", max_record_bytes, 1, MAX_COMMIT_BYTES),
        readonly=check_flag("readonly", readonly),
    )


def check_path(path: object) -> str:
    """Return the absolute path of a store's directory, or `MEMORY` itself.

    Raises `InvalidTypeError` for anything but a str or a path of str, `InvalidOptionError` for an empty path
    and for one that is there but is no directory.
    """
    allowed = "a directory's path as str or os.PathLike[str], or ':memory:'"
    if not isinstance(path, str | os.PathLike):
        raise wrong_type("path", path, allowed)
    plain = os.fspath(path)
    if not isinstance(plain, str):
        raise wrong_type("path", path, allowed)
    if plain == MEMORY:
        return plain
    if not plain or "\0" in plain:
        raise refused("path", plain, allowed)
    directory = Path(plain)
    with suppress(OSError):  # a path that cannot even be looked up is refused at opening
        if directory.exists() and not directory.is_dir():
            raise refused("path", plain, "a directory; this is a file")
    return str(directory.absolute())


def check_clock(clock: object) -> None:
    """Make sure that `clock` tells time as `Clock` does. Raises `InvalidTypeError`."""
    methods = ("now_ms", "monotonic_ms")
    if not all(callable(getattr(clock, name, None)) for name in methods) or not hasattr(clock, "manual"):
        raise wrong_type("clock", clock, "None, a ManualClock, or an object with now_ms(), monotonic_ms() and manual")


def noting_given(method: Callable[Concatenate[S, P], None]) -> Callable[Concatenate[S, P], None]:
    """Keep the names of the keyword arguments of a call of `__init__` in the attribute `_given`.

    A default in a signature cannot tell "left out" from "given as the default", and only the latter must be
    obeyed.
    """

    def noting(self: S, /, *args: P.args, **options: P.kwargs) -> None:
        self._given = frozenset(options)  # type: ignore[attr-defined]  # the class declares it
        method(self, *args, **options)

    # Assigned to a name of the declared type: what update_wrapper returns has a type of its own.
    functools.update_wrapper(noting, method)
    return noting


def differences(have: Options, want: Options, given: frozenset[str]) -> list[tuple[str, Any, Any]]:
    """Return (option, what is open, what was asked for) of each explicitly given option that differs."""
    names = ("sync", "sync_interval_ms", "segment_bytes", "max_record_bytes")
    pairs = [(name, getattr(have, name), getattr(want, name)) for name in names if name in given]
    # Never left to the other handle: who asks to write must not get a store that cannot, nor the reverse.
    pairs.append(("readonly", have.readonly, want.readonly))
    return [pair for pair in pairs if pair[1] != pair[2]]
