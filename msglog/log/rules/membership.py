"""One member of a consumer group: what it asked for, what it owns, and until when it counts as alive.

Imported by the group coordinator and its rebalances, and by the log for `JoinRequest`.
"""

from dataclasses import dataclass, field
from typing import Final, Literal

from msglog.errors import InvalidOptionError, InvalidTypeError
from msglog.log.rules.assignors import ASSIGNORS, Member
from msglog.types import MemberDescription, TopicPartition

DEFAULT_SESSION_TIMEOUT_MS: Final = 45_000
DEFAULT_MAX_POLL_INTERVAL_MS: Final = 300_000
NO_GENERATION: Final = -1
"""The generation of a member that has not received an assignment yet, as in Kafka."""

AssignorName = Literal["range", "roundrobin", "sticky", "cooperative-sticky"]
"""The keys of `ASSIGNORS`, for type checkers."""

MAX_TIMEOUT_MS: Final = (1 << 31) - 1
_NOTHING: Final[frozenset[TopicPartition]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRequest:
    """What a consumer says when it joins a group.

    `member_id` is chosen by the caller and never used twice; it also decides the order in which assignors see
    dynamic members. With an `instance_id` the member is static. Both timeouts are in milliseconds, at least
    1; the defaults are the Java client's. Raises `InvalidOptionError` for an unknown assignor or a bad
    timeout.
    """

    member_id: str
    topics: frozenset[str]
    assignor: str = "range"
    instance_id: str | None = None
    session_timeout_ms: int = DEFAULT_SESSION_TIMEOUT_MS
    max_poll_interval_ms: int = DEFAULT_MAX_POLL_INTERVAL_MS

    def __post_init__(self) -> None:
        if self.assignor not in ASSIGNORS:
            allowed = "one of " + ", ".join(repr(name) for name in ASSIGNORS)
            message = f"assignor={self.assignor!r}; allowed: {allowed}"
            raise InvalidOptionError(message, option="assignor", given=self.assignor, allowed=allowed)
        _check_timeout("session_timeout_ms", self.session_timeout_ms)
        _check_timeout("max_poll_interval_ms", self.max_poll_interval_ms)


def _check_timeout(option: str, given: object) -> None:
    allowed = f"an int from 1 to {MAX_TIMEOUT_MS}"
    message = f"{option}={given!r}; allowed: {allowed}"
    if isinstance(given, bool) or not isinstance(given, int):
        raise InvalidTypeError(message, option=option, given=given, allowed=allowed)
    if not 1 <= given <= MAX_TIMEOUT_MS:
        raise InvalidOptionError(message, option=option, given=given, allowed=allowed)


@dataclass(slots=True)
class Membership:
    """A member as the coordinator keeps it.

    `target` is its share in the group's generation, `held` what it owns, `generation` the one whose
    assignment it received last: while that is the group's, the two are equal. A `departed` static member has
    closed: it holds nothing and keeps its target until its session ends or its instance id joins again.
    """

    request: JoinRequest
    topics: frozenset[str]
    heartbeat_ms: int
    poll_ms: int
    target: frozenset[TopicPartition] = _NOTHING
    held: set[TopicPartition] = field(default_factory=set)
    generation: int = NO_GENERATION
    departed: bool = False

    @property
    def member_id(self) -> str:
        """The member's id."""
        return self.request.member_id

    @property
    def instance_id(self) -> str | None:
        """The id that outlives a restart of the member; None for a dynamic member."""
        return self.request.instance_id

    @property
    def due_ms(self) -> int:
        """When the member is evicted unless it is heard of before.

        A dynamic member leaves when it exceeds its poll interval; a static one only stops being heard of, so
        its session timeout follows (the documented effect of Kafka's `max.poll.interval.ms`).
        """
        request = self.request
        poll_due_ms = self.poll_ms + request.max_poll_interval_ms
        if request.instance_id is None:
            return min(self.heartbeat_ms + request.session_timeout_ms, poll_due_ms)
        return min(self.heartbeat_ms, poll_due_ms) + request.session_timeout_ms

    def for_assignor(self, *, cooperative: bool) -> Member:
        """Return the member as an assignor sees it.

        An eager rebalance takes everything first, so what counts as owned is the last target, as in the user
        data of Kafka's StickyAssignor.
        """
        owned, awaited = self.target, _NOTHING
        if cooperative:
            owned, awaited = frozenset(self.held), self.target - self.held
        return Member(self.member_id, self.topics, self.instance_id, owned, awaited)

    def describe(self) -> MemberDescription:
        """Return the member with what it owns, for `describe_group`."""
        return MemberDescription(self.member_id, self.instance_id, self.topics, frozenset(self.held))
