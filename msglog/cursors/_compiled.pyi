# What `_compiled.c` makes.
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

SOURCE_CRC: int

def before_settle(method: Callable[P, R], cursor_type: type, ranges_type: type, /) -> Callable[P, R]: ...
