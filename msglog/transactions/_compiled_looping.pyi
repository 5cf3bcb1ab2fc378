# What `_compiled_looping.c` makes.
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_P = ParamSpec("_P")
_R = TypeVar("_R")

SOURCE_CRC: int

def before_new_wait(function: Callable[_P, _R], /) -> Callable[_P, _R]: ...
def before_end_waits(function: Callable[_P, _R], /) -> Callable[_P, _R]: ...
