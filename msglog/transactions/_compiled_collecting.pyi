# What `_compiled_collecting.c` makes.
from collections.abc import Callable
from enum import Enum
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

SOURCE_CRC: int

def set_up(
    classes: tuple[type, ...],
    state_new: Enum,
    state_open: Enum,
    here: object,
    modules: dict[str, ModuleType],
    persistent: Any,
    kind_plain: int,
    kind_keyed: int,
    frame_header_size: int,
    most_commit_bytes: int,
    longest_group_name: int,
    /,
) -> None: ...
def before_init(method: Callable[_P, _R], /) -> Callable[_P, _R]: ...
def before_append(method: Callable[_P, _R], /) -> Callable[_P, _R]: ...
def before_publish(method: Callable[_P, _R], /) -> Callable[_P, _R]: ...
def before_ack(method: Callable[_P, _R], /) -> Callable[_P, _R]: ...
def before_commit_offsets(method: Callable[_P, _R], /) -> Callable[_P, _R]: ...
