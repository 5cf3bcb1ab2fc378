"""One consumer group that has members: its coordinator, its members' seats, and who must be woken.

A `Seat` is what a consumer and the coordination share about one membership. Everything here runs under the
store lock and never waits. Imported by `coordination`, and for `Seat` by the consumer's side.
"""

from collections.abc import Collection
from threading import Thread, current_thread

from msglog.errors import FencedError
from msglog.log.bell import Bell
from msglog.log.rules.coordinator import Group
from msglog.log.rules.membership import MAX_TIMEOUT_MS, NO_GENERATION, JoinRequest, Membership
from msglog.log.rules.rebalance import Sync
from msglog.types import TopicPartition
from msglog.waiting import Timer

HEARTBEATS_PER_TIMEOUT = 3
"""How often a member is heard of within the shorter of its two timeouts."""

_NOTHING_TOLD = -1


class Seat:
    """A consumer's place in its group.

    `thread` used the consumer last and `polls` says whether it is in a poll right now: both are written by
    the consumer and read by the coordination. `generation` and `owned` are the group's view as of the last
    sync, written under the store lock: a sync may happen while the consumer waits, or be interrupted, so the
    consumer finds out what is new to it by comparing.
    """

    __slots__ = ("bell", "generation", "group", "interval_ms", "member", "member_id", "owned", "polls", "thread")

    def __init__(self, group: str, member: Membership, bell: Bell) -> None:
        request = member.request
        self.group = group
        self.member = member
        self.member_id = request.member_id
        self.bell = bell
        self.interval_ms = max(
            1, min(request.session_timeout_ms, request.max_poll_interval_ms) // HEARTBEATS_PER_TIMEOUT
        )
        self.thread: Thread = current_thread()
        self.polls = False
        self.generation = NO_GENERATION
        self.owned: frozenset[TopicPartition] = frozenset()


class LiveGroup:
    """A group's coordinator, the seats of its members by member id, and the timer that looks after both."""

    def __init__(self, group: Group) -> None:
        self.group = group
        self.seats: dict[str, Seat] = {}
        self.timer: Timer | None = None
        self._version = _NOTHING_TOLD
        # The shortest interval of the seats, or a shorter one that has gone since `keep_alive`.
        self._interval_ms = MAX_TIMEOUT_MS
        self.logged_generation = 0

    def join(self, request: JoinRequest, bell: Bell, now_ms: int) -> Seat:
        """Add a member and return its seat. Raises what `Group.join` raises."""
        member = self.group.join(request, now_ms)
        seat = self.seats[request.member_id] = Seat(self.group.group, member, bell)
        # News even if it is no rebalance: a former holder of the instance id is fenced, due times may be earlier.
        self._version = _NOTHING_TOLD
        self._interval_ms = min(self._interval_ms, seat.interval_ms)
        return seat

    def leave(self, seat: Seat, now_ms: int) -> None:
        """Let a member go. Leaving twice does nothing."""
        self.seats.pop(seat.member_id, None)
        self.group.leave(seat.member_id, now_ms)

    def sync(self, seat: Seat, now_ms: int) -> Sync:
        """Count as a member's poll, note what it owns, and tell what it is to do. Raises `FencedError`."""
        step = self.group.sync(seat.member_id, now_ms)
        if step.lost:
            self.seats.pop(seat.member_id, None)
        elif step.generation != seat.generation:
            seat.owned, seat.generation = frozenset(seat.member.held), step.generation
        return step

    def revoked(self, seat: Seat, partitions: Collection[TopicPartition]) -> None:
        """Confirm that a member has stopped working on `partitions`."""
        seat.owned -= frozenset(partitions)
        self.group.revoked(seat.member_id, partitions)

    def keep_alive(self, now_ms: int) -> None:
        """Speak for the members whose consumers are there, then evict those not heard of for too long.

        A consumer inside a poll is polling. Any other is alive as long as the thread that used it last.
        """
        for seat in tuple(self.seats.values()):
            try:
                if seat.polls:
                    before = seat.generation
                    if self.sync(seat, now_ms).generation != before:
                        seat.bell.ring()
                elif seat.thread.is_alive():
                    self.group.heartbeat(seat.member_id, now_ms)
            except FencedError:
                seat.bell.ring()  # it will be told when it asks
        self.group.expire(now_ms)
        self._interval_ms = min((seat.interval_ms for seat in self.seats.values()), default=MAX_TIMEOUT_MS)

    @property
    def has_news(self) -> bool:
        """Whether something changed for the members since `tell`."""
        return self.group.version != self._version

    def tell(self) -> None:
        """Ring for the members if there is something new for them since the last time.

        A bell that was rung and not answered yet is left alone: whoever answers it will see the latest.
        """
        if self.has_news:
            self._version = self.group.version
            for seat in self.seats.values():
                if not seat.bell.rung:
                    seat.bell.ring()

    def ring(self) -> None:
        """Ring for all members, whatever became of an earlier ring."""
        for seat in self.seats.values():
            seat.bell.ring()

    def next_check_ms(self, now_ms: int) -> int | None:
        """Return when `keep_alive` must run next, None without members."""
        if not self.group.size:
            return None
        due_ms = self.group.due_floor_ms
        heartbeat_ms = now_ms + self._interval_ms if self.seats else due_ms
        return max(min(due_ms, heartbeat_ms), now_ms)
