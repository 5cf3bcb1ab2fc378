# What `_compiled.c` makes.
from collections.abc import Callable
from typing import ParamSpec, TypeVar

from msglog.errors import TopicNotFoundError
from msglog.log.topic import Topic

_P = ParamSpec("_P")
_R = TypeVar("_R")

SOURCE_CRC: int

def set_up(
    classes: tuple[type, ...],
    closed_error: type,
    deleted_meanwhile: Callable[[Topic], TopicNotFoundError],
    system_monotonic_ms: Callable[[], int],
    monotonic_ns: Callable[[], int],
    header_size: int,
    key_size: int,
    /,
) -> None: ...
def before_append(method: Callable[_P, _R], /) -> Callable[_P, _R]: ...
def before_append_plain(method: Callable[_P, _R], /) -> Callable[_P, _R]: ...
def before_take_latest(method: Callable[_P, _R], /) -> Callable[_P, _R]: ...
def before_run_latest(method: Callable[_P, _R], /) -> Callable[_P, _R]: ...
def before_unwatch(method: Callable[_P, _R], /) -> Callable[_P, _R]: ...
def before_note_poll(method: Callable[_P, _R], /) -> Callable[_P, _R]: ...
