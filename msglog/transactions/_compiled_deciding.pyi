# What `_compiled_deciding.c` makes.
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

SOURCE_CRC: int

def set_up(
    classes: tuple[type, ...], cursor_section: str, group_section: str, kind_plain: int, kind_keyed: int, /
) -> None: ...
def before_decide(method: Callable[_P, _R], /) -> Callable[_P, _R]: ...
def before_fill_of_log(method: Callable[_P, _R], /) -> Callable[_P, _R]: ...
def before_fill_of_broker(method: Callable[_P, _R], /) -> Callable[_P, _R]: ...
