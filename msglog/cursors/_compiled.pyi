# What `_compiled.c` makes.
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

SOURCE_CRC: int

def before_settle(method: Callable[_P, _R], cursor_type: type, ranges_type: type, /) -> Callable[_P, _R]: ...
