# What `_compiled_events.c` makes.
from collections.abc import Callable
from typing import Self

from msglog.storage.commit import Commit
from msglog.storage.engine import Engine
from msglog.storage.frame import Body
from msglog.storage.stream import Stream

SOURCE_CRC: int

class Events:
    def __new__(
        cls,
        bodies_of: Callable[[Commit], list[tuple[Stream, Body]]],
        engine: Engine,
        state_stream: int,
        commit_type: type[Commit],
        body_type: type[Body],
        cursors: str,
        settle: str,
        mark: int,
        kind_plain: int,
        kind_uneven: int,
        /,
    ) -> Self: ...
    def bodies_of(self, commit: Commit, /) -> list[tuple[Stream, Body]]: ...
