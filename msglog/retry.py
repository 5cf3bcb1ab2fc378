"""The back-off between attempts at work that failed.

A plain value, imported by whoever hands records or messages to a callback. Imports `checks` and `errors`.
"""

from dataclasses import dataclass

from msglog.checks import MAX_DELAY_MS, MAX_INT64, check_integer, refused, wrong_type


@dataclass(frozen=True, slots=True)
class Retry:
    """How often failed work is tried again, and after how long on the store's clock.

    `limit`: retries after the first attempt, None for no limit, 0 for none. `delay_ms`: the wait before the
    first retry, in milliseconds, 0 to ten years. `factor`: how much longer each further wait is, at least 1.0.
    `max_delay_ms`: the longest wait, `delay_ms` to ten years. When the retries are used up the work is rejected.
    Raises `InvalidOptionError` or `InvalidTypeError`.
    """

    limit: int | None = None
    delay_ms: int = 1000
    factor: float = 2.0
    max_delay_ms: int = 60_000

    def __post_init__(self) -> None:
        if self.limit is not None:
            check_integer("limit", self.limit, 0)
        check_integer("delay_ms", self.delay_ms, 0, MAX_DELAY_MS)
        check_integer("max_delay_ms", self.max_delay_ms, self.delay_ms, MAX_DELAY_MS)
        allowed = "a finite number of at least 1.0"
        if isinstance(self.factor, bool) or not isinstance(self.factor, int | float):
            raise wrong_type("factor", self.factor, allowed)
        if not 1.0 <= self.factor < float("inf"):
            raise refused("factor", self.factor, allowed)

    def delay_for(self, attempt: int) -> int | None:
        """Return the milliseconds to wait after failed attempt number `attempt`, None to give up.

        `attempt` counts from 1: the first attempt, not the first retry. Raises `InvalidOptionError` below 1.
        """
        check_integer("attempt", attempt, 1, MAX_INT64)
        if self.limit is not None and attempt > self.limit:
            return None
        try:
            delay = self.delay_ms * self.factor ** (attempt - 1)
        except OverflowError:
            return self.max_delay_ms if self.delay_ms else 0
        return int(min(delay, self.max_delay_ms))
